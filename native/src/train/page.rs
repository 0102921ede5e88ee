//! The page of this contributor, for whoever sits at this machine: the dashboard and the controls of a tab.
//!
//! Enters: what a browser here asks, and snapshots. Leaves: snapshots as one JSON object a line, the packed model, and
//! the person's wishes. Refuses an address that other machines reach, a request under another host's name (by which a
//! foreign site could pass for this one), one from another origin, and one without the token, which only the address
//! has that this program prints.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tower_http::services::ServeDir;
use tributary_peer::Control;
use tributary_protocol::job::{Ask, Packed};
use tributary_protocol::view::Snapshot;

use crate::files;
use crate::serve;

/// Where it is if nothing else is asked for and nothing else is there.
pub(crate) const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8090);

/// The token's file in the state folder: an open page knows the program again after a restart.
const TOKEN_FILE: &str = "page-token";
const TOKEN_BYTES: usize = 16;
const TOKEN: HeaderName = HeaderName::from_static("x-tributary-token");

/// Bytes of a wish: a text to write on from is the longest.
const MAX_WISH: usize = 64 * 1024;

/// Wishes that wait. A person can't press faster than they are taken.
const WISHES: usize = 16;

/// In the built page, and what stands there in the program's.
const PLAIN: &str = "<html lang=\"en\"";
const PROGRAM: &str = "<html lang=\"en\" data-program";

/// What a person asks of the contributor.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Wish {
    /// Train.
    Start,
    /// Stop once this round's update is in.
    Finish,
    /// Stop now.
    Stop,
    /// Train so many per cent of the time.
    Pace {
        /// 10 to 100.
        percent: u8,
    },
    /// Write on from a text.
    Generate {
        /// From which, and how.
        ask: Ask,
    },
    /// Write no more.
    Hush,
    /// Pack the model.
    #[serde(skip)]
    Pack,
}

impl Wish {
    /// Does it.
    pub(super) fn fulfil(self, control: &mut Control) {
        match self {
            Wish::Start => control.start(),
            Wish::Finish => control.finish(),
            Wish::Stop => control.stop(),
            Wish::Pace { percent } => control.pace(percent),
            Wish::Generate { ask } => control.generate(ask),
            Wish::Hush => control.hush(),
            Wish::Pack => control.pack(),
        }
    }
}

/// Whoever waits for the packed model; another request takes its place. It holds one archive at most.
#[derive(Debug, Clone, Default)]
pub(super) struct Packing(Arc<Mutex<Option<mpsc::UnboundedSender<Packed>>>>);

impl Packing {
    /// Hands a part on.
    pub(super) fn part(&self, part: Packed) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.as_ref().is_some_and(|to| to.send(part).is_err()) {
            *waiting = None;
        }
    }

    fn wait(&self) -> mpsc::UnboundedReceiver<Packed> {
        let (to, parts) = mpsc::unbounded_channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
        parts
    }
}

/// A page that is served.
#[derive(Debug)]
pub(super) struct Page {
    /// Its address, with the token.
    pub(super) url: String,
    /// What is asked.
    pub(super) wishes: mpsc::Receiver<Wish>,
    /// What is shown.
    pub(super) show: watch::Sender<Option<Snapshot>>,
    /// Dropped, it takes no more requests and ends with the last that it has.
    end: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Page {
    /// Serves the page in `www` at `addr`; without one where there is room.
    pub(super) async fn serve(
        addr: Option<SocketAddr>,
        www: &Path,
        state: &Path,
        packing: Packing,
    ) -> anyhow::Result<Self> {
        let index = std::fs::read_to_string(www.join("index.html"))
            .map_err(|error| files::trouble("read the page", &www.join("index.html"), &error))?;
        if !index.contains(PLAIN) {
            bail!("the page in {} is of another version; build it again, or use --page off", www.display());
        }
        let token = token(state)?;
        let listener = listen(addr).await?;
        let here = listener.local_addr().context("the page has no address")?;
        let (to, wishes) = mpsc::channel(WISHES);
        let (show, shown) = watch::channel(None);
        let hosts = Hosts(here);
        let access = Arc::new(Access { hosts, token: blake3::hash(token.as_bytes()) });
        let shared = Shared { wishes: to, shown, packing };
        let router = router(index.replacen(PLAIN, PROGRAM, 1), www.to_owned(), shared, access);
        let (end, ended) = oneshot::channel();
        let ended = async { drop(ended.await) };
        let served = tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(ended).into_future());
        Ok(Self { url: format!("http://{here}/#token={token}"), wishes, show, end, served })
    }

    /// Lets whoever looks at the page have the end of what it is sent, if that takes no longer than this.
    pub(super) async fn end(self, patience: Duration) {
        drop((self.show, self.end));
        let _ = tokio::time::timeout(patience, self.served).await;
    }
}

#[derive(Clone)]
struct Shared {
    wishes: mpsc::Sender<Wish>,
    shown: watch::Receiver<Option<Snapshot>>,
    packing: Packing,
}

fn router(index: String, www: PathBuf, shared: Shared, access: Arc<Access>) -> Router {
    let index = move || {
        let index = index.clone();
        async move { Html(index) }
    };
    let own = Router::new()
        .route("/api/own/snapshots", get(snapshots))
        .route("/api/own/model", get(model))
        .route("/api/own/wish", post(wish))
        .with_state(shared)
        .layer(DefaultBodyLimit::max(MAX_WISH))
        .layer(middleware::from_fn_with_state(access.clone(), own_only));
    Router::new()
        .route("/", get(index.clone()))
        .route("/index.html", get(index))
        .merge(own)
        .fallback_service(ServeDir::new(www).precompressed_br().precompressed_gzip())
        .layer(middleware::from_fn_with_state(access, here_only))
        .layer(middleware::from_fn(serve::headers))
}

/// Snapshots from now on, each when there is a newer one than the last that was taken.
async fn snapshots(State(Shared { mut shown, .. }): State<Shared>) -> Response {
    shown.mark_changed();
    let lines = stream::unfold(shown, |mut shown| async move {
        loop {
            shown.changed().await.ok()?;
            let line = shown.borrow_and_update().as_ref().and_then(|snapshot| serde_json::to_vec(snapshot).ok());
            if let Some(mut line) = line {
                line.push(b'\n');
                return Some((Ok::<_, Infallible>(Bytes::from(line)), shown));
            }
        }
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

async fn wish(State(Shared { wishes, .. }): State<Shared>, Json(wish): Json<Wish>) -> Response {
    match wishes.try_send(wish) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the program is busy or ending; try again\n").into_response(),
    }
}

/// The packed model as a file.
async fn model(State(Shared { wishes, packing, .. }): State<Shared>) -> Response {
    let mut parts = packing.wait();
    if wishes.try_send(Wish::Pack).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the program is busy or ending; try again\n").into_response();
    }
    let (name, total, first) = match parts.recv().await {
        Some(Packed::Part { name, total, bytes, .. }) => (name, total, bytes),
        Some(Packed::Failed { why }) => return (StatusCode::CONFLICT, why).into_response(),
        None => return (StatusCode::CONFLICT, "another request took this one's place\n").into_response(),
    };
    let archive = stream::unfold((Some(first), 0, parts), move |(first, sent, mut parts)| async move {
        let bytes = match first {
            Some(bytes) => bytes,
            None if sent >= total => return None,
            None => match parts.recv().await? {
                Packed::Part { bytes, .. } => bytes,
                Packed::Failed { .. } => return None,
            },
        };
        let sent = sent + bytes.len() as u64;
        Some((Ok::<_, Infallible>(bytes), (None, sent, parts)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_LENGTH, total.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    (headers, Body::from_stream(archive)).into_response()
}

/// Who may ask.
#[derive(Debug)]
struct Access {
    hosts: Hosts,
    /// The token's hash, whose comparison takes as long whatever differs.
    token: blake3::Hash,
}

/// The names of this page's host.
#[derive(Debug, Clone, Copy)]
struct Hosts(SocketAddr);

impl Hosts {
    fn has(self, host: &str) -> bool {
        host == self.0.to_string() || host.strip_prefix("localhost:") == Some(&self.0.port().to_string())
    }
}

impl Access {
    fn check_host(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let host = text(headers, &header::HOST).unwrap_or_default();
        if self.hosts.has(host) { Ok(()) } else { Err("this page is not served under that name\n") }
    }

    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), &'static str> {
        let origin = text(headers, &header::ORIGIN);
        let own = |origin: &str| origin.strip_prefix("http://").is_some_and(|host| self.hosts.has(host));
        // A browser names the origin of whatever changes something.
        if !origin.map_or(*method == Method::GET, own) {
            return Err("only this program's own page may ask that\n");
        }
        let token = text(headers, &TOKEN).unwrap_or_default();
        if blake3::hash(token.as_bytes()) == self.token {
            Ok(())
        } else {
            Err("open the page by the address that `tributary train` prints: it has a token that this request lacks\n")
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

async fn here_only(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    match access.check_host(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(why) => (StatusCode::MISDIRECTED_REQUEST, why).into_response(),
    }
}

async fn own_only(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    match access.check(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(why) => (StatusCode::FORBIDDEN, why).into_response(),
    }
}

/// The state folder's token; the first call makes it.
fn token(state: &Path) -> anyhow::Result<String> {
    let path = state.join(TOKEN_FILE);
    match std::fs::read_to_string(&path) {
        Ok(token) if token.len() == 2 * TOKEN_BYTES && token.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(token),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(files::trouble("read", &path, &error)),
        // Absent, or damaged: only pages that are open lose anything.
        _ => {
            let mut bytes = [0; TOKEN_BYTES];
            getrandom::fill(&mut bytes).context("the system gives no random numbers for the page's token")?;
            let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            files::write_private(&path, token.as_bytes()).map_err(|e| files::trouble("write", &path, &e))?;
            Ok(token)
        }
    }
}

async fn listen(addr: Option<SocketAddr>) -> anyhow::Result<TcpListener> {
    let Some(addr) = addr else {
        // Another contributor on this machine may have the usual port.
        let anywhere = SocketAddr::new(USUAL.ip(), 0);
        let listener = match TcpListener::bind(USUAL).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind(anywhere).await,
        };
        return listener.context("the page finds no free port on this machine; --page off does without it");
    };
    if !addr.ip().is_loopback() {
        bail!("--page {addr} would let other machines control this one; use 127.0.0.1 and a tunnel such as ssh -L");
    }
    TcpListener::bind(addr)
        .await
        .with_context(|| format!("the page can't be served at {addr}; name another port with --page, or --page off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        let at = "127.0.0.1:8090".parse().unwrap();
        Access { hosts: Hosts(at), token: blake3::hash(b"secret") }
    }

    fn headers(pairs: &[(&HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_this_machines_names_are_served() {
        for (host, good) in [
            ("127.0.0.1:8090", true),
            ("localhost:8090", true),
            ("127.0.0.1:8091", false),
            ("localhost", false),
            ("evil.example:8090", false),
            ("localhost:8090.evil.example", false),
            ("", false),
        ] {
            assert_eq!(access().check_host(&headers(&[(&header::HOST, host)])).is_ok(), good, "{host}");
        }
        assert!(access().check_host(&HeaderMap::new()).is_err());
    }

    #[test]
    fn what_changes_something_needs_origin_and_token() {
        let (own, foreign) = ("http://localhost:8090", "http://evil.example");
        for (method, origin, token, good) in [
            (Method::POST, Some(own), Some("secret"), true),
            (Method::POST, Some(own), Some("guess"), false),
            (Method::POST, Some(own), None, false),
            (Method::POST, None, Some("secret"), false),
            (Method::POST, Some(foreign), Some("secret"), false),
            (Method::POST, Some("null"), Some("secret"), false),
            (Method::POST, Some("https://localhost:8090"), Some("secret"), false),
            (Method::GET, None, Some("secret"), true),
            (Method::GET, None, None, false),
            (Method::GET, Some(foreign), Some("secret"), false),
        ] {
            let mut map = HeaderMap::new();
            if let Some(origin) = origin {
                map.insert(header::ORIGIN, origin.parse().unwrap());
            }
            if let Some(token) = token {
                map.insert(TOKEN, token.parse().unwrap());
            }
            assert_eq!(access().check(&method, &map).is_ok(), good, "{method} {origin:?} {token:?}");
        }
    }

    #[test]
    fn wishes_are_read_and_others_refused() {
        let read = |text: &str| serde_json::from_str::<Wish>(text);
        assert!(matches!(read(r#"{"kind":"finish"}"#), Ok(Wish::Finish)));
        assert!(matches!(read(r#"{"kind":"pace","percent":25}"#), Ok(Wish::Pace { percent: 25 })));
        for bad in [r#"{"kind":"pack"}"#, r#"{"kind":"quit"}"#, r#"{"kind":"pace","percent":300}"#, "{}", "[]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_stays_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = token(dir.path()).unwrap();
        assert_eq!(first, token(dir.path()).unwrap());
        std::fs::write(dir.path().join(TOKEN_FILE), "short").unwrap();
        assert_ne!(first, token(dir.path()).unwrap());
    }

    #[tokio::test]
    async fn an_address_that_others_reach_is_refused() {
        let error = listen(Some("0.0.0.0:0".parse().unwrap())).await.unwrap_err().to_string();
        assert!(error.contains("other machines"), "{error}");
        assert!(listen(Some("127.0.0.1:0".parse().unwrap())).await.unwrap().local_addr().unwrap().ip().is_loopback());
    }
}
