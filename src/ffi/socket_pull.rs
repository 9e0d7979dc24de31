//! Taking a socket's events
//!
//! The other way than callbacks, for a socket that was opened without: with a timeout, many at a time,
//! or when a descriptor becomes readable in a loop of epoll, poll, select or any framework. What
//! waits is bounded by the option `queue_messages`; beyond it the option `overflow` holds the
//! connection, unless it says otherwise.
//!
//! ```c
//! #include <qyun.h>
//! #include <poll.h>
//! #include <stdio.h>
//!
//! int main(void) {
//!   qy_socket *socket = NULL;
//!   struct pollfd ready = {-1, POLLIN, 0};
//!   if (qy_socket_open("ws://localhost:8000/chat", NULL, QY_DELIVER_THREAD, NULL, NULL, NULL,
//!                      &socket) != QY_OK)
//!     return 1;
//!   qy_socket_fd(socket, &ready.fd);
//!   qy_socket_connect(socket, 0);
//!   while (poll(&ready, 1, -1) > 0) {
//!     qy_socket_batch *batch = NULL;
//!     if (qy_socket_recv(socket, 256, 0, &batch) != QY_OK) break; // closed
//!     const qy_socket_event *events = qy_socket_batch_events(batch);
//!     for (size_t i = 0; i < qy_socket_batch_count(batch); i++)
//!       if (events[i].event == QY_EVENT_MESSAGE)
//!         printf("%.*s\n", (int)events[i].len, (const char *)events[i].data);
//!     qy_socket_batch_free(batch);
//!   }
//!   qy_socket_free(socket);
//!   return 0;
//! }
//! ```

use std::ffi::c_int;
use std::ptr;
use std::time::Duration;

use super::error::Failure;
use super::guard::{clear, guard, guard_value, on_object, output, preset};
use super::socket::{qy_socket, qy_socket_event};
use super::status::*;
use crate::client::SocketEvent;

/// Events taken from a socket, in one array.
pub struct qy_socket_batch {
    /// They point into `_events`, whose text and data do not move.
    views: Vec<qy_socket_event>,
    _events: Vec<SocketEvent>,
}

/// Takes events of a socket that was opened without callbacks: waits for one, then takes all others
/// that are waiting, at most `max`. A `timeout_ms` of 0 does not wait. `*out` is to be freed with
/// qy_socket_batch_free.
///
/// Threads: any, several at once; each event goes to one of them. Blocks: at most `timeout_ms`;
/// closing wakes it. In callbacks: yes, but without waiting on the I/O thread (QY_DELIVER_INLINE).
/// Errors: QY_ERR_TIMEOUT when no event came, QY_ERR_CLOSED after the last one,
/// QY_ERR_INVALID_ARGUMENT for a socket with callbacks or a `max` of 0, QY_ERR_WOULD_DEADLOCK on the
/// I/O thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_recv(
    socket: *mut qy_socket,
    max: usize,
    timeout_ms: u32,
    out: *mut *mut qy_socket_batch,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_socket_recv", || {
        // SAFETY: as above; `socket` is NULL or live.
        unsafe {
            on_object(socket, "socket", |socket| {
                let out = output(out, "out")?;
                if max == 0 {
                    return Err(Failure::parameter("'max' is 0; it takes 1 or more"));
                }
                let mut events = Vec::new();
                let timeout = Duration::from_millis(timeout_ms.into());
                socket.socket.recv_many(&mut events, max, timeout)?;
                let views = events.iter().map(qy_socket_event::view).collect();
                *out = Box::into_raw(Box::new(qy_socket_batch { views, _events: events }));
                Ok(())
            })
        }
    })
}

/// The number of events in a batch; 0 for NULL.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_batch_count(batch: *const qy_socket_batch) -> usize {
    // SAFETY: NULL or a live batch, by the header's rules.
    guard_value(0, || unsafe { batch.as_ref() }.map_or(0, |batch| batch.views.len()))
}

/// The events of a batch, oldest first: an array of qy_socket_batch_count elements, valid until
/// qy_socket_batch_free. NULL for NULL and for an empty batch.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_batch_events(
    batch: *const qy_socket_batch,
) -> *const qy_socket_event {
    // SAFETY: NULL or a live batch, by the header's rules.
    guard_value(ptr::null(), || match unsafe { batch.as_ref() } {
        Some(batch) if !batch.views.is_empty() => batch.views.as_ptr(),
        _ => ptr::null(),
    })
}

/// Frees a batch and what its events point to; NULL is allowed.
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_batch_free(batch: *mut qy_socket_batch) {
    guard_value((), || {
        if !batch.is_null() {
            // SAFETY: a live batch that no other call uses, by the header's rules.
            drop(unsafe { Box::from_raw(batch) });
        }
    });
}

/// Tells a descriptor that is readable (level-triggered) while an event waits, and when the socket is
/// closed until a receiving call has told so; as qy_subscription_fd. `*out` is -1 when the function
/// fails.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_IO, QY_ERR_INVALID_ARGUMENT for a socket with callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_fd(socket: *mut qy_socket, out: *mut c_int) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { preset(out, -1) };
    guard("qy_socket_fd", || {
        // SAFETY: as above; `socket` is NULL or live.
        unsafe {
            on_object(socket, "socket", |socket| {
                *output(out, "out")? = socket.socket.poll_fd()?;
                Ok(())
            })
        }
    })
}
