//! What a wallet can claim: questions of the chain, one after the other, and what follows from the answers and the log.
//!
//! Enters: where the contract is, the log's epochs, the time of the chain's newest block, and the answers. Leaves: the
//! questions, what is claimed and due, and the calls that claim it. Refuses a contract of another run or of other terms
//! than the coordinator says, and a root that the log does not give.

use serde::{Deserialize, Serialize};
use tributary_ledger::abi::{self, Word, hex, unhex, words};
use tributary_ledger::{Distributor, Epoch, Wallet, checksummed, payout_leaf, verify_payout};
use tributary_protocol::Hash;
use tsify::Tsify;

use super::{WalletError, link};

/// Epochs that are looked at from the newest back. More are vetoed or wait at once only if nobody minds the chain.
const MOST_EPOCHS: u64 = 64;

/// The coordinator's `/api/chain`.
#[derive(Debug, Clone, Serialize, Deserialize, Tsify)]
pub struct ChainFile {
    /// The chain's id, in decimal digits.
    pub chain: String,
    /// The contract's address.
    pub distributor: String,
    /// The shares' address.
    pub share: String,
    /// Rounds of an epoch; absent until the coordinator has reached a node.
    pub rounds: Option<u64>,
    /// Where people look at transactions.
    pub explorer: Option<String>,
}

/// A question of the chain, for `eth_call`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Tsify)]
pub struct Question {
    /// The contract.
    pub to: String,
    /// The call.
    pub data: String,
}

/// What a wallet has and can have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Tsify)]
#[tsify(large_number_types_as_bigints)]
pub struct ClaimView {
    /// Checked one after the other, each true or not: signed, in the log, unrewritten, leaf recomputed, root on chain.
    pub ticks: Vec<bool>,
    /// Credits that were ever claimed.
    #[tsify(type = "bigint")]
    pub claimed: u128,
    /// Credits that can be claimed now.
    #[tsify(type = "bigint")]
    pub due: u128,
    /// Claims them; absent where there is nothing or something is wrong.
    pub claim: Option<Question>,
    /// Shares that it holds, in credits.
    #[tsify(type = "bigint")]
    pub shares: u128,
    /// Fees that can be claimed, in the coin's smallest unit.
    #[tsify(type = "bigint")]
    pub fees: u128,
    /// Claims those.
    pub claim_fees: Option<Question>,
    /// An epoch whose root the chain has otherwise than the log.
    #[tsify(type = "bigint | undefined")]
    pub differs: Option<u64>,
    /// The newest root that waits for its delay.
    pub waits: Option<Waits>,
    /// The round with which the epoch ends that is under way.
    #[tsify(type = "bigint")]
    pub closes: u64,
}

/// A root that does not count yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Tsify)]
#[tsify(large_number_types_as_bigints)]
pub struct Waits {
    /// What can be claimed more when it counts.
    #[tsify(type = "bigint")]
    pub due: u128,
    /// When, in seconds since 1970.
    #[tsify(type = "bigint")]
    pub from: u64,
}

/// What is asked, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Run,
    Rounds,
    Share,
    Next,
    Claimed,
    Fees,
    Shares,
    Epoch(u64),
    Done,
}

/// The questions and what was found.
#[derive(Debug)]
pub(crate) struct Look {
    at: Distributor,
    run: Hash,
    rounds: u64,
    share: Wallet,
    wallet: Wallet,
    now: u64,
    step: Step,
    next: u64,
    claimed: u128,
    fees: u128,
    shares: u128,
    /// The epoch whose root counts and is the log's.
    counts: Option<u64>,
    differs: Option<u64>,
    waits: Option<(u64, u64)>,
}

impl Look {
    /// For a wallet; `now`: the time of the chain's newest block, in seconds.
    pub(crate) fn new(chain: &ChainFile, run: Hash, wallet: &str, now: u64) -> Result<Self, WalletError> {
        let contract = |text: &str| link::wallet(text).map_err(|_| WalletError::Coordinator("contract's address"));
        Ok(Self {
            at: Distributor { chain: link::chain(&chain.chain)?, contract: contract(&chain.distributor)? },
            run,
            rounds: chain.rounds.ok_or(WalletError::NoRounds)?,
            share: contract(&chain.share)?,
            wallet: link::wallet(wallet)?,
            now,
            step: Step::Run,
            next: 0,
            claimed: 0,
            fees: 0,
            shares: 0,
            counts: None,
            differs: None,
            waits: None,
        })
    }

    /// What is to be asked now; None when all is known.
    pub(crate) fn ask(&self) -> Option<Question> {
        let wallet = [abi::address(&self.wallet)];
        let (to, data) = match self.step {
            Step::Run => (&self.at.contract, abi::call("run()", &[])),
            Step::Rounds => (&self.at.contract, abi::call("rounds()", &[])),
            Step::Share => (&self.at.contract, abi::call("share()", &[])),
            Step::Next => (&self.at.contract, abi::call("next()", &[])),
            Step::Claimed => (&self.at.contract, abi::call("claimed(address)", &wallet)),
            Step::Fees => (&self.share, abi::call("feesOf(address)", &wallet)),
            Step::Shares => (&self.share, abi::call("balanceOf(address)", &wallet)),
            Step::Epoch(number) => (&self.at.contract, abi::call("epochs(uint64)", &[abi::number(number)])),
            Step::Done => return None,
        };
        Some(question(to, &data))
    }

    /// Takes the answer to [`Look::ask`].
    pub(crate) fn tell(&mut self, epochs: &[Epoch], answer: &str) -> Result<(), WalletError> {
        let bytes = unhex(answer).unwrap_or_default();
        if bytes.is_empty() {
            return Err(WalletError::NoContract);
        }
        let found = words(&bytes).unwrap_or_default();
        let [first, ..] = found else { return Err(WalletError::Answer { question: "eth_call" }) };
        let number = |question| abi::to_number(first).ok_or(WalletError::Answer { question });
        self.step = match self.step {
            Step::Run if *first != self.run.0 => return Err(WalletError::Contract("run")),
            Step::Run => Step::Rounds,
            Step::Rounds if number("rounds()")? != u128::from(self.rounds) => {
                return Err(WalletError::Contract("rounds an epoch"));
            }
            Step::Rounds => Step::Share,
            Step::Share if abi::to_address(first) != Some(self.share) => return Err(WalletError::Contract("shares")),
            Step::Share => Step::Next,
            Step::Next => {
                self.next = u64::try_from(number("next()")?).map_err(|_| WalletError::Answer { question: "next()" })?;
                Step::Claimed
            }
            Step::Claimed => {
                self.claimed = number("claimed(address)")?;
                Step::Fees
            }
            Step::Fees => {
                self.fees = number("feesOf(address)")?;
                Step::Shares
            }
            Step::Shares => {
                self.shares = number("balanceOf(address)")?;
                self.before(self.next)
            }
            Step::Epoch(epoch) => self.judge(epoch, epochs, found)?,
            Step::Done => Step::Done,
        };
        Ok(())
    }

    fn before(&self, epoch: u64) -> Step {
        match epoch.checked_sub(1) {
            Some(before) if self.next - before <= MOST_EPOCHS => Step::Epoch(before),
            _ => Step::Done,
        }
    }

    /// What the chain has for an epoch: root, log, data, total, when it counts, whether it was vetoed.
    fn judge(&mut self, number: u64, epochs: &[Epoch], found: &[Word]) -> Result<Step, WalletError> {
        let &[root, log, data, _, from, vetoed] = found else {
            return Err(WalletError::Answer { question: "epochs(uint64)" });
        };
        if vetoed != [0; 32] {
            return Ok(self.before(number));
        }
        let ours = usize::try_from(number).ok().and_then(|number| epochs.get(number));
        let same = |epoch: &&Epoch| epoch.root(&self.at) == root && epoch.log == log && epoch.data() == data;
        if ours.filter(same).is_none() {
            self.differs = Some(number);
            return Ok(Step::Done);
        }
        let from = abi::to_number(&from).and_then(|from| u64::try_from(from).ok());
        let from = from.ok_or(WalletError::Answer { question: "epochs(uint64)" })?;
        if from > self.now {
            self.waits.get_or_insert((number, from));
            return Ok(self.before(number));
        }
        self.counts = Some(number);
        Ok(Step::Done)
    }

    /// What came of it. `signed`: whether the log is what the coordinator signed, and whether it continues what this
    /// browser remembers.
    pub(crate) fn view(&self, epochs: &[Epoch], (logged, unrewritten): (bool, bool)) -> ClaimView {
        let epoch = |number: u64| usize::try_from(number).ok().and_then(|number| epochs.get(number));
        let sum = |number| epoch(number).and_then(|epoch| epoch.sums.get(&self.wallet)).copied().unwrap_or_default();
        let counted = self.counts.map_or(0, sum);
        let tree = self.counts.and_then(epoch).and_then(|epoch| epoch.tree(&self.at));
        let proof = tree.as_ref().and_then(|tree| tree.proof(&self.wallet));
        let leaf = payout_leaf(&self.at, &self.wallet, counted);
        // The contract's own check, before anybody pays for gas.
        let proven = match (&tree, &proof) {
            (Some(tree), Some(proof)) => verify_payout(&tree.root(), &leaf, proof),
            _ => false,
        };
        let ticks = vec![true, logged, unrewritten, proven, self.counts.is_some() && self.differs.is_none()];
        let due = u128::from(counted).saturating_sub(self.claimed);
        let all = ticks.iter().all(|tick| *tick) && due > 0;
        let claim = self
            .counts
            .zip(proof)
            .filter(|_| all)
            .map(|(epoch, proof)| question(&self.at.contract, &abi::claim(epoch, &self.wallet, counted, &proof)));
        let waits = self.waits.map(|(epoch, from)| {
            let due = u128::from(sum(epoch)).saturating_sub(self.claimed.max(u128::from(counted)));
            Waits { due, from }
        });
        let fees = (self.fees > 0)
            .then(|| question(&self.share, &abi::call("claimFees(address)", &[abi::address(&self.wallet)])));
        ClaimView {
            ticks,
            claimed: self.claimed,
            due,
            claim,
            shares: self.shares,
            fees: self.fees,
            claim_fees: fees,
            differs: self.differs,
            waits,
            closes: (epochs.len() as u64 + 1).saturating_mul(self.rounds) - 1,
        }
    }
}

fn question(to: &Wallet, data: &[u8]) -> Question {
    Question { to: checksummed(to), data: hex(data) }
}
