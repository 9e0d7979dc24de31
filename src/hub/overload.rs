//! Channels whose subscribers do not keep up: what happens to them, and the account of every
//! message that was due to somebody.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What happens to a channel's message for which a subscriber's queue has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overload {
    /// The subscriber is closed with 3008 and may come back for what it missed.
    #[default]
    Disconnect,
    /// The channel's oldest messages that wait for this subscriber give way.
    DropOldest,
    /// The message is not queued.
    DropNewest,
    /// As soon as one waits, a message takes the place of the waiting one with the same key; messages
    /// without a key have one in common. A subscriber for whom even so there is no room is closed
    /// with 3008.
    KeepLatest,
    /// Publishers wait until there is room; a subscriber that makes them wait too long is closed with
    /// 3008.
    Hold,
}

impl Overload {
    /// As the option `overload` takes them.
    pub const NAMES: &'static [&'static str] =
        &["disconnect", "drop_oldest", "drop_newest", "keep_latest", "hold"];

    const ALL: [Self; 5] =
        [Self::Disconnect, Self::DropOldest, Self::DropNewest, Self::KeepLatest, Self::Hold];

    /// Reads a policy's name.
    pub fn from_name(name: &str) -> Option<Self> {
        let at = Self::NAMES.iter().position(|other| *other == name)?;
        Self::ALL.get(at).copied()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.get(self as usize).copied().unwrap_or_default()
    }
}

/// What became of the messages that were due to subscribers: a message that finds ten subscribers is
/// due ten times. Written by one shard alone, with plain loads and stores. At any moment between two
/// steps of that shard, `due` is the sum of `written`, `queued`, `dropped_oldest`, `dropped_newest`,
/// `conflated` and `lost`.
#[derive(Debug, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Account {
    pub due: AtomicU64,
    pub written: AtomicU64,
    pub queued: AtomicU64,
    pub dropped_oldest: AtomicU64,
    pub dropped_newest: AtomicU64,
    pub conflated: AtomicU64,
    pub lost: AtomicU64,
    pub closed_slow: AtomicU64,
}

/// The sum of accounts at one moment. When nothing is being published,
/// `due = written + queued + dropped_oldest + dropped_newest + conflated + lost`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Deliveries {
    /// Messages times the subscribers that they found.
    pub due: u64,
    /// Taken by the subscribers' sockets, whole.
    pub written: u64,
    /// Waiting in front of them now.
    pub queued: u64,
    /// Waited, and gave way to newer ones.
    pub dropped_oldest: u64,
    /// Did not get into a full queue.
    pub dropped_newest: u64,
    /// Waited, and gave way to a newer one with the same key.
    pub conflated: u64,
    /// Ended with their connection: those that waited, and the ones that made it too slow.
    pub lost: u64,
    /// Subscribers closed because of the channel: a message had no room, or they held it up.
    pub closed_slow: u64,
    /// Publications that had to wait for room.
    pub held: u64,
}

impl Account {
    /// Adds this account to a sum.
    pub fn add_to(&self, sum: &mut Deliveries) {
        sum.due += self.due.load(Relaxed);
        sum.written += self.written.load(Relaxed);
        sum.queued += self.queued.load(Relaxed);
        sum.dropped_oldest += self.dropped_oldest.load(Relaxed);
        sum.dropped_newest += self.dropped_newest.load(Relaxed);
        sum.conflated += self.conflated.load(Relaxed);
        sum.lost += self.lost.load(Relaxed);
        sum.closed_slow += self.closed_slow.load(Relaxed);
    }
}

impl Deliveries {
    /// Messages that a policy dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped_oldest + self.dropped_newest + self.conflated
    }

    /// Whether every message that was due is accounted for.
    pub fn adds_up(&self) -> bool {
        self.due == self.written + self.queued + self.dropped() + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_by_the_name_that_it_has() {
        for policy in Overload::ALL {
            assert_eq!(Overload::from_name(policy.name()), Some(policy));
        }
        assert_eq!(Overload::from_name("ignore"), None);
        assert_eq!(Overload::default().name(), "disconnect");
    }
}
