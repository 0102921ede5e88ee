//! The web server: the page's static files, what the board shows as JSON and metrics, and where wallets are linked.
//!
//! Refuses everything but GET and HEAD, except that wallets are linked by POST ([`super::link`]): the only thing here that
//! changes anything, and that only what contributors and wallets signed.

use std::path::PathBuf;

use axum::extract::{Query, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tower_http::services::ServeDir;
use tributary_ledger::Balance;
use tributary_protocol::{BlobRef, Id};

use super::board::Board;
use super::journal::Journal;
use super::link::Links;
use super::metrics;

/// The page runs its own script and wasm and talks to peers over WebSocket; nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; \
    connect-src 'self' ws: wss:; style-src 'self'; img-src 'self' data:; worker-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every answer. The two cross-origin ones isolate the page, which gives it precise timers
/// and shared memory and keeps other sites' windows out.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Lines that a list gives unless asked for fewer or more.
const LINES: usize = 100;

/// The whole site. `www`: the built page, if there is one.
pub(super) fn router(board: Board, journal: Journal, links: Links, www: Option<PathBuf>) -> Router {
    let books = Router::new().route("/api/ledger", get(ledger)).with_state(journal);
    let api = Router::new()
        .route("/run.json", get(async |State(board): State<Board>| Json(board.lock().run.clone())))
        .route("/api/rounds", get(rounds))
        .route("/api/credits", get(credits))
        .route("/api/checkpoint", get(checkpoint))
        .route("/api/blobs", get(blobs))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(async |State(board): State<Board>| metrics::page(&board.lock())))
        .with_state(board)
        .merge(books)
        .merge(links.router());
    let site = match www {
        Some(www) => api.fallback_service(ServeDir::new(www).precompressed_br().precompressed_gzip()),
        None => api.fallback(no_page),
    };
    site.layer(middleware::from_fn(headers))
}

/// Gives every answer the page's headers.
pub(crate) async fn headers(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let ok = response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Vite puts the content's hash into the names of what lies in assets/.
    let caching = if ok && path.starts_with("/assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}

#[derive(Deserialize)]
struct Last {
    last: Option<usize>,
}

async fn rounds(State(board): State<Board>, Query(Last { last }): Query<Last>) -> impl IntoResponse {
    let board = board.lock();
    let skip = board.rounds.len().saturating_sub(last.unwrap_or(LINES));
    Json(json!({
        "run": board.run.run,
        "round": board.round,
        "state": board.state,
        "left_ms": board.remaining,
        "peers": board.peers,
        "rounds": board.rounds.iter().skip(skip).collect::<Vec<_>>(),
    }))
}

/// The largest balances first.
async fn credits(State(board): State<Board>, Query(Last { last }): Query<Last>) -> impl IntoResponse {
    let board = board.lock();
    let mut lines: Vec<_> = board.credits.iter().collect();
    lines.sort_by_key(|(peer, balance)| (std::cmp::Reverse(balance.paid()), **peer));
    let lines = lines.into_iter().take(last.unwrap_or(LINES));
    Json(json!({
        "total": board.credits.values().map(Balance::paid).sum::<u64>(),
        "contributors": board.credits.len(),
        "credits": lines.map(credits_json).collect::<Vec<_>>(),
    }))
}

fn credits_json((peer, balance): (&Id, &Balance)) -> serde_json::Value {
    json!({
        "peer": peer, "credits": balance.paid(), "provisional": balance.provisional, "verified": balance.verified,
        "final": balance.r#final, "forfeited": balance.forfeited,
    })
}

/// Entries of the ledger in one answer.
const PAGE: usize = 10_000;

#[derive(Deserialize)]
struct From {
    #[serde(default)]
    from: u64,
}

/// The ledger's entries from a number on, each with its length before it (u32 little-endian).
async fn ledger(State(journal): State<Journal>, Query(From { from }): Query<From>) -> Response {
    match tokio::task::spawn_blocking(move || journal.entry_bytes(from, PAGE)).await {
        Ok(Ok(rows)) => tributary_ledger::frame_all(&rows).into_response(),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "the ledger cannot be read\n").into_response(),
    }
}

/// The newest signed checkpoint.
async fn checkpoint(State(board): State<Board>) -> Response {
    match board.lock().checkpoint.clone() {
        Some(bytes) => bytes.into_response(),
        None => (StatusCode::NOT_FOUND, "no round has settled yet\n").into_response(),
    }
}

/// How often what was served last left this machine: about once, however many contributors there are, if
/// they help each other.
async fn blobs(State(board): State<Board>) -> impl IntoResponse {
    let line = |(blob, sent): &(BlobRef, u64)| json!({"hash": blob.hash, "bytes": blob.bytes, "sent": sent});
    Json(json!({ "blobs": board.lock().served.iter().map(line).collect::<Vec<_>>() }))
}

async fn ready(State(board): State<Board>) -> impl IntoResponse {
    if board.lock().ready { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "starting\n") }
}

async fn no_page(uri: Uri) -> impl IntoResponse {
    let text = match uri.path() {
        "/" => {
            "The coordinator runs, but the page is not built. `cargo xtask demo` builds it; --www names its folder.\n"
        }
        _ => "There is nothing here.\n",
    };
    (StatusCode::NOT_FOUND, text)
}
