//! A WebSocket that asks a program to be admitted.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::host::{Waiting, lock};
use super::{Ticket, Upgrade};
use crate::hub::Decision;
use crate::wire::http::RequestHead;
use crate::{Error, ErrorKind, Result};

/// Longest id of a connection, in bytes.
const MAX_ID: usize = 255;

/// A WebSocket that waits for a program's decision. Any thread may make it, once.
///
/// A decision that is made while the program's callback runs takes effect when that has returned, so
/// that nothing is said of the connection before.
#[derive(Debug)]
pub struct Request {
    head: RequestHead,
    path: Box<str>,
    query: Box<str>,
    remote: SocketAddr,
    state: Mutex<State>,
    waiting: Arc<Mutex<Waiting>>,
    number: u64,
}

#[derive(Debug)]
struct State {
    /// Gone once it was used.
    ticket: Option<Ticket>,
    /// Made, and not told yet because the callback runs.
    decision: Option<Decision>,
    asking: bool,
    /// Somebody else decides than the callback.
    kept: bool,
}

impl Request {
    pub(super) fn new(
        upgrade: &Upgrade<'_>,
        ticket: Ticket,
        waiting: Arc<Mutex<Waiting>>,
        number: u64,
    ) -> Self {
        Self {
            head: upgrade.request.clone(),
            path: upgrade.path.into(),
            query: upgrade.query.into(),
            remote: upgrade.remote,
            state: Mutex::new(State {
                ticket: Some(ticket),
                decision: None,
                asking: true,
                kept: false,
            }),
            waiting,
            number,
        }
    }

    /// The whole head.
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// The path of the endpoint.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What followed the `?`, percent-encoded; empty without one.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// Who is at the other end, a trusted proxy's word for it included.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// `Origin`: the page's that makes the connection. Empty for clients that are no browsers.
    pub fn origin(&self) -> String {
        self.head.header_text("origin").unwrap_or_default()
    }

    /// Leaves the decision to whoever has this: dropping it undecided refuses with 503.
    pub fn keep(self: &Arc<Self>) -> Arc<Self> {
        lock(&self.state).kept = true;
        Arc::clone(self)
    }

    /// Admits it, under a random id unless one is given, bound to `user` if there is one. An
    /// endpoint's other connection with that id is closed. Errors: `InvalidArgument` for an id that
    /// is not 1 to 255 bytes without control characters, or an empty user; `Closed` when it was
    /// decided about before.
    pub fn accept(&self, id: Option<&str>, user: Option<&str>) -> Result<()> {
        if let Some(id) = id
            && (!(1..=MAX_ID).contains(&id.len()) || id.chars().any(char::is_control))
        {
            let text = format!(
                "a connection's id is 1 to {MAX_ID} bytes without control characters: it cannot \
                 be '{}'",
                id.escape_debug()
            );
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        if user == Some("") {
            return Err(Error::new(ErrorKind::InvalidArgument, "a user's id is not empty"));
        }
        self.decide(Decision::Accept { id: id.map(str::to_owned), user: user.map(str::to_owned) })
    }

    /// Refuses it with an HTTP status from 400 to 599 and a text for the client. Errors:
    /// `InvalidArgument` for another status; `Closed` when it was decided about before.
    pub fn refuse(&self, status: u16, text: &str) -> Result<()> {
        if !(400..600).contains(&status) {
            let text = format!("a request is refused with a status from 400 to 599, not {status}");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        self.decide(Decision::Refuse { status, reason: text.into() })
    }

    fn decide(&self, decision: Decision) -> Result<()> {
        let mut state = lock(&self.state);
        if state.ticket.is_none() || state.decision.is_some() {
            return Err(Error::new(ErrorKind::Closed, "the request was decided about already"));
        }
        state.decision = Some(decision);
        if !state.asking {
            self.tell(&mut state);
        }
        Ok(())
    }

    /// Runs the program's callback, which decides, keeps the request, or lets this admit it.
    pub(super) fn ask(self: Arc<Self>, callback: impl FnOnce(&Arc<Self>)) {
        callback(&self);
        let mut state = lock(&self.state);
        state.asking = false;
        if !state.kept && state.decision.is_none() {
            state.decision = Some(Decision::Accept { id: None, user: None });
        }
        self.tell(&mut state);
    }

    /// Nobody is admitted any more.
    pub(super) fn endpoint_is_gone(&self) {
        let mut state = lock(&self.state);
        state.decision = Some(Decision::Refuse { status: 404, reason: "Not found".into() });
        self.tell(&mut state);
    }

    fn tell(&self, state: &mut State) {
        if let Some(decision) = state.decision.take_if(|_| state.ticket.is_some())
            && let Some(ticket) = state.ticket.take()
        {
            ticket.answer(decision);
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        lock(&self.waiting).forget(self.number);
    }
}
