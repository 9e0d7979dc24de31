//! Fork detection: a generation number that a child process finds raised.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static GENERATION: AtomicU64 = AtomicU64::new(0);
static REGISTER: Once = Once::new();

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// The number of forks between this process and the first one that used the library. An object
/// that was made under another generation belongs to a parent process: its threads are not here.
pub(crate) fn generation() -> u64 {
    REGISTER.call_once(|| {
        // SAFETY: the handler is a function of this library, which is never unloaded (nodelete),
        // and does only what is allowed between fork and exec: one atomic addition.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    GENERATION.load(Ordering::Relaxed)
}
