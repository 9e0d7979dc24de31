//! What waits for one socket: whole frames in order, and which of them a channel's overload policy
//! may take out again.
//!
//! Two kinds of entries. Those that are the connection's own (control frames, answers, history) and
//! the messages of channels without a policy stay until they are written. The messages of channels
//! with a policy are one to an entry and stand besides in their channel's *line*, which knows the
//! oldest of them and the latest of each key. An entry of which a part was written belongs to no line
//! any more: its rest must follow, or nothing behind it could be understood.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::hub::{Channel, Overload};

/// Whose messages an entry has.
#[derive(Debug, Clone)]
pub(super) struct Tag {
    pub channel: Arc<Channel>,
    /// How many messages.
    pub count: u32,
    /// Since when it waits, in ms of the shard's clock.
    pub since: u64,
    /// What it is the latest value of; `None` is a key like any other.
    pub key: Option<Arc<str>>,
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// In the whole queue, in bytes.
    pub bytes: usize,
    /// Of the channel, in bytes.
    pub line_bytes: usize,
    /// Of the channel, in messages.
    pub line_messages: usize,
}

/// What became of a message, and of those that it displaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Admission {
    /// Whether it waits now.
    pub queued: bool,
    /// Messages that gave way to it because they were the oldest.
    pub oldest: u64,
    /// Messages that gave way to it because they had its key.
    pub conflated: u64,
}

#[derive(Debug)]
struct Entry {
    /// Rises from entry to entry.
    number: u64,
    /// Empty once it was taken out: such a hole is skipped, and never the first one.
    bytes: Bytes,
    /// How much of it was written.
    at: usize,
    tag: Option<Tag>,
}

/// The messages of one channel that may be taken out.
#[derive(Debug, Default)]
struct Line {
    /// Their sizes, by the numbers of their entries.
    waiting: BTreeMap<u64, usize>,
    bytes: usize,
    /// For a channel that keeps the latest: the entry of each key.
    latest: HashMap<Option<Arc<str>>, u64>,
}

/// Where an entry stands besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    Nowhere,
    /// In its channel's line.
    InLine,
    /// And it is the latest of its key there.
    Latest,
}

impl Stands {
    /// The one that is this number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Nowhere, Self::InLine, Self::Latest].into_iter().find(|one| *one as u8 == number)
    }
}

/// An entry as others see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting<'a> {
    pub bytes: &'a Bytes,
    /// How much of it was written.
    pub at: usize,
    pub tag: Option<&'a Tag>,
    pub stands: Stands,
}

#[derive(Debug, Default)]
pub(super) struct OutQueue {
    entries: VecDeque<Entry>,
    holes: usize,
    bytes: usize,
    next: u64,
    /// Messages of channels that wait.
    messages: u64,
    /// By channel number; none is empty.
    lines: HashMap<u64, Line>,
}

impl OutQueue {
    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages of channels that wait, those included of which a part was written.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Since when the message waits that waits longest.
    pub fn since(&self) -> Option<u64> {
        self.entries.iter().find_map(|entry| entry.tag.as_ref()).map(|tag| tag.since)
    }

    /// The bytes to write next.
    pub fn front(&self) -> Option<&[u8]> {
        let entry = self.entries.front()?;
        entry.bytes.get(entry.at..)
    }

    /// Appends bytes of which `at` were written already. They stay until all are.
    pub fn push(&mut self, bytes: Bytes, at: usize, tag: Option<Tag>) {
        debug_assert!(at < bytes.len(), "an entry has something to write");
        self.append(bytes, at, tag);
    }

    fn append(&mut self, bytes: Bytes, at: usize, tag: Option<Tag>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.bytes += bytes.len() - at;
        self.messages += tag.as_ref().map_or(0, |tag| u64::from(tag.count));
        self.entries.push_back(Entry { number, bytes, at, tag });
        number
    }

    /// What waits, in order.
    pub fn iter(&self) -> impl Iterator<Item = Waiting<'_>> {
        let entries = self.entries.iter().filter(|entry| !entry.bytes.is_empty());
        entries.map(|Entry { number, bytes, at, tag }| {
            let tag = tag.as_ref();
            let line = tag.and_then(|tag| Some((tag, self.lines.get(&tag.channel.id())?)));
            let stands = match line {
                Some((tag, line)) if line.waiting.contains_key(number) => {
                    match line.latest.get(&tag.key) == Some(number) {
                        true => Stands::Latest,
                        false => Stands::InLine,
                    }
                }
                _ => Stands::Nowhere,
            };
            Waiting { bytes, at: *at, tag, stands }
        })
    }

    /// Appends what [`OutQueue::iter`] told of another queue, in the same order.
    pub fn restore(&mut self, bytes: Bytes, at: usize, tag: Option<Tag>, stands: Stands) {
        let size = bytes.len();
        let line = tag.as_ref().map(|tag| (tag.channel.id(), tag.key.clone()));
        let number = self.append(bytes, at, tag);
        let Some((channel, key)) = line.filter(|_| stands != Stands::Nowhere) else { return };
        let line = self.lines.entry(channel).or_default();
        line.waiting.insert(number, size);
        line.bytes += size;
        if stands == Stands::Latest {
            line.latest.insert(key, number);
        }
    }

    /// Appends a channel's message if the bounds and the channel's policy let it; `None` when the
    /// subscriber is to be closed instead. An empty queue takes any message.
    pub fn admit(
        &mut self,
        policy: Overload,
        bounds: Bounds,
        bytes: &Bytes,
        tag: Tag,
    ) -> Option<Admission> {
        let mut admission = Admission::default();
        let channel = tag.channel.id();
        let same = self.lines.get(&channel).and_then(|line| line.latest.get(&tag.key)).copied();
        if !self.has_room(bounds, channel, bytes.len(), same) {
            match policy {
                Overload::DropNewest => return Some(admission),
                Overload::DropOldest if !self.could_have_room(bounds, channel, bytes.len()) => {
                    return Some(admission);
                }
                Overload::DropOldest => {
                    while !self.has_room(bounds, channel, bytes.len(), None) {
                        let Some(oldest) = self.oldest(channel) else { break };
                        self.take_out(channel, oldest);
                        admission.oldest += 1;
                    }
                }
                Overload::Disconnect | Overload::KeepLatest | Overload::Hold => return None,
            }
        }
        if let Some(same) = same {
            self.take_out(channel, same);
            admission.conflated = 1;
        }
        let key = (policy == Overload::KeepLatest).then(|| tag.key.clone());
        let number = self.append(bytes.clone(), 0, Some(tag));
        let line = self.lines.entry(channel).or_default();
        line.waiting.insert(number, bytes.len());
        line.bytes += bytes.len();
        if let Some(key) = key {
            line.latest.insert(key, number);
        }
        admission.queued = true;
        Some(admission)
    }

    /// Whether there is room for a message of `size` bytes that takes the place of `same`.
    fn has_room(&self, bounds: Bounds, channel: u64, size: usize, same: Option<u64>) -> bool {
        let line = self.lines.get(&channel);
        let (messages, bytes) = line.map_or((0, 0), |line| (line.waiting.len(), line.bytes));
        let same = same.and_then(|number| line?.waiting.get(&number)).copied();
        let (messages, bytes) =
            (messages - usize::from(same.is_some()), bytes - same.unwrap_or_default());
        let all = self.bytes - same.unwrap_or_default();
        (all == 0 || all + size <= bounds.bytes)
            && (messages == 0 || bytes + size <= bounds.line_bytes)
            && messages < bounds.line_messages
    }

    /// Whether there would be room without the channel's other messages.
    fn could_have_room(&self, bounds: Bounds, channel: u64, size: usize) -> bool {
        let own = self.lines.get(&channel).map_or(0, |line| line.bytes);
        self.bytes == own || self.bytes - own + size <= bounds.bytes
    }

    fn oldest(&self, channel: u64) -> Option<u64> {
        self.lines.get(&channel)?.waiting.first_key_value().map(|(number, _)| *number)
    }

    /// Takes a message out that stands in a line.
    fn take_out(&mut self, channel: u64, number: u64) {
        let Ok(at) = self.entries.binary_search_by_key(&number, |entry| entry.number) else {
            debug_assert!(false, "what stands in a line is an entry");
            return;
        };
        let Some(entry) = self.entries.get_mut(at) else { return };
        self.bytes -= entry.bytes.len();
        entry.bytes = Bytes::new();
        let tag = entry.tag.take();
        self.messages -= tag.as_ref().map_or(0, |tag| u64::from(tag.count));
        self.holes += 1;
        self.leave_line(channel, number, tag.as_ref());
        self.drop_holes();
    }

    fn leave_line(&mut self, channel: u64, number: u64, tag: Option<&Tag>) {
        let Some(line) = self.lines.get_mut(&channel) else { return };
        let Some(size) = line.waiting.remove(&number) else { return };
        line.bytes -= size;
        if line.waiting.is_empty() {
            self.lines.remove(&channel);
        } else if let Some(tag) = tag
            && line.latest.get(&tag.key) == Some(&number)
        {
            line.latest.remove(&tag.key);
        }
    }

    /// Holes cost a look each: they are swept together when they are half of all, so that taking a
    /// message out costs the same on average wherever it stands.
    fn drop_holes(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.bytes.is_empty()) {
            self.entries.pop_front();
            self.holes -= 1;
        }
        if self.holes > 16 && self.holes * 2 > self.entries.len() {
            self.entries.retain(|entry| !entry.bytes.is_empty());
            self.holes = 0;
        }
    }

    /// `written` bytes of the front were taken; gives its tag if that was all of it.
    pub fn advance(&mut self, written: usize) -> Option<Tag> {
        if written == 0 {
            return None;
        }
        let front = self.entries.front_mut()?;
        let begins = front.at == 0;
        let (number, done) = (front.number, front.at + written >= front.bytes.len());
        front.at += written;
        self.bytes -= written;
        if begins
            && !self.lines.is_empty()
            && let Some(tag) = front.tag.clone()
        {
            self.leave_line(tag.channel.id(), number, Some(&tag));
        }
        if !done {
            return None;
        }
        let tag = self.entries.pop_front().and_then(|entry| entry.tag);
        self.messages -= tag.as_ref().map_or(0, |tag| u64::from(tag.count));
        self.drop_holes();
        tag
    }

    /// Whether more than half of a bound waits, for the connection or of the channel.
    pub fn is_over_half(&self, bounds: Bounds, channel: u64) -> bool {
        let line = self.lines.get(&channel);
        let (messages, bytes) = line.map_or((0, 0), |line| (line.waiting.len(), line.bytes));
        self.bytes > bounds.bytes / 2
            || bytes > bounds.line_bytes / 2
            || messages > bounds.line_messages / 2
    }

    /// Whether messages wait that a policy may take out.
    pub fn is_paced(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes and messages of a channel with a policy could be taken out.
    #[cfg(test)]
    pub fn waiting(&self, channel: u64) -> (usize, usize) {
        self.lines.get(&channel).map_or((0, 0), |line| (line.bytes, line.waiting.len()))
    }

    /// What waits, in order: bytes, how much of them was written, whose messages they are.
    pub fn into_entries(self) -> impl Iterator<Item = (Bytes, usize, Option<Tag>)> {
        let entries = self.entries.into_iter().filter(|entry| !entry.bytes.is_empty());
        entries.map(|entry| (entry.bytes, entry.at, entry.tag))
    }
}

#[cfg(test)]
mod tests;
