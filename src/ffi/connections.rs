//! Connections and users
//!
//! All connections of a server that have a name, whatever they speak: found, listed, counted and sent
//! to, one by one or many at once, from any thread. A message is encoded for each as its dialect asks.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! static int32_t is_old(qy_connection *connection, void *user_data) {
//!   qy_connection_info info = {0};
//!   (void)user_data;
//!   info.struct_size = sizeof info;
//!   qy_connection_info_get(connection, &info);
//!   return info.uptime_ms > 3600000;
//! }
//!
//! int main(void) {
//!   qy_server *server = NULL;
//!   uint64_t reached = 0;
//!   qy_connection_filter of_chat = {0};
//!   of_chat.struct_size = sizeof of_chat;
//!   of_chat.path = "/chat";
//!   if (qy_server_start(NULL, &server) != QY_OK) return 1;
//!
//!   qy_server_send_to_user(server, "ann", QY_TEXT, "hello", 5, &reached); // wherever she is
//!   qy_server_broadcast(server, "/chat", QY_TEXT, "to all", 6, NULL);
//!   qy_server_send_where(server, &of_chat, is_old, NULL, QY_TEXT, "still here?", 11, &reached);
//!   printf("%llu are\n", (unsigned long long)reached);
//!   qy_server_free(server);
//!   return 0;
//! }
//! ```

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::connection::{
    QY_DIALECT_GATEWAY, QY_DIALECT_HOST, QY_DIALECT_PACKET, QY_DIALECT_SESSION, QY_DIALECT_STREAM,
    optional_text, qy_connection,
};
use super::error::{Failure, Outcome};
use super::guard::{bytes, clear, guard, on_object, output, text};
use super::message::payload_kind;
use super::server::qy_server;
use super::status::*;
use super::structs;
use crate::hub::{Connection, Filter};
use crate::server::Service;
use crate::wire::Dialect;

/// Which connections an operation means: those that fit every field that is set. Zero is not set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_connection_filter {
    /// sizeof(qy_connection_filter), set by the caller.
    pub struct_size: usize,
    /// Those of this path; NULL is any.
    pub path: *const c_char,
    /// Those bound to this user; NULL is anybody and nobody.
    pub user: *const c_char,
    /// The members of this channel; NULL is any and none.
    pub channel: *const c_char,
    /// Those of this QY_DIALECT_ constant; 0 is any.
    pub dialect: i64,
}

// SAFETY: `repr(C)`, begins with its size, integers and raw pointers only.
unsafe impl structs::Versioned for qy_connection_filter {}

/// Sees one connection, lent until it returns.
pub type qy_connection_visitor =
    Option<unsafe extern "C" fn(connection: *mut qy_connection, user_data: *mut c_void)>;

/// Whether a connection is meant: not 0 if so. It is lent until the call returns.
pub type qy_connection_predicate =
    Option<unsafe extern "C" fn(connection: *mut qy_connection, user_data: *mut c_void) -> i32>;

/// Sees one user: the id, not NUL-terminated and valid until it returns, and the number of its
/// connections.
pub type qy_user_visitor = Option<
    unsafe extern "C" fn(user: *const c_char, len: usize, connections: u64, user_data: *mut c_void),
>;

/// Reads a filter; NULL means all connections.
///
/// # Safety
/// `filter` is NULL or a struct of its `struct_size` whose texts are NULL or NUL-terminated.
unsafe fn read_filter(filter: *const qy_connection_filter) -> Outcome<Filter> {
    if filter.is_null() {
        return Ok(Filter::default());
    }
    // SAFETY: the caller's.
    let filter = unsafe { structs::read(filter, "filter") }?;
    let dialect = match i32::try_from(filter.dialect) {
        Ok(0) => None,
        Ok(QY_DIALECT_SESSION) => Some(Dialect::Session),
        Ok(QY_DIALECT_PACKET) => Some(Dialect::Packet),
        Ok(QY_DIALECT_GATEWAY) => Some(Dialect::Gateway),
        Ok(QY_DIALECT_HOST) => Some(Dialect::Host),
        Ok(QY_DIALECT_STREAM) => Some(Dialect::Stream),
        _ => {
            return Err(Failure::parameter(format!(
                "'filter->dialect' is {}; it takes 0 or a QY_DIALECT_ constant (1 to 5)",
                filter.dialect
            )));
        }
    };
    // SAFETY: the caller's.
    let owned = |pointer, name| unsafe { optional_text(pointer, name) };
    Ok(Filter {
        dialect,
        path: owned(filter.path, "filter->path")?.map(str::to_owned),
        user: owned(filter.user, "filter->user")?.map(str::to_owned),
        channel: owned(filter.channel, "filter->channel")?.map(str::to_owned),
    })
}

/// Lends each connection to the visitor. No lock is held, and the server's handle is not used.
///
/// # Safety
/// The visitor may be called with `user_data`.
unsafe fn visit(
    service: &Arc<Service>,
    connections: Vec<Arc<Connection>>,
    visitor: unsafe extern "C" fn(*mut qy_connection, *mut c_void),
    user_data: *mut c_void,
) {
    for connection in connections {
        let handle = qy_connection::new(Arc::downgrade(service), connection);
        // SAFETY: the caller's; the handle outlives the call.
        unsafe { visitor(handle.lend(), user_data) };
    }
}

/// Finds the connection called `id`. `*out` is the caller's, to be freed with qy_connection_free.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND, QY_ERR_INVALID_UTF8, QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_find_connection(
    server: *const qy_server,
    id: *const c_char,
    out: *mut *mut qy_connection,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_server_find_connection", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated.
        unsafe {
            on_object(server, "server", |server| {
                let (out, id) = (output(out, "out")?, text(id, "id")?);
                let service = server.service()?;
                *out = qy_connection::new(Arc::downgrade(service), service.connection(id)?).give();
                Ok(())
            })
        }
    })
}

/// Calls `visitor` for at most `limit` connections that `filter` (or NULL: all) means and whose ids
/// sort behind `after` (or NULL: from the first), by id, on this stack, before it returns. To read all
/// of them in pages, ask again with the last id of each page until a page is shorter than `limit`. No
/// lock is held: the visitor may call anything.
///
/// Threads: any. Blocks: only in the visitor. In callbacks: yes.
/// Errors: QY_ERR_CLOSED, QY_ERR_INVALID_UTF8, QY_ERR_INVALID_ARGUMENT for a filter that cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_list_connections(
    server: *const qy_server,
    filter: *const qy_connection_filter,
    after: *const c_char,
    limit: usize,
    visitor: qy_connection_visitor,
    user_data: *mut c_void,
) -> qy_status {
    guard("qy_server_list_connections", || {
        let mut found = None;
        // SAFETY: NULL or live, NULL or a struct of its `struct_size`, NULL or NUL-terminated.
        unsafe {
            on_object(server, "server", |server| {
                let visitor = visitor.ok_or_else(|| Failure::null("visitor"))?;
                let (filter, after) = (read_filter(filter)?, optional_text(after, "after")?);
                let service = server.service()?;
                let page = service.registry().page(&filter, after, limit);
                found = Some((Arc::clone(service), page, visitor));
                Ok(())
            })
        }?;
        // The handle is not used from here on: a visitor may even free it.
        if let Some((service, page, visitor)) = found {
            // SAFETY: the caller passed the function for this pointer.
            unsafe { visit(&service, page, visitor, user_data) };
        }
        Ok(())
    })
}

/// Counts the connections that `filter` (or NULL: all) means.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CLOSED, QY_ERR_INVALID_UTF8, QY_ERR_INVALID_ARGUMENT for a filter that cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_count_connections(
    server: *const qy_server,
    filter: *const qy_connection_filter,
    out: *mut u64,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_server_count_connections", || {
        // SAFETY: as above; NULL or live, NULL or a struct of its `struct_size`.
        unsafe {
            on_object(server, "server", |server| {
                let (out, filter) = (output(out, "out")?, read_filter(filter)?);
                *out = server.service()?.connection_count(&filter) as u64;
                Ok(())
            })
        }
    })
}

/// Sends a message to the connection called `id`: qy_connection_send without a handle.
///
/// Threads: any. Blocks: as qy_connection_send. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND, and those of qy_connection_send.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_send_to(
    server: *mut qy_server,
    id: *const c_char,
    kind: i32,
    data: *const c_void,
    len: usize,
) -> qy_status {
    guard("qy_server_send_to", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, `len` bytes, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let (id, data) = (text(id, "id")?, bytes(data, len, "data")?);
                let kind = payload_kind(kind, data)?;
                Ok(server.service()?.send_to(id, kind, data)?)
            })
        }
    })
}

/// Sends a message to every connection of a user. `*out`, unless NULL, becomes their number.
///
/// Threads: any. Blocks: as qy_connection_send. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND when no connection is bound to the user, and those of qy_connection_send.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_send_to_user(
    server: *mut qy_server,
    user: *const c_char,
    kind: i32,
    data: *const c_void,
    len: usize,
    out: *mut u64,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_server_send_to_user", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated, `len` bytes.
        unsafe {
            on_object(server, "server", |server| {
                let (user, data) = (text(user, "user")?, bytes(data, len, "data")?);
                let kind = payload_kind(kind, data)?;
                let reached = server.service()?.send_to_user(user, kind, data)?;
                tell(out, reached as u64);
                Ok(())
            })
        }
    })
}

/// Sends a message to every connection of the endpoint at `path`, or of all endpoints for NULL. It is
/// encoded once, however many they are. `*out`, unless NULL, becomes their number.
///
/// Threads: any. Blocks: as qy_server_publish. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND for a path without an endpoint, and those of qy_connection_send.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_broadcast(
    server: *mut qy_server,
    path: *const c_char,
    kind: i32,
    data: *const c_void,
    len: usize,
    out: *mut u64,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_server_broadcast", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated, `len` bytes.
        unsafe {
            on_object(server, "server", |server| {
                let (path, data) = (optional_text(path, "path")?, bytes(data, len, "data")?);
                let kind = payload_kind(kind, data)?;
                let reached = server.service()?.broadcast(path, kind, data)?;
                tell(out, reached);
                Ok(())
            })
        }
    })
}

/// Sends a message to every connection that `filter` (or NULL: all) means and for which `predicate`
/// (or NULL: each) answers not 0. The predicate is called on this stack, before the function returns;
/// no lock is held. `*out`, unless NULL, becomes the number of connections sent to.
///
/// Threads: any. Blocks: as qy_connection_send, and in the predicate. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT for a filter that cannot be, and those of qy_connection_send.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_send_where(
    server: *mut qy_server,
    filter: *const qy_connection_filter,
    predicate: qy_connection_predicate,
    user_data: *mut c_void,
    kind: i32,
    data: *const c_void,
    len: usize,
    out: *mut u64,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_server_send_where", || {
        // SAFETY: as above; NULL or live, NULL or a struct of its `struct_size`, `len` bytes.
        unsafe {
            on_object(server, "server", |server| {
                let (filter, data) = (read_filter(filter)?, bytes(data, len, "data")?);
                let kind = payload_kind(kind, data)?;
                // Kept, since the predicate may even free the handle.
                let service = Arc::clone(server.service()?);
                let wanted = |connection: &Arc<Connection>| match predicate {
                    None => true,
                    Some(predicate) => {
                        let weak = Arc::downgrade(&service);
                        let handle = qy_connection::new(weak, Arc::clone(connection));
                        // The caller passed the function for this pointer.
                        predicate(handle.lend(), user_data) != 0
                    }
                };
                let reached = service.send_where(&filter, kind, data, wanted)?;
                tell(out, reached as u64);
                Ok(())
            })
        }
    })
}

/// Closes the connection called `id`: qy_connection_close without a handle.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND, QY_ERR_CLOSED, and those of qy_connection_close.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_close_connection(
    server: *mut qy_server,
    id: *const c_char,
    code: u16,
    reason: *const c_char,
) -> qy_status {
    guard("qy_server_close_connection", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let id = text(id, "id")?;
                let reason = optional_text(reason, "reason")?.unwrap_or_default();
                Ok(server.service()?.close_connection(id, code, reason)?)
            })
        }
    })
}

/// Binds the connection called `id` to a user: qy_connection_bind without a handle.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND, and those of qy_connection_bind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_bind_user(
    server: *mut qy_server,
    id: *const c_char,
    user: *const c_char,
) -> qy_status {
    guard("qy_server_bind_user", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let (id, user) = (text(id, "id")?, text(user, "user")?);
                Ok(server.service()?.bind_user(id, user)?)
            })
        }
    })
}

/// Unbinds the connection called `id` from its user: qy_connection_unbind without a handle.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND, also when it was bound to nobody; QY_ERR_CLOSED, QY_ERR_INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_unbind_user(
    server: *mut qy_server,
    id: *const c_char,
) -> qy_status {
    guard("qy_server_unbind_user", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let id = text(id, "id")?;
                match server.service()?.unbind_user(id)? {
                    true => Ok(()),
                    false => Err(Failure::new(
                        QY_ERR_NOT_FOUND,
                        format!("connection '{}' was bound to no user", id.escape_debug()),
                    )),
                }
            })
        }
    })
}

/// Calls `visitor` for at most `limit` users whose ids sort behind `after` (or NULL: from the first),
/// by id, on this stack, before it returns; no lock is held. The connections of a user are those that
/// qy_server_list_connections finds with a filter.
///
/// Threads: any. Blocks: only in the visitor. In callbacks: yes.
/// Errors: QY_ERR_CLOSED, QY_ERR_INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_list_users(
    server: *const qy_server,
    after: *const c_char,
    limit: usize,
    visitor: qy_user_visitor,
    user_data: *mut c_void,
) -> qy_status {
    guard("qy_server_list_users", || {
        let mut found = None;
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let visitor = visitor.ok_or_else(|| Failure::null("visitor"))?;
                let after = optional_text(after, "after")?;
                found = Some((server.service()?.users(after, limit), visitor));
                Ok(())
            })
        }?;
        // The handle is not used from here on: a visitor may even free it.
        let Some((users, visitor)) = found else { return Ok(()) };
        for (user, connections) in users {
            // SAFETY: the caller passed the function for this pointer; the id outlives the call.
            unsafe { visitor(user.as_ptr().cast(), user.len(), connections as u64, user_data) };
        }
        Ok(())
    })
}

/// Counts the users that a connection is bound to.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_count_users(
    server: *const qy_server,
    out: *mut u64,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_server_count_users", || {
        // SAFETY: as above; `server` is NULL or live.
        unsafe {
            on_object(server, "server", |server| {
                *output(out, "out")? = server.service()?.user_count() as u64;
                Ok(())
            })
        }
    })
}

/// Calls `visitor` for each connection that is a member of `channel`, in the order in which they
/// connected, on this stack, before it returns; no lock is held. What is published to the channel
/// reaches them, and its listeners.
///
/// Threads: any. Blocks: only in the visitor. In callbacks: yes.
/// Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_UTF8, QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_list_members(
    server: *const qy_server,
    channel: *const c_char,
    visitor: qy_connection_visitor,
    user_data: *mut c_void,
) -> qy_status {
    guard("qy_server_list_members", || {
        let mut found = None;
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let visitor = visitor.ok_or_else(|| Failure::null("visitor"))?;
                let channel = text(channel, "channel")?;
                let service = server.service()?;
                found = Some((Arc::clone(service), service.members(channel)?, visitor));
                Ok(())
            })
        }?;
        // The handle is not used from here on: a visitor may even free it.
        if let Some((service, members, visitor)) = found {
            // SAFETY: the caller passed the function for this pointer.
            unsafe { visit(&service, members, visitor, user_data) };
        }
        Ok(())
    })
}

/// Writes a number that may be left out.
///
/// # Safety
/// `out` is NULL or valid for writes.
unsafe fn tell(out: *mut u64, number: u64) {
    if !out.is_null() {
        // SAFETY: not NULL, so valid for writes.
        unsafe { out.write(number) };
    }
}
