//! One peer connection: made, watched, and closed with everything on it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::channel::mpsc;
use futures::future::BoxFuture;
use rtc::peer_connection::transport::RTCDtlsTransportState;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use webrtc::data_channel::{DataChannel, RTCDataChannelId, RTCDataChannelInit, RTCDataChannelState};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder, RTCIceCandidateInit,
    RTCIceGatheringState, RTCPeerConnectionIceEvent, RTCPeerConnectionState, RTCSessionDescription,
};

use super::super::{Candidate, EVENTS, Error, Events, PeerEvent, RECEIVE_BUFFER, SEND_BUFFER, State};
use super::channel::{self, Channel, Opener};
use super::rest::Rest;
use super::{CHANNELS, Native, Setup};

/// How often to look for old channels, and ask whether the other side has closed the connection, which the
/// crate doesn't tell.
const WATCH: Duration = Duration::from_secs(1);

/// How long the first channel may take to open once the connection is up.
const READY: Duration = Duration::from_secs(10);

/// A peer connection of crate `webrtc`.
pub struct Peer {
    connection: Arc<dyn PeerConnection>,
    shared: Arc<Shared>,
}

/// What a connection, its channels and its tasks have in common.
pub(super) struct Shared {
    /// Where the tasks of this connection run.
    pub(super) tasks: Handle,
    /// Takes what happens; gone once the connection is closed.
    events: Mutex<Option<mpsc::Sender<PeerEvent<Channel>>>>,
    /// Somebody wants the connection closed.
    close: Notify,
    /// Channels that live, those included that are being closed.
    channels: AtomicUsize,
    /// Bytes that came and were not read.
    unread: AtomicUsize,
    /// The channels that we opened. Held while one is being made: the crate announces a channel of ours that is
    /// confirmed before it is known, as one of the other side's.
    ours: tokio::sync::Mutex<HashSet<RTCDataChannelId>>,
    /// What it announced so. When dropped, the channel's messages no longer arrive.
    twins: Mutex<Vec<Arc<dyn DataChannel>>>,
    /// Channels that are done and not closed yet.
    pub(super) rest: Rest,
    /// ICE and DTLS are done.
    connected: AtomicBool,
    /// Set by the first channel that opens, and that it is.
    up: Arc<AtomicBool>,
    opened: Notify,
}

/// Makes a connection and its tasks.
pub(super) async fn open(setup: Setup) -> Result<(Peer, Events<Native>), Error> {
    let tasks = Handle::try_current().map_err(|error| Error::Unavailable(error.to_string()))?;
    let (sender, events) = mpsc::channel(EVENTS);
    let shared = Arc::new(Shared {
        tasks: tasks.clone(),
        events: Mutex::new(Some(sender)),
        close: Notify::new(),
        channels: AtomicUsize::new(0),
        unread: AtomicUsize::new(0),
        ours: tokio::sync::Mutex::default(),
        twins: Mutex::default(),
        rest: Rest::default(),
        connected: AtomicBool::new(false),
        up: setup.up,
        opened: Notify::new(),
    });
    let mut configuration = RTCConfigurationBuilder::new().with_ice_servers(setup.servers);
    if let Some(certificate) = setup.certificate {
        configuration = configuration.with_certificates(vec![certificate]);
    }
    let builder = PeerConnectionBuilder::new()
        .with_configuration(configuration.build())
        .with_setting_engine(setup.settings.build())
        .with_handler(Arc::new(Handler(shared.clone())))
        .with_data_channel_send_buffer_limit(SEND_BUFFER)
        .with_udp_addrs(setup.addresses)
        .with_runtime(setup.runtime);
    let connection: Arc<dyn PeerConnection> = Arc::new(builder.build().await.map_err(other)?);
    tasks.spawn(supervise(connection.clone(), shared.clone()));
    Ok((Peer { connection, shared }, events))
}

impl Peer {
    /// The other side's DTLS certificate in DER, once connected.
    pub(crate) async fn remote_certificate(&self) -> Result<Vec<u8>, Error> {
        let sctp = self.connection.sctp().await.ok_or(Error::Closed)?;
        let chain = sctp.transport().get_remote_certificates().await.map_err(other)?;
        chain.into_iter().next().ok_or_else(|| Error::Other("the other side showed no certificate".to_owned()))
    }

    async fn set_local(connection: &dyn PeerConnection, description: RTCSessionDescription) -> Result<String, Error> {
        connection.set_local_description(description).await.map_err(other)?;
        let set = connection.local_description().await;
        set.map(|description| description.sdp).ok_or(Error::Closed)
    }
}

impl super::super::Peer for Peer {
    type Channel = Channel;

    fn offer(&self) -> BoxFuture<'static, Result<String, Error>> {
        let connection = self.connection.clone();
        async move {
            let offer = connection.create_offer(None).await.map_err(other)?;
            Self::set_local(&*connection, offer).await
        }
        .boxed()
    }

    fn answer(&self, offer: String) -> BoxFuture<'static, Result<String, Error>> {
        let connection = self.connection.clone();
        async move {
            let offer = RTCSessionDescription::offer(offer).map_err(description)?;
            connection.set_remote_description(offer).await.map_err(description)?;
            let answer = connection.create_answer(None).await.map_err(description)?;
            Self::set_local(&*connection, answer).await
        }
        .boxed()
    }

    fn accept(&self, answer: String) -> BoxFuture<'static, Result<(), Error>> {
        let connection = self.connection.clone();
        async move {
            let answer = RTCSessionDescription::answer(answer).map_err(description)?;
            connection.set_remote_description(answer).await.map_err(description)
        }
        .boxed()
    }

    fn add_candidate(&self, candidate: Candidate) -> BoxFuture<'static, Result<(), Error>> {
        let connection = self.connection.clone();
        async move {
            // Data channels go over UDP here. A candidate for TCP would have us connect wherever it says.
            let udp = candidate.candidate.split_whitespace().nth(2);
            if !udp.is_some_and(|transport| transport.eq_ignore_ascii_case("udp")) {
                return Ok(());
            }
            let candidate = RTCIceCandidateInit {
                candidate: candidate.candidate,
                sdp_mid: candidate.sdp_mid,
                sdp_mline_index: candidate.sdp_m_line_index,
                username_fragment: candidate.username_fragment,
                url: None,
            };
            connection.add_ice_candidate(candidate).await.map_err(description)
        }
        .boxed()
    }

    fn channel(&self, label: &str, id: Option<u16>) -> BoxFuture<'static, Result<Channel, Error>> {
        let (connection, shared, label) = (self.connection.clone(), self.shared.clone(), label.to_owned());
        async move {
            let place = shared
                .take_place()
                .ok_or_else(|| Error::Other(format!("{CHANNELS} data channels are open on this connection already")))?;
            if id.is_none() {
                shared.ready().await?;
            }
            let made = shared.make(&*connection, &label, id).await?;
            // A negotiated channel on a connection that is up opens without telling so.
            let open = made.ready_state().await == Ok(RTCDataChannelState::Open);
            if id.is_some() {
                return Ok(channel::start(made, place, Opener::Both, open, None));
            }
            let again: channel::Again = Box::new(move || {
                let (connection, shared, label) = (connection.clone(), shared.clone(), label.clone());
                async move { shared.make(&*connection, &label, None).await }.boxed()
            });
            Ok(channel::start(made, place, Opener::Us, open, Some(again)))
        }
        .boxed()
    }

    fn close(&self) {
        self.shared.close();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// One channel's place among [`CHANNELS`], given back when dropped.
pub(super) struct Place(pub(super) Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.channels.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Closes the connection, soon.
    pub(super) fn close(&self) {
        self.close.notify_one();
    }

    /// Closes the connection because of what the other side does.
    pub(super) fn refuse(&self, flood: &'static str) {
        tracing::debug!("closing a peer connection: the other side sent more than it may: {flood}");
        if let Some(events) = lock(&self.events).as_mut() {
            // When even this finds no room, the reader learns of the end from the end of the events.
            let _ = events.try_send(PeerEvent::Broken(Error::Flood(flood)));
        }
        self.close();
    }

    /// Counts bytes that came; false if they are too many.
    pub(super) fn received(&self, bytes: usize) -> bool {
        self.unread.fetch_add(bytes, Ordering::Relaxed) + bytes <= RECEIVE_BUFFER
    }

    /// Counts bytes that were read or thrown away.
    pub(super) fn read(&self, bytes: usize) {
        self.unread.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A channel is open.
    pub(super) fn opened(&self) {
        self.up.store(true, Ordering::Relaxed);
        self.opened.notify_waiters();
    }

    /// Waits while SCTP is being set up. The crate holds back what is opened before that, and loses what is
    /// opened meanwhile; the first channel was opened before.
    async fn ready(&self) -> Result<(), Error> {
        let opened = self.opened.notified();
        if !self.connected.load(Ordering::Relaxed) || self.is_up() {
            return Ok(());
        }
        let error = || Error::Other("the other side opened no channel on a connection that is up".to_owned());
        tokio::time::timeout(READY, opened).await.map_err(|_| error())
    }

    /// Whether a channel has ever opened.
    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Makes a channel, when none are being closed.
    async fn make(
        &self,
        connection: &dyn PeerConnection,
        label: &str,
        id: Option<u16>,
    ) -> Result<Arc<dyn DataChannel>, Error> {
        let options = RTCDataChannelInit { negotiated: id, ..Default::default() };
        let _leave = self.rest.pass().await;
        let mut ours = self.ours.lock().await;
        let made = connection.create_data_channel(label, Some(options)).await.map_err(other)?;
        ours.insert(made.id());
        self.rest.watch(&made);
        Ok(made)
    }

    /// A channel is closed.
    pub(super) async fn closed(&self, channel: RTCDataChannelId) {
        self.rest.remove(channel);
        self.ours.lock().await.remove(&channel);
        lock(&self.twins).retain(|twin| twin.id() != channel);
    }

    fn take_place(self: &Arc<Self>) -> Option<Place> {
        let place = Place(self.clone());
        (self.channels.fetch_add(1, Ordering::Relaxed) < CHANNELS).then_some(place)
    }

    fn emit(&self, event: PeerEvent<Channel>) {
        let full = lock(&self.events).as_mut().is_some_and(|events| events.try_send(event).is_err());
        if full {
            self.refuse("channels and candidates that nobody took");
        }
    }
}

struct Handler(Arc<Shared>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(candidate) = event.candidate.to_json() {
            self.0.emit(PeerEvent::Candidate(Candidate {
                candidate: candidate.candidate,
                sdp_mid: candidate.sdp_mid,
                sdp_m_line_index: candidate.sdp_mline_index,
                username_fragment: candidate.username_fragment,
            }));
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.0.emit(PeerEvent::Candidate(Candidate::default()));
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let state = match state {
            RTCPeerConnectionState::Connected => State::Connected,
            RTCPeerConnectionState::Disconnected => State::Disconnected,
            RTCPeerConnectionState::Failed => State::Failed,
            RTCPeerConnectionState::Closed => return self.0.close(),
            _ => State::Connecting,
        };
        if state == State::Connected {
            self.0.connected.store(true, Ordering::Relaxed);
        }
        self.0.emit(PeerEvent::State(state));
        if state == State::Failed {
            self.0.close();
        }
    }

    async fn on_data_channel(&self, made: Arc<dyn DataChannel>) {
        if self.0.ours.lock().await.contains(&made.id()) {
            return lock(&self.0.twins).push(made);
        }
        match self.0.take_place() {
            Some(place) => {
                self.0.rest.watch(&made);
                self.0.emit(PeerEvent::Channel(channel::start(made, place, Opener::Them, true, None)));
            }
            None => self.0.refuse("data channels that it does not close"),
        }
    }
}

/// Closes channels and, in the end, the connection.
async fn supervise(connection: Arc<dyn PeerConnection>, shared: Arc<Shared>) {
    let work = async {
        loop {
            tokio::select! {
                () = shared.rest.many() => {}
                () = tokio::time::sleep(WATCH) => {}
            }
            if shared.rest.due() {
                shared.rest.close(&*connection).await;
            }
            if closed_by_peer(&*connection).await {
                return;
            }
        }
    };
    tokio::select! {
        () = shared.close.notified() => {}
        () = work => {}
    }
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "closing a peer connection");
    }
    shared.emit(PeerEvent::State(State::Closed));
    lock(&shared.events).take();
    shared.rest.clear();
    lock(&shared.twins).clear();
}

async fn closed_by_peer(connection: &dyn PeerConnection) -> bool {
    let Some(sctp) = connection.sctp().await else { return false };
    matches!(sctp.transport().state().await, Ok(RTCDtlsTransportState::Closed | RTCDtlsTransportState::Failed))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn other(error: webrtc::error::Error) -> Error {
    Error::Other(error.to_string())
}

fn description(error: webrtc::error::Error) -> Error {
    Error::Description(error.to_string())
}
