//! Packet client: messages, requests, values
//!
//! A request is answered, times out, or ends with its connection, whichever is first, and its end is
//! told once. Values are kept for a program while its connection lasts: they are gone when
//! QY_PACKET_CLOSED was told. A pull signal makes its callback run once, however often it is given
//! before that run begins.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! static void answered(qy_status status, const qy_response *response, void *user_data) {
//!   (void)user_data;
//!   if (status == QY_OK)
//!     printf("%.*s\n", (int)qy_response_len(response), (const char *)qy_response_data(response));
//! }
//!
//! static void fetch(uint32_t channel, void *user_data) {
//!   qy_packet_client *client = *(qy_packet_client **)user_data;
//!   int64_t runs = 0;
//!   (void)channel;
//!   qy_packet_client_increment(client, "runs", 1, &runs);
//!   qy_packet_client_request_async(client, 2, "more?", 5, 1000, QY_DELIVER_THREAD, answered, NULL,
//!                                  NULL);
//! }
//!
//! int main(void) {
//!   qy_packet_client *client = NULL;
//!   qy_packet_identity identity = {0};
//!   identity.struct_size = sizeof identity;
//!   identity.uid = "100";
//!   if (qy_packet_client_open("localhost:8000", &identity, NULL, &client) != QY_OK) return 1;
//!   qy_packet_client_on_pull(client, 1, fetch, &client, NULL);
//!   if (qy_packet_client_connect(client, 5000) == QY_OK) {
//!     qy_packet_client_send(client, 3, "hello", 5);
//!     for (int i = 0; i < 1000; i++) qy_packet_client_signal_pull(client, 1); // few runs
//!   }
//!   getchar();
//!   qy_packet_client_free(client);
//!   return qy_shutdown(1000) == QY_OK ? 0 : 1;
//! }
//! ```

use std::ffi::{c_char, c_void};
use std::time::Duration;

use super::callback::{UserData, qy_drop_callback};
use super::error::{self, Failure};
use super::guard::{bytes, clear, guard, on_object, output, text};
use super::packet::mode;
use super::packet_client::qy_packet_client;
use super::request::{completion, qy_response, qy_response_callback};
use super::status::*;
use crate::hub::Value;

/// Sends a one-way message of `len` bytes, which are copied. What one thread sends arrives in its
/// order.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CONNECT while it is not connected, QY_ERR_TOO_LARGE over `packet_max_bytes`,
/// QY_ERR_QUEUE_FULL when `send_queue_messages` or `send_queue_bytes` wait, QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_send(
    client: *mut qy_packet_client,
    protocol: u32,
    data: *const c_void,
    len: usize,
) -> qy_status {
    guard("qy_packet_client_send", || {
        // SAFETY: NULL or live, `len` bytes, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                Ok(client.client.send(protocol, bytes(data, len, "data")?)?)
            })
        }
    })
}

/// Makes a request of `len` bytes, which are copied, and waits for the response. `*out` is the
/// caller's, to be freed with qy_response_free.
///
/// Threads: any. Blocks: at most `timeout_ms`. In callbacks: yes, but not with QY_DELIVER_INLINE.
/// Errors: QY_ERR_TIMEOUT, QY_ERR_CLOSED when the connection ends first, those of
/// qy_packet_client_send, QY_ERR_WOULD_DEADLOCK in an inline callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_request(
    client: *mut qy_packet_client,
    protocol: u32,
    data: *const c_void,
    len: usize,
    timeout_ms: u32,
    out: *mut *mut qy_response,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_packet_client_request", || {
        // SAFETY: as above; NULL or live, `len` bytes.
        unsafe {
            on_object(client, "client", |client| {
                let (out, data) = (output(out, "out")?, bytes(data, len, "data")?);
                let timeout = Duration::from_millis(timeout_ms.into());
                let response = client.client.request_and_wait(protocol, data, timeout)?;
                *out = qy_response::give(response);
                Ok(())
            })
        }
    })
}

/// Makes a request of `len` bytes, which are copied, and returns. If it succeeds, `callback` is called
/// exactly once: with the response, after `timeout_ms`, or when the connection ends. `delivery` is
/// QY_DELIVER_THREAD, in order with the client's other callbacks, or QY_DELIVER_INLINE, on whichever
/// thread of the library ends the request. `drop` (or NULL) runs after the call, or before this
/// function returns an error.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: those of qy_packet_client_send, QY_ERR_QUEUE_FULL also when a million requests are under
/// way, QY_ERR_INVALID_ARGUMENT for a delivery that does not exist.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_request_async(
    client: *mut qy_packet_client,
    protocol: u32,
    data: *const c_void,
    len: usize,
    timeout_ms: u32,
    delivery: i32,
    callback: qy_response_callback,
    user_data: *mut c_void,
    drop: qy_drop_callback,
) -> qy_status {
    let user_data = UserData::new(user_data, drop);
    guard("qy_packet_client_request_async", || {
        // SAFETY: NULL or live, `len` bytes, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                let (data, mode) = (bytes(data, len, "data")?, mode(delivery)?);
                let complete = completion(callback, user_data)?;
                let timeout = Duration::from_millis(timeout_ms.into());
                Ok(client.client.request(protocol, data, timeout, mode, complete)?)
            })
        }
    })
}

/// Makes the callback of a pull channel run: once, however often it is signalled before that run
/// begins. A signal during the run makes another one.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND when the pull channel has no callback, QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_signal_pull(
    client: *mut qy_packet_client,
    channel: u32,
) -> qy_status {
    guard("qy_packet_client_signal_pull", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                client.client.signal(channel)?;
                Ok(())
            })
        }
    })
}

/// Keeps `len` bytes under `key` with the connection, in place of what was there.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_UTF8 for `key`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_set(
    client: *mut qy_packet_client,
    key: *const c_char,
    data: *const c_void,
    len: usize,
) -> qy_status {
    guard("qy_packet_client_set", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, `len` bytes, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                let (key, data) = (text(key, "key")?, bytes(data, len, "data")?);
                client.client.set_value(key, Value::Bytes(data.into()))?;
                Ok(())
            })
        }
    })
}

/// Copies what is kept under `key` into `buf`, at most `cap` bytes, without a NUL behind them; a
/// number reads as its decimal text. `buf` may be NULL when `cap` is 0, to ask for the size. `needed`
/// may be NULL; otherwise `*needed` becomes the number of bytes kept.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND, QY_ERR_BUFFER_TOO_SMALL, QY_ERR_INVALID_UTF8 for `key`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_get(
    client: *const qy_packet_client,
    key: *const c_char,
    buf: *mut c_void,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(needed) };
    guard("qy_packet_client_get", || {
        // SAFETY: NULL or live, NULL or NUL-terminated; `buf` has `cap` bytes, `needed` as above.
        unsafe {
            on_object(client, "client", |client| {
                let key = text(key, "key")?;
                match client.client.value(key)?.ok_or_else(|| no_value(key))? {
                    Value::Bytes(bytes) => error::copy_bytes(&bytes, buf, cap, needed),
                    Value::Integer(number) => {
                        error::copy_bytes(number.to_string().as_bytes(), buf, cap, needed)
                    }
                }
            })
        }
    })
}

/// Takes away what is kept under `key`.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND, QY_ERR_INVALID_UTF8 for `key`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_remove(
    client: *mut qy_packet_client,
    key: *const c_char,
) -> qy_status {
    guard("qy_packet_client_remove", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                let key = text(key, "key")?;
                client.client.remove_value(key)?.map(drop).ok_or_else(|| no_value(key))
            })
        }
    })
}

/// Adds `by`, which may be 0 or negative, to the number kept under `key`, which begins at 0, in one
/// step that no other thread comes between. `*out`, unless NULL, becomes the sum.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT when qy_packet_client_set put bytes there, or the sum is beyond 64
/// bits; QY_ERR_INVALID_UTF8 for `key`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_increment(
    client: *mut qy_packet_client,
    key: *const c_char,
    by: i64,
    out: *mut i64,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_packet_client_increment", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated.
        unsafe {
            on_object(client, "client", |client| {
                let sum = client.client.increment(text(key, "key")?, by)?;
                if !out.is_null() {
                    out.write(sum);
                }
                Ok(())
            })
        }
    })
}

fn no_value(key: &str) -> Failure {
    let key = key.escape_debug();
    Failure::new(QY_ERR_NOT_FOUND, format!("nothing is kept under '{key}' with the connection"))
}
