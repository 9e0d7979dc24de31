//! Publishing once over the network
//!
//! The keys, counts and batches of a server in this process, with a server elsewhere. Who does not know
//! whether a message arrived, after QY_ERR_CONNECT or QY_ERR_TIMEOUT, sends it again under the same key,
//! from this client or another one: it is published once.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! int main(void) {
//!   qy_client *client = NULL;
//!   qy_publish_options once = {.struct_size = sizeof once, .key = "order-7", .key_len = 7};
//!   qy_publish_result result = {.struct_size = sizeof result};
//!   qy_status status = QY_ERR_CONNECT;
//!   if (qy_client_open("localhost:8000", NULL, &client) != QY_OK) return 1;
//!   for (int tries = 0; tries < 3 && (status == QY_ERR_CONNECT || status == QY_ERR_TIMEOUT); tries++)
//!     status = qy_client_publish_with(client, "test", QY_TEXT, "order 7", 7, &once, &result);
//!   if (status == QY_OK)
//!     printf("message %llu%s\n", (unsigned long long)result.offset,
//!            result.duplicate ? ", which had arrived" : "");
//!   qy_client_free(client);
//!   qy_shutdown(1000);
//!   return 0;
//! }
//! ```

use std::ffi::{c_char, c_void};

use super::client::qy_client;
use super::error::{self, Outcome};
use super::guard::{bytes, guard, on_object, text};
use super::message::payload_kind;
use super::publish::{
    asked, publish_batch, qy_publish_item, qy_publish_options, qy_publish_result, tell_first,
};
use super::status::*;
use super::structs;
use crate::client;
use crate::hub::{PublishOptions, Report};
use crate::wire::MessageKind;

/// Publishes a message by `publish` and tells what became of it.
///
/// # Safety
/// The pointers are as the header says.
unsafe fn publish_one(
    (channel, kind): (*const c_char, i32),
    (data, len): (*const c_void, usize),
    options: *const qy_publish_options,
    out: *mut qy_publish_result,
    publish: impl FnOnce(&str, MessageKind, &[u8], &PublishOptions<'_>) -> crate::Result<Report>,
) -> Outcome {
    // SAFETY: the caller's.
    unsafe {
        let channel = text(channel, "channel")?;
        let data = bytes(data, len, "data")?;
        let kind = payload_kind(kind, data)?;
        let options = asked(options)?;
        let size = match out.is_null() {
            true => None,
            false => Some(structs::check(out, "out")?),
        };
        let report = publish(channel, kind, data, &options)?;
        if let Some(size) = size {
            structs::fill(out, size, &report.into());
        }
        Ok(())
    }
}

/// Publishes a message as qy_client_publish does, with `options`, or NULL for none. `kind` is QY_TEXT,
/// QY_BINARY or QY_JSON. `*out`, unless NULL, tells what became of it; set its `struct_size` first.
///
/// With the client's option `publish_retries` it is sent again by itself when its connection is lost,
/// under its key, or under one of the library's.
///
/// Threads: any. Blocks: until the acknowledgement, at most `request_timeout_ms`; with `counts` that
/// comes when all threads of the server have sent the message on. In callbacks: yes, but not on the I/O
/// thread (QY_DELIVER_INLINE).
/// Errors: those of qy_client_publish; QY_ERR_CONFLICT when another message came under the key, and
/// then nothing is published; QY_ERR_INVALID_ARGUMENT for a key or `conflate` that is not 1 to 255
/// bytes, and for JSON that is none; QY_ERR_REFUSED for a key in a channel with `idempotency_ms` 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_publish_with(
    client: *mut qy_client,
    channel: *const c_char,
    kind: i32,
    data: *const c_void,
    len: usize,
    options: *const qy_publish_options,
    out: *mut qy_publish_result,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard("qy_client_publish_with", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated, `len` bytes, NULL or as large as
        // it says.
        unsafe {
            on_object(client, "client", |client| {
                let publish = |channel: &str, kind, data: &[u8], options: &PublishOptions<'_>| {
                    client.client.publish_with(channel, kind, data, options)
                };
                publish_one((channel, kind), (data, len), options, out, publish)
            })
        }
    })
}

/// Publishes `count` messages in one HTTP request. `items` and `results` are as for
/// qy_server_publish_batch, and so is what QY_OK means; qy_client_last_error tells of the first that
/// failed. A key is UTF-8 here. The server takes `max_batch_messages` in `max_batch_bytes` at a time.
///
/// Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
/// callbacks: yes.
/// Errors: QY_ERR_TOO_LARGE for more than the server takes, QY_ERR_CLOSED, QY_ERR_REFUSED,
/// QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be, and then nothing is published;
/// QY_ERR_CONNECT and QY_ERR_TIMEOUT, and then all of it, some of it or nothing may have been;
/// QY_ERR_PROTOCOL. Of a message, in its result: those of qy_client_publish_with, and
/// QY_ERR_INVALID_UTF8 for its key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_client_publish_batch(
    client: *mut qy_client,
    items: *const qy_publish_item,
    count: usize,
    results: *mut qy_publish_result,
) -> qy_status {
    // SAFETY: NULL or `count` structs of the first one's `struct_size`, by the header's rules.
    unsafe { structs::clear_all(results, count) };
    guard("qy_client_publish_batch", || {
        // SAFETY: as above; NULL or live, and what the items point to is as the header says.
        unsafe {
            on_object(client, "client", |client| {
                let publish = |batch: &[_]| client.client.publish_batch(batch);
                tell_first(client, publish_batch(items, count, results, publish)?);
                Ok(())
            })
        }
    })
}

/// Broadcasts a message without a handle, as qy_send_message does, with `options`, or NULL for none.
/// `kind` is QY_TEXT, QY_BINARY or QY_JSON; `data` has `len` bytes. `*out`, unless NULL, tells what
/// became of it; set its `struct_size` first.
///
/// Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
/// callbacks: yes.
/// Errors: those of qy_send_message; QY_ERR_CONFLICT, QY_ERR_INVALID_ARGUMENT and QY_ERR_REFUSED as
/// for qy_client_publish_with.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_send_message_with(
    host: *const c_char,
    channel: *const c_char,
    kind: i32,
    data: *const c_void,
    len: usize,
    options: *const qy_publish_options,
    out: *mut qy_publish_result,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard("qy_send_message_with", || {
        // SAFETY: as above; NULL or NUL-terminated, `len` bytes, NULL or as large as it says.
        unsafe {
            let host = text(host, "host")?;
            let publish = |channel: &str, kind, data: &[u8], options: &PublishOptions<'_>| {
                client::send_message_with(host, channel, kind, data, options)
            };
            publish_one((channel, kind), (data, len), options, out, publish)
        }
    })
}

/// Broadcasts `count` messages without a handle, as qy_client_publish_batch does. qy_last_error tells
/// of the first that failed.
///
/// Threads: any. Blocks: for one HTTP exchange, at most the connect and request timeouts. In
/// callbacks: yes.
/// Errors: those of qy_client_publish_batch, without QY_ERR_CLOSED; QY_ERR_INVALID_URL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_send_batch(
    host: *const c_char,
    items: *const qy_publish_item,
    count: usize,
    results: *mut qy_publish_result,
) -> qy_status {
    // SAFETY: NULL or `count` structs of the first one's `struct_size`, by the header's rules.
    unsafe { structs::clear_all(results, count) };
    guard("qy_send_batch", || {
        // SAFETY: as above; NULL or NUL-terminated, and what the items point to is as the header says.
        unsafe {
            let host = text(host, "host")?;
            let publish = |batch: &[_]| client::send_batch(host, batch);
            if let Some(first) = publish_batch(items, count, results, publish)? {
                error::set_last(first);
            }
            Ok(())
        }
    })
}
