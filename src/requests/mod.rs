//! Requests under way: numbers, deadlines, and who completes what, exactly once. No I/O; both sides
//! of the packet dialect use it.
//!
//! A [`Requests`] belongs to one connection, a [`Clock`] to all connections of one owner. A request
//! ends in one of three ways: its response comes, its deadline passes, or its connection ends. Each
//! of them takes the request out of the table under the table's lock, and only who took it out calls
//! its completion, outside every lock. So completions may do whatever they like with the table.
//!
//! Lock order: table, then clock.

mod clock;
mod reply;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use clock::{Clock, RequestCounters};
pub use reply::Reply;

use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use crate::wire::packet::Side;
use crate::{Error, ErrorKind, Result, thread};
use clock::Key;

/// Requests of one connection that may wait at a time.
pub const MAX_IN_FLIGHT: usize = 1 << 20;

/// What the peer answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The protocol id that the peer gave its answer; often the request's.
    pub protocol: u32,
    /// The answer.
    pub data: Bytes,
}

/// What became of a request. Errors: `Timeout`, and what [`Requests::close`] was given.
pub type Outcome = Result<Response>;

type Completion = Box<dyn FnOnce(Outcome) + Send>;

/// The requests under way on one connection. Every method may be called from any thread, also in a
/// completion. Dropping it ends what is under way with `Closed`.
pub struct Requests {
    clock: Arc<Clock>,
    side: Side,
    table: Mutex<Table>,
}

struct Table {
    next: u32,
    pending: HashMap<u32, Pending>,
    /// Set once the connection has ended.
    closed: Option<Error>,
}

struct Pending {
    key: Key,
    protocol: u32,
    timeout: Duration,
    complete: Completion,
}

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requests").field("side", &self.side).finish_non_exhaustive()
    }
}

impl Requests {
    /// A table for one connection. It holds no memory until the first request.
    pub fn new(clock: Arc<Clock>, side: Side) -> Arc<Self> {
        let next = side.first_sn();
        let table = Table { next, pending: HashMap::new(), closed: None };
        Arc::new(Self { clock, side, table: Mutex::new(table) })
    }

    /// Makes a request: takes a number, calls `send` with it, on this thread and under no lock, and
    /// returns. `complete` is then called exactly once, on whichever thread ends the request: the one
    /// that reads the connection, the clock's, or the one that closes. It must not block. It may
    /// have been called before this returns.
    ///
    /// Errors, after which `complete` is not called: what `send` failed with, `InvalidArgument` for a
    /// timeout that ends beyond what the system's clock can tell, `QueueFull` at [`MAX_IN_FLIGHT`],
    /// `Io` when the clock's thread cannot start, and what the table was closed with.
    pub fn request(
        self: &Arc<Self>,
        protocol: u32,
        timeout: Duration,
        send: impl FnOnce(u32) -> Result<()>,
        complete: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<()> {
        let sn = self.begin(protocol, timeout, Box::new(complete))?;
        match send(sn) {
            Ok(()) => Ok(()),
            // If the request ended meanwhile, its completion has told the caller.
            Err(error) => self.remove(sn).map_or(Ok(()), |_| Err(error)),
        }
    }

    /// Makes a request and waits for its end. Errors: those of [`Requests::request`] and of
    /// [`Outcome`], and `WouldDeadlock` on a thread that must not wait: one that reads a server's
    /// connections, or the clock's, where completions run.
    pub fn wait(
        self: &Arc<Self>,
        protocol: u32,
        timeout: Duration,
        send: impl FnOnce(u32) -> Result<()>,
    ) -> Outcome {
        if thread::must_not_wait() {
            let text = "a request waits for its response and was made where nothing may wait: in an \
                        inline callback; make it without waiting";
            return Err(Error::new(ErrorKind::WouldDeadlock, text));
        }
        let (tell, told) = mpsc::sync_channel(1);
        self.request(protocol, timeout, send, move |outcome| drop(tell.send(outcome)))?;
        // Exactly one outcome comes.
        told.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// A response has come. False, and counted, when nothing waits for it: it is late, or not asked
    /// for at all.
    pub fn answered(&self, sn: u32, protocol: u32, data: impl FnOnce() -> Bytes) -> bool {
        match self.remove(sn) {
            Some(pending) => {
                finish(pending, Ok(Response { protocol, data: data() }));
                true
            }
            None => {
                self.clock.counters().late.fetch_add(1, Relaxed);
                false
            }
        }
    }

    /// The connection has ended: every request under way ends with `error`, and so does every later
    /// attempt. Only the first call counts.
    pub fn close(&self, error: Error) {
        let ended = {
            let mut table = self.table();
            if table.closed.is_some() {
                return;
            }
            table.closed = Some(error.clone());
            let ended = std::mem::take(&mut table.pending);
            self.clock.forget(ended.values().map(|pending| pending.key));
            ended
        };
        for pending in ended.into_values() {
            finish(pending, Err(error.clone()));
        }
    }

    /// Requests under way now.
    pub fn in_flight(&self) -> usize {
        self.table().pending.len()
    }

    fn begin(
        self: &Arc<Self>,
        protocol: u32,
        timeout: Duration,
        complete: Completion,
    ) -> Result<u32> {
        let Some(deadline) = Instant::now().checked_add(timeout) else {
            let text = format!("timeout cannot be {timeout:?}: it ends beyond the system's clock");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        };
        let mut table = self.table();
        if let Some(error) = &table.closed {
            return Err(error.clone());
        }
        if table.pending.len() >= MAX_IN_FLIGHT {
            let text = format!("{MAX_IN_FLIGHT} requests wait for this peer's responses already");
            return Err(Error::new(ErrorKind::QueueFull, text));
        }
        let sn = table.allocate(self.side);
        let key = self.clock.remember(deadline, self, sn)?;
        table.pending.insert(sn, Pending { key, protocol, timeout, complete });
        Ok(sn)
    }

    /// Takes a request out of the table and the clock.
    fn remove(&self, sn: u32) -> Option<Pending> {
        let mut table = self.table();
        let pending = table.pending.remove(&sn)?;
        self.clock.forget([pending.key]);
        Some(pending)
    }

    /// The clock has taken `key` out: its request ends, unless it just ended otherwise.
    fn expire(&self, sn: u32, key: Key) {
        let pending = {
            let mut table = self.table();
            // By now the number may belong to another request.
            match table.pending.get(&sn) {
                Some(pending) if pending.key == key => table.pending.remove(&sn),
                _ => None,
            }
        };
        if let Some(pending) = pending {
            self.clock.counters().timed_out.fetch_add(1, Relaxed);
            let text = format!(
                "no response within {:?} to a request with protocol id {}",
                pending.timeout, pending.protocol
            );
            finish(pending, Err(Error::new(ErrorKind::Timeout, text)));
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.close(gone());
    }
}

impl Table {
    /// The next number that no request under way has. Terminates because [`MAX_IN_FLIGHT`] is far
    /// below the count of numbers.
    fn allocate(&mut self, side: Side) -> u32 {
        loop {
            let sn = self.next;
            self.next = sn.checked_add(2).unwrap_or(side.first_sn());
            if !self.pending.contains_key(&sn) {
                return sn;
            }
        }
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Closed, "the connection is closed")
}

/// Calls a completion. A panic in it must not take the thread that reads, or the clock's, with it.
fn finish(pending: Pending, outcome: Outcome) {
    if catch_unwind(AssertUnwindSafe(|| (pending.complete)(outcome))).is_err() {
        log::error!(target: "qyun::requests", "the completion of a request panicked");
    }
}

/// No code that holds one of these locks can panic halfway through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
