//! One WebSocket to any server: it connects, comes back by itself, and tells what happens.
//!
//! `shared` is what the program's threads and the connection's task share, `task` the task, `sink`
//! where its events go: an inbox here, the packet dialect's state in [`super::packet`].

mod options;
mod shared;
mod sink;
mod task;

use std::fmt;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use options::{SOCKET_OPTIONS, SocketOptions};
pub(crate) use shared::Shared;
pub(crate) use sink::{Sink, Verdict};
pub(crate) use task::start;

use super::handle::forked;
use super::inbox::Inbox;
use super::queue::{Class, Item, Take};
use super::{Delivery, role};
use crate::wire::MessageKind;
use crate::{Error, ErrorKind, Result, fork};

/// What a socket tells its receiver.
#[derive(Debug, Clone)]
pub enum SocketEvent {
    /// It is connected, for the first time or again; with the sub-protocol that the server chose.
    Connected {
        /// One of those that were offered.
        protocol: Option<Arc<str>>,
    },
    /// A message.
    Message {
        /// Text, which is UTF-8, or binary.
        kind: MessageKind,
        /// The payload.
        data: Bytes,
    },
    /// The server sent a ping, which was answered. Only with the option `control_events`.
    Ping(Bytes),
    /// The server sent a pong. Only with the option `control_events`.
    Pong(Bytes),
    /// The connection is over.
    Disconnected {
        /// The close code, the server's or that of [`Socket::disconnect`]; 1006 when there was no
        /// Close, 1005 when that had no code.
        code: u16,
        /// What the Close said; without one, why the connection is lost.
        reason: Arc<str>,
        /// Whether it is tried again.
        will_reconnect: bool,
    },
    /// An attempt to connect failed.
    Error {
        /// Why.
        error: Error,
        /// Whether it is tried again.
        will_reconnect: bool,
    },
    /// The last event: the socket is closed.
    Closed {
        /// Why.
        reason: Arc<str>,
    },
}

impl Item for SocketEvent {
    fn class(&self) -> Class {
        match self {
            Self::Message { .. } | Self::Ping(_) | Self::Pong(_) => Class::Message,
            Self::Error { .. } => Class::Error,
            Self::Connected { .. } | Self::Disconnected { .. } | Self::Closed { .. } => {
                Class::Notice
            }
        }
    }

    fn last(_name: &Arc<str>, reason: &str) -> Self {
        Self::Closed { reason: reason.into() }
    }
}

/// Where a socket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketState {
    /// Not connected, and not trying: before the first [`Socket::connect`], after
    /// [`Socket::disconnect`], and after the last attempt.
    Disconnected,
    /// Connecting, for the first time or again.
    Connecting,
    /// Connected.
    Connected,
    /// Closed for good.
    Closed,
}

/// Totals of a socket since it was opened. Bytes are those of payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketCounters {
    /// Messages received.
    pub messages_in: u64,
    /// Messages handed to the connection.
    pub messages_out: u64,
    /// Bytes of messages received.
    pub bytes_in: u64,
    /// Bytes of messages handed to the connection.
    pub bytes_out: u64,
    /// Received messages dropped because the queue was full.
    pub dropped: u64,
    /// Messages that were queued to be sent and lost with their connection.
    pub unsent: u64,
    /// Times the connection was restored.
    pub reconnects: u64,
    /// Messages that wait to be written now.
    pub queued: u64,
}

/// One WebSocket. Clones are the same socket. Thread-safe; the last clone closes it.
#[derive(Debug, Clone)]
pub struct Socket {
    owner: Arc<Owner>,
}

/// What all clones own together.
struct Owner {
    generation: u64,
    /// `None` only while it is dropped.
    parts: Option<(Arc<Shared>, Arc<Inbox<SocketEvent>>)>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let parts = self.parts.take();
        if self.generation != fork::generation() {
            // What is inside may be locked for ever by a thread that this process does not have.
            std::mem::forget(parts);
        } else if let Some((shared, _)) = parts {
            shared.close();
        }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parts {
            Some((shared, _)) => f.write_str(shared.url()),
            None => f.write_str("closed"),
        }
    }
}

impl Socket {
    /// Makes a socket for `url` (`ws://HOST:PORT/PATH?QUERY` or `wss://…`); it does not connect
    /// yet. `InvalidUrl`, `InvalidOption`, `Io`. On an error the function in `delivery` was never
    /// called and is dropped.
    pub fn open(
        url: &str,
        options: SocketOptions,
        delivery: Delivery<SocketEvent>,
    ) -> Result<Self> {
        let generation = fork::generation();
        let bounds = options.bounds();
        let shared = Shared::new(url, options)?;
        let (inbox, callback) = Inbox::new(
            shared.url().into(),
            delivery,
            bounds,
            shared.wake.clone(),
            shared.tally.dropped.clone(),
        );
        let started = task::start(&shared, inbox.clone()).and_then(|()| match callback {
            Some(callback) => inbox.start(callback, &shared.runtime),
            None => Ok(()),
        });
        if let Err(error) = started {
            inbox.dismiss();
            shared.close();
            return Err(error);
        }
        Ok(Self { owner: Arc::new(Owner { generation, parts: Some((shared, inbox)) }) })
    }

    fn parts(&self) -> Result<&(Arc<Shared>, Arc<Inbox<SocketEvent>>)> {
        match &self.owner.parts {
            Some(parts) if self.owner.generation == fork::generation() => Ok(parts),
            _ => Err(forked()),
        }
    }

    fn shared(&self) -> Result<&Arc<Shared>> {
        self.parts().map(|(shared, _)| shared)
    }

    fn inbox(&self) -> Result<&Arc<Inbox<SocketEvent>>> {
        self.parts().map(|(_, inbox)| inbox)
    }

    /// The URL, in full.
    pub fn url(&self) -> &str {
        self.owner.parts.as_ref().map_or("", |(shared, _)| shared.url())
    }

    /// Begins to connect, unless it is connected or connecting, and waits until it is, at most
    /// `timeout`; zero does not wait. `Timeout` tells the last attempt's failure, and the attempts
    /// go on. When there will be no other attempt, this fails with why the last one did
    /// (`Connect`, `Refused`, `Protocol`, `Timeout`). `Closed` after [`Socket::close`],
    /// `WouldDeadlock` in an inline callback, if it would wait.
    pub fn connect(&self, timeout: Duration) -> Result<()> {
        self.shared()?.connect(timeout)
    }

    /// Ends the connection, or the attempts to make one, with a close code (1000, 3000–4999) and a
    /// reason of at most 123 bytes. What was queued before is still written, if the server takes
    /// it. Never waits; may be called from anywhere and again. [`Socket::connect`] connects again.
    pub fn disconnect(&self, code: u16, reason: &str) -> Result<()> {
        self.shared()?.disconnect(code, reason)
    }

    /// The state now.
    pub fn state(&self) -> SocketState {
        self.shared().map_or(SocketState::Closed, |shared| shared.state())
    }

    /// Whether it is connected.
    pub fn is_connected(&self) -> bool {
        self.state() == SocketState::Connected
    }

    /// The counters.
    pub fn counters(&self) -> SocketCounters {
        self.shared().map(|shared| shared.counters()).unwrap_or_default()
    }

    /// Queues a message. Never waits; may be called from anywhere; what one thread sends arrives
    /// in its order. `Connect` while it is not connected: a message is never kept for the next
    /// connection. `QueueFull` when the bounded send queue is full, `InvalidUtf8` for a text that
    /// is none, `Closed`.
    pub fn send(&self, kind: MessageKind, data: &[u8]) -> Result<()> {
        self.shared()?.send(kind, data)
    }

    /// Queues a text that must be JSON: `InvalidArgument` says where it is not. Otherwise as
    /// [`Socket::send`].
    pub fn send_json(&self, json: &[u8]) -> Result<()> {
        self.shared()?.send_json(json)
    }

    /// Sends a ping with at most 125 bytes; the server's pong is told with the option
    /// `control_events`. Queued like a message.
    pub fn ping(&self, payload: &[u8]) -> Result<()> {
        self.shared()?.ping(payload)
    }

    /// The next event; `Timeout` when none came, `Closed` after the last one. A zero timeout does
    /// not wait. Only for [`Delivery::Pull`]. `WouldDeadlock` on the I/O thread if it would wait.
    pub fn recv(&self, timeout: Duration) -> Result<SocketEvent> {
        let mut events = Vec::new();
        self.recv_many(&mut events, 1, timeout)?;
        events.pop().ok_or_else(|| self.nothing(timeout))
    }

    /// Waits for one event like [`Socket::recv`], then appends it and all that are waiting, at
    /// most `max`.
    pub fn recv_many(
        &self,
        out: &mut Vec<SocketEvent>,
        max: usize,
        timeout: Duration,
    ) -> Result<()> {
        if max == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "max is 0; it takes at least 1"));
        }
        let queue = self.inbox()?.pull().ok_or_else(|| self.called())?;
        if !timeout.is_zero() && queue.is_idle() {
            role::refuse_on_io("recv")?;
        }
        let mut rest = Vec::new();
        match queue.take_many(&mut rest, max, Some(timeout)) {
            Take::Event(event) | Take::Last(event) => out.push(event),
            Take::Nothing => return Err(self.nothing(timeout)),
            Take::Closed(_) | Take::Over => {
                let text = format!("the socket to {} is closed", self.url());
                return Err(Error::new(ErrorKind::Closed, text));
            }
        }
        out.append(&mut rest);
        Ok(())
    }

    fn nothing(&self, timeout: Duration) -> Error {
        let text = format!("nothing from {} within {} ms", self.url(), timeout.as_millis());
        Error::new(ErrorKind::Timeout, text)
    }

    fn called(&self) -> Error {
        let text = format!("the events of the socket to {} go to its callback", self.url());
        Error::new(ErrorKind::InvalidArgument, text)
    }

    /// A descriptor that is readable (level-triggered) while an event waits, or the end, until
    /// [`Socket::recv`] has told it; made on first use, owned by the socket. Only for
    /// [`Delivery::Pull`].
    pub fn poll_fd(&self) -> Result<RawFd> {
        Ok(self.inbox()?.pull().ok_or_else(|| self.called())?.fd()?)
    }

    /// The newest failure of the background work, if there was one.
    pub fn last_error(&self) -> Option<Error> {
        self.shared().map_or_else(Some, |shared| shared.last_error())
    }

    /// Closes it for good: waiting receivers wake with `Closed`, a callback that runs finishes and
    /// none begins but the one that tells `Closed`. What was queued is still written, as for
    /// [`Socket::disconnect`]. Never waits; may be called from anywhere and again.
    pub fn close(&self) {
        if let Ok(shared) = self.shared() {
            shared.close();
        }
    }

    /// Closes and waits until no callback runs or will run; `WouldDeadlock` in that very callback,
    /// in any inline callback, and in a callback for whose end that one waits. `Timeout` when it
    /// still runs.
    pub fn close_wait(&self, timeout: Duration) -> Result<()> {
        let (shared, inbox) = self.parts()?;
        shared.close();
        inbox.wait(Some(timeout))
    }
}
