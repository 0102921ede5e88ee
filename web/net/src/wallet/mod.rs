//! Wallets, for the page: what is signed, what the log says, and what the chain holds for it. The page only carries
//! texts to the wallet and answers back.
//!
//! Enters: terms of a link and signatures; the coordinator's checkpoint and log; a wallet's answers to questions of the
//! chain. Leaves: texts, proofs, accounts, questions, and calls that claim. Refuses, in words, whatever does not hold.

mod books;
mod error;
mod link;
mod look;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use tributary_ledger::checksummed;
use tsify::{Ts, Tsify};
use wasm_bindgen::prelude::*;

use crate::options::RunFile;
use crate::platform;

pub use books::{AccountView, PaidTo};
pub use error::WalletError;
pub use link::{LinkTerms, LinkTexts, WalletSignature};
pub use look::{ChainFile, ClaimView, Question, Waits};

/// The texts that link a contributor and a wallet.
///
/// # Errors
/// One sentence for the person, if no link can be made of this.
#[wasm_bindgen(js_name = linkTexts)]
pub fn link_texts(terms: Ts<LinkTerms>) -> Result<Ts<LinkTexts>, JsError> {
    Ok(link::texts(&terms.to_rust()?)?.into_ts()?)
}

/// A wallet's signature of a text. `code`: what the chain has at the address, hex.
///
/// # Errors
/// One sentence for the person, if another account signed.
#[wasm_bindgen(js_name = walletSignature)]
pub fn wallet_signature(text: &str, signature: &str, by: &str, code: &str) -> Result<Ts<WalletSignature>, JsError> {
    Ok(link::signed(text, signature, by, code)?.into_ts()?)
}

/// The proof for the coordinator, hex, with the contributor's own signature.
///
/// # Errors
/// One sentence for the person, if the secret has another length.
#[wasm_bindgen(js_name = linkProof)]
pub fn link_proof(
    secret: &[u8],
    text: String,
    by: Ts<WalletSignature>,
    handover: Option<String>,
) -> Result<String, JsError> {
    Ok(link::proof(secret, text, &by.to_rust()?, handover.as_deref())?)
}

/// An address with its checksum.
///
/// # Errors
/// One sentence for the person, if it is none.
#[wasm_bindgen(js_name = walletAddress)]
pub fn wallet_address(text: &str) -> Result<String, JsError> {
    Ok(checksummed(&link::wallet(text)?))
}

/// A chain's id as wallets write it, from any way of writing it.
///
/// # Errors
/// One sentence for the person, if it is none.
#[wasm_bindgen(js_name = chainId)]
pub fn chain_id(text: &str) -> Result<String, JsError> {
    Ok(format!("{:#x}", link::chain(text)?))
}

/// The coordinator's log, and what the chain says to it.
#[wasm_bindgen]
pub struct Books {
    log: books::Log,
    look: Option<look::Look>,
    /// The checkpoint that this browser remembered when it began to read.
    remembered: Option<Bytes>,
}

#[wasm_bindgen]
impl Books {
    /// An empty one; `chain` where there is one.
    ///
    /// # Errors
    /// One sentence for the person, if the coordinator's files make no sense.
    #[wasm_bindgen(constructor)]
    pub fn new(run: Ts<RunFile>, chain: Option<Ts<ChainFile>>) -> Result<Books, JsError> {
        let run = run.to_rust()?;
        let chain = chain.map(|chain| chain.to_rust()).transpose()?;
        let rounds = chain.map(|chain| chain.rounds.ok_or(WalletError::NoRounds)).transpose()?;
        Ok(Books { log: books::Log::new(&run.run, &run.peer, rounds)?, look: None, remembered: None })
    }

    /// Begins to read, before the checkpoint is asked for: while this page trains, what it remembers grows, and what is
    /// read must not be found to lack what came after it.
    pub fn begin(&mut self) {
        self.remembered = platform::remembered();
    }

    /// The log is to be read up to this `/api/checkpoint`.
    ///
    /// # Errors
    /// One sentence for the person, if the coordinator did not sign it.
    #[wasm_bindgen(js_name = readTo)]
    pub fn read_to(&mut self, checkpoint: &[u8]) -> Result<(), JsError> {
        Ok(self.log.read_to(checkpoint)?)
    }

    /// The entry from which on the log is to be fetched; none if all is here.
    pub fn missing(&self) -> Option<u64> {
        self.log.missing()
    }

    /// Takes what `/api/ledger` gives from there.
    ///
    /// # Errors
    /// One sentence for the person, if the log does not hold.
    pub fn push(&mut self, page: &[u8]) -> Result<(), JsError> {
        Ok(self.log.push(page)?)
    }

    /// What a contributor holds.
    ///
    /// # Errors
    /// One sentence for the person, if this is none.
    pub fn account(&self, peer: &str) -> Result<Ts<AccountView>, JsError> {
        Ok(self.log.account(peer)?.into_ts()?)
    }

    /// Begins to ask the chain about a wallet; `now`: the time of its newest block, in seconds.
    ///
    /// # Errors
    /// One sentence for the person, if an address is none.
    pub fn look(&mut self, chain: Ts<ChainFile>, wallet: &str, now: u64) -> Result<(), JsError> {
        self.look = Some(look::Look::new(&chain.to_rust()?, self.log.run(), wallet, now)?);
        Ok(())
    }

    /// What is to be asked next; none when all is known.
    ///
    /// # Errors
    /// None that happens.
    pub fn ask(&self) -> Result<Option<Ts<Question>>, JsError> {
        let question = self.look.as_ref().and_then(look::Look::ask);
        Ok(question.map(|question| question.into_ts()).transpose()?)
    }

    /// Takes the answer to that.
    ///
    /// # Errors
    /// One sentence for the person, if it cannot be.
    pub fn tell(&mut self, answer: &str) -> Result<(), JsError> {
        if let Some(look) = &mut self.look {
            look.tell(self.log.epochs.closed(), answer)?;
        }
        Ok(())
    }

    /// What the wallet has and can have, once all was asked.
    ///
    /// # Errors
    /// None that happens.
    pub fn found(&self) -> Result<Option<Ts<ClaimView>>, JsError> {
        let ticks = self.log.ticks(self.remembered.as_deref());
        let found = self.look.as_ref().map(|look| look.view(self.log.epochs.closed(), ticks));
        Ok(found.map(|found| found.into_ts()).transpose()?)
    }
}
