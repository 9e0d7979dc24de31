//! How shards are told to stop, and that the options are others.

use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64,
    Ordering::{Acquire, Release, SeqCst},
};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Shard;
use super::conn::{AfterFlush, Lane};
use super::pause::Pause;
use super::sweep;
use crate::server::dialect::Endpoint;
use crate::server::{ServerOptions, remote};

/// What shards are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// To come to rest, as [`Pause`] says.
    Pausing,
    Stopping,
}

/// What all shards of a server look at.
#[derive(Debug)]
pub(in crate::server) struct Control {
    /// See [`Phase`]. A shard reads it once a round.
    phase: AtomicU8,
    pause: Mutex<Option<Arc<Pause>>>,
    /// The drain's end, in ms after `start`.
    pub(super) deadline_ms: AtomicU64,
    pub(super) start: Instant,
    /// Some connection had to be cut.
    pub(super) cut: AtomicBool,
    /// Counts the changes of the options. A shard reads it once a round.
    version: AtomicU64,
    /// The version that shards are to follow, and how many have not yet.
    behind: Mutex<(u64, usize)>,
    followed: Condvar,
}

impl Control {
    pub(in crate::server) fn new() -> Self {
        Self {
            phase: AtomicU8::new(Phase::Serving as u8),
            pause: Mutex::default(),
            deadline_ms: AtomicU64::new(0),
            start: Instant::now(),
            cut: AtomicBool::new(false),
            version: AtomicU64::new(0),
            behind: Mutex::new((0, 0)),
            followed: Condvar::new(),
        }
    }

    /// Asks every shard to stop; they must be woken then.
    pub(in crate::server) fn request_stop(&self, drain: Duration) {
        let deadline = self.start.elapsed().saturating_add(drain);
        let deadline = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        self.deadline_ms.store(deadline, SeqCst);
        self.phase.store(Phase::Stopping as u8, SeqCst);
    }

    /// Asks every shard to pause; they must be woken then. False if they are to stop, or pause
    /// already.
    pub(in crate::server) fn request_pause(&self, pause: Arc<Pause>) -> bool {
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = Some(pause);
        let (from, to) = (Phase::Serving as u8, Phase::Pausing as u8);
        self.phase.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
    }

    /// Ends what [`Control::request_pause`] began, before the shards are told to go on: none of them
    /// must find it again.
    pub(in crate::server) fn end_pause(&self) {
        let (from, to) = (Phase::Pausing as u8, Phase::Serving as u8);
        // A stop that was asked for meanwhile comes next.
        let _ = self.phase.compare_exchange(from, to, SeqCst, SeqCst);
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The pause that shards are asked for.
    pub(super) fn pause(&self) -> Option<Arc<Pause>> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What shards are asked for.
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            number if number == Phase::Serving as u8 => Phase::Serving,
            number if number == Phase::Pausing as u8 => Phase::Pausing,
            _ => Phase::Stopping,
        }
    }

    /// Whether all connections went by themselves.
    pub(in crate::server) fn was_clean(&self) -> bool {
        !self.cut.load(SeqCst)
    }

    fn behind(&self) -> MutexGuard<'_, (u64, usize)> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks each of `shards` to take the service's options, which are others than before; they must
    /// be woken then.
    pub(in crate::server) fn request_follow(&self, shards: usize) {
        let mut behind = self.behind();
        *behind = (behind.0 + 1, shards);
        // After the options: who sees the new number sees them.
        self.version.store(behind.0, Release);
    }

    /// Waits until every shard has followed; false if one did not in time. One that has ended never
    /// does.
    pub(in crate::server) fn wait_until_followed(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let mut behind = self.behind();
        while behind.1 > 0 && self.phase() != Phase::Stopping {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            behind = match self.followed.wait_timeout(behind, left) {
                Ok((behind, _)) => behind,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    fn has_followed(&self, version: u64) {
        let mut behind = self.behind();
        if behind.0 == version {
            behind.1 = behind.1.saturating_sub(1);
            self.followed.notify_all();
        }
    }
}

impl Shard {
    /// Takes the options of the service over if they are others than this shard's. Costs one load
    /// a round when they are not.
    pub(super) fn follow_options(&mut self) {
        let version = self.control.version.load(Acquire);
        if version == self.version {
            return;
        }
        self.version = version;
        if Arc::ptr_eq(&self.options, &self.service.options()) {
            // Somebody wants to know whether this shard goes round.
            self.control.has_followed(version);
            return;
        }
        let before = std::mem::replace(&mut self.options, self.service.options());
        self.trusted_proxies = trusted_proxies(&self.options);
        self.follow_limits();
        self.spin.set_limit(self.options.busy_poll);
        self.sweep_interval = sweep::interval(&self.options);
        self.next_sweep = self.next_sweep.min(self.now + self.sweep_interval);
        if before.ping_interval != self.options.ping_interval {
            self.hasten_pings();
        }
        self.follow_endpoints();
        self.control.has_followed(version);
    }

    /// Brings the next ping of each WebSocket within the new interval. Those that wait for a pong
    /// are left to do so.
    fn hasten_pings(&mut self) {
        let tokens: Vec<usize> = self.conns.iter().map(|(token, _)| token).collect();
        for token in tokens {
            let first_ping = self.first_ping();
            let Some(conn) = self.conns.get_mut(token) else { continue };
            let is_pinged = matches!(
                conn.lane,
                Lane::Listener(_) | Lane::Sender(_) | Lane::Stream(_) | Lane::Events(_)
            );
            if is_pinged && !conn.awaiting_pong {
                conn.deadline = conn.deadline.min(first_ping);
            }
        }
    }

    /// Gives each peer the limits that its endpoint has now.
    fn follow_endpoints(&mut self) {
        let endpoints = self.service.endpoints();
        for (_, conn) in &mut self.conns {
            let queued = conn.queued();
            let Lane::Peer(peer) = &mut conn.lane else { continue };
            let old = &peer.endpoint;
            let same = |new: &&Arc<Endpoint>| Arc::ptr_eq(&new.everyone, &old.everyone);
            if let Some(new) = endpoints.iter().find(same)
                && !Arc::ptr_eq(new, old)
                && conn.after_flush == AfterFlush::Stay
            {
                peer.follow(Arc::clone(new), conn.awaiting_pong, self.now);
                conn.deadline = peer.deadline(queued, self.now);
            }
        }
    }
}

/// The networks of the option, which was validated when it was set.
pub(super) fn trusted_proxies(options: &ServerOptions) -> Vec<ipnet::IpNet> {
    let networks = options.trusted_proxies.join(",");
    remote::networks("trusted_proxies", &networks).unwrap_or_default()
}
