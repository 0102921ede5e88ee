//! A backup gives back the identity however it was copied, and never another one.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tributary_protocol::Identity;
use tributary_protocol::backup::{BadBackup, MAX_TEXT, line, read, sheet};

/// Base58's digits, and some characters that are none.
const TYPED: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0OIl-é";

fn secret(text: &str) -> Result<[u8; 32], BadBackup> {
    read(text).map(|identity| identity.secret())
}

#[test]
fn the_format_does_not_change() {
    let identity = Identity::from_secret([7; 32]);
    assert_eq!(line(&identity), "tributary-identity-1:46WPtSJH9Mc1rNbRaWo6k2v6Bm8dc1FuCFxS2n6gFo7M2ZwPH");
}

proptest! {
    #[test]
    fn white_space_line_breaks_and_words_before_it_do_no_harm(
        bytes: [u8; 32],
        spaces in prop::collection::vec((0..80_usize, "[ \t\r\n\u{a0}]{1,3}"), 0..8),
        before in "([a-z]{1,9}[ :\n]){0,9}",
    ) {
        let identity = Identity::from_secret(bytes);
        prop_assert_eq!(secret(&sheet(&identity)), Ok(bytes));
        let mut text = line(&identity);
        for (at, space) in spaces {
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            text.insert_str(at, &space);
        }
        prop_assert_eq!(secret(&format!("{before}\n{text}\n")), Ok(bytes));
    }

    #[test]
    fn a_typing_error_is_noticed(bytes: [u8; 32], at in 22..70_usize, typed: prop::sample::Index, how in 0..4) {
        let mut text: Vec<char> = line(&Identity::from_secret(bytes)).chars().collect();
        let at = at.min(text.len() - 1);
        let typed = TYPED.chars().nth(typed.index(TYPED.chars().count())).unwrap();
        let before = text.clone();
        match how {
            0 => text[at] = typed,
            1 => drop(text.remove(at)),
            2 => text.insert(at, typed),
            _ => text.swap(at - 1, at),
        }
        prop_assume!(text != before);
        let text: String = text.into_iter().collect();
        prop_assert_eq!(secret(&text), Err(BadBackup::Typing), "{}", text);
    }

    #[test]
    fn no_text_makes_it_panic(text in "(tributary-identity-)?[0-9]{0,7}:?\\PC{0,200}") {
        prop_assert!(read(&text).is_err());
    }
}

#[test]
fn what_is_not_taken_is_refused_in_words() {
    let check = |text: &str, words: &str| {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(words), "{words:?} in: {error}");
    };
    let good = line(&Identity::from_secret([9; 32]));
    check("", "not a backup");
    check("12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5", "not a backup");
    check(&format!("{}{good}", " ".repeat(MAX_TEXT)), "not a backup");
    check(&good.replace("-1:", "-2:"), "format 2");
    check(&good.replace("-1:", "-x:"), "typing error");
    check(&good.replace(':', ""), "typing error");
    check(&good[..good.len() - 1], "typing error");
    check(&format!("{good}{good}"), "typing error");
    check(&format!("{good}{}", "1".repeat(9000)), "typing error");
    assert_eq!(secret(&good.replace("tributary", "Tributary")), Ok([9; 32]));
}
