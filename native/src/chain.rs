//! `tributary chain`: what an operator does on a chain, so that what contributors earned can be claimed there.
//!
//! Enters: a coordinator's log and a node's address; the key from the environment or a keystore, never from a flag, which
//! others on the machine could read. Leaves: contracts, roots, fees, and files in a folder that make each command one that
//! can be stopped anywhere and repeated. Refuses: with one sentence that says what to do.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use tributary_chain::{Deployment, Key, Node, Sender, Submission, Terms, close};
use tributary_ledger::{Book, Distributor, Wallet, address, checksummed};

use crate::ledger;
use crate::output::Output;

/// The key as 64 hex digits.
const KEY: &str = "TRIBUTARY_CHAIN_KEY";
/// A keystore's password.
const PASSWORD: &str = "TRIBUTARY_CHAIN_PASSWORD";
/// What a deployment writes down.
const DEPLOYMENT: &str = "chain.json";

#[derive(Debug, Subcommand)]
pub(crate) enum ChainCommand {
    /// Deploy the contracts that earnings are claimed from, once
    ///
    /// All rights in them are fixed now and nobody can change them later: who submits (this command's key), who can veto,
    /// how much an epoch may add, how long a root waits.
    #[command(verbatim_doc_comment)]
    Deploy(DeployArgs),
    /// Put the root of the next epoch that has closed on the chain
    Submit(SubmitArgs),
    /// As the guardian: refuse each root that does not count yet and is not what the log gives
    ///
    /// A refused epoch stays empty; what was due for it comes with the next one. Run this once in each root's delay, with a
    /// log that you fetched yourself.
    #[command(verbatim_doc_comment)]
    Veto(VetoArgs),
    /// Say where the contracts are and what they hold
    Status(ChainArgs),
    /// Pay for the model: what is paid in goes to whoever holds shares now
    DepositFees(DepositArgs),
}

/// What every command needs.
#[derive(Debug, Args)]
pub(crate) struct ChainArgs {
    /// A node of the chain
    #[arg(long, value_name = "URL", env = "TRIBUTARY_CHAIN_RPC", hide_env_values = true)]
    rpc: String,
    /// Folder for what is deployed and under way
    #[arg(long, value_name = "DIR", default_value = "chain", env = "TRIBUTARY_CHAIN_STATE", hide_env_values = true)]
    state: PathBuf,
    /// Keystore whose password is in TRIBUTARY_CHAIN_PASSWORD; without it the key is in TRIBUTARY_CHAIN_KEY
    #[arg(long, value_name = "FILE", env = "TRIBUTARY_CHAIN_KEYSTORE", hide_env_values = true)]
    keystore: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// The log of the run that is paid: a coordinator's page, a saved log, or a coordinator's state folder
    #[arg(value_name = "URL|FILE")]
    log: String,
    #[command(flatten)]
    chain: ChainArgs,
    /// Who can veto a root before it counts; not the account that submits
    #[arg(long, value_name = "ADDRESS")]
    guardian: String,
    /// The shares' name
    #[arg(long, default_value = "Tributary")]
    name: String,
    /// The shares' symbol
    #[arg(long, default_value = "TRIB")]
    symbol: String,
    /// Rounds that make an epoch: a day of rounds of a minute
    #[arg(long, default_value_t = 1440)]
    rounds: u64,
    /// The most that an epoch adds, in credits [default: what its rounds share out]
    #[arg(long)]
    cap: Option<u128>,
    /// Seconds from one epoch's earliest submission to the next one's: somewhat less than an epoch takes
    #[arg(long, value_name = "SECONDS", default_value_t = 64_800)]
    period: u64,
    /// Seconds that a root waits for a veto
    #[arg(long, value_name = "SECONDS", default_value_t = 172_800)]
    delay: u64,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The run's log: a coordinator's page, a saved log, or a coordinator's state folder
    #[arg(value_name = "URL|FILE")]
    log: String,
    #[command(flatten)]
    chain: ChainArgs,
    /// Write the list of payouts here, which everyone must be able to read: the chain has its hash
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct VetoArgs {
    /// The run's log: a coordinator's page, a saved log, or a coordinator's state folder
    #[arg(value_name = "URL|FILE")]
    log: String,
    #[command(flatten)]
    chain: ChainArgs,
    /// Refuse this epoch's root, whatever the log gives
    #[arg(long, value_name = "NUMBER")]
    epoch: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct DepositArgs {
    #[command(flatten)]
    chain: ChainArgs,
    /// The sum in the coin's smallest unit
    #[arg(long, value_name = "WEI")]
    amount: u128,
    /// Names this payment, so that it is made once however often the command is run
    #[arg(long, value_name = "NAME")]
    payment: String,
}

/// Does what is asked.
pub(crate) fn run(command: &ChainCommand) -> anyhow::Result<()> {
    match command {
        ChainCommand::Deploy(args) => deploy(args),
        ChainCommand::Submit(args) => submit(args),
        ChainCommand::Veto(args) => veto(args),
        ChainCommand::Status(args) => status(args),
        ChainCommand::DepositFees(args) => deposit(args),
    }
}

fn deploy(args: &DeployArgs) -> anyhow::Result<()> {
    let book = Book::read(ledger::entries(&args.log)?, None).context("the log is not what it should be")?;
    let run = book.ledger().run().context("the log is empty: deploy when a round has settled")?;
    let sender = args.chain.sender()?;
    let pool = book.ledger().rule().map_or(0, |rule| rule.pool);
    let terms = Terms {
        name: args.name.clone(),
        symbol: args.symbol.clone(),
        run,
        submitter: sender.address(),
        guardian: wallet(&args.guardian, "--guardian")?,
        cap: args.cap.unwrap_or(u128::from(pool) * u128::from(args.rounds)),
        rounds: args.rounds,
        period: args.period,
        delay: args.delay,
    };
    let made = Deployment::make(&sender, &terms, &args.chain.deployment())?;
    let (distributor, share) = (made.distributor().to_owned(), made.share().to_owned());
    Output::new().event(
        || json!({"event": "deployed", "distributor": distributor, "share": share}),
        || format!("Earnings are claimed from {distributor}; the shares are {share}."),
    );
    Ok(())
}

fn submit(args: &SubmitArgs) -> anyhow::Result<()> {
    let (sender, made) = (args.chain.sender()?, args.chain.read()?);
    let (run, epochs) = close(ledger::entries(&args.log)?, made.rounds(sender.node())?)?;
    let (number, submission) = made.submit(&sender, &run, &epochs)?;
    let epoch = epochs.iter().find(|epoch| epoch.number == number).context("the log has lost an epoch")?;
    if let Some(path) = &args.list {
        std::fs::write(path, epoch.list()).with_context(|| format!("{} can't be written", path.display()))?;
    }
    let total: u64 = epoch.sums.values().sum();
    let hash = if let Submission::Sent(sent) = &submission { Some(sent.hash.clone()) } else { None };
    Output::new().event(
        || json!({"event": "submitted", "epoch": number, "wallets": epoch.sums.len(), "total": total, "transaction": hash}),
        || match &hash {
            Some(hash) => format!("Epoch {number}: {total} credits for {} wallets, transaction {hash}.", epoch.sums.len()),
            None => format!("Epoch {number} is on the chain already, as this log gives it; no newer one has closed."),
        },
    );
    Ok(())
}

fn veto(args: &VetoArgs) -> anyhow::Result<()> {
    let (sender, made) = (args.chain.sender()?, args.chain.read()?);
    let (run, epochs) = close(ledger::entries(&args.log)?, made.rounds(sender.node())?)?;
    let vetoed = made.veto(&sender, &run, &epochs, args.epoch)?;
    Output::new().event(
        || json!({"event": "vetoed", "epochs": vetoed}),
        || match &vetoed[..] {
            [] => "Nothing was refused: every root that waits is what this log gives.".to_owned(),
            some => format!("Refused, for good: the roots of epochs {some:?}."),
        },
    );
    Ok(())
}

fn status(args: &ChainArgs) -> anyhow::Result<()> {
    let (node, made) = (Node::new(&args.rpc), args.read()?);
    let found = made.status(&node)?;
    let now = node.time()?;
    let last = match found.last {
        None => "none was submitted".to_owned(),
        Some((_, true)) => "the last was vetoed; its earnings come with the next".to_owned(),
        Some((from, _)) if from > now => format!("the last counts in {} seconds", from - now),
        Some(_) => "the last counts".to_owned(),
    };
    let Distributor { chain, .. } = made.at().context("the deployment has no address")?;
    Output::new().event(
        || {
            json!({
                "event": "chain", "chain": chain, "distributor": made.distributor(), "share": made.share(),
                "next": found.next, "rounds": found.rounds, "minted": found.minted.to_string(),
                "deposited": found.deposited.to_string(), "last": last,
            })
        },
        || {
            format!(
                "Chain {chain}, distributor {}, shares {}\nEpochs of {} rounds, {} submitted: {last}\nClaimed: {} credits\nFees paid in: {} of the coin's smallest unit",
                made.distributor(), made.share(), found.rounds, found.next, found.minted, found.deposited
            )
        },
    );
    Ok(())
}

fn deposit(args: &DepositArgs) -> anyhow::Result<()> {
    let name = &args.payment;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        bail!("A payment's name has letters, digits and hyphens only, because it names a file: {name:?} doesn't.");
    }
    let sent = args.chain.read()?.deposit(&args.chain.sender()?, name, args.amount)?;
    Output::new().event(
        || json!({"event": "deposited", "amount": args.amount.to_string(), "transaction": sent.hash}),
        || format!("Paid in {} under the name {name}, transaction {}.", args.amount, sent.hash),
    );
    Ok(())
}

impl ChainArgs {
    fn deployment(&self) -> PathBuf {
        self.state.join(DEPLOYMENT)
    }

    fn read(&self) -> anyhow::Result<Deployment> {
        let found = Deployment::read(&self.deployment())?;
        found.with_context(|| format!("{} has no deployment: run `tributary chain deploy` first", self.state.display()))
    }

    fn sender(&self) -> anyhow::Result<Sender> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let key = match &self.keystore {
            Some(file) => {
                let password = variable(PASSWORD);
                Key::from_keystore(
                    file,
                    &password.with_context(|| format!("put the keystore's password in {PASSWORD}"))?,
                )?
            }
            None => Key::from_text(&variable(KEY).with_context(|| {
                format!("no key: put it in {KEY}, or name a keystore with --keystore; a flag would show it to others")
            })?)?,
        };
        std::fs::create_dir_all(&self.state).with_context(|| format!("{} can't be made", self.state.display()))?;
        Ok(Sender::new(Node::new(&self.rpc), key, self.state.clone()))
    }
}

/// An address as people copy it, with its checksum or in one case; `flag` is where it stands.
pub(crate) fn wallet(text: &str, flag: &str) -> anyhow::Result<Wallet> {
    let plain = |text: &str| text.len() == 42 && text.starts_with("0x") && *text == text.to_lowercase();
    let with_checksum = |text: &str| {
        let bytes: Option<Vec<u8>> =
            (2..42).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect();
        bytes.and_then(|bytes| Some(checksummed(&bytes.try_into().ok()?)))
    };
    let text = if plain(text) { with_checksum(text) } else { Some(text.to_owned()) };
    text.and_then(|text| address(&text))
        .with_context(|| format!("{flag} is no address: 0x and 40 hex digits with a right checksum"))
}
