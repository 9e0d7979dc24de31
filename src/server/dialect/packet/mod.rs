//! The packet dialect on the server: what a program registers, and what it does to a connection.
//!
//! The shards call [`Dialect`]; programs use [`Packets`]. A program's functions run on delivery
//! threads, in order per connection, or inline on the shard. Responses never wait in that line: they
//! are matched on the shard, so that a handler may make a request to its own connection and wait.

mod handler;
mod peer;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

pub use handler::Dialect;

use super::Closure;
use crate::delivery::{Delivery, Mode, waiting_for_peer};
use crate::hub::Connection;
use crate::requests::{Clock, Outcome, Reply, RequestCounters};
use crate::wire::packet::{HEADER, Identity, MAX_DATA, Packet};
use crate::wire::websocket::Message;
use crate::wire::{self, MessageKind};
use crate::{Error, ErrorKind, Result, thread};
use peer::Peer;

/// A one-way message or a request.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// Who sent it.
    pub connection: &'a Arc<Connection>,
    /// Its protocol id.
    pub protocol: u32,
    /// Its data.
    pub data: &'a [u8],
    /// Answers a request, now or later; `None` for a one-way message.
    pub reply: Option<&'a Arc<Reply>>,
}

/// What happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// It is open, registered and bound to its user.
    Established,
    /// It ends and takes no more messages. It is registered, bound and in its channels until the
    /// function returns.
    Closing(Closure),
    /// It is gone. The last event of a connection.
    Closed(Closure),
    /// A ping came from it, and was answered.
    Pinged,
    /// A pong came from it.
    Ponged,
}

type OnPacket = dyn Fn(&Incoming<'_>) + Send + Sync;
type OnEvent = dyn Fn(&Arc<Connection>, &Happening) + Send + Sync;
type OnPull = dyn Fn(&Arc<Connection>, u32) + Send + Sync;

/// A program's function and where it runs.
struct Registration<F: ?Sized> {
    mode: Mode,
    function: Arc<F>,
}

impl<F: ?Sized> Clone for Registration<F> {
    fn clone(&self) -> Self {
        Self { mode: self.mode, function: Arc::clone(&self.function) }
    }
}

/// What is counted of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct PacketCounters {
    /// One-way messages and requests that came.
    pub received: u64,
    /// Those of them for whose protocol id nothing was registered: one-way messages are dropped,
    /// requests time out at the peer.
    pub unhandled: u64,
    /// Connections that were closed for a packet that was none, or too large.
    pub refused: u64,
    /// Connections that another one with their id displaced.
    pub displaced: u64,
    /// The requests that the server made.
    pub requests: RequestCounters,
}

#[derive(Debug, Default)]
struct Counts {
    received: AtomicU64,
    unhandled: AtomicU64,
    refused: AtomicU64,
    displaced: AtomicU64,
}

/// The packet dialect of one server. Every method may be called from any thread.
pub struct Packets {
    delivery: Arc<Delivery>,
    clock: Arc<Clock>,
    max_bytes: usize,
    handlers: RwLock<HashMap<u32, Registration<OnPacket>>>,
    pulls: RwLock<HashMap<u32, Arc<OnPull>>>,
    observer: RwLock<Option<Registration<OnEvent>>>,
    counts: Counts,
}

impl std::fmt::Debug for Packets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packets").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

impl Packets {
    /// The dialect of a server whose callbacks run on `delivery`, and in which a packet, header
    /// included, has at most `max_bytes`, whoever sends it.
    pub fn new(delivery: Arc<Delivery>, thread_name: &str, max_bytes: usize) -> Self {
        Self {
            delivery,
            clock: Clock::new(&format!("{thread_name}-clock")),
            max_bytes: max_bytes.min(HEADER + MAX_DATA),
            handlers: RwLock::default(),
            pulls: RwLock::default(),
            observer: RwLock::default(),
            counts: Counts::default(),
        }
    }

    /// Calls `function` for every packet with this protocol id that is no response, in place of what
    /// was registered before, whose calls may go on for a moment. Calls for one connection come one
    /// at a time and in order; calls for different connections may come at the same time.
    pub fn on_packet(
        &self,
        protocol: u32,
        mode: Mode,
        function: impl Fn(&Incoming<'_>) + Send + Sync + 'static,
    ) {
        let registration = Registration { mode, function: Arc::new(function) as Arc<OnPacket> };
        let mut handlers = self.handlers.write().unwrap_or_else(PoisonError::into_inner);
        let before = handlers.insert(protocol, registration);
        // Dropped outside the lock: what it owns may do anything in its drop.
        drop(handlers);
        drop(before);
    }

    /// Ends what [`Packets::on_packet`] began; false if there was nothing.
    pub fn off_packet(&self, protocol: u32) -> bool {
        let before =
            self.handlers.write().unwrap_or_else(PoisonError::into_inner).remove(&protocol);
        before.is_some()
    }

    /// Calls `function` for what happens to connections, in place of what was registered before.
    pub fn on_event(
        &self,
        mode: Mode,
        function: impl Fn(&Arc<Connection>, &Happening) + Send + Sync + 'static,
    ) {
        let registration = Registration { mode, function: Arc::new(function) as Arc<OnEvent> };
        self.set_observer(Some(registration));
    }

    /// Ends what [`Packets::on_event`] began; false if there was nothing.
    pub fn off_event(&self) -> bool {
        self.set_observer(None)
    }

    fn set_observer(&self, to: Option<Registration<OnEvent>>) -> bool {
        let mut observer = self.observer.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *observer, to);
        drop(observer);
        before.is_some()
    }

    /// Calls `function` on a delivery thread after [`Packets::signal`] for this pull channel, in
    /// place of what was registered before.
    pub fn on_pull(
        &self,
        channel: u32,
        function: impl Fn(&Arc<Connection>, u32) + Send + Sync + 'static,
    ) {
        let mut pulls = self.pulls.write().unwrap_or_else(PoisonError::into_inner);
        let before = pulls.insert(channel, Arc::new(function) as Arc<OnPull>);
        drop(pulls);
        drop(before);
    }

    /// Ends what [`Packets::on_pull`] began; false if there was nothing.
    pub fn off_pull(&self, channel: u32) -> bool {
        let before = self.pulls.write().unwrap_or_else(PoisonError::into_inner).remove(&channel);
        before.is_some()
    }

    /// Sends a one-way message. Waits only while the connection's shard is far behind. Errors:
    /// `Closed`, `TooLarge`, `InvalidArgument` for a connection of another dialect.
    pub fn send(&self, connection: &Arc<Connection>, protocol: u32, data: &[u8]) -> Result<()> {
        self.write(connection, &Packet { protocol, sn: 0, data })
    }

    /// Makes a request. `complete` is called exactly once if this succeeds: on a delivery thread, in
    /// the connection's order, or inline on whichever thread ends the request. Errors: those of
    /// [`Packets::send`], after which it is not called, `InvalidArgument` for an endless timeout,
    /// `QueueFull` for too many requests under way; in the [`Outcome`] `Timeout` and `Closed`.
    pub fn request(
        &self,
        connection: &Arc<Connection>,
        protocol: u32,
        data: &[u8],
        timeout: Duration,
        mode: Mode,
        complete: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<()> {
        let peer = self.peer(connection)?;
        let send = |sn| self.write(connection, &Packet { protocol, sn, data });
        let requests = peer.requests(&self.clock);
        match mode {
            Mode::Inline => requests.request(protocol, timeout, send, complete),
            Mode::Thread => {
                let lane = Arc::clone(&peer.lane);
                let complete = move |outcome: Outcome| {
                    let size = outcome.as_ref().map_or(0, |response| response.data.len());
                    lane.push(size, move || complete(outcome));
                };
                requests.request(protocol, timeout, send, complete)
            }
        }
    }

    /// Makes a request and waits for its end, also in a handler that runs on a delivery thread.
    /// Errors: those of [`Packets::request`] and of its outcome, and `WouldDeadlock` in an inline
    /// function.
    pub fn request_and_wait(
        &self,
        connection: &Arc<Connection>,
        protocol: u32,
        data: &[u8],
        timeout: Duration,
    ) -> Outcome {
        let peer = self.peer(connection)?;
        let send = |sn| self.write(connection, &Packet { protocol, sn, data });
        let requests = peer.requests(&self.clock);
        waiting_for_peer(&self.delivery, || requests.wait(protocol, timeout, send))
    }

    /// Makes the function of a pull channel run for this connection, once however often it is asked
    /// for before it begins; false if such a run waits already. A signal while it runs makes another
    /// run. Errors: `NotFound` when there is no such function, `Closed`, `InvalidArgument` for a
    /// connection of another dialect.
    pub fn signal(&self, connection: &Arc<Connection>, channel: u32) -> Result<bool> {
        let peer = self.peer(connection)?;
        let pulls = self.pulls.read().unwrap_or_else(PoisonError::into_inner);
        let Some(function) = pulls.get(&channel).map(Arc::clone) else {
            let text = format!("nothing is registered for pull channel {channel}");
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        drop(pulls);
        if !peer.signal(channel) {
            return Ok(false);
        }
        let target = Arc::clone(connection);
        let run = move || {
            // Before the function looks for what is new: a signal from here on is for the next run.
            if let Some(peer) = target.attachment::<Peer>() {
                peer.take_signal(channel);
            }
            function(&target, channel);
        };
        match peer.lane.push(0, run) {
            true => Ok(true),
            false => Err(closed()),
        }
    }

    /// Whether the program has registered anything.
    pub(in crate::server) fn is_registered(&self) -> bool {
        fn has<T>(map: &RwLock<HashMap<u32, T>>) -> bool {
            !map.read().unwrap_or_else(PoisonError::into_inner).is_empty()
        }
        let observed = self.observer.read().unwrap_or_else(PoisonError::into_inner).is_some();
        observed || has(&self.handlers) || has(&self.pulls)
    }

    /// The server has stopped: every registration is dropped, and no request can be made any more.
    pub(in crate::server) fn stop(&self) {
        self.clock.stop();
        // Dropped outside the locks, as everywhere here.
        drop(take(&self.handlers));
        drop(take(&self.pulls));
        self.set_observer(None);
    }

    /// Who a connection of this dialect said it is.
    pub fn identity(connection: &Connection) -> Option<Identity> {
        (connection.dialect() == wire::Dialect::Packet).then_some(())?;
        let target = connection.request().target();
        let (_, query) = target.split_once('?')?;
        Identity::parse(query).ok()
    }

    /// The counters, each exact, all together not from one instant.
    pub fn counters(&self) -> PacketCounters {
        PacketCounters {
            received: self.counts.received.load(Relaxed),
            unhandled: self.counts.unhandled.load(Relaxed),
            refused: self.counts.refused.load(Relaxed),
            displaced: self.counts.displaced.load(Relaxed),
            requests: self.clock.count(),
        }
    }

    /// What is kept with an open connection of this dialect.
    fn peer<'a>(&self, connection: &'a Connection) -> Result<&'a Peer> {
        let peer = self.any_peer(connection)?;
        match peer.ended.load(SeqCst) {
            true => Err(closed()),
            false => Ok(peer),
        }
    }

    /// The same, of one that may have ended.
    fn any_peer<'a>(&self, connection: &'a Connection) -> Result<&'a Peer> {
        let packets = connection.dialect() == wire::Dialect::Packet;
        let peer = packets.then(|| connection.attachment_or(|| Peer::new(self.delivery.lane())));
        peer.flatten().ok_or_else(|| {
            let (id, speaks) = (connection.id().escape_debug(), connection.dialect().name());
            let text = format!("connection '{id}' speaks the {speaks} dialect, not packets");
            Error::new(ErrorKind::InvalidArgument, text)
        })
    }

    /// Encodes a packet and sends it: one allocation, one copy.
    fn write(&self, connection: &Arc<Connection>, packet: &Packet<'_>) -> Result<()> {
        self.peer(connection)?;
        let size = HEADER + packet.data.len();
        if size > self.max_bytes {
            let text = format!("Packet has {size} bytes; the limit is {}", self.max_bytes);
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        let message = Message::from_parts(MessageKind::Binary, &[&packet.header()?, packet.data]);
        if !thread::must_not_wait() {
            connection.home().inbox.wait_for_room();
        }
        connection.send(&message)
    }
}

fn take<T: Default>(lock: &RwLock<T>) -> T {
    std::mem::take(&mut *lock.write().unwrap_or_else(PoisonError::into_inner))
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the connection is closed")
}
