//! What waits for the store's thread: bounded in bytes by those who ask before they append.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::{Appended, ChannelRecord, Done, Record, lock};
use crate::Error;

/// What the thread is asked to do.
pub(super) enum Command {
    Append {
        channel: u64,
        record: Record,
        offset: Option<u64>,
        sync: bool,
        done: Done<Appended>,
    },
    Create(Box<ChannelRecord>, Done<()>),
    Change(Box<ChannelRecord>, Done<()>),
    Delete(u64, Done<()>),
    Trim(u64, u64, Done<()>),
    Sync(Done<()>),
    /// A segment was written anew without what is not kept.
    Compacted(Box<super::compact::Outcome>),
    HandOver(super::handover::Step),
}

impl Command {
    /// Answers it with an error.
    pub fn refuse(self, error: &Error) {
        let error = Err(error.clone());
        match self {
            Self::Append { done, .. } => done(error.map(|()| Appended { offset: 0, time_ms: 0 })),
            Self::Create(_, done)
            | Self::Change(_, done)
            | Self::Delete(_, done)
            | Self::Trim(_, _, done)
            | Self::Sync(done) => done(error),
            // Whoever waits for such a step sees that nobody will tell.
            Self::Compacted(_) | Self::HandOver(_) => {}
        }
    }
}

/// Many writers, one reader.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    come: Condvar,
    bytes: AtomicUsize,
    max_bytes: usize,
    room: Condvar,
}

#[derive(Default)]
struct Waiting {
    commands: Vec<Command>,
    asleep: bool,
    closed: bool,
}

impl Queue {
    pub fn new(max_bytes: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            come: Condvar::new(),
            bytes: AtomicUsize::new(0),
            max_bytes,
            room: Condvar::new(),
        }
    }

    /// Appends commands that have so many bytes together; gives them back when it is closed.
    pub fn push(&self, commands: impl IntoIterator<Item = Command>, size: usize) -> Vec<Command> {
        let wakes = {
            let mut waiting = lock(&self.waiting);
            if waiting.closed {
                return commands.into_iter().collect();
            }
            waiting.commands.extend(commands);
            self.bytes.fetch_add(size, SeqCst);
            std::mem::take(&mut waiting.asleep)
        };
        if wakes {
            self.come.notify_one();
        }
        Vec::new()
    }

    /// Waits for commands, for a time, and moves them all into `into`, which is empty. False when
    /// there are none and never will be.
    pub fn take(&self, into: &mut Vec<Command>, patience: Duration) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.commands.is_empty() {
            if waiting.closed {
                return false;
            }
            waiting.asleep = true;
            waiting = match self.come.wait_timeout(waiting, patience) {
                Ok((waiting, _)) => waiting,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        waiting.asleep = false;
        std::mem::swap(&mut waiting.commands, into);
        true
    }

    /// So many bytes of what was taken do not wait any more.
    pub fn written(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, SeqCst);
        if before >= self.max_bytes {
            // Taking the lock puts this after a waiter's look and before its sleep.
            drop(lock(&self.waiting));
            self.room.notify_all();
        }
    }

    /// Whether nothing has come since all that had was done.
    pub fn is_idle(&self) -> bool {
        lock(&self.waiting).asleep
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(SeqCst)
    }

    pub fn is_full(&self) -> bool {
        self.bytes.load(SeqCst) >= self.max_bytes
    }

    /// Waits until it is not full, or closed.
    pub fn wait_for_room(&self) {
        if !self.is_full() {
            return;
        }
        let mut waiting = lock(&self.waiting);
        while self.is_full() && !waiting.closed {
            waiting = self.room.wait(waiting).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Takes nothing any more; what waits is still to be done.
    pub fn close(&self) {
        lock(&self.waiting).closed = true;
        self.come.notify_all();
        self.room.notify_all();
    }
}
