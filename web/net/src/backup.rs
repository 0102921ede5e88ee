//! Identities for the page to keep: their names and their backups, which are the same as the program's.

use tributary_protocol::{Identity, backup};
use wasm_bindgen::prelude::*;

/// The peer id that belongs to a secret of 32 bytes.
///
/// # Errors
/// One sentence for the person, if the secret has another length.
#[wasm_bindgen(js_name = peerId)]
pub fn peer_id(secret: &[u8]) -> Result<String, JsError> {
    Ok(identity(secret)?.id().to_string())
}

/// The text of a backup, to be kept as a file or on paper.
///
/// # Errors
/// One sentence for the person, if the secret has another length.
#[wasm_bindgen(js_name = backupSheet)]
pub fn backup_sheet(secret: &[u8]) -> Result<String, JsError> {
    Ok(backup::sheet(&identity(secret)?))
}

/// The secret in a backup.
///
/// # Errors
/// One sentence for the person, if the text is no backup or has a typing error.
#[wasm_bindgen(js_name = backupSecret)]
pub fn backup_secret(text: &str) -> Result<Vec<u8>, JsError> {
    Ok(backup::read(text)?.secret().to_vec())
}

fn identity(secret: &[u8]) -> Result<Identity, JsError> {
    let secret = secret.try_into().map_err(|_| {
        JsError::new("The stored identity is damaged. Restore it from its backup, or clear this site's data.")
    })?;
    Ok(Identity::from_secret(secret))
}
