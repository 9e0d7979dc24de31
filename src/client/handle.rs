//! What a client handle's users and its connection share, and the calls on it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use super::connection;
use super::host::Host;
use super::http::Http;
use super::inbox::Inbox;
use super::link::Target;
use super::members::{Members, Wish};
use super::outgoing::{Outgoing, check, packet};
use super::promise::Promise;
use super::runtime::{self, Closable, Runtime};
use super::session::Session;
use super::state::lock;
use super::wake::Wake;
use super::{
    Client, ClientCounters, ClientOptions, ClientState, History, Presence, PublishVia, role,
};
use crate::hub::{BatchMessage, ChannelConfig, PublishOptions, Range, Report, Reports};
use crate::wire::stream::{self, Op, Publication};
use crate::wire::{MessageKind, Position, members};
use crate::{Error, ErrorKind, Result, fork};

/// What a handle's users and its connection's task share.
pub(crate) struct Shared {
    pub(crate) target: Target,
    pub(crate) options: ClientOptions,
    pub(crate) runtime: Arc<Runtime>,
    /// Wakes the connection's task.
    pub(crate) wake: Arc<Wake>,
    /// The program closed the handle.
    pub(super) closing: AtomicBool,
    pub(super) outbox: Mutex<Outbox>,
    status: Mutex<Status>,
    status_changed: Condvar,
    /// Every subscription, so that `close` ends them on the caller's thread.
    pub(super) inboxes: Mutex<Vec<Weak<Inbox>>>,
    /// The connections of subscriptions that have one of their own; see the room `subscribe`.
    pub(super) asides: Mutex<Vec<Weak<Shared>>>,
    /// The connection of subscriptions that only one with a name can have.
    pub(super) member: Mutex<Option<Arc<Shared>>>,
    /// This is such a connection: it ends with its subscription.
    pub(super) is_aside: bool,
    /// One for the handle and its asides.
    pub(crate) tally: Arc<Tally>,
    next_id: AtomicU32,
    http: OnceLock<Http>,
}

/// What waits for the connection's task. One lock and no channels, because the end of the handle must
/// be seen by all three queues in one step, and a full send queue first forgets the publications that
/// nobody waits for any longer, which are in its middle.
#[derive(Default)]
pub(super) struct Outbox {
    /// The task has ended: nothing is taken any more.
    pub(super) ended: bool,
    requests: VecDeque<Outgoing>,
    pub(super) joins: VecDeque<Join>,
    pub(super) leaving: VecDeque<Arc<Inbox>>,
}

/// What a connection is to its handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The handle's own.
    Handle,
    /// That of one subscription.
    Aside,
    /// That of all subscriptions that only a connection with a name can have.
    Member,
}

/// A subscription that wants to become live.
pub(crate) struct Join {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) promise: Arc<Promise<Result<()>>>,
    /// What the program has already.
    pub(crate) since: Option<Position>,
    pub(crate) wish: Wish,
}

#[derive(Debug)]
struct Status {
    state: ClientState,
    last_error: Option<Error>,
}

/// The counters as they are counted.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) received: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) dropped: Arc<AtomicU64>,
    pub(crate) reconnects: AtomicU64,
}

/// What all clones of a [`Client`] own together; the last one closes it.
pub(super) struct Owner {
    generation: u64,
    /// `None` only while it is dropped.
    shared: Option<Arc<Shared>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let shared = self.shared.take();
        if self.generation != fork::generation() {
            // What is inside may be locked for ever by a thread that this process does not have.
            std::mem::forget(shared);
        } else if let Some(shared) = shared {
            shared.close();
        }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shared {
            Some(shared) => write!(f, "{}", shared.host()),
            None => f.write_str("closed"),
        }
    }
}

/// The answer to every call on an object that a parent process made.
pub(super) fn forked() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the handle was opened before fork() and belongs to the parent process; open a new one",
    )
}

impl Client {
    pub(super) fn start(host: &str, options: ClientOptions) -> Result<Self> {
        let generation = fork::generation();
        let target = Target::new(Host::parse(host)?, &options)?;
        let shared =
            Shared::start(target, options, runtime::current()?, Arc::default(), Purpose::Handle)?;
        Ok(Self { owner: Arc::new(Owner { generation, shared: Some(shared) }) })
    }

    pub(super) fn shared(&self) -> Result<&Arc<Shared>> {
        match &self.owner.shared {
            Some(shared) if self.owner.generation == fork::generation() => Ok(shared),
            _ => Err(forked()),
        }
    }
}

impl Closable for Shared {
    fn close(&self) {
        if self.closing.swap(true, Ordering::AcqRel) {
            return;
        }
        let inboxes = std::mem::take(&mut *lock(&self.inboxes));
        for inbox in inboxes.iter().filter_map(Weak::upgrade) {
            inbox.close();
        }
        let asides = std::mem::take(&mut *lock(&self.asides));
        asides.iter().filter_map(Weak::upgrade).for_each(|aside| aside.close());
        if let Some(member) = lock(&self.member).take() {
            member.close();
        }
        self.set_state(ClientState::Closed);
        if let Some(http) = self.http.get() {
            http.close();
        }
        self.wake.wake();
    }
}

impl Shared {
    /// A connection and its task.
    pub(super) fn start(
        target: Target,
        options: ClientOptions,
        runtime: Arc<Runtime>,
        tally: Arc<Tally>,
        purpose: Purpose,
    ) -> Result<Arc<Self>> {
        let shared = Arc::new(Self {
            target,
            options,
            runtime,
            wake: Arc::default(),
            closing: AtomicBool::new(false),
            outbox: Mutex::default(),
            status: Mutex::new(Status { state: ClientState::Connecting, last_error: None }),
            status_changed: Condvar::new(),
            inboxes: Mutex::default(),
            asides: Mutex::default(),
            member: Mutex::default(),
            is_aside: purpose == Purpose::Aside,
            tally,
            next_id: AtomicU32::new(1),
            http: OnceLock::new(),
        });
        let closable: Arc<dyn Closable> = shared.clone();
        shared.runtime.register(Arc::downgrade(&closable));
        match purpose {
            Purpose::Member => {
                let talk = Members::new(shared.clone());
                shared.runtime.spawn(connection::run(shared.clone(), members::PATH, talk))?;
            }
            Purpose::Handle | Purpose::Aside => {
                let talk = Session::new(shared.clone());
                shared.runtime.spawn(connection::run(shared.clone(), stream::PATH, talk))?;
            }
        }
        Ok(shared)
    }

    fn host(&self) -> &Host {
        &self.target.host
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn closed(&self) -> Error {
        let why = lock(&self.status).last_error.clone().filter(|_| !self.is_closing());
        Error::new(ErrorKind::Closed, format!("the client is closed{}", cause(why.as_ref())))
    }

    /// Puts the host in front of an error of the handle as a whole.
    fn of_host(&self, error: Error) -> Error {
        error.context(format_args!("client of {}", self.host()))
    }

    /// Puts the channel and the host in front of an error that names neither.
    pub(crate) fn cannot(&self, verb: &str, channel: &str, error: Error) -> Error {
        let channel = channel.escape_debug();
        error.context(format_args!("cannot {verb} channel '{channel}' on {}", self.host()))
    }

    pub(super) fn wait_connected(&self, timeout: Duration) -> Result<()> {
        let status = lock(&self.status);
        if status.state == ClientState::Connecting && !timeout.is_zero() {
            role::refuse_on_io("wait_connected")?;
        }
        let (status, _) = self
            .status_changed
            .wait_timeout_while(status, timeout, |status| status.state == ClientState::Connecting)
            .unwrap_or_else(PoisonError::into_inner);
        match status.state {
            ClientState::Connected => Ok(()),
            ClientState::Closed => {
                drop(status);
                Err(self.of_host(self.closed()))
            }
            ClientState::Connecting => {
                let limit = timeout.as_millis();
                let cause = cause(status.last_error.as_ref());
                let host = self.host();
                Err(Error::new(
                    ErrorKind::Timeout,
                    format!("not connected to {host} within {limit} ms{cause}"),
                ))
            }
        }
    }

    pub(super) fn state(&self) -> ClientState {
        lock(&self.status).state
    }

    /// Sets the state; `Closed` is for ever.
    pub(crate) fn set_state(&self, state: ClientState) {
        let mut status = lock(&self.status);
        if status.state != ClientState::Closed {
            status.state = state;
            self.status_changed.notify_all();
        }
    }

    pub(super) fn last_error(&self) -> Option<Error> {
        self.cause().map(|error| self.of_host(error))
    }

    /// The newest failure of the background work, without the host.
    fn cause(&self) -> Option<Error> {
        lock(&self.status).last_error.clone()
    }

    /// Keeps and logs a failure of the background work, whose text does not name the host.
    pub(crate) fn failed(&self, error: &Error) {
        log::info!(target: "qyun::client", "client of {}: {error}", self.host());
        lock(&self.status).last_error = Some(error.clone());
    }

    pub(super) fn counters(&self) -> ClientCounters {
        let tally = &self.tally;
        ClientCounters {
            received: tally.received.load(Ordering::Relaxed),
            published: tally.published.load(Ordering::Relaxed),
            dropped: tally.dropped.load(Ordering::Relaxed),
            reconnects: tally.reconnects.load(Ordering::Relaxed),
        }
    }

    pub(super) fn create_channel(&self, channel: &str) -> Result<()> {
        self.http("create", channel)?.create(channel)
    }

    pub(super) fn delete_channel(&self, channel: &str) -> Result<()> {
        self.http("delete", channel)?.delete(channel)
    }

    pub(super) fn presence(
        &self,
        channel: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Presence> {
        self.http("tell who is in", channel)?.presence(channel, after, limit)
    }

    pub(super) fn history(&self, channel: &str, range: &Range) -> Result<History> {
        self.http("read the history of", channel)?.history(channel, range)
    }

    pub(super) fn create_channel_with(
        &self,
        channel: &str,
        config: &ChannelConfig,
        token: &str,
    ) -> Result<()> {
        self.http("create", channel)?.create_with(channel, config, token)
    }

    fn http(&self, verb: &str, channel: &str) -> Result<&Http> {
        self.open_http().map_err(|error| self.cannot(verb, channel, error))
    }

    /// The HTTP calls, with connections of the handle's own, made by the first of them.
    fn open_http(&self) -> Result<&Http> {
        let http = self.http.get_or_init(|| {
            let options = &self.options;
            let tls = self.target.tls();
            Http::with(self.host().clone(), tls, options.connect_timeout, options.request_timeout)
        });
        // After the check in `close`, or before it: either way the calls fail once it is closed.
        if self.is_closing() {
            http.close();
            return Err(self.closed());
        }
        Ok(http)
    }

    pub(super) fn publish(
        &self,
        channel: &str,
        kind: MessageKind,
        data: &[u8],
    ) -> Result<Position> {
        let cannot = |error| self.cannot("publish to", channel, error);
        check(channel, kind, data).map_err(cannot)?;
        if self.options.publish_via == PublishVia::Http {
            let position = self.http("publish to", channel)?.send(channel, kind, data)?;
            self.tally.published.fetch_add(1, Ordering::Relaxed);
            return Ok(position);
        }
        let report = self.publish_by_websocket(channel, Publication::new(kind, data));
        report.map(|report| report.published.position).map_err(cannot)
    }

    pub(super) fn publish_with(
        &self,
        channel: &str,
        kind: MessageKind,
        data: &[u8],
        options: &PublishOptions<'_>,
    ) -> Result<Report> {
        let cannot = |error| self.cannot("publish to", channel, error);
        check(channel, kind, data).and_then(|()| options.check()).map_err(cannot)?;
        if self.options.publish_via == PublishVia::Http {
            let http = self.http("publish to", channel)?;
            let report = http.send_with(channel, kind, data, options)?;
            self.tally.published.fetch_add(1, Ordering::Relaxed);
            return Ok(report);
        }
        let PublishOptions { key, conflate, counts } = *options;
        let publication = Publication { kind, data, key, conflate, counts, subscribers: true };
        self.publish_by_websocket(channel, publication).map_err(cannot)
    }

    pub(super) fn publish_batch(&self, batch: &[BatchMessage<'_>]) -> Result<Reports> {
        let reports = self.open_http().map_err(|error| self.of_host(error))?.send_batch(batch)?;
        let published = reports.iter().filter(|report| report.is_ok()).count();
        self.tally.published.fetch_add(published as u64, Ordering::Relaxed);
        Ok(reports)
    }

    fn publish_by_websocket(&self, channel: &str, publication: Publication<'_>) -> Result<Report> {
        role::refuse_on_io("publish")?;
        let id = self.new_id();
        let promise = Arc::new(Promise::new());
        let retries = self.options.publish_retries;
        let own = (retries > 0).then(|| format!("{:032x}", fastrand::u128(..)));
        let key = publication.key.or(own.as_deref().map(str::as_bytes));
        let publication = Publication { key, ..publication };
        let plain = Publication::new(publication.kind, publication.data);
        let op = match publication == plain {
            true => Op::Publish(publication.kind, publication.data),
            false => Op::PublishWith(publication),
        };
        let packet = packet(id, channel, op);
        self.queue(Outgoing { id, packet, promise: Some(promise.clone()), retries })?;
        let limit = self.options.request_timeout;
        promise.wait(limit).unwrap_or_else(|| Err(self.late("no acknowledgement", limit)))
    }

    /// A time limit passed; why, if the connection is to blame.
    pub(super) fn late(&self, what: &str, limit: Duration) -> Error {
        let cause = cause(self.cause().filter(|_| !self.is_connected()).as_ref());
        let limit = limit.as_millis();
        Error::new(ErrorKind::Timeout, format!("{what} within {limit} ms{cause}"))
    }

    pub(super) fn publish_nowait(
        &self,
        channel: &str,
        kind: MessageKind,
        data: &[u8],
    ) -> Result<()> {
        check(channel, kind, data)
            .and_then(|()| {
                let packet = packet(0, channel, Op::Publish(kind, data));
                self.queue(Outgoing { id: 0, packet, promise: None, retries: 0 })
            })
            .map_err(|error| self.cannot("publish to", channel, error))
    }

    fn is_connected(&self) -> bool {
        self.state() == ClientState::Connected
    }

    fn queue(&self, request: Outgoing) -> Result<()> {
        let mut outbox = lock(&self.outbox);
        if outbox.ended || self.is_closing() {
            drop(outbox);
            return Err(self.closed());
        }
        if outbox.requests.len() >= self.options.send_queue_messages {
            // Those that nobody waits for any longer are never sent.
            outbox.requests.retain(|request| !request.is_abandoned());
            let waiting = outbox.requests.len();
            if waiting >= self.options.send_queue_messages {
                return Err(Error::new(
                    ErrorKind::QueueFull,
                    format!("{waiting} requests wait to be written"),
                ));
            }
        }
        outbox.requests.push_back(request);
        drop(outbox);
        self.wake.wake();
        Ok(())
    }

    /// An id that asks for a reply.
    pub(crate) fn new_id(&self) -> u32 {
        match self.next_id.fetch_add(1, Ordering::Relaxed) {
            0 => self.next_id.fetch_add(1, Ordering::Relaxed),
            id => id,
        }
    }

    /// The next publication to write that somebody still wants.
    pub(crate) fn next_request(&self) -> Option<Outgoing> {
        let mut outbox = lock(&self.outbox);
        while let Some(request) = outbox.requests.pop_front() {
            if !request.is_abandoned() {
                return Some(request);
            }
        }
        None
    }

    /// The subscriptions that came and went.
    pub(crate) fn take_changes(&self) -> (VecDeque<Join>, VecDeque<Arc<Inbox>>) {
        let mut outbox = lock(&self.outbox);
        (std::mem::take(&mut outbox.joins), std::mem::take(&mut outbox.leaving))
    }

    /// Takes nothing any more; what waited.
    pub(crate) fn drain(&self) -> VecDeque<Outgoing> {
        let mut outbox = lock(&self.outbox);
        outbox.ended = true;
        std::mem::take(&mut outbox.requests)
    }

    /// A connection is lost: `again` goes first on the next one. What waited and may be sent only
    /// once is given back.
    pub(crate) fn put_back(&self, again: Vec<Outgoing>) -> VecDeque<Outgoing> {
        let mut outbox = lock(&self.outbox);
        let waited = std::mem::take(&mut outbox.requests);
        outbox.requests.extend(again);
        let (keyed, once): (VecDeque<_>, _) =
            waited.into_iter().partition(|request| request.retries > 0);
        outbox.requests.extend(keyed);
        once
    }
}

fn cause(error: Option<&Error>) -> String {
    error.map(|error| format!("; {error}")).unwrap_or_default()
}
