//! Sending to connections, and what follows from it.

use bytes::Bytes;

use super::conn::{AfterFlush, Lane, Sent};
use super::{Shard, gauges_of, overload};
use crate::hub::Gauges;
use crate::server::limits::Limit;
use crate::wire::close;

impl Shard {
    /// Everything was written: the connection goes on, or ends as was decided.
    pub(super) fn on_flushed(&mut self, token: usize) {
        let linger = self.options.handshake_timeout.as_millis() as u64;
        let Some(conn) = self.conns.get_mut(token) else { return };
        match conn.after_flush {
            AfterFlush::Free => self.kill(token),
            AfterFlush::Linger => {
                let _ = conn.stream.shutdown(std::net::Shutdown::Write);
                conn.lane = Lane::Lingering;
                conn.reader = None;
                conn.after_flush = AfterFlush::Stay;
                conn.deadline = self.now + linger;
                // What arrived meanwhile, and perhaps the end with it.
                self.again.push(token);
            }
            AfterFlush::Stay if conn.paused => {
                conn.paused = false;
                self.again.push(token);
            }
            AfterFlush::Stay => {}
        }
    }

    /// Sends bytes that are this connection's alone, within its bound.
    pub(super) fn send_own(&mut self, token: usize, bytes: &[u8]) {
        let max_queue = self.options.queue_bytes;
        let Some(conn) = self.conns.get_mut(token) else { return };
        let max_queue = max_queue + conn.margin();
        let before = conn.queued();
        let sent = conn.send_own(bytes, max_queue);
        self.after_send(token, sent, before, bytes.len());
    }

    /// The same for shared bytes, which are not copied when they have to wait.
    pub(super) fn send_shared(&mut self, token: usize, bytes: &Bytes) {
        let max_queue = self.options.queue_bytes;
        let Some(conn) = self.conns.get_mut(token) else { return };
        let max_queue = max_queue + conn.margin();
        let before = conn.queued();
        let sent = conn.send(bytes, max_queue);
        self.after_send(token, sent, before, bytes.len());
    }

    pub(super) fn after_send(&mut self, token: usize, sent: Sent, before: usize, len: usize) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        let queued = conn.queued() - before;
        if queued > 0 {
            conn.note_queueing(before, self.now);
        }
        let gauges = gauges_of(&self.service, self.id);
        Gauges::add(&gauges.queued_bytes, queued as u64);
        match sent {
            Sent::All | Sent::Queued => Gauges::add(&gauges.bytes_out, (len - queued) as u64),
            Sent::Full | Sent::Dead => self.on_send_failed(token, sent),
        }
    }

    /// Ends a stream of server-sent events behind what is queued. The client's own reconnection
    /// finds out why.
    pub(super) fn end_events(&mut self, token: usize) {
        self.unsubscribe_all(token);
        let wait = self.options.handshake_timeout.as_millis() as u64;
        if let Some(conn) = self.conns.get_mut(token) {
            conn.deadline = self.now + wait;
        }
        self.end_with(token, AfterFlush::Linger);
    }

    /// A connection cannot take what it was sent: it is closed.
    pub(super) fn on_send_failed(&mut self, token: usize, sent: Sent) {
        match sent {
            Sent::Full => {
                Gauges::add(&self.gauges().closed_slow, 1);
                self.service.note_limit(Limit::QueueBytes);
                let Some(conn) = self.conns.get_mut(token) else { return };
                if matches!(conn.lane, Lane::Events(_)) {
                    // There is no word for it in this format.
                    self.kill(token);
                    return;
                }
                conn.after_flush = AfterFlush::Stay;
                if let Some(peer) = conn.peer_mut() {
                    peer.drop_pending();
                }
                let before = conn.queued();
                let (service, id) = (&self.service, self.id);
                conn.drop_whole_frames(|tag, written| {
                    overload::book_gone(service, id, tag, written);
                });
                let dropped = (before - conn.queued()) as u64;
                Gauges::sub(&gauges_of(&self.service, self.id).queued_bytes, dropped);
                self.close_websocket(token, close::TOO_SLOW, "reader is too slow");
            }
            _ => self.kill(token),
        }
    }
}
