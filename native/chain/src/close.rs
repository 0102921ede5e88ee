//! Epochs out of a log.

use tributary_ledger::{Digest, Epoch, Epochs};

use crate::ChainError;

/// The run of a log, and its epochs of so many rounds that have closed.
pub fn close<B: AsRef<[u8]>>(
    log: impl IntoIterator<Item = B>,
    rounds: u64,
) -> Result<(Digest, Vec<Epoch>), ChainError> {
    let mut epochs = Epochs::new(rounds)?;
    log.into_iter().try_for_each(|bytes| epochs.append_bytes(bytes.as_ref()))?;
    Ok((epochs.book().ledger().run().unwrap_or_default(), epochs.closed().to_vec()))
}
