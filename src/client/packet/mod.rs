//! The client side of the packet dialect, on a socket of its own.
//!
//! Responses are matched on the I/O thread, so that a callback may make a request and wait for it.
//! What else comes goes to the program's functions: on the client's delivery thread, one at a time
//! and in order, or inline.
//!
//! `desk` is what the program has registered and keeps, `state` what the socket's task feeds.

mod desk;
mod state;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

pub use desk::{PacketHappening, PacketIncoming};

use super::Delivery;
use super::handle::forked;
use super::inbox::Inbox;
use super::role;
use super::socket::{self, Shared, SocketCounters, SocketOptions, SocketState};
use super::url::Url;
use crate::delivery::Mode;
use crate::hub::Value;
use crate::requests::{Outcome, RequestCounters};
use crate::wire::packet::{DEFAULT_PATH, Identity, Packet};
use crate::{Error, ErrorKind, Result, fork};
use desk::{Desk, Job};
use state::State;

/// Totals of a packet client since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PacketClientCounters {
    /// Of its socket.
    pub socket: SocketCounters,
    /// One-way messages and requests that came.
    pub received: u64,
    /// Those of them for whose protocol id nothing was registered: one-way messages are dropped,
    /// requests time out at the server.
    pub unhandled: u64,
    /// The requests that the client made.
    pub requests: RequestCounters,
}

/// A client of the packet dialect. Clones are the same client. Thread-safe; the last clone closes
/// it.
///
/// A new client does not connect: functions are registered first, then [`PacketClient::connect`].
/// It comes back by itself when the connection is lost, except after it was displaced.
#[derive(Debug, Clone)]
pub struct PacketClient {
    owner: Arc<Owner>,
}

/// What all clones own together.
struct Owner {
    generation: u64,
    /// `None` only while it is dropped.
    parts: Option<Parts>,
}

struct Parts {
    shared: Arc<Shared>,
    state: Arc<State>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let parts = self.parts.take();
        if self.generation != fork::generation() {
            // What is inside may be locked for ever by a thread that this process does not have.
            std::mem::forget(parts);
        } else if let Some(parts) = parts {
            parts.shared.close();
        }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parts {
            Some(parts) => f.write_str(parts.shared.url()),
            None => f.write_str("closed"),
        }
    }
}

impl PacketClient {
    /// Makes a client of the server at `host` (`HOST:PORT` or a URL, whose path stands for `/join`)
    /// that says it is `identity`. `InvalidUrl`, `InvalidArgument` for an identity without a uid,
    /// `InvalidOption`, `Io`.
    pub fn open(host: &str, identity: &Identity, options: SocketOptions) -> Result<Self> {
        let generation = fork::generation();
        let query = identity.query();
        // What it says must be what the server reads.
        Identity::parse(&query)?;
        let base = Url::parse(host)?;
        let (path, between) = match base.path.as_str() {
            "/" => (DEFAULT_PATH, '?'),
            path if path.contains('?') => (path, '&'),
            path => (path, '?'),
        };
        let url = format!("{}{path}{between}{query}", base.host.ws());
        let bounds = options.bounds();
        let max_bytes = options.packet_max_bytes;
        let options = SocketOptions {
            control_events: true,
            max_message_bytes: options.max_message_bytes.min(max_bytes),
            ..options
        };
        let shared = Shared::new(&url, options)?;
        let desk = Arc::new(Desk::default());
        let work = {
            let desk = Arc::clone(&desk);
            Box::new(move |job: &Job| desk.run(job))
        };
        let (inbox, work) = Inbox::new(
            shared.url().into(),
            Delivery::Thread(work),
            bounds,
            shared.wake.clone(),
            shared.tally.dropped.clone(),
        );
        let state = Arc::new(State::new(&shared, desk, inbox, max_bytes));
        let started = socket::start(&shared, state.clone()).and_then(|()| match work {
            Some(work) => state.inbox.start(work, &shared.runtime),
            None => Ok(()),
        });
        if let Err(error) = started {
            state.inbox.dismiss();
            shared.close();
            return Err(error);
        }
        Ok(Self { owner: Arc::new(Owner { generation, parts: Some(Parts { shared, state }) }) })
    }

    fn parts(&self) -> Result<&Parts> {
        match &self.owner.parts {
            Some(parts) if self.owner.generation == fork::generation() => Ok(parts),
            _ => Err(forked()),
        }
    }

    /// The URL, in full.
    pub fn url(&self) -> &str {
        self.owner.parts.as_ref().map_or("", |parts| parts.shared.url())
    }

    /// Calls `function` for every packet with this protocol id that is no response, in place of what
    /// was registered before.
    pub fn on_packet(
        &self,
        protocol: u32,
        mode: Mode,
        function: impl Fn(&PacketIncoming<'_>) + Send + Sync + 'static,
    ) -> Result<()> {
        self.parts()?.state.desk.set_handler(protocol, Some((mode, Arc::new(function))));
        Ok(())
    }

    /// Ends what [`PacketClient::on_packet`] began; false if there was nothing.
    pub fn off_packet(&self, protocol: u32) -> Result<bool> {
        Ok(self.parts()?.state.desk.set_handler(protocol, None))
    }

    /// Calls `function` for what happens to the connection, in place of what was registered before.
    pub fn on_event(
        &self,
        mode: Mode,
        function: impl Fn(&PacketHappening) + Send + Sync + 'static,
    ) -> Result<()> {
        self.parts()?.state.desk.set_observer(Some((mode, Arc::new(function))));
        Ok(())
    }

    /// Ends what [`PacketClient::on_event`] began; false if there was nothing.
    pub fn off_event(&self) -> Result<bool> {
        Ok(self.parts()?.state.desk.set_observer(None))
    }

    /// Calls `function` on the delivery thread after [`PacketClient::signal`] for this pull channel,
    /// in place of what was registered before.
    pub fn on_pull(
        &self,
        channel: u32,
        function: impl Fn(u32) + Send + Sync + 'static,
    ) -> Result<()> {
        self.parts()?.state.desk.set_pull(channel, Some(Arc::new(function)));
        Ok(())
    }

    /// Ends what [`PacketClient::on_pull`] began; false if there was nothing.
    pub fn off_pull(&self, channel: u32) -> Result<bool> {
        Ok(self.parts()?.state.desk.set_pull(channel, None))
    }

    /// As [`socket::Socket::connect`].
    pub fn connect(&self, timeout: Duration) -> Result<()> {
        self.parts()?.shared.connect(timeout)
    }

    /// As [`socket::Socket::disconnect`]. Requests under way end with `Closed`.
    pub fn disconnect(&self, code: u16, reason: &str) -> Result<()> {
        self.parts()?.shared.disconnect(code, reason)
    }

    /// The state now.
    pub fn state(&self) -> SocketState {
        self.parts().map_or(SocketState::Closed, |parts| parts.shared.state())
    }

    /// Sends a one-way message. Never waits; may be called from anywhere; what one thread sends
    /// arrives in its order. `Connect` while it is not connected, `TooLarge` over
    /// `packet_max_bytes`, `QueueFull` when the bounded send queue is full, `Closed`.
    pub fn send(&self, protocol: u32, data: &[u8]) -> Result<()> {
        let Parts { shared, state } = self.parts()?;
        shared.queue(state.encode(&Packet { protocol, sn: 0, data })?)
    }

    /// Makes a request. If this succeeds, `complete` is called exactly once: on the delivery thread,
    /// in order with everything else, or inline on whichever thread ends the request, where it must
    /// not block. Errors: those of [`PacketClient::send`], after which it is not called; in the
    /// [`Outcome`] `Timeout`, and `Closed` when the connection ends first.
    pub fn request(
        &self,
        protocol: u32,
        data: &[u8],
        timeout: Duration,
        mode: Mode,
        complete: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<()> {
        let Parts { shared, state } = self.parts()?;
        let live = state.live(shared)?;
        let send = |sn| {
            let message: Message = state.encode(&Packet { protocol, sn, data })?;
            shared.queue_on(Some(live.link), message)
        };
        match mode {
            Mode::Inline => live.requests.request(protocol, timeout, send, complete),
            Mode::Thread => {
                let state = Arc::clone(state);
                let complete = move |outcome| state.complete(Box::new(complete), outcome);
                live.requests.request(protocol, timeout, send, complete)
            }
        }
    }

    /// Makes a request and waits for its end, also in a function on the delivery thread. Errors:
    /// those of [`PacketClient::request`] and of its outcome, and `WouldDeadlock` in an inline
    /// function.
    pub fn request_and_wait(&self, protocol: u32, data: &[u8], timeout: Duration) -> Outcome {
        role::refuse_on_io("a request")?;
        let Parts { shared, state } = self.parts()?;
        let live = state.live(shared)?;
        let send = |sn| {
            let message = state.encode(&Packet { protocol, sn, data })?;
            shared.queue_on(Some(live.link), message)
        };
        state.waiting(|| live.requests.wait(protocol, timeout, send))
    }

    /// Makes the function of a pull channel run, once however often it is asked for before it
    /// begins; false if such a run waits already. A signal while it runs makes another run. Errors:
    /// `NotFound` when there is no such function, `Closed`.
    pub fn signal(&self, channel: u32) -> Result<bool> {
        let Parts { shared, state } = self.parts()?;
        if shared.is_closing() {
            return Err(Error::new(ErrorKind::Closed, "the client is closed"));
        }
        state.signal(channel)
    }

    /// The value under `key`. Values belong to the connection: they are gone when its `Closed` was
    /// told.
    pub fn value(&self, key: &str) -> Result<Option<Value>> {
        Ok(self.parts()?.state.desk.data().get(key).cloned())
    }

    /// Puts a value under `key`; gives the one that was there.
    pub fn set_value(&self, key: &str, value: Value) -> Result<Option<Value>> {
        Ok(self.parts()?.state.desk.data().insert(key.into(), value))
    }

    /// Takes the value under `key` away and gives it.
    pub fn remove_value(&self, key: &str) -> Result<Option<Value>> {
        Ok(self.parts()?.state.desk.data().remove(key))
    }

    /// Adds to the number under `key`, which begins at 0, in one step that no other thread can come
    /// between; gives the sum. Errors: `InvalidArgument` for bytes, and for a sum beyond 64 bits.
    pub fn increment(&self, key: &str, by: i64) -> Result<i64> {
        crate::hub::increment(&mut self.parts()?.state.desk.data(), key, by)
    }

    /// The counters, each exact, all together not from one instant.
    pub fn counters(&self) -> PacketClientCounters {
        self.parts()
            .map(|Parts { shared, state }| state.counters(shared.counters()))
            .unwrap_or_default()
    }

    /// The newest failure of the background work, if there was one.
    pub fn last_error(&self) -> Option<Error> {
        self.parts().map_or_else(Some, |parts| parts.shared.last_error())
    }

    /// Closes it for good: requests under way end with `Closed`, the end of the connection is told,
    /// and nothing is called after that. Never waits; may be called from anywhere and again.
    pub fn close(&self) {
        if let Ok(parts) = self.parts() {
            parts.shared.close();
        }
    }

    /// Closes and waits until no function runs or will run; errors as
    /// [`super::Subscription::close_wait`].
    pub fn close_wait(&self, timeout: Duration) -> Result<()> {
        let Parts { shared, state } = self.parts()?;
        shared.close();
        state.inbox.wait(Some(timeout))
    }
}
