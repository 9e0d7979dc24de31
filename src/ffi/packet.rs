//! Packets
//!
//! The packet dialect on the server, by default on the path `/join?uid=U&type=T&device=D&source=S`:
//! one-way messages and requests, both ways, each with a protocol id that chooses its handler. A
//! connection's id is `U-T-D-S` and its user is `U`; one that comes with the id of another displaces
//! it.
//!
//! Handlers are called in order for each connection, one at a time. Calls for different connections
//! may come at the same time, on `delivery_threads` threads of the server; with the option at 1 there
//! is one call at a time. What waits for handlers is bounded by `delivery_bytes`: beyond it,
//! connections are not read. With QY_DELIVER_INLINE a handler runs on the thread that reads its
//! connections; there it must not block.
//!
//! A request whose protocol id has no handler is not answered, and times out at the client.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! static void on_echo(qy_connection *connection, uint32_t protocol, const void *data, size_t len,
//!                     qy_reply *reply, void *user_data) {
//!   qy_response *response = NULL;
//!   (void)user_data;
//!   // ask the client in turn, and wait: other connections go on
//!   if (qy_connection_request(connection, 2, "more?", 5, 1000, &response) == QY_OK)
//!     printf("%.*s\n", (int)qy_response_len(response), (const char *)qy_response_data(response));
//!   qy_response_free(response);
//!   if (reply != NULL) qy_reply_send(reply, protocol, data, len);
//! }
//!
//! static void on_event(qy_connection *connection, const qy_packet_event *event, void *user_data) {
//!   (void)user_data;
//!   if (event->event == QY_PACKET_ESTABLISHED) qy_connection_send_packet(connection, 3, "hi", 2);
//!   if (event->event == QY_PACKET_CLOSED) printf("closed with %d\n", (int)event->code);
//! }
//!
//! int main(void) {
//!   qy_server *server = NULL;
//!   if (qy_server_start(NULL, &server) != QY_OK) return 1;
//!   qy_server_on_packet(server, 1, QY_DELIVER_THREAD, on_echo, NULL, NULL);
//!   qy_server_on_packet_event(server, QY_DELIVER_THREAD, on_event, NULL, NULL);
//!   getchar();
//!   qy_server_free(server);
//!   return 0;
//! }
//! ```

use std::ffi::{c_char, c_void};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::callback::{UserData, qy_drop_callback};
use super::connection::qy_connection;
use super::error::{self, Failure, Outcome};
use super::guard::{bytes, clear, guard, on_object, output, text};
use super::request::{completion, qy_reply, qy_response, qy_response_callback};
use super::server::qy_server;
use super::status::*;
use super::structs;
use super::subscription::{QY_DELIVER_INLINE, QY_DELIVER_THREAD};
use crate::delivery::Mode;
use crate::server::dialect::packet::{Happening, Incoming, PacketCounters, Packets};

/// A connection is open, registered and bound to its user.
pub const QY_PACKET_ESTABLISHED: i32 = 1;
/// A connection ends and takes no more messages. It is registered until the callback returns.
pub const QY_PACKET_CLOSING: i32 = 2;
/// A connection is gone: its last event.
pub const QY_PACKET_CLOSED: i32 = 3;
/// A ping came, and was answered.
pub const QY_PACKET_PINGED: i32 = 4;
/// A pong came.
pub const QY_PACKET_PONGED: i32 = 5;

/// What happened to a connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_packet_event {
    /// The size of this struct in the library that made it.
    pub struct_size: usize,
    /// A QY_PACKET_ constant.
    pub event: i32,
    /// Of QY_PACKET_CLOSING and QY_PACKET_CLOSED: the WebSocket close code, 1006 for a connection
    /// that was lost, 3505 for one that was displaced. 0 otherwise.
    pub code: i32,
    /// Of these two: 1 when the peer began it. 0 otherwise.
    pub by_peer: i32,
    /// Of these two: why, UTF-8, not NUL-terminated, never NULL.
    pub reason: *const c_char,
    /// Its length in bytes.
    pub reason_len: usize,
}

/// What was counted of packets since the server started.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_packet_counters {
    /// sizeof(qy_packet_counters), set by the caller.
    pub struct_size: usize,
    /// One-way messages and requests that came.
    pub received: u64,
    /// Those of them whose protocol id had no handler.
    pub unhandled: u64,
    /// Connections closed for a packet that was none, or too large.
    pub refused: u64,
    /// Connections that another one with their id displaced.
    pub displaced: u64,
    /// Requests of the server that are under way now.
    pub in_flight: u64,
    /// Requests of the server whose time was over.
    pub timed_out: u64,
    /// Responses that nothing waited for, and that were dropped.
    pub late: u64,
}

// SAFETY: `repr(C)`, begins with its size, integers only.
unsafe impl structs::Versioned for qy_packet_counters {}

/// Receives a one-way message (`reply` is NULL) or a request, which it answers with qy_reply_send,
/// or later by means of qy_reply_clone. All arguments are valid until the call returns; `data` is
/// NULL when `len` is 0.
pub type qy_packet_callback = Option<
    unsafe extern "C" fn(
        connection: *mut qy_connection,
        protocol: u32,
        data: *const c_void,
        len: usize,
        reply: *mut qy_reply,
        user_data: *mut c_void,
    ),
>;

/// Sees what happens to a connection; the arguments are valid until it returns.
pub type qy_packet_event_callback = Option<
    unsafe extern "C" fn(
        connection: *mut qy_connection,
        event: *const qy_packet_event,
        user_data: *mut c_void,
    ),
>;

/// Runs for a connection whose pull channel was signalled; the handle is valid until it returns.
pub type qy_pull_callback = Option<
    unsafe extern "C" fn(connection: *mut qy_connection, channel: u32, user_data: *mut c_void),
>;

impl qy_packet_event {
    /// What C sees of `happening`, valid while that lives.
    fn view(happening: &Happening) -> Self {
        let (event, closure) = match happening {
            Happening::Established => (QY_PACKET_ESTABLISHED, None),
            Happening::Closing(closure) => (QY_PACKET_CLOSING, Some(closure)),
            Happening::Closed(closure) => (QY_PACKET_CLOSED, Some(closure)),
            Happening::Pinged => (QY_PACKET_PINGED, None),
            Happening::Ponged => (QY_PACKET_PONGED, None),
        };
        let reason = closure.map_or("", |closure| &closure.reason);
        Self {
            struct_size: size_of::<Self>(),
            event,
            code: closure.map_or(0, |closure| closure.code.into()),
            by_peer: closure.map_or(0, |closure| closure.by_peer.into()),
            reason: reason.as_ptr().cast(),
            reason_len: reason.len(),
        }
    }
}

impl From<PacketCounters> for qy_packet_counters {
    fn from(counters: PacketCounters) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            received: counters.received,
            unhandled: counters.unhandled,
            refused: counters.refused,
            displaced: counters.displaced,
            in_flight: counters.requests.in_flight,
            timed_out: counters.requests.timed_out,
            late: counters.requests.late,
        }
    }
}

pub(super) fn mode(delivery: i32) -> Outcome<Mode> {
    match delivery {
        QY_DELIVER_THREAD => Ok(Mode::Thread),
        QY_DELIVER_INLINE => Ok(Mode::Inline),
        other => Err(Failure::parameter(format!(
            "'delivery' is {other}; it takes QY_DELIVER_THREAD (0) or QY_DELIVER_INLINE (1)"
        ))),
    }
}

/// The packets of a connection's server.
fn packets(connection: &qy_connection) -> Outcome<Arc<Packets>> {
    Ok(Arc::clone(connection.service()?.packets()))
}

/// Calls `callback` for every one-way message and every request with this protocol id, in place of
/// what was registered for it before; NULL only removes that. `delivery` is QY_DELIVER_THREAD or
/// QY_DELIVER_INLINE. `drop` (or NULL) runs when the callback was replaced or removed, or the server
/// stopped, and no call of it runs or will run.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CLOSED when the server was stopped, QY_ERR_INVALID_ARGUMENT for a delivery that
/// does not exist.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_on_packet(
    server: *mut qy_server,
    protocol: u32,
    delivery: i32,
    callback: qy_packet_callback,
    user_data: *mut c_void,
    drop: qy_drop_callback,
) -> qy_status {
    let user_data = UserData::new(user_data, drop);
    guard("qy_server_on_packet", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let (service, mode) = (server.service()?, mode(delivery)?);
                let Some(callback) = callback else {
                    service.packets().off_packet(protocol);
                    return Ok(());
                };
                // Weak: what is registered does not keep the server.
                let weak = Arc::downgrade(service);
                service.packets().on_packet(protocol, mode, move |incoming| {
                    receive(&weak, incoming, callback, &user_data);
                });
                Ok(())
            })
        }
    })
}

/// Hands a packet to C.
fn receive(
    service: &Weak<crate::server::Service>,
    incoming: &Incoming<'_>,
    callback: unsafe extern "C" fn(
        *mut qy_connection,
        u32,
        *const c_void,
        usize,
        *mut qy_reply,
        *mut c_void,
    ),
    user_data: &UserData,
) {
    let connection = qy_connection::new(Weak::clone(service), Arc::clone(incoming.connection));
    let reply = incoming.reply.map(|reply| qy_reply::new(Arc::clone(reply)));
    let data = match incoming.data {
        [] => std::ptr::null(),
        data => data.as_ptr().cast(),
    };
    // SAFETY: the caller registered the function for this pointer; all arguments outlive the call.
    unsafe {
        callback(
            connection.lend(),
            incoming.protocol,
            data,
            incoming.data.len(),
            qy_reply::lend(reply.as_ref()),
            user_data.pointer(),
        );
    }
}

/// Calls `callback` for what happens to connections, in place of what was registered before; NULL
/// only removes that. `delivery` and `drop` are as in qy_server_on_packet.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: as qy_server_on_packet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_on_packet_event(
    server: *mut qy_server,
    delivery: i32,
    callback: qy_packet_event_callback,
    user_data: *mut c_void,
    drop: qy_drop_callback,
) -> qy_status {
    let user_data = UserData::new(user_data, drop);
    guard("qy_server_on_packet_event", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let (service, mode) = (server.service()?, mode(delivery)?);
                let Some(callback) = callback else {
                    service.packets().off_event();
                    return Ok(());
                };
                let weak = Arc::downgrade(service);
                service.packets().on_event(mode, move |connection, happening| {
                    let connection = qy_connection::new(Weak::clone(&weak), Arc::clone(connection));
                    let view = qy_packet_event::view(happening);
                    // The caller registered the function for this pointer; all arguments outlive
                    // the call.
                    callback(connection.lend(), &view, user_data.pointer());
                });
                Ok(())
            })
        }
    })
}

/// Calls `callback` on a thread of the server's callbacks for each connection whose pull channel
/// `channel` is signalled (qy_connection_signal_pull), in place of what was registered before; NULL
/// only removes that. `drop` is as in qy_server_on_packet.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CLOSED when the server was stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_on_pull(
    server: *mut qy_server,
    channel: u32,
    callback: qy_pull_callback,
    user_data: *mut c_void,
    drop: qy_drop_callback,
) -> qy_status {
    let user_data = UserData::new(user_data, drop);
    guard("qy_server_on_pull", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let service = server.service()?;
                let Some(callback) = callback else {
                    service.packets().off_pull(channel);
                    return Ok(());
                };
                let weak = Arc::downgrade(service);
                service.packets().on_pull(channel, move |connection, channel| {
                    let connection = qy_connection::new(Weak::clone(&weak), Arc::clone(connection));
                    // The caller registered the function for this pointer; the handle outlives the
                    // call.
                    callback(connection.lend(), channel, user_data.pointer());
                });
                Ok(())
            })
        }
    })
}

/// Reads the counters. Set `out->struct_size` first.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CLOSED when the server was stopped, QY_ERR_INVALID_ARGUMENT for a `struct_size`
/// that cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_packet_counters(
    server: *const qy_server,
    out: *mut qy_packet_counters,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard("qy_server_packet_counters", || {
        // SAFETY: as above; `server` is NULL or live.
        unsafe {
            on_object(server, "server", |server| {
                let size = structs::check(out, "out")?;
                structs::fill(out, size, &server.service()?.packets().counters().into());
                Ok(())
            })
        }
    })
}

/// Copies what a client of the packet dialect said about itself into `buf`, NUL-terminated and cut to
/// `cap` bytes: `key` is "uid", "type", "device", "source", "version" or "charset". `*needed` (or
/// NULL) becomes its size with the NUL. What the client left out is empty, its type "0".
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for another key and for a connection of another dialect,
/// QY_ERR_INVALID_UTF8, QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_packet_identity(
    connection: *const qy_connection,
    key: *const c_char,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_connection_packet_identity", || {
        // SAFETY: NULL or live, NULL or NUL-terminated; `buf` and `needed` as above.
        unsafe {
            on_object(connection, "connection", |connection| {
                let key = text(key, "key")?;
                let identity = Packets::identity(connection.connection()).ok_or_else(|| {
                    Failure::parameter("'connection' does not speak the packet dialect")
                })?;
                let value = match key {
                    "uid" => identity.uid,
                    "type" => identity.kind.to_string(),
                    "device" => identity.device,
                    "source" => identity.source,
                    "version" => identity.version,
                    "charset" => identity.charset,
                    other => {
                        return Err(Failure::parameter(format!(
                            "'key' is '{other}'; it takes uid, type, device, source, version or charset"
                        )));
                    }
                };
                error::copy_out(&value, buf, cap, needed)
            })
        }
    })
}

/// Sends a one-way message of `len` bytes, which are copied. What one thread sends to a connection
/// arrives in that order.
///
/// Threads: any. Blocks: only while the thread that writes to the client is far behind; never for a
/// slow client. In callbacks: yes.
/// Errors: QY_ERR_CLOSED, QY_ERR_TOO_LARGE over `packet_max_bytes`, QY_ERR_INVALID_ARGUMENT for a
/// connection of another dialect.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_send_packet(
    connection: *mut qy_connection,
    protocol: u32,
    data: *const c_void,
    len: usize,
) -> qy_status {
    guard("qy_connection_send_packet", || {
        // SAFETY: NULL or live, `len` bytes, by the header's rules.
        unsafe {
            on_object(connection, "connection", |connection| {
                let data = bytes(data, len, "data")?;
                Ok(packets(connection)?.send(connection.connection(), protocol, data)?)
            })
        }
    })
}

/// Makes a request of `len` bytes, which are copied, and waits for the response. `*out` is the
/// caller's, to be freed with qy_response_free.
///
/// Threads: any. Blocks: at most `timeout_ms`. In callbacks: yes, also about the same connection, but
/// not with QY_DELIVER_INLINE.
/// Errors: QY_ERR_TIMEOUT, QY_ERR_CLOSED, QY_ERR_TOO_LARGE, QY_ERR_QUEUE_FULL when a million requests
/// to this client are under way, QY_ERR_INVALID_ARGUMENT for a connection of another dialect,
/// QY_ERR_WOULD_DEADLOCK in an inline callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_request(
    connection: *mut qy_connection,
    protocol: u32,
    data: *const c_void,
    len: usize,
    timeout_ms: u32,
    out: *mut *mut qy_response,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_connection_request", || {
        // SAFETY: as above; NULL or live, `len` bytes.
        unsafe {
            on_object(connection, "connection", |connection| {
                let (out, data) = (output(out, "out")?, bytes(data, len, "data")?);
                let timeout = Duration::from_millis(timeout_ms.into());
                let packets = packets(connection)?;
                let target = connection.connection();
                let response = packets.request_and_wait(target, protocol, data, timeout)?;
                *out = qy_response::give(response);
                Ok(())
            })
        }
    })
}

/// Makes a request of `len` bytes, which are copied, and returns. If it succeeds, `callback` is called
/// exactly once: with the response, after `timeout_ms`, or when the connection is closed. `delivery`
/// is QY_DELIVER_THREAD, in the connection's order, or QY_DELIVER_INLINE, on whichever thread of the
/// library ends the request. `drop` (or NULL) runs after the call, or before this function returns an
/// error.
///
/// Threads: any. Blocks: as qy_connection_send_packet. In callbacks: yes.
/// Errors: QY_ERR_CLOSED, QY_ERR_TOO_LARGE, QY_ERR_QUEUE_FULL when a million requests to this client
/// are under way, QY_ERR_INVALID_ARGUMENT for a connection of another dialect and for a delivery that
/// does not exist.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_request_async(
    connection: *mut qy_connection,
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
    guard("qy_connection_request_async", || {
        // SAFETY: NULL or live, `len` bytes, by the header's rules.
        unsafe {
            on_object(connection, "connection", |connection| {
                let (data, mode) = (bytes(data, len, "data")?, mode(delivery)?);
                let complete = completion(callback, user_data)?;
                let timeout = Duration::from_millis(timeout_ms.into());
                let target = connection.connection();
                let packets = packets(connection)?;
                Ok(packets.request(target, protocol, data, timeout, mode, complete)?)
            })
        }
    })
}

/// Makes the callback of a pull channel run for this connection: once, however often it is signalled
/// before that run begins. A signal during the run makes another one.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND when the pull channel has no callback, QY_ERR_CLOSED,
/// QY_ERR_INVALID_ARGUMENT for a connection of another dialect.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_signal_pull(
    connection: *mut qy_connection,
    channel: u32,
) -> qy_status {
    guard("qy_connection_signal_pull", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(connection, "connection", |connection| {
                packets(connection)?.signal(connection.connection(), channel)?;
                Ok(())
            })
        }
    })
}
