//! The host dialect: the embedding program is the application behind every connection of a path.
//!
//! The shards call [`Host`], which calls the [`Program`]: on delivery threads, where the calls for one
//! connection come one at a time and in order, or inline on the shard's thread. A program that decides
//! who is admitted is asked there too; the connection waits for its word, and nothing else does.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use super::request::Request;
use super::{Closure, Handler, Ticket, Upgrade, Verdict};
use crate::delivery::{Delivery, Lane, Mode};
use crate::hub::Connection;
use crate::server::Service;
use crate::wire::{Dialect, MessageKind, close};
use crate::{Error, ErrorKind};

/// What a program does with the connections of a path. Calls for one connection come one at a time
/// and in order; calls for different connections may come at the same time.
///
/// It is dropped when its endpoint is removed and the last of these calls has returned.
pub trait Program: Send + Sync + 'static {
    /// Whether [`Program::connect`] is to be asked; without it everybody is admitted.
    fn asks(&self) -> bool {
        true
    }

    /// A WebSocket asks to be admitted. Returning without a decision admits it, unless it was kept
    /// ([`Request::keep`]).
    fn connect(&self, _request: &Arc<Request>) {}

    /// The connection is there.
    fn open(&self, _connection: &Arc<Connection>) {}

    /// A message came.
    fn message(&self, _connection: &Arc<Connection>, _kind: MessageKind, _data: &[u8]) {}

    /// A ping came, and was answered.
    fn ping(&self, _connection: &Arc<Connection>, _data: &[u8]) {}

    /// A pong came.
    fn pong(&self, _connection: &Arc<Connection>) {}

    /// Whether [`Program::ping`] and [`Program::pong`] are to be called.
    fn hears_pings(&self) -> bool {
        false
    }

    /// The connection has failed; [`Program::disconnect`] follows. `Protocol` and `TooLarge` for what
    /// the client sent, `QueueFull` for one that reads too slowly, `Timeout` for one that sends no
    /// pong or takes nothing, `Connect` for a connection that was lost.
    fn error(&self, _connection: &Arc<Connection>, _error: &Error) {}

    /// The connection is gone: the last call for it.
    fn disconnect(&self, _connection: &Arc<Connection>, _closure: &Closure, _by: EndedBy) {}
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// The client, with a Close, or by vanishing (1006).
    Client,
    /// The program, or who operates it.
    Program,
    /// The server: a limit, a fault of the client, the end of the endpoint or of the server.
    Server,
}

/// A program behind an endpoint.
pub struct Host {
    program: Arc<dyn Program>,
    delivery: Arc<Delivery>,
    mode: Mode,
    waiting: Arc<Mutex<Waiting>>,
}

/// The requests that nobody has decided about.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    next: u64,
    requests: HashMap<u64, Weak<Request>>,
    /// The endpoint is gone: nobody waits any more.
    removed: bool,
}

/// What a connection's calls wait in.
struct Queue(Arc<Lane>);

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Host {
    /// A handler that calls `program` on `delivery`, or inline.
    pub fn new(program: Arc<dyn Program>, delivery: Arc<Delivery>, mode: Mode) -> Self {
        Self { program, delivery, mode, waiting: Arc::default() }
    }

    /// Calls the program about a connection, behind the calls so far. `size` is that of what the
    /// call carries.
    fn call(
        &self,
        connection: &Arc<Connection>,
        size: usize,
        what: impl FnOnce(&dyn Program, &Arc<Connection>) + Send + 'static,
    ) {
        match connection.attachment::<Queue>() {
            Some(Queue(lane)) => {
                let (program, connection) = (Arc::clone(&self.program), Arc::clone(connection));
                lane.push(size, move || what(&*program, &connection));
            }
            None => inline(|| what(&*self.program, connection)),
        }
    }
}

impl Drop for Host {
    /// The program goes where its calls were: not on a shard's thread, which its drop might hold up.
    /// Where there was no call because it was never registered, it goes here.
    fn drop(&mut self) {
        if self.mode == Mode::Thread && lock(&self.waiting).removed {
            let program = std::mem::replace(&mut self.program, Arc::new(Nobody));
            self.delivery.lane().push(0, move || drop(program));
        }
    }
}

/// In place of a program that has gone.
struct Nobody;

impl Program for Nobody {}

/// Calls the program on the shard's thread, which must survive it.
fn inline(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        log::error!(target: "qyun::server", "an inline callback of an endpoint panicked");
    }
}

impl Handler for Host {
    fn dialect(&self) -> Dialect {
        Dialect::Host
    }

    fn admit(&self, _service: &Service, _upgrade: &Upgrade<'_>) -> Verdict {
        match self.program.asks() {
            true => Verdict::Later,
            false => Verdict::ACCEPT,
        }
    }

    fn decide(&self, _service: &Arc<Service>, upgrade: &Upgrade<'_>, ticket: Ticket) {
        let number = {
            let mut waiting = lock(&self.waiting);
            waiting.next += 1;
            waiting.next
        };
        let request = Arc::new(Request::new(upgrade, ticket, Arc::clone(&self.waiting), number));
        let removed = {
            let mut waiting = lock(&self.waiting);
            if !waiting.removed {
                waiting.requests.insert(number, Arc::downgrade(&request));
            }
            waiting.removed
        };
        if removed {
            request.endpoint_is_gone();
            return;
        }
        let program = Arc::clone(&self.program);
        let ask = move || request.ask(|request| program.connect(request));
        match self.mode {
            Mode::Inline => inline(ask),
            // Dropping the question refuses it.
            Mode::Thread => drop(self.delivery.lane().push(0, ask)),
        }
    }

    fn opened(
        &self,
        _service: &Arc<Service>,
        connection: &Arc<Connection>,
        _displaced: Option<Arc<Connection>>,
    ) {
        if self.mode == Mode::Thread {
            connection.attach(Queue(self.delivery.lane()));
        }
        self.call(connection, 0, |program, connection| program.open(connection));
    }

    fn message(
        &self,
        _service: &Arc<Service>,
        connection: &Arc<Connection>,
        kind: MessageKind,
        data: &[u8],
    ) {
        match self.mode {
            Mode::Inline => inline(|| self.program.message(connection, kind, data)),
            Mode::Thread => {
                let data = Bytes::copy_from_slice(data);
                self.call(connection, data.len(), move |program, connection| {
                    program.message(connection, kind, &data);
                });
            }
        }
    }

    fn pinged(&self, connection: &Arc<Connection>, data: &[u8]) {
        if self.program.hears_pings() {
            let data = Bytes::copy_from_slice(data);
            self.call(connection, data.len(), move |program, connection| {
                program.ping(connection, &data);
            });
        }
    }

    fn ponged(&self, connection: &Arc<Connection>) {
        if self.program.hears_pings() {
            self.call(connection, 0, |program, connection| program.pong(connection));
        }
    }

    fn closed(&self, _service: &Arc<Service>, connection: &Arc<Connection>, closure: &Closure) {
        let closure = closure.clone();
        self.call(connection, 0, move |program, connection| {
            let by = match connection.is_dismissed() {
                _ if closure.by_peer => EndedBy::Client,
                true => EndedBy::Program,
                false => EndedBy::Server,
            };
            if let Some(error) = fault(&closure, by) {
                program.error(connection, &error);
            }
            program.disconnect(connection, &closure, by);
        });
    }

    fn removed(&self) {
        let requests = {
            let mut waiting = lock(&self.waiting);
            waiting.removed = true;
            std::mem::take(&mut waiting.requests)
        };
        // Outside the lock: a request takes it when it goes.
        for request in requests.into_values().filter_map(|request| request.upgrade()) {
            request.endpoint_is_gone();
        }
    }

    fn is_busy(&self) -> bool {
        self.mode == Mode::Thread && self.delivery.is_busy()
    }
}

/// What was wrong, if a connection did not end as it should.
fn fault(closure: &Closure, by: EndedBy) -> Option<Error> {
    let kind = match (by, closure.code) {
        (EndedBy::Client, close::ABNORMAL) => ErrorKind::Connect,
        (EndedBy::Server, close::PROTOCOL_ERROR | close::INVALID_DATA) => ErrorKind::Protocol,
        (EndedBy::Server, close::TOO_BIG) => ErrorKind::TooLarge,
        (EndedBy::Server, close::TOO_SLOW) => ErrorKind::QueueFull,
        (EndedBy::Server, close::NO_PONG | close::ABNORMAL) => ErrorKind::Timeout,
        _ => return None,
    };
    Some(Error::new(kind, format!("{} ({})", closure.reason, closure.code)))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    /// The request was decided about, or nobody can decide any more.
    pub(super) fn forget(&mut self, number: u64) {
        self.requests.remove(&number);
    }
}
