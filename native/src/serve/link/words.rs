//! What is said to people whose link is refused, and other small things that stand in answers.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use tributary_ledger::{LinkError, LinkedBy};
use tributary_swarm::Multiaddr;

use super::Refused;

/// Why the log refuses a link, and what to do.
pub(super) fn refusal(why: &LinkError) -> String {
    let text = match why {
        LinkError::Form => "The proof is damaged: load the page again or update the program, then link once more.",
        LinkError::TooLong => {
            "The wallet's signature has more bytes than the log has room for: link a wallet with a key of its own."
        }
        LinkError::Message(why) => return format!("{} Ask for a new text here and sign it unchanged.", sentence(why)),
        LinkError::About => {
            "The signed text is about another contributor or wallet: ask for a new text here and sign that."
        }
        LinkError::Peer => {
            "The contributor's key did not sign this text: link with the identity that earned, from its page or program."
        }
        LinkError::Wallet => {
            "The wallet did not sign this text: choose the account that the text names in the wallet and sign again."
        }
        LinkError::Handover => {
            "The wallet that is paid until now did not sign the handover: sign it with that one, or link without it and wait."
        }
        LinkError::Old => {
            "A text as new or newer was used for this contributor before: ask for a new one and sign that."
        }
        LinkError::TooMany => {
            "This contributor has named as many wallets as it can: the last one stays, and a new identity can name others."
        }
    };
    text.to_owned()
}

/// An error's text as a sentence.
pub(super) fn sentence(why: impl ToString) -> String {
    let why = why.to_string();
    let mut letters = why.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

pub(super) fn no_code() -> Refused {
    let why = "There is no such code, or its five minutes are over: start `tributary wallet link` again for a new one.";
    Refused(StatusCode::NOT_FOUND, why.to_owned())
}

pub(super) fn no_chance() -> Refused {
    Refused::later("The coordinator's system gives no random numbers just now: try again in a minute.")
}

/// How a wallet consented, in answers.
pub(super) fn name(by: LinkedBy) -> &'static str {
    match by {
        LinkedBy::Key => "key",
        LinkedBy::Contract => "contract",
        LinkedBy::Unproven => "unproven",
    }
}

/// Since 1970.
pub(super) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The host that an announced address names, if it is a name.
pub(super) fn host_of(addr: &Multiaddr) -> Option<String> {
    let text = addr.to_string();
    let mut parts = text.split('/').skip(1);
    parts.next().filter(|kind| kind.starts_with("dns")).and(parts.next()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_names_are_read_from_their_addresses() {
        let host = |text: &str| host_of(&text.parse().unwrap());
        assert_eq!(host("/dns4/train.example/tcp/443/wss").as_deref(), Some("train.example"));
        assert_eq!(host("/dns/train.example/tcp/4001").as_deref(), Some("train.example"));
        assert_eq!(host("/ip4/10.0.0.1/tcp/4001"), None);
    }

    #[test]
    fn every_refusal_is_sentences() {
        for why in [
            LinkError::Form,
            LinkError::Wallet,
            LinkError::Old,
            LinkError::Message(tributary_ledger::LinkMessage::parse("x").unwrap_err()),
        ] {
            let said = refusal(&why);
            assert!(said.ends_with('.') && said.starts_with(|c: char| c.is_ascii_uppercase()), "{said}");
        }
        assert_eq!(sentence("it is so"), "It is so.");
    }
}
