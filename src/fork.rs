//! Which process this is, told apart across `fork()`.
//!
//! After `fork()` the child has the parent's memory but none of its threads: a mutex that another
//! thread held stays locked for ever, and the background thread is gone. So nothing that existed
//! before may be touched. Everything process-wide is kept per [`generation`]; an object from another
//! generation is refused, and leaked instead of dropped.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static GENERATION: AtomicU64 = AtomicU64::new(1);
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Runs in the child, where only async-signal-safe work is allowed: one atomic addition.
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// The number of this process in its line of forks. It changes in a child, never in a parent. The
/// first call registers the handler, so call it when an object is made and compare later.
///
/// Costs two relaxed loads. A child made by a raw `clone` system call is not noticed, because the C
/// library runs no handlers there.
pub(crate) fn generation() -> u64 {
    if !REGISTERED.load(Ordering::Acquire) {
        register();
    }
    GENERATION.load(Ordering::Relaxed)
}

/// Two threads may both get here: a handler that runs twice still changes the number.
#[cold]
fn register() {
    // SAFETY: the handler is a function of this library that stays loaded (the C library removes it
    // with the library otherwise) and does nothing but an atomic addition.
    let refused = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    if refused != 0 {
        log::warn!(target: "qyun::client", "fork() cannot be noticed: error {refused}");
    }
    REGISTERED.store(true, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generation_is_stable_within_a_process() {
        assert_eq!(generation(), generation());
    }
}
