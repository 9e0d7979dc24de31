//! What a channel keeps of its publications, in memory.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use super::ChannelConfig;
use crate::wire::websocket::Message;

/// A publication that was kept.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Its place in the channel.
    pub offset: u64,
    /// When it was published, in ms since the Unix epoch. Never less than that of the one before.
    pub time_ms: u64,
    /// The message.
    pub message: Message,
}

/// A part of a channel's history to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Only publications behind this offset.
    pub after: Option<u64>,
    /// Only publications in front of this offset.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
    /// The newest first instead of the oldest.
    pub backward: bool,
}

/// The last publications of a channel: consecutive offsets, within the channel's limits.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: VecDeque<(u64, Message)>,
    /// The offset of the first entry, if there is one.
    first: u64,
    /// What the entries take.
    bytes: usize,
}

/// About how many bytes of messages one reading of a range gives.
pub(super) const EXTRACT_BYTES: usize = 4 << 20;

/// What a kept message takes beyond its frame, about.
const OVERHEAD: usize = 64;

impl History {
    /// Keeps a publication, whose offset follows that of the last one; lets go of what is over the
    /// limits.
    pub(super) fn push(
        &mut self,
        config: &ChannelConfig,
        offset: u64,
        time: u64,
        message: Message,
    ) {
        if self.entries.is_empty() {
            self.first = offset;
        }
        debug_assert_eq!(self.first + self.entries.len() as u64, offset, "offsets have no holes");
        let time = self.entries.back().map_or(time, |(last, _)| time.max(*last));
        self.bytes += message.frame().len() + OVERHEAD;
        self.entries.push_back((time, message));
        self.trim(config, time);
    }

    /// Lets go of what is over the limits at the time `now`, in ms since the Unix epoch.
    pub(super) fn trim(&mut self, config: &ChannelConfig, now: u64) {
        let ttl = u64::try_from(config.history_ttl.as_millis()).unwrap_or(u64::MAX);
        let too_old = |time: u64| ttl != 0 && now.saturating_sub(time) >= ttl;
        while let Some((time, message)) = self.entries.front()
            && (self.entries.len() > config.history_size
                || self.bytes > config.history_bytes
                || too_old(*time))
        {
            self.bytes -= message.frame().len() + OVERHEAD;
            self.first += 1;
            self.entries.pop_front();
        }
    }

    /// The oldest offset that is kept; the one behind `last`, the channel's offset, if none is.
    pub(super) fn first(&self, last: u64) -> u64 {
        if self.entries.is_empty() { last + 1 } else { self.first }
    }

    /// All that is kept: offset, time in ms since the Unix epoch, message.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64, &Message)> {
        (self.first..).zip(&self.entries).map(|(offset, (time, message))| (offset, *time, message))
    }

    /// Whether a publication of this offset can follow what is kept.
    pub(super) fn is_next(&self, offset: u64) -> bool {
        match self.entries.len() as u64 {
            0 => offset > 0,
            len => self.first + len == offset,
        }
    }

    /// The publications behind `after`, up to about `max_bytes` of them and at least one; true with
    /// the last one.
    pub(super) fn behind(&self, after: u64, max_bytes: usize) -> (Vec<(u64, Message)>, bool) {
        let skip = usize::try_from((after + 1).saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut page = Vec::new();
        for (index, (_, message)) in self.entries.iter().enumerate().skip(skip) {
            if bytes > 0 && bytes + message.frame().len() > max_bytes {
                return (page, false);
            }
            bytes += message.frame().len();
            page.push((self.first + index as u64, message.clone()));
        }
        (page, true)
    }

    /// The first publications of a range, up to [`EXTRACT_BYTES`] and at least one, and whether it
    /// has more.
    pub(super) fn read(&self, range: &Range) -> (Vec<Publication>, bool) {
        let index = |offset: u64| {
            let index = usize::try_from(offset.saturating_sub(self.first)).unwrap_or(usize::MAX);
            index.min(self.entries.len())
        };
        let from = range.after.map_or(0, |after| index(after.saturating_add(1)));
        let to = range.before.map_or(self.entries.len(), index).max(from);
        let at = |index: usize| {
            let (time_ms, message) = self.entries.get(index)?;
            let offset = self.first + index as u64;
            Some(Publication { offset, time_ms: *time_ms, message: message.clone() })
        };
        let mut publications: Vec<Publication> = Vec::new();
        let mut bytes = 0;
        for step in 0..to - from {
            let Some(next) = at(if range.backward { to - 1 - step } else { from + step }) else {
                break;
            };
            bytes += next.message.frame().len();
            if publications.len() >= range.limit || (step > 0 && bytes > EXTRACT_BYTES) {
                return (publications, true);
            }
            publications.push(next);
        }
        (publications, false)
    }
}

/// The time of day, in ms since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MessageKind;

    fn config(size: usize, bytes: usize, ttl: u64) -> ChannelConfig {
        let text = format!("history_size={size}, history_bytes={bytes}, history_ttl_ms={ttl}");
        let mut config = ChannelConfig::default();
        config.set_all(&text).unwrap();
        config
    }

    fn history(config: &ChannelConfig, times: &[u64]) -> History {
        let mut history = History::default();
        for (index, time) in times.iter().enumerate() {
            let message = Message::new(MessageKind::Text, format!("{}", index + 1).as_bytes());
            history.push(config, index as u64 + 1, *time, message);
        }
        history
    }

    fn offsets(history: &History, after: Option<u64>, before: Option<u64>) -> Vec<u64> {
        let range = Range { after, before, limit: 3, backward: false };
        history.read(&range).0.iter().map(|publication| publication.offset).collect()
    }

    #[test]
    fn limits_let_go_of_the_oldest() {
        let by_size = history(&config(3, 1 << 40, 0), &[0; 5]);
        assert_eq!((by_size.first(5), offsets(&by_size, None, None)), (3, vec![3, 4, 5]));
        // A frame of 3 or 4 bytes each, and what keeping it costs.
        let by_bytes = history(&config(99, 1024, 0), &[0; 20]);
        assert_eq!((by_bytes.first(20), by_bytes.bytes), (6, 15 * OVERHEAD + 4 * 3 + 11 * 4));
        let mut by_age = history(&config(9, 1 << 40, 10), &[0, 5, 3, 14]);
        assert_eq!(by_age.first(4), 2, "a clock that goes back makes nothing younger or older");
        by_age.trim(&config(9, 1 << 40, 10), 24);
        assert_eq!((by_age.first(4), by_age.bytes), (5, 0));
        let message = Message::new(MessageKind::Text, b"5");
        by_age.push(&config(9, 1 << 40, 10), 5, 30, message);
        assert_eq!(offsets(&by_age, None, None), [5]);
    }

    #[test]
    fn ranges_are_read_forward_and_backward() {
        let history = history(&config(9, 1 << 40, 0), &[1, 2, 3, 4, 5]);
        assert_eq!(offsets(&history, None, None), [1, 2, 3]);
        assert_eq!(offsets(&history, Some(3), None), [4, 5]);
        assert_eq!(offsets(&history, Some(1), Some(3)), [2]);
        assert_eq!(offsets(&history, Some(5), None), [0; 0]);
        assert_eq!(offsets(&history, Some(u64::MAX), Some(0)), [0; 0]);
        let range = Range { after: None, before: Some(5), limit: 2, backward: true };
        let (page, more) = history.read(&range);
        let back: Vec<_> = page.iter().map(|p| (p.offset, p.time_ms)).collect();
        assert_eq!((&back[..], more), (&[(4, 4), (3, 3)][..], true));
        assert!(!history.read(&Range { limit: 4, ..range }).1);
        let message = Message::new(MessageKind::Binary, &vec![0; EXTRACT_BYTES]);
        let mut history = History::default();
        (1..3).for_each(|n| history.push(&config(9, 1 << 40, 0), n, 0, message.clone()));
        let (page, more) = history.read(&Range { before: None, ..range });
        assert_eq!((page.len(), more), (1, true), "a page ends by bytes, and has at least one");
    }

    #[test]
    fn pages_end_by_bytes_and_have_at_least_one() {
        let history = history(&config(9, 1 << 40, 0), &[0; 4]);
        let page = |after, bytes| {
            let (page, last) = history.behind(after, bytes);
            (page.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), last)
        };
        assert_eq!(page(0, 1), (vec![1], false));
        assert_eq!(page(1, 6), (vec![2, 3], false));
        assert_eq!(page(2, usize::MAX), (vec![3, 4], true));
        assert_eq!(page(4, 1), (vec![], true));
    }
}
