//! The contracts on a chain of their own in memory, with an account for every role and three that hold shares.
#![allow(dead_code, reason = "each test file uses some of it")]

use alloy_sol_types::{SolCall, SolConstructor, SolError, SolValue, sol};
use revm::context::TxEnv;
use revm::context::result::{ExecutionResult, Output};
use revm::database::{CacheDB, EmptyDB, InMemoryDB};
use revm::handler::{MainnetContext, MainnetEvm};
use revm::primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use revm::state::AccountInfo;
use revm::{Context, ExecuteCommitEvm as _, MainBuilder as _, MainContext as _};

sol!(EpochDistributor, "../../core/contracts/compiled/EpochDistributor.json");
sol!(ModelShare, "../../core/contracts/compiled/ModelShare.json");
sol!(Greedy, "compiled/Greedy.json");

/// Who deploys and then has no right left.
pub(crate) const DEPLOYER: Address = Address::repeat_byte(0xd0);
/// Who submits roots.
pub(crate) const SUBMITTER: Address = Address::repeat_byte(0x50);
/// Who vetoes them.
pub(crate) const GUARDIAN: Address = Address::repeat_byte(0x60);
/// Who earn.
pub(crate) const HOLDERS: [Address; 3] = [Address::repeat_byte(1), Address::repeat_byte(2), Address::repeat_byte(3)];

/// When the contracts were deployed.
pub(crate) const START: u64 = 1_000_000;
/// Seconds of an epoch.
pub(crate) const PERIOD: u64 = 100;
/// Seconds until a root counts.
pub(crate) const DELAY: u64 = 60;
/// Shares of an epoch.
pub(crate) const CAP: u128 = 1 << 100;
/// Coins that everybody begins with, so many that nobody runs out.
pub(crate) const COINS: U256 = U256::from_limbs([0, 0, 1 << 40, 0]);

/// Why a call failed: the error's first four bytes, all zero if it has none.
pub(crate) type Refusal = [u8; 4];

/// The refusal of a named error.
pub(crate) fn refusal<E: SolError>() -> Refusal {
    E::SELECTOR
}

/// The chain.
pub(crate) struct World {
    evm: MainnetEvm<MainnetContext<InMemoryDB>>,
    pub(crate) distributor: Address,
    pub(crate) share: Address,
    /// A contract that holds shares and claims fees while it is paid some.
    pub(crate) greedy: Address,
    /// What the last call cost.
    pub(crate) gas: u64,
}

/// The terms that everything but the constructor's own test is deployed with.
pub(crate) fn terms() -> EpochDistributor::Terms {
    EpochDistributor::Terms {
        run: B256::repeat_byte(9),
        submitter: SUBMITTER,
        guardian: GUARDIAN,
        cap: CAP,
        rounds: 4,
        period: PERIOD,
        delay: DELAY,
    }
}

impl World {
    /// Freshly deployed.
    pub(crate) fn new() -> Self {
        let mut db = CacheDB::<EmptyDB>::default();
        for rich in [DEPLOYER, SUBMITTER, GUARDIAN].into_iter().chain(HOLDERS) {
            db.insert_account_info(rich, AccountInfo { balance: COINS, ..AccountInfo::default() });
        }
        let nobody = Address::ZERO;
        let mut world = Self { evm: evm(db), distributor: nobody, share: nobody, greedy: nobody, gas: 0 };
        world.warp(START);
        world.greedy = world.deploy(&Greedy::BYTECODE, &[]).expect("Greedy deploys");
        world.distributor = world.deploy_with(terms()).expect("the terms make sense");
        world.share = world.view(world.distributor, EpochDistributor::shareCall {});
        world
    }

    /// Another that is as this one.
    pub(crate) fn again(&self) -> Self {
        let mut again = Self { evm: evm(self.evm.ctx.journaled_state.database.clone()), ..*self };
        again.evm.ctx.block.timestamp = self.evm.ctx.block.timestamp;
        again
    }

    /// Deploys a distributor.
    pub(crate) fn deploy_with(&mut self, terms: EpochDistributor::Terms) -> Result<Address, Refusal> {
        let (name, symbol) = ("Tributary".to_owned(), "TRIB".to_owned());
        let arguments = EpochDistributor::constructorCall { name, symbol, terms }.abi_encode();
        self.deploy(&EpochDistributor::BYTECODE, &arguments)
    }

    fn deploy(&mut self, code: &Bytes, arguments: &[u8]) -> Result<Address, Refusal> {
        match self.transact(DEPLOYER, TxKind::Create, [code, arguments].concat().into(), U256::ZERO)? {
            Output::Create(_, Some(at)) => Ok(at),
            other => panic!("a deployment gave {other:?}"),
        }
    }

    /// Sends bytes and coins.
    pub(crate) fn send(&mut self, from: Address, to: Address, data: Bytes, value: U256) -> Result<Bytes, Refusal> {
        self.transact(from, TxKind::Call(to), data, value).map(Output::into_data)
    }

    /// Calls a function.
    pub(crate) fn call<C: SolCall>(&mut self, from: Address, to: Address, call: C) -> Result<C::Return, Refusal> {
        let answer = self.send(from, to, call.abi_encode().into(), U256::ZERO)?;
        Ok(C::abi_decode_returns(&answer).expect("an answer has its function's form"))
    }

    /// Calls a function that never fails.
    pub(crate) fn view<C: SolCall>(&mut self, to: Address, call: C) -> C::Return {
        self.call(DEPLOYER, to, call).unwrap_or_else(|refusal| panic!("a view failed: {refusal:x?}"))
    }

    /// Pays fees.
    pub(crate) fn deposit(&mut self, from: Address, value: U256) -> Result<(), Refusal> {
        self.send(from, self.share, ModelShare::depositFeesCall {}.abi_encode().into(), value).map(drop)
    }

    /// Coins of an account.
    pub(crate) fn coins(&self, of: Address) -> U256 {
        self.evm.ctx.journaled_state.database.cache.accounts.get(&of).map_or(U256::ZERO, |known| known.info.balance)
    }

    /// Sets the clock.
    pub(crate) fn warp(&mut self, to: u64) {
        self.evm.ctx.block.timestamp = U256::from(to);
    }

    fn transact(&mut self, from: Address, kind: TxKind, data: Bytes, value: U256) -> Result<Output, Refusal> {
        let tx = TxEnv { caller: from, kind, data, value, gas_limit: 10_000_000, ..TxEnv::default() };
        let result = self.evm.transact_commit(tx).expect("everybody has coins enough");
        self.gas = result.tx_gas_used();
        match result {
            ExecutionResult::Success { output, .. } => Ok(output),
            ExecutionResult::Revert { output, .. } => Err(output.first_chunk().copied().unwrap_or_default()),
            ExecutionResult::Halt { reason, .. } => panic!("a call halted: {reason:?}"),
        }
    }
}

fn evm(db: InMemoryDB) -> MainnetEvm<MainnetContext<InMemoryDB>> {
    Context::mainnet().with_db(db).modify_cfg_chained(|cfg| cfg.disable_nonce_check = true).build_mainnet()
}

/// An epoch's leaves and the tree over them; two leaves at least, so that proofs have hashes.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    leaves: Vec<B256>,
}

impl Tree {
    /// The tree over what accounts have earned in all.
    pub(crate) fn new(world: &World, sums: &[(Address, u128)]) -> Self {
        let leaf = |(account, sum): &(Address, u128)| leaf(world.distributor, *account, U256::from(*sum));
        Self { leaves: sums.iter().map(leaf).collect() }
    }

    /// The root.
    pub(crate) fn root(&self) -> B256 {
        self.climb(0).0
    }

    /// What leads from leaf `index` to the root.
    pub(crate) fn proof(&self, index: usize) -> Vec<B256> {
        self.climb(index).1
    }

    /// Any tree will do whose pairs are sorted; in this one who is last without a neighbour moves up.
    fn climb(&self, index: usize) -> (B256, Vec<B256>) {
        let (mut row, mut at, mut proof) = (self.leaves.clone(), index, Vec::new());
        while row.len() > 1 {
            proof.extend(row.get(at ^ 1));
            row = row.chunks(2).map(|pair| if let [a, b] = pair { pair_hash(*a, *b) } else { pair[0] }).collect();
            at /= 2;
        }
        (row[0], proof)
    }
}

fn pair_hash(a: B256, b: B256) -> B256 {
    keccak256([a.min(b), a.max(b)].concat())
}

fn leaf(distributor: Address, account: Address, sum: U256) -> B256 {
    keccak256(keccak256((U256::from(1), distributor, account, sum).abi_encode()))
}
