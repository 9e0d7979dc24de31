//! How a WebSocket comes to an endpoint: the checks, the handler's decision, which may take its
//! time, and the beginning of the connection.

use std::net::SocketAddr;
use std::sync::Arc;

use super::answers::Reply;
use super::conn::{Conn, Lane, Sent};
use super::http::Next;
use super::peer::Peer;
use super::{Shard, gauges_of};
use crate::hub::{Connection, Decision, Gauges, Home, Origin};
use crate::server::answer::{self, Answer};
use crate::server::dialect::{Endpoint, Ticket, Upgrade, Verdict};
use crate::server::limits::Limit;
use crate::server::remote;
use crate::wire::close;
use crate::wire::http::{Handshake, Head, RequestHead};
use crate::wire::websocket::{Agreement, accept_key};

/// A WebSocket that asks to be admitted.
#[derive(Debug)]
pub(super) struct Candidate {
    endpoint: Arc<Endpoint>,
    request: RequestHead,
    remote: SocketAddr,
    /// `Sec-WebSocket-Accept` of its 101.
    accept: String,
    protocol: Option<String>,
    /// What it and the endpoint agree on.
    deflate: Option<Agreement>,
    reply: Reply,
    /// Which question about it is open.
    pub ticket: u64,
}

impl Shard {
    /// A request for a path that is none of the channel dialect.
    pub(super) fn elsewhere(&mut self, token: usize, head: &Head<'_>, reply: Reply) -> Next {
        let Some(endpoint) = self.service.endpoint(head.path) else {
            return self.deny(token, &Answer::failure(404, "Not found"), reply);
        };
        match head.handshake {
            Some(handshake) => self.ask(token, endpoint, head, &handshake, reply),
            None if head.method == "GET" => self.deny(token, &Answer::upgrade_required(), reply),
            None => self.deny(token, &Answer::method_not_allowed("allow: GET\r\n"), reply),
        }
    }

    fn deny(&mut self, token: usize, answer: &Answer, reply: Reply) -> Next {
        self.answer(token, answer, reply);
        self.after_request(token, reply)
    }

    fn ask(
        &mut self,
        token: usize,
        endpoint: Arc<Endpoint>,
        head: &Head<'_>,
        handshake: &Handshake<'_>,
        reply: Reply,
    ) -> Next {
        if !endpoint.options.allows_origin(head.origin) {
            return self.deny(token, &Answer::failure(403, "Origin is not allowed"), reply);
        }
        if let Err(limit) = self.pass_gate(token, head.raw) {
            return self.turn_away(token, limit, reply);
        }
        if self.is_full(&endpoint) {
            return self.turn_away(token, Limit::MaxConnections, reply);
        }
        let Some(conn) = self.conns.get(token) else { return Next::Nothing };
        let Ok(peer) = conn.stream.peer_addr() else {
            self.kill(token);
            return Next::Nothing;
        };
        let request = RequestHead::new(head.raw);
        let remote = remote::client(&self.trusted_proxies, peer, &request);
        let upgrade = Upgrade { path: head.path, query: head.query, remote, request: &request };
        let verdict = endpoint.handler.admit(&self.service, &upgrade);
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        if verdict == Verdict::Later {
            let ticket = Ticket::new(Arc::clone(&self.inbox), token as u32, ticket);
            endpoint.handler.decide(&self.service, &upgrade, ticket);
        }
        let candidate = Candidate {
            accept: accept_key(handshake.key),
            protocol: handshake.protocol.map(str::to_owned),
            deflate: handshake
                .deflate
                .filter(|_| endpoint.options.compression && self.options.compression),
            endpoint,
            request,
            remote,
            reply,
            ticket,
        };
        match verdict {
            Verdict::Now(decision) => self.settle(token, candidate, decision),
            Verdict::Later => {
                self.park(token, candidate);
                Next::Wait
            }
        }
    }

    fn is_full(&self, endpoint: &Endpoint) -> bool {
        let limit = endpoint.options.max_connections;
        limit != 0 && self.service.registry().len_at(&endpoint.path) >= limit
    }

    /// Whether the endpoint was not removed while its handler decided.
    fn is_there(&self, endpoint: &Arc<Endpoint>) -> bool {
        let now = self.service.endpoint(&endpoint.path);
        now.is_some_and(|now| Arc::ptr_eq(&now, endpoint))
    }

    /// Decisions that came in while messages were delivered.
    pub(super) fn settle_decided(&mut self) {
        while let Some((token, ticket, decision)) = self.decided.pop() {
            let Some((candidate, mut carry)) = self.unpark(token, ticket) else { continue };
            match self.settle(token, candidate, decision) {
                Next::Frames if !carry.is_empty() => self.websocket_input(token, &mut carry),
                Next::Request if !carry.is_empty() => self.http_input(token, &mut carry),
                _ => {}
            }
            // What arrived while nothing was read.
            self.again.push(token);
        }
    }

    fn settle(&mut self, token: usize, candidate: Candidate, decision: Decision) -> Next {
        match decision {
            Decision::Refuse { status, reason } => {
                let status = if (400..600).contains(&status) { status } else { 403 };
                self.deny(token, &Answer::failure(status, &reason), candidate.reply)
            }
            Decision::Accept { .. } if self.stopping || self.is_full(&candidate.endpoint) => {
                self.turn_away(token, Limit::MaxConnections, candidate.reply)
            }
            Decision::Accept { .. } if !self.is_there(&candidate.endpoint) => {
                self.deny(token, &Answer::failure(404, "Not found"), candidate.reply)
            }
            Decision::Accept { id, user } => self.begin(token, candidate, id, user.as_deref()),
        }
    }

    fn begin(
        &mut self,
        token: usize,
        candidate: Candidate,
        id: Option<String>,
        user: Option<&str>,
    ) -> Next {
        let Candidate { endpoint, request, remote, accept, protocol, deflate, .. } = candidate;
        self.write_answers_of(token);
        if let Some(conn) = self.conns.get_mut(token) {
            conn.deflate = deflate.is_some();
        }
        // Its limits may have changed while the request waited.
        let now = self.service.endpoint(&endpoint.path);
        let endpoint =
            now.filter(|now| Arc::ptr_eq(&now.everyone, &endpoint.everyone)).unwrap_or(endpoint);
        let Some(everyone) = self.subscribe_everyone(token, &endpoint.everyone) else {
            self.kill(token);
            return Next::Nothing;
        };
        let id = id.unwrap_or_else(|| uuid::Uuid::new_v4().hyphenated().to_string());
        let origin = Origin {
            id: id.into(),
            dialect: endpoint.handler.dialect(),
            path: Arc::clone(&endpoint.path),
            remote,
            request,
            deflates: deflate.is_some(),
        };
        let home = Home { inbox: Arc::clone(&self.inbox), shard: self.id, token: token as u32 };
        let registry = self.service.registry();
        let connection = Arc::new(Connection::new(registry.new_serial(), origin, home));
        let displaced = registry.insert(&connection);
        // Whoever removed the endpoint meanwhile may have looked for its connections before this one
        // was among them.
        let removed = !self.is_there(&endpoint);
        if let Some(user) = user.filter(|user| !user.is_empty()) {
            // It cannot fail: the connection is open, and the user has a name.
            let _ = registry.bind(&connection, user);
        }
        let peer = Peer::new(Arc::clone(&endpoint), Arc::clone(&connection), everyone, self.now);
        let deadline = peer.deadline(0, self.now);
        let mut response = answer::switching_protocols(&accept, protocol.as_deref(), deflate, None);
        if let Some(greeting) = endpoint.handler.greeting(&connection) {
            response.extend_from_slice(greeting.frame());
            let traffic = connection.traffic();
            Gauges::add(&traffic.messages_out, 1);
            Gauges::add(&traffic.bytes_out, greeting.frame().len() as u64);
            Gauges::add(&self.gauges().delivered, 1);
        }
        let Some(conn) = self.conns.get_mut(token) else { return Next::Nothing };
        conn.lane = Lane::Peer(Box::new(peer));
        conn.deadline = deadline;
        // Before the client knows: who hears of the connection from it finds it whole.
        endpoint.handler.opened(&self.service, &connection, displaced.clone());
        if removed {
            connection.close(close::GOING_AWAY, "endpoint is gone");
        }
        let Some(conn) = self.conns.get_mut(token) else { return Next::Nothing };
        // Nothing but frames may ever wait in a WebSocket's queue.
        let sent = conn.queued() == 0 && conn.send_own(&response, 0) == Sent::All;
        Gauges::add(&gauges_of(&self.service, self.id).bytes_out, response.len() as u64);
        if let Some(displaced) = displaced {
            displaced.close(close::DISPLACED, "displaced by a connection with the same id");
        }
        if !sent {
            self.kill(token);
            return Next::Nothing;
        }
        Next::Frames
    }

    /// Keeps the request until it is decided about.
    fn park(&mut self, token: usize, candidate: Candidate) {
        let wait = self.options.request_timeout.as_millis() as u64;
        let Some(conn) = self.conns.get_mut(token) else { return };
        let Lane::Http(state) = &mut conn.lane else { return };
        state.get_or_insert_default().candidate = Some(Box::new(candidate));
        conn.stalled = true;
        conn.deadline = self.now + wait;
    }

    /// The request that a decision is about, and what came behind it.
    fn unpark(&mut self, token: usize, ticket: u64) -> Option<(Candidate, Vec<u8>)> {
        let conn = self.conns.get_mut(token)?;
        let Lane::Http(state) = &mut conn.lane else { return None };
        if conn.dead || state.as_ref()?.candidate.as_ref()?.ticket != ticket {
            return None;
        }
        conn.stalled = false;
        let state = state.take()?;
        Some((*state.candidate?, state.carry))
    }
}

impl Conn {
    /// Whether what comes from it waits: for a decision about it, or for an answer.
    pub(super) fn waits(&self) -> bool {
        matches!(
            &self.lane,
            Lane::Http(Some(state)) if state.candidate.is_some() || state.waiting.is_some()
        )
    }

    /// Whether it waits for a decision.
    pub(super) fn is_candidate(&self) -> bool {
        matches!(&self.lane, Lane::Http(Some(state)) if state.candidate.is_some())
    }
}
