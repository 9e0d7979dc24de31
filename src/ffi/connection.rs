//! Connections
//!
//! A connection is a client of a server that has a name there: in the packet dialect, and in every
//! other dialect but the channels' own. A callback is handed its connection for as long as it runs;
//! qy_connection_clone makes a handle that is kept.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! static void on_hello(qy_connection *connection, uint32_t protocol, const void *data, size_t len,
//!                      qy_reply *reply, void *user_data) {
//!   char id[256];
//!   (void)protocol, (void)reply, (void)user_data;
//!   if (qy_connection_id(connection, id, sizeof id, NULL) == QY_OK)
//!     printf("%s says %.*s\n", id, (int)len, (const char *)data);
//! }
//!
//! int main(void) {
//!   qy_server *server = NULL;
//!   if (qy_server_start(NULL, &server) != QY_OK) return 1;
//!   qy_server_on_packet(server, 1, QY_DELIVER_THREAD, on_hello, NULL, NULL);
//!   getchar();
//!   qy_server_free(server);
//!   return 0;
//! }
//! ```

use std::ffi::c_char;
use std::sync::{Arc, Weak};

use super::error::{self, Failure, Outcome};
use super::guard::{Handle, Head, clear, guard, guard_value, object, on_object, output, release};
use super::status::*;
use crate::hub::Connection;
use crate::server::Service;

/// A connection of a server.
pub struct qy_connection {
    head: Head,
    /// Weak: a handle that is kept does not keep a server, nor what is registered there.
    service: Weak<Service>,
    connection: Arc<Connection>,
}

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

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The operations of its server, unless that was freed.
    pub(super) fn service(&self) -> Outcome<Arc<Service>> {
        self.service
            .upgrade()
            .ok_or_else(|| Failure::new(QY_ERR_CLOSED, "the connection's server was freed"))
    }
}

/// Makes another handle of a connection, to keep. `*out` is the caller's, to be freed with
/// qy_connection_free; it stays usable when the connection is closed, and then says so.
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
            let (connection, out) = (object(connection, "connection")?, output(out, "out")?);
            let (service, same) = (connection.service.clone(), Arc::clone(&connection.connection));
            *out = Box::into_raw(Box::new(qy_connection::new(service, same)));
            Ok(())
        }
    })
}

/// Frees a handle that qy_connection_clone made; the connection itself goes on. NULL is allowed.
///
/// Threads: any, when no other call uses it. Blocks: never. In callbacks: yes, log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_connection_free(connection: *mut qy_connection) {
    guard_value((), || {
        // SAFETY: NULL or a live object that no other call uses, by the header's rules.
        unsafe { release(connection, |_| {}) };
    });
}

/// Copies the connection's id into `buf`, NUL-terminated and cut to `cap` bytes. `*needed` (or NULL)
/// becomes its size with the NUL.
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
