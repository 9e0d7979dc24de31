//! Connections with a name: WebSockets of the endpoints, whose handlers know what is said on them.
//!
//! What is sent to one of them from anywhere comes through the shard's inbox. The sends of a round
//! are joined per connection and written together.

use std::collections::HashMap;
use std::sync::Arc;

use super::conn::{Conn, Lane};
use super::encoding::Encoding;
use super::lists::Place;
use super::{Shard, gauges_of};
use crate::hub::{Connection, Gauges};
use crate::server::dialect::{Closure, Endpoint};
use crate::server::limits::Limit;
use crate::wire::handover::{Reader, Writer};
use crate::wire::websocket::{self, Message};
use crate::wire::{MessageKind, close};

/// A frame of this size is sent as it is rather than copied to its neighbours.
const LARGE: usize = 16 << 10;
/// Buffers that are kept for the next round, and the largest of them.
const MAX_SPARE: usize = 64;
const MAX_SPARE_BYTES: usize = 64 << 10;

/// What a shard knows of a connection with a name.
#[derive(Debug)]
pub(super) struct Peer {
    pub endpoint: Arc<Endpoint>,
    pub connection: Arc<Connection>,
    /// Its place among everyone of the endpoint.
    pub everyone: Place,
    /// Its places in the channels it is in, by channel number.
    pub places: HashMap<u64, Place>,
    /// Something came and is not read, because the handler is busy.
    pub held_back: bool,
    /// Input that was read and not looked at: it has to read its answers first.
    pub carry: Vec<u8>,
    /// Frames of this round that are its alone.
    pending: Vec<u8>,
    /// When to ping, or, while a pong is awaited, when that is late.
    ping_at: u64,
    /// When the socket last took something of what waits.
    progress_at: u64,
}

impl Peer {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        connection: Arc<Connection>,
        everyone: Place,
        now: u64,
    ) -> Self {
        let ping_at = match endpoint.options.ping_interval.as_millis() as u64 {
            0 => u64::MAX,
            // At a random moment, so that connections that came together do not stay in step.
            interval => now + fastrand::u64(1..=interval),
        };
        Self {
            endpoint,
            connection,
            everyone,
            places: HashMap::new(),
            held_back: false,
            carry: Vec::new(),
            pending: Vec::new(),
            ping_at,
            progress_at: now,
        }
    }

    /// Writes down its times and the input that was not looked at.
    pub(super) fn hand_over(&self, now: u64, out: &mut Writer) {
        out.u64(match self.ping_at {
            u64::MAX => u64::MAX,
            at => at.saturating_sub(now),
        });
        out.u64(now.saturating_sub(self.progress_at));
        out.bytes(&self.carry);
    }

    /// Reads what [`Peer::hand_over`] wrote.
    pub(super) fn take_over<'a>(input: &mut Reader<'a>) -> Option<(u64, u64, &'a [u8])> {
        Some((input.u64()?, input.u64()?, input.bytes()?))
    }

    /// Goes on where it was in another process, which wrote this down.
    pub(super) fn go_on(&mut self, (ping_in, before, carry): (u64, u64, &[u8]), now: u64) {
        self.ping_at = now.saturating_add(ping_in);
        self.progress_at = now.saturating_sub(before);
        self.carry = carry.to_vec();
    }

    /// Keeps to the limits of `endpoint` from now on: its own endpoint, with others than before.
    pub(super) fn follow(&mut self, endpoint: Arc<Endpoint>, awaiting_pong: bool, now: u64) {
        let before = std::mem::replace(&mut self.endpoint, endpoint).options.ping_interval;
        let interval = self.endpoint.options.ping_interval;
        if before != interval && !awaiting_pong {
            self.ping_at = match interval.as_millis() as u64 {
                0 => u64::MAX,
                interval => self.ping_at.min(now + fastrand::u64(1..=interval)),
            };
        }
    }

    fn heartbeat_at(&self, now: u64) -> u64 {
        let heartbeat = self.endpoint.options.heartbeat;
        match heartbeat.is_zero() {
            true => u64::MAX,
            false => {
                let left = heartbeat.saturating_sub(self.connection.since_beat());
                now.saturating_add(left.as_millis() as u64)
            }
        }
    }

    fn write_due(&self, queued: usize) -> u64 {
        let wait = self.endpoint.options.write_wait.as_millis() as u64;
        match queued == 0 || wait == 0 {
            true => u64::MAX,
            false => self.progress_at.saturating_add(wait),
        }
    }

    /// When something of it must be looked at again.
    pub(super) fn deadline(&self, queued: usize, now: u64) -> u64 {
        self.ping_at.min(self.heartbeat_at(now)).min(self.write_due(queued))
    }

    /// Something came from it.
    pub(super) fn heard(&mut self, awaited_pong: bool, now: u64) {
        if awaited_pong {
            self.ping_at = match self.endpoint.options.ping_interval.as_millis() as u64 {
                0 => u64::MAX,
                interval => now.saturating_add(interval),
            };
        }
    }

    /// Its queue was empty and is not any more.
    pub(super) fn queueing(&mut self, now: u64) -> u64 {
        self.progress_at = now;
        self.write_due(1)
    }

    /// Whether sends of this round wait.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Forgets them: the connection takes no more.
    pub(super) fn drop_pending(&mut self) {
        self.pending = Vec::new();
    }

    /// The socket took something.
    pub(super) fn progressed(&mut self, now: u64) {
        self.progress_at = now;
    }
}

impl Conn {
    pub(super) fn peer_mut(&mut self) -> Option<&mut Peer> {
        match &mut self.lane {
            Lane::Peer(peer) if !self.dead => Some(peer),
            _ => None,
        }
    }
}

impl Shard {
    /// The socket of a connection, while it is open.
    pub(super) fn token_of(&self, connection: &Arc<Connection>) -> Option<usize> {
        let token = connection.home().token as usize;
        match self.conns.get(token) {
            Some(Conn { lane: Lane::Peer(peer), dead: false, .. })
                if Arc::ptr_eq(&peer.connection, connection) =>
            {
                Some(token)
            }
            _ => None,
        }
    }

    /// Takes a message for one connection: it waits for its neighbours until the end of the round.
    pub(super) fn send_direct(&mut self, token: usize, message: &Message) {
        let deflated = match self.conns.get(token) {
            Some(conn) if conn.deflate => {
                Some(self.frame_for_deflating(Encoding::Frame, 0, message))
            }
            _ => None,
        };
        let frame = deflated.as_ref().unwrap_or(message.frame());
        let Some(peer) = self.conns.get_mut(token).and_then(Conn::peer_mut) else { return };
        let traffic = peer.connection.traffic();
        Gauges::add(&traffic.messages_out, 1);
        Gauges::add(&traffic.bytes_out, frame.len() as u64);
        let most = peer.endpoint.options.write_buffer_bytes;
        if frame.len() >= LARGE.min(most) {
            self.flush_peer(token);
            self.send_shared(token, frame);
        } else {
            if peer.pending.len() + frame.len() > most {
                self.flush_peer(token);
            }
            // Writing what it was sent before may have ended it.
            let Some(peer) = self.conns.get_mut(token).and_then(Conn::peer_mut) else { return };
            if peer.pending.is_empty() {
                if peer.pending.capacity() == 0 {
                    peer.pending = self.spare.pop().unwrap_or_default();
                }
                self.unwritten.push(token as u32);
            }
            peer.pending.extend_from_slice(frame);
        }
        Gauges::add(&self.gauges().delivered, 1);
    }

    /// Writes the sends that a connection has waiting.
    pub(super) fn flush_peer(&mut self, token: usize) {
        let Some(peer) = self.conns.get_mut(token).and_then(Conn::peer_mut) else { return };
        if peer.pending.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut peer.pending);
        self.send_own(token, &pending);
        pending.clear();
        if self.spare.len() < MAX_SPARE && pending.capacity() <= MAX_SPARE_BYTES {
            self.spare.push(pending);
        }
    }

    /// Writes the sends of all connections.
    pub(super) fn flush_peers(&mut self) {
        let mut tokens = std::mem::take(&mut self.unwritten);
        for token in tokens.drain(..) {
            self.flush_peer(token as usize);
        }
        self.unwritten = tokens;
    }

    /// Tells the handler that a connection has come to its end, and takes it out of everything. The
    /// socket stays, for the closing handshake. Does nothing to other lanes.
    pub(super) fn end_peer(&mut self, token: usize, closure: impl FnOnce() -> Closure) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        if !matches!(conn.lane, Lane::Peer(_)) {
            return;
        }
        let Lane::Peer(peer) = std::mem::replace(&mut conn.lane, Lane::Closing) else { return };
        let Peer { endpoint, connection, everyone, places, .. } = *peer;
        let closure = closure();
        let service = Arc::clone(&self.service);
        let later = endpoint.handler.ends_later(&service, &connection, &closure);
        if !later {
            endpoint.handler.closing(&connection, &closure);
        }
        // Each removal may move another subscriber, never this connection, which has no lane for it
        // any more.
        self.remove_everyone(everyone, &connection);
        for place in places.into_values() {
            self.remove_member(place, &connection);
        }
        if !later {
            service.forget(&connection);
            endpoint.handler.closed(&service, &connection, &closure);
        }
    }

    /// Who stands behind a socket, if it is one of an endpoint.
    pub(super) fn peer(&self, token: usize) -> Option<(Arc<Endpoint>, Arc<Connection>)> {
        match self.conns.get(token) {
            Some(Conn { lane: Lane::Peer(peer), dead: false, .. }) => {
                Some((Arc::clone(&peer.endpoint), Arc::clone(&peer.connection)))
            }
            _ => None,
        }
    }

    /// A message came from a connection.
    pub(super) fn on_peer_message(&mut self, token: usize, kind: MessageKind, data: &[u8]) {
        let Some((endpoint, connection)) = self.peer(token) else { return };
        Gauges::add(&connection.traffic().messages_in, 1);
        endpoint.handler.message(&self.service, &connection, kind, data);
    }

    /// Looks after the times of a connection.
    pub(super) fn on_peer_timeout(&mut self, token: usize) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(token) else { return };
        let queued = conn.queued();
        let (awaiting_pong, paused) = (conn.awaiting_pong, conn.paused);
        let Lane::Peer(peer) = &mut conn.lane else { return };
        // A sign of life may wait behind what is not read yet; the write wait goes on.
        let unread = paused || peer.held_back;
        if peer.heartbeat_at(now) <= now && !unread {
            self.close_websocket(token, close::NO_HEARTBEAT, "no heartbeat");
            return;
        }
        if peer.write_due(queued) <= now {
            Gauges::add(&gauges_of(&self.service, self.id).closed_slow, 1);
            self.end_peer(token, || Closure {
                code: 1006,
                reason: "client takes nothing".into(),
                by_peer: false,
            });
            self.kill(token);
            return;
        }
        if peer.ping_at <= now {
            if awaiting_pong && !unread {
                self.service.note_limit(Limit::PongWait);
                self.close_websocket(token, close::NO_PONG, "no pong");
                return;
            }
            let wait = peer.endpoint.options.pong_wait.as_millis() as u64;
            peer.ping_at = now + wait;
            conn.awaiting_pong = true;
            self.send_own(token, websocket::PING);
        }
        let wait = self.options.message_timeout.as_millis() as u64;
        if let Some(conn) = self.conns.get_mut(token) {
            let queued = conn.queued();
            let whole_by =
                conn.reader.as_ref().map_or(u64::MAX, |half| half.since.saturating_add(wait));
            if let Lane::Peer(peer) = &conn.lane {
                conn.deadline = peer.deadline(queued, now).min(whole_by);
            }
        }
    }
}
