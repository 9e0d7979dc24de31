//! Where a program's callbacks run: a few threads that do no I/O, ordered per lane, bounded, and
//! nothing dropped.
//!
//! A [`Lane`] is a queue whose jobs run one at a time and in order; each connection has one. Lanes
//! with something to do stand in line, and the next free thread takes the first, runs some of its
//! jobs, and puts it back at the end if there are more. So a slow callback delays its own connection
//! and takes one thread, and a busy connection cannot keep the others waiting.
//!
//! Threads start when there is something to do and no thread is free, up to the limit.
//!
//! Lock order: lane, then line. No job runs under a lock.

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use crate::sync::thread::JoinHandle;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use crate::thread;

/// What a job counts for in the bound beside its payload: about what it occupies.
pub const JOB_BYTES: usize = 256;
/// Jobs of one lane before the next lane's turn.
const TURN: usize = 64;
/// While a callback waits for a peer, what may wait is this many times as much: see
/// [`Delivery::is_busy`].
const STRETCH: usize = 4;

/// Where a registration's callback is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// On a thread of a [`Delivery`].
    #[default]
    Thread,
    /// On the thread that reads the connection, for the lowest latency. It must not block.
    Inline,
}

type Job = Box<dyn FnOnce() + Send>;

static NEXT_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

thread_local! {
    /// The [`Shared::id`] whose thread this is; 0 is none.
    static OWNER: Cell<u64> = const { Cell::new(0) };
}

/// See the module's documentation. Dropping it stops it.
pub struct Delivery {
    shared: Arc<Shared>,
}

struct Shared {
    id: u64,
    name: Box<str>,
    max_threads: usize,
    max_bytes: usize,
    bytes: AtomicUsize,
    jobs: AtomicUsize,
    /// Callbacks that wait for a peer.
    blocked: AtomicUsize,
    line: Mutex<Line>,
    ready: Condvar,
}

#[derive(Default)]
struct Line {
    lanes: VecDeque<Arc<Lane>>,
    /// Threads that wait for a lane.
    idle: usize,
    threads: Vec<JoinHandle<()>>,
    started: usize,
    stopping: bool,
}

/// A queue of jobs that run one at a time and in order.
pub struct Lane {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<(usize, Job)>,
    /// It stands in line, or a thread runs its jobs.
    scheduled: bool,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("delivery", &self.shared.name).finish_non_exhaustive()
    }
}

impl Delivery {
    /// At most `threads` threads (at least one), called `name`-0 and so on, and a bound of
    /// `max_bytes` for what waits.
    pub fn new(name: &str, threads: usize, max_bytes: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                id: NEXT_ID.fetch_add(1, Relaxed),
                name: name.into(),
                max_threads: threads.max(1),
                max_bytes,
                bytes: AtomicUsize::new(0),
                jobs: AtomicUsize::new(0),
                blocked: AtomicUsize::new(0),
                line: Mutex::default(),
                ready: Condvar::new(),
            }),
        }
    }

    /// A new lane. It costs no thread and, while nothing waits in it, no memory beyond itself.
    pub fn lane(&self) -> Arc<Lane> {
        Arc::new(Lane { shared: Arc::clone(&self.shared), state: Mutex::default() })
    }

    /// Whether as much waits as may: whoever reads from peers should stop for a moment.
    ///
    /// A callback that waits for a peer's answer ([`waiting_for_peer`]) needs the reader to go on, or
    /// it would wait for what nobody reads. While there is one, the bound is four times as high.
    pub fn is_busy(&self) -> bool {
        let bytes = self.shared.bytes.load(Relaxed);
        bytes >= self.shared.max_bytes
            && (self.shared.blocked.load(Relaxed) == 0
                || bytes >= self.shared.max_bytes.saturating_mul(STRETCH))
    }

    /// Jobs that wait or run.
    pub fn jobs(&self) -> usize {
        self.shared.jobs.load(Relaxed)
    }

    /// Whether the current thread is one of these: whoever waits here for a job to end may wait for
    /// itself.
    pub fn is_own_thread(&self) -> bool {
        OWNER.get() == self.shared.id
    }

    /// Runs what waits, takes nothing more, and joins the threads; on one of those, all but itself.
    /// Harmless when it is stopped.
    pub fn stop(&self) {
        let threads = {
            let mut line = self.shared.line();
            line.stopping = true;
            std::mem::take(&mut line.threads)
        };
        self.shared.ready.notify_all();
        let me = crate::sync::thread::current().id();
        for thread in threads {
            if thread.thread().id() != me {
                drop(thread.join());
            }
        }
        // What no thread could be started for.
        while let Some(lane) = self.shared.take(false) {
            lane.run();
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether the current thread is one of any delivery's.
pub(crate) fn on_a_thread() -> bool {
    OWNER.get() != 0
}

/// Runs `wait`, which waits for a peer's answer. In a job, readers are told to go on meanwhile.
pub fn waiting_for_peer<T>(delivery: &Delivery, wait: impl FnOnce() -> T) -> T {
    struct Blocked<'a>(&'a AtomicUsize);
    impl Drop for Blocked<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Relaxed);
        }
    }
    let _blocked = delivery.is_own_thread().then(|| {
        delivery.shared.blocked.fetch_add(1, Relaxed);
        Blocked(&delivery.shared.blocked)
    });
    wait()
}

impl Lane {
    /// Appends a job; `bytes` is the size of what it carries. From any thread, never waits. False,
    /// and the job dropped, once the delivery is stopped.
    pub fn push(self: &Arc<Self>, bytes: usize, job: impl FnOnce() + Send + 'static) -> bool {
        let cost = bytes.saturating_add(JOB_BYTES);
        let shared = &self.shared;
        let mut state = lock(&self.state);
        if state.scheduled {
            state.jobs.push_back((cost, Box::new(job)));
            shared.count_in(cost);
            return true;
        }
        let mut line = shared.line();
        // As long as a thread is left, it looks at the line again before it ends.
        if line.stopping && line.started == 0 {
            drop(line);
            drop(state);
            drop(job);
            return false;
        }
        state.scheduled = true;
        state.jobs.push_back((cost, Box::new(job)));
        shared.count_in(cost);
        line.lanes.push_back(Arc::clone(self));
        drop(state);
        // Not `idle == 0`: threads that are waking up for lanes before this one count as idle still.
        if line.lanes.len() > line.idle {
            shared.start_thread(&mut line);
        }
        drop(line);
        shared.ready.notify_one();
        true
    }

    /// Runs a turn's jobs. The caller took the lane out of the line; nobody else runs it.
    fn run(self: &Arc<Self>) {
        for _ in 0..TURN {
            let Some((cost, job)) = self.next() else { return };
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                log::error!(target: "qyun::delivery", "a callback panicked");
            }
            self.shared.count_out(cost);
        }
        self.shared.line().lanes.push_back(Arc::clone(self));
        // The thread that ran it looks for the next lane, and this one is in line: no wake-up.
    }

    /// The next job; without one, the lane is no longer scheduled.
    fn next(&self) -> Option<(usize, Job)> {
        let mut state = lock(&self.state);
        let job = state.jobs.pop_front();
        if job.is_none() {
            state.scheduled = false;
            // An idle lane holds no memory; a busy one seldom gets here.
            state.jobs = VecDeque::new();
        }
        job
    }
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        lock(&self.line)
    }

    fn count_in(&self, cost: usize) {
        self.bytes.fetch_add(cost, Relaxed);
        self.jobs.fetch_add(1, Relaxed);
    }

    fn count_out(&self, cost: usize) {
        self.bytes.fetch_sub(cost, Relaxed);
        self.jobs.fetch_sub(1, Relaxed);
    }

    /// The first lane in line. With `wait`, waits for one until the delivery stops.
    fn take(&self, wait: bool) -> Option<Arc<Lane>> {
        let mut line = self.line();
        loop {
            if let Some(lane) = line.lanes.pop_front() {
                return Some(lane);
            }
            if line.stopping || !wait {
                line.started -= usize::from(wait);
                return None;
            }
            line.idle += 1;
            line = self.ready.wait(line).unwrap_or_else(PoisonError::into_inner);
            line.idle -= 1;
        }
    }

    /// Starts a thread unless there are enough. If it fails, those that run do the work, or the next
    /// push tries again.
    fn start_thread(self: &Arc<Self>, line: &mut Line) {
        if line.started >= self.max_threads || line.stopping {
            return;
        }
        let name = format!("{}-{}", self.name, line.started);
        let shared = Arc::clone(self);
        let body = move || {
            OWNER.set(shared.id);
            while let Some(lane) = shared.take(true) {
                lane.run();
            }
        };
        match thread::spawn(&name, body) {
            Ok(thread) => {
                line.started += 1;
                line.threads.push(thread);
            }
            Err(error) => {
                log::error!(target: "qyun::delivery", "no thread for callbacks: {error}");
            }
        }
    }
}

/// No job runs under one of these locks, so none is poisoned halfway through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
