//! The model against PyTorch's and Hugging Face's: gradients, logits, tokenizer.

use std::path::Path;
use std::process::Command;

/// `TRIBUTARY_PYTHON` names a Python with torch and transformers; `cargo xtask setup` makes one.
/// Without it there is nothing to compare with, which a run in CI must not pass over.
#[test]
fn gradients_and_logits_are_those_of_pytorch() {
    let Some(python) = std::env::var_os("TRIBUTARY_PYTHON") else {
        assert!(
            std::env::var_os("CI").is_none(),
            "TRIBUTARY_PYTHON is not set, so the model was not compared with PyTorch: run `cargo xtask test`, which sets it"
        );
        return;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reference");
    std::fs::create_dir_all(&folder).unwrap();
    // Examples lie beside the tests' own folder.
    let example = std::env::current_exe().unwrap().parent().unwrap().join("../examples/reference");
    let status = Command::new(&example).arg(&folder).status();
    assert!(status.is_ok_and(|status| status.success()), "{} did not run", example.display());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/reference.py");
    let output = Command::new(python).arg(script).arg(&folder).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    println!("{out}");
}
