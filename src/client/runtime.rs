//! The background I/O thread that all handles and listeners share, and the census of every
//! thread and task that must be gone after a shutdown.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::host::Host;
use super::inbox::Inbox;
use super::queue::Item;
use super::role::{self, Role, would_deadlock};
use super::state::{lock, state};
use crate::sync::thread::JoinHandle;
use crate::{Error, ErrorKind, Result, thread};

/// How long a shutdown waits, whatever its time limit, for a thread that has nothing left to do.
const GRACE: Duration = Duration::from_millis(100);
/// How long the I/O thread waits for name look-ups, which cannot be interrupted.
const LOOKUP_GRACE: Duration = Duration::from_millis(200);

/// The runtimes of this process: the one in use, and those that a shutdown could not end in time.
#[derive(Default)]
pub(crate) struct Runtimes {
    current: Option<Arc<Runtime>>,
    ending: Vec<Arc<Runtime>>,
}

/// Listeners by host and channel.
type Listeners = HashMap<(Host, Arc<str>), Vec<Arc<Inbox>>>;

/// What a shutdown closes.
pub(crate) trait Closable: Send + Sync {
    /// Closes without waiting.
    fn close(&self);
}

impl<E: Item> Closable for Inbox<E> {
    fn close(&self) {
        Inbox::close(self);
    }
}

/// The I/O thread and everything that depends on it.
pub(crate) struct Runtime {
    /// `None` once stopping: a kept `Handle` keeps the runtime's descriptors open.
    handle: Mutex<Option<Handle>>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    open: Mutex<Vec<Weak<dyn Closable>>>,
    listeners: Mutex<Listeners>,
    census: Arc<Census>,
}

/// Counts what runs. Separate from [`Runtime`], so that a thread that counts itself keeps nothing
/// else alive.
#[derive(Default)]
struct Census {
    counts: Mutex<Counts>,
    changed: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    connections: usize,
    deliveries: usize,
    io: usize,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Connection,
    Delivery,
    Io,
}

impl Counts {
    fn of(&mut self, what: What) -> &mut usize {
        match what {
            What::Connection => &mut self.connections,
            What::Delivery => &mut self.deliveries,
            What::Io => &mut self.io,
        }
    }
}

/// Counted as long as it lives.
struct Present(Arc<Census>, What);

impl Present {
    fn new(census: &Arc<Census>, what: What) -> Self {
        *lock(&census.counts).of(what) += 1;
        Self(census.clone(), what)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        *lock(&self.0.counts).of(self.1) -= 1;
        self.0.changed.notify_all();
    }
}

/// The runtime in use; the first call starts its thread.
pub(crate) fn current() -> Result<Arc<Runtime>> {
    let mut runtimes = lock(&state().runtimes);
    if let Some(runtime) = &runtimes.current {
        return Ok(runtime.clone());
    }
    let runtime = Runtime::start()?;
    runtimes.current = Some(runtime.clone());
    Ok(runtime)
}

/// The runtime in use, if there is one.
pub(crate) fn existing() -> Option<Arc<Runtime>> {
    lock(&state().runtimes).current.clone()
}

/// Closes everything and joins every thread; see [`super::shutdown`].
pub(crate) fn shutdown(timeout: Duration) -> Result<()> {
    if role::current() != Role::Program {
        return Err(would_deadlock("shutdown waits for all callbacks and was called in one"));
    }
    let deadline = Instant::now().checked_add(timeout);
    let all = {
        let mut runtimes = lock(&state().runtimes);
        let current = runtimes.current.take();
        runtimes.ending.extend(current);
        runtimes.ending.clone()
    };
    let mut result = Ok(());
    for runtime in all {
        match runtime.end(deadline) {
            Ok(()) => lock(&state().runtimes).ending.retain(|other| !Arc::ptr_eq(other, &runtime)),
            Err(error) => result = Err(error),
        }
    }
    result
}

impl Runtime {
    fn start() -> Result<Arc<Self>> {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Io, format!("cannot start the I/O thread: {error}"))
        };
        let inner = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(16)
            .thread_name("qy-client-dns")
            .on_thread_start(thread::mark)
            .build()
            .map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = Self {
            handle: Mutex::new(Some(inner.handle().clone())),
            stop: Mutex::new(Some(stop)),
            open: Mutex::default(),
            listeners: Mutex::default(),
            census: Arc::default(),
        };
        runtime
            .spawn_thread("qy-client-io", What::Io, move || {
                role::assume(Role::Io);
                // An error means that the sender is gone, which ends the thread as well.
                let _ = inner.block_on(stopped);
                // Drops what tasks are left, on this thread, as inline callbacks are promised.
                inner.shutdown_timeout(LOOKUP_GRACE);
            })
            .map_err(failed)?;
        Ok(Arc::new(runtime))
    }

    fn spawn_thread(
        &self,
        name: &str,
        what: What,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let present = Present::new(&self.census, what);
        let thread = thread::spawn(name, move || {
            let _present = present;
            body();
        })?;
        let mut threads = lock(&self.census.threads);
        reap(&mut threads);
        threads.push(thread);
        Ok(())
    }

    /// Runs `body` on a thread that a shutdown waits for.
    pub(crate) fn thread(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
        self.spawn_thread(name, What::Delivery, body).map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot start a delivery thread: {error}"))
        })
    }

    /// Runs a connection on the I/O thread.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let handle = lock(&self.handle);
        let handle = handle.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Closed, "the library is being shut down; try again after it")
        })?;
        let present = Present::new(&self.census, What::Connection);
        handle.spawn(async move {
            let _present = present;
            task.await;
        });
        Ok(())
    }

    /// Makes a shutdown close `what`.
    pub(crate) fn register(&self, what: Weak<dyn Closable>) {
        let mut open = lock(&self.open);
        // Amortised: looked through only when it has doubled.
        if open.len() == open.capacity() {
            open.retain(|other| other.strong_count() > 0);
        }
        open.push(what);
    }

    /// Remembers a listener for [`Runtime::take_listeners`], until its last callback returned:
    /// whoever stops it in the meantime waits for that callback.
    pub(crate) fn add_listener(&self, host: &Host, inbox: &Arc<Inbox>) {
        let mut listeners = lock(&self.listeners);
        // Amortised: looked through only when it has doubled.
        if listeners.len() == listeners.capacity() {
            listeners.retain(|_, all| {
                all.retain(|inbox| !inbox.is_finished());
                !all.is_empty()
            });
        }
        let all = listeners.entry((host.clone(), inbox.channel().clone())).or_default();
        all.retain(|inbox| !inbox.is_finished());
        all.push(inbox.clone());
    }

    /// All listeners of a channel that have not ended, forgotten here.
    pub(crate) fn take_listeners(&self, host: &Host, channel: &str) -> Vec<Arc<Inbox>> {
        let key = (host.clone(), channel.into());
        let mut all = lock(&self.listeners).remove(&key).unwrap_or_default();
        all.retain(|inbox| !inbox.is_finished());
        all
    }

    fn end(&self, deadline: Option<Instant>) -> Result<()> {
        let open = std::mem::take(&mut *lock(&self.open));
        open.iter().filter_map(Weak::upgrade).for_each(|open| open.close());
        drop(open);
        // First the connections say goodbye and the callbacks end, then the I/O thread.
        let mut left =
            self.census.wait(deadline, |counts| counts.connections + counts.deliveries == 0);
        lock(&self.handle).take();
        lock(&self.stop).take();
        if left.io > 0 {
            let at_least = Instant::now() + GRACE + LOOKUP_GRACE;
            let deadline = deadline.map(|deadline| deadline.max(at_least));
            left = self.census.wait(deadline, |counts| counts.io == 0);
        }
        if left.io == 0 && left.deliveries > 0 {
            // The I/O thread ended what was left: those callbacks may be about to end.
            let deadline = deadline.map(|deadline| deadline.max(Instant::now() + GRACE));
            left = self.census.wait(deadline, |counts| counts.deliveries == 0);
        }
        lock(&self.listeners).clear();
        let mut threads = lock(&self.census.threads);
        if left.io + left.deliveries == 0 {
            // Each has dropped its `Present` and only has to return.
            threads.drain(..).for_each(|thread| drop(thread.join()));
            return Ok(());
        }
        reap(&mut threads);
        Err(Error::new(
            ErrorKind::Timeout,
            format!(
                "shutdown: {} callback threads and {} I/O threads still run",
                left.deliveries, left.io
            ),
        ))
    }
}

impl Census {
    /// Waits until `done`, at most until `deadline`; what is left.
    fn wait(&self, deadline: Option<Instant>, done: impl Fn(&Counts) -> bool) -> Counts {
        let mut counts = lock(&self.counts);
        while !done(&counts) {
            let left = match deadline {
                None => Duration::from_secs(3600),
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            };
            if left.is_zero() {
                break;
            }
            counts =
                self.changed.wait_timeout(counts, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *counts
    }
}

/// Joins the threads that have ended.
fn reap(threads: &mut Vec<JoinHandle<()>>) {
    for thread in threads.extract_if(.., |thread| crate::sync::has_ended(thread)) {
        drop(thread.join());
    }
}
