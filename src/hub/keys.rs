//! What was published under which key, so that a repeat is not published again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha1::{Digest, Sha1};

use super::ChannelConfig;
use crate::wire::MessageKind;
use crate::wire::websocket::Message;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 255;

/// A key and what it stands for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keyed<'a> {
    key: &'a [u8],
    /// Of the message's kind and payload. The same in every process: whoever takes the channel over
    /// compares with it.
    print: u64,
}

impl<'a> Keyed<'a> {
    /// Reads the whole message: not under a lock.
    pub(super) fn new(key: &'a [u8], message: &Message) -> Self {
        let binary = message.kind() == MessageKind::Binary;
        let hash = Sha1::new().chain_update([binary.into()]).chain_update(message.payload());
        let print =
            hash.finalize().iter().take(8).fold(0, |print, byte| print << 8 | u64::from(*byte));
        Self { key, print }
    }

    /// A key whose message was read before.
    pub(super) fn of(key: &'a [u8], print: u64) -> Self {
        Self { key, print }
    }

    /// What tells the message from others.
    pub(super) fn print(&self) -> u64 {
        self.print
    }
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    New,
    /// The same message was published under it, and has this offset.
    Repeat(u64),
    /// Another message was.
    Other,
}

/// The keys of a channel's last publications, within the limits of the channel. A key lasts from its
/// publication on, however often it is repeated.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Peers choose the keys: the hash is seeded at random.
    entries: HashMap<Arc<[u8]>, Entry, foldhash::fast::RandomState>,
    /// The keys in the order in which they came.
    order: VecDeque<(Instant, Arc<[u8]>)>,
}

#[derive(Debug)]
struct Entry {
    offset: u64,
    print: u64,
}

impl Keys {
    /// What is known of a key at the time `now`.
    pub(super) fn find(&mut self, config: &ChannelConfig, keyed: Keyed<'_>, now: Instant) -> Found {
        let too_old = |at: Instant| now.saturating_duration_since(at) >= config.idempotency_window;
        while self.order.front().is_some_and(|(at, _)| too_old(*at)) {
            self.forget_first();
        }
        match self.entries.get(keyed.key) {
            None => Found::New,
            Some(entry) if entry.print == keyed.print => Found::Repeat(entry.offset),
            Some(_) => Found::Other,
        }
    }

    /// Remembers a key that was not known: its message got `offset`. The oldest one makes room.
    pub(super) fn remember(
        &mut self,
        config: &ChannelConfig,
        keyed: Keyed<'_>,
        offset: u64,
        now: Instant,
    ) {
        while self.order.len() >= config.idempotency_size.max(1) {
            self.forget_first();
        }
        let key: Arc<[u8]> = keyed.key.into();
        self.entries.insert(Arc::clone(&key), Entry { offset, print: keyed.print });
        self.order.push_back((now, key));
    }

    /// All that are remembered, the oldest first: key, offset, print, and for how long.
    pub(super) fn iter(
        &self,
        now: Instant,
    ) -> impl ExactSizeIterator<Item = (&[u8], u64, u64, Duration)> {
        self.order.iter().map(move |(at, key)| {
            let (offset, print) =
                self.entries.get(key).map_or((0, 0), |entry| (entry.offset, entry.print));
            (&**key, offset, print, now.saturating_duration_since(*at))
        })
    }

    /// Remembers a key of another process, behind those that it was told before.
    pub(super) fn restore(&mut self, key: &[u8], offset: u64, print: u64, at: Instant) {
        let key: Arc<[u8]> = key.into();
        self.entries.insert(Arc::clone(&key), Entry { offset, print });
        self.order.push_back((at, key));
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.entries.remove(&key);
        }
        if self.order.is_empty() {
            // A channel that has seen a storm of keys does not keep their room.
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn config(size: usize, window: u64) -> ChannelConfig {
        ChannelConfig {
            idempotency_size: size,
            idempotency_window: Duration::from_millis(window),
            ..ChannelConfig::default()
        }
    }

    fn text(text: &str) -> Message {
        Message::new(MessageKind::Text, text.as_bytes())
    }

    #[test]
    fn a_repeat_is_the_same_key_with_the_same_message() {
        let (mut keys, config, now) = (Keys::default(), config(9, 100), Instant::now());
        let (one, two) = (text("one"), text("two"));
        assert_eq!(keys.find(&config, Keyed::new(b"k", &one), now), Found::New);
        keys.remember(&config, Keyed::new(b"k", &one), 7, now);
        assert_eq!(keys.find(&config, Keyed::new(b"k", &one), now), Found::Repeat(7));
        assert_eq!(keys.find(&config, Keyed::new(b"k", &two), now), Found::Other);
        let bytes = Message::new(MessageKind::Binary, b"one");
        assert_eq!(keys.find(&config, Keyed::new(b"k", &bytes), now), Found::Other);
        assert_eq!(keys.find(&config, Keyed::new(b"K", &one), now), Found::New);
        assert_eq!(keys.find(&config, Keyed::new(b"", &one), now), Found::New);
    }

    #[test]
    fn keys_go_when_they_are_old_and_when_there_are_too_many() {
        let (mut keys, config, start) = (Keys::default(), config(2, 100), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let message = text("m");
        for (offset, key) in [b"a", b"b", b"c"].into_iter().enumerate() {
            let keyed = Keyed::new(key, &message);
            assert_eq!(keys.find(&config, keyed, at(0)), Found::New);
            keys.remember(&config, keyed, offset as u64, at(10 * offset as u64));
        }
        assert_eq!(keys.find(&config, Keyed::new(b"a", &message), at(20)), Found::New);
        assert_eq!(keys.find(&config, Keyed::new(b"b", &message), at(109)), Found::Repeat(1));
        assert_eq!(keys.find(&config, Keyed::new(b"b", &message), at(110)), Found::New);
        assert_eq!(keys.find(&config, Keyed::new(b"c", &message), at(119)), Found::Repeat(2));
        assert_eq!(keys.find(&config, Keyed::new(b"c", &message), at(120)), Found::New);
        assert_eq!((keys.entries.len(), keys.order.capacity()), (0, 0));
    }
}
