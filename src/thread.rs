//! The library's own threads. They carry a mark, because their names are the program's to choose.

use std::cell::Cell;
use std::io;

use crate::sync::thread::{Builder, JoinHandle};

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
    static NEVER_WAITS: Cell<bool> = const { Cell::new(false) };
}

/// Starts a thread of the library.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).spawn(move || {
        mark();
        body()
    })
}

/// Marks the current thread as the library's.
pub(crate) fn mark() {
    OURS.set(true);
}

/// Whether the current thread is the library's.
pub(crate) fn is_ours() -> bool {
    OURS.try_with(Cell::get).unwrap_or(false)
}

/// Marks the current thread as one that others wait for: a server's shard, or a clock of requests.
/// What would wait on it may wait for itself.
pub(crate) fn never_waits() {
    NEVER_WAITS.set(true);
}

/// Whether the current thread must not wait.
pub(crate) fn must_not_wait() -> bool {
    NEVER_WAITS.try_with(Cell::get).unwrap_or(false)
}
