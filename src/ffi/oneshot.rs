//! One-shot calls
//!
//! The smallest thing that works: no handle, nothing to free. `host` is "localhost:8000", or an
//! "http://", "https://", "ws://" or "wss://" URL. The connections are kept for the next call,
//! until qy_shutdown.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! static void on_event(int32_t event, const char *data, size_t len, void *user_data) {
//!   (void)user_data;
//!   if (event == QY_EVENT_MESSAGE) printf("received %.*s\n", (int)len, data);
//! }
//!
//! int main(void) {
//!   char why[256];
//!   qy_create_channel("localhost:8000", "test"); // it may be there already
//!   if (qy_listen_channel("localhost:8000", "test", on_event, NULL) != QY_OK ||
//!       qy_send_message("localhost:8000", "test", "hello") != QY_OK) {
//!     qy_last_error(why, sizeof why, NULL);
//!     fprintf(stderr, "%s\n", why);
//!     return 1;
//!   }
//!   qy_stop_listening("localhost:8000", "test");
//!   return qy_shutdown(1000) == QY_OK ? 0 : 1;
//! }
//! ```

use std::ffi::{c_char, c_void};

use super::callback::UserData;
use super::error::Failure;
use super::guard::{guard, text};
use super::presence::{QY_EVENT_JOIN, QY_EVENT_LEAVE};
use super::status::*;
use crate::client::{self, Delivery, Event, EventKind};

/// The subscription is live, for the first time or again after a reconnection. No data, unless
/// messages were missed that could not be had any more: then it is a text that says where it goes on.
pub const QY_EVENT_CONNECTED: i32 = 1;
/// A message.
pub const QY_EVENT_MESSAGE: i32 = 2;
/// The last call: `user_data` may be freed in it. The data is a text that says why.
pub const QY_EVENT_CLOSED: i32 = 3;
/// The connection was lost, or an attempt to restore it failed; it is tried again. The data is a
/// text that says why.
pub const QY_EVENT_ERROR: i32 = 4;

/// Receives one event (a QY_EVENT_ constant) of a listener. `data` has `len` bytes, is not
/// NUL-terminated, never NULL, and valid until the call returns.
pub type qy_listen_callback = Option<
    unsafe extern "C" fn(event: i32, data: *const c_char, len: usize, user_data: *mut c_void),
>;

/// The number that C knows an event by.
pub(super) fn event_code(kind: EventKind) -> i32 {
    match kind {
        EventKind::Connected => QY_EVENT_CONNECTED,
        EventKind::Message => QY_EVENT_MESSAGE,
        EventKind::Join => QY_EVENT_JOIN,
        EventKind::Leave => QY_EVENT_LEAVE,
        EventKind::Closed => QY_EVENT_CLOSED,
        EventKind::Error => QY_EVENT_ERROR,
    }
}

/// Creates the channel `name`.
///
/// Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
/// callbacks: yes.
/// Errors: QY_ERR_CHANNEL_EXISTS, QY_ERR_INVALID_NAME, QY_ERR_INVALID_URL, QY_ERR_INVALID_UTF8,
/// QY_ERR_CONNECT, QY_ERR_TIMEOUT, QY_ERR_REFUSED, QY_ERR_PROTOCOL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_create_channel(host: *const c_char, name: *const c_char) -> qy_status {
    guard("qy_create_channel", || {
        // SAFETY: NULL or NUL-terminated, by the header's rules.
        let (host, name) = unsafe { (text(host, "host")?, text(name, "name")?) };
        Ok(client::create_channel(host, name)?)
    })
}

/// Broadcasts the text `message` to the listeners of `channel`.
///
/// Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
/// callbacks: yes.
/// Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_TOO_LARGE, QY_ERR_INVALID_NAME, QY_ERR_INVALID_URL,
/// QY_ERR_INVALID_UTF8, QY_ERR_CONNECT, QY_ERR_TIMEOUT, QY_ERR_REFUSED, QY_ERR_PROTOCOL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_send_message(
    host: *const c_char,
    channel: *const c_char,
    message: *const c_char,
) -> qy_status {
    guard("qy_send_message", || {
        // SAFETY: NULL or NUL-terminated, by the header's rules.
        let (host, channel, message) =
            unsafe { (text(host, "host")?, text(channel, "channel")?, text(message, "message")?) };
        Ok(client::send_message(host, channel, message)?)
    })
}

/// Listens to `channel` until qy_stop_listening or qy_shutdown. Returns when the subscription is
/// live: what is sent from then on arrives. A lost connection is restored, with a QY_EVENT_ERROR and
/// a QY_EVENT_CONNECTED between; what was sent meanwhile arrives then, if the channel keeps a history
/// that reaches so far, and otherwise the data of QY_EVENT_CONNECTED says that something was missed.
///
/// The calls come from a delivery thread, one at a time; the thread that called this function may
/// end. `user_data` stays the caller's and must live until QY_EVENT_CLOSED. When the function
/// fails, `callback` is never called.
///
/// Threads: any. Blocks: until the subscription is live, at most the connect timeout. In callbacks:
/// yes, but not on the I/O thread (QY_DELIVER_INLINE).
/// Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_NAME, QY_ERR_INVALID_URL, QY_ERR_INVALID_UTF8,
/// QY_ERR_CONNECT, QY_ERR_TIMEOUT, QY_ERR_REFUSED, QY_ERR_PROTOCOL, QY_ERR_IO,
/// QY_ERR_WOULD_DEADLOCK on the I/O thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_listen_channel(
    host: *const c_char,
    channel: *const c_char,
    callback: qy_listen_callback,
    user_data: *mut c_void,
) -> qy_status {
    guard("qy_listen_channel", || {
        // SAFETY: NULL or NUL-terminated, by the header's rules.
        let (host, channel) = unsafe { (text(host, "host")?, text(channel, "channel")?) };
        let callback = callback.ok_or_else(|| Failure::null("callback"))?;
        let user_data = UserData::new(user_data, None);
        let call = move |event: &Event| {
            let data = event.data.as_ptr().cast();
            // SAFETY: the caller registered the function for this pointer until its last event.
            unsafe {
                callback(event_code(event.kind), data, event.data.len(), user_data.pointer());
            }
        };
        Ok(client::listen_channel(host, channel, Delivery::Thread(Box::new(call)))?)
    })
}

/// Ends every listener that qy_listen_channel started on this host and channel. Each gets its
/// QY_EVENT_CLOSED, and no callback of theirs runs any more when the function returns, unless it is
/// called where it may not wait for that: in one of these callbacks, in one that one of these waits
/// for, or on the I/O thread (QY_DELIVER_INLINE). Then they end after it returned.
///
/// Threads: any. Blocks: until the callbacks have returned. In callbacks: yes, without waiting as
/// said.
/// Errors: QY_ERR_NOT_FOUND when there is no such listener, QY_ERR_INVALID_NAME,
/// QY_ERR_INVALID_URL, QY_ERR_INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_stop_listening(
    host: *const c_char,
    channel: *const c_char,
) -> qy_status {
    guard("qy_stop_listening", || {
        // SAFETY: NULL or NUL-terminated, by the header's rules.
        let (host, channel) = unsafe { (text(host, "host")?, text(channel, "channel")?) };
        Ok(client::stop_listening(host, channel)?)
    })
}
