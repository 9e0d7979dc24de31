//! The end of a shard's service: nobody is accepted, everybody is told when to come back, what is
//! queued is written, and whoever has not gone at the deadline is cut.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::conn::{AfterFlush, Lane};
use super::{Shard, http};
use crate::server::dialect::Closure;
use crate::wire::{Dialect, close, events, reconnect};

/// What a WebSocket is told when its server stops.
pub(super) const REASON: &str = "server is stopping";

/// The WebSockets and streams of events that were there when the server began to stop, and over
/// what time they are told to go.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    tokens: Vec<usize>,
    count: usize,
    /// In ms of the shard's clock.
    from: u64,
    spread: u64,
}

impl Leaving {
    fn new(mut tokens: Vec<usize>, from: u64, spread: u64) -> Self {
        // Those that came together do not go together.
        fastrand::shuffle(&mut tokens);
        Self { count: tokens.len(), tokens, from, spread }
    }

    /// The next one that is to be told by `now`.
    fn next(&mut self, now: u64) -> Option<usize> {
        let past = now.saturating_sub(self.from);
        let stay = match past >= self.spread {
            true => 0,
            // Rounded up: the last one goes at the end.
            false => {
                let left = u128::from(self.spread - past) * self.count as u128;
                usize::try_from(left.div_ceil(u128::from(self.spread))).unwrap_or(usize::MAX)
            }
        };
        match self.tokens.len() > stay {
            true => self.tokens.pop(),
            false => None,
        }
    }
}

impl Shard {
    /// Takes one step of stopping; true when nothing is left to wait for.
    pub(super) fn is_stopped(&mut self) -> bool {
        if !self.stopping {
            self.begin_stop();
        }
        while let Some(token) = self.leaving.next(self.now) {
            self.say_goodbye(token);
        }
        self.free_dead();
        if self.conns.is_empty() {
            return true;
        }
        if self.now < self.control.deadline_ms.load(SeqCst) {
            return false;
        }
        self.control.cut.store(true, SeqCst);
        true
    }

    fn begin_stop(&mut self) {
        self.stopping = true;
        self.close_listeners();
        // What was published before the stop, perhaps after this round's delivery.
        self.deliver();
        self.write_answers();
        let left = self.control.deadline_ms.load(SeqCst).saturating_sub(self.now);
        // Who is told last needs time for what is queued, too.
        let spread = (self.options.drain_spread.as_millis() as u64).min(left / 2);
        let tokens: Vec<usize> = self.conns.iter().map(|(token, _)| token).collect();
        let mut leaving = Vec::new();
        for token in tokens {
            let Some(conn) = self.conns.get_mut(token) else { continue };
            if conn.is_open_websocket() || matches!(conn.lane, Lane::Events(_)) {
                leaving.push(token);
            } else if conn.is_candidate() {
                self.refuse(token, http::STOPPING);
            } else if matches!(conn.lane, Lane::Http(None)) && conn.after_flush == AfterFlush::Stay
            {
                self.end_with(token, AfterFlush::Free);
            }
        }
        self.leaving = Leaving::new(leaving, self.now, spread);
    }

    /// Tells a client that it has to go, and when to come back.
    fn say_goodbye(&mut self, token: usize) {
        let Some(conn) = self.conns.get(token) else { return };
        let window = Some(self.options.reconnect_window).filter(|window| !window.is_zero());
        if conn.is_open_websocket() {
            // Whose server it is, the program, decides whether there will be another.
            let hosted = matches!(&conn.lane, Lane::Peer(peer)
                if peer.connection.dialect() == Dialect::Host);
            match window {
                _ if hosted => self.close_websocket(token, close::NORMAL, REASON),
                Some(window) => {
                    let reason = reconnect::reason(REASON, Duration::ZERO..=window);
                    self.close_websocket(token, close::RESTART, &reason);
                }
                None => self.close_websocket(token, close::GOING_AWAY, REASON),
            }
        } else if matches!(conn.lane, Lane::Events(_)) {
            if let Some(window) = window {
                // The format has one time, not a window: each stream gets its own.
                let retry = fastrand::u64(0..=window.as_millis() as u64);
                self.send_own(token, events::retry(retry).as_bytes());
            }
            self.end_events(token);
        }
    }

    /// What is left when the shard's thread ends.
    pub(super) fn finish(mut self) {
        // Handlers are told of every end.
        let tokens: Vec<usize> = self.conns.iter().map(|(token, _)| token).collect();
        for token in tokens {
            self.end_peer(token, || Closure {
                code: close::GOING_AWAY,
                reason: REASON.into(),
                by_peer: false,
            });
        }
        for (token, conn) in std::mem::take(&mut self.conns) {
            self.ledger.forget(token, self.service.gate(), self.now);
            self.forget(conn);
        }
        for (_, local) in std::mem::take(&mut self.locals) {
            local.abandon(self.id, self.gauges());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_leave_at_once_without_a_spread() {
        let mut leaving = Leaving::new((0..5).collect(), 100, 0);
        let mut all: Vec<_> = std::iter::from_fn(|| leaving.next(100)).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn with_a_spread_they_leave_evenly_and_all_by_its_end() {
        let mut leaving = Leaving::new((0..100).collect(), 1000, 50);
        let mut gone = 0;
        for now in 1000..=1050 {
            gone += std::iter::from_fn(|| leaving.next(now)).count();
            let due = (now - 1000) as usize * 2;
            assert_eq!(gone, due, "at {now}");
        }
        assert_eq!(gone, 100);
    }
}
