//! Remote calls
//!
//! Methods of this program that clients of the session dialect call with
//! `{"id":1,"type":"request","action":"rpc","payload":{"method":"add","params":[1,2]}}`. Parameters
//! and results are JSON. A call is answered once, in its callback or later, from any thread: with a
//! result or with an error. One that is let go of unanswered gets the error "no_answer", one that is
//! not answered within `rpc_timeout_ms` the error "timeout".
//!
//! Calls of one connection come in order, one at a time; those of different connections may come at
//! the same time, on `delivery_threads` threads of the server.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! static void on_add(qy_connection *connection, const char *method, const char *params, size_t len,
//!                    qy_rpc_reply *reply, void *user_data) {
//!   char text[64], result[64];
//!   long a, b;
//!   (void)connection, (void)method, (void)user_data;
//!   snprintf(text, sizeof text, "%.*s", (int)len, params); // a program would use its JSON library
//!   if (sscanf(text, "[%ld,%ld]", &a, &b) != 2) {
//!     qy_rpc_reply_error(reply, "bad_params", "params are [a,b], two numbers");
//!     return;
//!   }
//!   qy_rpc_reply_result(reply, result, (size_t)snprintf(result, sizeof result, "%ld", a + b));
//! }
//!
//! int main(void) {
//!   qy_server *server = NULL;
//!   if (qy_server_start(NULL, &server) != QY_OK) return 1;
//!   qy_server_on_rpc(server, "add", QY_DELIVER_THREAD, on_add, NULL, NULL);
//!   getchar();
//!   qy_server_free(server);
//!   return 0;
//! }
//! ```

use std::ffi::{CString, c_char, c_void};
use std::sync::{Arc, Weak};

use super::callback::{UserData, qy_drop_callback};
use super::connection::qy_connection;
use super::error::Failure;
use super::guard::{
    Handle, Head, bytes, clear, guard, guard_value, object, on_object, output, release, text,
};
use super::packet::mode;
use super::server::qy_server;
use super::status::*;
use crate::server::Service;
use crate::server::rpc::{Call, Reply};

/// The right to answer one call, once.
pub struct qy_rpc_reply {
    head: Head,
    reply: Arc<Reply>,
}

impl Handle for qy_rpc_reply {
    const NAME: &'static str = "reply";
    fn head(&self) -> &Head {
        &self.head
    }
}

impl qy_rpc_reply {
    fn new(reply: Arc<Reply>) -> Self {
        Self { head: Head::new(), reply }
    }
}

/// Answers a call of `method`, which is NUL-terminated. `params` is JSON of `len` bytes, never NULL
/// and not NUL-terminated, "null" when the client gave none. All arguments are valid until the call
/// returns; to answer later, take qy_rpc_reply_clone.
pub type qy_rpc_callback = Option<
    unsafe extern "C" fn(
        connection: *mut qy_connection,
        method: *const c_char,
        params: *const c_char,
        len: usize,
        reply: *mut qy_rpc_reply,
        user_data: *mut c_void,
    ),
>;

/// Calls `callback` for every call of `method` by a client of the session dialect, in place of what
/// was registered for it before; NULL only removes that. A method's name has 1 to 255 bytes and no
/// control characters. `delivery` is QY_DELIVER_THREAD or QY_DELIVER_INLINE. `drop` (or NULL) runs
/// when the callback was replaced or removed, or the server stopped, and no call of it runs or will
/// run.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CLOSED when the server was stopped, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8,
/// QY_ERR_INVALID_ARGUMENT for a delivery that does not exist.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_on_rpc(
    server: *mut qy_server,
    method: *const c_char,
    delivery: i32,
    callback: qy_rpc_callback,
    user_data: *mut c_void,
    drop: qy_drop_callback,
) -> qy_status {
    let user_data = UserData::new(user_data, drop);
    guard("qy_server_on_rpc", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let method = text(method, "method")?;
                let (service, mode) = (server.service()?, mode(delivery)?);
                let Some(callback) = callback else {
                    service.rpc().off(method);
                    return Ok(());
                };
                let name =
                    CString::new(method).map_err(|_| Failure::parameter("'method' holds a NUL"))?;
                // Weak: what is registered does not keep the server.
                let weak = Arc::downgrade(service);
                service.rpc().on(method, mode, move |call| {
                    receive(&weak, &name, call, callback, &user_data);
                })?;
                Ok(())
            })
        }
    })
}

/// Hands a call to C.
fn receive(
    service: &Weak<Service>,
    method: &CString,
    call: &Call<'_>,
    callback: unsafe extern "C" fn(
        *mut qy_connection,
        *const c_char,
        *const c_char,
        usize,
        *mut qy_rpc_reply,
        *mut c_void,
    ),
    user_data: &UserData,
) {
    let connection = qy_connection::new(Weak::clone(service), Arc::clone(call.connection));
    let reply = qy_rpc_reply::new(Arc::clone(call.reply));
    // SAFETY: the caller registered the function for this pointer; all arguments outlive the call.
    unsafe {
        callback(
            connection.lend(),
            method.as_ptr(),
            call.params.as_ptr().cast(),
            call.params.len(),
            std::ptr::from_ref(&reply).cast_mut(),
            user_data.pointer(),
        );
    }
}

/// Makes another handle of a reply, to answer after the callback has returned. `*out` is the
/// caller's, to be freed with qy_rpc_reply_free.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_rpc_reply_clone(
    reply: *const qy_rpc_reply,
    out: *mut *mut qy_rpc_reply,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_rpc_reply_clone", || {
        // SAFETY: as above; `reply` is NULL or live.
        unsafe {
            let (reply, out) = (object(reply, "reply")?, output(out, "out")?);
            *out = Box::into_raw(Box::new(qy_rpc_reply::new(Arc::clone(&reply.reply))));
            Ok(())
        }
    })
}

/// Answers the call with a result: `json` is JSON of `len` bytes, which are copied.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for what is no JSON, after which another answer may be given, and
/// when the call is answered already; QY_ERR_CLOSED when its time is over or its client is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_rpc_reply_result(
    reply: *mut qy_rpc_reply,
    json: *const c_char,
    len: usize,
) -> qy_status {
    guard("qy_rpc_reply_result", || {
        // SAFETY: NULL or live, `len` bytes, by the header's rules.
        unsafe {
            on_object(reply, "reply", |reply| {
                Ok(reply.reply.result(bytes(json.cast(), len, "json")?)?)
            })
        }
    })
}

/// Answers the call with an error: `code`, which is not empty, for programs and `message` for people.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for an empty code and when the call is answered already;
/// QY_ERR_INVALID_UTF8; QY_ERR_CLOSED when its time is over or its client is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_rpc_reply_error(
    reply: *mut qy_rpc_reply,
    code: *const c_char,
    message: *const c_char,
) -> qy_status {
    guard("qy_rpc_reply_error", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(reply, "reply", |reply| {
                Ok(reply.reply.failure(text(code, "code")?, text(message, "message")?)?)
            })
        }
    })
}

/// Frees a handle that qy_rpc_reply_clone made; NULL is allowed. A call that is not answered and has
/// no handle left gets the error "no_answer".
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_rpc_reply_free(reply: *mut qy_rpc_reply) {
    guard_value((), || {
        // SAFETY: NULL or a live object that no other call uses, by the header's rules.
        unsafe { release(reply, |_| {}) };
    });
}
