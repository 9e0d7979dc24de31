//! Packet client
//!
//! The packet dialect on the client: one-way messages and requests, both ways, each with a protocol
//! id that chooses its handler. A new client does not connect: handlers are registered first, then
//! qy_packet_client_connect. It comes back by itself when the connection is lost, except after another
//! connection with its id has displaced it.
//!
//! Its options are a socket's (QY_OPTIONS_SOCKET). Callbacks run on the client's delivery thread, one
//! at a time and in order. Responses do not wait in that line: a callback may make a request and
//! wait for it.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! static void on_question(uint32_t protocol, const void *data, size_t len, qy_reply *reply,
//!                         void *user_data) {
//!   (void)user_data;
//!   if (reply != NULL) qy_reply_send(reply, protocol, data, len); // NULL: a one-way message
//! }
//!
//! static void on_event(const qy_packet_client_event *event, void *user_data) {
//!   (void)user_data;
//!   if (event->event == QY_PACKET_DISPLACED)
//!     printf("displaced from %.*s\n", (int)event->new_ip_len, (const char *)event->new_ip);
//! }
//!
//! int main(void) {
//!   qy_packet_client *client = NULL;
//!   qy_response *response = NULL;
//!   qy_packet_identity identity = {0};
//!   identity.struct_size = sizeof identity;
//!   identity.uid = "100";
//!   identity.device = "phone";
//!   if (qy_packet_client_open("localhost:8000", &identity, NULL, &client) != QY_OK) return 1;
//!   qy_packet_client_on_packet(client, 1, QY_DELIVER_THREAD, on_question, NULL, NULL);
//!   qy_packet_client_on_event(client, QY_DELIVER_THREAD, on_event, NULL, NULL);
//!   if (qy_packet_client_connect(client, 5000) == QY_OK &&
//!       qy_packet_client_request(client, 1, "hello", 5, 1000, &response) == QY_OK)
//!     printf("%.*s\n", (int)qy_response_len(response), (const char *)qy_response_data(response));
//!   qy_response_free(response);
//!   qy_packet_client_free(client);
//!   return qy_shutdown(1000) == QY_OK ? 0 : 1;
//! }
//! ```

use std::ffi::{c_char, c_void};
use std::time::Duration;

use super::callback::{UserData, qy_drop_callback};
use super::error::{self, Background, Outcome};
use super::guard::{
    Handle, Head, clear, guard, guard_value, object, on_object, output, release, text,
};
use super::options::qy_options;
use super::packet::{
    QY_PACKET_CLOSED, QY_PACKET_CLOSING, QY_PACKET_ESTABLISHED, QY_PACKET_PINGED, QY_PACKET_PONGED,
    mode,
};
use super::request::qy_reply;
use super::socket::{
    QY_SOCKET_CLOSED, QY_SOCKET_CONNECTED, QY_SOCKET_CONNECTING, QY_SOCKET_DISCONNECTED,
};
use super::status::{self, *};
use super::structs;
use crate::client::{
    PacketClient, PacketClientCounters, PacketHappening, PacketIncoming, SocketOptions, SocketState,
};
use crate::wire::packet::Identity;

/// Another connection with the client's id displaced it. Its end follows, and no reconnection.
pub const QY_PACKET_DISPLACED: i32 = 6;
/// An attempt to connect failed.
pub const QY_PACKET_FAILED: i32 = 7;

/// A client of the packet dialect.
pub struct qy_packet_client {
    head: Head,
    pub(super) client: PacketClient,
    background: Background,
}

/// Who a packet client says it is. Its connection's id at the server is `uid-type-device-source`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_packet_identity {
    /// sizeof(qy_packet_identity), set by the caller.
    pub struct_size: usize,
    /// The user; not empty.
    pub uid: *const c_char,
    /// The device; NULL is empty.
    pub device: *const c_char,
    /// Where the client comes from; NULL is empty.
    pub source: *const c_char,
    /// The client's version; NULL is empty. Not part of the id.
    pub version: *const c_char,
    /// The client's character set; NULL is empty. Not part of the id.
    pub charset: *const c_char,
    /// The kind of client.
    pub r#type: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size, integers and raw pointers only.
unsafe impl structs::Versioned for qy_packet_identity {}

/// What happened to a packet client's connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_packet_client_event {
    /// The size of this struct in the library that made it.
    pub struct_size: usize,
    /// QY_PACKET_ESTABLISHED, QY_PACKET_CLOSING, QY_PACKET_CLOSED, QY_PACKET_PINGED,
    /// QY_PACKET_PONGED, QY_PACKET_DISPLACED or QY_PACKET_FAILED.
    pub event: i32,
    /// Of QY_PACKET_CLOSING and QY_PACKET_CLOSED: the close code; 1006 when there was no Close, 1005
    /// when that had no code. Of QY_PACKET_FAILED: the status. 0 otherwise.
    pub code: i32,
    /// Of these three: 1 when it is tried again, else 0.
    pub will_reconnect: i32,
    /// 0.
    pub reserved: i32,
    /// Of these three: why, UTF-8. Not NUL-terminated, never NULL.
    pub reason: *const c_char,
    /// Its length in bytes.
    pub reason_len: usize,
    /// Of QY_PACKET_DISPLACED: the address of this client, as the server saw it. Not NUL-terminated,
    /// never NULL.
    pub old_ip: *const c_void,
    /// Its length in bytes.
    pub old_ip_len: usize,
    /// Of QY_PACKET_DISPLACED: the address of the other. Not NUL-terminated, never NULL.
    pub new_ip: *const c_void,
    /// Its length in bytes.
    pub new_ip_len: usize,
    /// Of QY_PACKET_DISPLACED: when, in ns since the Unix epoch.
    pub ts: i64,
}

/// Totals of a packet client since it was opened. Bytes are those of packets.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_packet_client_counters {
    /// sizeof(qy_packet_client_counters), set by the caller.
    pub struct_size: usize,
    /// Packets received, responses included.
    pub packets_in: u64,
    /// Packets handed to the connection.
    pub packets_out: u64,
    /// Bytes of packets received.
    pub bytes_in: u64,
    /// Bytes of packets handed to the connection.
    pub bytes_out: u64,
    /// One-way messages and requests that came.
    pub received: u64,
    /// Those of them whose protocol id had no handler.
    pub unhandled: u64,
    /// Packets dropped because the queue to the callbacks was full.
    pub dropped: u64,
    /// Packets that were queued to be sent and lost with their connection.
    pub unsent: u64,
    /// Times the connection was restored.
    pub reconnects: u64,
    /// Requests under way now.
    pub in_flight: u64,
    /// Requests whose time was over.
    pub timed_out: u64,
    /// Responses that nothing waited for, and that were dropped.
    pub late: u64,
}

// SAFETY: `repr(C)`, begins with its size, integers only.
unsafe impl structs::Versioned for qy_packet_client_counters {}

/// Receives a one-way message (`reply` is NULL) or a request, which it answers with qy_reply_send,
/// or later by means of qy_reply_clone. All arguments are valid until the call returns; `data` is
/// NULL when `len` is 0.
pub type qy_packet_client_callback = Option<
    unsafe extern "C" fn(
        protocol: u32,
        data: *const c_void,
        len: usize,
        reply: *mut qy_reply,
        user_data: *mut c_void,
    ),
>;

/// Sees what happens to the connection; the event is valid until it returns.
pub type qy_packet_client_event_callback =
    Option<unsafe extern "C" fn(event: *const qy_packet_client_event, user_data: *mut c_void)>;

/// Runs after a pull channel was signalled.
pub type qy_packet_client_pull_callback =
    Option<unsafe extern "C" fn(channel: u32, user_data: *mut c_void)>;

impl Handle for qy_packet_client {
    const NAME: &'static str = "packet client";
    fn head(&self) -> &Head {
        &self.head
    }
    fn failed(&self) {
        self.background.call_failed(self.client.last_error());
    }
}

impl From<PacketClientCounters> for qy_packet_client_counters {
    fn from(counters: PacketClientCounters) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            packets_in: counters.socket.messages_in,
            packets_out: counters.socket.messages_out,
            bytes_in: counters.socket.bytes_in,
            bytes_out: counters.socket.bytes_out,
            received: counters.received,
            unhandled: counters.unhandled,
            dropped: counters.socket.dropped,
            unsent: counters.socket.unsent,
            reconnects: counters.socket.reconnects,
            in_flight: counters.requests.in_flight,
            timed_out: counters.requests.timed_out,
            late: counters.requests.late,
        }
    }
}

impl qy_packet_client_event {
    /// What C sees of `happening`, valid while that lives.
    fn view(happening: &PacketHappening) -> Self {
        let (event, code, again, reason) = match happening {
            PacketHappening::Established => (QY_PACKET_ESTABLISHED, 0, false, ""),
            PacketHappening::Closing { code, reason, will_reconnect } => {
                (QY_PACKET_CLOSING, i32::from(*code), *will_reconnect, &**reason)
            }
            PacketHappening::Closed { code, reason, will_reconnect } => {
                (QY_PACKET_CLOSED, i32::from(*code), *will_reconnect, &**reason)
            }
            PacketHappening::Pinged => (QY_PACKET_PINGED, 0, false, ""),
            PacketHappening::Ponged => (QY_PACKET_PONGED, 0, false, ""),
            PacketHappening::Displaced { .. } => (QY_PACKET_DISPLACED, 0, false, ""),
            PacketHappening::Failed { error, will_reconnect } => {
                (QY_PACKET_FAILED, status::of(error.kind()), *will_reconnect, error.text())
            }
        };
        let (old_ip, new_ip, ts): (&[u8], &[u8], i64) = match happening {
            PacketHappening::Displaced { old_ip, new_ip, ts } => (old_ip, new_ip, *ts),
            _ => (b"", b"", 0),
        };
        Self {
            struct_size: size_of::<Self>(),
            event,
            code,
            will_reconnect: i32::from(again),
            reserved: 0,
            reason: reason.as_ptr().cast(),
            reason_len: reason.len(),
            old_ip: old_ip.as_ptr().cast(),
            old_ip_len: old_ip.len(),
            new_ip: new_ip.as_ptr().cast(),
            new_ip_len: new_ip.len(),
            ts,
        }
    }
}

/// Reads who a client is to be.
///
/// # Safety
/// `identity` is NULL or a struct of its `struct_size` whose texts are NULL or NUL-terminated.
unsafe fn identity(identity: *const qy_packet_identity) -> Outcome<Identity> {
    // SAFETY: the caller's.
    let identity = unsafe { structs::read(identity, "identity") }?;
    let optional = |pointer: *const c_char, name: &str| match pointer.is_null() {
        true => Ok(String::new()),
        // SAFETY: not NULL, so NUL-terminated.
        false => unsafe { text(pointer, name) }.map(str::to_owned),
    };
    Ok(Identity {
        uid: optional(identity.uid, "identity->uid")?,
        kind: identity.r#type,
        device: optional(identity.device, "identity->device")?,
        source: optional(identity.source, "identity->source")?,
        version: optional(identity.version, "identity->version")?,
        charset: optional(identity.charset, "identity->charset")?,
    })
}

/// Makes a client of the server at `host` ("localhost:8000", or a URL, whose path stands for "/join")
/// that says it is `identity`; it does not connect yet. `options` (or NULL for the defaults, otherwise
/// of the kind QY_OPTIONS_SOCKET) stay the caller's. `*out` is the caller's, to be freed with
/// qy_packet_client_free.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_URL, QY_ERR_INVALID_UTF8, QY_ERR_INVALID_OPTION, QY_ERR_IO,
/// QY_ERR_INVALID_ARGUMENT for an identity without a uid or with control characters, for other
/// options, and for a `struct_size` that cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_open(
    host: *const c_char,
    identity: *const qy_packet_identity,
    options: *const qy_options,
    out: *mut *mut qy_packet_client,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_packet_client_open", || {
        // SAFETY: as above; NULL or NUL-terminated; NULL or a struct of its `struct_size`.
        let (out, host, identity) =
            unsafe { (output(out, "out")?, text(host, "host")?, self::identity(identity)?) };
        let options = match options.is_null() {
            true => SocketOptions::default(),
            // SAFETY: a live object, by the header's rules.
            false => unsafe { object(options, "options") }?.socket()?,
        };
        let client = PacketClient::open(host, &identity, options)?;
        let background = Background::default();
        *out = Box::into_raw(Box::new(qy_packet_client { head: Head::new(), client, background }));
        Ok(())
    })
}

/// Calls `callback` for every one-way message and every request with this protocol id, in place of
/// what was registered for it before; NULL only removes that. `delivery` is QY_DELIVER_THREAD or
/// QY_DELIVER_INLINE. `drop` (or NULL) runs when the callback was replaced or removed, or the client
/// closed, and no call of it runs or will run.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for a delivery that does not exist.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_on_packet(
    client: *mut qy_packet_client,
    protocol: u32,
    delivery: i32,
    callback: qy_packet_client_callback,
    user_data: *mut c_void,
    drop: qy_drop_callback,
) -> qy_status {
    let user_data = UserData::new(user_data, drop);
    guard("qy_packet_client_on_packet", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                let mode = mode(delivery)?;
                let Some(callback) = callback else {
                    client.client.off_packet(protocol)?;
                    return Ok(());
                };
                let receive = move |incoming: &PacketIncoming<'_>| {
                    let reply = incoming.reply.map(|reply| qy_reply::new(reply.clone()));
                    let data = match incoming.data {
                        [] => std::ptr::null(),
                        data => data.as_ptr().cast(),
                    };
                    let (len, reply) = (incoming.data.len(), qy_reply::lend(reply.as_ref()));
                    // The caller registered the function for this pointer; all arguments outlive
                    // the call.
                    callback(incoming.protocol, data, len, reply, user_data.pointer());
                };
                Ok(client.client.on_packet(protocol, mode, receive)?)
            })
        }
    })
}

/// Calls `callback` for what happens to the connection, in place of what was registered before; NULL
/// only removes that. `delivery` and `drop` are as in qy_packet_client_on_packet.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: as qy_packet_client_on_packet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_on_event(
    client: *mut qy_packet_client,
    delivery: i32,
    callback: qy_packet_client_event_callback,
    user_data: *mut c_void,
    drop: qy_drop_callback,
) -> qy_status {
    let user_data = UserData::new(user_data, drop);
    guard("qy_packet_client_on_event", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                let mode = mode(delivery)?;
                let Some(callback) = callback else {
                    client.client.off_event()?;
                    return Ok(());
                };
                let tell = move |happening: &PacketHappening| {
                    let view = qy_packet_client_event::view(happening);
                    // The caller registered the function for this pointer; the view outlives the
                    // call.
                    callback(&view, user_data.pointer());
                };
                Ok(client.client.on_event(mode, tell)?)
            })
        }
    })
}

/// Calls `callback` on the delivery thread when the pull channel `channel` was signalled
/// (qy_packet_client_signal_pull), in place of what was registered before; NULL only removes that.
/// `drop` is as in qy_packet_client_on_packet.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_on_pull(
    client: *mut qy_packet_client,
    channel: u32,
    callback: qy_packet_client_pull_callback,
    user_data: *mut c_void,
    drop: qy_drop_callback,
) -> qy_status {
    let user_data = UserData::new(user_data, drop);
    guard("qy_packet_client_on_pull", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                let Some(callback) = callback else {
                    client.client.off_pull(channel)?;
                    return Ok(());
                };
                // The caller registered the function for this pointer.
                let run = move |channel| callback(channel, user_data.pointer());
                Ok(client.client.on_pull(channel, run)?)
            })
        }
    })
}

/// Begins to connect, unless it is connected or connecting, and waits until it is; as
/// qy_socket_connect.
///
/// Threads: any. Blocks: at most `timeout_ms`. In callbacks: yes, but not on the I/O thread
/// (QY_DELIVER_INLINE), unless `timeout_ms` is 0.
/// Errors: as qy_socket_connect.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_connect(
    client: *mut qy_packet_client,
    timeout_ms: u32,
) -> qy_status {
    guard("qy_packet_client_connect", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                Ok(client.client.connect(Duration::from_millis(timeout_ms.into()))?)
            })
        }
    })
}

/// Ends the connection, or the attempts to make one, as qy_socket_disconnect. Requests under way end
/// with QY_ERR_CLOSED.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: as qy_socket_disconnect.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_disconnect(
    client: *mut qy_packet_client,
    code: i32,
    reason: *const c_char,
) -> qy_status {
    guard("qy_packet_client_disconnect", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                let reason = if reason.is_null() { "" } else { text(reason, "reason")? };
                // What fits no u16 is no code either.
                let code = u16::try_from(code).unwrap_or_default();
                Ok(client.client.disconnect(code, reason)?)
            })
        }
    })
}

/// Tells where the client stands: a QY_SOCKET_ constant.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_state(
    client: *const qy_packet_client,
    out: *mut i32,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_packet_client_state", || {
        // SAFETY: as above; `client` is NULL or live.
        unsafe {
            on_object(client, "client", |client| {
                *output(out, "out")? = match client.client.state() {
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
pub unsafe extern "C" fn qy_packet_client_counters_get(
    client: *const qy_packet_client,
    out: *mut qy_packet_client_counters,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard("qy_packet_client_counters_get", || {
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

/// Copies the text of the newest failure on this client, of a call by any thread or of its work in
/// the background, into `buf`, as qy_last_error does; an empty text when there was none.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_last_error(
    client: *const qy_packet_client,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_packet_client_last_error", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            let client = object(client, "client")?;
            let text = client.background.newest(client.client.last_error(), &client.head.error);
            error::copy_out(&text, buf, cap, needed)
        }
    })
}

/// Closes the client for good: requests under way end with QY_ERR_CLOSED, the end of the connection
/// is told, and nothing is called after that. Safe to call again. The handle must still be freed.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_close(client: *mut qy_packet_client) -> qy_status {
    guard("qy_packet_client_close", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                client.client.close();
                Ok(())
            })
        }
    })
}

/// Closes the client and waits: when it has returned QY_OK, no callback runs or will run, and each
/// `drop` has run.
///
/// Threads: any. Blocks: at most `timeout_ms`, for callbacks that run. In callbacks: yes, but neither
/// in one of this client nor on the I/O thread (QY_DELIVER_INLINE).
/// Errors: QY_ERR_TIMEOUT when a callback still runs, QY_ERR_WOULD_DEADLOCK where it would wait for
/// its own caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_close_wait(
    client: *mut qy_packet_client,
    timeout_ms: u32,
) -> qy_status {
    guard("qy_packet_client_close_wait", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(client, "client", |client| {
                Ok(client.client.close_wait(Duration::from_millis(timeout_ms.into()))?)
            })
        }
    })
}

/// Frees a client, after closing it; NULL is allowed. In a forked child it only forgets the parent's
/// client.
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_packet_client_free(client: *mut qy_packet_client) {
    guard_value((), || {
        // SAFETY: NULL or a live object that no other call uses, by the header's rules.
        unsafe { release(client, |client| client.client.close()) };
    });
}
