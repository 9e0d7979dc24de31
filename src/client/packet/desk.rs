//! What a program registers with a packet client and keeps with its connection, and the delivery
//! thread's work.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

use crate::Error;
use crate::client::queue::{Class, Item};
use crate::client::state::lock;
use crate::delivery::Mode;
use crate::hub::Value;
use crate::requests::{Outcome, Reply};

/// A one-way message or a request from the server.
#[derive(Debug, Clone, Copy)]
pub struct PacketIncoming<'a> {
    /// Its protocol id.
    pub protocol: u32,
    /// Its data.
    pub data: &'a [u8],
    /// Answers a request, now or later; `None` for a one-way message.
    pub reply: Option<&'a Arc<Reply>>,
}

/// What happened to the connection of a packet client.
#[derive(Debug, Clone)]
pub enum PacketHappening {
    /// It is there, for the first time or again.
    Established,
    /// It ends and takes no more messages; its values are still there.
    Closing {
        /// The close code; 1006 when there was no Close, 1005 when that had no code.
        code: u16,
        /// Why.
        reason: Arc<str>,
        /// Whether it is tried again.
        will_reconnect: bool,
    },
    /// It is gone; its values go when the function returns. The same as its `Closing` said.
    Closed {
        /// As in `Closing`.
        code: u16,
        /// As in `Closing`.
        reason: Arc<str>,
        /// As in `Closing`.
        will_reconnect: bool,
    },
    /// A ping came, and was answered.
    Pinged,
    /// A pong came.
    Ponged,
    /// Another connection with this one's id displaced it; its end follows, and no reconnection.
    Displaced {
        /// The address of this client, as the server saw it.
        old_ip: Bytes,
        /// The address of the other.
        new_ip: Bytes,
        /// When, in ns since the Unix epoch.
        ts: i64,
    },
    /// An attempt to connect failed.
    Failed {
        /// Why.
        error: Error,
        /// Whether it is tried again.
        will_reconnect: bool,
    },
}

pub(super) type OnPacket = dyn Fn(&PacketIncoming<'_>) + Send + Sync;
type OnEvent = dyn Fn(&PacketHappening) + Send + Sync;
type OnPull = dyn Fn(u32) + Send + Sync;
pub(super) type Completion = Box<dyn FnOnce(Outcome) + Send>;

/// What the delivery thread does next.
pub(super) enum Job {
    Packet {
        function: Arc<OnPacket>,
        protocol: u32,
        data: Bytes,
        reply: Option<Arc<Reply>>,
    },
    Event(PacketHappening),
    Pull(u32),
    /// The end of a request; taken by whoever tells it.
    Done(Mutex<Option<(Completion, Outcome)>>),
    /// There is nothing more.
    Last,
}

impl Item for Job {
    fn class(&self) -> Class {
        match self {
            Self::Packet { .. } => Class::Message,
            Self::Event(PacketHappening::Pinged | PacketHappening::Ponged) => Class::Message,
            Self::Event(PacketHappening::Failed { .. }) => Class::Error,
            // As many as there are requests, pull channels and connections.
            Self::Event(_) | Self::Pull(_) | Self::Done(_) | Self::Last => Class::Notice,
        }
    }

    fn last(_name: &Arc<str>, _reason: &str) -> Self {
        Self::Last
    }
}

type Registration<F> = (Mode, Arc<F>);

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Desk {
    handlers: RwLock<HashMap<u32, Registration<OnPacket>>>,
    pulls: RwLock<HashMap<u32, Arc<OnPull>>>,
    observer: RwLock<Option<Registration<OnEvent>>>,
    /// Pull channels whose run waits.
    signals: Mutex<HashSet<u32>>,
    data: Mutex<HashMap<Box<str>, Value>>,
    /// The program closed the client: packets and pull signals are not told any more.
    closing: AtomicBool,
    /// Nothing is called any more, so nothing is registered.
    ended: AtomicBool,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

impl Desk {
    /// Registers or removes; whether there was something before, which is dropped outside the lock.
    pub(super) fn set_handler(&self, protocol: u32, to: Option<Registration<OnPacket>>) -> bool {
        let mut handlers = self.handlers.write().unwrap_or_else(PoisonError::into_inner);
        // Looked at under the lock: `finish` either sees what is registered or is seen here.
        let to = to.filter(|_| !self.has_ended());
        let before = match to {
            Some(to) => handlers.insert(protocol, to),
            None => handlers.remove(&protocol),
        };
        drop(handlers);
        before.is_some()
    }

    pub(super) fn handler(&self, protocol: u32) -> Option<Registration<OnPacket>> {
        self.handlers.read().unwrap_or_else(PoisonError::into_inner).get(&protocol).cloned()
    }

    /// As [`Desk::set_handler`].
    pub(super) fn set_observer(&self, to: Option<Registration<OnEvent>>) -> bool {
        let mut observer = self.observer.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *observer, to.filter(|_| !self.has_ended()));
        drop(observer);
        before.is_some()
    }

    /// Whether events are to be told inline.
    pub(super) fn observes_inline(&self) -> bool {
        let observer = self.observer.read().unwrap_or_else(PoisonError::into_inner);
        matches!(&*observer, Some((Mode::Inline, _)))
    }

    /// As [`Desk::set_handler`].
    pub(super) fn set_pull(&self, channel: u32, to: Option<Arc<OnPull>>) -> bool {
        let mut pulls = self.pulls.write().unwrap_or_else(PoisonError::into_inner);
        let to = to.filter(|_| !self.has_ended());
        let before = match to {
            Some(to) => pulls.insert(channel, to),
            None => pulls.remove(&channel),
        };
        drop(pulls);
        before.is_some()
    }

    fn pull(&self, channel: u32) -> Option<Arc<OnPull>> {
        self.pulls.read().unwrap_or_else(PoisonError::into_inner).get(&channel).cloned()
    }

    /// Notes a signal; `None` when nothing is registered, false when a run waits already.
    pub(super) fn signal(&self, channel: u32) -> Option<bool> {
        self.pull(channel)?;
        Some(lock(&self.signals).insert(channel))
    }

    pub(super) fn data(&self) -> MutexGuard<'_, HashMap<Box<str>, Value>> {
        lock(&self.data)
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Does a job. A panic of the program's function is the end of that call only.
    pub(super) fn run(&self, job: &Job) {
        match job {
            Job::Packet { function, protocol, data, reply } => {
                let incoming = PacketIncoming { protocol: *protocol, data, reply: reply.as_ref() };
                self.packet(function, &incoming);
            }
            Job::Event(happening) => self.happen(happening),
            Job::Pull(channel) => {
                // Before the function looks for what is new: a signal from here on is for the next
                // run.
                lock(&self.signals).remove(channel);
                if let Some(function) = self.pull(*channel).filter(|_| !self.is_closing()) {
                    guarded(|| function(*channel));
                }
            }
            Job::Done(done) => {
                // Not in the condition: the lock would be held through the call.
                let done = lock(done).take();
                if let Some((complete, outcome)) = done {
                    guarded(|| complete(outcome));
                }
            }
            Job::Last => self.finish(),
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Lets go of all that is registered.
    fn finish(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let handlers =
            std::mem::take(&mut *self.handlers.write().unwrap_or_else(PoisonError::into_inner));
        let pulls =
            std::mem::take(&mut *self.pulls.write().unwrap_or_else(PoisonError::into_inner));
        self.set_observer(None);
        drop((handlers, pulls));
    }

    /// Hands a packet to its function.
    pub(super) fn packet(&self, function: &Arc<OnPacket>, incoming: &PacketIncoming<'_>) {
        if !self.is_closing() {
            guarded(|| function(incoming));
        }
    }

    /// Tells what happened.
    pub(super) fn happen(&self, happening: &PacketHappening) {
        let observer = self.observer.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, function)) = observer {
            guarded(|| function(happening));
        }
        if matches!(happening, PacketHappening::Closed { .. }) {
            let gone = std::mem::take(&mut *self.data());
            drop(gone);
        }
    }
}

fn guarded(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        log::error!(target: "qyun::client", "a callback of a packet client panicked");
    }
}
