//! Whether a channel whose publishers wait for its subscribers has room.

use crate::sync::atomic::{
    AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

/// How much of a channel may be under way at a time: published, and not yet before its subscribers.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// In bytes of frames, each once for every shard.
    pub bytes: usize,
    /// In messages, likewise.
    pub messages: usize,
}

/// A channel's state for its publishers, with `overload=hold`. Subscribers whose queues are more than
/// half full hold it; what is under way is bounded, so that it finds room in the other half.
///
/// Who changes it looks at `waiting` afterwards, and who is about to wait raises `waiting` and then
/// looks again; both sequentially consistent, so one of them sees the other.
#[derive(Debug, Default)]
pub struct Hold {
    /// Subscribers that hold it.
    holders: AtomicU32,
    bytes: AtomicUsize,
    messages: AtomicUsize,
    /// Publications that wait.
    waiting: AtomicUsize,
    /// Publications that ever had to wait.
    held: AtomicU64,
}

impl Hold {
    /// Whether a publisher need not wait.
    pub fn has_room(&self, budget: Budget) -> bool {
        let (bytes, messages) = (self.bytes.load(SeqCst), self.messages.load(SeqCst));
        self.holders.load(SeqCst) == 0
            && (messages == 0 || (bytes < budget.bytes && messages < budget.messages))
    }

    /// A message is under way to so many shards.
    pub fn depart(&self, size: usize, shards: usize) {
        self.bytes.fetch_add(size * shards, SeqCst);
        self.messages.fetch_add(shards, SeqCst);
    }

    /// Messages have come before a shard's subscribers, or are on the way to it no more.
    pub fn arrive(&self, bytes: usize, messages: usize) {
        self.bytes.fetch_sub(bytes, SeqCst);
        self.messages.fetch_sub(messages, SeqCst);
    }

    /// A subscriber holds it.
    pub fn add_holder(&self) {
        self.holders.fetch_add(1, SeqCst);
    }

    /// It holds it no more.
    pub fn remove_holder(&self) {
        self.holders.fetch_sub(1, SeqCst);
    }

    /// Publications that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// A publication has to wait.
    pub fn add_waiting(&self) {
        self.held.fetch_add(1, Relaxed);
        self.waiting.fetch_add(1, SeqCst);
    }

    /// It waits no more.
    pub fn remove_waiting(&self) {
        self.waiting.fetch_sub(1, SeqCst);
    }

    /// Publications that ever had to wait.
    pub fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }
}
