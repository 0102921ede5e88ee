//! What an operator does: deploys once, submits each epoch once, pays in, looks.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tributary_ledger::abi::{self, Word, hex, unhex};
use tributary_ledger::{Digest, Distributor, Epoch, Wallet, address, checksummed};

use crate::send::{bytecode, file, write_json};
use crate::{ChainError, Node, Purpose, Sender, Sent};

/// What `EpochDistributor.sol` compiles to.
const DISTRIBUTOR: &str = include_str!("../../../core/contracts/compiled/EpochDistributor.json");

/// What a deployment fixes; see `EpochDistributor.Terms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The token's name.
    pub name: String,
    /// Its symbol.
    pub symbol: String,
    /// The run whose work is paid.
    pub run: Digest,
    /// Who submits roots.
    pub submitter: Wallet,
    /// Who vetoes them.
    pub guardian: Wallet,
    /// The most that one epoch adds to the shares.
    pub cap: u128,
    /// Rounds of the run that make an epoch.
    pub rounds: u64,
    /// Seconds from one epoch's earliest submission to the next one's.
    pub period: u64,
    /// Seconds from a root's submission until it counts.
    pub delay: u64,
}

/// Contracts on a chain. This is what a deployment writes down, and what everything else begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    chain: u64,
    distributor: String,
    share: String,
    run: String,
}

/// What a submission came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// It is on the chain now.
    Sent(Sent),
    /// It was before.
    Known,
}

/// Where the contracts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The epoch that is submitted next.
    pub next: u64,
    /// Rounds of an epoch.
    pub rounds: u64,
    /// Shares that were claimed.
    pub minted: u128,
    /// Fees that were ever paid in, in the coin's smallest unit.
    pub deposited: u128,
    /// For the epoch that was submitted last: when it counts, in seconds since 1970, and whether it was vetoed.
    pub last: Option<(u64, bool)>,
}

impl Deployment {
    /// Deploys, or goes on with a deployment that was stopped, and writes down what is there. `file` is that of an
    /// earlier deployment or of none.
    pub fn make(sender: &Sender, terms: &Terms, file: &Path) -> Result<Self, ChainError> {
        if let Some(known) = Self::read(file)? {
            match known.check(sender.node()) {
                Ok(()) if known.run == hex(&terms.run) => return Ok(known),
                Ok(()) => return Err(ChainError::Run(known.distributor)),
                // Taken away by a reorganisation: once more.
                Err(ChainError::NoContract(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let words = [
            terms.run,
            abi::address(&terms.submitter),
            abi::address(&terms.guardian),
            abi::number(terms.cap),
            abi::number(terms.rounds),
            abi::number(terms.period),
            abi::number(terms.delay),
        ];
        let arguments = abi::constructor([&terms.name, &terms.symbol], &words);
        let data = [&bytecode(DISTRIBUTOR)[..], arguments.as_flattened()].concat();
        let purpose = Purpose(format!("deploy-{}", &hex(&terms.run)[2..18]));
        let sent = sender.once(&purpose, None, 0, &data)?;
        let node = sender.node();
        let [share] = node.view(&sent.contract, &abi::call("share()", &[]))?[..] else {
            return Err(ChainError::NoContract(checksummed(&sent.contract)));
        };
        let share = abi::to_address(&share).ok_or_else(|| ChainError::NoContract(checksummed(&sent.contract)))?;
        let (distributor, share) = (checksummed(&sent.contract), checksummed(&share));
        let made = Self { chain: node.chain()?, distributor, share, run: hex(&terms.run) };
        write_json(file, &made)?;
        sender.done(&purpose)?;
        Ok(made)
    }

    /// What an earlier deployment wrote down.
    pub fn read(path: &Path) -> Result<Option<Self>, ChainError> {
        match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file(path.to_owned(), &error)),
            Ok(bytes) => {
                let made = serde_json::from_slice::<Self>(&bytes).map_err(|error| error.to_string());
                let made = made.and_then(|made| made.at().map(|_| made).ok_or_else(|| "no addresses in it".to_owned()));
                made.map(Some).map_err(|why| ChainError::File { path: path.to_owned(), why })
            }
        }
    }

    /// The distributor, as leaves name it.
    pub fn at(&self) -> Option<Distributor> {
        Some(Distributor { chain: self.chain, contract: address(&self.distributor)? })
    }

    /// The distributor's address.
    pub fn distributor(&self) -> &str {
        &self.distributor
    }

    /// The shares' address.
    pub fn share(&self) -> &str {
        &self.share
    }

    /// The run whose work is paid, if the file says so.
    pub fn run(&self) -> Option<Digest> {
        unhex(&self.run)?.try_into().ok()
    }

    /// Whether a node is of this chain and the contracts are there and of this run.
    pub fn check(&self, node: &Node) -> Result<(), ChainError> {
        let got = node.chain()?;
        if got != self.chain {
            return Err(ChainError::Chain { expected: self.chain, got });
        }
        if !node.has_code(&self.contract()?)? {
            return Err(ChainError::NoContract(self.distributor.clone()));
        }
        let run = self.words(node, "run()", &[])?;
        if run.first().map(|word| hex(word)).as_ref() == Some(&self.run) {
            Ok(())
        } else {
            Err(ChainError::Run(self.distributor.clone()))
        }
    }

    fn check_run(&self, node: &Node, run: &Digest) -> Result<(), ChainError> {
        self.check(node)?;
        if self.run().as_ref() == Some(run) { Ok(()) } else { Err(ChainError::Run(self.distributor.clone())) }
    }

    /// Rounds of an epoch.
    pub fn rounds(&self, node: &Node) -> Result<u64, ChainError> {
        self.small(node, "rounds()")
    }

    /// Submits the next epoch that has closed.
    pub fn submit(&self, sender: &Sender, run: &Digest, epochs: &[Epoch]) -> Result<(u64, Submission), ChainError> {
        let node = sender.node();
        self.check_run(node, run)?;
        let (contract, next) = (self.contract()?, self.small(node, "next()")?);
        // All that is there must be ours, whoever sent it, but for what was vetoed, which counts for nothing.
        for epoch in epochs.iter().filter(|epoch| epoch.number < next) {
            let known = self.words(node, "epochs(uint64)", &[abi::number(epoch.number)])?;
            let ours = self.at().map(|at| epoch.root(&at));
            if known.first() != ours.as_ref() && known.get(5) == Some(&[0; 32]) {
                return Err(ChainError::OtherRoot(epoch.number));
            }
            sender.done(&purpose(epoch.number))?;
        }
        let Some(epoch) = epochs.iter().find(|epoch| epoch.number == next) else {
            return match epochs.last() {
                Some(last) if last.number < next => Ok((last.number, Submission::Known)),
                _ => Err(ChainError::NothingToSubmit((next + 1) * self.rounds(node)? - 1)),
            };
        };
        let at = self.at().ok_or_else(|| ChainError::NoContract(self.distributor.clone()))?;
        let total = epoch.tree(&at).map_or(0, |tree| tree.total());
        let data = abi::submit(next, &epoch.root(&at), &epoch.log, &epoch.data(), total);
        let sent = sender.once(&purpose(next), Some(contract), 0, &data)?;
        sender.done(&purpose(next))?;
        Ok((next, Submission::Sent(sent)))
    }

    /// Vetoes every root that does not count yet and that the log does not give, or the one of the epoch that is named,
    /// whatever the log gives; says which.
    pub fn veto(
        &self,
        sender: &Sender,
        run: &Digest,
        epochs: &[Epoch],
        named: Option<u64>,
    ) -> Result<Vec<u64>, ChainError> {
        let node = sender.node();
        self.check_run(node, run)?;
        let (contract, at, now) = (self.contract()?, self.at(), node.time()?);
        let mut vetoed = Vec::new();
        for number in (0..self.small(node, "next()")?).rev() {
            let known = self.words(node, "epochs(uint64)", &[abi::number(number)])?;
            let &[root, log, data, _, from, done] = &known[..] else { return Err(ChainError::OtherRoot(number)) };
            // Older ones count as well.
            if abi::to_number(&from).is_none_or(|from| from <= u128::from(now)) {
                break;
            }
            let ours = epochs.iter().find(|epoch| epoch.number == number).zip(at.as_ref());
            let good = match (named, ours) {
                (Some(named), _) => named != number,
                (None, Some((epoch, at))) => (epoch.root(at), epoch.log, epoch.data()) == (root, log, data),
                (None, None) => return Err(ChainError::Ahead(number)),
            };
            if good || done != [0; 32] {
                continue;
            }
            let purpose = Purpose(format!("veto-{number}"));
            sender.once(&purpose, Some(contract), 0, &abi::call("veto(uint64)", &[abi::number(number)]))?;
            sender.done(&purpose)?;
            vetoed.push(number);
        }
        Ok(vetoed)
    }

    /// Pays in for the model. Under one name a sum is paid once, however often this is called.
    pub fn deposit(&self, sender: &Sender, name: &str, amount: u128) -> Result<Sent, ChainError> {
        self.check(sender.node())?;
        let share = address(&self.share).ok_or_else(|| ChainError::NoContract(self.share.clone()))?;
        sender.once(&Purpose(format!("fees-{name}")), Some(share), amount, &abi::call("depositFees()", &[]))
    }

    /// Where the contracts are.
    pub fn status(&self, node: &Node) -> Result<Status, ChainError> {
        self.check(node)?;
        let next = self.small(node, "next()")?;
        let share = address(&self.share).ok_or_else(|| ChainError::NoContract(self.share.clone()))?;
        let deposited = node.view(&share, &abi::call("deposited()", &[]))?;
        let last = match next.checked_sub(1) {
            None => None,
            Some(last) => {
                // root, log, data, total, countsFrom, vetoed
                let epoch = self.words(node, "epochs(uint64)", &[abi::number(last)])?;
                let field = |at: usize| epoch.get(at).and_then(abi::to_number).unwrap_or_default();
                Some((field(4) as u64, field(5) != 0))
            }
        };
        let minted = self.words(node, "minted()", &[])?;
        let only = |words: &[Word]| words.first().and_then(abi::to_number).unwrap_or_default();
        Ok(Status { next, rounds: self.rounds(node)?, minted: only(&minted), deposited: only(&deposited), last })
    }

    fn contract(&self) -> Result<Wallet, ChainError> {
        address(&self.distributor).ok_or_else(|| ChainError::NoContract(self.distributor.clone()))
    }

    fn words(&self, node: &Node, signature: &str, words: &[Word]) -> Result<Vec<Word>, ChainError> {
        node.view(&self.contract()?, &abi::call(signature, words))
    }

    fn small(&self, node: &Node, signature: &str) -> Result<u64, ChainError> {
        let found = self.words(node, signature, &[])?;
        let small = found.first().and_then(abi::to_number).and_then(|number| u64::try_from(number).ok());
        small.ok_or_else(|| ChainError::NoContract(self.distributor.clone()))
    }
}

fn purpose(epoch: u64) -> Purpose {
    Purpose(format!("epoch-{epoch}"))
}
