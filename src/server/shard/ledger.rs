//! What a shard keeps of its connections for the limits that are off by default, beside the
//! connections: while those limits are off, nothing.

use std::collections::HashMap;

use super::Shard;
use super::conn::{Conn, Lane};
use crate::server::limits::{Bucket, Gate, GateLimits, Limit, Party, Rate};
use crate::server::{ServerOptions, remote};
use crate::wire::http::RequestHead;

/// Whether a connection keeps to its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Kept,
    /// The message or request is refused.
    Over,
    /// As many as a whole burst were refused in a row: the connection is ended.
    Flood,
}

#[derive(Debug)]
pub(super) struct Ledger {
    gate: GateLimits,
    rate: Option<Rate>,
    /// Which address each connection counts for, by token; those that came while there was a limit.
    parties: HashMap<usize, Party, foldhash::fast::RandomState>,
    /// By token; as long as it has to be.
    meters: Vec<Meter>,
}

#[derive(Debug, Clone, Default)]
struct Meter {
    bucket: Bucket,
    /// Refused since the last one that was not.
    refused: u64,
}

fn rate(options: &ServerOptions) -> Option<Rate> {
    Rate::new(options.message_rate, options.message_burst)
}

impl Ledger {
    pub(super) fn new(options: &ServerOptions) -> Self {
        Self {
            gate: GateLimits::of(options),
            rate: rate(options),
            parties: HashMap::default(),
            meters: Vec::new(),
        }
    }

    /// Takes other options over; true when connections are to be counted by address from now on
    /// that were not before.
    fn follow(&mut self, options: &ServerOptions) -> bool {
        let before = std::mem::replace(&mut self.gate, GateLimits::of(options));
        self.rate = rate(options);
        if self.rate.is_none() {
            self.meters = Vec::new();
        }
        self.gate.counts_connections() && !before.counts_connections()
    }

    /// Whether messages and requests are counted at all.
    pub(super) fn is_metered(&self) -> bool {
        self.rate.is_some()
    }

    /// Counts a message or request at `now`, in ms.
    pub(super) fn meter(&mut self, token: usize, now: u64) -> Pace {
        let Some(rate) = self.rate else { return Pace::Kept };
        if token >= self.meters.len() {
            self.meters.resize(token + 1, Meter::default());
        }
        let Some(meter) = self.meters.get_mut(token) else { return Pace::Kept };
        if meter.bucket.take(now, rate) {
            meter.refused = 0;
            return Pace::Kept;
        }
        meter.refused += 1;
        if meter.refused > rate.burst() { Pace::Flood } else { Pace::Over }
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, token: usize, gate: &Gate, now: u64) {
        if let Some(meter) = self.meters.get_mut(token) {
            *meter = Meter::default();
        }
        if !self.parties.is_empty()
            && let Some(party) = self.parties.remove(&token)
        {
            gate.leave(party, now);
        }
    }
}

impl Shard {
    /// Whether a connection from `peer` is within the limits of its address; counts it in. Who stands
    /// behind a proxy is counted when it says who it is.
    pub(super) fn enter_gate(&mut self, token: usize, peer: std::net::IpAddr) -> Result<(), Limit> {
        let ledger = &mut self.ledger;
        if !ledger.gate.counts_connections() || remote::is_in(&self.trusted_proxies, peer) {
            return Ok(());
        }
        let party = Party::from(peer);
        self.service.gate().enter(party, self.now, &ledger.gate)?;
        ledger.parties.insert(token, party);
        Ok(())
    }

    /// Whether a handshake, whose head is `raw`, is within the limits. One that came by a trusted
    /// proxy is the first that is heard of its client, whose connection is counted in now.
    pub(super) fn pass_gate(&mut self, token: usize, raw: &[u8]) -> Result<(), Limit> {
        let limits = self.ledger.gate;
        if !limits.counts_connections() && !limits.counts_handshakes() {
            return Ok(());
        }
        let Some(Ok(peer)) = self.conns.get(token).map(|conn| conn.stream.peer_addr()) else {
            return Ok(());
        };
        let proxied = remote::is_in(&self.trusted_proxies, peer.ip());
        let client = match proxied {
            true => remote::client(&self.trusted_proxies, peer, &RequestHead::new(raw)).ip(),
            false => peer.ip(),
        };
        let party = Party::from(client);
        let gate = self.service.gate();
        if limits.counts_handshakes() {
            gate.handshake(party, self.now, &limits)?;
        }
        if proxied && client != peer.ip() && limits.counts_connections() {
            // A proxy may keep its connection and bring another client on it.
            if let Some(before) = self.ledger.parties.remove(&token) {
                gate.leave(before, self.now);
            }
            gate.enter(party, self.now, &limits)?;
            self.ledger.parties.insert(token, party);
        }
        Ok(())
    }

    /// Takes other limits over. Connections that are there count from the moment on at which there
    /// is a limit for their address.
    pub(super) fn follow_limits(&mut self) {
        if !self.ledger.follow(&self.options) {
            return;
        }
        let tokens: Vec<usize> = self.conns.iter().map(|(token, _)| token).collect();
        tokens.into_iter().for_each(|token| self.count_party(token));
    }

    /// Counts a connection that is there already for its address, if such are counted.
    pub(super) fn count_party(&mut self, token: usize) {
        let Some(conn) = self.conns.get(token).filter(|conn| !conn.refused) else { return };
        if !self.ledger.gate.counts_connections() || self.ledger.parties.contains_key(&token) {
            return;
        }
        if let Some(address) = address(conn, &self.trusted_proxies) {
            let party = Party::from(address);
            self.service.gate().add(party, self.now);
            self.ledger.parties.insert(token, party);
        }
    }
}

/// Who is at the other end, if that is known.
fn address(conn: &Conn, trusted: &[ipnet::IpNet]) -> Option<std::net::IpAddr> {
    if let Lane::Peer(peer) = &conn.lane {
        return Some(peer.connection.remote().ip());
    }
    let peer = conn.stream.peer_addr().ok()?.ip();
    (!remote::is_in(trusted, peer)).then_some(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(options: &[(&str, &str)]) -> Ledger {
        let mut all = ServerOptions::default();
        for (key, value) in options {
            all.set(key, value).unwrap();
        }
        Ledger::new(&all)
    }

    #[test]
    fn a_flood_is_as_many_refusals_in_a_row_as_a_burst() {
        let mut ledger = ledger(&[("message_rate", "10"), ("message_burst", "3")]);
        let mut paces = |now, n| (0..n).map(|_| ledger.meter(5, now)).collect::<Vec<_>>();
        use Pace::{Flood, Kept, Over};
        assert_eq!(paces(0, 6), [Kept, Kept, Kept, Over, Over, Over]);
        assert_eq!(paces(100, 5), [Kept, Over, Over, Over, Flood]);
        assert_eq!(ledger.meter(4, 100), Kept, "each connection has its own");
        ledger.forget(5, &Gate::default(), 100);
        assert_eq!(ledger.meter(5, 100), Kept, "and who comes next a new one");
    }

    #[test]
    fn without_a_rate_nothing_is_kept() {
        let mut ledger = ledger(&[]);
        assert!(!ledger.is_metered());
        assert!((0..1000).all(|_| ledger.meter(1 << 20, 0) == Pace::Kept));
        assert_eq!(ledger.meters.capacity(), 0);
    }
}
