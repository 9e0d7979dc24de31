//! Where every channel's records are, in memory: one entry for up to 64 records.
//!
//! Records of all channels stand mixed in the segments. Of each channel the index knows
//! **strides**: up to 64 consecutive offsets, or 64 KiB, with the place of the last record. From
//! there each record says how far back the one before begins, so that reading a page costs at most
//! one stride more than the page, and the index less than a byte per record.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::Retention;
use super::compact::Made;
use super::disk::DiskFile;

/// Records of one channel in one segment, with consecutive offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stride {
    /// The first offset.
    pub first: u64,
    /// The last offset.
    pub last: u64,
    /// Where the record of the last offset begins.
    pub at: u32,
    /// What the records take.
    pub bytes: u64,
    /// The time of the first record.
    pub first_time: u64,
    /// The time of the last record.
    pub last_time: u64,
}

const STRIDE_RECORDS: u64 = 64;
const STRIDE_BYTES: u64 = 64 << 10;

impl Stride {
    fn takes(&self, offset: u64) -> bool {
        offset == self.last + 1 && offset - self.first < STRIDE_RECORDS && self.bytes < STRIDE_BYTES
    }
}

/// The strides of one channel in one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// The segment's place in the order.
    pub order: u64,
    pub strides: VecDeque<Stride>,
}

/// A record that was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub channel: u64,
    pub offset: u64,
    pub time: u64,
    pub at: u32,
    pub size: u32,
}

/// What is kept of one channel.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    /// The oldest offset that is kept; the one behind `last` when none is.
    pub first: u64,
    /// The last offset, also when it is not kept any more.
    pub last: u64,
    /// The time of the last record.
    pub time: u64,
    /// The strides that hold something that is kept.
    pub runs: VecDeque<Run>,
    /// Records from `first` on.
    pub records: u64,
    /// What the strides take, also where their first records are not kept any more.
    pub bytes: u64,
    pub retention: Retention,
}

/// One segment.
pub(super) struct Segment {
    pub number: u64,
    pub file: Arc<dyn DiskFile>,
    /// The end of its last record.
    pub len: u64,
    /// What its records that are kept take, about.
    pub live: u64,
    /// Channels that keep some of them.
    pub users: usize,
}

/// All channels and segments. Both the writer's thread and readers use it, under one short lock.
#[derive(Default)]
pub(super) struct Index {
    pub logs: HashMap<u64, Log, foldhash::fast::RandomState>,
    /// By their order.
    pub segments: BTreeMap<u64, Segment>,
    /// Something was let go of since the writer looked last.
    pub stale: bool,
}

impl Log {
    pub fn new(last: u64, retention: Retention) -> Self {
        Self { first: last + 1, last, retention, ..Self::default() }
    }

    /// Counts anew.
    fn count(&mut self) {
        let first = self.first;
        let strides = || self.runs.iter().flat_map(|run| &run.strides);
        self.records = strides().map(|stride| stride.last + 1 - stride.first.max(first)).sum();
        self.bytes = strides().map(|stride| stride.bytes).sum();
    }

    /// The last offset of those that are kept.
    pub fn newest(&self) -> Option<u64> {
        self.runs.back()?.strides.back().map(|stride| stride.last)
    }

    /// Where the channel's last record in the segment begins.
    pub fn tail(&self, order: u64) -> Option<u32> {
        let run = self.runs.back().filter(|run| run.order == order)?;
        run.strides.back().map(|stride| stride.at)
    }
}

impl Index {
    /// Takes in a record of the segment `order`, behind all of its channel.
    pub fn add(&mut self, order: u64, written: &Written) {
        let Written { offset, time, at, .. } = *written;
        let size = u64::from(written.size);
        let Some(log) = self.logs.get_mut(&written.channel) else { return };
        let Some(segment) = self.segments.get_mut(&order) else { return };
        if log.runs.back().is_none_or(|run| run.order != order) {
            log.runs.push_back(Run { order, strides: VecDeque::new() });
            segment.users += 1;
        }
        segment.live += size;
        if log.records == 0 {
            log.first = offset;
        }
        let Some(run) = log.runs.back_mut() else { return };
        match run.strides.back_mut() {
            Some(stride) if stride.takes(offset) => {
                stride.last = offset;
                stride.at = at;
                stride.bytes += size;
                stride.last_time = time;
            }
            _ => run.strides.push_back(Stride {
                first: offset,
                last: offset,
                at,
                bytes: size,
                first_time: time,
                last_time: time,
            }),
        }
        // The catalogue may know of a later one that is not kept.
        log.last = log.last.max(offset);
        log.time = time;
        log.records += 1;
        log.bytes += size;
    }

    /// Takes in the strides that a segment has of a channel, behind all of that channel.
    pub fn add_run(&mut self, channel: u64, run: Run) {
        let Some(log) = self.logs.get_mut(&channel) else { return };
        let Some(segment) = self.segments.get_mut(&run.order) else { return };
        let (Some(first), Some(last)) = (run.strides.front(), run.strides.back()) else { return };
        if log.records == 0 {
            log.first = first.first;
        }
        log.last = log.last.max(last.last);
        log.time = last.last_time;
        let bytes = run.strides.iter().map(|stride| stride.bytes).sum::<u64>();
        log.records += run.strides.iter().map(|stride| stride.last - stride.first + 1).sum::<u64>();
        log.bytes += bytes;
        segment.users += 1;
        segment.live += bytes;
        log.runs.push_back(run);
    }

    /// Takes in what another process knew of a channel, of which nothing is known here; `None` if it
    /// names segments that there are not.
    pub fn restore(&mut self, channel: u64, mut log: Log) -> Option<()> {
        for run in &log.runs {
            let segment = self.segments.get_mut(&run.order)?;
            segment.users += 1;
            segment.live += run.strides.iter().map(|stride| stride.bytes).sum::<u64>();
        }
        log.count();
        self.logs.insert(channel, log).is_none().then_some(())
    }

    /// Lets go of what the channel keeps in front of `before`.
    pub fn trim(&mut self, channel: u64, before: u64) {
        let Some(log) = self.logs.get_mut(&channel) else { return };
        while let Some(run) = log.runs.front_mut() {
            while let Some(stride) = run.strides.front().copied() {
                if stride.last >= before {
                    // What is left of its front has been counted out already up to `first`.
                    let from = stride.first.max(log.first);
                    if before > from {
                        log.records -= before - from;
                    }
                    log.first = before.max(from);
                    return;
                }
                log.records -= stride.last + 1 - stride.first.max(log.first).min(stride.last + 1);
                log.bytes -= stride.bytes;
                self.stale = true;
                if let Some(segment) = self.segments.get_mut(&run.order) {
                    segment.live -= stride.bytes;
                }
                run.strides.pop_front();
            }
            if let Some(segment) = self.segments.get_mut(&run.order) {
                segment.users -= 1;
            }
            log.runs.pop_front();
        }
        log.first = log.last + 1;
    }

    /// Lets go of what is over the channel's limits by count and bytes, and of strides that are too
    /// old at `now`, in ms since the Unix epoch.
    pub fn retain(&mut self, channel: u64, now: u64) {
        let Some(log) = self.logs.get(&channel) else { return };
        let Retention { records, bytes, age_ms } = log.retention;
        let mut before = log.first;
        // Offsets may have holes in the log of a disk that was full, so the count is walked.
        let (mut kept, mut size) = (log.records, log.bytes);
        for stride in log.runs.iter().flat_map(|run| &run.strides) {
            let from = stride.first.max(before);
            let own = stride.last + 1 - from;
            let old = age_ms != 0 && now.saturating_sub(stride.last_time) >= age_ms;
            // The last stride alone may be over the bytes: what was just published is kept.
            let large = bytes != 0 && size > bytes && stride.last != log.last;
            let many = records != 0 && kept > records;
            if old || large || (many && kept - own >= records) {
                before = stride.last + 1;
                kept -= own;
                size -= stride.bytes;
                continue;
            }
            if many {
                before = from + (kept - records);
            }
            break;
        }
        if before > log.first {
            self.trim(channel, before);
        }
    }

    /// The strides that every channel has in a segment.
    pub fn runs_of(&self, order: u64) -> Vec<(u64, Run)> {
        let own = self.logs.iter().filter_map(|(channel, log)| {
            let at = log.runs.binary_search_by_key(&order, |run| run.order).ok()?;
            Some((*channel, log.runs.get(at)?.clone()))
        });
        own.collect()
    }

    /// Puts one segment in the place of several, which stood next to each other.
    pub fn replace(&mut self, made: Made) {
        let Made { olds, order, number, file, len, mut runs } = made;
        for (order, _) in &olds {
            self.segments.remove(order);
        }
        let mut segment = Segment { number, file, len, live: 0, users: 0 };
        for (channel, log) in &mut self.logs {
            let before = log.runs.len();
            log.runs.retain(|run| !olds.iter().any(|(old, _)| *old == run.order));
            if log.runs.len() == before {
                continue;
            }
            if let Some(mut run) = runs.remove(channel) {
                run.strides.retain(|stride| stride.last >= log.first);
                if !run.strides.is_empty() {
                    segment.users += 1;
                    segment.live += run.strides.iter().map(|stride| stride.bytes).sum::<u64>();
                    let at = log.runs.partition_point(|other| other.order < order);
                    log.runs.insert(at, run);
                }
            }
            log.count();
        }
        self.segments.insert(order, segment);
        // While this was made, others may have become worth it.
        self.stale = true;
    }

    /// Forgets a channel.
    pub fn forget(&mut self, channel: u64) {
        self.trim(channel, u64::MAX);
        self.logs.remove(&channel);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::disk::Disk;
    use super::super::simulated::Simulated;
    use super::*;

    fn index(retention: Retention) -> Index {
        let disk = Simulated::new();
        let mut index = Index::default();
        for order in 0..4 {
            let file = disk.create("x").unwrap();
            let segment = Segment { number: order, file, len: 0, live: 0, users: 0 };
            index.segments.insert(order, segment);
        }
        index.logs.insert(1, Log::new(0, retention));
        index
    }

    proptest! {
        /// The index counts like a list of all records, whatever is added and let go of.
        #[test]
        fn counting(
            steps in prop::collection::vec((0u64..3, 1u64..3, 1u32..40_000, prop::option::of(0u64..300)), 1..300),
            records in 0u64..100,
        ) {
            let mut index = index(Retention { records, bytes: 0, age_ms: 0 });
            let mut model: VecDeque<(u64, u64, u64)> = VecDeque::new();
            let (mut order, mut last, mut at) = (0, 0, 0);
            for (turn, gap, size, trim) in steps {
                if turn == 0 && order < 3 {
                    order += 1;
                }
                last += gap;
                at += 1;
                index.add(order, &Written { channel: 1, offset: last, time: last, at, size });
                model.push_back((order, last, u64::from(size)));
                if let Some(trim) = trim {
                    index.trim(1, trim);
                    model.retain(|(_, offset, _)| *offset >= trim);
                }
                index.retain(1, 0);
                while records != 0 && model.len() as u64 > records {
                    model.pop_front();
                }
                let log = &index.logs[&1];
                prop_assert_eq!(log.records, model.len() as u64);
                prop_assert_eq!(log.last, last);
                let held = log.runs.iter().flat_map(|run| run.strides.iter());
                let held: Vec<u64> =
                    held.flat_map(|s| s.first.max(log.first)..=s.last).collect();
                prop_assert_eq!(held, model.iter().map(|(_, offset, _)| *offset).collect::<Vec<_>>());
                let users = index.segments.values().map(|segment| segment.users).sum::<usize>();
                prop_assert_eq!(users, log.runs.len());
                let live = index.segments.values().map(|segment| segment.live).sum::<u64>();
                prop_assert_eq!(live, log.bytes);
                for (order, segment) in &index.segments {
                    let own = model.iter().filter(|(at, ..)| at == order).map(|(.., size)| size);
                    prop_assert!(segment.live >= own.sum::<u64>());
                }
            }
        }
    }
}
