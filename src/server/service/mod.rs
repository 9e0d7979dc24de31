//! The operations on a server's channels, connections and users: one layer for C, HTTP, gRPC, the
//! dialects and the command line.

mod batch;
mod connections;
mod durable;
mod endpoints;
mod held;
mod publish;

pub use crate::hub::{BatchMessage, PublishOptions, Report, Reports};
pub use batch::BatchDone;
pub use connections::PresenceCallback;
pub(in crate::server) use held::Patience;
pub use publish::Done;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use super::dialect::Endpoint;
use super::dialect::packet::Packets;
use super::limits::{Gate, Limit, Limited};
use super::rpc::Rpc;
use super::{Process, ServerOptions};
use crate::delivery::Delivery;
use crate::hub::{
    Channel, ChannelConfig, ChannelInfo, Connections, Counters, Distribution, Extract, Gauges, Hub,
    Namespaces, Published, Range,
};
use crate::wire::MessageKind;
use crate::wire::websocket::Message;
use crate::{Error, ErrorKind, Result, thread};

/// What happens to a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Admission {
    /// It is served.
    Admitted,
    /// It is told why it is not.
    Refused,
    /// There are too many even to be told.
    Dropped,
}

/// A server's numbers at one moment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Qyun's version.
    pub version: &'static str,
    /// When the server started, in ms since the Unix epoch.
    pub started_ms: u64,
    /// When these numbers were read, likewise.
    pub now_ms: u64,
    /// Threads that own sockets.
    pub shards: usize,
    /// What is counted.
    pub counters: Counters,
    /// How often each limit refused something, by the option that sets it.
    pub limited: BTreeMap<&'static str, u64>,
    /// From publications to the end of the writes; see [`Service::publish_to_write`].
    pub publish_to_write: Distribution,
    /// What the process uses.
    pub process: Process,
}

/// Publications in one page of a channel's history.
pub const MAX_HISTORY_PAGE: usize = 1000;

/// Connections that may be told at a time why they are refused. They count beside those that are
/// served, so that who is refused takes nobody's place.
const MAX_REFUSALS: usize = 1024;

/// The operations. Every method may be called from any thread, and none waits for a subscriber.
#[derive(Debug)]
pub struct Service {
    hub: Hub,
    /// What the server was told last. Each shard keeps a snapshot of its own.
    options: RwLock<Arc<ServerOptions>>,
    limits: Limits,
    gauges: Box<[Gauges]>,
    /// Sockets that are served and not freed yet.
    sockets: AtomicUsize,
    /// Those that are being told why they are not.
    refused: AtomicUsize,
    gate: Gate,
    limited: Limited,
    /// The named connections.
    connections: Connections,
    endpoints: RwLock<BTreeMap<Box<str>, Arc<Endpoint>>>,
    shortest_ms: AtomicU64,
    stopped: AtomicBool,
    delivery: Arc<Delivery>,
    packets: Arc<Packets>,
    rpc: Arc<Rpc>,
    /// Publications that wait for room.
    held: held::Held,
    /// In ms since the Unix epoch.
    started_ms: u64,
    /// Whether the program wants to be told of presence.
    observed: AtomicBool,
}

/// The options that every publication or connection looks at, whatever its thread: read without a
/// lock. Nothing else is ordered by them.
#[derive(Debug, Default)]
struct Limits {
    max_message_bytes: AtomicUsize,
    queue_bytes: AtomicUsize,
    max_connections: AtomicUsize,
    max_subscriptions: AtomicUsize,
    auto_create: AtomicBool,
}

impl Limits {
    fn set(&self, options: &ServerOptions) {
        self.queue_bytes.store(options.queue_bytes, Relaxed);
        self.max_message_bytes.store(options.max_message_bytes, Relaxed);
        self.max_connections.store(options.max_connections, Relaxed);
        self.max_subscriptions.store(options.max_subscriptions, Relaxed);
        self.auto_create.store(options.auto_create, Relaxed);
    }
}

impl Service {
    pub(in crate::server) fn new(hub: Hub, options: ServerOptions, shards: usize) -> Self {
        let limits = Limits::default();
        limits.set(&options);
        set_namespaces(&hub, &options);
        hub.set_max_memberships(options.max_subscriptions);
        let threads = match options.delivery_threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let name = format!("{}-deliver", options.thread_name);
        let delivery = Arc::new(Delivery::new(&name, threads, options.delivery_bytes));
        let packets =
            Packets::new(Arc::clone(&delivery), &options.thread_name, options.packet_max_bytes);
        let rpc = Rpc::new(
            Arc::clone(&delivery),
            &options.thread_name,
            options.rpc_timeout,
            options.rpc_max_in_flight,
        );
        let gauges = (0..shards).map(|_| Gauges::default()).collect();
        Self {
            hub,
            options: RwLock::new(Arc::new(options)),
            limits,
            gauges,
            sockets: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            gate: Gate::default(),
            limited: Limited::default(),
            connections: Connections::default(),
            endpoints: RwLock::default(),
            shortest_ms: AtomicU64::new(u64::MAX),
            stopped: AtomicBool::new(false),
            observed: AtomicBool::new(false),
            delivery,
            packets: Arc::new(packets),
            rpc: Arc::new(rpc),
            held: held::Held::default(),
            started_ms: now_ms(),
        }
    }

    /// Creates a channel. Errors: `InvalidName`, `ChannelExists`, `QueueFull` at `max_channels`.
    pub fn create_channel(&self, name: &str) -> Result<()> {
        self.hub.create(name).map(drop).inspect_err(|error| self.note_full(error))
    }

    /// Creates a channel with options of its own instead of its namespace's. Errors as of
    /// [`Service::create_channel`].
    pub fn create_channel_with(&self, name: &str, config: ChannelConfig) -> Result<()> {
        self.hub.create_with(name, config).map(drop).inspect_err(|error| self.note_full(error))
    }

    /// A part of a channel's history. Holds the channel up while it is copied together: at most
    /// [`MAX_HISTORY_PAGE`] publications. Reads the disk where memory ends. Errors:
    /// `ChannelNotFound`; `InvalidArgument` for a range of none or more than that; `Io`.
    pub fn history(&self, name: &str, range: &Range) -> Result<Extract> {
        if !(1..=MAX_HISTORY_PAGE).contains(&range.limit) {
            let text = format!(
                "the limit of a history page is 1 to {MAX_HISTORY_PAGE}: it cannot be {}",
                range.limit
            );
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        self.hub.get(name).ok_or_else(not_found)?.history(range)
    }

    /// Deletes a channel; its listeners are closed after the last message before the deletion.
    /// Error: `ChannelNotFound`.
    pub fn delete_channel(&self, name: &str) -> Result<()> {
        self.hub.delete(name)
    }

    /// All channels, by name. Channels that come or go meanwhile may or may not be among them.
    pub fn channels(&self) -> Vec<ChannelInfo> {
        const PAGE: usize = 1024;
        let mut all: Vec<ChannelInfo> = Vec::new();
        loop {
            let page = self.page("", all.last().map(|info| info.name.as_str()), PAGE);
            let last = page.len() < PAGE;
            all.extend(page);
            if last {
                return all;
            }
        }
    }

    /// At most `limit` channels whose names begin with `prefix` and sort behind `after`.
    pub fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<ChannelInfo> {
        self.hub.page_of(prefix, after, limit).iter().map(|channel| channel.info()).collect()
    }

    /// One channel, with its options. Error: `ChannelNotFound`.
    pub fn channel(&self, name: &str) -> Result<ChannelInfo> {
        self.hub.get(name).map(|channel| channel.full_info()).ok_or_else(not_found)
    }

    /// Broadcasts a message. Waits only while a shard is behind by `inbox_bytes`; a slow subscriber
    /// is waited for only if the channel's option `overload` is `hold`, at most twice its `hold_ms`.
    /// In a durable channel it waits until the message is kept as the channel's `durability` says.
    /// Errors: `ChannelNotFound`, `TooLarge`, `InvalidUtf8` of a text, `Closed` once the server is
    /// stopped; `Timeout` when it was held too long, `QueueFull` where nothing may wait or too much
    /// does: then nothing was published. Of a durable channel also `Io`, and `WouldDeadlock` where
    /// nothing may wait, as in an inline callback.
    pub fn publish(&self, channel: &str, kind: MessageKind, payload: &[u8]) -> Result<Published> {
        if self.stopped.load(Relaxed) {
            return Err(Error::new(ErrorKind::Closed, "the server is stopped"));
        }
        self.check(kind, payload)?;
        let channel = self.find(channel)?;
        let message = Message::new(kind, payload);
        if thread::must_not_wait() {
            return match channel.commits() {
                false => self.publish_to(&channel, message),
                true => Err(durable::would_wait(channel.name())),
            };
        }
        self.hub.wait_for_room();
        match channel.hold() {
            None if !channel.commits() => self.publish_at_once(&channel, message),
            _ => self.publish_waiting(&channel, &message).map(|report| report.published),
        }
    }

    /// The counters, each exact, all together not from one instant.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters {
            channels: self.hub.len() as u64,
            published: self.hub.published(),
            ..Counters::default()
        };
        self.gauges.iter().for_each(|shard| shard.add_to(&mut sum));
        sum.deliveries.held = self.held.total();
        sum
    }

    /// The bound of a connection's queue.
    fn queue_bytes(&self) -> usize {
        self.limits.queue_bytes.load(Relaxed)
    }

    /// From publications to the end of the writes to subscribers. A message counts once for each
    /// shard that has subscribers of its channel, as long as the first message of its batch waited
    /// and the last subscriber of the batch was written to: never less than its own time.
    pub fn publish_to_write(&self) -> Distribution {
        let mut sum = Distribution::default();
        self.gauges.iter().for_each(|shard| shard.publish_to_write.add_to(&mut sum));
        sum
    }

    /// What the process uses. Asks the system.
    pub fn process(&self) -> Process {
        Process::now((self.sockets.load(Relaxed) + self.refused.load(Relaxed)) as u64)
    }

    /// When the server started, in ms since the Unix epoch.
    pub fn started_ms(&self) -> u64 {
        self.started_ms
    }

    /// How often each limit refused something since the start, by the option that sets it.
    pub fn limited(&self) -> BTreeMap<&'static str, u64> {
        self.limited.counts()
    }

    /// All that a console shows.
    pub fn stats(&self) -> Stats {
        Stats {
            version: env!("CARGO_PKG_VERSION"),
            started_ms: self.started_ms,
            now_ms: now_ms(),
            shards: self.gauges.len(),
            counters: self.counters(),
            limited: self.limited(),
            publish_to_write: self.publish_to_write(),
            process: self.process(),
        }
    }

    /// Whether the server takes what comes; if not, why.
    pub fn readiness(&self) -> std::result::Result<(), &'static str> {
        if self.stopped.load(Relaxed) {
            return Err("Stopping");
        }
        if self.hub.store_failed() {
            return Err("The store cannot be written");
        }
        match self.hub.is_congested() {
            true => Err("A shard is behind by 'inbox_bytes'"),
            false => Ok(()),
        }
    }

    /// Refuses what is published from now on.
    pub(in crate::server) fn close(&self) {
        self.stopped.store(true, Relaxed);
        self.close_held();
    }

    /// Where the program's callbacks run.
    pub fn delivery(&self) -> &Arc<Delivery> {
        &self.delivery
    }

    /// The methods that clients of the session dialect call.
    pub fn rpc(&self) -> &Arc<Rpc> {
        &self.rpc
    }

    /// The packet dialect.
    pub fn packets(&self) -> &Arc<Packets> {
        &self.packets
    }

    /// The options as they are now: those that the server was started with, and what
    /// [`Server::reload`](super::Server::reload) changed since. Takes a lock for a moment.
    pub fn options(&self) -> Arc<ServerOptions> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over other options. The shards must be told.
    pub(in crate::server) fn set_options(&self, options: ServerOptions) {
        self.limits.set(&options);
        self.hub.set_limits(options.max_channels, options.inbox_bytes);
        self.hub.set_max_memberships(options.max_subscriptions);
        set_namespaces(&self.hub, &options);
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
    }

    /// Whether it refuses what is published.
    pub(in crate::server) fn is_closed(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    pub(in crate::server) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The counters that shard `id` writes.
    pub(in crate::server) fn gauges(&self, id: usize) -> Option<&Gauges> {
        self.gauges.get(id)
    }

    /// A channel to send or listen to: with `auto_create`, one that does not exist is created.
    pub(in crate::server) fn find(&self, name: &str) -> Result<Arc<Channel>> {
        if let Some(channel) = self.hub.get(name) {
            return Ok(channel);
        }
        let server = self.limits.auto_create.load(Relaxed);
        if !self.hub.namespaces().config(name).creates_itself(server) {
            crate::wire::name::validate(name)?;
            return Err(not_found());
        }
        match self.hub.create(name) {
            Err(error) if error.kind() == ErrorKind::ChannelExists => {
                self.hub.get(name).ok_or_else(not_found)
            }
            created => created.inspect_err(|error| self.note_full(error)),
        }
    }

    /// Whether a message may be published at all.
    pub(in crate::server) fn check(&self, kind: MessageKind, payload: &[u8]) -> Result<()> {
        if payload.len() > self.limits.max_message_bytes.load(Relaxed) {
            return Err(self.too_large(payload.len()));
        }
        match kind {
            MessageKind::Binary => Ok(()),
            MessageKind::Text => std::str::from_utf8(payload).map(drop).map_err(|error| {
                let text = format!("Message is not UTF-8 at byte {}", error.valid_up_to());
                Error::new(ErrorKind::InvalidUtf8, text)
            }),
        }
    }

    /// The refusal of a message of `size` bytes.
    pub(in crate::server) fn too_large(&self, size: usize) -> Error {
        let limit = self.limits.max_message_bytes.load(Relaxed);
        self.note_limit(Limit::MaxMessageBytes);
        let text = format!("Message has {size} bytes; the limit is {limit}");
        Error::new(ErrorKind::TooLarge, text)
    }

    /// Whether a connection with so many subscriptions may have another one. Error: `QueueFull` at
    /// `max_subscriptions`.
    pub(in crate::server) fn check_subscriptions(&self, count: usize) -> Result<()> {
        let max = self.limits.max_subscriptions.load(Relaxed);
        if count < max {
            return Ok(());
        }
        self.note_limit(Limit::MaxSubscriptions);
        let text = format!("There are {max} subscriptions already, as many as may be");
        Err(Error::new(ErrorKind::QueueFull, text))
    }

    /// Publishes without waiting for room, as a shard must, which is the one that makes room. Error
    /// besides: `QueueFull` while a subscriber holds the channel.
    pub(in crate::server) fn publish_to<'a>(
        &self,
        channel: &Arc<Channel>,
        message: impl Into<Cow<'a, Message>>,
    ) -> Result<Published> {
        let message = message.into();
        if let Some(hold) = channel.hold() {
            let options = PublishOptions::default();
            let later = || -> Done { Box::new(drop) };
            let held = (channel, hold);
            let report = self.publish_held(held, &message, options, Patience::None, later);
            return report.unwrap_or_else(|| Err(not_found())).map(|report| report.published);
        }
        self.publish_at_once(channel, message)
    }

    fn publish_at_once<'a>(
        &self,
        channel: &Arc<Channel>,
        message: impl Into<Cow<'a, Message>>,
    ) -> Result<Published> {
        let published = channel.publish(&self.hub, message).map_err(|_| not_found())?;
        self.hub.count_published();
        Ok(published)
    }

    /// Counts a connection in: as served while there are not `max_connections`.
    pub(in crate::server) fn admit(&self) -> Admission {
        let limit = match self.limits.max_connections.load(Relaxed) {
            0 => usize::MAX,
            limit => limit,
        };
        match self.sockets.fetch_update(Relaxed, Relaxed, |n| (n < limit).then_some(n + 1)) {
            Ok(_) => Admission::Admitted,
            Err(_) => self.refuse(),
        }
    }

    /// Counts a connection in that is not served: it is told why, or dropped.
    pub(in crate::server) fn refuse(&self) -> Admission {
        let told =
            self.refused.fetch_update(Relaxed, Relaxed, |n| (n < MAX_REFUSALS).then_some(n + 1));
        if told.is_ok() { Admission::Refused } else { Admission::Dropped }
    }

    /// Counts a connection out that was `admit`ted so.
    pub(in crate::server) fn release(&self, admission: Admission) {
        match admission {
            Admission::Admitted => self.sockets.fetch_sub(1, Relaxed),
            Admission::Refused => self.refused.fetch_sub(1, Relaxed),
            Admission::Dropped => 0,
        };
    }

    /// The counts by address.
    pub(in crate::server) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Something was refused for a limit.
    pub(in crate::server) fn note_limit(&self, limit: Limit) {
        self.limited.count(limit);
    }

    fn note_full(&self, error: &Error) {
        if error.kind() == ErrorKind::QueueFull {
            self.note_limit(Limit::MaxChannels);
        }
    }

    /// Counts a connection in that another process admitted, or refused.
    pub(in crate::server) fn adopt(&self, refused: bool) {
        let count = if refused { &self.refused } else { &self.sockets };
        count.fetch_add(1, Relaxed);
    }
}

/// The text was checked when it was set.
fn set_namespaces(hub: &Hub, options: &ServerOptions) {
    match Namespaces::parse(&options.namespaces) {
        Ok(namespaces) => hub.set_namespaces(namespaces),
        Err(error) => log::error!(target: "qyun::server", "namespaces: {error}"),
    }
}

fn not_found() -> Error {
    Error::new(ErrorKind::ChannelNotFound, "Channel not found")
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_server_whose_store_has_failed_is_not_ready() {
        let hub = Hub::new(Vec::new(), 10);
        let service = Service::new(hub, ServerOptions::default(), 1);
        assert_eq!(service.readiness(), Ok(()));
        service.hub().open_store(Arc::new(Store::failed())).unwrap();
        assert_eq!(service.readiness(), Err("The store cannot be written"));
    }
}
