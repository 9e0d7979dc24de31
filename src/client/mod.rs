//! The client runtime: one-shot calls, listeners and client handles.
//!
//! One-shot calls ([`create_channel`], [`send_message`]) run on the caller's thread. Listeners
//! ([`listen_channel`]), handles ([`Client`]) and sockets ([`Socket`]) share one background I/O
//! thread, which starts with the first of them and ends with [`shutdown`]; each subscription or
//! socket with a callback has a delivery thread of its own. Nothing runs before the first use.
//!
//! The rooms: `host` and `url` (addresses), `http`, `batch` and `transport` (one-shot calls), `tls`, `link`
//! (one connection), `listener` and `meta`, `connection`, `session` and `topic` (a handle's task), `handle`, `outgoing`,
//! `subscribe` and `subscription` (their users' side), `socket` (one WebSocket to any server), `inbox` and `queue`
//! (from the I/O thread to the program), `runtime`, `state` and `role` (threads, process, who waits
//! for whom).
//!
//! After `fork()` the child has a client runtime of its own. Handles of the parent answer `Closed`
//! there, and dropping them leaks them.

mod backoff;
mod batch;
mod connection;
mod deflate;
mod eventfd;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod history;
mod host;
mod http;
mod inbox;
mod link;
mod listener;
mod members;
mod meta;
mod oneshot;
mod options;
mod outgoing;
mod packet;
mod presence;
mod promise;
mod queue;
mod role;
mod roster;
mod runtime;
mod session;
mod socket;
mod state;
mod subscribe;
mod subscription;
mod tls;
mod topic;
mod transport;
mod url;
mod wake;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use history::{History, Publication};
pub use host::Host;
pub use http::Http;
pub use options::{ClientOptions, OPTIONS, Overflow, PublishVia};
pub use packet::{PacketClient, PacketClientCounters, PacketHappening, PacketIncoming};
pub use presence::{Presence, Present};
pub use socket::{SOCKET_OPTIONS, Socket, SocketCounters, SocketEvent, SocketOptions, SocketState};

use crate::Result;
use crate::hub::{BatchMessage, ChannelConfig, PublishOptions, Range, Report, Reports};
use crate::wire::{MessageKind, Position};

/// What a subscription tells its receiver.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The channel's name.
    pub channel: Arc<str>,
    /// The message; for `Join` and `Leave` the connection's id; for `Closed` and `Error` a UTF-8 text that says why, for `Connected` one that
    /// says what was missed, if anything was.
    pub data: Bytes,
    /// Of a message: text or binary. Text otherwise.
    pub message_kind: MessageKind,
    /// Of a message: its place in the channel, zeros where the dialect does not carry it. Of
    /// `Connected`: the place behind which the messages that follow begin.
    pub position: Position,
    /// Of `Connected`, when the subscription continues from a position, after a reconnection or one
    /// of the program's own: whether nothing was missed since. Otherwise `None`.
    pub recovered: Option<bool>,
    /// Of `Join` and `Leave`: who.
    pub attendee: Option<Arc<Attendee>>,
}

/// Who came to a channel, or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attendee {
    /// The connection's id.
    pub id: Box<str>,
    /// The user that the server's program bound it to.
    pub user: Option<Arc<str>>,
    /// Of a join: the user had no other connection there. Of a leave: none is left. True without a
    /// user.
    pub edge: bool,
    /// When, in ms since the Unix epoch: of one that was there before, when it connected; 0 of one
    /// that went while the handle was not connected.
    pub time_ms: u64,
}

impl Event {
    /// An event that is no message.
    fn notice(kind: EventKind, channel: &Arc<str>, text: &str, position: Position) -> Self {
        Self {
            kind,
            channel: channel.clone(),
            data: Bytes::copy_from_slice(text.as_bytes()),
            message_kind: MessageKind::Text,
            position,
            recovered: None,
            attendee: None,
        }
    }
}

/// The kinds of [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The subscription is live, for the first time or again after a reconnection.
    Connected,
    /// A message.
    Message,
    /// Somebody came, or was there when the subscription began.
    Join,
    /// Somebody went.
    Leave,
    /// The last event of a subscription.
    Closed,
    /// The connection was lost or an attempt to restore it failed; it is tried again.
    Error,
}

/// How a subscription's events reach the program.
pub enum Delivery<E = Event> {
    /// The program takes them with [`Subscription::recv`] and its kin.
    Pull,
    /// A delivery thread of the subscription calls the function, one event at a time, in order.
    /// The function is dropped after its last call.
    Thread(Box<dyn FnMut(&E) + Send>),
    /// The I/O thread calls the function: lowest latency, it must not block. Dropped after its
    /// last call.
    Inline(Box<dyn FnMut(&E) + Send>),
}

/// Where a client handle stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientState {
    /// Connecting, for the first time or again.
    Connecting,
    /// Connected.
    Connected,
    /// Closed by the program, by the server for good, or after the last attempt.
    Closed,
}

/// Totals of a client handle since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientCounters {
    /// Messages received.
    pub received: u64,
    /// Messages published and acknowledged.
    pub published: u64,
    /// Messages dropped because a subscription's queue was full.
    pub dropped: u64,
    /// Times the connection was restored.
    pub reconnects: u64,
}

/// A handle: one connection, many subscriptions. Clones are the same handle. Thread-safe.
#[derive(Debug, Clone)]
pub struct Client {
    owner: Arc<handle::Owner>,
}

/// A subscription of a handle. Clones are the same subscription. Thread-safe.
#[derive(Debug, Clone)]
pub struct Subscription {
    owner: Arc<subscription::Owner>,
}

impl Client {
    /// Opens a handle on `host` (`HOST:PORT`, or an `http://`, `https://`, `ws://`, `wss://` URL) and begins to
    /// connect in the background.
    pub fn open(host: &str, options: ClientOptions) -> Result<Self> {
        Self::start(host, options)
    }

    /// Waits until the handle is connected. `Timeout` tells the last attempt's failure, `Closed`
    /// that there will be no more. `WouldDeadlock` in an inline callback, if it would wait.
    pub fn wait_connected(&self, timeout: Duration) -> Result<()> {
        self.shared()?.wait_connected(timeout)
    }

    /// The state now.
    pub fn state(&self) -> ClientState {
        self.shared().map_or(ClientState::Closed, |shared| shared.state())
    }

    /// The counters.
    pub fn counters(&self) -> ClientCounters {
        self.shared().map(|shared| shared.counters()).unwrap_or_default()
    }

    /// Creates a channel, over HTTP.
    pub fn create_channel(&self, name: &str) -> Result<()> {
        self.shared()?.create_channel(name)
    }

    /// Creates a channel with options in place of its namespace's, over HTTP, as
    /// [`Http::create_with`] says.
    pub fn create_channel_with(
        &self,
        name: &str,
        config: &ChannelConfig,
        token: &str,
    ) -> Result<()> {
        self.shared()?.create_channel_with(name, config, token)
    }

    /// Deletes a channel, over HTTP.
    pub fn delete_channel(&self, name: &str) -> Result<()> {
        self.shared()?.delete_channel(name)
    }

    /// A page of a channel's history, over HTTP. Errors as of [`Http::history`].
    pub fn history(&self, channel: &str, range: &Range) -> Result<History> {
        self.shared()?.history(channel, range)
    }

    /// Publishes and waits for the server's acknowledgement, at most the request timeout. While
    /// the handle still connects the message waits, and is not sent once this has returned. When
    /// the connection is lost after it was sent, this fails with `Connect`, and it may have been
    /// published: nothing is sent twice.
    ///
    /// With the option `publish_retries` it is sent again on the next connection, under a key, and
    /// the server publishes it once. Only a server that has forgotten the key meanwhile, because it
    /// began anew or the channel's options say so, publishes it again.
    ///
    /// A message over the server's limit fails with `TooLarge`; the server reads it to its end up to
    /// sixteen times its limit, and closes the connection of one that is larger still.
    /// `WouldDeadlock` in an inline callback, unless publications travel by HTTP.
    pub fn publish(&self, channel: &str, kind: MessageKind, data: &[u8]) -> Result<Position> {
        self.shared()?.publish(channel, kind, data)
    }

    /// Publishes like [`Client::publish`] with what else is asked for, and tells what became of the
    /// message. The channel's `idempotency_ms` says how long a key is remembered; whoever does not
    /// know whether a message arrived sends it again under the same key, from any client, and it is
    /// published once. With `publish_retries` the handle does so by itself, under the key of
    /// `options` if there is one. With counts it waits until the server knows them.
    ///
    /// Errors besides: `Conflict` for a key of another message, `InvalidArgument` for a key or a
    /// `conflate` that is empty or over 255 bytes.
    pub fn publish_with(
        &self,
        channel: &str,
        kind: MessageKind,
        data: &[u8],
        options: &PublishOptions<'_>,
    ) -> Result<Report> {
        self.shared()?.publish_with(channel, kind, data, options)
    }

    /// Publishes many messages in one HTTP request, as [`Http::send_batch`] says.
    pub fn publish_batch(&self, batch: &[BatchMessage<'_>]) -> Result<Reports> {
        self.shared()?.publish_batch(batch)
    }

    /// Queues a publication on the WebSocket without waiting for its acknowledgement; `QueueFull`
    /// when the bounded send queue is full. A refusal, and a loss of the connection with messages
    /// in the queue, is logged and kept as the handle's last error. Never waits; may be called
    /// from anywhere.
    pub fn publish_nowait(&self, channel: &str, kind: MessageKind, data: Bytes) -> Result<()> {
        self.shared()?.publish_nowait(channel, kind, &data)
    }

    /// Subscribes and waits until the subscription is live, at most the request timeout; while the
    /// handle still connects, that long for the connection. On an error the function in `delivery`
    /// was never called and is dropped. Subscriptions of one handle to one channel share what the
    /// server sends. `WouldDeadlock` in an inline callback.
    ///
    /// After a reconnection the subscription goes on behind the last message that the handle
    /// received of the channel. It gets `Connected` again, with [`Event::recovered`]: true when what
    /// was missed follows, each message once and in order, which takes a channel that keeps a
    /// history; false when some of it is lost, and then the event's position tells where it goes on.
    /// If the channel is gone, it gets an `Error`, and is tried again after each `reconnect_max`.
    /// When the channel is deleted while it is subscribed to, it ends with `Closed`.
    pub fn subscribe(&self, channel: &str, delivery: Delivery) -> Result<Subscription> {
        self.shared()?.subscribe(channel, None, delivery)
    }

    /// Subscribes like [`Client::subscribe`], and first gets what was published behind `since`, the
    /// position of the last message that the program has. The first event, `Connected`, tells by
    /// [`Event::recovered`] whether all of that follows.
    ///
    /// If the handle is subscribed to the channel already, the new subscription has a connection of
    /// its own until it is closed, so that neither disturbs the other. (Who joins the other way
    /// round, with [`Client::subscribe`] while another subscription of the handle still catches up,
    /// gets the rest of that as well; the position of its `Connected` tells.)
    pub fn subscribe_since(
        &self,
        channel: &str,
        since: Position,
        delivery: Delivery,
    ) -> Result<Subscription> {
        self.shared()?.subscribe(channel, Some(since), delivery)
    }

    /// Subscribes to all channels whose names match `pattern`: `*` stands for one segment between
    /// dots, `>` at the end for one or more. Of channels that exist from now on, of others from
    /// their first message on; [`Event::channel`] says which one it is. Errors as of
    /// [`Client::subscribe`], `InvalidName` for what is no pattern, and `Refused` by a server that
    /// takes none.
    ///
    /// The first such subscription, or one of [`Client::subscribe_presence`], gives the handle a
    /// second connection, which all of them share. After a reconnection a pattern begins at the
    /// present: `Connected` comes again with [`Event::recovered`] false. A channel that is deleted
    /// leaves the subscription as it is.
    pub fn subscribe_pattern(&self, pattern: &str, delivery: Delivery) -> Result<Subscription> {
        self.shared()?.subscribe_as_member(pattern, members::Wish::Pattern, delivery)
    }

    /// Subscribes to a channel with the option `presence` like [`Client::subscribe`], and is told
    /// who is there: behind `Connected` comes a `Join` for each one, this subscription's own
    /// connection among them, then a `Join` or `Leave` for each who comes or goes, between the
    /// messages, at its place in the channel's order. For each connection they alternate, also
    /// across reconnections. In the subscription's queue they are as messages are: with an `overflow`
    /// other than `block`, a full queue drops them, and counts them.
    ///
    /// Errors as of [`Client::subscribe`]; `ChannelNotFound` also for a channel without the option.
    pub fn subscribe_presence(&self, channel: &str, delivery: Delivery) -> Result<Subscription> {
        self.shared()?.subscribe_as_member(channel, members::Wish::Presence, delivery)
    }

    /// Who is in a channel with the option `presence`, over HTTP: at most `limit` (1 to 1,000) of
    /// those whose ids sort behind `after`. Errors as of [`Http::presence`].
    pub fn presence(&self, channel: &str, after: Option<&str>, limit: usize) -> Result<Presence> {
        self.shared()?.presence(channel, after, limit)
    }

    /// The newest failure of the handle's background work, if there was one.
    pub fn last_error(&self) -> Option<crate::Error> {
        self.shared().map_or_else(Some, |shared| shared.last_error())
    }

    /// Closes the handle and all its subscriptions. Never waits; may be called from anywhere and
    /// again.
    pub fn close(&self) {
        if let Ok(shared) = self.shared() {
            runtime::Closable::close(&**shared);
        }
    }
}

impl Subscription {
    /// The channel's name.
    pub fn channel(&self) -> &str {
        self.name()
    }

    /// The next event; `Timeout` when none came, `Closed` after the last one was taken, or at once
    /// after [`Subscription::close`]. A zero timeout does not wait. Only for [`Delivery::Pull`].
    /// `WouldDeadlock` on the I/O thread if it would wait.
    pub fn recv(&self, timeout: Duration) -> Result<Event> {
        self.receive(timeout)
    }

    /// Waits for one event like [`Subscription::recv`], then appends it and all that are waiting, at most `max`.
    pub fn recv_many(&self, out: &mut Vec<Event>, max: usize, timeout: Duration) -> Result<()> {
        self.receive_many(out, max, timeout)
    }

    /// A descriptor that is readable (level-triggered) while an event waits, or the end, until
    /// [`Subscription::recv`] has told it; made on first use, owned by the subscription. Only for
    /// [`Delivery::Pull`].
    pub fn poll_fd(&self) -> Result<std::os::fd::RawFd> {
        self.descriptor()
    }

    /// Messages dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.drops()
    }

    /// Ends the subscription: waiting receivers wake with `Closed`, a callback that runs finishes and
    /// none begins but the one that tells `Closed`. Never waits; may be called from anywhere and again.
    pub fn close(&self) {
        self.leave();
    }

    /// Closes and waits until no callback runs or will run; `WouldDeadlock` in that very callback,
    /// in any inline callback, and in a callback for whose end that one waits. `Timeout` when it still runs.
    pub fn close_wait(&self, timeout: Duration) -> Result<()> {
        self.leave_and_wait(timeout)
    }
}

/// Creates a channel on `host`. The connection is kept for the next call. Runs on the caller's
/// thread; may be called from anywhere. See [`send_message`] for what is promised about retries.
///
/// Errors name host and channel: `ChannelExists`, `InvalidName` (also for `.` and `..`, which no
/// URL can carry), `InvalidUrl`, `TooLarge`, `Refused`, `Connect`, `Timeout`, `Protocol`.
pub fn create_channel(host: &str, name: &str) -> Result<()> {
    oneshot::create_channel(host, name)
}

/// Broadcasts a text message. The connection is kept for the next call. Runs on the caller's
/// thread; may be called from anywhere.
///
/// A kept connection that the server closed meanwhile is replaced without notice, before anything
/// of the request has left. A request that has left is never sent again: if its answer does not
/// come, the call fails with `Connect` or `Timeout`, and the message may or may not have been
/// broadcast. Other errors as for [`create_channel`], and `ChannelNotFound`.
pub fn send_message(host: &str, channel: &str, message: &str) -> Result<()> {
    oneshot::send_message(host, channel, message)
}

/// Broadcasts a message with what else is asked for, as [`Http::send_with`] does, and tells what
/// became of it. The rest as for [`send_message`].
pub fn send_message_with(
    host: &str,
    channel: &str,
    kind: MessageKind,
    data: &[u8],
    options: &PublishOptions<'_>,
) -> Result<Report> {
    oneshot::agent(host)?.send_with(channel, kind, data, options)
}

/// Broadcasts many messages in one request, as [`Http::send_batch`] does. The rest as for
/// [`send_message`].
pub fn send_batch(host: &str, batch: &[BatchMessage<'_>]) -> Result<Reports> {
    oneshot::agent(host)?.send_batch(batch)
}

/// Listens on a channel until [`stop_listening`] or [`shutdown`]; returns once the subscription is
/// live, after 5 seconds at the latest. Connects again by itself and goes on behind the last message,
/// as [`Client::subscribe`] says: each loss and each failed attempt is an `Error`, each success a
/// `Connected`, and a close code that means "stay away" ends it with `Closed`. On an error the function in `delivery` was never called and is dropped.
///
/// `ChannelNotFound`, `InvalidArgument` ([`Delivery::Pull`]), `WouldDeadlock` in an inline
/// callback, and the errors of [`create_channel`].
pub fn listen_channel(host: &str, channel: &str, delivery: Delivery) -> Result<()> {
    listener::listen(host, channel, delivery)
}

/// Ends every listener that [`listen_channel`] started on this host and channel and waits for
/// their callbacks to end: not when called inside one of them, inside any inline callback, or
/// inside a callback that one of them waits for. `NotFound` if there is none.
pub fn stop_listening(host: &str, channel: &str) -> Result<()> {
    listener::stop(host, channel)
}

/// Closes every handle, listener and kept connection, joins the library's client threads.
/// Afterwards the library can be used again. `Timeout` when a callback still runs (calling it again
/// waits again); `WouldDeadlock` in a callback.
pub fn shutdown(timeout: Duration) -> Result<()> {
    if role::current() == role::Role::Program {
        oneshot::close_all();
    }
    runtime::shutdown(timeout)
}

/// Whether the current thread is the one that does the clients' I/O.
pub(crate) fn on_io_thread() -> bool {
    role::current() == role::Role::Io
}
