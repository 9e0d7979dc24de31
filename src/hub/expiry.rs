//! Channels that go when nobody uses them for a while.
//!
//! A publication does not look at a clock for it: a channel with a time to live is looked at four
//! times in that time, and what happened since the last look counts as if it had happened now. So
//! it is never deleted early, and late by a quarter of its time, or a minute, at most. A hub without
//! such channels pays one look at an atomic.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Channel, Hub, lock};
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use crate::sync::{Arc, Mutex, Weak};

/// A channel is looked at this often while its time runs, or every [`LONGEST`].
const LOOKS: u32 = 4;
const LONGEST: Duration = Duration::from_secs(60);
const SHORTEST: Duration = Duration::from_millis(1);
/// No channel is to be looked at.
const NEVER: u64 = u64::MAX;

/// What was seen of a channel at the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) offset: u64,
}

#[derive(Debug)]
struct Entry {
    channel: Weak<Channel>,
    seen: Seen,
    /// Since when it is not used, as far as is known.
    idle_since: Instant,
}

/// When to look at which channel.
#[derive(Debug)]
pub(super) struct Expiry {
    start: Instant,
    /// By the time of the look, in ms since `start`; and by channel number.
    due: Mutex<BTreeMap<(u64, u64), Entry>>,
    /// The first of them, or [`NEVER`].
    next: AtomicU64,
}

impl Default for Expiry {
    fn default() -> Self {
        Self { start: Instant::now(), due: Mutex::default(), next: AtomicU64::new(NEVER) }
    }
}

impl Expiry {
    /// Rounded up: a look is never early.
    fn ms_of(&self, at: Instant) -> u64 {
        let micros = at.saturating_duration_since(self.start).as_micros().div_ceil(1000);
        u64::try_from(micros).unwrap_or(NEVER - 1)
    }

    fn insert(&self, at: Instant, id: u64, entry: Entry) -> bool {
        let at = self.ms_of(at);
        let mut due = lock(&self.due);
        due.insert((at, id), entry);
        self.next.fetch_min(at, SeqCst) > at
    }

    /// Takes an entry whose time has come.
    fn pop(&self, now: u64) -> Option<Entry> {
        let mut due = lock(&self.due);
        let entry = match due.first_entry() {
            Some(first) if first.key().0 <= now => Some(first.remove()),
            _ => None,
        };
        self.next.store(due.first_key_value().map_or(NEVER, |(key, _)| key.0), SeqCst);
        entry
    }
}

impl Hub {
    /// Looks after a new channel. True if it comes before everything else.
    pub(super) fn watch_emptiness(&self, channel: &Arc<Channel>) -> bool {
        let ttl = channel.config().empty_ttl;
        if ttl.is_zero() {
            return false;
        }
        let now = Instant::now();
        let entry =
            Entry { channel: Arc::downgrade(channel), seen: Seen { offset: 0 }, idle_since: now };
        self.expiry.insert(now + look_after(ttl, Duration::ZERO), channel.id(), entry)
    }

    /// How long from `now` until a channel must be looked at; `None` while no channel has a time to
    /// live. Costs a look at an atomic then.
    pub fn next_expiry(&self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        match self.expiry.next.load(SeqCst) {
            NEVER => None,
            next => Some(
                Duration::from_millis(next)
                    .saturating_sub(now().saturating_duration_since(self.expiry.start)),
            ),
        }
    }

    /// Looks at the channels whose time it is, at most `limit` of them, and deletes those that were
    /// not used for their time to live. Gives how many it deleted.
    pub fn expire(&self, now: Instant, limit: usize) -> usize {
        let mut expired = 0;
        let now_ms = self.expiry.ms_of(now);
        for _ in 0..limit {
            let Some(Entry { channel, mut seen, mut idle_since }) = self.expiry.pop(now_ms) else {
                break;
            };
            let Some(channel) = channel.upgrade() else { continue };
            let ttl = channel.config().empty_ttl;
            if channel.was_used(&mut seen) {
                idle_since = now;
            } else if now.saturating_duration_since(idle_since) >= ttl {
                if self.expire_channel(&channel, &mut seen) {
                    expired += 1;
                    continue;
                }
                idle_since = now;
            }
            if channel.is_deleted() {
                continue;
            }
            let idle = now.saturating_duration_since(idle_since);
            let entry = Entry { channel: Arc::downgrade(&channel), seen, idle_since };
            self.expiry.insert(now + look_after(ttl, idle), channel.id(), entry);
        }
        self.expired.fetch_add(expired as u64, Relaxed);
        expired
    }

    /// Channels that were deleted because nobody used them, since the start.
    pub fn expired(&self) -> u64 {
        self.expired.load(Relaxed)
    }
}

/// When to look at a channel again that is idle for `idle`.
fn look_after(ttl: Duration, idle: Duration) -> Duration {
    (ttl / LOOKS).clamp(SHORTEST, LONGEST).min(ttl.saturating_sub(idle)).max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_quarters_of_the_time_or_a_minute() {
        let s = Duration::from_secs;
        assert_eq!(look_after(s(8), Duration::ZERO), s(2));
        assert_eq!(look_after(s(8), s(7)), s(1));
        assert_eq!(look_after(s(86_400), s(5)), s(60));
        assert_eq!(look_after(Duration::from_millis(1), s(5)), Duration::from_millis(1));
    }
}
