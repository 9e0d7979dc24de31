//! Client
//!
//! One handle, one connection, any number of subscriptions (next section). It connects in the
//! background, comes back by itself when the connection is lost, and subscribes again.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! int main(void) {
//!   qy_client *client = NULL;
//!   qy_position at = {sizeof at, 0, 0};
//!   if (qy_client_open("localhost:8000", NULL, &client) != QY_OK) return 1;
//!   if (qy_client_wait_connected(client, 5000) == QY_OK) {
//!     qy_client_create_channel(client, "test");
//!     if (qy_client_publish(client, "test", QY_TEXT, "hello", 5, &at) == QY_OK)
//!       printf("message %llu of the channel\n", (unsigned long long)at.offset);
//!   }
//!   qy_client_free(client);
//!   qy_shutdown(1000);
//!   return 0;
//! }
//! ```

use std::ffi::{c_char, c_void};
use std::time::Duration;

use ::bytes::Bytes;

use super::error::{self, Background};
use super::guard::{
    Handle, Head, bytes, clear, guard, guard_value, object, on_object, output, release, text,
};
use super::message::{message_kind, optional_size, qy_position};
use super::options::qy_options;
use super::status::*;
use super::structs;
use crate::client::{Client, ClientCounters, ClientOptions, ClientState};

/// Connecting, for the first time or again.
pub const QY_CLIENT_CONNECTING: i32 = 1;
/// Connected.
pub const QY_CLIENT_CONNECTED: i32 = 2;
/// Closed by the program, by the server for good, or after the last attempt.
pub const QY_CLIENT_CLOSED: i32 = 3;

/// A client.
pub struct qy_client {
    head: Head,
    pub(super) client: Client,
    background: Background,
}

/// Totals of a client since it was opened.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_client_counters {
    /// sizeof(qy_client_counters), set by the caller.
    pub struct_size: usize,
    /// Messages received.
    pub received: u64,
    /// Messages published and acknowledged.
    pub published: u64,
    /// Messages dropped because a subscription's queue was full.
    pub dropped: u64,
    /// Times the connection was restored.
    pub reconnects: u64,
}

// SAFETY: `repr(C)`, begins with its size, integers only.
unsafe impl structs::Versioned for qy_client_counters {}

impl From<ClientCounters> for qy_client_counters {
    fn from(counters: ClientCounters) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            received: counters.received,
            published: counters.published,
            dropped: counters.dropped,
            reconnects: counters.reconnects,
        }
    }
}

impl Handle for qy_client {
    const NAME: &'static str = "client";
    fn head(&self) -> &Head {
        &self.head
    }
    fn failed(&self) {
        self.background.call_failed(self.client.last_error());
    }
}

/// Opens a client on `host` ("localhost:8000", or an "http://", "https://", "ws://" or "wss://"
/// URL) and begins to connect; qy_client_wait_connected waits for it. `options` (or NULL for the
/// defaults) stay the caller's. `*out` is the caller's, to be freed with qy_client_free.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_URL, QY_ERR_INVALID_UTF8, QY_ERR_IO, QY_ERR_INVALID_ARGUMENT for options
/// of a server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_open(
    host: *const c_char,
    options: *const qy_options,
    out: *mut *mut qy_client,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_client_open", || {
        // SAFETY: as above; NULL or NUL-terminated.
        let (out, host) = unsafe { (output(out, "out")?, text(host, "host")?) };
        let options = match options.is_null() {
            true => ClientOptions::default(),
            // SAFETY: a live object, by the header's rules.
            false => unsafe { object(options, "options") }?.client()?,
        };
        let client = Client::open(host, options)?;
        let background = Background::default();
        *out = Box::into_raw(Box::new(qy_client { head: Head::new(), client, background }));
        Ok(())
    })
}

/// Waits until the client is connected.
///
/// Threads: any. Blocks: at most `timeout_ms`. In callbacks: yes, but not on the I/O thread
/// (QY_DELIVER_INLINE), unless `timeout_ms` is 0.
/// Errors: QY_ERR_TIMEOUT, QY_ERR_CLOSED, QY_ERR_WOULD_DEADLOCK on the I/O thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_wait_connected(
    client: *mut qy_client,
    timeout_ms: u32,
) -> qy_status {
    guard("qy_client_wait_connected", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                Ok(client.client.wait_connected(Duration::from_millis(timeout_ms.into()))?)
            })
        }
    })
}

/// Tells where the client stands: a QY_CLIENT_ constant.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_state(client: *const qy_client, out: *mut i32) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_client_state", || {
        // SAFETY: as above; `client` is NULL or live.
        unsafe {
            on_object(client, "client", |client| {
                *output(out, "out")? = match client.client.state() {
                    ClientState::Connecting => QY_CLIENT_CONNECTING,
                    ClientState::Connected => QY_CLIENT_CONNECTED,
                    ClientState::Closed => QY_CLIENT_CLOSED,
                };
                Ok(())
            })
        }
    })
}

/// Reads the counters. Set `out->struct_size` first.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_counters_get(
    client: *const qy_client,
    out: *mut qy_client_counters,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard("qy_client_counters_get", || {
        // SAFETY: as above; `client` is NULL or live.
        unsafe {
            on_object(client, "client", |client| {
                let size = structs::check(out, "out")?;
                structs::fill(out, size, &client.client.counters().into());
                Ok(())
            })
        }
    })
}

/// Creates a channel on the server.
///
/// Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
/// callbacks: yes.
/// Errors: QY_ERR_CHANNEL_EXISTS, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_CONNECT,
/// QY_ERR_TIMEOUT, QY_ERR_REFUSED, QY_ERR_PROTOCOL, QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_create_channel(
    client: *mut qy_client,
    name: *const c_char,
) -> qy_status {
    guard("qy_client_create_channel", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                Ok(client.client.create_channel(text(name, "name")?)?)
            })
        }
    })
}

/// Deletes a channel on the server.
///
/// Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
/// callbacks: yes.
/// Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_CONNECT,
/// QY_ERR_TIMEOUT, QY_ERR_REFUSED, QY_ERR_PROTOCOL, QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_delete_channel(
    client: *mut qy_client,
    name: *const c_char,
) -> qy_status {
    guard("qy_client_delete_channel", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                Ok(client.client.delete_channel(text(name, "name")?)?)
            })
        }
    })
}

/// Publishes a message and waits for the server's acknowledgement. `kind` is QY_TEXT or QY_BINARY;
/// `data` has `len` bytes and is copied. `*out`, unless NULL, tells where the message stands, with
/// zeros when the way it travelled does not tell; set its `struct_size` first.
///
/// Threads: any. Blocks: until the acknowledgement, at most `request_timeout_ms`. In callbacks: yes,
/// but not on the I/O thread (QY_DELIVER_INLINE).
/// Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_TOO_LARGE, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8
/// for a text that is none, QY_ERR_CONNECT, QY_ERR_TIMEOUT, QY_ERR_REFUSED, QY_ERR_PROTOCOL,
/// QY_ERR_QUEUE_FULL, QY_ERR_CLOSED, QY_ERR_WOULD_DEADLOCK on the I/O thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_publish(
    client: *mut qy_client,
    channel: *const c_char,
    kind: i32,
    data: *const c_void,
    len: usize,
    out: *mut qy_position,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard("qy_client_publish", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated, `len` bytes.
        unsafe {
            on_object(client, "client", |client| {
                let channel = text(channel, "channel")?;
                let data = bytes(data, len, "data")?;
                let kind = message_kind(kind)?;
                let size = optional_size(out)?;
                let position = client.client.publish(channel, kind, data)?;
                if let Some(size) = size {
                    structs::fill(out, size, &position.into());
                }
                Ok(())
            })
        }
    })
}

/// Queues a message for the client's WebSocket and returns. A refusal by the server goes to the log
/// and to qy_client_last_error. `data` has `len` bytes and is copied.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_QUEUE_FULL when `send_queue_messages` wait, QY_ERR_TOO_LARGE,
/// QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8 for a text that is none, QY_ERR_CONNECT,
/// QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_publish_nowait(
    client: *mut qy_client,
    channel: *const c_char,
    kind: i32,
    data: *const c_void,
    len: usize,
) -> qy_status {
    guard("qy_client_publish_nowait", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, `len` bytes, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                let channel = text(channel, "channel")?;
                let data = bytes(data, len, "data")?;
                let kind = message_kind(kind)?;
                let data = Bytes::copy_from_slice(data);
                Ok(client.client.publish_nowait(channel, kind, data)?)
            })
        }
    })
}

/// Copies the text of the newest failure on this client, of a call by any thread or of its work in
/// the background, into `buf`, as qy_last_error does; an empty text when there was none.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_last_error(
    client: *const qy_client,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_client_last_error", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            let client = object(client, "client")?;
            let text = client.background.newest(client.client.last_error(), &client.head.error);
            error::copy_out(&text, buf, cap, needed)
        }
    })
}

/// Closes the client and all its subscriptions; each gets its QY_EVENT_CLOSED, and waiting calls
/// return QY_ERR_CLOSED. Safe to call again. The handles must still be freed.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_close(client: *mut qy_client) -> qy_status {
    guard("qy_client_close", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                client.client.close();
                Ok(())
            })
        }
    })
}

/// Frees a client, after closing it; NULL is allowed. Its subscriptions are closed, and freed with
/// qy_subscription_free, before or after. In a forked child it only forgets the parent's client.
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_free(client: *mut qy_client) {
    guard_value((), || {
        // SAFETY: NULL or a live object that no other call uses, by the header's rules.
        unsafe { release(client, |client| client.client.close()) };
    });
}
