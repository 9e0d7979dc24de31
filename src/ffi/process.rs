//! State that belongs to one process, not to its forked children.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::fork;

/// A value that a forked child finds fresh, because the parent's may be behind a lock that no
/// thread of the child will ever release. Each process that uses it keeps one until it ends.
pub(super) struct PerProcess<T: 'static> {
    current: AtomicPtr<Tagged<T>>,
}

struct Tagged<T> {
    generation: u64,
    value: T,
}

impl<T: Default + Sync> PerProcess<T> {
    pub(super) const fn new() -> Self {
        Self { current: AtomicPtr::new(ptr::null_mut()) }
    }

    /// This process's value, made on first use. Takes no lock.
    pub(super) fn get(&self) -> &'static T {
        let generation = fork::generation();
        let mut seen = self.current.load(Ordering::Acquire);
        loop {
            // SAFETY: NULL, or published below by a box that is never freed.
            if let Some(tagged) = unsafe { seen.as_ref() }
                && tagged.generation == generation
            {
                return &tagged.value;
            }
            let fresh = Box::into_raw(Box::new(Tagged { generation, value: T::default() }));
            // Release publishes the box's content; acquire sees that of a winner.
            match self.current.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => seen = fresh,
                Err(winner) => {
                    // SAFETY: made above and published nowhere.
                    drop(unsafe { Box::from_raw(fresh) });
                    seen = winner;
                }
            }
        }
    }
}
