//! Server
//!
//! A server inside the program: its threads are the library's, its channels can be used without
//! the network from any thread, and there can be several.
//!
//! ```c
//! #include <qyun.h>
//! #include <stdio.h>
//!
//! int main(void) {
//!   char address[64];
//!   qy_options *options = NULL;
//!   qy_server *server = NULL;
//!   qy_options_new(QY_OPTIONS_SERVER, &options);
//!   qy_options_set(options, "listen", "127.0.0.1:0"); // any free port
//!   if (qy_server_start(options, &server) != QY_OK) return 1;
//!   qy_options_free(options);
//!
//!   qy_server_address(server, address, sizeof address, NULL);
//!   printf("listening on %s\n", address);
//!   qy_server_create_channel(server, "test");
//!   qy_server_publish(server, "test", QY_TEXT, "hello", 5, NULL);
//!
//!   qy_server_stop(server, 1000); // clients have a second to take what is queued
//!   qy_server_free(server);
//!   return 0;
//! }
//! ```

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::endpoint::Registrations;
use super::error::{self, Failure, Outcome};
use super::guard::{
    Handle, Head, bytes, clear, guard, guard_anywhere, guard_value, object, on_object, output,
    release, text,
};
use super::message::{optional_size, payload_kind, qy_position};
use super::options::qy_options;
use super::process::PerProcess;
use super::status::*;
use super::structs;
use crate::hub::{ChannelInfo, Counters};
use crate::server::{Server, ServerOptions, Service};
use crate::{Error, thread};

/// A server.
pub struct qy_server {
    head: Head,
    running: Arc<Running>,
}

/// A server that runs until it is stopped, through its handle or by qy_shutdown.
struct Running {
    server: Server,
    stopped: AtomicBool,
    registrations: Registrations,
}

/// The servers that qy_shutdown stops.
static SERVERS: PerProcess<Mutex<Vec<Weak<Running>>>> = PerProcess::new();

/// What is known of a channel at one moment.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_channel_info {
    /// sizeof(qy_channel_info), set by whoever provides the struct.
    pub struct_size: usize,
    /// The name, UTF-8, not NUL-terminated, valid during the visit; NULL from
    /// qy_server_channel_info, whose caller has it.
    pub name: *const c_char,
    /// Its length in bytes.
    pub name_len: usize,
    /// Subscribers now.
    pub subscribers: u64,
    /// Publications since the channel was created: the offset of the last one.
    pub offset: u64,
    /// The channel's incarnation: another number means another history.
    pub epoch: u64,
    /// When it was created, in ms since the Unix epoch.
    pub created_ms: u64,
    /// Subscribers that are connections with a name: see qy_server_list_members.
    pub members: u64,
}

/// Totals since the server started, and what is there now.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct qy_server_counters {
    /// sizeof(qy_server_counters), set by the caller.
    pub struct_size: usize,
    /// Connections open now.
    pub connections: u64,
    /// Connections accepted since the start.
    pub connections_total: u64,
    /// Channels now.
    pub channels: u64,
    /// Subscriptions now.
    pub subscribers: u64,
    /// Messages published.
    pub published: u64,
    /// Messages handed to subscribers: one publication to ten of them is ten.
    pub delivered: u64,
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes written to sockets.
    pub bytes_out: u64,
    /// Connections closed because they read slower than their queue is deep.
    pub closed_slow: u64,
    /// Requests and connections refused for breaking a protocol or a limit.
    pub rejected: u64,
    /// Bytes waiting in the queues of slow connections now.
    pub queued_bytes: u64,
    /// Messages compressed: each once, however many connections get it.
    pub compressions: u64,
    /// Their bytes before compression.
    pub compressed_bytes_in: u64,
    /// Their bytes after compression; of a message that it does not make smaller, those before.
    pub compressed_bytes_out: u64,
    /// Messages that came compressed and were decompressed.
    pub inflations: u64,
}

// SAFETY: `repr(C)`, begins with its size, integers and raw pointers only.
unsafe impl structs::Versioned for qy_channel_info {}
// SAFETY: as above.
unsafe impl structs::Versioned for qy_server_counters {}

/// Sees one channel. The struct and the name are valid until it returns.
pub type qy_channel_visitor =
    Option<unsafe extern "C" fn(info: *const qy_channel_info, user_data: *mut c_void)>;

impl Handle for qy_server {
    const NAME: &'static str = "server";
    fn head(&self) -> &Head {
        &self.head
    }
}

impl qy_server {
    /// The server, unless it was stopped.
    pub(super) fn live(&self) -> Outcome<&Server> {
        self.running.live()
    }

    /// The operations of a server that was not stopped.
    pub(super) fn service(&self) -> Outcome<&Arc<Service>> {
        Ok(self.running.live()?.service())
    }

    /// The program's endpoints that are not known to be gone.
    pub(super) fn registrations(&self) -> &Registrations {
        &self.running.registrations
    }
}

impl Running {
    /// The server, unless it was stopped.
    fn live(&self) -> Outcome<&Server> {
        match self.stopped.load(Ordering::Acquire) {
            false => Ok(&self.server),
            true => Err(Failure::new(QY_ERR_CLOSED, "the server was stopped")),
        }
    }

    /// True if every client went by itself. A second stop waits for the first and has nothing to cut.
    fn stop(&self, drain: Duration) -> bool {
        let again = self.stopped.swap(true, Ordering::AcqRel);
        self.server.stop(drain) || again
    }
}

/// Adds the channel's name to an error of the service, whose texts are those of the protocol.
pub(super) fn about(channel: &str) -> impl FnOnce(Error) -> Error {
    move |error| error.context(format_args!("channel '{}'", channel.escape_debug()))
}

impl qy_channel_info {
    fn new(info: &ChannelInfo, name: *const c_char, name_len: usize) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            name,
            name_len,
            subscribers: info.subscribers,
            offset: info.offset,
            epoch: info.epoch,
            created_ms: info.created_ms,
            members: info.members,
        }
    }
}

impl From<Counters> for qy_server_counters {
    fn from(counters: Counters) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            connections: counters.connections,
            connections_total: counters.connections_total,
            channels: counters.channels,
            subscribers: counters.subscribers,
            published: counters.published,
            delivered: counters.delivered,
            bytes_in: counters.bytes_in,
            bytes_out: counters.bytes_out,
            closed_slow: counters.closed_slow,
            rejected: counters.rejected,
            queued_bytes: counters.queued_bytes,
            compressions: counters.compressions,
            compressed_bytes_in: counters.compressed_bytes_in,
            compressed_bytes_out: counters.compressed_bytes_out,
            inflations: counters.inflations,
        }
    }
}

/// Starts a server; it accepts connections when the function returns. `options` (or NULL for the
/// defaults) stay the caller's. `*out` is the caller's, to be freed with qy_server_free.
///
/// Threads: any. Blocks: while it binds and starts its threads. In callbacks: yes.
/// Errors: QY_ERR_ADDRESS_IN_USE, QY_ERR_IO, QY_ERR_INVALID_OPTION for an address that cannot be
/// understood, QY_ERR_INVALID_ARGUMENT for options of a client.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_start(
    options: *const qy_options,
    out: *mut *mut qy_server,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_server_start", || {
        // SAFETY: as above.
        let out = unsafe { output(out, "out") }?;
        let options = match options.is_null() {
            true => ServerOptions::default(),
            // SAFETY: a live object, by the header's rules.
            false => unsafe { object(options, "options") }?.server()?,
        };
        let server = Server::start(options)?;
        let running = Arc::new(Running {
            server,
            stopped: AtomicBool::new(false),
            registrations: Registrations::default(),
        });
        let mut servers = SERVERS.get().lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|server| server.strong_count() > 0);
        servers.push(Arc::downgrade(&running));
        drop(servers);
        *out = Box::into_raw(Box::new(qy_server { head: Head::new(), running }));
        Ok(())
    })
}

/// Stops every server of this process, one after the other; `drain` is asked before each how long
/// it may wait for its clients. True if every client went by itself.
pub(super) fn stop_all(drain: impl Fn() -> Duration) -> bool {
    let servers = {
        let mut servers = SERVERS.get().lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *servers)
    };
    let mut clean = true;
    for server in servers.iter().filter_map(Weak::upgrade) {
        clean &= server.stop(drain());
    }
    clean
}

/// Copies the address that the server listens on, such as "127.0.0.1:8000", into `buf`,
/// NUL-terminated and cut to `cap` bytes. `*needed` (or NULL) becomes its size with the NUL. 64
/// bytes are always enough.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_address(
    server: *const qy_server,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard("qy_server_address", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            on_object(server, "server", |server| {
                let address = server.running.server.local_addr().to_string();
                error::copy_out(&address, buf, cap, needed)
            })
        }
    })
}

/// Tells the port that the server listens on: the real one where 0 was asked for.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_port(server: *const qy_server, out: *mut u16) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_server_port", || {
        // SAFETY: as above; `server` is NULL or live.
        unsafe {
            on_object(server, "server", |server| {
                *output(out, "out")? = server.running.server.local_addr().port();
                Ok(())
            })
        }
    })
}

/// Tells the port of the server's gRPC, which `grpc_listen` switches on: the real one where 0 was
/// asked for.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_NOT_FOUND when the server has no gRPC.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_grpc_port(server: *const qy_server, out: *mut u16) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_server_grpc_port", || {
        // SAFETY: as above; `server` is NULL or live.
        unsafe {
            on_object(server, "server", |server| {
                let out = output(out, "out")?;
                let address = server.running.server.grpc_addr().ok_or_else(|| {
                    let text = "the server has no gRPC: the option 'grpc_listen' gives it one";
                    crate::Error::new(crate::ErrorKind::NotFound, text)
                })?;
                *out = address.port();
                Ok(())
            })
        }
    })
}

/// Creates a channel.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CHANNEL_EXISTS, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_CLOSED,
/// QY_ERR_QUEUE_FULL or QY_ERR_TOO_LARGE when there are `max_channels`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_create_channel(
    server: *mut qy_server,
    name: *const c_char,
) -> qy_status {
    guard("qy_server_create_channel", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let name = text(name, "name")?;
                Ok(server.running.live()?.service().create_channel(name).map_err(about(name))?)
            })
        }
    })
}

/// Deletes a channel. Its listeners get what was published before, and are then closed.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_delete_channel(
    server: *mut qy_server,
    name: *const c_char,
) -> qy_status {
    guard("qy_server_delete_channel", || {
        // SAFETY: NULL or live, NULL or NUL-terminated, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                let name = text(name, "name")?;
                Ok(server.running.live()?.service().delete_channel(name).map_err(about(name))?)
            })
        }
    })
}

/// Tells about one channel. Set `out->struct_size` first. `out->name` becomes NULL: the caller has
/// the name.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8, QY_ERR_CLOSED,
/// QY_ERR_INVALID_ARGUMENT for a `struct_size` that cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_channel_info(
    server: *const qy_server,
    name: *const c_char,
    out: *mut qy_channel_info,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard("qy_server_channel_info", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated.
        unsafe {
            on_object(server, "server", |server| {
                let name = text(name, "name")?;
                let size = structs::check(out, "out")?;
                let info = server.running.live()?.service().channel(name).map_err(about(name))?;
                structs::fill(out, size, &qy_channel_info::new(&info, ptr::null(), 0));
                Ok(())
            })
        }
    })
}

/// Calls `visitor` for each channel, by name, on this stack, before it returns. No lock is held:
/// the visitor may call anything, and sees the channels as they were when the function began.
///
/// Threads: any. Blocks: only in the visitor. In callbacks: yes.
/// Errors: QY_ERR_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_list_channels(
    server: *const qy_server,
    visitor: qy_channel_visitor,
    user_data: *mut c_void,
) -> qy_status {
    guard("qy_server_list_channels", || {
        let mut channels = Vec::new();
        let mut visit = None;
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                visit = Some(visitor.ok_or_else(|| Failure::null("visitor"))?);
                channels = server.running.live()?.service().channels();
                Ok(())
            })
        }?;
        // The handle is not used from here on: a visitor may even free it.
        let Some(visit) = visit else { return Ok(()) };
        for channel in &channels {
            let name = channel.name.as_ptr().cast();
            let info = qy_channel_info::new(channel, name, channel.name.len());
            // SAFETY: the caller passed the function for this pointer; the struct outlives the call.
            unsafe { visit(&info, user_data) };
        }
        Ok(())
    })
}

/// Broadcasts a message to the subscribers of `channel`, without the network. `kind` is QY_TEXT,
/// QY_BINARY or QY_JSON; `data` has `len` bytes and is copied. `*out`, unless NULL, tells where the
/// message stands; set its `struct_size` first. All subscribers see the messages of all publishers
/// in one and the same order.
///
/// Threads: any, many at once. Blocks: while the server's threads are behind by `inbox_bytes`; in a
/// channel with `durability` `os` or `fsync` until the system, or the disk, has the message, which has
/// no time limit; in one with `overload=hold`, while a subscriber has no room, at most twice its
/// `hold_ms` and nine tenths of `request_timeout_ms`. Elsewhere never for a slow subscriber. In
/// callbacks: yes; on the server's own threads (QY_DELIVER_INLINE) it never waits.
/// Errors: QY_ERR_CHANNEL_NOT_FOUND, QY_ERR_TOO_LARGE, QY_ERR_INVALID_NAME, QY_ERR_INVALID_UTF8
/// for a text that is none, QY_ERR_INVALID_ARGUMENT for JSON that is none, QY_ERR_CLOSED. With
/// `durability`: QY_ERR_IO when the store fails, and then the message may or may not be kept;
/// QY_ERR_WOULD_DEADLOCK on a server's own thread. With `overload=hold`, and then nothing is
/// published: QY_ERR_TIMEOUT when it was held that long; QY_ERR_QUEUE_FULL when `inbox_bytes` of
/// messages wait already and, on a server's own thread, where it would have to wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_publish(
    server: *mut qy_server,
    channel: *const c_char,
    kind: i32,
    data: *const c_void,
    len: usize,
    out: *mut qy_position,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard("qy_server_publish", || {
        // SAFETY: as above; NULL or live, NULL or NUL-terminated, `len` bytes.
        unsafe {
            on_object(server, "server", |server| {
                let channel = text(channel, "channel")?;
                let data = bytes(data, len, "data")?;
                let kind = payload_kind(kind, data)?;
                let size = optional_size(out)?;
                let service = server.running.live()?.service();
                let published = service.publish(channel, kind, data).map_err(about(channel))?;
                if let Some(size) = size {
                    structs::fill(out, size, &published.position.into());
                }
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
pub unsafe extern "C" fn qy_server_counters_get(
    server: *const qy_server,
    out: *mut qy_server_counters,
) -> qy_status {
    // SAFETY: NULL or a struct of its `struct_size`, by the header's rules.
    unsafe { structs::clear(out) };
    guard("qy_server_counters_get", || {
        // SAFETY: as above; `server` is NULL or live.
        unsafe {
            on_object(server, "server", |server| {
                let size = structs::check(out, "out")?;
                structs::fill(out, size, &server.running.server.service().counters().into());
                Ok(())
            })
        }
    })
}

/// Tells whether the server runs: 1, or 0 once it is being stopped.
///
/// Threads: any. Blocks: never. In callbacks: yes.
/// Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_is_running(
    server: *const qy_server,
    out: *mut i32,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { clear(out) };
    guard("qy_server_is_running", || {
        // SAFETY: as above; `server` is NULL or live.
        unsafe {
            on_object(server, "server", |server| {
                *output(out, "out")? = i32::from(server.running.live().is_ok());
                Ok(())
            })
        }
    })
}

/// Stops the server: no new connection, every client gets what is queued for it and a Close, up to
/// `drain_ms` are waited for them to go, the rest is cut, all threads end and the port is free. Safe
/// to call again, and from several threads: all return when it is stopped. The handle must still be
/// freed.
///
/// Threads: any. Blocks: until the server is stopped: about `drain_ms` at most, and for callbacks of
/// its connections that still run. In callbacks: yes; it does not wait for that callback. Not on the
/// server's own threads (QY_DELIVER_INLINE).
/// Errors: QY_ERR_TIMEOUT when some clients had to be cut; the server is stopped all the same.
/// QY_ERR_WOULD_DEADLOCK on a server's own thread; nothing is stopped then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_stop(server: *mut qy_server, drain_ms: u32) -> qy_status {
    guard("qy_server_stop", || {
        // SAFETY: NULL or live, by the header's rules.
        unsafe {
            on_object(server, "server", |server| {
                if thread::must_not_wait() {
                    let message = "qy_server_stop waits for the thread that makes this call";
                    return Err(Failure::new(QY_ERR_WOULD_DEADLOCK, message));
                }
                match server.running.stop(Duration::from_millis(drain_ms.into())) {
                    true => Ok(()),
                    false => Err(Failure::new(
                        QY_ERR_TIMEOUT,
                        format!("some clients had not gone after {drain_ms} ms and were cut"),
                    )),
                }
            })
        }
    })
}

/// Frees a server, after stopping it without a drain if it runs; NULL is allowed. In a forked child
/// it only forgets the parent's server.
///
/// Threads: any, when no other call uses it. Blocks: until the server is stopped. In callbacks: yes,
/// log callbacks too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_free(server: *mut qy_server) {
    guard_value((), || {
        // SAFETY: NULL or a live object that no other call uses, by the header's rules.
        unsafe {
            release(server, |server| {
                server.running.stop(Duration::ZERO);
            });
        }
    });
}

/// Copies the text of the last failure on this server, by any thread, into `buf`, as qy_last_error
/// does; an empty text when there was none.
///
/// Threads: any. Blocks: never. In callbacks: yes, log callbacks too.
/// Errors: QY_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qy_server_last_error(
    server: *const qy_server,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> qy_status {
    // SAFETY: NULL or valid for writes, by the header's rules.
    unsafe { error::clear_out(buf, cap, needed) };
    guard_anywhere("qy_server_last_error", || {
        // SAFETY: NULL or live; `buf` and `needed` as above.
        unsafe {
            let text = object(server, "server")?.head.error.get();
            error::copy_out(&text, buf, cap, needed)
        }
    })
}
