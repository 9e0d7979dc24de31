//! WebSocket connections: reading frames, publishing what senders send, the stream protocol, and
//! both ways into the closing handshake.

use std::io::Read;
use std::sync::Arc;

use super::conn::{AfterFlush, Conn, HalfRead, Lane};
use super::ledger::Pace;
use super::{Shard, gauges_of, stream};
use crate::hub::{Channel, Gauges};
use crate::server::dialect::Closure;
use crate::server::limits::Limit;
use crate::server::service::{Done, Patience, PublishOptions, Report};
use crate::wire::websocket::{Decoder, Event, Fault, Limits, Message, close_frame, pong_frame};
use crate::wire::{MessageKind, close};

/// Bytes of pongs that are written together.
const MAX_PONGS: usize = 16 << 10;

impl Shard {
    /// Reads once from a connection that is no HTTP connection (any more); true if more may wait.
    pub(super) fn read_websocket(&mut self, token: usize, scratch: &mut [u8]) -> bool {
        let Some(conn) = self.conns.get_mut(token) else { return false };
        match conn.stream.read(scratch) {
            Ok(0) => self.kill(token),
            Ok(n) => {
                let more = n == scratch.len() || conn.read_closed;
                let input = &mut scratch[..n];
                Gauges::add(&gauges_of(&self.service, self.id).bytes_in, n as u64);
                self.websocket_input(token, input);
                return more;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return true,
            Err(_) => self.kill(token),
        }
        false
    }

    /// Takes bytes that a WebSocket client sent.
    pub(super) fn websocket_input(&mut self, token: usize, input: &mut [u8]) {
        self.frames_input(token, input);
        self.write_pongs(token);
    }

    fn frames_input(&mut self, token: usize, mut input: &mut [u8]) {
        let max_message = self.options.max_message_bytes;
        let next_ping = self.next_ping();
        let Some(conn) = self.conns.get_mut(token) else { return };
        // Who takes events has nothing to say.
        if matches!(conn.lane, Lane::Lingering | Lane::Events(_))
            || conn.after_flush != AfterFlush::Stay
        {
            return;
        }
        let now = self.now;
        let limits = match &mut conn.lane {
            Lane::Peer(peer) => {
                Gauges::add(&peer.connection.traffic().bytes_in, input.len() as u64);
                peer.heard(std::mem::take(&mut conn.awaiting_pong), now);
                Limits::keep(peer.endpoint.options.max_message_bytes)
            }
            Lane::Sender(_) => Limits::keep(max_message),
            Lane::Stream(_) => stream::limits(max_message),
            // What a listener says is checked and not kept.
            _ => Limits::discard(max_message),
        };
        Self::heard(conn, next_ping);
        let max_fragments = u32::try_from(self.options.max_fragments).unwrap_or(u32::MAX);
        let limits = Limits { deflate: conn.deflate, max_fragments, ..limits };
        let HalfRead { mut decoder, mut since } = match conn.reader.take() {
            Some(half) => *half,
            None => HalfRead { decoder: Decoder::default(), since: now },
        };
        loop {
            match decoder.next(&mut input, limits) {
                Ok(None) => break,
                Ok(Some(Event::Message(kind, data))) => {
                    since = now;
                    self.on_message(token, kind, data);
                }
                Ok(Some(Event::TooLarge(kind, head, size))) => {
                    since = now;
                    self.on_too_large(token, kind, head, size);
                }
                Ok(Some(Event::Deflated(kind, data))) => {
                    since = now;
                    if let Err(fault) = self.on_deflated(token, kind, data, limits) {
                        self.on_fault(token, fault);
                        return;
                    }
                }
                Ok(Some(Event::Ping(data))) => self.on_ping(token, data),
                Ok(Some(Event::Pong)) => self.on_pong(token),
                Ok(Some(Event::Close(code, reason))) => {
                    self.on_close(token, code, reason);
                    return;
                }
                Err(fault) => {
                    self.on_fault(token, fault);
                    return;
                }
            }
            match self.conns.get(token) {
                Some(conn) if !conn.dead && conn.after_flush == AfterFlush::Stay => {}
                _ => return,
            }
            if !input.is_empty() && self.must_wait(token) {
                self.keep_input(token, input);
                break;
            }
        }
        if !decoder.is_idle()
            && let Some(conn) = self.conns.get_mut(token)
        {
            conn.reader = Some(Box::new(HalfRead { decoder, since }));
            // Perhaps earlier than a ping is due, and then the ping comes earlier too: only when the
            // deadline is there is looked what is late.
            let wait = self.options.message_timeout.as_millis() as u64;
            conn.deadline = conn.deadline.min(since.saturating_add(wait));
        }
    }

    /// Whether what else a connection of an endpoint asked must wait: a few bytes may ask for very
    /// much. It waits while it has many answers to read, and after what took long for its next turn.
    fn must_wait(&mut self, token: usize) -> bool {
        let Some(Conn { lane: Lane::Peer(peer), .. }) = self.conns.get(token) else {
            return false;
        };
        if peer.connection.takes_turns() {
            self.again.push(token);
            return true;
        }
        if self.inbox.bytes() >= self.options.queue_bytes / 4 {
            self.deliver();
        }
        self.conns.get(token).is_some_and(|conn| self.is_behind(conn))
    }

    fn keep_input(&mut self, token: usize, rest: &[u8]) {
        let Some(conn) = self.conns.get(token) else { return };
        let behind = self.is_behind(conn);
        let Some(conn) = self.conns.get_mut(token) else { return };
        conn.paused = behind;
        if let Some(peer) = conn.peer_mut() {
            peer.carry = rest.to_vec();
            // It is counted when it is looked at.
            Gauges::sub(&peer.connection.traffic().bytes_in, rest.len() as u64);
        }
    }

    /// Looks at input that was kept before more is read; false if there is none.
    pub(super) fn resume_input(&mut self, token: usize) -> bool {
        let Some(peer) = self.conns.get_mut(token).and_then(Conn::peer_mut) else { return false };
        if peer.carry.is_empty() {
            return false;
        }
        let mut carry = std::mem::take(&mut peer.carry);
        self.websocket_input(token, &mut carry);
        self.again.push(token);
        true
    }

    /// Whether a message of the connection has taken too long. The time in which the server does not
    /// read does not count.
    pub(super) fn is_message_late(&mut self, token: usize) -> bool {
        let (now, wait) = (self.now, self.options.message_timeout.as_millis() as u64);
        let congested = self.service.hub().is_congested();
        let Some(conn) = self.conns.get_mut(token) else { return false };
        let held_back = matches!(&conn.lane, Lane::Peer(peer) if peer.held_back);
        let unread = congested || conn.paused || held_back;
        let open = conn.is_open_websocket();
        match &mut conn.reader {
            Some(half) if open && half.since.saturating_add(wait) <= now => {
                if unread {
                    half.since = now;
                }
                !unread
            }
            _ => false,
        }
    }

    /// The peer broke the protocol or a limit.
    fn on_fault(&mut self, token: usize, fault: Fault) {
        Gauges::add(&self.gauges().rejected, 1);
        match fault {
            Fault::TOO_MANY_FRAGMENTS => self.service.note_limit(Limit::MaxFragments),
            Fault { code: close::TOO_BIG, .. } => self.service.note_limit(Limit::MaxMessageBytes),
            _ => {}
        }
        self.write_pongs(token);
        self.close_websocket(token, fault.code, fault.reason);
        self.discard_input(token);
    }

    /// A message that came compressed: decompressed within the limits, and then as any other.
    fn on_deflated(
        &mut self,
        token: usize,
        kind: MessageKind,
        data: &[u8],
        limits: Limits,
    ) -> Result<(), Fault> {
        let mut inflater = std::mem::take(&mut self.inflater);
        let inflated = inflater.inflate(kind, data, limits).map(|event| {
            Gauges::add(&self.gauges().inflations, 1);
            match event {
                Event::Message(kind, data) => self.on_message(token, kind, data),
                Event::TooLarge(kind, head, size) => self.on_too_large(token, kind, head, size),
                _ => debug_assert!(false, "a message is all that can be compressed"),
            }
        });
        self.inflater = inflater;
        inflated
    }

    /// The pongs of one input are written together: whoever sends pings as fast as it can costs no
    /// system call for each.
    fn on_ping(&mut self, token: usize, data: &[u8]) {
        if self.ledger.is_metered() && !self.counts(token) {
            return;
        }
        self.pongs.extend_from_slice(&pong_frame(data));
        if self.pongs.len() >= MAX_PONGS {
            self.write_pongs(token);
        }
        if let Some((endpoint, connection)) = self.peer(token) {
            endpoint.handler.pinged(&connection, data);
        }
    }

    /// Writes the pongs to the connection whose input is being read. Once a Close was sent, nothing
    /// may follow it.
    fn write_pongs(&mut self, token: usize) {
        if self.pongs.is_empty() {
            return;
        }
        let mut pongs = std::mem::take(&mut self.pongs);
        if self.conns.get(token).is_some_and(Conn::is_open_websocket) {
            self.send_own(token, &pongs);
        }
        pongs.clear();
        self.pongs = pongs;
    }

    fn on_pong(&mut self, token: usize) {
        if self.ledger.is_metered() && !self.counts(token) {
            return;
        }
        if let Some((endpoint, connection)) = self.peer(token) {
            endpoint.handler.ponged(&connection);
        }
    }

    /// Counts something that a WebSocket sent; false when it is over the connection's rate, and
    /// then, if that goes on, the connection is being closed.
    #[cold]
    pub(super) fn counts(&mut self, token: usize) -> bool {
        let pace = self.ledger.meter(token, self.now);
        if pace == Pace::Kept {
            return true;
        }
        Gauges::add(&self.gauges().rejected, 1);
        self.service.note_limit(Limit::MessageRate);
        if pace == Pace::Flood {
            self.end_flood(token);
        }
        false
    }

    fn end_flood(&mut self, token: usize) {
        if !self.conns.get(token).is_some_and(Conn::is_open_websocket) {
            return;
        }
        // The answers to those before wait in the inbox, or are pongs.
        self.deliver();
        self.write_pongs(token);
        self.close_websocket(token, close::TOO_FAST, "too many messages");
    }

    /// Answers a message that is over the connection's rate. Where there are no answers, a client
    /// whose message is lost is told by the Close.
    #[cold]
    pub(super) fn refuse_message(&mut self, token: usize, kind: MessageKind, data: &[u8]) {
        let text = self.too_fast();
        match self.conns.get(token).map(|conn| &conn.lane) {
            Some(Lane::Stream(_)) => self.refuse_stream_message(token, kind, data, &text),
            Some(Lane::Peer(peer)) => {
                let told = peer.endpoint.handler.over_rate(&peer.connection, data, &text);
                if !told {
                    self.end_flood(token);
                }
            }
            _ => self.end_flood(token),
        }
    }

    fn on_message(&mut self, token: usize, kind: MessageKind, data: &[u8]) {
        if self.ledger.is_metered() && !self.counts(token) {
            self.refuse_message(token, kind, data);
            return;
        }
        match self.conns.get(token).map(|conn| &conn.lane) {
            Some(Lane::Sender(channel)) => {
                let message = Message::new(kind, data);
                let published = match channel.hold() {
                    None if !channel.commits() => {
                        self.service.publish_to(channel, message).map(drop)
                    }
                    // Nobody is told what becomes of it: it waits for as long as it takes. The
                    // connection is not read meanwhile.
                    _ => {
                        let (options, patience) = (PublishOptions::default(), Patience::Endless);
                        let name = Arc::clone(channel);
                        let later = || -> Done { Box::new(move |told| lost(&name, told)) };
                        let report = self
                            .service
                            .publish_patiently(channel, &message, options, patience, later);
                        report.map_or(Ok(()), |report| report.map(drop))
                    }
                };
                if published.is_err() {
                    self.close_websocket(token, close::CHANNEL_DELETED, "channel deleted");
                }
            }
            Some(Lane::Stream(_)) => self.on_stream_message(token, kind, data),
            Some(Lane::Peer(_)) => self.on_peer_message(token, kind, data),
            _ => {}
        }
    }

    pub(super) fn on_no_request(&mut self, token: usize) {
        Gauges::add(&self.gauges().rejected, 1);
        self.close_websocket(token, close::PROTOCOL_ERROR, "not a request packet");
        self.discard_input(token);
    }

    /// The peer closes: it gets its code back behind what is queued, and the socket goes.
    fn on_close(&mut self, token: usize, code: u16, reason: &str) {
        self.write_pongs(token);
        self.write_answers_of(token);
        self.flush_peer(token);
        if self.conns.get(token).is_some_and(Conn::is_open_websocket) {
            self.send_own(token, &close_frame(code, ""));
        }
        self.end_peer(token, || Closure { code, reason: reason.into(), by_peer: true });
        self.unsubscribe_all(token);
        self.end_with(token, AfterFlush::Free);
    }

    /// Begins the closing handshake: no more messages, a Close behind what is queued, and a limited
    /// time for the peer's Close.
    pub(super) fn close_websocket(&mut self, token: usize, code: u16, reason: &str) {
        self.write_answers_of(token);
        let was_peer = self.peer(token).is_some();
        self.flush_peer(token);
        if was_peer && self.peer(token).is_none() {
            // Writing what it was sent before has failed and ended it.
            return;
        }
        self.end_peer(token, || Closure { code, reason: reason.into(), by_peer: false });
        self.unsubscribe_all(token);
        let wait = self.options.handshake_timeout.as_millis() as u64;
        let Some(conn) = self.conns.get_mut(token) else { return };
        if conn.dead {
            return;
        }
        conn.lane = Lane::Closing;
        conn.deadline = self.now + wait;
        let before = conn.queued();
        conn.push(close_frame(code, reason).into(), 0);
        Gauges::add(
            &gauges_of(&self.service, self.id).queued_bytes,
            (conn.queued() - before) as u64,
        );
        self.on_writable(token);
    }

    /// Nothing that the peer still sends can be understood: it is thrown away until it ends.
    fn discard_input(&mut self, token: usize) {
        self.end_with(token, AfterFlush::Linger);
    }

    /// Lets the connection end once everything is written.
    pub(super) fn end_with(&mut self, token: usize, after_flush: AfterFlush) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        if conn.dead {
            return;
        }
        conn.after_flush = after_flush;
        if conn.queued() == 0 {
            self.on_flushed(token);
        }
    }

    /// Turns an upgraded connection into a sender.
    pub(super) fn become_sender(&mut self, token: usize, channel: Arc<crate::hub::Channel>) {
        if let Some(conn) = self.conns.get_mut(token) {
            conn.lane = Lane::Sender(channel);
        }
    }
}

/// A message whose publisher is told nothing was not published.
fn lost(channel: &Channel, told: crate::Result<Report>) {
    if let Err(error) = told {
        log::warn!(target: "qyun::server", "a message to '{}' is lost: {error}", channel.name());
    }
}
