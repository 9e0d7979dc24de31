//! What the socket's task feeds: it takes packets apart, matches responses, and hands the rest on.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::task::Context;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message;

use super::PacketClientCounters;
use super::desk::{Completion, Desk, Job, PacketHappening, PacketIncoming};
use crate::client::inbox::Inbox;
use crate::client::queue::Offer;
use crate::client::socket::{Shared, Sink, SocketCounters, SocketEvent, Verdict};
use crate::client::state::lock;
use crate::client::wake::Wake;
use crate::delivery::Mode;
use crate::requests::{Clock, Outcome, Reply, Requests};
use crate::wire::packet::{DISPLACED, Displaced, Fault, HEADER, Meaning, Packet, Side};
use crate::wire::{MessageKind, close};
use crate::{Error, ErrorKind, Result};

/// While a callback waits for the server, what may wait for callbacks is this many times as much:
/// its response stands behind them.
const STRETCH: usize = 4;

/// See the module's documentation.
pub(super) struct State {
    pub(super) desk: Arc<Desk>,
    pub(super) inbox: Arc<Inbox<Job>>,
    shared: Weak<Shared>,
    wake: Arc<Wake>,
    clock: Mutex<Option<Arc<Clock>>>,
    live: RwLock<Option<Live>>,
    /// What other threads have for the delivery thread: only the task feeds the inbox.
    posted: Mutex<Posted>,
    /// Callbacks that wait for the server.
    blocked: AtomicUsize,
    displaced: AtomicBool,
    max_bytes: usize,
    max_messages: usize,
    received: AtomicU64,
    unhandled: AtomicU64,
}

#[derive(Default)]
struct Posted {
    jobs: Vec<Job>,
    /// The task has ended and drains nothing any more.
    ended: bool,
}

/// The connection that there is, or is about to be.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) link: u64,
    pub(super) requests: Arc<Requests>,
}

impl State {
    pub(super) fn new(
        shared: &Arc<Shared>,
        desk: Arc<Desk>,
        inbox: Arc<Inbox<Job>>,
        max_bytes: usize,
    ) -> Self {
        Self {
            desk,
            inbox,
            shared: Arc::downgrade(shared),
            wake: shared.wake.clone(),
            clock: Mutex::new(Some(Clock::new("qy-client-clock"))),
            live: RwLock::default(),
            posted: Mutex::default(),
            blocked: AtomicUsize::new(0),
            displaced: AtomicBool::new(false),
            max_bytes,
            max_messages: shared.options.queue_messages,
            received: AtomicU64::new(0),
            unhandled: AtomicU64::new(0),
        }
    }

    /// The connection to make a request on.
    pub(super) fn live(&self, shared: &Shared) -> Result<Live> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner).clone();
        live.ok_or_else(|| {
            let kind = if shared.is_closing() { ErrorKind::Closed } else { ErrorKind::Connect };
            Error::new(kind, format!("not connected to {}", shared.url()))
        })
    }

    /// One packet as it travels.
    pub(super) fn encode(&self, packet: &Packet<'_>) -> Result<Message> {
        encode(packet, self.max_bytes)
    }

    /// Has the end of a request told on the delivery thread.
    pub(super) fn complete(&self, complete: Completion, outcome: Outcome) {
        self.post(Job::Done(Mutex::new(Some((complete, outcome)))));
    }

    /// See [`super::PacketClient::signal`].
    pub(super) fn signal(&self, channel: u32) -> Result<bool> {
        let Some(first) = self.desk.signal(channel) else {
            let text = format!("nothing is registered for pull channel {channel}");
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        if first {
            self.post(Job::Pull(channel));
        }
        Ok(first)
    }

    /// Runs `wait`, which waits for the server. On the delivery thread, more may wait for callbacks
    /// meanwhile.
    pub(super) fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        struct Blocked<'a>(&'a AtomicUsize);
        impl Drop for Blocked<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let _blocked = self.inbox.is_own_thread().then(|| {
            self.blocked.fetch_add(1, Ordering::Relaxed);
            // The task may have stopped reading before.
            self.wake.wake();
            Blocked(&self.blocked)
        });
        wait()
    }

    pub(super) fn counters(&self, socket: SocketCounters) -> PacketClientCounters {
        PacketClientCounters {
            socket,
            received: self.received.load(Ordering::Relaxed),
            unhandled: self.unhandled.load(Ordering::Relaxed),
            requests: lock(&self.clock).as_ref().map(|clock| clock.count()).unwrap_or_default(),
        }
    }

    fn post(&self, job: Job) {
        let mut posted = lock(&self.posted);
        if posted.ended {
            drop(posted);
            // A deadline that passed while the client ended: nobody else would tell it.
            if matches!(job, Job::Done(_)) {
                self.desk.run(&job);
            }
            return;
        }
        posted.jobs.push(job);
        drop(posted);
        self.wake.wake();
    }

    /// Hands on what was posted.
    fn drain(&self) {
        let jobs = std::mem::take(&mut lock(&self.posted).jobs);
        for job in jobs {
            self.inbox.force(job);
        }
    }

    fn tell(&self, happening: PacketHappening) {
        if self.desk.observes_inline() {
            self.desk.happen(&happening);
        } else {
            // Only a ping or pong can find no room, and is passed over then.
            self.inbox.offer(Job::Event(happening));
        }
    }

    /// Ends the requests of the connection that there was.
    fn end_requests(&self, why: &str) {
        let live = self.live.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(live) = live {
            live.requests.close(Error::new(ErrorKind::Closed, why));
        }
        // What they end with comes before what is told next.
        self.drain();
    }

    /// A binary message.
    fn packet(&self, bytes: Bytes) -> Verdict {
        let packet = match Packet::decode(&bytes, self.max_bytes) {
            Ok(packet) => packet,
            Err(Fault::TooLarge) => {
                let text =
                    format!("a packet of {} bytes; the limit is {}", bytes.len(), self.max_bytes);
                return Verdict::Refused(close::TOO_BIG, Error::new(ErrorKind::TooLarge, text));
            }
            Err(Fault::Malformed) => {
                let text = format!("{} bytes that are no packet", bytes.len());
                let error = Error::new(ErrorKind::Protocol, text);
                return Verdict::Refused(close::PROTOCOL_ERROR, error);
            }
        };
        match Side::Client.meaning(packet.sn) {
            Meaning::Response => {
                let live = self.live.read().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(live) = live {
                    let data = || bytes.slice(HEADER..);
                    live.requests.answered(packet.sn, packet.protocol, data);
                }
                Verdict::Taken
            }
            Meaning::OneWay if packet.protocol == DISPLACED => {
                if self.displaced.swap(true, Ordering::Relaxed) {
                    return Verdict::Taken;
                }
                // What cannot be read says as much: nobody else uses this protocol id.
                let notice = Displaced::decode(packet.data).unwrap_or_default();
                self.tell(PacketHappening::Displaced {
                    old_ip: Bytes::copy_from_slice(notice.old_ip),
                    new_ip: Bytes::copy_from_slice(notice.new_ip),
                    ts: notice.ts,
                });
                Verdict::Taken
            }
            Meaning::OneWay | Meaning::Request => self.dispatch(&packet, &bytes),
        }
    }

    /// Hands a message or request to what is registered for its protocol id.
    fn dispatch(&self, packet: &Packet<'_>, bytes: &Bytes) -> Verdict {
        // Before it is handed on: whoever was told of it finds it counted.
        self.received.fetch_add(1, Ordering::Relaxed);
        let Some((mode, function)) = self.desk.handler(packet.protocol) else {
            self.unhandled.fetch_add(1, Ordering::Relaxed);
            return Verdict::Taken;
        };
        let reply = (packet.sn != 0).then(|| self.reply(packet)).flatten();
        let data = bytes.slice(HEADER..);
        if mode == Mode::Inline {
            let protocol = packet.protocol;
            let incoming = PacketIncoming { protocol, data: &data, reply: reply.as_ref() };
            self.desk.packet(&function, &incoming);
            return Verdict::Taken;
        }
        let job = Job::Packet { function, protocol: packet.protocol, data, reply };
        if let Offer::Full(job) = self.inbox.offer(job) {
            let stretched = self.max_messages.saturating_mul(STRETCH);
            let blocked = self.blocked.load(Ordering::Relaxed) > 0;
            if !blocked || self.inbox.messages() >= stretched {
                // It comes again.
                self.received.fetch_sub(1, Ordering::Relaxed);
                let kind = MessageKind::Binary;
                return Verdict::Full(SocketEvent::Message { kind, data: bytes.clone() });
            }
            self.inbox.force(job);
        }
        Verdict::Taken
    }

    /// The right to answer a request, on the connection that brought it.
    fn reply(&self, packet: &Packet<'_>) -> Option<Arc<Reply>> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let link = live.as_ref()?.link;
        let (shared, sn, limit) = (self.shared.clone(), packet.sn, self.max_bytes);
        Some(Arc::new(Reply::new(packet.protocol, move |protocol, data| {
            let message = encode(&Packet { protocol, sn, data }, limit)?;
            match shared.upgrade() {
                Some(shared) => shared.queue_on(Some(link), message),
                None => Err(Error::new(ErrorKind::Closed, "the client is closed")),
            }
        })))
    }
}

fn encode(packet: &Packet<'_>, limit: usize) -> Result<Message> {
    let size = HEADER + packet.data.len();
    if size > limit {
        let text = format!("a packet has {size} bytes; the limit is {limit}");
        return Err(Error::new(ErrorKind::TooLarge, text));
    }
    Ok(Message::Binary(packet.encode()?.into()))
}

impl Sink for State {
    fn opening(&self, link: u64) {
        self.end_requests("the connection is lost");
        self.displaced.store(false, Ordering::Relaxed);
        let clock = lock(&self.clock).clone();
        let live = clock.map(|clock| Live { link, requests: Requests::new(clock, Side::Client) });
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
    }

    fn offer(&self, event: SocketEvent) -> Verdict {
        match event {
            SocketEvent::Message { kind: MessageKind::Binary, data } => return self.packet(data),
            SocketEvent::Message { kind: MessageKind::Text, .. } => {}
            SocketEvent::Connected { .. } => self.tell(PacketHappening::Established),
            SocketEvent::Ping(_) => self.tell(PacketHappening::Pinged),
            SocketEvent::Pong(_) => self.tell(PacketHappening::Ponged),
            SocketEvent::Disconnected { code, reason, will_reconnect } => {
                self.end_requests(&format!("the connection is closed ({code}): {reason}"));
                let again = reason.clone();
                self.tell(PacketHappening::Closing { code, reason: again, will_reconnect });
                self.tell(PacketHappening::Closed { code, reason, will_reconnect });
            }
            SocketEvent::Error { error, will_reconnect } => {
                self.tell(PacketHappening::Failed { error, will_reconnect });
            }
            SocketEvent::Closed { .. } => {}
        }
        Verdict::Taken
    }

    fn force(&self, event: SocketEvent) {
        let SocketEvent::Message { data, .. } = event else { return };
        let Ok(packet) = Packet::decode(&data, self.max_bytes) else { return };
        if let Some((_, function)) = self.desk.handler(packet.protocol) {
            let reply = (packet.sn != 0).then(|| self.reply(&packet)).flatten();
            let (protocol, data) = (packet.protocol, data.slice(HEADER..));
            self.received.fetch_add(1, Ordering::Relaxed);
            self.inbox.force(Job::Packet { function, protocol, data, reply });
        }
    }

    fn poll(&self, _cx: &mut Context<'_>) {
        self.drain();
    }

    fn has_left(&self) -> bool {
        false
    }

    fn may_return(&self) -> bool {
        !self.displaced.load(Ordering::Relaxed)
    }

    fn close(&self) {
        self.desk.close();
    }

    fn end(&self, reason: &str) {
        self.end_requests(reason);
        // Its thread ends here, unless a request is being made at this moment, whose caller ends it.
        let clock = lock(&self.clock).take();
        drop(clock);
        lock(&self.posted).ended = true;
        self.drain();
        self.inbox.end(reason);
    }
}
