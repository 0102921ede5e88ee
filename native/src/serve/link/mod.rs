//! The web server's part of linking wallets.
//!
//! Enters: what contributors and wallets signed. Leaves: nonces for texts, codes for programs, links that the journal has,
//! and where everyone's earnings go. Refuses, each with a sentence that says what to do next: other sites' requests, bodies
//! of more than [`MOST_BODY`], texts for another page, chain or time, a nonce that was used, and what the log would refuse.
//!
//! A page is ours by its host, which the request names or the operator announced.

mod chain;
mod codes;
mod nonce;
mod words;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tributary_ledger::abi::unhex;
use tributary_ledger::{
    LinkError, LinkMessage, LinkProof, LinkedBy, MESSAGE_SECONDS, Payee, Wallet, WalletProof, checksummed,
    personal_hash,
};
use tributary_protocol::coordinator::{Account, LinkRefusal};
use tributary_protocol::{Hash, Id, Identity};
use tributary_swarm::Multiaddr;

use crate::config;
use chain::Chain;
use codes::{Answer, Codes};
use nonce::{NonceError, Nonces};
use words::{host_of, name, no_chance, no_code, refusal, seconds, sentence};

/// Bytes of a request: a proof that fits an entry of the log, in hex.
const MOST_BODY: usize = 8 * 1024;

/// Questions that wait for the coordinator's loop.
pub(super) const MOST_ASKS: usize = 64;

/// How long its answer may take: it may be writing a large round down.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two tries to reach the chain's node for the first time.
const AGAIN: Duration = Duration::from_secs(15);

/// What only the coordinator's loop can do.
#[derive(Debug)]
pub(super) enum Ask {
    /// Take a link, answered when the journal has it; or only say whether it would be taken.
    Link { proof: Vec<u8>, only_check: bool, answer: oneshot::Sender<Result<Taken, LinkRefusal>> },
    /// Say where somebody's earnings go.
    Account { who: Id, answer: oneshot::Sender<Account> },
}

/// What a link that is in the journal comes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    /// From when on which wallet is paid.
    pub(super) payee: Payee,
    /// Whether that is later than with the next round, because another wallet has not let it take its place.
    pub(super) waits: bool,
}

/// The state of the endpoints. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Links(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    nonces: Nonces,
    codes: Mutex<Codes>,
    chain: Option<Chain>,
    /// Hosts that the operator announced.
    announced: Vec<String>,
    asks: mpsc::Sender<Ask>,
}

/// A request that is not done: why, and what to do.
#[derive(Debug)]
struct Refused(StatusCode, String);

impl Refused {
    fn bad(why: impl ToString) -> Self {
        Self(StatusCode::BAD_REQUEST, why.to_string())
    }

    /// Something that passes.
    fn later(why: &str) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, why.to_owned())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "why": self.1 }))).into_response()
    }
}

impl From<NonceError> for Refused {
    fn from(error: NonceError) -> Self {
        Self::bad(error)
    }
}

impl Links {
    /// What it takes to serve them; `asks` leads to the coordinator's loop.
    pub(super) fn new(
        config: Option<&config::Chain>,
        announce: &[Multiaddr],
        identity: &Identity,
        run: &Hash,
        asks: mpsc::Sender<Ask>,
    ) -> anyhow::Result<Self> {
        let chain = config.map(|config| Chain::new(config, run)).transpose()?;
        let nonces = Nonces::new(&identity.secret());
        let announced = announce.iter().filter_map(host_of).collect();
        Ok(Self(Arc::new(Inner { nonces, codes: Mutex::default(), chain, announced, asks })))
    }

    /// Learns from the chain's node what a page has to know, however long the node is away.
    pub(super) async fn learn(self) {
        loop {
            let links = self.clone();
            match spawn_blocking(move || links.0.chain.as_ref().map(Chain::rounds)).await {
                Ok(Some(Err(why))) => tracing::warn!("the chain of [serve.chain] is not known yet: {why}"),
                _ => return,
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The endpoints.
    pub(super) fn router(self) -> Router {
        Router::new()
            .route("/api/chain", get(async |State(links): State<Links>| Json(links.0.chain.as_ref().map(Chain::json))))
            .route("/api/account/{peer}", get(account))
            .route("/api/link", post(link))
            .route("/api/link/nonce", post(nonce))
            .route("/api/link/code", post(open_code))
            .route("/api/link/code/{code}", get(read_code).post(answer_code))
            .layer(DefaultBodyLimit::max(MOST_BODY))
            .layer(middleware::from_fn_with_state(self.clone(), same_site))
            .with_state(self)
    }

    /// Whether a page at this host (with its port) is this coordinator's.
    fn is_ours(&self, headers: &HeaderMap, domain: &str) -> bool {
        let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let announced = |host: &String| {
            domain.strip_prefix(host.as_str()).is_some_and(|port| port.is_empty() || port.starts_with(':'))
        };
        named.is_some_and(|host| host.eq_ignore_ascii_case(domain)) || self.0.announced.iter().any(announced)
    }

    fn codes(&self) -> MutexGuard<'_, Codes> {
        self.0.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a question to the coordinator's loop.
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Refused> {
        let (sender, answer) = oneshot::channel();
        let asked = async {
            self.0.asks.send(ask(sender)).await.ok()?;
            answer.await.ok()
        };
        let busy =
            "The coordinator is busy or stops just now: try again in a minute; what it took already is not lost.";
        tokio::time::timeout(PATIENCE, asked).await.ok().flatten().ok_or_else(|| Refused::later(busy))
    }

    /// Whether a text is one that this coordinator asked for, on its page, about its chain, and not used yet.
    fn check_text(&self, headers: &HeaderMap, text: &str) -> Result<LinkMessage, Refused> {
        let message = LinkMessage::parse(text).map_err(|why| Refused::bad(refusal(&why.into())))?;
        let now = seconds();
        if !self.is_ours(headers, &message.domain) && !self.codes().has(text, now) {
            return Err(Refused::bad(format!(
                "The signed text is for the page at {}, which is not this one: open this page again and sign there.",
                message.domain
            )));
        }
        match &self.0.chain {
            Some(chain) if chain.id() != message.chain => {
                return Err(Refused::bad(format!(
                    "The signed text is for chain {}, and earnings are claimed on chain {}: switch the wallet to that chain and sign again.",
                    message.chain,
                    chain.id()
                )));
            }
            _ => {}
        }
        self.0.nonces.check(&message.nonce, message.issued, now)?;
        Ok(message)
    }

    /// Takes a link all the way into the journal.
    async fn take(&self, headers: &HeaderMap, proof: &[u8]) -> Result<Taken, Refused> {
        let refused = |why: LinkError| Refused::bad(refusal(&why));
        let mut proof = LinkProof::from_bytes(proof).map_err(refused)?;
        let message = self.check_text(headers, &proof.message)?;
        proof.check(&message.peer, &message.wallet).map_err(refused)?;
        if let WalletProof::Contract { signature, .. } = &proof.wallet {
            // The chain's node is asked about those only whose link would be taken.
            self.hand_in(&proof, true).await?;
            let block = self.ask_contract(message.wallet, &proof.message, signature.clone()).await?;
            proof.wallet = WalletProof::Contract { signature: signature.clone(), block };
        }
        self.0.nonces.take(&message.nonce, message.issued, seconds())?;
        let taken = self.hand_in(&proof, false).await;
        // Whoever gets no answer cannot know whether it is in the journal, so that text stays used.
        if taken.as_ref().is_err_and(|refused| refused.0 != StatusCode::SERVICE_UNAVAILABLE) {
            self.0.nonces.put_back(&message.nonce);
        }
        taken
    }

    /// Hands a link to the coordinator's loop.
    async fn hand_in(&self, proof: &LinkProof, only_check: bool) -> Result<Taken, Refused> {
        let proof = proof.to_bytes();
        let taken = self.ask(|answer| Ask::Link { proof, only_check, answer }).await?;
        taken.map_err(|why| match &why {
            LinkRefusal::Link(why) => Refused::bad(refusal(why)),
            why => Refused(StatusCode::CONFLICT, sentence(why)),
        })
    }

    /// The block at which a contract consented.
    async fn ask_contract(&self, wallet: Wallet, text: &str, signature: Vec<u8>) -> Result<u64, Refused> {
        let Some(chain) = &self.0.chain else {
            return Err(Refused::bad(
                "This coordinator has no chain to ask a wallet on that is a contract: link a wallet with a key of its own, or the address without proof (tributary wallet link --payout ADDRESS).",
            ));
        };
        let Ok(_turn) = chain.asking.try_acquire() else {
            return Err(Refused::later("Many wallets are being asked about just now: try again in a minute."));
        };
        let (links, hash) = (self.clone(), personal_hash(text));
        let asked =
            spawn_blocking(move || links.0.chain.as_ref().map(|chain| chain.consents(&wallet, &hash, &signature)));
        match asked.await {
            Ok(Some(Ok(Some(block)))) => Ok(block),
            Ok(Some(Ok(None))) => Err(Refused::bad(format!(
                "The contract at {} does not say that it signed this text, or there is none on chain {}: deploy the wallet on that chain, and sign again.",
                checksummed(&wallet),
                chain.id()
            ))),
            other => {
                tracing::warn!("a wallet could not be asked about: {other:?}");
                Err(Refused::later(
                    "The chain's node does not answer the coordinator, so this wallet could not be asked: try again in a minute. Nothing is lost.",
                ))
            }
        }
    }
}

/// Other sites' pages have no business here: a browser names the site that a request is from.
async fn same_site(State(links): State<Links>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let host = |origin: &str| {
        let host = ["https://", "http://"].iter().find_map(|scheme| origin.strip_prefix(scheme))?;
        links.is_ours(headers, host).then_some(())
    };
    if request.method() == Method::POST && origin.is_some_and(|origin| host(origin).is_none()) {
        let why = "This request comes from another site's page: open the coordinator's own page and link there.";
        return Refused(StatusCode::FORBIDDEN, why.to_owned()).into_response();
    }
    next.run(request).await
}

/// A body's JSON.
fn read<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Refused> {
    let body = body.map_err(|rejection| {
        Refused(rejection.status(), format!("The request has more than the {MOST_BODY} bytes that it may have, or broke off: link with a wallet whose signature is shorter, or try again."))
    })?;
    serde_json::from_slice(&body).map_err(|why| {
        Refused::bad(format!(
            "The request is not what this coordinator understands ({why}): update the program or load the page again."
        ))
    })
}

#[derive(Deserialize)]
struct Proof {
    proof: String,
}

async fn link(
    State(links): State<Links>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refused> {
    let proof = unhex(&read::<Proof>(body)?.proof);
    let proof =
        proof.ok_or_else(|| Refused::bad("The proof is no hex number: load the page again and link once more."))?;
    let Taken { payee, waits } = links.take(&headers, &proof).await?;
    Ok(Json(json!({"wallet": checksummed(&payee.wallet), "from": payee.from, "waits": waits})))
}

async fn nonce(State(links): State<Links>) -> Result<Json<Value>, Refused> {
    let issued = seconds();
    let nonce = links.0.nonces.make(issued).map_err(|_| no_chance())?;
    Ok(Json(json!({"nonce": nonce, "issued": issued})))
}

async fn account(State(links): State<Links>, Path(peer): Path<String>) -> Result<Json<Value>, Refused> {
    let who: Id = peer.parse().map_err(|why| Refused::bad(format!("{peer} names nobody: {why}.")))?;
    let Account { round, wallet, pending, queued } = links.ask(|answer| Ask::Account { who, answer }).await?;
    let paid = |payee: Payee| json!({"address": checksummed(&payee.wallet), "by": name(payee.by), "from": payee.from});
    let waits = |(wallet, by): (Wallet, LinkedBy)| json!({"address": checksummed(&wallet), "by": name(by)});
    Ok(Json(json!({
        "peer": who, "round": round, "wallet": wallet.map(paid), "pending": pending.map(paid), "queued": queued.map(waits),
    })))
}

#[derive(Deserialize)]
struct Peer {
    peer: Id,
}

async fn open_code(State(links): State<Links>, body: Result<Bytes, BytesRejection>) -> Result<Json<Value>, Refused> {
    let Peer { peer } = read(body)?;
    let mut chance = [0; 8];
    getrandom::fill(&mut chance).map_err(|_| no_chance())?;
    let code = links.codes().open(peer, chance, seconds());
    Ok(Json(json!({"code": code, "seconds": MESSAGE_SECONDS})))
}

async fn read_code(State(links): State<Links>, Path(code): Path<String>) -> Result<Json<Value>, Refused> {
    let mut codes = links.codes();
    let open = codes.find(&code, seconds()).ok_or_else(no_code)?;
    let answer = open.answer.as_ref();
    Ok(Json(json!({
        "peer": open.peer, "text": answer.map(|answer| &answer.text), "signature": answer.map(|answer| &answer.signature),
        "contract": answer.is_some_and(|answer| answer.contract), "handover": answer.and_then(|answer| answer.handover.as_ref()),
    })))
}

async fn answer_code(
    State(links): State<Links>,
    Path(code): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Refused> {
    let answer: Answer = read(body)?;
    let message = links.check_text(&headers, &answer.text)?;
    let mut codes = links.codes();
    let open = codes.find(&code, seconds()).ok_or_else(no_code)?;
    if message.peer != open.peer.0 {
        return Err(Refused::bad(
            "The signed text is about another contributor than this code: open the program's link again and sign there.",
        ));
    }
    if open.answer.as_ref().is_some_and(|known| *known != answer) {
        let why = "A wallet has signed for this code already: go on in the program, or let it ask for a new code.";
        return Err(Refused(StatusCode::CONFLICT, why.to_owned()));
    }
    open.answer = Some(answer);
    Ok(Json(json!({})))
}
