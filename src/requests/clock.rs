//! The deadlines of all requests of one owner, and the one thread that looks after them.
//!
//! The thread starts with the first request, sleeps until the first deadline, or for ever when there
//! is none, and ends with its [`Clock`]. A request costs an insertion into an ordered map and a
//! removal. It wakes the thread only when its deadline comes before everything the thread sleeps for,
//! which with equal timeouts is next to never: the thread is left to sleep until a deadline that was
//! met, and finds out then.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Requests, lock};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::thread::JoinHandle;
use crate::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use crate::{Error, ErrorKind, Result, thread};

/// When a request ends at the latest, and a number that tells requests of one moment apart.
pub(super) type Key = (Instant, u64);

/// What became of requests since the start, all connections of one owner together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct RequestCounters {
    /// Requests whose deadline passed.
    pub timed_out: u64,
    /// Responses that nothing waited for, and that were dropped.
    pub late: u64,
    /// Requests under way now.
    pub in_flight: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) timed_out: AtomicU64,
    pub(super) late: AtomicU64,
}

/// See the module's documentation. Dropping it stops it.
pub struct Clock {
    name: Box<str>,
    shared: Arc<Shared>,
    counts: Counts,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    deadlines: BTreeMap<Key, (Weak<Requests>, u32)>,
    numbers: u64,
    running: bool,
    stopped: bool,
    /// What the thread sleeps for; `None` is for ever.
    sleeps_until: Option<Instant>,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Clock {
    /// A clock whose thread, once there is one, is called `name`.
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            shared: Arc::default(),
            counts: Counts::default(),
            thread: Mutex::default(),
        })
    }

    /// The counts, each exact, all together not from one instant.
    pub fn count(&self) -> RequestCounters {
        RequestCounters {
            timed_out: self.counts.timed_out.load(Relaxed),
            late: self.counts.late.load(Relaxed),
            in_flight: lock(&self.shared.state).deadlines.len() as u64,
        }
    }

    pub(super) fn counters(&self) -> &Counts {
        &self.counts
    }

    /// Notes a deadline of `owner`.
    pub(super) fn remember(&self, at: Instant, owner: &Arc<Requests>, sn: u32) -> Result<Key> {
        let mut state = lock(&self.shared.state);
        if state.stopped {
            return Err(Error::new(ErrorKind::Closed, "no request can be made any more"));
        }
        if !state.running {
            self.start()?;
            state.running = true;
        }
        state.numbers += 1;
        let key = (at, state.numbers);
        state.deadlines.insert(key, (Arc::downgrade(owner), sn));
        let wakes = state.sleeps_until.is_none_or(|until| at < until);
        if wakes {
            // Until the thread has looked, the next ones need not wake it for this.
            state.sleeps_until = Some(at);
        }
        drop(state);
        if wakes {
            self.shared.changed.notify_one();
        }
        Ok(key)
    }

    /// Forgets deadlines that were met.
    pub(super) fn forget(&self, keys: impl IntoIterator<Item = Key>) {
        let mut state = lock(&self.shared.state);
        for key in keys {
            state.deadlines.remove(&key);
        }
    }

    fn start(&self) -> Result<()> {
        if self.name.contains('\0') {
            let text = format!("a thread cannot be called {:?}", self.name);
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let shared = Arc::clone(&self.shared);
        let body = move || {
            thread::never_waits();
            shared.run();
        };
        *lock(&self.thread) = Some(thread::spawn(&self.name, body)?);
        Ok(())
    }
}

impl Clock {
    /// Ends the thread, unless this is it, and refuses requests from now on. Harmless when it is
    /// stopped. Close the tables first.
    pub fn stop(&self) {
        lock(&self.shared.state).stopped = true;
        self.shared.changed.notify_one();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // A completion on that very thread may have held the last reference.
            if thread.thread().id() != crate::sync::thread::current().id() {
                drop(thread.join());
            }
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self) {
        let mut state = lock(&self.state);
        while !state.stopped {
            let now = Instant::now();
            match state.deadlines.first_key_value() {
                Some((&key, _)) if key.0 <= now => {
                    let due = state.deadlines.pop_first();
                    drop(state);
                    if let Some((key, (owner, sn))) = due
                        && let Some(owner) = owner.upgrade()
                    {
                        owner.expire(sn, key);
                    }
                    state = lock(&self.state);
                }
                Some((&(at, _), _)) => {
                    state.sleeps_until = Some(at);
                    let slept = self.changed.wait_timeout(state, at - now);
                    state = slept.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    state.sleeps_until = None;
                    let slept = self.changed.wait(state);
                    state = slept.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}
