//! What threads share, and threads: those of std. In the tests of their interleavings
//! ([`crate::interleavings`]) they are shuttle's, which decides at every lock, atomic and wait which
//! thread goes on. A time limit never passes there: what waits must be woken.

#[cfg(not(all(test, feature = "shuttle")))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(all(test, feature = "shuttle")))]
pub(crate) use std::{sync::atomic, sync::mpsc, thread};

#[cfg(all(test, feature = "shuttle"))]
pub(crate) use shuttle::sync::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
#[cfg(all(test, feature = "shuttle"))]
pub(crate) use shuttle::{sync::atomic, sync::mpsc, thread};

// They hold no thread up for another's sake, but for a moment.
pub(crate) use std::sync::{Arc, LazyLock, OnceLock, PoisonError, Weak};

/// Whether a thread has ended. Shuttle's do not say.
pub(crate) fn has_ended<T>(_thread: &thread::JoinHandle<T>) -> bool {
    #[cfg(all(test, feature = "shuttle"))]
    return false;
    #[cfg(not(all(test, feature = "shuttle")))]
    return _thread.is_finished();
}
