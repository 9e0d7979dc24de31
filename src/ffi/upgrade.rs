//! Upgrades
//!
//! A WebSocket that asks to be admitted to an endpoint of the program. The connect callback decides,
//! or keeps a clone and lets any thread decide later; meanwhile the client waits, and nobody else.
//! A decision that is made in the callback takes effect when that returns.
//!
//! ```c
//! #include <qyun.h>
//! #include <string.h>
//!
//! static void on_connect(qy_upgrade *upgrade, void *user_data) {
//!   char user[64];
//!   (void)user_data;
//!   if (qy_upgrade_header(upgrade, "x-user", user, sizeof user, NULL) != QY_OK)
//!     qy_upgrade_refuse(upgrade, 401, "Who are you?"); // the client's HTTP status
//!   else
//!     qy_upgrade_accept(upgrade, NULL, user); // a random id, and bound to its user
//! }
//!
//! int main(void) {
//!   qy_server *server = NULL;
//!   qy_endpoint_callbacks callbacks = {0};
//!   callbacks.struct_size = sizeof callbacks;
//!   callbacks.connect = on_connect;
//!   if (qy_server_start(NULL, &server) != QY_OK) return 1;
//!   qy_server_handle(server, "/private", NULL, &callbacks, QY_DELIVER_THREAD, NULL, NULL);
//!   qy_server_free(server);
//!   return 0;
//! }
//! ```

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::connection::{header, optional_text, qy_header_visitor, visit_headers};
use super::error;
use super::guard::{
    Handle, Head, clear, guard, guard_anywhere, guard_value, object, on_object, output, release,
    text,
};
use super::status::*;
use crate::server::dialect::Request;

/// A WebSocket that asks to be admitted.
pub struct qy_upgrade {
    head: Head,
    request: Arc<Request>,
}

impl Handle for qy_upgrade {
    const NAME: &'static str = "upgrade";
    fn head(&self) -> &Head {
        &self.head
    }
}

impl qy_upgrade {
    pub(super) fn new(request: Arc<Request>) -> Self {
        Self { head: Head::new(), request }
    }

    /// What C is lent for the time of a callback.
    pub(super) fn lend(&self) -> *mut Self {
        std::ptr::from_ref(self).cast_mut()
    }
}

/// Makes another handle of the same upgrade: it is then decided by qy_upgrade_accept or
/// qy_upgrade_refuse, on any thread and at any time within the server's `request_timeout_ms`, and no
/// longer by the return of the callback. `*out` is the caller's, to be freed with qy_upgrade_free.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_upgrade_clone(
    upgrade: *const qy_upgrade,
    out: *mut *mut qy_upgrade,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_upgrade_clone", || {
        // SAFETY: as above; `upgrade` is NULL or live.
        unsafe {
            on_object(upgrade, "upgrade", |upgrade| {
                // First: what is made without a place for it would be lost.
                let out = output(out, "out")?;
                *out = Box::into_raw(Box::new(qy_upgrade::new(upgrade.request.keep())));
                Ok(())
            })
        }
    })
}

/// Frees a handle that qy_upgrade_clone gave out, not one that a callback was lent; NULL is allowed.
/// Freeing the last one of an upgrade that nobody decided about refuses it with 503.
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_upgrade_free(upgrade: *mut qy_upgrade) {
    guard_value((), || {
        // SAFETY: NULL or a live object that no other call uses, by the header's rules.
        unsafe { release(upgrade, |_| ()) }
    });
}

/// Admits the client. `id` becomes the connection's, 1 to 255 bytes without control characters; NULL
/// gives it a UUID. Another connection that has the id is closed with 3505. `user` is who it is bound
/// to; NULL is nobody.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CLOSED when it was decided about before, QY_ERR_INVALID_ARGUMENT for an id or user
/// that cannot be, QY_ERR_INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_upgrade_accept(
    upgrade: *mut qy_upgrade,
    id: *const c_char,
    user: *const c_char,
) -> qy_status {
    guard("qy_upgrade_accept", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(upgrade, "upgrade", |upgrade| {
                let (id, user) = (optional_text(id, "id")?, optional_text(user, "user")?);
                Ok(upgrade.request.accept(id, user)?)
            })
        }
    })
}

/// Refuses the client with an HTTP status from 400 to 599 and a text for it; NULL is an empty one.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CLOSED when it was decided about before, QY_ERR_INVALID_ARGUMENT for another
/// status, QY_ERR_INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_upgrade_refuse(
    upgrade: *mut qy_upgrade,
    status: u16,
    text: *const c_char,
) -> qy_status {
    guard("qy_upgrade_refuse", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(upgrade, "upgrade", |upgrade| {
                let text = optional_text(text, "text")?.unwrap_or_default();
                Ok(upgrade.request.refuse(status, text)?)
            })
        }
    })
}

/// Copies the address of the client into `buf`, as qy_connection_remote does.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_upgrade_remote(
    upgrade: *const qy_upgrade,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_upgrade_remote", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            on_object(upgrade, "upgrade", |upgrade| {
                error::copy_out(&upgrade.request.remote().to_string(), buf, cap, needed)
            })
        }
    })
}

/// Copies the path into `buf`, as qy_connection_path does.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_upgrade_path(
    upgrade: *const qy_upgrade,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_upgrade_path", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            on_object(upgrade, "upgrade", |upgrade| {
                error::copy_out(upgrade.request.path(), buf, cap, needed)
            })
        }
    })
}

/// Copies what followed the '?' into `buf`, as qy_connection_query does.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_upgrade_query(
    upgrade: *const qy_upgrade,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_upgrade_query", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            on_object(upgrade, "upgrade", |upgrade| {
                error::copy_out(upgrade.request.query(), buf, cap, needed)
            })
        }
    })
}

/// Copies the first header field called `name` into `buf`, as qy_connection_header does.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND, QY_ERR_BUFFER_TOO_SMALL, QY_ERR_INVALID_UTF8 for `name`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_upgrade_header(
    upgrade: *const qy_upgrade,
    name: *const c_char,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_upgrade_header", || {
        // SAFETY: NULL or live, NULL or NUL-terminated; `buf` and `needed` as above.
        unsafe {
            on_object(upgrade, "upgrade", |upgrade| {
                let value = header(upgrade.request.head(), text(name, "name")?)?;
                error::copy_out(&value, buf, cap, needed)
            })
        }
    })
}

/// Calls `visitor` for each header field, as qy_connection_list_headers does.
///
/// Threads: any. Blocks: only in the visitor. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_upgrade_list_headers(
    upgrade: *const qy_upgrade,
    visitor: qy_header_visitor,
    user_data: *mut c_void,
) -> qy_status {
    guard("qy_upgrade_list_headers", || {
        // SAFETY: NULL or live; the caller passed the function for this pointer.
        unsafe {
            on_object(upgrade, "upgrade", |upgrade| {
                visit_headers(upgrade.request.head(), visitor, user_data)
            })
        }
    })
}

/// Copies the text of the last failure on this handle into `buf`, as qy_last_error does; an empty text
/// when there was none.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_upgrade_last_error(
    upgrade: *const qy_upgrade,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard_anywhere("qy_upgrade_last_error", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            let text = object(upgrade, "upgrade")?.head.error.get();
            error::copy_out(&text, buf, cap, needed)
        }
    })
}
