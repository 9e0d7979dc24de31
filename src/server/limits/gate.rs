//! Who comes: connections and handshakes by address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Bucket, Limit, Rate};
use crate::server::ServerOptions;

/// What a limit per address counts as one: an IPv4 address, or the /64 of an IPv6 one, which is what
/// a subscriber usually gets whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::server) enum Party {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Party {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.into()),
            IpAddr::V6(address) => Self::V6((u128::from(address) >> 64) as u64),
        }
    }
}

/// The limits that a gate keeps, read from the options once they change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct GateLimits {
    /// 0 is no limit.
    connections: usize,
    connects: Option<Rate>,
    handshakes: Option<Rate>,
    all_handshakes: Option<Rate>,
}

impl GateLimits {
    pub(in crate::server) fn of(options: &ServerOptions) -> Self {
        Self {
            connections: options.max_connections_per_ip,
            connects: Rate::new(options.connections_per_second_per_ip, 0),
            handshakes: Rate::new(options.handshakes_per_second_per_ip, 0),
            all_handshakes: Rate::new(options.handshakes_per_second, 0),
        }
    }

    /// Whether connections must be counted by address.
    pub(in crate::server) fn counts_connections(&self) -> bool {
        self.connections > 0 || self.connects.is_some()
    }

    /// Whether handshakes are limited.
    pub(in crate::server) fn counts_handshakes(&self) -> bool {
        self.handshakes.is_some() || self.all_handshakes.is_some()
    }
}

/// The counts of all shards. Takes a lock for each connection and handshake while a limit by
/// address is on, and none otherwise. An address costs its entry while it has a connection, or has
/// used up some of its rate.
#[derive(Debug, Default)]
pub(in crate::server) struct Gate(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Strangers choose the addresses: the hash is seeded at random.
    parties: HashMap<Party, Entry, foldhash::fast::RandomState>,
    /// At how many entries those that say nothing any more are thrown away.
    prune_at: usize,
    handshakes: Bucket,
}

#[derive(Debug, Default)]
struct Entry {
    open: usize,
    connects: Bucket,
    handshakes: Bucket,
}

impl Entry {
    fn says_nothing(&self, now: u64) -> bool {
        self.open == 0 && self.connects.is_full(now) && self.handshakes.is_full(now)
    }
}

const MIN_PRUNED: usize = 1024;

impl Counts {
    fn entry(&mut self, party: Party, now: u64) -> &mut Entry {
        if self.parties.len() >= self.prune_at.max(MIN_PRUNED) {
            self.parties.retain(|_, entry| !entry.says_nothing(now));
            // Looking through all of them is paid for by as many that came since.
            self.prune_at = self.parties.len() * 2;
        }
        self.parties.entry(party).or_default()
    }
}

impl Gate {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of `party` came at `now`, in ms: counts it in, unless a limit is met.
    pub(in crate::server) fn enter(
        &self,
        party: Party,
        now: u64,
        limits: &GateLimits,
    ) -> Result<(), Limit> {
        let mut counts = self.counts();
        let entry = counts.entry(party, now);
        if limits.connections > 0 && entry.open >= limits.connections {
            return Err(Limit::MaxConnectionsPerIp);
        }
        if limits.connects.is_some_and(|rate| !entry.connects.take(now, rate)) {
            return Err(Limit::ConnectionsPerSecondPerIp);
        }
        entry.open += 1;
        Ok(())
    }

    /// A connection that was there before it was to be counted.
    pub(in crate::server) fn add(&self, party: Party, now: u64) {
        self.counts().entry(party, now).open += 1;
    }

    /// A connection that was counted in has ended.
    pub(in crate::server) fn leave(&self, party: Party, now: u64) {
        let mut counts = self.counts();
        let Some(entry) = counts.parties.get_mut(&party) else { return };
        entry.open = entry.open.saturating_sub(1);
        if entry.says_nothing(now) {
            counts.parties.remove(&party);
        }
    }

    /// A handshake of `party` came at `now`, in ms.
    pub(in crate::server) fn handshake(
        &self,
        party: Party,
        now: u64,
        limits: &GateLimits,
    ) -> Result<(), Limit> {
        let mut counts = self.counts();
        // The address first: who is over its own limit takes nothing from the others.
        if let Some(rate) = limits.handshakes
            && !counts.entry(party, now).handshakes.take(now, rate)
        {
            return Err(Limit::HandshakesPerSecondPerIp);
        }
        match limits.all_handshakes {
            Some(rate) if !counts.handshakes.take(now, rate) => Err(Limit::HandshakesPerSecond),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: &str, connects: &str, handshakes: &str, all: &str) -> GateLimits {
        let mut options = ServerOptions::default();
        for (key, value) in [
            ("max_connections_per_ip", connections),
            ("connections_per_second_per_ip", connects),
            ("handshakes_per_second_per_ip", handshakes),
            ("handshakes_per_second", all),
        ] {
            options.set(key, value).unwrap();
        }
        GateLimits::of(&options)
    }

    fn party(text: &str) -> Party {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_address_is_counted_by_what_belongs_to_one_subscriber() {
        assert_eq!(party("192.0.2.1"), party("::ffff:192.0.2.1"));
        assert_ne!(party("192.0.2.1"), party("192.0.2.2"));
        assert_eq!(party("2001:db8:0:1::1"), party("2001:db8:0:1:ffff::2"));
        assert_ne!(party("2001:db8:0:1::1"), party("2001:db8:0:2::1"));
    }

    #[test]
    fn an_address_gets_so_many_connections_and_no_more() {
        let (gate, limits) = (Gate::default(), limits("2", "0", "0", "0"));
        let (one, other) = (party("192.0.2.1"), party("192.0.2.2"));
        assert_eq!(gate.enter(one, 0, &limits), Ok(()));
        assert_eq!(gate.enter(one, 0, &limits), Ok(()));
        assert_eq!(gate.enter(one, 0, &limits), Err(Limit::MaxConnectionsPerIp));
        assert_eq!(gate.enter(other, 0, &limits), Ok(()));
        gate.leave(one, 0);
        assert_eq!(gate.enter(one, 0, &limits), Ok(()));
        gate.leave(one, 0);
        gate.leave(one, 0);
        gate.leave(other, 0);
        assert!(gate.counts().parties.is_empty());
    }

    #[test]
    fn who_is_over_its_own_rate_takes_nothing_from_the_others() {
        let (gate, limits) = (Gate::default(), limits("0", "0", "2", "3"));
        let (one, other) = (party("192.0.2.1"), party("192.0.2.2"));
        let handshake = |who| gate.handshake(who, 5, &limits);
        assert_eq!([handshake(one), handshake(one)], [Ok(()), Ok(())]);
        assert_eq!(handshake(one), Err(Limit::HandshakesPerSecondPerIp));
        assert_eq!(handshake(other), Ok(()));
        assert_eq!(handshake(other), Err(Limit::HandshakesPerSecond));
        assert_eq!(gate.handshake(other, 2005, &limits), Ok(()));
    }

    #[test]
    fn a_flood_of_addresses_is_forgotten_when_their_second_is_over() {
        let (gate, limits) = (Gate::default(), limits("0", "10", "0", "0"));
        for n in 0..100_000_u32 {
            // A thousand addresses a second.
            let (who, now) = (Party::V4(n), u64::from(n));
            gate.enter(who, now, &limits).unwrap();
            gate.leave(who, now);
            assert!(gate.counts().parties.len() <= 2 * MIN_PRUNED);
        }
    }
}
