//! The process-wide state, one per generation of [`crate::fork`].
//!
//! A child never touches its parent's state: locks in it may be held for ever by threads that the
//! child does not have. The parent's stays reachable in the list below, untouched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use once_cell::race::OnceBox;
use rustls::ClientConfig;

use super::http::Http;
use super::runtime::Runtimes;
use crate::fork;

/// What the handles, listeners and one-shot calls of one process share.
#[derive(Default)]
pub(crate) struct State {
    /// The I/O thread, and those that are ending.
    pub(crate) runtimes: Mutex<Runtimes>,
    /// The one-shot calls' kept-alive connections, by host as callers write it.
    pub(crate) agents: RwLock<HashMap<Box<str>, Arc<Http>>>,
    /// TLS with the system's authorities, read from disk once.
    pub(crate) system_tls: Mutex<Option<Arc<ClientConfig>>>,
    /// Which inbox' delivery thread waits for the end of which other inbox.
    pub(crate) waits: Mutex<HashMap<u64, u64>>,
}

struct Era {
    generation: u64,
    state: State,
    next: OnceBox<Era>,
}

/// The first process of the line that used the library. `OnceBox` and not `OnceLock`, because a
/// fork in the middle of its initialisation leaves nothing locked.
static FIRST: OnceBox<Era> = OnceBox::new();

/// This process' state. Costs a few loads; the list is as long as the line of forks that used it.
pub(crate) fn state() -> &'static State {
    let generation = fork::generation();
    let mut cell = &FIRST;
    loop {
        let era = cell.get_or_init(|| {
            Box::new(Era { generation, state: State::default(), next: OnceBox::new() })
        });
        if era.generation == generation {
            return &era.state;
        }
        cell = &era.next;
    }
}

/// Locks, also when a thread panicked with the lock held: every critical section of the client
/// leaves its data whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
