//! Endpoints
//!
//! The program is the application behind every connection of a path: it decides who is admitted, hears
//! what they send, and learns when and why they go. A server can have any number of endpoints, and
//! they can come and go while it runs.
//!
//! The calls for one connection come one at a time and in order, those for different connections at
//! the same time, on up to `delivery_threads` threads of the server. While as much as `delivery_bytes`
//! waits for the program, its connections are not read. QY_DELIVER_INLINE brings the calls from the
//! server's own threads, which must not be made to wait.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! static void on_open(qy_connection *connection, void *user_data) {
//!   (void)user_data;
//!   qy_connection_send(connection, QY_JSON, "{\"hello\":1}", 11);
//! }
//!
//! static void on_message(qy_connection *connection, int32_t kind, const void *data, size_t len,
//!                        void *user_data) {
//!   (void)user_data;
//!   qy_connection_send(connection, kind, data, len);
//! }
//!
//! static void on_disconnect(qy_connection *connection, const qy_closure *closure, void *user_data) {
//!   char id[64];
//!   (void)user_data;
//!   qy_connection_id(connection, id, sizeof id, NULL);
//!   printf("%s went: %d %.*s\n", id, (int)closure->code, (int)closure->reason_len, closure->reason);
//! }
//!
//! int main(void) {
//!   qy_server *server = NULL;
//!   qy_options *options = NULL;
//!   qy_endpoint_callbacks callbacks = {0};
//!   callbacks.struct_size = sizeof callbacks;
//!   callbacks.open = on_open;
//!   callbacks.message = on_message;
//!   callbacks.disconnect = on_disconnect;
//!   qy_options_new(QY_OPTIONS_ENDPOINT, &options);
//!   qy_options_set(options, "origins", "https://example.org");
//!   qy_options_set_int(options, "max_connections", 10000);
//!   if (qy_server_start(NULL, &server) != QY_OK) return 1;
//!   qy_server_handle(server, "/echo", options, &callbacks, QY_DELIVER_THREAD, NULL, NULL);
//!   qy_options_free(options);
//!   getchar();
//!   qy_server_stop(server, 1000); // everybody gets a Close with 1000
//!   qy_server_free(server);
//!   return 0;
//! }
//! ```

use std::ffi::{c_char, c_void};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::callback::{UserData, qy_drop_callback};
use super::connection::qy_connection;
use super::error::{Failure, Outcome};
use super::guard::{guard, object, on_object, text};
use super::message::kind_code;
use super::options::qy_options;
use super::server::qy_server;
use super::status::{self, *};
use super::structs;
use super::subscription::{QY_DELIVER_INLINE, QY_DELIVER_THREAD};
use super::upgrade::qy_upgrade;
use crate::delivery::Mode;
use crate::hub::Connection;
use crate::server::Service;
use crate::server::dialect::host::{EndedBy, Host, Program};
use crate::server::dialect::{Closure, EndpointOptions, Request};
use crate::wire::{Dialect, MessageKind};
use crate::{Error, thread};

/// The client ended the connection, with a Close or by vanishing (1006).
pub const QY_ENDED_BY_CLIENT: i32 = 1;
/// The program ended it, or whoever operates the server.
pub const QY_ENDED_BY_PROGRAM: i32 = 2;
/// The server ended it: a fault of the client, a limit, the end of the endpoint or of the server.
pub const QY_ENDED_BY_SERVER: i32 = 3;

/// How a connection ended.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_closure {
    /// The size of this struct in the library that made it.
    pub struct_size: usize,
    /// The close code, the client's or the one it was sent; 1005 for a Close without a code, 1006 for
    /// a connection without a Close.
    pub code: i32,
    /// A QY_ENDED_BY_ constant.
    pub ended_by: i32,
    /// The reason that goes with it, UTF-8, not NUL-terminated, never NULL.
    pub reason: *const c_char,
    /// Its length in bytes.
    pub reason_len: usize,
}

/// What a program is called for. Each may be NULL. Everything that they are handed is valid until
/// they return.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_endpoint_callbacks {
    /// sizeof(qy_endpoint_callbacks), set by the caller.
    pub struct_size: usize,
    /// Whether a web page of this origin may connect: not 0 if so, otherwise it is refused with 403.
    /// Asked before `connect`, about clients that send an Origin which the option `origins` allows.
    pub check_origin: Option<
        unsafe extern "C" fn(
            upgrade: *const qy_upgrade,
            origin: *const c_char,
            origin_len: usize,
            user_data: *mut c_void,
        ) -> i32,
    >,
    /// A client asks to be admitted: see the upgrades section. When it returns, the client is admitted
    /// unless it was refused, or a clone was made. NULL admits everybody.
    pub connect: Option<unsafe extern "C" fn(upgrade: *mut qy_upgrade, user_data: *mut c_void)>,
    /// The connection is there, and may be sent to.
    pub open: Option<unsafe extern "C" fn(connection: *mut qy_connection, user_data: *mut c_void)>,
    /// A message came; `kind` is QY_TEXT or QY_BINARY. `data` is not NUL-terminated, never NULL.
    pub message: Option<
        unsafe extern "C" fn(
            connection: *mut qy_connection,
            kind: i32,
            data: *const c_void,
            len: usize,
            user_data: *mut c_void,
        ),
    >,
    /// The connection is gone: the last call for it.
    pub disconnect: Option<
        unsafe extern "C" fn(
            connection: *mut qy_connection,
            closure: *const qy_closure,
            user_data: *mut c_void,
        ),
    >,
    /// The connection has failed, and `disconnect` follows. `status` is QY_ERR_PROTOCOL or
    /// QY_ERR_TOO_LARGE for what the client sent, QY_ERR_QUEUE_FULL for a client that reads too
    /// slowly, QY_ERR_TIMEOUT for one that answers no ping or takes nothing, QY_ERR_CONNECT for one
    /// that vanished. The text is not NUL-terminated.
    pub error: Option<
        unsafe extern "C" fn(
            connection: *mut qy_connection,
            status: qy_status,
            text: *const c_char,
            len: usize,
            user_data: *mut c_void,
        ),
    >,
    /// A ping came, and was answered. `data` is its payload.
    pub ping: Option<
        unsafe extern "C" fn(
            connection: *mut qy_connection,
            data: *const c_void,
            len: usize,
            user_data: *mut c_void,
        ),
    >,
    /// A pong came.
    pub pong: Option<unsafe extern "C" fn(connection: *mut qy_connection, user_data: *mut c_void)>,
}

// SAFETY: `repr(C)`, begins with its size, the rest are function pointers that may be NULL.
unsafe impl structs::Versioned for qy_endpoint_callbacks {}

/// A program's callbacks. Dropped when none runs any more.
struct Registration {
    callbacks: qy_endpoint_callbacks,
    service: Weak<Service>,
    /// Dropped before those who wait for it are told.
    user_data: UserData,
    _gone: Announce,
}

impl Registration {
    /// A handle to lend.
    fn handle(&self, connection: &Arc<Connection>) -> qy_connection {
        qy_connection::new(Weak::clone(&self.service), Arc::clone(connection))
    }
}

// SAFETY, of all calls below: the caller registered the functions for this pointer, and what they are
// handed outlives the call.
impl Program for Registration {
    fn asks(&self) -> bool {
        self.callbacks.connect.is_some() || self.callbacks.check_origin.is_some()
    }

    fn connect(&self, request: &Arc<Request>) {
        let upgrade = qy_upgrade::new(Arc::clone(request));
        let origin = request.origin();
        if let Some(check) = self.callbacks.check_origin
            && !origin.is_empty()
        {
            let (text, len) = (origin.as_ptr().cast(), origin.len());
            // SAFETY: see above.
            if unsafe { check(upgrade.lend(), text, len, self.user_data.pointer()) } == 0 {
                // It fails if the callback decided, which is then its word.
                let _ = request.refuse(403, "Origin is not allowed");
                return;
            }
        }
        if let Some(connect) = self.callbacks.connect {
            // SAFETY: see above.
            unsafe { connect(upgrade.lend(), self.user_data.pointer()) };
        }
    }

    fn open(&self, connection: &Arc<Connection>) {
        let Some(open) = self.callbacks.open else { return };
        let handle = self.handle(connection);
        // SAFETY: see above.
        unsafe { open(handle.lend(), self.user_data.pointer()) };
    }

    fn message(&self, connection: &Arc<Connection>, kind: MessageKind, data: &[u8]) {
        let Some(message) = self.callbacks.message else { return };
        let handle = self.handle(connection);
        let (kind, user_data) = (kind_code(kind), self.user_data.pointer());
        // SAFETY: see above.
        unsafe { message(handle.lend(), kind, data.as_ptr().cast(), data.len(), user_data) };
    }

    fn hears_pings(&self) -> bool {
        self.callbacks.ping.is_some() || self.callbacks.pong.is_some()
    }

    fn ping(&self, connection: &Arc<Connection>, data: &[u8]) {
        let Some(ping) = self.callbacks.ping else { return };
        let handle = self.handle(connection);
        let user_data = self.user_data.pointer();
        // SAFETY: see above.
        unsafe { ping(handle.lend(), data.as_ptr().cast(), data.len(), user_data) };
    }

    fn pong(&self, connection: &Arc<Connection>) {
        let Some(pong) = self.callbacks.pong else { return };
        let handle = self.handle(connection);
        // SAFETY: see above.
        unsafe { pong(handle.lend(), self.user_data.pointer()) };
    }

    fn error(&self, connection: &Arc<Connection>, error: &Error) {
        let Some(callback) = self.callbacks.error else { return };
        let handle = self.handle(connection);
        let text = error.to_string();
        let (status, user_data) = (status::of(error.kind()), self.user_data.pointer());
        // SAFETY: see above.
        unsafe { callback(handle.lend(), status, text.as_ptr().cast(), text.len(), user_data) };
    }

    fn disconnect(&self, connection: &Arc<Connection>, closure: &Closure, by: EndedBy) {
        let Some(disconnect) = self.callbacks.disconnect else { return };
        let handle = self.handle(connection);
        let view = qy_closure {
            struct_size: size_of::<qy_closure>(),
            code: closure.code.into(),
            ended_by: match by {
                EndedBy::Client => QY_ENDED_BY_CLIENT,
                EndedBy::Program => QY_ENDED_BY_PROGRAM,
                EndedBy::Server => QY_ENDED_BY_SERVER,
            },
            reason: closure.reason.as_ptr().cast(),
            reason_len: closure.reason.len(),
        };
        // SAFETY: see above.
        unsafe { disconnect(handle.lend(), &view, self.user_data.pointer()) };
    }
}

/// Whether a registration is gone, for those who wait for it.
#[derive(Default)]
struct Gone {
    gone: Mutex<bool>,
    changed: Condvar,
}

impl Gone {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if it was not gone by `end`.
    fn wait_until(&self, end: Instant) -> bool {
        let mut gone = self.lock();
        while !*gone {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(gone, left);
            gone = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Tells so when it is dropped.
struct Announce(Arc<Gone>);

impl Drop for Announce {
    fn drop(&mut self) {
        *self.0.lock() = true;
        self.0.changed.notify_all();
    }
}

/// The registrations of a server that are not known to be gone, by path.
#[derive(Default)]
pub(super) struct Registrations(Mutex<Vec<(Box<str>, Arc<Gone>)>>);

impl Registrations {
    fn lock(&self) -> MutexGuard<'_, Vec<(Box<str>, Arc<Gone>)>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, gone)| !*gone.lock());
        all
    }

    fn add(&self, path: &str, gone: Arc<Gone>) {
        self.lock().push((path.into(), gone));
    }

    fn at(&self, path: &str) -> Vec<Arc<Gone>> {
        let all = self.lock();
        all.iter().filter(|(at, _)| **at == *path).map(|(_, gone)| Arc::clone(gone)).collect()
    }
}

/// Reads where callbacks are to run.
pub(super) fn mode(delivery: i32) -> Outcome<Mode> {
    match delivery {
        QY_DELIVER_THREAD => Ok(Mode::Thread),
        QY_DELIVER_INLINE => Ok(Mode::Inline),
        other => Err(Failure::parameter(format!(
            "'delivery' is {other}; it takes QY_DELIVER_THREAD (0) or QY_DELIVER_INLINE (1)"
        ))),
    }
}

/// Lets the program handle the WebSockets that come to `path` from now on; it begins with '/', not
/// with "/channel/", and is compared with the client's as it is sent. `options`, of
/// QY_OPTIONS_ENDPOINT or NULL for the defaults, and `callbacks` stay the caller's. `delivery` is
/// QY_DELIVER_THREAD or QY_DELIVER_INLINE.
///
/// `drop` runs when the endpoint was removed, by qy_server_unhandle or the end of the server, and the
/// last callback has returned.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_EXISTS when something handles the path already, QY_ERR_CLOSED,
/// QY_ERR_INVALID_ARGUMENT for a path that cannot be, options of another kind, a delivery that does
/// not exist or a `struct_size` that cannot be, QY_ERR_INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_handle(
    server: *mut qy_server,
    path: *const c_char,
    options: *const qy_options,
    callbacks: *const qy_endpoint_callbacks,
    delivery: i32,
    user_data: *mut c_void,
    drop: qy_drop_callback,
) -> qy_status {
    let user_data = UserData::new(user_data, drop);
    guard("qy_server_handle", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, NULL or a struct of its `struct_size`.
        unsafe {
            on_object(server, "server", |server| {
                let path = text(path, "path")?;
                let options = match options.is_null() {
                    true => EndpointOptions::default(),
                    false => object(options, "options")?.endpoint()?,
                };
                let callbacks = structs::read(callbacks, "callbacks")?;
                let mode = mode(delivery)?;
                let service = server.service()?;
                let gone = Arc::new(Gone::default());
                let registration = Registration {
                    callbacks,
                    service: Arc::downgrade(service),
                    user_data,
                    _gone: Announce(Arc::clone(&gone)),
                };
                let host = Host::new(Arc::new(registration), Arc::clone(service.delivery()), mode);
                service.add_endpoint(path, options, Arc::new(host))?;
                server.registrations().add(path, gone);
                Ok(())
            })
        }
    })
}

/// Ends what qy_server_handle began: nobody is admitted at `path` any more, who asks to be is refused
/// with 404, and its connections are closed with 1001. Callbacks still come until all have gone.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND when the program handles no such path, QY_ERR_CLOSED, QY_ERR_INVALID_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_unhandle(
    server: *mut qy_server,
    path: *const c_char,
) -> qy_status {
    guard("qy_server_unhandle", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let path = text(path, "path")?;
                match remove(server.service()?, path)? {
                    true => Ok(()),
                    false => Err(no_endpoint(path)),
                }
            })
        }
    })
}

/// Does the same and waits: when it has returned QY_OK, no callback of the endpoint runs or will run,
/// and `drop` has run. It also waits for one that qy_server_unhandle ended before.
///
/// Threads: any. Blocks: at most `timeout_ms`. In callbacks: yes, but not in one of this server's
/// connections, nor on an I/O thread (QY_DELIVER_INLINE).
/// Errors: those of qy_server_unhandle; QY_ERR_TIMEOUT when a callback still runs,
/// QY_ERR_WOULD_DEADLOCK in a callback that may not wait for it; the endpoint is ended all the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_unhandle_wait(
    server: *mut qy_server,
    path: *const c_char,
    timeout_ms: u32,
) -> qy_status {
    guard("qy_server_unhandle_wait", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let path = text(path, "path")?;
                let service = server.service()?;
                let removed = remove(service, path)?;
                let ending = server.registrations().at(path);
                if !removed && ending.is_empty() {
                    return Err(no_endpoint(path));
                }
                if thread::must_not_wait()
                    || service.delivery().is_own_thread()
                    || crate::client::on_io_thread()
                {
                    return Err(Failure::new(
                        QY_ERR_WOULD_DEADLOCK,
                        "the endpoint is ended; waiting for its callbacks here could last for ever",
                    ));
                }
                let end = Instant::now() + Duration::from_millis(timeout_ms.into());
                match ending.iter().all(|gone| gone.wait_until(end)) {
                    true => Ok(()),
                    false => Err(Failure::new(
                        QY_ERR_TIMEOUT,
                        format!("a callback of the endpoint still runs after {timeout_ms} ms"),
                    )),
                }
            })
        }
    })
}

/// Removes the program's endpoint at `path`; false if there is none.
fn remove(service: &Service, path: &str) -> Outcome<bool> {
    let endpoint = service.endpoint(path);
    if endpoint.is_none_or(|endpoint| endpoint.handler.dialect() != Dialect::Host) {
        return Ok(false);
    }
    match service.remove_endpoint(path) {
        // Another thread was faster.
        Err(error) if error.kind() == crate::ErrorKind::NotFound => Ok(false),
        removed => Ok(removed.map(|()| true)?),
    }
}

fn no_endpoint(path: &str) -> Failure {
    let path = path.escape_debug();
    Failure::new(QY_ERR_NOT_FOUND, format!("the program handles no path '{path}'"))
}
