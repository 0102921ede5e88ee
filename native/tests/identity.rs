//! `tributary identity`: an identity leaves one state folder as text and arrives in another.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use common::{last_json, output, path, refused, tributary};

/// A state folder with an identity of its own, and that identity's name.
fn state(dir: &std::path::Path, name: &str, byte: u8) -> (String, String) {
    let state = path(dir, name);
    fs::create_dir(&state).unwrap();
    fs::write(format!("{state}/identity.key"), [byte; 32]).unwrap();
    let shown = last_json(&output(&["identity", "show", "--state", &state]));
    (state, shown["me"].as_str().unwrap().to_owned())
}

#[test]
fn an_exported_identity_is_the_same_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (one, me) = state(dir.path(), "one", 1);
    let (file, two) = (path(dir.path(), "backup.txt"), path(dir.path(), "new/two"));
    let exported = last_json(&output(&["identity", "export", "--state", &one, "--out", &file]));
    assert_eq!(exported["me"], me);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    refused(&["identity", "export", "--state", &one, "--out", &file], &["exists", "another file"]);

    let imported = last_json(&output(&["identity", "import", &file, "--state", &two]));
    assert_eq!((&imported["me"], imported["kept"].is_null()), (&me.as_str().into(), true));
    assert_eq!(last_json(&output(&["identity", "show", "--state", &two]))["me"], me);

    // The same once more, from the standard input as it is printed: nothing is replaced.
    let printed = output(&["identity", "export", "--state", &one]).stdout;
    assert_eq!(printed, fs::read(&file).unwrap());
    let mut import = tributary(&["identity", "import", "-", "--state", &two]);
    let mut import = import.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(&printed).unwrap();
    assert_eq!(last_json(&import.wait_with_output().unwrap())["me"], me);
}

#[test]
fn another_identity_is_replaced_only_when_told_and_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (one, me) = state(dir.path(), "one", 1);
    let (two, other) = state(dir.path(), "two", 2);
    let file = path(dir.path(), "backup.txt");
    last_json(&output(&["identity", "export", "--state", &one, "--out", &file]));
    refused(&["identity", "import", &file, "--state", &two], &[&other, &me, "nothing was changed", "--replace"]);
    assert_eq!(fs::read(format!("{two}/identity.key")).unwrap(), [2; 32]);

    let imported = last_json(&output(&["identity", "import", &file, "--state", &two, "--replace"]));
    assert_eq!(imported["me"], me);
    let kept = imported["kept"].as_str().unwrap();
    assert!(kept.contains(&other), "{kept}");
    assert_eq!(fs::read(format!("{two}/identity.key")).unwrap(), [1; 32]);
    let back = last_json(&output(&["identity", "import", kept, "--state", &two, "--replace"]));
    assert_eq!(back["me"], other);

    // A damaged one stands in the way like any other, and the words say how to get past it.
    fs::write(format!("{two}/identity.key"), b"short").unwrap();
    refused(&["identity", "show", "--state", &two], &["5 bytes", "identity import"]);
    refused(&["identity", "import", &file, "--state", &two], &["a damaged identity"]);
    last_json(&output(&["identity", "import", &file, "--state", &two, "--replace"]));
    assert_eq!(last_json(&output(&["identity", "show", "--state", &two]))["me"], me);
}

#[test]
fn what_is_no_backup_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let none = path(dir.path(), "none");
    refused(&["identity", "show", "--state", &none], &["no identity yet", "identity import"]);
    refused(&["identity", "export", "--state", &none], &["no identity yet"]);
    refused(&["identity", "import", &path(dir.path(), "nowhere"), "--state", &none], &["no such file"]);
    let file = path(dir.path(), "file");
    for (text, words) in [
        ("a letter", "not a backup"),
        ("tributary-identity-9:abc", "format 9"),
        ("tributary-identity-1:46WPtSJH9Mc1rNbRaWo6k2v6Bm8dc1FuCFxS2n6gFo7M2ZwPh", "typing error"),
    ] {
        fs::write(&file, text).unwrap();
        refused(&["identity", "import", &file, "--state", &none], &[words]);
    }
    assert!(!std::path::Path::new(&none).exists());
}
