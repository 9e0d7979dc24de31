//! Methods of the embedding program that clients call, answered now or later.
//!
//! A call waits in its connection's [`Requests`] until the program answers, its time is over, or the
//! connection ends; each ends it exactly once. The program's functions run on delivery threads, in
//! order for each connection, or inline on the shard's.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::delivery::{Delivery, Lane, Mode};
use crate::hub::Connection;
use crate::requests::{Clock, Requests};
use crate::wire::packet::Side;
use crate::wire::session::quoted;
use crate::{Error, ErrorKind, Result};

/// What stands for a protocol id in [`Requests`]: how an answer's data is meant.
const RESULT: u32 = 0;
const FAILURE: u32 = 1;

/// The longest name of a method, in bytes.
pub const MAX_METHOD: usize = 255;

type Function = dyn Fn(&Call<'_>) + Send + Sync;

/// A program's function and where it runs.
#[derive(Clone)]
struct Method {
    mode: Mode,
    function: Arc<Function>,
}

/// The methods of one server. Everything may be called from any thread.
pub struct Rpc {
    delivery: Arc<Delivery>,
    clock: Arc<Clock>,
    timeout: Duration,
    max_in_flight: usize,
    methods: RwLock<HashMap<Box<str>, Method>>,
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The calls of one connection.
#[derive(Debug)]
pub struct Calls {
    requests: Arc<Requests>,
    lane: Arc<Lane>,
}

/// One call of a method.
#[derive(Debug)]
pub struct Call<'a> {
    /// Who calls.
    pub connection: &'a Arc<Connection>,
    /// The method's name.
    pub method: &'a str,
    /// The JSON that it is given; `null` if that is nothing.
    pub params: &'a str,
    /// The right to answer. Once every clone is gone without an answer, the caller gets an error.
    pub reply: &'a Arc<Reply>,
}

/// How a call ended. Errors of the call itself, and not of the method: `Timeout`, and `Closed` when
/// the connection ended first.
pub type Outcome = Result<Answer>;

/// What a method answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The JSON of its result.
    Result(Bytes),
    /// The JSON of its error: an object of `code` and `message`.
    Failure(Bytes),
}

/// The right to answer one call, once, from any thread.
#[derive(Debug)]
pub struct Reply {
    /// Weak: a reply that the program keeps does not keep the connection's calls.
    requests: Weak<Requests>,
    sn: u32,
    answered: AtomicBool,
}

impl Reply {
    /// Answers with a result. Errors: `InvalidArgument` for what is not JSON, or when the call is
    /// answered already; `Closed` when its time is over or the connection has ended.
    pub fn result(&self, json: &[u8]) -> Result<()> {
        if let Err(error) = serde_json::from_slice::<&RawValue>(json) {
            let text = format!("a result is JSON: {error}");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        self.answer(RESULT, || Bytes::copy_from_slice(json))
    }

    /// Answers with an error: a code for programs and a text for people. Errors: as
    /// [`Reply::result`], and `InvalidArgument` for an empty code.
    pub fn failure(&self, code: &str, message: &str) -> Result<()> {
        if code.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "an error's code is not empty"));
        }
        self.answer(FAILURE, || failure(code, message))
    }

    fn answer(&self, meaning: u32, data: impl FnOnce() -> Bytes) -> Result<()> {
        if self.answered.swap(true, SeqCst) {
            return Err(Error::new(ErrorKind::InvalidArgument, "the call is answered already"));
        }
        let requests = self.requests.upgrade();
        match requests.is_some_and(|requests| requests.answered(self.sn, meaning, data)) {
            true => Ok(()),
            false => {
                let text = "the call's time is over, or its connection is closed";
                Err(Error::new(ErrorKind::Closed, text))
            }
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.answered.load(SeqCst) {
            // It fails only when nobody waits any more.
            let _ = self.failure("no_answer", "the method ended without an answer");
        }
    }
}

/// The JSON of an error.
fn failure(code: &str, message: &str) -> Bytes {
    format!(r#"{{"code":{},"message":{}}}"#, quoted(code), quoted(message)).into()
}

impl Rpc {
    /// Functions run on `delivery`; a call waits for `timeout`, and of a connection at most
    /// `max_in_flight` wait at a time.
    pub fn new(
        delivery: Arc<Delivery>,
        thread_name: &str,
        timeout: Duration,
        max_in_flight: usize,
    ) -> Self {
        Self {
            delivery,
            clock: Clock::new(&format!("{thread_name}-rpc")),
            timeout,
            max_in_flight,
            methods: RwLock::default(),
        }
    }

    /// Calls `function` for every call of `method`, in place of what was registered before, whose
    /// calls may go on for a moment. Calls of one connection come one at a time and in order, those
    /// of different connections perhaps at the same time. Error: `InvalidName` for a name that is
    /// empty, too long, or has control characters.
    pub fn on(
        &self,
        method: &str,
        mode: Mode,
        function: impl Fn(&Call<'_>) + Send + Sync + 'static,
    ) -> Result<()> {
        if method.is_empty() || method.len() > MAX_METHOD || method.chars().any(char::is_control) {
            let text = format!(
                "a method's name has 1 to {MAX_METHOD} bytes and no control character: it cannot \
                 be '{}'",
                method.escape_debug()
            );
            return Err(Error::new(ErrorKind::InvalidName, text));
        }
        let registration = Method { mode, function: Arc::new(function) };
        let mut methods = self.methods.write().unwrap_or_else(PoisonError::into_inner);
        let before = methods.insert(method.into(), registration);
        // Dropped outside the lock: what it owns may do anything in its drop.
        drop(methods);
        drop(before);
        Ok(())
    }

    /// Ends what [`Rpc::on`] began; false if there was nothing.
    pub fn off(&self, method: &str) -> bool {
        let before = self.methods.write().unwrap_or_else(PoisonError::into_inner).remove(method);
        before.is_some()
    }

    /// What a connection needs to make calls. It holds no memory to speak of until the first.
    pub fn calls(&self) -> Calls {
        Calls {
            requests: Requests::new(Arc::clone(&self.clock), Side::Server),
            lane: self.delivery.lane(),
        }
    }

    /// Calls a method for `connection`, whose calls `calls` are. `complete` is called exactly once
    /// if this succeeds, on any thread, and must not block; perhaps before this returns.
    ///
    /// Errors: `NotFound` for a method that is not there; `QueueFull` when too much waits, of this
    /// connection or of all; `Closed` once the server is stopped.
    pub fn call(
        &self,
        calls: &Calls,
        connection: &Arc<Connection>,
        method: &str,
        params: &str,
        complete: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<()> {
        let found = self.methods.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Method { mode, function }) = found.get(method).cloned() else {
            let text = format!("there is no method '{}'", method.escape_debug());
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        drop(found);
        if calls.requests.in_flight() >= self.max_in_flight {
            let text = format!("{} calls wait for answers, as many as may", self.max_in_flight);
            return Err(Error::new(ErrorKind::QueueFull, text));
        }
        if mode == Mode::Thread && self.delivery.is_busy() {
            return Err(Error::new(ErrorKind::QueueFull, "the program is busy; call again"));
        }
        let finish = move |outcome: crate::requests::Outcome| {
            complete(outcome.map(|response| match response.protocol {
                RESULT => Answer::Result(response.data),
                _ => Answer::Failure(response.data),
            }));
        };
        let start = |sn| {
            let reply = Arc::new(Reply {
                requests: Arc::downgrade(&calls.requests),
                sn,
                answered: AtomicBool::new(false),
            });
            match mode {
                Mode::Inline => {
                    let call = Call { connection, method, params, reply: &reply };
                    if catch_unwind(AssertUnwindSafe(|| function(&call))).is_err() {
                        log::error!(target: "qyun::server", "the method '{method}' panicked");
                    }
                    Ok(())
                }
                Mode::Thread => {
                    let cost = method.len() + params.len();
                    let connection = Arc::clone(connection);
                    let (method, params): (Box<str>, Box<str>) = (method.into(), params.into());
                    let job = move || {
                        function(&Call {
                            connection: &connection,
                            method: &method,
                            params: &params,
                            reply: &reply,
                        });
                    };
                    match calls.lane.push(cost, job) {
                        true => Ok(()),
                        false => Err(Error::new(ErrorKind::Closed, "the server is stopped")),
                    }
                }
            }
        };
        calls.requests.request(RESULT, self.timeout, start, finish)
    }
}

impl Rpc {
    /// Whether the program has registered a method.
    pub(in crate::server) fn is_registered(&self) -> bool {
        !self.methods.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The server has stopped: every registration is dropped, and no call can be made any more.
    pub(in crate::server) fn stop(&self) {
        self.clock.stop();
        let methods = {
            let mut methods = self.methods.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *methods)
        };
        // Outside the lock, as everywhere here.
        drop(methods);
    }
}

impl Calls {
    /// The connection has ended: so have its calls.
    pub fn close(&self) {
        self.requests.close(Error::new(ErrorKind::Closed, "the connection is closed"));
    }
}
