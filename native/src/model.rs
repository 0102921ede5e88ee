//! The trained model: a coordinator's newest weights, and the same as files for other programs.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::json;
use tributary_protocol::{Hash, fold};

use crate::cli::ExportArgs;
use crate::files;
use crate::output::Output;
use crate::serve::newest::Newest;

/// The newest settled state of a coordinator, running or not, and its weights.
pub(crate) fn newest(state: &Path) -> anyhow::Result<(Newest, Vec<f32>)> {
    let Some(newest) = Newest::read(state)? else {
        bail!("{} holds no run yet; name the folder that `tributary serve --state` uses", state.display());
    };
    let path = files::blob_path(&state.join("blobs"), &newest.base.hash);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        // The coordinator may have folded a round between the two reads.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("the weights that {} names are gone; if the coordinator is running, try again", state.display())
        }
        Err(error) => return Err(files::trouble("read the weights", &path, &error)),
    };
    if Hash::of(&bytes) != newest.base.hash {
        bail!(
            "the weights in {} are damaged; start the coordinator on this folder to see what it can restore",
            path.display()
        );
    }
    Ok((newest, fold::f32_from_le(&bytes)))
}

/// `tributary model export`: files of the newest weights.
pub(crate) fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let (newest, weights) = newest(&args.state)?;
    fs::create_dir_all(&args.out).map_err(|e| files::trouble("make the folder", &args.out, &e))?;
    let spec = &newest.spec;
    tributary_trainer::export(&spec.model, spec.tokenizer, &weights, &args.out)
        .with_context(|| format!("cannot export to {}", args.out.display()))?;
    Output::new().event(
        || json!({"event": "exported", "out": args.out, "run": spec.id(), "round": newest.round, "state": newest.base.hash}),
        || {
            let (name, round, state) = (&spec.name, newest.round, newest.base.hash.short());
            format!("{}: {name} before round {round}, state {state}", args.out.display())
        },
    );
    Ok(())
}
