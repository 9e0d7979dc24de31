//! Time limits, looked after by a coarse sweep instead of a timer per connection: a quarter of the
//! connections each time, so that none of the sweeps takes long.

use super::Shard;
use super::conn::{Conn, Lane};
use crate::server::ServerOptions;
use crate::server::limits::Limit;
use crate::wire::{close, events, websocket};

const PARTS: usize = 4;

/// ms between two sweeps. A limit is kept to within four of them: an eighth of the shortest limit,
/// or one second.
pub(super) fn interval(options: &ServerOptions) -> u64 {
    [
        options.handshake_timeout,
        options.request_timeout,
        options.message_timeout,
        options.idle_timeout,
        options.pong_wait,
        options.ping_interval,
    ]
    .iter()
    .filter(|limit| !limit.is_zero())
    .map(|limit| limit.as_millis() as u64 / (8 * PARTS as u64))
    .min()
    .unwrap_or(250)
    .clamp(1, 250)
}

impl Shard {
    /// Looks at the next part of the connections if it is time to.
    pub(super) fn sweep(&mut self) {
        if self.now < self.next_sweep {
            return;
        }
        let shortest = (self.service.shortest_ms() / (8 * PARTS as u64)).max(1);
        self.next_sweep = self.now + self.sweep_interval.min(shortest);
        self.service.expire_held();
        if std::mem::take(&mut self.accept_again) {
            self.accept();
        }
        let capacity = self.conns.capacity();
        let part = capacity.div_ceil(PARTS).max(64);
        let end = (self.sweep_at + part).min(capacity);
        for token in self.sweep_at..end {
            if let Some(conn) = self.conns.get(token)
                && conn.deadline <= self.now
                && !conn.dead
            {
                self.on_timeout(token);
            }
        }
        self.sweep_at = if end >= capacity { 0 } else { end };
    }

    fn on_timeout(&mut self, token: usize) {
        let options = &self.options;
        let pong_wait = options.pong_wait.as_millis() as u64;
        let pings = !options.ping_interval.is_zero();
        let next_ping = self.next_ping();
        if self.is_message_late(token) {
            self.service.note_limit(Limit::MessageTimeout);
            self.close_websocket(token, close::MESSAGE_TIMEOUT, "message took too long");
            return;
        }
        let Some(conn) = self.conns.get_mut(token) else { return };
        match &conn.lane {
            Lane::Http(None) => self.kill(token),
            Lane::Http(Some(_)) => self.time_out_request(token),
            Lane::Listener(_) | Lane::Metas(_) | Lane::Sender(_) | Lane::Stream(_) => {
                if conn.awaiting_pong {
                    self.service.note_limit(Limit::PongWait);
                    self.close_websocket(token, close::NO_PONG, "no pong");
                } else if pings {
                    conn.awaiting_pong = true;
                    conn.deadline = self.now + pong_wait;
                    self.send_own(token, websocket::PING);
                } else {
                    conn.deadline = u64::MAX;
                }
            }
            Lane::Events(_) => {
                conn.deadline = next_ping;
                self.send_own(token, events::KEEP_ALIVE);
            }
            Lane::Peer(_) => self.on_peer_timeout(token),
            Lane::Closing | Lane::Lingering => self.kill(token),
        }
    }

    /// When a WebSocket should be pinged next.
    pub(super) fn next_ping(&self) -> u64 {
        match self.options.ping_interval.as_millis() as u64 {
            0 => u64::MAX,
            interval => self.now + interval,
        }
    }

    /// When a WebSocket should be pinged first: at a random moment, so that connections that came
    /// together do not stay in step.
    pub(super) fn first_ping(&self) -> u64 {
        match self.options.ping_interval.as_millis() as u64 {
            0 => u64::MAX,
            interval => self.now + fastrand::u64(1..=interval),
        }
    }

    /// Something came from a WebSocket: it is alive.
    pub(super) fn heard(conn: &mut Conn, next_ping: u64) {
        if std::mem::take(&mut conn.awaiting_pong) {
            conn.deadline = next_ping;
        }
    }
}
