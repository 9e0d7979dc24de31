//! Requests
//!
//! What both sides of the packet dialect use: the reply to a request that the peer made, and the
//! response to one's own. A request is answered once, in its callback or later, from any thread; a
//! reply that is let go of unanswered lets the request time out at the peer.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! static void on_time(qy_connection *connection, uint32_t protocol, const void *data, size_t len,
//!                     qy_reply *reply, void *user_data) {
//!   (void)connection, (void)data, (void)len, (void)user_data;
//!   if (reply != NULL) qy_reply_send(reply, protocol, "noon", 4); // NULL: a one-way message
//! }
//!
//! static void answered(qy_status status, const qy_response *response, void *user_data) {
//!   (void)user_data;
//!   if (status == QY_OK)
//!     printf("%.*s\n", (int)qy_response_len(response), (const char *)qy_response_data(response));
//! }
//!
//! static void on_event(qy_connection *connection, const qy_packet_event *event, void *user_data) {
//!   if (event->event == QY_PACKET_ESTABLISHED) // ask every client that comes, and do not wait
//!     qy_connection_request_async(connection, 2, "who?", 4, 5000, QY_DELIVER_THREAD, answered,
//!                                 user_data, NULL);
//! }
//!
//! int main(void) {
//!   qy_server *server = NULL;
//!   if (qy_server_start(NULL, &server) != QY_OK) return 1;
//!   qy_server_on_packet(server, 1, QY_DELIVER_THREAD, on_time, NULL, NULL);
//!   qy_server_on_packet_event(server, QY_DELIVER_THREAD, on_event, NULL, NULL);
//!   getchar();
//!   qy_server_free(server);
//!   return 0;
//! }
//! ```

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use super::callback::UserData;
use super::error::{self, Failure};
use super::guard::{
    Handle, Head, bytes, clear, guard, guard_value, object, on_object, output, release,
};
use super::status::{self, *};
use crate::requests::{Outcome, Reply, Response};

/// The right to answer one request, once.
pub struct qy_reply {
    head: Head,
    reply: Arc<Reply>,
}

/// What a peer answered.
pub struct qy_response {
    response: Response,
}

/// Receives the end of a request. `status` is QY_OK and `response` is valid until the call returns;
/// or `response` is NULL and `status` is QY_ERR_TIMEOUT or QY_ERR_CLOSED, about which qy_last_error
/// says more.
pub type qy_response_callback = Option<
    unsafe extern "C" fn(status: qy_status, response: *const qy_response, user_data: *mut c_void),
>;

impl Handle for qy_reply {
    const NAME: &'static str = "reply";
    fn head(&self) -> &Head {
        &self.head
    }
}

impl qy_reply {
    pub(super) fn new(reply: Arc<Reply>) -> Self {
        Self { head: Head::new(), reply }
    }

    /// What C is lent for the time of a callback: NULL for a one-way message.
    pub(super) fn lend(reply: Option<&Self>) -> *mut Self {
        reply.map_or(ptr::null_mut(), |reply| ptr::from_ref(reply).cast_mut())
    }
}

impl qy_response {
    /// A response that C owns.
    pub(super) fn give(response: Response) -> *mut Self {
        Box::into_raw(Box::new(Self { response }))
    }
}

/// Makes a function of C what is called at a request's end.
pub(super) fn completion(
    callback: qy_response_callback,
    user_data: UserData,
) -> Result<impl FnOnce(Outcome) + Send + 'static, Failure> {
    let callback = callback.ok_or_else(|| Failure::null("callback"))?;
    Ok(move |outcome: Outcome| {
        let (status, response) = match outcome {
            Ok(response) => (QY_OK, Some(qy_response { response })),
            Err(error) => {
                error::set_last(error.to_string());
                (status::of(error.kind()), None)
            }
        };
        let view = response.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the caller registered the function for this pointer; the response outlives the
        // call.
        unsafe { callback(status, view, user_data.pointer()) };
    })
}

/// Makes another handle of a reply, to answer after the callback has returned. `*out` is the
/// caller's, to be freed with qy_reply_free.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_reply_clone(
    reply: *const qy_reply,
    out: *mut *mut qy_reply,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_reply_clone", || {
        // SAFETY: as above; `reply` is NULL or live.
        unsafe {
            let (reply, out) = (object(reply, "reply")?, output(out, "out")?);
            let same = qy_reply::new(Arc::clone(&reply.reply));
            *out = Box::into_raw(Box::new(same));
            Ok(())
        }
    })
}

/// Answers the request with `len` bytes of `data`, which are copied. `protocol` is the answer's
/// protocol id, as a rule the request's.
///
/// Threads: any. Blocks: only while the thread that writes to the peer is far behind. In callbacks:
/// yes.
/// Errors: QY_ERR_INVALID_ARGUMENT when the request is answered already, QY_ERR_TOO_LARGE, after
/// which another answer may be sent, QY_ERR_CLOSED when the peer is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_reply_send(
    reply: *mut qy_reply,
    protocol: u32,
    data: *const c_void,
    len: usize,
) -> qy_status {
    guard("qy_reply_send", || {
        // SAFETY: NULL or live, `len` bytes, by the header's rules.
        unsafe {
            on_object(reply, "reply", |reply| {
                Ok(reply.reply.send(protocol, bytes(data, len, "data")?)?)
            })
        }
    })
}

/// Frees a handle that qy_reply_clone made; NULL is allowed. A request that is not answered and has
/// no handle left is never answered.
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_reply_free(reply: *mut qy_reply) {
    guard_value((), || {
        // SAFETY: NULL or a live object that no other call uses, by the header's rules.
        unsafe { release(reply, |_| {}) };
    });
}

/// The protocol id of a response; 0 for NULL.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_response_protocol(response: *const qy_response) -> u32 {
    // SAFETY: NULL or a live response, by the header's rules.
    guard_value(0, || unsafe { response.as_ref() }.map_or(0, |own| own.response.protocol))
}

/// The data of a response, valid while the response is; not NUL-terminated. NULL for NULL and for no
/// data.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_response_data(response: *const qy_response) -> *const c_void {
    // SAFETY: NULL or a live response, by the header's rules.
    guard_value(ptr::null(), || match unsafe { response.as_ref() } {
        Some(own) if !own.response.data.is_empty() => own.response.data.as_ptr().cast(),
        _ => ptr::null(),
    })
}

/// The length of a response's data in bytes; 0 for NULL.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_response_len(response: *const qy_response) -> usize {
    // SAFETY: NULL or a live response, by the header's rules.
    guard_value(0, || unsafe { response.as_ref() }.map_or(0, |own| own.response.data.len()))
}

/// Frees a response that a request gave out; NULL is allowed. One that a callback was handed is not
/// the caller's to free.
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_response_free(response: *mut qy_response) {
    guard_value((), || {
        if !response.is_null() {
            // SAFETY: a live response that no other call uses, by the header's rules.
            drop(unsafe { Box::from_raw(response) });
        }
    });
}
