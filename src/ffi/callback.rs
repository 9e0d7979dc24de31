//! Callbacks
//!
//! A registration is `(function, user_data, drop)`. `drop(user_data)`, which may be NULL, runs
//! exactly once: after the last call of the function has returned, or, when the registration
//! fails, before the registering call returns; the function is then never called. It is the place
//! to free `user_data`, on whichever thread it runs.
//!
//! The calls of one registration come one at a time and in order. They come from a thread of the
//! library that does no I/O, so that a slow callback delays nobody else; only QY_DELIVER_INLINE
//! brings them from the I/O thread, where they must not block. What a callback is handed is valid
//! until it returns.
//!
//! Every function of this header may be called in a callback. One that would wait for that very
//! callback returns QY_ERR_WOULD_DEADLOCK at once. A log callback is narrower: see the log section.
//! A callback must return: no C++ exception, no longjmp may leave it; that is undefined behaviour.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdlib.h>
//!
//! static void count(const qy_event *event, void *user_data) {
//!   if (event->event == QY_EVENT_MESSAGE) ++*(unsigned long *)user_data;
//! }
//!
//! int main(void) {
//!   qy_client *client = NULL;
//!   qy_subscription *subscription = NULL;
//!   unsigned long *messages = calloc(1, sizeof *messages);
//!   if (qy_client_open("localhost:8000", NULL, &client) != QY_OK) return 1;
//!   // free(messages) is called once, whether this succeeds or not
//!   qy_client_subscribe(client, "test", QY_DELIVER_THREAD, count, messages, free, &subscription);
//!   qy_subscription_free(subscription);
//!   qy_client_free(client);
//!   return qy_shutdown(1000) == QY_OK ? 0 : 1;
//! }
//! ```

use std::ffi::c_void;

/// Called once with the `user_data` of a registration when nothing will use it any more.
pub type qy_drop_callback = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// The `user_data` of a registration. Dropping it calls the C side's drop function, once.
pub(super) struct UserData {
    pointer: *mut c_void,
    drop: qy_drop_callback,
}

// SAFETY: the library never looks behind the pointer; the header tells the caller that callbacks
// and the drop function run on other threads.
unsafe impl Send for UserData {}
// SAFETY: as above; a shared reference only gives the pointer away.
unsafe impl Sync for UserData {}

impl UserData {
    pub(super) fn new(pointer: *mut c_void, drop: qy_drop_callback) -> Self {
        Self { pointer, drop }
    }

    pub(super) fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            // SAFETY: the caller registered the function for this pointer; `Drop` runs once.
            unsafe { drop(self.pointer) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    unsafe extern "C" fn count(user_data: *mut c_void) {
        // SAFETY: the test passes a counter that outlives it.
        unsafe { &*user_data.cast::<AtomicU32>() }.fetch_add(1, Ordering::SeqCst);
    }

    #[test]
    fn the_drop_function_runs_once() {
        let drops = AtomicU32::new(0);
        let data = UserData::new(std::ptr::from_ref(&drops).cast_mut().cast(), Some(count));
        let moved = Box::new(data);
        assert_eq!(drops.load(Ordering::SeqCst), 0);
        drop(moved);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        drop(UserData::new(std::ptr::null_mut(), None));
    }
}
