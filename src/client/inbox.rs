//! The receiving end of one subscription or listener: where the I/O thread puts events and how
//! they leave.
//!
//! Who ends what: [`Inbox::end`] (the connection's task, on the I/O thread) and [`Inbox::close`]
//! (anybody) may race; the callback still gets exactly one `Closed`, last, and is dropped once, by
//! the one thread that calls it: the delivery thread, or the I/O thread in inline mode.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::queue::{Item, Offer, Queue, Take};
use super::role::{self, Role, Waiting, would_deadlock};
use super::runtime::Runtime;
use super::state::lock;
use super::wake::Wake;
use super::{Delivery, Event, EventKind, Overflow};
use crate::wire::Position;
use crate::{Error, ErrorKind, Result};

/// A program's function.
pub(crate) type Callback<E = Event> = Box<dyn FnMut(&E) + Send>;

/// Why a subscription ended that the program closed.
pub(crate) const CLOSED_BY_PROGRAM: &str = "closed";

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// See the module's documentation.
pub(crate) struct Inbox<E = Event> {
    id: u64,
    /// Whose events they are: a channel, or a socket's URL.
    channel: Arc<str>,
    outlet: Outlet<E>,
    /// The program closed it: no callback but `Closed` begins.
    leaving: AtomicBool,
    /// Wakes the connection's task.
    feeder: Arc<Wake>,
    /// Adds the dropped messages of all subscriptions of a handle.
    dropped: Arc<AtomicU64>,
    /// No callback runs or will run, and the function is dropped.
    finished: Mutex<bool>,
    finish: Condvar,
}

enum Outlet<E> {
    /// Taken by `recv` and its kin.
    Pull(Queue<E>),
    /// Taken by the delivery thread.
    Thread(Queue<E>),
    /// Called by the I/O thread, which alone locks it once the subscription is live.
    Inline(Mutex<Option<Callback<E>>>),
}

/// What may wait in an inbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) overflow: Overflow,
}

impl Inbox {
    /// An event of this inbox that is no message.
    pub(crate) fn notice(&self, kind: EventKind, text: &str, position: Position) -> Event {
        Event::notice(kind, &self.channel, text, position)
    }

    /// That this inbox's subscription is live, and goes on behind `position`.
    pub(crate) fn connected(&self, position: Position, recovered: Option<bool>) -> Event {
        let text = match recovered {
            Some(false) => format!("messages were missed; it goes on behind {position}"),
            _ => String::new(),
        };
        Event { recovered, ..self.notice(EventKind::Connected, &text, position) }
    }
}

impl<E: Item> Inbox<E> {
    /// The inbox for `delivery`, and the function that [`Inbox::start`] is to be given once the
    /// subscription is live.
    pub(crate) fn new(
        channel: Arc<str>,
        delivery: Delivery<E>,
        bounds: Bounds,
        feeder: Arc<Wake>,
        dropped: Arc<AtomicU64>,
    ) -> (Arc<Self>, Option<Callback<E>>) {
        let queue = || Queue::new(bounds.messages, bounds.overflow, feeder.clone());
        let (outlet, callback) = match delivery {
            Delivery::Pull => (Outlet::Pull(queue()), None),
            Delivery::Thread(callback) => (Outlet::Thread(queue()), Some(callback)),
            Delivery::Inline(callback) => (Outlet::Inline(Mutex::new(Some(callback))), None),
        };
        let inbox = Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            channel,
            outlet,
            leaving: AtomicBool::new(false),
            feeder,
            dropped,
            finished: Mutex::new(false),
            finish: Condvar::new(),
        };
        (Arc::new(inbox), callback)
    }

    /// Starts the delivery thread for a function that [`Inbox::new`] gave back. If that fails the
    /// function was never called and is dropped.
    pub(crate) fn start(self: &Arc<Self>, callback: Callback<E>, runtime: &Runtime) -> Result<()> {
        let inbox = self.clone();
        runtime
            .thread("qy-deliver", move || inbox.deliver(callback))
            .inspect_err(|_| self.dismiss())
    }

    /// Drops the function without a call: the subscription never became live. The connection's
    /// task must not know the inbox, or ends it like one that was closed.
    pub(crate) fn dismiss(&self) {
        self.leaving.store(true, Ordering::Release);
        if let Outlet::Inline(callback) = &self.outlet {
            let callback = lock(callback).take();
            drop_quietly(callback);
        }
        self.feeder.wake();
        self.finish();
    }

    pub(crate) fn channel(&self) -> &Arc<str> {
        &self.channel
    }

    /// Whether the program closed it.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// The queue that `recv` takes from; `None` in the callback modes.
    pub(crate) fn pull(&self) -> Option<&Queue<E>> {
        match &self.outlet {
            Outlet::Pull(queue) => Some(queue),
            _ => None,
        }
    }

    /// Messages that wait to be taken.
    pub(crate) fn messages(&self) -> usize {
        match &self.outlet {
            Outlet::Pull(queue) | Outlet::Thread(queue) => queue.messages(),
            Outlet::Inline(_) => 0,
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        match &self.outlet {
            Outlet::Pull(queue) | Outlet::Thread(queue) => queue.dropped(),
            Outlet::Inline(_) => 0,
        }
    }

    /// Hands an event over. Only the connection's task calls this.
    pub(crate) fn offer(&self, event: E) -> Offer<E> {
        if self.is_leaving() {
            return Offer::Ended;
        }
        match &self.outlet {
            Outlet::Pull(queue) | Outlet::Thread(queue) => {
                let (offer, dropped) = queue.push(event);
                if dropped > 0 {
                    self.dropped.fetch_add(dropped, Ordering::Relaxed);
                }
                offer
            }
            Outlet::Inline(callback) => {
                let mut callback = lock(callback);
                let Some(function) = callback.as_mut() else { return Offer::Ended };
                if call(function, &event, &self.channel) {
                    return Offer::Taken;
                }
                drop_quietly(callback.take());
                drop(callback);
                self.close();
                self.finish();
                Offer::Ended
            }
        }
    }

    /// Hands over an event that [`Inbox::offer`] gave back, beyond the limit.
    pub(crate) fn force(&self, event: E) {
        if let Outlet::Pull(queue) | Outlet::Thread(queue) = &self.outlet {
            queue.force(event);
        }
    }

    /// Ends the subscription with a reason; what waits is delivered first. Only the connection's
    /// task calls this, and for every inbox that it knows.
    pub(crate) fn end(&self, reason: &str) {
        self.end_with(E::last(&self.channel, reason));
    }

    /// Ends it like [`Inbox::end`], with this as the last event.
    pub(crate) fn end_with(&self, last: E) {
        match &self.outlet {
            Outlet::Thread(queue) => queue.end(last, false),
            Outlet::Pull(queue) => {
                queue.end(last, false);
                self.finish();
            }
            Outlet::Inline(callback) => {
                // Taken out, so that a second end finds nothing.
                let Some(mut function) = lock(callback).take() else { return };
                call(&mut function, &last, &self.channel);
                drop_quietly(Some(function));
                self.finish();
            }
        }
    }

    /// Closes on behalf of the program, without waiting; true the first time. An inline function
    /// is called a last time by the connection's task, which this wakes.
    pub(crate) fn close(&self) -> bool {
        if self.leaving.swap(true, Ordering::AcqRel) {
            return false;
        }
        let last = E::last(&self.channel, CLOSED_BY_PROGRAM);
        match &self.outlet {
            Outlet::Thread(queue) => queue.end(last, true),
            Outlet::Pull(queue) => {
                queue.end(last, true);
                self.finish();
            }
            Outlet::Inline(_) => {}
        }
        self.feeder.wake();
        true
    }

    /// Whether the current thread is one that [`Inbox::wait`] would wait for.
    pub(crate) fn is_own_thread(&self) -> bool {
        match role::current() {
            Role::Io => true,
            Role::Delivery(id) => id == self.id,
            Role::Program => false,
        }
    }

    /// Whether no callback runs or will run.
    pub(crate) fn is_finished(&self) -> bool {
        *lock(&self.finished)
    }

    /// Waits until no callback runs or will run; `None` waits for ever.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Result<()> {
        if self.is_finished() {
            return Ok(());
        }
        if self.is_own_thread() {
            return Err(would_deadlock(format!(
                "waiting for the end of '{}' on the thread that runs its callback",
                self.channel
            )));
        }
        let _waiting = Waiting::begin(self.id)?;
        let finished = lock(&self.finished);
        let finished = match timeout {
            None => self
                .finish
                .wait_while(finished, |finished| !*finished)
                .unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                self.finish
                    .wait_timeout_while(finished, timeout, |finished| !*finished)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        match *finished {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Timeout,
                format!("a callback of '{}' still runs", self.channel),
            )),
        }
    }

    fn finish(&self) {
        *lock(&self.finished) = true;
        self.finish.notify_all();
    }

    /// The delivery thread.
    fn deliver(&self, mut callback: Callback<E>) {
        role::assume(Role::Delivery(self.id));
        if let Outlet::Thread(queue) = &self.outlet {
            loop {
                match queue.take(None) {
                    Take::Event(event) => {
                        if !call(&mut callback, &event, &self.channel) {
                            self.close();
                            break;
                        }
                    }
                    Take::Last(event) | Take::Closed(event) => {
                        call(&mut callback, &event, &self.channel);
                        break;
                    }
                    Take::Nothing => {}
                    Take::Over => break,
                }
            }
        }
        drop_quietly(Some(callback));
        self.finish();
    }
}

/// Calls a program's function; false if it panicked, after which it is not called again.
fn call<E>(function: &mut Callback<E>, event: &E, channel: &str) -> bool {
    let called = catch_unwind(AssertUnwindSafe(|| function(event)));
    if called.is_err() {
        log::error!(target: "qyun::client", "a callback of '{channel}' panicked; it is not called again");
    }
    called.is_ok()
}

/// Drops a program's function; what it owns may panic in its drop.
fn drop_quietly<E>(function: Option<Callback<E>>) {
    if catch_unwind(AssertUnwindSafe(|| drop(function))).is_err() {
        log::error!(target: "qyun::client", "dropping a callback panicked");
    }
}
