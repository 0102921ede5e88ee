//! An identity as text: for a file, a password manager or a sheet of paper.
//!
//! Enters: an identity, or what somebody kept of one, with white space and words of their own before it.
//! Leaves: a text, or the identity. Refuses, in words: what is no backup, one of another format, and one with
//! a typing error. The text is not encrypted: whoever has it has the identity and what it earned, and
//! [`sheet`] says so.

use std::fmt::Write;

use crate::{Hash, Identity};

/// Begins a backup of any format; a format's number and a colon follow.
const NAME: &str = "tributary-identity-";

/// The format written here: base58 (Bitcoin's alphabet) of the secret and its checksum.
const FORMAT: &str = "1";

/// Bytes of checksum, the first of the secret's BLAKE3 hash: of four billion typing errors one gets through.
const CHECKSUM: usize = 4;

/// The most bytes of text that are looked at: a sheet has a few hundred, and decoding is quadratic in what
/// stands for the secret, which [`MOST_DIGITS`] bounds.
pub const MAX_TEXT: usize = 16 * 1024;

/// 36 bytes are at most 50 base58 digits.
const MOST_DIGITS: usize = 64;

/// The backup itself: one line, without white space.
pub fn line(identity: &Identity) -> String {
    let secret = identity.secret();
    let mut bytes = secret.to_vec();
    bytes.extend(checksum(&secret));
    format!("{NAME}{FORMAT}:{}", bs58::encode(bytes).into_string())
}

/// The backup with what somebody who finds it years later must know. [`read`] takes it as it is.
pub fn sheet(identity: &Identity) -> String {
    let mut text = String::new();
    let _ = write!(
        text,
        "Backup of the Tributary contributor {}\n\
         \n\
         Whoever has the line below has this contributor's name and everything that it earned.\n\
         It is not encrypted: keep it where only you read it. To use it, choose \"Restore from a backup\"\n\
         on the page, or run: tributary identity import FILE\n\
         \n\
         {}\n",
        identity.id(),
        line(identity)
    );
    text
}

/// The identity in a text that [`line`] or [`sheet`] wrote, however its lines were broken or spaced since.
pub fn read(text: &str) -> Result<Identity, BadBackup> {
    if text.len() > MAX_TEXT {
        return Err(BadBackup::NotOne);
    }
    let packed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    // Some keyboards begin a line with a capital letter; the digits after the name keep theirs.
    let at = packed.to_ascii_lowercase().find(NAME).ok_or(BadBackup::NotOne)?;
    let (format, digits) = packed[at + NAME.len()..].split_once(':').ok_or(BadBackup::Typing)?;
    if format != FORMAT {
        let number = !format.is_empty() && format.len() < 6 && format.bytes().all(|byte| byte.is_ascii_digit());
        return Err(if number { BadBackup::Format(format.to_owned()) } else { BadBackup::Typing });
    }
    if digits.len() > MOST_DIGITS {
        return Err(BadBackup::Typing);
    }
    let bytes = bs58::decode(digits).into_vec().map_err(|_| BadBackup::Typing)?;
    let (secret, check) = bytes.split_first_chunk::<32>().ok_or(BadBackup::Typing)?;
    if *check != checksum(secret) {
        return Err(BadBackup::Typing);
    }
    Ok(Identity::from_secret(*secret))
}

fn checksum(secret: &[u8; 32]) -> [u8; CHECKSUM] {
    let [a, b, c, d, ..] = Hash::of(secret).0;
    [a, b, c, d]
}

/// Why a text is not taken for an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBackup {
    /// Something else, or too long.
    #[error("this is not a backup of a Tributary identity: one has a line that begins with {NAME}{FORMAT}:")]
    NotOne,
    /// A format that this version doesn't know.
    #[error(
        "this backup has format {0} and only format {FORMAT} is known here: use the version of Tributary that wrote it, or a newer one"
    )]
    Format(String),
    /// A character is wrong, missing or too much.
    #[error(
        "the backup has a typing error: compare it with the original, character by character, large and small \
         letters too (0, O, I and l do not occur after the colon), and leave out what follows it"
    )]
    Typing,
}
