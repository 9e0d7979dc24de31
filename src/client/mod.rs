//! The client runtime: one-shot calls and client handles.

mod options;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use options::{ClientOptions, OPTIONS};

use crate::Result;
use crate::wire::{MessageKind, Position};

/// What a subscription tells its receiver.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The channel's name.
    pub channel: Arc<str>,
    /// The message; for `Closed` and `Error` a UTF-8 text that says why.
    pub data: Bytes,
    /// Of a message: text or binary. Text otherwise.
    pub message_kind: MessageKind,
    /// Of a message: its place in the channel, zeros where the dialect does not carry it. Of
    /// `Connected`: the place of the last message before the subscription.
    pub position: Position,
}

/// The kinds of [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The subscription is live, for the first time or again after a reconnection.
    Connected,
    /// A message.
    Message,
    /// The last event of a subscription.
    Closed,
    /// The connection was lost or an attempt to restore it failed; it is tried again.
    Error,
}

/// How a subscription's events reach the program.
pub enum Delivery {
    /// The program takes them with [`Subscription::recv`] and its kin.
    Pull,
    /// A delivery thread of the subscription calls the function, one event at a time, in order.
    /// The function is dropped after its last call.
    Thread(Box<dyn FnMut(&Event) + Send>),
    /// The I/O thread calls the function: lowest latency, it must not block. Dropped after its
    /// last call.
    Inline(Box<dyn FnMut(&Event) + Send>),
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
pub struct Client {}

/// A subscription of a handle. Clones are the same subscription. Thread-safe.
#[derive(Debug, Clone)]
pub struct Subscription {}

impl Client {
    /// Opens a handle on `host` (`HOST:PORT`, or an `http://`, `https://`, `ws://`, `wss://` URL) and begins to
    /// connect in the background.
    pub fn open(_host: &str, _options: ClientOptions) -> Result<Self> {
        todo!()
    }

    /// Waits until the handle is connected.
    pub fn wait_connected(&self, _timeout: Duration) -> Result<()> {
        todo!()
    }

    /// The state now.
    pub fn state(&self) -> ClientState {
        todo!()
    }

    /// The counters.
    pub fn counters(&self) -> ClientCounters {
        todo!()
    }

    /// Creates a channel, over HTTP.
    pub fn create_channel(&self, _name: &str) -> Result<()> {
        todo!()
    }

    /// Deletes a channel, over HTTP.
    pub fn delete_channel(&self, _name: &str) -> Result<()> {
        todo!()
    }

    /// Publishes and waits for the server's acknowledgement, at most the request timeout.
    pub fn publish(&self, _channel: &str, _kind: MessageKind, _data: &[u8]) -> Result<Position> {
        todo!()
    }

    /// Queues a publication on the WebSocket without waiting for its acknowledgement; `QueueFull`
    /// when the bounded send queue is full. A refusal is logged and kept as the handle's last error.
    pub fn publish_nowait(&self, _channel: &str, _kind: MessageKind, _data: Bytes) -> Result<()> {
        todo!()
    }

    /// Subscribes and waits until the subscription is live, at most the request timeout. On an
    /// error the function in `delivery` was never called and is dropped.
    pub fn subscribe(&self, _channel: &str, _delivery: Delivery) -> Result<Subscription> {
        todo!()
    }

    /// The newest failure of the handle's background work, if there was one.
    pub fn last_error(&self) -> Option<crate::Error> {
        todo!()
    }

    /// Closes the handle and all its subscriptions. Never waits; may be called from anywhere and
    /// again.
    pub fn close(&self) {
        todo!()
    }
}

impl Subscription {
    /// The channel's name.
    pub fn channel(&self) -> &str {
        todo!()
    }

    /// The next event; `Timeout` when none came, `Closed` after the last one was taken.
    /// A zero timeout does not wait. Only for [`Delivery::Pull`].
    pub fn recv(&self, _timeout: Duration) -> Result<Event> {
        todo!()
    }

    /// Waits for one event like [`Subscription::recv`], then appends it and all that are waiting, at most `max`.
    pub fn recv_many(&self, _out: &mut Vec<Event>, _max: usize, _timeout: Duration) -> Result<()> {
        todo!()
    }

    /// A descriptor that is readable (level-triggered) while an event waits or the subscription has
    /// ended; made on first use, owned by the subscription.
    pub fn poll_fd(&self) -> Result<std::os::fd::RawFd> {
        todo!()
    }

    /// Messages dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        todo!()
    }

    /// Ends the subscription: waiting receivers wake with `Closed`, a callback that runs finishes and
    /// none begins but the one that tells `Closed`. Never waits; may be called from anywhere and again.
    pub fn close(&self) {
        todo!()
    }

    /// Closes and waits until no callback runs or will run; `WouldDeadlock` in that very callback.
    pub fn close_wait(&self, _timeout: Duration) -> Result<()> {
        todo!()
    }
}

/// Creates a channel on `host`. The connection is kept for the next call.
pub fn create_channel(_host: &str, _name: &str) -> Result<()> {
    todo!()
}

/// Broadcasts a text message. The connection is kept for the next call.
pub fn send_message(_host: &str, _channel: &str, _message: &str) -> Result<()> {
    todo!()
}

/// Listens on a channel until [`stop_listening`] or [`shutdown`]; returns once the subscription is
/// live. Connects again by itself.
pub fn listen_channel(_host: &str, _channel: &str, _delivery: Delivery) -> Result<()> {
    todo!()
}

/// Ends every listener that [`listen_channel`] started on this host and channel and waits for
/// their callbacks to end (not when called inside one of them).
pub fn stop_listening(_host: &str, _channel: &str) -> Result<()> {
    todo!()
}

/// Closes every handle and listener, joins the library's client threads. Afterwards the library
/// can be used again.
pub fn shutdown(_timeout: Duration) -> Result<()> {
    todo!()
}
