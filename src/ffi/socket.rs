//! Sockets
//!
//! One WebSocket to any server, for programs that handle the frames themselves: URL, request headers,
//! sub-protocols, automatic reconnection. A new socket does not connect: qy_socket_connect does, so
//! that the handle is in the program's hands before the first callback.
//!
//! What is sent belongs to the connection that there is at that moment: while there is none, sending
//! fails with QY_ERR_CONNECT, and nothing is kept for the next one.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! static void on_connected(const qy_socket_event *event, void *user_data) {
//!   (void)event;
//!   qy_socket_send(*(qy_socket **)user_data, QY_TEXT, "hello", 5);
//! }
//!
//! static void on_message(const qy_socket_event *event, void *user_data) {
//!   (void)user_data;
//!   printf("%.*s\n", (int)event->len, (const char *)event->data);
//! }
//!
//! static void on_disconnected(const qy_socket_event *event, void *user_data) {
//!   (void)user_data;
//!   printf("code %d%s\n", (int)event->code, event->will_reconnect ? ", trying again" : "");
//! }
//!
//! int main(void) {
//!   qy_socket *socket = NULL;
//!   qy_options *options = NULL;
//!   qy_socket_callbacks callbacks = {0};
//!   callbacks.struct_size = sizeof callbacks;
//!   callbacks.connected = on_connected;
//!   callbacks.message = on_message;
//!   callbacks.disconnected = on_disconnected;
//!   qy_options_new(QY_OPTIONS_SOCKET, &options);
//!   qy_options_set(options, "header", "Authorization: Bearer secret");
//!   qy_options_set_int(options, "reconnect_delay_ms", 1000);
//!   if (qy_socket_open("ws://localhost:8000/chat?room=1", options, QY_DELIVER_THREAD, &callbacks,
//!                      &socket, NULL, &socket) != QY_OK)
//!     return 1;
//!   qy_options_free(options);
//!   qy_socket_connect(socket, 5000);
//!   getchar();
//!   qy_socket_disconnect(socket, 1000, "bye");
//!   qy_socket_free(socket);
//!   return qy_shutdown(1000) == QY_OK ? 0 : 1;
//! }
//! ```

use std::ffi::{c_char, c_void};
use std::time::Duration;

use super::callback::{UserData, qy_drop_callback};
use super::error::{self, Background, Failure};
use super::guard::{
    Handle, Head, bytes, clear, guard, guard_value, object, on_object, output, release, text,
};
use super::message::{kind_code, message_kind};
use super::oneshot::{QY_EVENT_CLOSED, QY_EVENT_CONNECTED, QY_EVENT_ERROR, QY_EVENT_MESSAGE};
use super::options::qy_options;
use super::status::{self, *};
use super::structs;
use super::subscription::{QY_DELIVER_INLINE, QY_DELIVER_THREAD};
use crate::client::{Delivery, Socket, SocketCounters, SocketEvent, SocketOptions, SocketState};
use crate::wire::MessageKind;

/// The connection is over. The data is what the Close said, or why the connection is lost; `code` is
/// the close code.
pub const QY_EVENT_DISCONNECTED: i32 = 5;
/// The server sent a ping, which was answered. The data is its payload.
pub const QY_EVENT_PING: i32 = 6;
/// The server sent a pong. The data is its payload.
pub const QY_EVENT_PONG: i32 = 7;

/// Connecting, for the first time or again.
pub const QY_SOCKET_CONNECTING: i32 = 1;
/// Connected.
pub const QY_SOCKET_CONNECTED: i32 = 2;
/// Closed for good.
pub const QY_SOCKET_CLOSED: i32 = 3;
/// Not connected, and not trying: before qy_socket_connect, after qy_socket_disconnect, and after
/// the last attempt.
pub const QY_SOCKET_DISCONNECTED: i32 = 4;

/// A WebSocket to any server.
pub struct qy_socket {
    head: Head,
    pub(super) socket: Socket,
    background: Background,
}

/// One event of a socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_socket_event {
    /// The size of this struct in the library that made it.
    pub struct_size: usize,
    /// QY_EVENT_CONNECTED, QY_EVENT_DISCONNECTED, QY_EVENT_MESSAGE, QY_EVENT_ERROR (an attempt to
    /// connect failed), QY_EVENT_PING, QY_EVENT_PONG, or QY_EVENT_CLOSED, the last one.
    pub event: i32,
    /// QY_TEXT or QY_BINARY for a message; QY_TEXT otherwise.
    pub kind: i32,
    /// The message or payload; of QY_EVENT_CONNECTED the sub-protocol that the server chose; of the
    /// others a text that says why. Not NUL-terminated, never NULL.
    pub data: *const c_void,
    /// Its length in bytes.
    pub len: usize,
    /// Of QY_EVENT_DISCONNECTED: the close code; 1006 when there was no Close, 1005 when that had no
    /// code. Of QY_EVENT_ERROR: the status. 0 otherwise.
    pub code: i32,
    /// Of QY_EVENT_DISCONNECTED and QY_EVENT_ERROR: 1 when it is tried again, else 0.
    pub will_reconnect: i32,
}

/// Receives one event; it is valid until the call returns.
pub type qy_socket_callback =
    Option<unsafe extern "C" fn(event: *const qy_socket_event, user_data: *mut c_void)>;

/// Who receives which event. Each may be NULL: those events are then passed over.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_socket_callbacks {
    /// sizeof(qy_socket_callbacks), set by the caller.
    pub struct_size: usize,
    /// QY_EVENT_CONNECTED.
    pub connected: qy_socket_callback,
    /// QY_EVENT_DISCONNECTED.
    pub disconnected: qy_socket_callback,
    /// QY_EVENT_MESSAGE.
    pub message: qy_socket_callback,
    /// QY_EVENT_ERROR.
    pub error: qy_socket_callback,
    /// QY_EVENT_CLOSED: the last call.
    pub closed: qy_socket_callback,
    /// QY_EVENT_PING. Not NULL sets the option `control_events`.
    pub ping: qy_socket_callback,
    /// QY_EVENT_PONG. Not NULL sets the option `control_events`.
    pub pong: qy_socket_callback,
}

// SAFETY: `repr(C)`, begins with its size, the rest are function pointers that may be NULL.
unsafe impl structs::Versioned for qy_socket_callbacks {}

/// Totals of a socket since it was opened. Bytes are those of payloads.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_socket_counters {
    /// sizeof(qy_socket_counters), set by the caller.
    pub struct_size: usize,
    /// Messages received.
    pub messages_in: u64,
    /// Messages handed to the connection.
    pub messages_out: u64,
    /// Bytes of messages received.
    pub bytes_in: u64,
    /// Bytes of messages handed to the connection.
    pub bytes_out: u64,
    /// Received messages dropped because the queue was full.
    pub dropped: u64,
    /// Messages that were queued to be sent and lost with their connection.
    pub unsent: u64,
    /// Times the connection was restored.
    pub reconnects: u64,
    /// Messages that wait to be written now.
    pub queued: u64,
}

// SAFETY: `repr(C)`, begins with its size, integers only.
unsafe impl structs::Versioned for qy_socket_counters {}

impl Handle for qy_socket {
    const NAME: &'static str = "socket";
    fn head(&self) -> &Head {
        &self.head
    }
    fn failed(&self) {
        self.background.call_failed(self.socket.last_error());
    }
}

impl From<SocketCounters> for qy_socket_counters {
    fn from(counters: SocketCounters) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            messages_in: counters.messages_in,
            messages_out: counters.messages_out,
            bytes_in: counters.bytes_in,
            bytes_out: counters.bytes_out,
            dropped: counters.dropped,
            unsent: counters.unsent,
            reconnects: counters.reconnects,
            queued: counters.queued,
        }
    }
}

impl qy_socket_event {
    /// What C sees of `event`, valid while that lives.
    pub(super) fn view(event: &SocketEvent) -> Self {
        let (number, data): (i32, &[u8]) = match event {
            SocketEvent::Connected { protocol } => {
                (QY_EVENT_CONNECTED, protocol.as_deref().unwrap_or_default().as_bytes())
            }
            SocketEvent::Message { data, .. } => (QY_EVENT_MESSAGE, data),
            SocketEvent::Ping(data) => (QY_EVENT_PING, data),
            SocketEvent::Pong(data) => (QY_EVENT_PONG, data),
            SocketEvent::Disconnected { reason, .. } => (QY_EVENT_DISCONNECTED, reason.as_bytes()),
            SocketEvent::Error { error, .. } => (QY_EVENT_ERROR, error.text().as_bytes()),
            SocketEvent::Closed { reason } => (QY_EVENT_CLOSED, reason.as_bytes()),
        };
        let kind = match event {
            SocketEvent::Message { kind, .. } => *kind,
            SocketEvent::Ping(_) | SocketEvent::Pong(_) => MessageKind::Binary,
            _ => MessageKind::Text,
        };
        let (code, will_reconnect) = match event {
            SocketEvent::Disconnected { code, will_reconnect, .. } => {
                (i32::from(*code), *will_reconnect)
            }
            SocketEvent::Error { error, will_reconnect } => {
                (status::of(error.kind()), *will_reconnect)
            }
            _ => (0, false),
        };
        Self {
            struct_size: size_of::<Self>(),
            event: number,
            kind: kind_code(kind),
            data: data.as_ptr().cast(),
            len: data.len(),
            code,
            will_reconnect: i32::from(will_reconnect),
        }
    }
}

impl qy_socket_callbacks {
    fn of(&self, event: &SocketEvent) -> qy_socket_callback {
        match event {
            SocketEvent::Connected { .. } => self.connected,
            SocketEvent::Disconnected { .. } => self.disconnected,
            SocketEvent::Message { .. } => self.message,
            SocketEvent::Error { .. } => self.error,
            SocketEvent::Closed { .. } => self.closed,
            SocketEvent::Ping(_) => self.ping,
            SocketEvent::Pong(_) => self.pong,
        }
    }

    /// How the events reach these functions.
    fn delivery(
        self,
        delivery: i32,
        user_data: UserData,
    ) -> Result<Delivery<SocketEvent>, Failure> {
        let call = Box::new(move |event: &SocketEvent| {
            if let Some(function) = self.of(event) {
                let view = qy_socket_event::view(event);
                // SAFETY: the caller registered the function for this pointer; the view outlives
                // the call.
                unsafe { function(&view, user_data.pointer()) };
            }
        });
        match delivery {
            QY_DELIVER_THREAD => Ok(Delivery::Thread(call)),
            QY_DELIVER_INLINE => Ok(Delivery::Inline(call)),
            other => Err(Failure::parameter(format!(
                "'delivery' is {other}; it takes QY_DELIVER_THREAD (0) or QY_DELIVER_INLINE (1)"
            ))),
        }
    }
}

/// Makes a socket for `url` ("ws://HOST:PORT/PATH?QUERY" or "wss://..."); it does not connect yet.
/// `options` (or NULL for the defaults, otherwise of the kind QY_OPTIONS_SOCKET) and `callbacks`
/// stay the caller's. `delivery` is QY_DELIVER_THREAD or QY_DELIVER_INLINE. With NULL for
/// `callbacks` the program takes the events itself, with qy_socket_recv; `delivery` is then
/// QY_DELIVER_THREAD, and `drop` runs at once, since nothing uses `user_data`. `*out` is the
/// caller's, to be freed with qy_socket_free.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_URL, QY_ERR_INVALID_UTF8, QY_ERR_INVALID_OPTION, QY_ERR_IO,
/// QY_ERR_INVALID_ARGUMENT for other options, a delivery that does not exist, or a `struct_size` that
/// cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_open(
    url: *const c_char,
    options: *const qy_options,
    delivery: i32,
    callbacks: *const qy_socket_callbacks,
    user_data: *mut c_void,
    drop: qy_drop_callback,
    out: *mut *mut qy_socket,
) -> qy_status {
    let user_data = UserData::new(user_data, drop);
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_socket_open", || {
        // SAFETY: as above; NULL or NUL-terminated.
        let (out, url) = unsafe { (output(out, "out")?, text(url, "url")?) };
        let mut options = match options.is_null() {
            true => SocketOptions::default(),
            // SAFETY: a live object, by the header's rules.
            false => unsafe { object(options, "options") }?.socket()?,
        };
        let delivery = match (callbacks.is_null(), delivery) {
            (true, QY_DELIVER_THREAD) => Delivery::Pull,
            (true, other) => {
                return Err(Failure::parameter(format!(
                    "'delivery' is {other} and 'callbacks' is NULL; it takes QY_DELIVER_THREAD (0) \
                     then"
                )));
            }
            (false, delivery) => {
                // SAFETY: a struct of its `struct_size`, by the header's rules.
                let callbacks = unsafe { structs::read(callbacks, "callbacks") }?;
                options.control_events |= callbacks.ping.is_some() || callbacks.pong.is_some();
                callbacks.delivery(delivery, user_data)?
            }
        };
        let socket = Socket::open(url, options, delivery)?;
        let background = Background::default();
        *out = Box::into_raw(Box::new(qy_socket { head: Head::new(), socket, background }));
        Ok(())
    })
}

/// Begins to connect, unless it is connected or connecting, and waits until it is. With a
/// `timeout_ms` of 0 it does not wait: the callbacks tell. After QY_ERR_TIMEOUT the attempts go on;
/// after every other error there will be none, and its text says why the last one failed.
///
/// Threads: any. Blocks: at most `timeout_ms`. In callbacks: yes, but not on the I/O thread
/// (QY_DELIVER_INLINE), unless `timeout_ms` is 0.
/// Errors: QY_ERR_TIMEOUT, QY_ERR_CONNECT, QY_ERR_REFUSED, QY_ERR_PROTOCOL, QY_ERR_CLOSED,
/// QY_ERR_WOULD_DEADLOCK on the I/O thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_connect(socket: *mut qy_socket, timeout_ms: u32) -> qy_status {
    guard("qy_socket_connect", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(socket, "socket", |socket| {
                Ok(socket.socket.connect(Duration::from_millis(timeout_ms.into()))?)
            })
        }
    })
}

/// Ends the connection, or the attempts to make one. What was queued before is still written, if the
/// server takes it, then a Close with `code` (1000, or 3000 to 4999) and `reason` (at most 123
/// bytes; NULL is an empty one). qy_socket_connect connects again.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for another code or a longer reason, QY_ERR_INVALID_UTF8,
/// QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_disconnect(
    socket: *mut qy_socket,
    code: i32,
    reason: *const c_char,
) -> qy_status {
    guard("qy_socket_disconnect", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(socket, "socket", |socket| {
                let reason = if reason.is_null() { "" } else { text(reason, "reason")? };
                // What fits no u16 is no code either.
                let code = u16::try_from(code).unwrap_or_default();
                Ok(socket.socket.disconnect(code, reason)?)
            })
        }
    })
}

/// Tells where the socket stands: a QY_SOCKET_ constant.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_state(socket: *const qy_socket, out: *mut i32) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_socket_state", || {
        // SAFETY: as above; `socket` is NULL or live.
        unsafe {
            on_object(socket, "socket", |socket| {
                *output(out, "out")? = match socket.socket.state() {
                    SocketState::Disconnected => QY_SOCKET_DISCONNECTED,
                    SocketState::Connecting => QY_SOCKET_CONNECTING,
                    SocketState::Connected => QY_SOCKET_CONNECTED,
                    SocketState::Closed => QY_SOCKET_CLOSED,
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
pub unsafe extern "C" fn qy_socket_counters_get(
    socket: *const qy_socket,
    out: *mut qy_socket_counters,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard("qy_socket_counters_get", || {
        // SAFETY: as above; `socket` is NULL or live.
        unsafe {
            on_object(socket, "socket", |socket| {
                let size = structs::check(out, "out")?;
                structs::fill(out, size, &socket.socket.counters().into());
                Ok(())
            })
        }
    })
}

/// Queues a message. What one thread sends arrives in its order. `kind` is QY_TEXT or QY_BINARY;
/// `data` has `len` bytes and is copied.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CONNECT while it is not connected, QY_ERR_QUEUE_FULL when `send_queue_messages` or
/// `send_queue_bytes` wait, QY_ERR_INVALID_UTF8 for a text that is none, QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_send(
    socket: *mut qy_socket,
    kind: i32,
    data: *const c_void,
    len: usize,
) -> qy_status {
    guard("qy_socket_send", || {
        // SAFETY: NULL or live, `len` bytes, by the header's rules.
        unsafe {
            on_object(socket, "socket", |socket| {
                let data = bytes(data, len, "data")?;
                Ok(socket.socket.send(message_kind(kind)?, data)?)
            })
        }
    })
}

/// Queues a text that must be JSON: it is looked through, and sent as it is.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for what is no JSON (the text says where), and those of
/// qy_socket_send.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_send_json(
    socket: *mut qy_socket,
    json: *const c_char,
    len: usize,
) -> qy_status {
    guard("qy_socket_send_json", || {
        // SAFETY: NULL or live, `len` bytes, by the header's rules.
        unsafe {
            on_object(socket, "socket", |socket| {
                Ok(socket.socket.send_json(bytes(json.cast(), len, "json")?)?)
            })
        }
    })
}

/// Queues a ping with at most 125 bytes. The pong is told as QY_EVENT_PONG, with the option
/// `control_events`. The keep-alive (`ping_interval_ms`) needs no help.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for more bytes, QY_ERR_CONNECT, QY_ERR_QUEUE_FULL, QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_ping(
    socket: *mut qy_socket,
    data: *const c_void,
    len: usize,
) -> qy_status {
    guard("qy_socket_ping", || {
        // SAFETY: NULL or live, `len` bytes, by the header's rules.
        unsafe {
            on_object(socket, "socket", |socket| {
                Ok(socket.socket.ping(bytes(data, len, "data")?)?)
            })
        }
    })
}

/// Copies the text of the newest failure on this socket, of a call by any thread or of its work in
/// the background, into `buf`, as qy_last_error does; an empty text when there was none.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_last_error(
    socket: *const qy_socket,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_socket_last_error", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            let socket = object(socket, "socket")?;
            let text = socket.background.newest(socket.socket.last_error(), &socket.head.error);
            error::copy_out(&text, buf, cap, needed)
        }
    })
}

/// Closes the socket for good: what was queued is still written, as for qy_socket_disconnect. Calls
/// that wait return QY_ERR_CLOSED; a callback that runs finishes, and only the one that tells
/// QY_EVENT_CLOSED still comes. Safe to call again. The handle must still be freed.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_close(socket: *mut qy_socket) -> qy_status {
    guard("qy_socket_close", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(socket, "socket", |socket| {
                socket.socket.close();
                Ok(())
            })
        }
    })
}

/// Closes the socket and waits: when it has returned QY_OK, no callback runs or will run, and `drop`
/// has run.
///
/// Threads: any. Blocks: at most `timeout_ms`, for a callback that runs. In callbacks: yes, but
/// neither in one of this socket nor on the I/O thread (QY_DELIVER_INLINE).
/// Errors: QY_ERR_TIMEOUT when a callback still runs, QY_ERR_WOULD_DEADLOCK where it would wait for
/// its own caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_close_wait(
    socket: *mut qy_socket,
    timeout_ms: u32,
) -> qy_status {
    guard("qy_socket_close_wait", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(socket, "socket", |socket| {
                Ok(socket.socket.close_wait(Duration::from_millis(timeout_ms.into()))?)
            })
        }
    })
}

/// Frees a socket, after closing it; NULL is allowed. In a forked child it only forgets the parent's
/// socket.
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_socket_free(socket: *mut qy_socket) {
    guard_value((), || {
        // SAFETY: NULL or a live object that no other call uses, by the header's rules.
        unsafe { release(socket, |socket| socket.socket.close()) };
    });
}
