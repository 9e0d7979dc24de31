//! The queue against a list that does the same in the plainest way.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::hub::Hub;

#[derive(Debug, Clone)]
enum Step {
    /// Bytes of the connection's own.
    Own(usize),
    /// Messages of a channel without a policy, joined in one entry, some of it written before.
    Joined { size: usize, written: usize, count: u32 },
    /// A message of one of the channels with a policy.
    Admit { channel: usize, size: usize, key: Option<u8> },
    /// The socket takes bytes.
    Write(usize),
    /// Another process takes the connection.
    HandOver,
}

const POLICIES: [Overload; 5] = [
    Overload::DropOldest,
    Overload::DropNewest,
    Overload::KeepLatest,
    Overload::Disconnect,
    Overload::Hold,
];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (1..40_usize).prop_map(Step::Own),
        1 => (1..60_usize, 0..60_usize, 1..5_u32)
            .prop_map(|(size, written, count)| Step::Joined { size, written, count }),
        6 => (0..POLICIES.len(), 1..50_usize, proptest::option::of(0..4_u8))
            .prop_map(|(channel, size, key)| Step::Admit { channel, size, key }),
        3 => (1..80_usize).prop_map(Step::Write),
        1 => Just(Step::HandOver),
    ]
}

/// What the model knows of an entry.
#[derive(Debug, Clone, PartialEq)]
struct Item {
    bytes: Vec<u8>,
    at: usize,
    /// The channel whose policy may take it out, once nothing of it is written.
    line: Option<usize>,
    key: Option<u8>,
    count: u64,
}

#[derive(Debug, Default)]
struct Model(Vec<Item>);

impl Model {
    fn bytes(&self) -> usize {
        self.0.iter().map(|item| item.bytes.len() - item.at).sum()
    }

    fn line(&self, channel: usize) -> Vec<usize> {
        let stands = |item: &Item| item.line == Some(channel) && item.at == 0;
        (0..self.0.len()).filter(|&at| stands(&self.0[at])).collect()
    }

    fn has_room(&self, bounds: Bounds, channel: usize, size: usize) -> bool {
        let line = self.line(channel);
        let bytes: usize = line.iter().map(|&at| self.0[at].bytes.len()).sum();
        (self.0.is_empty() || self.bytes() + size <= bounds.bytes)
            && (line.is_empty() || bytes + size <= bounds.line_bytes)
            && line.len() < bounds.line_messages
    }

    fn admit(&mut self, bounds: Bounds, channel: usize, item: Item) -> Option<Admission> {
        let mut admission = Admission::default();
        let size = item.bytes.len();
        let policy = POLICIES[channel];
        let before = self.0.clone();
        if policy == Overload::KeepLatest
            && let Some(at) = self.line(channel).into_iter().find(|&at| self.0[at].key == item.key)
        {
            self.0.remove(at);
            admission.conflated = 1;
        }
        if policy == Overload::DropOldest {
            let mut without = Self(self.0.clone());
            for at in self.line(channel).into_iter().rev() {
                without.0.remove(at);
            }
            while without.has_room(bounds, channel, size) && !self.has_room(bounds, channel, size) {
                let oldest = self.line(channel)[0];
                self.0.remove(oldest);
                admission.oldest += 1;
            }
        }
        if self.has_room(bounds, channel, size) {
            self.0.push(item);
            admission.queued = true;
            return Some(admission);
        }
        self.0 = before;
        matches!(policy, Overload::DropOldest | Overload::DropNewest).then_some(admission)
    }

    /// The bytes that a socket gets, and the messages that are done.
    fn write(&mut self, mut n: usize) -> (Vec<u8>, u64) {
        let (mut out, mut done) = (Vec::new(), 0);
        while n > 0 && !self.0.is_empty() {
            let item = &mut self.0[0];
            let now = n.min(item.bytes.len() - item.at);
            out.extend_from_slice(&item.bytes[item.at..item.at + now]);
            item.at += now;
            n -= now;
            if item.at == item.bytes.len() {
                done += item.count;
                self.0.remove(0);
            }
        }
        (out, done)
    }
}

fn write(queue: &mut OutQueue, mut n: usize) -> (Vec<u8>, u64) {
    let (mut out, mut done) = (Vec::new(), 0);
    while n > 0
        && let Some(front) = queue.front()
    {
        let now = n.min(front.len());
        out.extend_from_slice(&front[..now]);
        n -= now;
        done += queue.advance(now).map_or(0, |tag| u64::from(tag.count));
    }
    (out, done)
}

/// Bytes that no other entry has.
fn numbered(number: usize, size: usize) -> Vec<u8> {
    (0..size).map(|at| (number * 31 + at) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_but_whole_messages_of_a_policy_leaves_the_queue_unwritten(
        steps in vec(step(), 1..200),
        bytes in 20..300_usize,
        line_bytes in prop_oneof![Just(usize::MAX), 20..200_usize],
        line_messages in prop_oneof![Just(usize::MAX), 1..8_usize],
    ) {
        let bounds = Bounds { bytes, line_bytes, line_messages };
        let hub = Hub::new(Vec::new(), 0);
        let channels: Vec<_> = POLICIES.iter().map(|policy| hub.private(policy.name())).collect();
        let plain = hub.private("plain");
        let keys: Vec<Arc<str>> = (0..4).map(|key| key.to_string().into()).collect();
        let (mut queue, mut model) = (OutQueue::default(), Model::default());
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Own(size) => {
                    let bytes = numbered(number, size);
                    queue.push(bytes.clone().into(), 0, None);
                    model.0.push(Item { bytes, at: 0, line: None, key: None, count: 0 });
                }
                Step::Joined { size, written, count } => {
                    let at = if model.0.is_empty() { written % size } else { 0 };
                    let bytes = numbered(number, size);
                    let channel = Arc::clone(&plain);
                    let tag = Tag { channel, count, since: number as u64, key: None };
                    queue.push(bytes.clone().into(), at, Some(tag));
                    model.0.push(Item { bytes, at, line: None, key: None, count: count.into() });
                }
                Step::Admit { channel, size, key } => {
                    let bytes = numbered(number, size);
                    let tag = Tag {
                        channel: Arc::clone(&channels[channel]),
                        count: 1,
                        since: number as u64,
                        key: key.map(|key| Arc::clone(&keys[usize::from(key)])),
                    };
                    let frame = bytes.clone().into();
                    let admitted = queue.admit(POLICIES[channel], bounds, &frame, tag);
                    let item = Item { bytes, at: 0, line: Some(channel), key, count: 1 };
                    prop_assert_eq!(admitted, model.admit(bounds, channel, item));
                }
                Step::Write(n) => prop_assert_eq!(write(&mut queue, n), model.write(n)),
                Step::HandOver => {
                    let mut other = OutQueue::default();
                    for Waiting { bytes, at, tag, stands } in queue.iter() {
                        other.restore(bytes.clone(), at, tag.cloned(), stands);
                    }
                    queue = other;
                }
            }
            prop_assert_eq!(queue.bytes(), model.bytes());
            prop_assert_eq!(queue.messages(), model.0.iter().map(|item| item.count).sum::<u64>());
            prop_assert_eq!(queue.is_empty(), model.0.is_empty());
            for (index, channel) in channels.iter().enumerate() {
                prop_assert_eq!(queue.waiting(channel.id()).1, model.line(index).len());
            }
            prop_assert!(queue.entries.len() <= 2 * model.0.len() + 17, "holes are swept");
        }
        let held: Vec<_> = queue.into_entries().map(|(bytes, at, _)| (bytes.to_vec(), at)).collect();
        let model: Vec<_> = model.0.into_iter().map(|item| (item.bytes, item.at)).collect();
        prop_assert_eq!(held, model);
    }
}
