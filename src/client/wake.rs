//! Wakes one task from any thread, and never loses a wake-up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

/// A flag that one task watches and everybody may raise. Raising does not wait.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    raised: AtomicBool,
    task: AtomicWaker,
}

impl Wake {
    /// Raises the flag and wakes the task.
    pub(crate) fn wake(&self) {
        self.raised.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Takes the flag down and says whether it was up; if not, `cx` is woken when it goes up.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> bool {
        // Registered before the flag is read: a raise in between finds the new waker.
        self.task.register(cx.waker());
        self.raised.swap(false, Ordering::AcqRel)
    }

    /// Forgets the task. A stored waker keeps the runtime's descriptors open.
    pub(crate) fn forget(&self) {
        drop(self.task.take());
    }
}
