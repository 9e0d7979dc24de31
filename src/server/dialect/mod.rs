//! What speaks on the paths outside `/channel/`: endpoints, and the handlers behind them.
//!
//! An [`Endpoint`] is a path, a [`Handler`] and limits. The shards know no dialect: they admit,
//! read, write and close, and tell the handler, which answers through the [`Connection`] and the
//! [`Service`]. Built-in dialects and the programs that embed the server are handlers alike.

mod builtin;
mod endpoint;
pub(in crate::server) mod gateway;
pub mod host;
pub(in crate::server) mod members;
pub mod packet;
mod request;
mod session;

pub(super) use self::session::presence;
use std::net::SocketAddr;
use std::sync::Arc;

pub(in crate::server) use builtin::{follow, install};
pub(in crate::server) use endpoint::allows_origin;
pub use endpoint::{ENDPOINT_OPTIONS, Endpoint, EndpointOptions};
pub use request::Request;

use super::Service;
use crate::hub::{Connection, Decision, Inbox, Item, Notices};
use crate::wire::http::RequestHead;
use crate::wire::websocket::Message;
use crate::wire::{Dialect, MessageKind, session as notifications};

/// What a connection of this dialect is told of its patterns.
pub(in crate::server) fn notices(dialect: Dialect) -> Notices {
    match dialect {
        Dialect::Stream => members::NOTICES,
        // Of the others, only sessions have any.
        _ => Notices { beyond: notifications::pattern_limit, entered: None },
    }
}

/// A WebSocket upgrade that asks to be admitted.
#[derive(Debug, Clone, Copy)]
pub struct Upgrade<'a> {
    /// The path, percent-encoded.
    pub path: &'a str,
    /// What followed the `?`, percent-encoded.
    pub query: &'a str,
    /// Who is at the other end, a trusted proxy's word for it included.
    pub remote: SocketAddr,
    /// The whole head.
    pub request: &'a RequestHead,
}

/// The answer to an upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is known at once.
    Now(Decision),
    /// [`Handler::decide`] is asked, and answers when it knows.
    Later,
}

impl Verdict {
    /// Admits the connection under a random id.
    pub const ACCEPT: Self = Self::Now(Decision::Accept { id: None, user: None });
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closure {
    /// The close code: the peer's, or the one it was sent; 1005 stands for a Close without a code,
    /// 1006 for a connection that was lost.
    pub code: u16,
    /// The reason that goes with it.
    pub reason: String,
    /// Whether the peer began it.
    pub by_peer: bool,
}

/// What a dialect or an embedding program is to the shards.
///
/// Every method runs on a shard's thread: none may block, and each is called for one connection in
/// the order `admit`, `opened`, then any, then `closing` and `closed` once. `admit` and `decide`
/// may be the only ones.
pub trait Handler: Send + Sync + 'static {
    /// How messages are encoded for its connections.
    fn dialect(&self) -> Dialect;

    /// Whether a WebSocket is admitted.
    fn admit(&self, _service: &Service, _upgrade: &Upgrade<'_>) -> Verdict {
        Verdict::ACCEPT
    }

    /// Asked after [`Verdict::Later`]. The ticket may be answered on any thread; one that is
    /// dropped refuses with 503.
    fn decide(&self, _service: &Arc<Service>, _upgrade: &Upgrade<'_>, ticket: Ticket) {
        ticket.answer(Decision::Accept { id: None, user: None });
    }

    /// What a new connection gets before anything else. It is written together with the 101; what
    /// [`Handler::opened`] sends may come behind what others send meanwhile.
    fn greeting(&self, _connection: &Connection) -> Option<Message> {
        None
    }

    /// The connection is registered, and its 101 goes before whatever is sent from here. `displaced`
    /// had its id, is no longer found by it, and is still open.
    fn opened(
        &self,
        service: &Arc<Service>,
        connection: &Arc<Connection>,
        displaced: Option<Arc<Connection>>,
    );

    /// A message came.
    fn message(
        &self,
        service: &Arc<Service>,
        connection: &Arc<Connection>,
        kind: MessageKind,
        data: &[u8],
    );

    /// A message came that is over the connection's rate and is not carried out. True when the
    /// client was told so by an answer; a dialect that has none lets its connection be closed.
    fn over_rate(&self, _connection: &Arc<Connection>, _data: &[u8], _text: &str) -> bool {
        false
    }

    /// A ping came, and its pong is written or about to be.
    fn pinged(&self, _connection: &Arc<Connection>, _data: &[u8]) {}

    /// A pong came.
    fn ponged(&self, _connection: &Arc<Connection>) {}

    /// The socket ended. True when the handler sees to the rest itself: `closing` and `closed` are
    /// not called, and it calls `Service::forget` once its program, on another thread, has been
    /// told that the connection is closing. Until then the connection stays registered, and what is
    /// sent to it goes nowhere.
    fn ends_later(
        &self,
        _service: &Arc<Service>,
        _connection: &Arc<Connection>,
        _closure: &Closure,
    ) -> bool {
        false
    }

    /// The connection ends: it is still registered, in its channels and bound to its user, and
    /// takes no more messages from here on.
    fn closing(&self, _connection: &Arc<Connection>, _closure: &Closure) {}

    /// The connection is gone from the registry, from its channels and from its user.
    fn closed(&self, service: &Arc<Service>, connection: &Arc<Connection>, closure: &Closure);

    /// Its endpoint was removed: nobody is admitted any more, and the connections are being closed.
    fn removed(&self) {}

    /// Whether it has so much to do that its connections should not be read for a moment.
    fn is_busy(&self) -> bool {
        false
    }
}

/// The right to decide about one upgrade, once.
#[derive(Debug)]
pub struct Ticket {
    inbox: Arc<Inbox>,
    token: u32,
    number: u64,
    answered: bool,
}

impl Ticket {
    pub(super) fn new(inbox: Arc<Inbox>, token: u32, number: u64) -> Self {
        Self { inbox, token, number, answered: false }
    }

    /// Decides. From any thread; the client may be gone by now.
    pub fn answer(mut self, decision: Decision) {
        self.give(decision);
    }

    fn give(&mut self, decision: Decision) {
        self.answered = true;
        let (token, ticket) = (self.token, self.number);
        self.inbox.push(Item::Decided { token, ticket, decision: Box::new(decision) });
        self.inbox.notify();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered {
            let reason = "Nobody decided about this connection".into();
            self.give(Decision::Refuse { status: 503, reason });
        }
    }
}
