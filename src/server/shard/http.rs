//! HTTP connections: reading requests, executing them, and collecting the answers.
//!
//! The hot request, a GET that sends, costs one parse, one cache look-up, one allocation (the
//! message's frame) and a copy of a prepared answer. Everything else takes the ordinary way.

use std::io::Read;
use std::sync::Arc;

use super::admit::Candidate;
use super::answers::{MAX_ANSWERS, Reply};
use super::conn::{AfterFlush, Conn, Lane};
use super::late::Waiting;
use super::ledger::Pace;
use super::{Shard, gauges_of};
use crate::hub::{Channel, Gauges};
use crate::server::answer::Answer;
use crate::server::call::{Call, Plan};
use crate::server::dialect::allows_origin;
use crate::server::limits::Limit;
use crate::server::{ServerOptions, admin};
use crate::wire::http::{Body, BodyFault, Head, Parsed, Refusal, find_end};
use crate::wire::websocket::Message;
use crate::wire::{MessageKind, percent};
use crate::{Error, ErrorKind};

/// Names in a shard's cache.
const MAX_CACHED: usize = 4096;

/// The answer to a connection that waits while the server stops.
pub(super) const STOPPING: Refusal = Refusal { status: 503, message: "Server is stopping" };

/// A request that is half read.
#[derive(Debug, Default)]
pub(super) struct HttpState {
    /// Input that was not used yet: a part of a head, or whole requests that wait.
    pub carry: Vec<u8>,
    /// How much of it was searched for a head's end.
    searched: usize,
    /// A request whose body is being read.
    request: Option<(Call, Body, Reply)>,
    /// The head of that request, unless all of it came at once.
    head: Box<[u8]>,
    /// A WebSocket that waits to be admitted; what came behind its head is in `carry`.
    pub candidate: Option<Box<Candidate>>,
    /// A request that waits for its answer; what came behind it is in `carry`.
    pub waiting: Option<Waiting>,
}

impl HttpState {
    /// The state of a connection that is to be given `input` first.
    pub(super) fn replaying(input: &[u8]) -> Self {
        Self { carry: input.to_vec(), ..Self::default() }
    }

    /// Input that brings a new connection to this state. Nothing of it was executed.
    pub(super) fn replay(&self) -> Vec<u8> {
        let mut input = Vec::new();
        if let Some((_, body, _)) = &self.request {
            // It was told to continue already.
            let lines = self.head.split_inclusive(|byte| *byte == b'\n');
            let expects = |line: &[u8]| {
                line.get(..7).is_some_and(|name| name.eq_ignore_ascii_case(b"expect:"))
            };
            lines.filter(|line| !expects(line)).for_each(|line| input.extend_from_slice(line));
            body.replay(&mut input);
        }
        input.extend_from_slice(&self.carry);
        input
    }
}

/// Whether to go on with a connection's input.
pub(super) enum Next {
    /// With the next request.
    Request,
    /// With the request's body.
    Body,
    /// With WebSocket frames.
    Frames,
    /// When it is decided whether the WebSocket is admitted, or the request's answer is there.
    Wait,
    /// Not at all.
    Nothing,
}

impl Shard {
    /// Reads once from an HTTP connection; true if more may wait.
    pub(super) fn read_http(&mut self, token: usize, scratch: &mut [u8]) -> bool {
        let Some(conn) = self.conns.get_mut(token) else { return false };
        if conn.queued() > 0 {
            // A client that does not read its answers gets no more of them.
            conn.paused = true;
            return false;
        }
        if conn.after_flush != AfterFlush::Stay {
            return false;
        }
        if conn.stalled {
            // It is on the list of those to read again, which is where its input is looked at:
            // only then are the answers that it has to read first written.
            return false;
        }
        match conn.stream.read(scratch) {
            Ok(0) => {
                // Who ended its side may still wait for what it asked before.
                self.write_answers_of(token);
                self.end_with(token, AfterFlush::Free);
            }
            Ok(n) => {
                let more = n == scratch.len() || conn.read_closed;
                Gauges::add(&gauges_of(&self.service, self.id).bytes_in, n as u64);
                let input = &mut scratch[..n];
                self.http_input(token, input);
                return more;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return true,
            Err(_) => self.kill(token),
        }
        false
    }

    /// Takes bytes that an HTTP client sent, and executes the requests that are whole.
    pub(super) fn http_input(&mut self, token: usize, input: &mut [u8]) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        let Lane::Http(state) = &mut conn.lane else { return };
        let mut joined;
        let input = match state.take() {
            None => input,
            Some(mut held) if held.request.is_none() => {
                // Part of a head waits. Only the new bytes are searched for its end, so that a
                // head that comes in small pieces costs no more than one that comes at once.
                held.carry.extend_from_slice(input);
                if find_end(&held.carry, held.searched).is_none() {
                    held.searched = held.carry.len();
                    let fault = head_limit(&self.options, &held.carry);
                    *state = Some(held);
                    if let Some(refusal) = fault {
                        self.refuse(token, refusal);
                    }
                    return;
                }
                joined = std::mem::take(&mut held.carry);
                &mut joined[..]
            }
            Some(held) => {
                *state = Some(held);
                input
            }
        };
        let mut at = 0;
        loop {
            let rest = input.get_mut(at..).unwrap_or_default();
            let next = match self.reads_body(token) {
                true => self.body_input(token, rest),
                false if rest.is_empty() => return,
                false => self.request_input(token, rest),
            };
            let Some((next, used)) = next else { return };
            at += used;
            match next {
                Next::Request | Next::Body => {}
                Next::Frames => {
                    let rest = input.get_mut(at..).unwrap_or_default();
                    if !rest.is_empty() {
                        self.websocket_input(token, rest);
                    }
                    return;
                }
                Next::Wait => {
                    let rest = input.get_mut(at..).unwrap_or_default();
                    if let Some(Some(state)) = http_state(&mut self.conns, token) {
                        state.carry = rest.to_vec();
                    }
                    return;
                }
                Next::Nothing => return,
            }
            if self.answers.waiting_for(token) > MAX_ANSWERS && at < input.len() {
                self.stall(token, input.get(at..).unwrap_or_default());
                return;
            }
        }
    }

    /// Looks at the input of a connection that was stalled, if its answers have been taken.
    pub(super) fn resume_http(&mut self, token: usize) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        if !conn.stalled || conn.queued() > 0 || conn.dead || conn.waits() {
            return;
        }
        conn.stalled = false;
        if let Lane::Http(Some(state)) = &mut conn.lane {
            let mut carry = std::mem::take(&mut state.carry);
            state.searched = 0;
            self.http_input(token, &mut carry);
        }
    }

    /// Keeps input for later: the connection has to read its answers first.
    pub(super) fn stall(&mut self, token: usize, rest: &[u8]) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        let Lane::Http(state) = &mut conn.lane else { return };
        state.get_or_insert_default().carry = rest.to_vec();
        conn.stalled = true;
        conn.deadline = self.now + self.options.request_timeout.as_millis() as u64;
        self.again.push(token);
    }

    fn reads_body(&self, token: usize) -> bool {
        match self.conns.get(token).map(|conn| &conn.lane) {
            Some(Lane::Http(Some(state))) => state.request.is_some(),
            _ => false,
        }
    }

    /// Reads one head and executes its request if it has no body. `None`: the head is not whole.
    fn request_input(&mut self, token: usize, input: &mut [u8]) -> Option<(Next, usize)> {
        match self.heads.parse(input) {
            Parsed::Head(head, size) => match head_limit(&self.options, input.get(..size)?) {
                None => {
                    let next = self.on_head(token, &head);
                    if matches!(next, Next::Body) {
                        self.keep_head(token, input.split_at_checked(size)?);
                    }
                    Some((next, size))
                }
                Some(refusal) => {
                    self.refuse(token, refusal);
                    Some((Next::Nothing, size))
                }
            },
            Parsed::Refused(refusal) => {
                self.refuse(token, refusal);
                None
            }
            Parsed::Partial => {
                let fault = head_limit(&self.options, input);
                let wait = self.options.handshake_timeout.as_millis() as u64;
                let conn = self.conns.get_mut(token)?;
                let Lane::Http(state) = &mut conn.lane else { return None };
                let state = state.get_or_insert_default();
                state.carry = input.to_vec();
                state.searched = input.len();
                // The time for a head runs from its first byte, the first head's from the accept.
                conn.deadline = conn.deadline.min(self.now + wait);
                if let Some(refusal) = fault {
                    self.refuse(token, refusal);
                }
                None
            }
        }
    }

    fn on_head(&mut self, token: usize, head: &Head<'_>) -> Next {
        let reply = Reply {
            keep_alive: head.keep_alive && !self.stopping,
            head_only: head.method == "HEAD",
        };
        if self.ledger.is_metered()
            && let Some(refused) = self.keep_pace(token, reply)
        {
            return self.start_body(token, head, Call::Refuse(refused.0), refused.1);
        }
        match Plan::of(head) {
            Plan::SendInPath { name, message } if head.has_no_body() => {
                match self.send_in_path(name, message) {
                    Ok(true) => self.answer_broadcasted(token, reply),
                    Ok(false) => {
                        let call = Call::send_in_path(name, message);
                        return self.start_body(token, head, call, reply);
                    }
                    // Its publishers wait.
                    Err(error) if error.kind() == ErrorKind::QueueFull => {
                        let call = Call::send_in_path(name, message);
                        return self.start_body(token, head, call, reply);
                    }
                    Err(error) => self.answer(token, &Answer::error(&error), reply),
                }
            }
            Plan::SendInPath { name, message } => {
                let call = Call::send_in_path(name, message);
                return self.start_body(token, head, call, reply);
            }
            Plan::Upgrade { target, handshake } => {
                if let Err(limit) = self.pass_gate(token, head.raw) {
                    return self.turn_away(token, limit, reply);
                }
                if !allows_origin(&self.options.origins, head.origin) {
                    let answer = Answer::failure(403, "Origin is not allowed");
                    self.answer(token, &answer, reply);
                    return self.after_request(token, reply);
                }
                if self.stopping {
                    self.refuse(token, STOPPING);
                    return Next::Nothing;
                }
                return self.upgrade(token, &target, &handshake, reply);
            }
            // It would be told to go by nobody.
            Plan::Events { .. } if self.stopping => {
                self.refuse(token, STOPPING);
                return Next::Nothing;
            }
            Plan::Elsewhere => return self.elsewhere(token, head, reply),
            Plan::Events { name, since } => {
                return match self.pass_gate(token, head.raw) {
                    Ok(()) => self.start_events(token, name, since, reply),
                    Err(limit) => self.turn_away(token, limit, reply),
                };
            }
            Plan::Admin => {
                let conn = self.conns.get(token);
                let peer = conn.and_then(|conn| conn.stream.peer_addr().ok());
                let call = admin::call(&self.service, head, peer);
                return self.start_body(token, head, call, reply);
            }
            Plan::Call(call) => return self.start_body(token, head, call, reply),
        }
        self.after_request(token, reply)
    }

    /// Counts a request; what it is answered instead, when the connection is over its rate.
    #[cold]
    fn keep_pace(&mut self, token: usize, reply: Reply) -> Option<(Answer, Reply)> {
        let pace = self.ledger.meter(token, self.now);
        if pace == Pace::Kept {
            return None;
        }
        self.service.note_limit(Limit::MessageRate);
        let keep_alive = reply.keep_alive && pace == Pace::Over;
        Some((Answer::failure(429, &self.too_fast()), Reply { keep_alive, ..reply }))
    }

    /// What is said to a connection that is over its rate.
    pub(super) fn too_fast(&self) -> String {
        let rate = self.options.message_rate;
        format!("Too many messages: this connection may send {rate} a second")
    }

    /// A handshake that is over a limit.
    pub(super) fn turn_away(&mut self, token: usize, limit: Limit, reply: Reply) -> Next {
        self.service.note_limit(limit);
        self.answer(token, &Answer::refusal(limit.refusal()), reply);
        self.after_request(token, reply)
    }

    /// Begins to read a request's body, or executes the request at once if it has none.
    fn start_body(&mut self, token: usize, head: &Head<'_>, call: Call, reply: Reply) -> Next {
        if head.has_no_body() {
            return self.execute(token, call, &[], reply);
        }
        let body = match Body::new(head.framing, call.max_body(&self.options)) {
            Ok(body) => body,
            Err(fault) => {
                self.refuse(token, body_refusal(fault));
                return Next::Nothing;
            }
        };
        if head.expects_continue {
            self.answers.push_for(token, b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let wait = self.options.request_timeout.as_millis() as u64;
        let Some(conn) = self.conns.get_mut(token) else { return Next::Nothing };
        conn.deadline = self.now + wait;
        if let Lane::Http(state) = &mut conn.lane {
            state.get_or_insert_default().request = Some((call, body, reply));
        }
        Next::Body
    }

    /// Keeps the head of a request whose body is not all there.
    fn keep_head(&mut self, token: usize, (head, rest): (&[u8], &[u8])) {
        if let Some(Some(state)) = http_state(&mut self.conns, token)
            && let Some((_, body, _)) = &state.request
            && !body.is_within(rest)
        {
            state.head = head.into();
        }
    }

    /// Takes input for a body. `None`: the body is not whole.
    fn body_input(&mut self, token: usize, input: &mut [u8]) -> Option<(Next, usize)> {
        let state = http_state(&mut self.conns, token)?;
        let (_, body, _) = state.as_mut()?.request.as_mut()?;
        let mut rest = &*input;
        match body.read(&mut rest) {
            Ok(false) => None,
            Ok(true) => {
                let used = input.len() - rest.len();
                let (call, body, reply) = state.take()?.request?;
                Some((self.execute(token, call, &body.into_data(), reply), used))
            }
            Err(fault) => {
                self.refuse(token, body_refusal(fault));
                None
            }
        }
    }

    /// A request is done: the next one may come, or the connection ends.
    pub(super) fn after_request(&mut self, token: usize, reply: Reply) -> Next {
        if !reply.keep_alive {
            self.end_after_answer(token);
            return Next::Nothing;
        }
        let wait = self.options.idle_timeout.as_millis() as u64;
        if let Some(conn) = self.conns.get_mut(token) {
            conn.deadline = self.now + wait;
        }
        Next::Request
    }

    /// The hot request. False, and nothing is done, if its answer will come later.
    fn send_in_path(&mut self, name: &str, message: &str) -> Result<bool, Error> {
        let text = percent::decode(message)?;
        let limit = self.options.max_url_message_bytes;
        if text.len() > limit {
            self.service.note_limit(Limit::MaxUrlMessageBytes);
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("Message has {} bytes; the limit in a URL is {limit}: POST it", text.len()),
            ));
        }
        let message = || Message::new(MessageKind::Text, text.as_bytes());
        if let Some(channel) = self.cache.get(name) {
            if channel.commits() {
                return Ok(false);
            }
            match self.service.publish_to(channel, message()) {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::QueueFull => return Err(error),
                Err(_) => self.cache.remove(name),
            };
        }
        let channel = self.service.find(&percent::decode(name)?)?;
        if channel.commits() {
            return Ok(false);
        }
        self.service.publish_to(&channel, message())?;
        self.remember(name, channel);
        Ok(true)
    }

    fn remember(&mut self, name: &str, channel: Arc<Channel>) {
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(name.into(), channel);
    }

    /// Answers input that is no acceptable request, and ends the connection: where the next
    /// request would begin is not known for sure.
    pub(super) fn refuse(&mut self, token: usize, refusal: Refusal) {
        match refusal.status {
            413 => self.service.note_limit(Limit::MaxMessageBytes),
            414 | 431 => self.service.note_limit(Limit::MaxHeaderBytes),
            _ => {}
        }
        let answer = Answer::refusal(refusal);
        self.answer(token, &answer, Reply { keep_alive: false, head_only: false });
        self.end_after_answer(token);
    }

    /// The client took too long over a request, or it over its answer.
    pub(super) fn time_out_request(&mut self, token: usize) {
        if self.give_up(token) {
            return;
        }
        let head = self.conns.get(token).is_some_and(|conn| match &conn.lane {
            Lane::Http(Some(state)) => state.request.is_none() && !conn.stalled,
            _ => false,
        });
        self.service.note_limit(match head {
            true => Limit::HandshakeTimeout,
            false => Limit::RequestTimeout,
        });
        self.refuse(token, Refusal { status: 408, message: "Request took too long" });
        self.write_answers_of(token);
    }

    fn end_after_answer(&mut self, token: usize) {
        if let Some(conn) = self.conns.get_mut(token) {
            conn.after_flush = AfterFlush::Linger;
            conn.lane = Lane::Http(None);
        }
    }
}

/// The state of a connection that is known to speak HTTP.
fn http_state(conns: &mut slab::Slab<Conn>, token: usize) -> Option<&mut Option<Box<HttpState>>> {
    match &mut conns.get_mut(token)?.lane {
        Lane::Http(state) => Some(state),
        _ => None,
    }
}

/// What is too long about a head, whole or not.
fn head_limit(options: &ServerOptions, head: &[u8]) -> Option<Refusal> {
    if head.len() <= options.max_header_bytes {
        return None;
    }
    let line = memchr::memchr(b'\n', head).unwrap_or(head.len());
    // An encoded byte takes three, and a name is at most 255 of them.
    if line > 3 * (options.max_url_message_bytes + 255) + 1024 {
        return Some(Refusal { status: 414, message: "Request target is too long" });
    }
    (head.len() - line > options.max_header_bytes)
        .then_some(Refusal { status: 431, message: "Request header is too long" })
}

fn body_refusal(fault: BodyFault) -> Refusal {
    match fault {
        BodyFault::TooLarge => Refusal { status: 413, message: "Body is over the limit" },
        BodyFault::Malformed => Refusal { status: 400, message: "Malformed chunked body" },
    }
}
