//! A shard's inbox: what was published and waits for the shard to fan it out.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Channel, Connection, PresenceEvent, Survey, lock};
use crate::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use crate::sync::{Arc, Condvar, Mutex};
use crate::wire::websocket::Message;

/// What a shard is told, in the order of each channel.
#[derive(Debug, Clone)]
pub enum Item {
    /// A publication.
    Publish {
        /// Its channel.
        channel: Arc<Channel>,
        /// Its place in the channel.
        offset: u64,
        /// The message and its frame.
        message: Message,
    },
    /// The channel was deleted; nothing of it follows.
    Deleted(Arc<Channel>),
    /// A message for one connection.
    Send {
        /// Who gets it.
        to: Arc<Connection>,
        /// The message, encoded for it.
        message: Message,
    },
    /// A connection is to be closed behind what was sent to it.
    Close {
        /// Which.
        to: Arc<Connection>,
        /// The close code.
        code: u16,
        /// The reason, for the peer.
        reason: Box<str>,
    },
    /// A connection becomes a subscriber of a channel from the next publication on.
    Join {
        /// Who.
        connection: Arc<Connection>,
        /// Of what.
        channel: Arc<Channel>,
        /// It gets what came behind this offset first.
        since: Option<u64>,
    },
    /// A connection is no subscriber any more.
    Leave {
        /// Who.
        connection: Arc<Connection>,
        /// Of what.
        channel: Arc<Channel>,
    },
    /// A member of a channel wants to be told who comes and goes, or not any more.
    Watch {
        /// Who.
        connection: Arc<Connection>,
        /// Of what.
        channel: Arc<Channel>,
        /// Whether it does.
        on: bool,
    },
    /// Somebody came to a channel or went: those of its members are told who asked to be.
    Presence {
        /// Where.
        channel: Arc<Channel>,
        /// What happened.
        event: Arc<PresenceEvent>,
    },
    /// What was decided about a connection that asked to be admitted.
    Decided {
        /// The shard's number for the socket.
        token: u32,
        /// Which of its requests.
        ticket: u64,
        /// The decision.
        decision: Box<Decision>,
    },
    /// The answer to a request that waited for it.
    Answer(Box<Late>),
    /// Somebody asks which connections are slowest.
    Survey(Arc<Survey>),
}

impl Item {
    /// What it counts against the inbox's bound.
    fn size(&self) -> usize {
        match self {
            Self::Publish { message, .. } | Self::Send { message, .. } => message.frame().len(),
            Self::Presence { event, .. } => event.channel.len() + event.id.len() + PRESENCE_BYTES,
            _ => 0,
        }
    }
}

/// About what the notification of a presence event takes besides its names.
const PRESENCE_BYTES: usize = 160;

/// An answer that came later than its request was read.
#[derive(Debug, Clone)]
pub struct Late {
    /// The shard's number for the socket.
    pub token: u32,
    /// Which of its requests; by this the shard knows that the socket is still the same.
    pub ticket: u64,
    /// What the client is told.
    pub answer: Told,
}

/// What a client is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// An HTTP client: a status and the JSON of the body.
    Json(u16, String),
    /// A client of the stream protocol: a frame.
    Frame(Bytes),
}

/// Whether a WebSocket is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is.
    Accept {
        /// Its id; `None` gives it a random UUID.
        id: Option<String>,
        /// The user it is bound to from the start.
        user: Option<String>,
    },
    /// It is not: its upgrade is answered with this HTTP status.
    Refuse {
        /// 400 to 599.
        status: u16,
        /// Why, for the client.
        reason: String,
    },
}

/// How a sleeping shard is woken.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// A queue with many writers and one reader, bounded in bytes, that wakes its reader at most once
/// however many items wait.
///
/// `asleep` decides who wakes. The reader sets it, then looks at `len`; a writer raises `len`,
/// then looks at `asleep`. Both in sequentially consistent order, so one of them sees the other.
pub struct Inbox {
    waiting: Mutex<Waiting>,
    len: AtomicUsize,
    bytes: AtomicUsize,
    max_bytes: AtomicUsize,
    asleep: AtomicBool,
    closed: AtomicBool,
    wake: Wake,
    /// Writers that wait for room; the same hand-shake as with `asleep`.
    writers: AtomicUsize,
    room: (Mutex<()>, Condvar),
}

/// What waits for the reader.
#[derive(Default)]
struct Waiting {
    items: Vec<Item>,
    /// When the first of the items came: one reading of the clock for all that wait together.
    since: Option<Instant>,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("len", &self.len).field("bytes", &self.bytes).finish()
    }
}

impl Inbox {
    /// An empty inbox that is full at `max_bytes` of frames.
    pub fn new(max_bytes: usize, wake: Wake) -> Self {
        Self {
            waiting: Mutex::default(),
            len: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            max_bytes: AtomicUsize::new(max_bytes),
            asleep: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            wake,
            writers: AtomicUsize::new(0),
            room: (Mutex::new(()), Condvar::new()),
        }
    }

    /// Appends an item. Call [`Inbox::notify`] afterwards, outside the channel's lock.
    pub fn push(&self, item: Item) {
        let size = item.size();
        let mut waiting = lock(&self.waiting);
        if self.closed.load(SeqCst) {
            return;
        }
        waiting.since.get_or_insert_with(Instant::now);
        waiting.items.push(item);
        self.len.store(waiting.items.len(), SeqCst);
        self.grow(size);
    }

    /// Appends several items at once, with one look at the lock.
    pub fn push_all(&self, items: impl ExactSizeIterator<Item = Item>) {
        if items.len() == 0 {
            return;
        }
        let mut waiting = lock(&self.waiting);
        if self.closed.load(SeqCst) {
            return;
        }
        waiting.since.get_or_insert_with(Instant::now);
        let before = waiting.items.len();
        waiting.items.extend(items);
        let size = waiting.items.iter().skip(before).map(Item::size).sum();
        self.len.store(waiting.items.len(), SeqCst);
        self.grow(size);
    }

    /// Counts bytes in. Only under the lock, so nobody else writes meanwhile; that the reader made room
    /// is what others wait for, not this.
    fn grow(&self, size: usize) {
        self.bytes.store(self.bytes.load(Relaxed) + size, Relaxed);
    }

    /// Wakes the reader if it sleeps.
    pub fn notify(&self) {
        if self.asleep.load(SeqCst) && self.asleep.swap(false, SeqCst) {
            (self.wake)();
        }
    }

    /// Moves everything that waits into `into`, which must be empty; its capacity is used again.
    /// Tells since when the first of it waited.
    pub fn take(&self, into: &mut Vec<Item>) -> Option<Instant> {
        debug_assert!(into.is_empty());
        let since = {
            let mut waiting = lock(&self.waiting);
            std::mem::swap(&mut waiting.items, into);
            self.len.store(0, SeqCst);
            self.bytes.store(0, SeqCst);
            waiting.since.take()
        };
        self.signal_room();
        since
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len.load(SeqCst) == 0
    }

    /// Items waiting.
    pub fn len(&self) -> usize {
        self.len.load(SeqCst)
    }

    /// Bytes of messages that wait.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Announces that the reader is about to sleep. False if it must not, because something waits.
    pub fn prepare_sleep(&self) -> bool {
        self.asleep.store(true, SeqCst);
        if self.is_empty() {
            return true;
        }
        self.asleep.store(false, SeqCst);
        false
    }

    /// Tells writers that the reader is awake, so that they need not wake it.
    pub fn awake(&self) {
        self.asleep.store(false, SeqCst);
    }

    /// Whether the inbox holds as much as it may. Writers should wait; it is they who keep to the
    /// bound, by asking before they publish.
    pub fn is_full(&self) -> bool {
        self.bytes.load(SeqCst) >= self.max_bytes.load(Relaxed)
    }

    /// Another bound from now on.
    pub fn set_max_bytes(&self, max_bytes: usize) {
        self.max_bytes.store(max_bytes, Relaxed);
        self.signal_room();
    }

    /// Waits until the inbox is not full, or is closed. Never call it on the reader's thread.
    pub fn wait_for_room(&self) {
        if !self.is_full() {
            return;
        }
        self.writers.fetch_add(1, SeqCst);
        let mut guard = lock(&self.room.0);
        while self.is_full() && !self.closed.load(SeqCst) {
            // The time limit only guards against a reader that died; `take` signals.
            let slice = Duration::from_millis(100);
            guard = match self.room.1.wait_timeout(guard, slice) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        self.writers.fetch_sub(1, SeqCst);
    }

    /// Drops what waits and whatever comes: the reader is gone.
    pub fn close(&self) {
        let dropped = {
            let mut waiting = lock(&self.waiting);
            self.closed.store(true, SeqCst);
            self.len.store(0, SeqCst);
            self.bytes.store(0, SeqCst);
            std::mem::take(&mut *waiting)
        };
        self.signal_room();
        drop(dropped);
    }

    fn signal_room(&self) {
        if self.writers.load(SeqCst) > 0 {
            // Taking the lock puts this after a waiter's check and before its sleep is over.
            drop(lock(&self.room.0));
            self.room.1.notify_all();
        }
    }
}
