//! Codes by which a program without a wallet has a page, on this machine or a phone, sign for it.
//!
//! Enters: who asks, and later what the wallet signed. Leaves: a code, and what was signed, to whoever knows the code. A
//! program shows the wallet to its person before it signs too, so a code lets nobody in. Refuses a second answer, and
//! codes that are over or were never given. Of too many the oldest is forgotten.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tributary_ledger::MESSAGE_SECONDS;
use tributary_protocol::Id;

/// Codes at a time: each with an answer of a few kilobytes.
const MOST: usize = 1024;

/// Letters and digits that nobody takes for one another.
const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// What a page's wallet signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The text.
    pub(super) text: String,
    /// Its signature in hex.
    pub(super) signature: String,
    /// Whether a contract has to be asked about it.
    #[serde(default)]
    pub(super) contract: bool,
    /// The signature of the wallet that is paid until now, in hex, if there is one.
    #[serde(default)]
    pub(super) handover: Option<String>,
}

/// What was asked for and not answered, or not fetched, yet; oldest first.
#[derive(Debug, Default)]
pub(super) struct Codes(VecDeque<Open>);

#[derive(Debug)]
pub(super) struct Open {
    code: String,
    until: u64,
    pub(super) peer: Id,
    pub(super) answer: Option<Answer>,
}

impl Codes {
    /// A code for a contributor, out of these bytes by chance.
    pub(super) fn open(&mut self, peer: Id, chance: [u8; 8], now: u64) -> String {
        self.0.retain(|open| now < open.until);
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        let letters = chance.map(|byte| LETTERS[usize::from(byte) % LETTERS.len()]);
        let code = String::from_utf8_lossy(&letters).into_owned();
        self.0.push_back(Open { code: code.clone(), until: now + MESSAGE_SECONDS, peer, answer: None });
        format!("{}-{}", &code[..4], &code[4..])
    }

    /// What is under a code, which people may write in small letters.
    pub(super) fn find(&mut self, code: &str, now: u64) -> Option<&mut Open> {
        let code = code.replace('-', "").to_ascii_uppercase();
        self.0.iter_mut().find(|open| open.code == code && now < open.until)
    }

    /// Whether a page answered with this text, which was found to be its own then.
    pub(super) fn has(&self, text: &str, now: u64) -> bool {
        self.0.iter().any(|open| now < open.until && open.answer.as_ref().is_some_and(|answer| answer.text == text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_leads_to_its_answer_for_five_minutes() {
        let mut codes = Codes::default();
        let code = codes.open(Id([1; 32]), [0, 1, 2, 3, 28, 29, 30, 63], 100);
        assert_eq!(code, "ABCD-6789");
        assert!(codes.find("abcd6789", 399).is_some_and(|open| open.peer == Id([1; 32]) && open.answer.is_none()));
        let answer = Answer { text: "t".to_owned(), signature: "0x".to_owned(), contract: false, handover: None };
        codes.find(&code, 399).unwrap().answer = Some(answer);
        assert!(codes.has("t", 399) && !codes.has("t", 400) && !codes.has("u", 399));
        assert!(codes.find(&code, 400).is_none() && codes.find("ABCD-678", 100).is_none());
    }

    #[test]
    fn of_too_many_the_oldest_is_forgotten() {
        let mut codes = Codes::default();
        let code = |n: usize| [(n % 32) as u8, (n / 32 % 32) as u8, (n / 1024) as u8, 0, 0, 0, 0, 0];
        let all: Vec<_> = (0..=MOST).map(|n| codes.open(Id([1; 32]), code(n), 100)).collect();
        assert_eq!(codes.0.len(), MOST);
        assert!(codes.find(&all[0], 100).is_none() && codes.find(&all[1], 100).is_some());
        codes.open(Id([1; 32]), code(0), 400);
        assert_eq!(codes.0.len(), 1);
    }
}
