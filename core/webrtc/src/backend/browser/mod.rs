//! WebRTC as a browser has it: `RTCPeerConnection` on the page's main thread.
//!
//! Enters and leaves: what [`super::Backend`] says. Callbacks only put things into bounded queues and wake
//! whoever waits, so that no task of the page is long. A local description is set exactly as the browser
//! made it. Refuses: to work in a worker, where browsers have no `RTCPeerConnection`.

mod channel;
mod connection;
mod rest;

use std::future::Future;
use std::rc::Rc;

use futures::FutureExt;
use futures::channel::mpsc;
use futures::future::BoxFuture;
use js_sys::{Array, Promise, Reflect};
use send_wrapper::SendWrapper;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    RtcConfiguration, RtcDataChannelEvent, RtcIceCandidateInit, RtcIceServer, RtcPeerConnection,
    RtcPeerConnectionIceEvent, RtcSdpType, RtcSessionDescriptionInit,
};

use self::connection::Connection;
use super::{Candidate, EVENTS, Error, Events, Opening, PeerConfig};

pub use self::channel::Channel;

/// The field of a candidate that `web-sys` does not know.
const USERNAME_FRAGMENT: &str = "usernameFragment";

/// Makes the browser's peer connections.
#[derive(Debug, Clone, Copy, Default)]
pub struct Browser;

impl super::Backend for Browser {
    type Peer = Peer;

    fn open(&self, config: PeerConfig) -> Opening<Self> {
        async move { Peer::open(&config) }.boxed()
    }
}

/// One `RTCPeerConnection`.
pub struct Peer(SendWrapper<Inner>);

struct Inner {
    connection: Rc<Connection>,
    _handlers: Handlers,
}

/// What the browser calls; it must be told to stop before they are dropped.
struct Handlers {
    candidate: Closure<dyn FnMut(RtcPeerConnectionIceEvent)>,
    state: Closure<dyn FnMut()>,
    channel: Closure<dyn FnMut(RtcDataChannelEvent)>,
}

impl Peer {
    fn open(config: &PeerConfig) -> Result<(Self, Events<Browser>), Error> {
        if !Reflect::has(&js_sys::global(), &"RTCPeerConnection".into()).unwrap_or(false) {
            let why = "a browser has it on a page's main thread only, and some people turn it off";
            return Err(Error::Unavailable(why.into()));
        }
        let raw = RtcPeerConnection::new_with_configuration(&configuration(config)).map_err(other)?;
        let (events, receiver) = mpsc::channel(EVENTS);
        let connection = Rc::new(Connection::new(raw, events));
        let handlers = Handlers::new(&connection);
        handlers.attach(connection.raw());
        Ok((Self(SendWrapper::new(Inner { connection, _handlers: handlers })), receiver))
    }

    fn raw(&self) -> RtcPeerConnection {
        self.0.connection.raw().clone()
    }
}

impl super::Peer for Peer {
    type Channel = Channel;

    fn offer(&self) -> BoxFuture<'static, Result<String, Error>> {
        let raw = self.raw();
        here(async move {
            let offer = settled(raw.create_offer()).await.map_err(other)?;
            set_local(&raw, &offer).await
        })
    }

    fn answer(&self, offer: String) -> BoxFuture<'static, Result<String, Error>> {
        let raw = self.raw();
        here(async move {
            set_remote(&raw, RtcSdpType::Offer, &offer).await?;
            let answer = settled(raw.create_answer()).await.map_err(other)?;
            set_local(&raw, &answer).await
        })
    }

    fn accept(&self, answer: String) -> BoxFuture<'static, Result<(), Error>> {
        let raw = self.raw();
        here(async move { set_remote(&raw, RtcSdpType::Answer, &answer).await })
    }

    fn add_candidate(&self, candidate: Candidate) -> BoxFuture<'static, Result<(), Error>> {
        let raw = self.raw();
        here(async move {
            let init = RtcIceCandidateInit::new(&candidate.candidate);
            // Browsers want one of the two, and with data channels alone there is one section.
            let index = candidate.sdp_m_line_index.or(candidate.sdp_mid.is_none().then_some(0));
            init.set_sdp_m_line_index(index);
            init.set_sdp_mid(candidate.sdp_mid.as_deref());
            if let Some(ufrag) = candidate.username_fragment {
                Reflect::set(&init, &USERNAME_FRAGMENT.into(), &ufrag.into()).map_err(other)?;
            }
            settled(raw.add_ice_candidate_with_opt_rtc_ice_candidate_init(Some(&init)))
                .await
                .map(drop)
                .map_err(description)
        })
    }

    fn channel(&self, label: &str, id: Option<u16>) -> BoxFuture<'static, Result<Channel, Error>> {
        let (connection, label) = (self.0.connection.clone(), label.to_owned());
        here(async move {
            if id.is_none() {
                connection.rest().settled().await;
            }
            Channel::open(&connection, &label, id)
        })
    }

    fn close(&self) {
        self.0.connection.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        Handlers::detach(self.connection.raw());
        self.connection.watch_association(None);
        self.connection.close();
    }
}

impl Handlers {
    fn new(connection: &Rc<Connection>) -> Self {
        let (for_candidate, for_state, for_channel) = (connection.clone(), connection.clone(), connection.clone());
        Self {
            candidate: Closure::new(move |event: RtcPeerConnectionIceEvent| for_candidate.on_candidate(&event)),
            state: Closure::new(move || for_state.on_state()),
            channel: Closure::new(move |event: RtcDataChannelEvent| for_channel.on_channel(event.channel())),
        }
    }

    fn attach(&self, raw: &RtcPeerConnection) {
        raw.set_onicecandidate(Some(self.candidate.as_ref().unchecked_ref()));
        raw.set_onconnectionstatechange(Some(self.state.as_ref().unchecked_ref()));
        raw.set_ondatachannel(Some(self.channel.as_ref().unchecked_ref()));
    }

    fn detach(raw: &RtcPeerConnection) {
        raw.set_onicecandidate(None);
        raw.set_onconnectionstatechange(None);
        raw.set_ondatachannel(None);
    }
}

fn configuration(config: &PeerConfig) -> RtcConfiguration {
    let servers = config.stun.iter().map(|url| {
        let server = RtcIceServer::new();
        server.set_urls_str(url);
        server
    });
    let configuration = RtcConfiguration::new();
    configuration.set_ice_servers(&servers.collect::<Array>());
    configuration
}

/// Sets the description that the browser just made, unaltered, and gives its text.
async fn set_local(raw: &RtcPeerConnection, made: &JsValue) -> Result<String, Error> {
    settled(raw.set_local_description(made.unchecked_ref())).await.map_err(other)?;
    raw.local_description().map(|description| description.sdp()).ok_or(Error::Closed)
}

async fn set_remote(raw: &RtcPeerConnection, kind: RtcSdpType, sdp: &str) -> Result<(), Error> {
    let init = RtcSessionDescriptionInit::new(kind);
    init.set_sdp(sdp);
    settled(raw.set_remote_description(&init)).await.map(drop).map_err(description)
}

async fn settled(promise: Promise) -> Result<JsValue, JsValue> {
    JsFuture::from(promise).await
}

/// A future over the browser's objects; they and whoever polls it live on one thread.
fn here<T: Send + 'static>(future: impl Future<Output = T> + 'static) -> BoxFuture<'static, T> {
    SendWrapper::new(future).boxed()
}

fn other(error: JsValue) -> Error {
    Error::Other(words(&error))
}

fn description(error: JsValue) -> Error {
    Error::Description(words(&error))
}

/// What a browser's exception says.
fn words(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{error:?}"),
    }
}
