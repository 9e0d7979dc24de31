//! What belongs to a connection
//!
//! A connection may be bound to a user, who may have many; it may be in channels, which it then
//! hears; and a program may keep values with it. All of it ends with the connection, except that a
//! disconnect callback still finds the user and the channels that it had, and the values.
//!
//! ```c
//! #include <qyun.h>
//!
//! // callbacks of the endpoints section: everybody is in the room, and counted
//! static void on_open(qy_connection *connection, void *user_data) {
//!   (void)user_data;
//!   qy_connection_bind(connection, "ann");
//!   qy_connection_join(connection, "room", 1); // made for its members, gone with the last
//! }
//!
//! static void on_message(qy_connection *connection, int32_t kind, const void *data, size_t len,
//!                        void *user_data) {
//!   int64_t messages = 0;
//!   qy_connection_increment(connection, "messages", 1, &messages);
//!   if (messages <= 100)
//!     qy_server_publish(*(qy_server **)user_data, "room", kind, data, len, NULL);
//! }
//!
//! int main(void) {
//!   static qy_server *server = NULL;
//!   qy_endpoint_callbacks callbacks = {0};
//!   callbacks.struct_size = sizeof callbacks;
//!   callbacks.open = on_open;
//!   callbacks.message = on_message;
//!   if (qy_server_start(NULL, &server) != QY_OK) return 1;
//!   qy_server_handle(server, "/room", NULL, &callbacks, QY_DELIVER_THREAD, &server, NULL);
//!   qy_server_free(server);
//!   return 0;
//! }
//! ```

use std::ffi::{c_char, c_void};

use super::connection::qy_connection;
use super::error::{self, Failure, Outcome};
use super::guard::{bytes, clear, guard, on_object, text};
use super::status::*;
use crate::hub::Value;

/// Sees one name. It is not NUL-terminated, and valid until the call returns.
pub type qy_name_visitor =
    Option<unsafe extern "C" fn(name: *const c_char, len: usize, user_data: *mut c_void)>;

/// Shows names to a visitor.
///
/// # Safety
/// The visitor may be called with `user_data`.
unsafe fn visit_names(
    names: impl IntoIterator<Item = impl AsRef<str>>,
    visitor: qy_name_visitor,
    user_data: *mut c_void,
) -> Outcome {
    let visit = visitor.ok_or_else(|| Failure::null("visitor"))?;
    for name in names {
        let name = name.as_ref();
        // SAFETY: the caller's; the name outlives the call.
        unsafe { visit(name.as_ptr().cast(), name.len(), user_data) };
    }
    Ok(())
}

/// Copies the id of the user that it is bound to, or was bound to when it ended, into `buf`, as
/// qy_last_error does.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND when it is bound to nobody, QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_user(
    connection: *const qy_connection,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_connection_user", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            on_object(connection, "connection", |connection| {
                let user = connection.connection().last_user().ok_or_else(|| {
                    Failure::new(QY_ERR_NOT_FOUND, "the connection is bound to no user")
                })?;
                error::copy_out(&user, buf, cap, needed)
            })
        }
    })
}

/// Binds a connection to a user; one that is bound to another is moved. A user is there while a
/// connection is bound to it.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CLOSED, QY_ERR_INVALID_ARGUMENT for an empty user, QY_ERR_INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_bind(
    connection: *mut qy_connection,
    user: *const c_char,
) -> qy_status {
    guard("qy_connection_bind", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(connection, "connection", |connection| {
                let user = text(user, "user")?;
                Ok(connection.service()?.registry().bind(connection.connection(), user)?)
            })
        }
    })
}

/// Unbinds a connection from its user.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND when it was bound to nobody, QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_unbind(connection: *mut qy_connection) -> qy_status {
    guard("qy_connection_unbind", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(connection, "connection", |connection| {
                let service = connection.service()?;
                match service.registry().unbind(connection.connection()) {
                    true => Ok(()),
                    false => {
                        Err(Failure::new(QY_ERR_NOT_FOUND, "the connection was bound to no user"))
                    }
                }
            })
        }
    })
}

/// Makes a connection a member of `channel`: it gets what is published from now on. With `create` not
/// 0, a channel that is not there is made for its members, and goes with the last of them; with 0 it
/// must be there. Joining again changes nothing.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_QUEUE_FULL when
/// there are `max_channels`, QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_join(
    connection: *mut qy_connection,
    channel: *const c_char,
    create: i32,
) -> qy_status {
    guard("qy_connection_join", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(connection, "connection", |connection| {
                let channel = text(channel, "channel")?;
                let service = connection.service()?;
                match create {
                    0 => service.join_channel(connection.connection(), channel)?,
                    _ => service.enter_group(connection.connection(), channel)?,
                };
                Ok(())
            })
        }
    })
}

/// Ends a connection's membership of `channel`, after what was published so far.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND when it is no member, QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_UTF8,
/// QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_leave(
    connection: *mut qy_connection,
    channel: *const c_char,
) -> qy_status {
    guard("qy_connection_leave", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(connection, "connection", |connection| {
                let channel = text(channel, "channel")?;
                match connection.service()?.quit_channel(connection.connection(), channel)? {
                    true => Ok(()),
                    false => Err(Failure::new(
                        QY_ERR_NOT_FOUND,
                        format!(
                            "the connection is no member of channel '{}'",
                            channel.escape_debug()
                        ),
                    )),
                }
            })
        }
    })
}

/// Calls `visitor` with the name of each channel that the connection is a member of, or was when it
/// ended, on this stack, before it returns.
///
/// Threads: any. Blocks: only in the visitor. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_list_channels(
    connection: *const qy_connection,
    visitor: qy_name_visitor,
    user_data: *mut c_void,
) -> qy_status {
    guard("qy_connection_list_channels", || {
        // SAFETY: NULL or live; the caller passed the function for this pointer.
        unsafe {
            on_object(connection, "connection", |connection| {
                visit_names(connection.connection().last_channels(), visitor, user_data)
            })
        }
    })
}

/// Keeps `len` bytes under `key` with the connection, in place of what was there. They are there
/// until the last handle is gone.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_UTF8 for `key`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_set(
    connection: *mut qy_connection,
    key: *const c_char,
    data: *const c_void,
    len: usize,
) -> qy_status {
    guard("qy_connection_set", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, `len` bytes, by the header's rules.
        unsafe {
            on_object(connection, "connection", |connection| {
                let (key, data) = (text(key, "key")?, bytes(data, len, "data")?);
                connection.connection().set_value(key, Value::Bytes(data.into()));
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
pub unsafe extern "C" fn qy_connection_get(
    connection: *const qy_connection,
    key: *const c_char,
    buf: *mut c_void,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(needed) };
    guard("qy_connection_get", || {
        // SAFETY: NULL or live, NULL or NUL-terminated; `buf` has `cap` bytes, `needed` as above.
        unsafe {
            on_object(connection, "connection", |connection| {
                let key = text(key, "key")?;
                let value = connection.connection().value(key).ok_or_else(|| no_value(key))?;
                match value {
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
pub unsafe extern "C" fn qy_connection_remove(
    connection: *mut qy_connection,
    key: *const c_char,
) -> qy_status {
    guard("qy_connection_remove", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(connection, "connection", |connection| {
                let key = text(key, "key")?;
                let removed = connection.connection().remove_value(key);
                removed.map(drop).ok_or_else(|| no_value(key))
            })
        }
    })
}

/// Adds `by`, which may be 0 or negative, to the number kept under `key`, which begins at 0, in one
/// step that no other thread comes between. `*out`, unless NULL, becomes the sum.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_INVALID_ARGUMENT when qy_connection_set put bytes there, or the sum is beyond 64
/// bits; QY_ERR_INVALID_UTF8 for `key`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_increment(
    connection: *mut qy_connection,
    key: *const c_char,
    by: i64,
    out: *mut i64,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_connection_increment", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated.
        unsafe {
            on_object(connection, "connection", |connection| {
                let sum = connection.connection().increment(text(key, "key")?, by)?;
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
