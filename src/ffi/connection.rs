//! Connections
//!
//! A connection is one client of an endpoint, and of the dialects in which a client has a name: where
//! it came from, who it is, what is kept for it, and the way to it from any thread.
//!
//! A callback is lent its connection until it returns. To keep it, clone it; a clone refers to the
//! same connection, stays usable when that is closed, and is freed with qy_connection_free.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! // a message callback, of the endpoints section
//! static void on_message(qy_connection *connection, int32_t kind, const void *data, size_t len,
//!                        void *user_data) {
//!   char id[64], agent[256];
//!   (void)user_data;
//!   qy_connection_id(connection, id, sizeof id, NULL);
//!   if (qy_connection_header(connection, "user-agent", agent, sizeof agent, NULL) == QY_OK)
//!     printf("%s: %s\n", id, agent);
//!   qy_connection_send(connection, kind, data, len); // back to where it came from
//! }
//!
//! int main(void) {
//!   qy_server *server = NULL;
//!   qy_endpoint_callbacks callbacks = {0};
//!   callbacks.struct_size = sizeof callbacks;
//!   callbacks.message = on_message;
//!   if (qy_server_start(NULL, &server) != QY_OK) return 1;
//!   qy_server_handle(server, "/echo", NULL, &callbacks, QY_DELIVER_THREAD, NULL, NULL);
//!   getchar();
//!   qy_server_free(server);
//!   return 0;
//! }
//! ```

use std::ffi::{c_char, c_void};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use super::error::{self, Failure, Outcome};
use super::guard::{
    Handle, Head, bytes, clear, guard, guard_anywhere, guard_value, object, on_object, output,
    release, text,
};
use super::message::payload_kind;
use super::status::*;
use super::structs;
use crate::hub::Connection;
use crate::server::Service;
use crate::wire::Dialect;
use crate::wire::http::RequestHead;

/// The connection speaks the session dialect.
pub const QY_DIALECT_SESSION: i32 = 1;
/// The connection speaks the packet dialect.
pub const QY_DIALECT_PACKET: i32 = 2;
/// The connection speaks the gateway dialect.
pub const QY_DIALECT_GATEWAY: i32 = 3;
/// The program handles the connection's messages: see the endpoints section.
pub const QY_DIALECT_HOST: i32 = 4;
/// The connection speaks the stream protocol: a client subscribes to patterns or watches who is there.
pub const QY_DIALECT_STREAM: i32 = 5;

/// A connection of a server.
pub struct qy_connection {
    head: Head,
    /// Weak: a handle that is kept does not keep a server, nor what is registered there.
    service: Weak<Service>,
    connection: Arc<Connection>,
}

/// What is known of a connection at one moment, in numbers; functions of their own tell the texts.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_connection_info {
    /// sizeof(qy_connection_info), set by whoever provides the struct.
    pub struct_size: usize,
    /// A number that no other connection of the server ever has, unlike an id.
    pub serial: u64,
    /// A QY_DIALECT_ constant.
    pub dialect: i32,
    /// 1 while it is open, else 0.
    pub is_open: i32,
    /// When it connected, in ms since the Unix epoch.
    pub connected_ms: u64,
    /// For how long it has been, or was, connected, in ms.
    pub uptime_ms: u64,
    /// Bytes read from its socket.
    pub bytes_in: u64,
    /// Bytes written to its socket, or waiting to be.
    pub bytes_out: u64,
    /// Messages that came from it.
    pub messages_in: u64,
    /// Messages sent to it.
    pub messages_out: u64,
    /// The channels that it is in.
    pub channels: u64,
}

// SAFETY: `repr(C)`, begins with its size, integers only.
unsafe impl structs::Versioned for qy_connection_info {}

/// Sees one header field of a request. Neither text is NUL-terminated; both are valid until it
/// returns. A value may be any bytes.
pub type qy_header_visitor = Option<
    unsafe extern "C" fn(
        name: *const c_char,
        name_len: usize,
        value: *const c_char,
        value_len: usize,
        user_data: *mut c_void,
    ),
>;

impl Handle for qy_connection {
    const NAME: &'static str = "connection";
    fn head(&self) -> &Head {
        &self.head
    }
}

impl qy_connection {
    pub(super) fn new(service: Weak<Service>, connection: Arc<Connection>) -> Self {
        Self { head: Head::new(), service, connection }
    }

    /// What C is lent for the time of a callback.
    pub(super) fn lend(&self) -> *mut Self {
        std::ptr::from_ref(self).cast_mut()
    }

    /// What C is given to keep.
    pub(super) fn give(self) -> *mut Self {
        Box::into_raw(Box::new(self))
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The operations of its server, unless that was freed.
    pub(super) fn service(&self) -> Outcome<Arc<Service>> {
        self.service
            .upgrade()
            .ok_or_else(|| Failure::new(QY_ERR_CLOSED, "the connection's server was freed"))
    }

    /// What is known of the connection now.
    pub(super) fn info(&self) -> qy_connection_info {
        let (connection, traffic) = (&self.connection, self.connection.traffic());
        qy_connection_info {
            struct_size: size_of::<qy_connection_info>(),
            serial: connection.serial(),
            dialect: dialect_code(connection.dialect()),
            is_open: i32::from(!connection.is_closed()),
            connected_ms: connection.connected_ms(),
            uptime_ms: connection.uptime_ms(),
            bytes_in: traffic.bytes_in.load(Relaxed),
            bytes_out: traffic.bytes_out.load(Relaxed),
            messages_in: traffic.messages_in.load(Relaxed),
            messages_out: traffic.messages_out.load(Relaxed),
            channels: connection.last_channels().len() as u64,
        }
    }
}

/// The number that C knows a dialect by.
pub(super) fn dialect_code(dialect: Dialect) -> i32 {
    match dialect {
        Dialect::Session => QY_DIALECT_SESSION,
        Dialect::Packet => QY_DIALECT_PACKET,
        Dialect::Gateway => QY_DIALECT_GATEWAY,
        Dialect::Host => QY_DIALECT_HOST,
        Dialect::Stream => QY_DIALECT_STREAM,
    }
}

/// The text of a header field; what is not UTF-8 in it is replaced.
pub(super) fn header(head: &RequestHead, name: &str) -> Outcome<String> {
    head.header_text(name).ok_or_else(|| {
        let name = name.escape_debug();
        Failure::new(QY_ERR_NOT_FOUND, format!("the request has no header field '{name}'"))
    })
}

/// Shows all header fields to a visitor.
///
/// # Safety
/// The visitor may be called with `user_data`.
pub(super) unsafe fn visit_headers(
    head: &RequestHead,
    visitor: qy_header_visitor,
    user_data: *mut c_void,
) -> Outcome {
    let visit = visitor.ok_or_else(|| Failure::null("visitor"))?;
    for (name, value) in head.headers() {
        // SAFETY: the caller's; the texts outlive the call.
        unsafe {
            visit(name.as_ptr().cast(), name.len(), value.as_ptr().cast(), value.len(), user_data);
        }
    }
    Ok(())
}

/// Makes another handle of the same connection. `*out` is the caller's, to be freed with
/// qy_connection_free.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_clone(
    connection: *const qy_connection,
    out: *mut *mut qy_connection,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_connection_clone", || {
        // SAFETY: as above; `connection` is NULL or live.
        unsafe {
            on_object(connection, "connection", |connection| {
                // First: what is made without a place for it would be lost.
                let out = output(out, "out")?;
                let same = Arc::clone(&connection.connection);
                *out = qy_connection::new(connection.service.clone(), same).give();
                Ok(())
            })
        }
    })
}

/// Frees a handle that qy_connection_clone or qy_server_find_connection gave out, not one that a
/// callback was lent; NULL is allowed. The connection itself goes on.
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_free(connection: *mut qy_connection) {
    guard_value((), || {
        // SAFETY: NULL or a live object that no other call uses, by the header's rules.
        unsafe { release(connection, |_| ()) }
    });
}

/// Copies the id into `buf`, as qy_last_error does: a UUID, unless the dialect or the program gave it
/// another.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_id(
    connection: *const qy_connection,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_connection_id", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            on_object(connection, "connection", |connection| {
                error::copy_out(connection.connection.id(), buf, cap, needed)
            })
        }
    })
}

/// Copies the address of the client, "HOST:PORT", into `buf`, as qy_last_error does. Behind a proxy
/// of `trusted_proxies` it is the one that the proxy tells, with port 0 if it tells none.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_remote(
    connection: *const qy_connection,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_connection_remote", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            on_object(connection, "connection", |connection| {
                error::copy_out(&connection.connection.remote().to_string(), buf, cap, needed)
            })
        }
    })
}

/// Copies the path that the client connected to, as it was sent and without the query, into `buf`,
/// as qy_last_error does.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_path(
    connection: *const qy_connection,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_connection_path", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            on_object(connection, "connection", |connection| {
                error::copy_out(connection.connection.path(), buf, cap, needed)
            })
        }
    })
}

/// Copies what followed the '?' of the path, percent-encoded, into `buf`, as qy_last_error does; an
/// empty text when there was none.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_query(
    connection: *const qy_connection,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_connection_query", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            on_object(connection, "connection", |connection| {
                let target = connection.connection.request().target();
                let query = target.split_once('?').map_or("", |(_, query)| query);
                error::copy_out(query, buf, cap, needed)
            })
        }
    })
}

/// Copies the first header field called `name`, whatever its case, of the request that the client
/// came with into `buf`, as qy_last_error does; "user-agent" is one of them.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND, QY_ERR_BUFFER_TOO_SMALL, QY_ERR_INVALID_UTF8 for `name`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_header(
    connection: *const qy_connection,
    name: *const c_char,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_connection_header", || {
        // SAFETY: NULL or live, NULL or NUL-terminated; `buf` and `needed` as above.
        unsafe {
            on_object(connection, "connection", |connection| {
                let value = header(connection.connection.request(), text(name, "name")?)?;
                error::copy_out(&value, buf, cap, needed)
            })
        }
    })
}

/// Calls `visitor` for each header field of the request that the client came with, in their order, on
/// this stack, before it returns.
///
/// Threads: any. Blocks: only in the visitor. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_list_headers(
    connection: *const qy_connection,
    visitor: qy_header_visitor,
    user_data: *mut c_void,
) -> qy_status {
    guard("qy_connection_list_headers", || {
        // SAFETY: NULL or live; the caller passed the function for this pointer.
        unsafe {
            on_object(connection, "connection", |connection| {
                // The handle may be freed by the visitor.
                let connection = Arc::clone(&connection.connection);
                visit_headers(connection.request(), visitor, user_data)
            })
        }
    })
}

/// Tells the numbers of a connection. Set `out->struct_size` first.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_info_get(
    connection: *const qy_connection,
    out: *mut qy_connection_info,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard("qy_connection_info_get", || {
        // SAFETY: as above; `connection` is NULL or live.
        unsafe {
            on_object(connection, "connection", |connection| {
                let size = structs::check(out, "out")?;
                structs::fill(out, size, &connection.info());
                Ok(())
            })
        }
    })
}

/// Tells whether the connection is open: 1, or 0.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_is_open(
    connection: *const qy_connection,
    out: *mut i32,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_connection_is_open", || {
        // SAFETY: as above; `connection` is NULL or live.
        unsafe {
            on_object(connection, "connection", |connection| {
                *output(out, "out")? = i32::from(!connection.connection.is_closed());
                Ok(())
            })
        }
    })
}

/// Sends one message: QY_TEXT, QY_BINARY or QY_JSON, `len` bytes that are copied. What a thread sends
/// to a connection and publishes to its channels arrives in that order.
///
/// Threads: any, many at once. Blocks: only while the server's threads are behind by `inbox_bytes`;
/// never for a slow client, which is closed at `queue_bytes`. In callbacks: yes.
/// Errors: QY_ERR_CLOSED, QY_ERR_TOO_LARGE, QY_ERR_INVALID_UTF8 for a text that is none,
/// QY_ERR_INVALID_ARGUMENT for JSON that is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_send(
    connection: *mut qy_connection,
    kind: i32,
    data: *const c_void,
    len: usize,
) -> qy_status {
    guard("qy_connection_send", || {
        // SAFETY: NULL or live, `len` bytes, by the header's rules.
        unsafe {
            on_object(connection, "connection", |connection| {
                let data = bytes(data, len, "data")?;
                let kind = payload_kind(kind, data)?;
                Ok(connection.service()?.send(&connection.connection, kind, data)?)
            })
        }
    })
}

/// Closes a connection behind what was sent to it, with a close code (1000 to 1003, 1007 to 1014, 3000
/// to 4999) and a reason of at most 123 bytes for the client; NULL is an empty one. Harmless when it
/// is closed.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for another code or a longer reason, QY_ERR_INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_close(
    connection: *mut qy_connection,
    code: u16,
    reason: *const c_char,
) -> qy_status {
    guard("qy_connection_close", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(connection, "connection", |connection| {
                let reason = optional_text(reason, "reason")?.unwrap_or_default();
                Ok(Service::dismiss(&connection.connection, code, reason)?)
            })
        }
    })
}

/// Copies the text of the last failure on this handle, by any thread, into `buf`, as qy_last_error
/// does; an empty text when there was none.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_last_error(
    connection: *const qy_connection,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard_anywhere("qy_connection_last_error", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            let text = object(connection, "connection")?.head.error.get();
            error::copy_out(&text, buf, cap, needed)
        }
    })
}

/// Reads a text that may be left out.
///
/// # Safety
/// `pointer` is NULL or points to a NUL-terminated string that stays as it is during the call.
pub(super) unsafe fn optional_text<'a>(
    pointer: *const c_char,
    parameter: &str,
) -> Outcome<Option<&'a str>> {
    match pointer.is_null() {
        true => Ok(None),
        // SAFETY: the caller's.
        false => unsafe { text(pointer, parameter) }.map(Some),
    }
}
