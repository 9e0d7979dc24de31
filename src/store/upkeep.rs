//! What the writer's thread does beside appending: channels, and segments that are not needed.

use std::sync::Arc;

use super::catalogue::Change;
use super::compact::{self, Outcome};
use super::index::Log;
use super::queue::Command;
use super::writer::{Writer, now_ms, unknown};
use super::{ChannelRecord, lock, segment, sidecar};
use crate::Result;

impl Writer {
    pub(super) fn create(&mut self, channel: ChannelRecord) -> Result<()> {
        self.record(vec![Change::Channel(channel.clone())])?;
        lock(&self.shared.index).logs.insert(channel.id, Log::new(0, channel.retention));
        lock(&self.shared.channels).insert(channel.id, channel);
        Ok(())
    }

    pub(super) fn change(&mut self, channel: ChannelRecord) -> Result<()> {
        let Some(before) = lock(&self.shared.channels).get(&channel.id).cloned() else {
            return Err(unknown(channel.id));
        };
        let ChannelRecord { name, created_ms, .. } = before;
        let channel = ChannelRecord { name, created_ms, ..channel };
        self.record(vec![Change::Channel(channel.clone())])?;
        {
            let mut index = lock(&self.shared.index);
            if let Some(log) = index.logs.get_mut(&channel.id) {
                log.retention = channel.retention;
            }
            index.retain(channel.id, now_ms());
        }
        lock(&self.shared.channels).insert(channel.id, channel);
        Ok(())
    }

    pub(super) fn delete(&mut self, channel: u64) -> Result<()> {
        if !lock(&self.shared.channels).contains_key(&channel) {
            return Err(unknown(channel));
        }
        self.record(vec![Change::Deleted { channel }])?;
        lock(&self.shared.channels).remove(&channel);
        lock(&self.shared.index).forget(channel);
        Ok(())
    }

    pub(super) fn trim(&mut self, channel: u64, before: u64) -> Result<()> {
        let Some(last) = lock(&self.shared.index).logs.get(&channel).map(|log| log.last) else {
            return Err(unknown(channel));
        };
        let first = before.min(last + 1);
        // What the catalogue says was the last must not be gone after a power cut that leaves others
        // in front of it.
        self.sync()?;
        self.record(vec![Change::Trimmed { channel, first, last }])?;
        lock(&self.shared.index).trim(channel, first);
        Ok(())
    }

    pub(super) fn tick(&mut self) {
        let now = now_ms();
        let mut index = lock(&self.shared.index);
        let aging = index.logs.iter().filter(|(_, log)| log.retention.age_ms != 0);
        for channel in aging.map(|(channel, _)| *channel).collect::<Vec<_>>() {
            index.retain(channel, now);
        }
    }

    /// Removes segments that hold nothing that is kept, and has those written anew that hold little.
    pub(super) fn clean_up(&mut self) {
        if self.shared.failure().is_some() || !std::mem::take(&mut lock(&self.shared.index).stale) {
            return;
        }
        let active = self.active.as_ref().map(|active| active.order);
        let unused: Vec<(u64, u64)> = {
            let index = lock(&self.shared.index);
            let unused = index
                .segments
                .iter()
                .filter(|(order, segment)| segment.users == 0 && Some(**order) != active);
            unused.map(|(order, segment)| (*order, segment.number)).collect()
        };
        if let Err(error) = self.remove(&unused) {
            log::warn!(target: "qyun::store", "segments that are not needed stay: {error}");
        }
        self.compact();
    }

    fn remove(&mut self, segments: &[(u64, u64)]) -> Result<()> {
        if segments.is_empty() {
            return Ok(());
        }
        let mut changes = self.forgotten();
        changes.extend(segments.iter().map(|(order, _)| Change::Removed { order: *order }));
        self.record(changes)?;
        for (order, number) in segments {
            lock(&self.shared.index).segments.remove(order);
            // One that stays is removed by the next opening, which does not find it listed.
            let _ = self.disk.remove(&segment::name(*number));
            let _ = self.disk.remove(&sidecar::name(*number));
        }
        Ok(())
    }

    /// The last offsets of channels that keep no record which would tell them.
    fn forgotten(&self) -> Vec<Change> {
        let index = lock(&self.shared.index);
        let told = &self.catalogue.state.trimmed;
        let empty = index.logs.iter().filter(|(channel, log)| {
            log.records == 0 && told.get(channel).map_or(0, |(_, last)| *last) < log.last
        });
        empty
            .map(|(channel, log)| Change::Trimmed {
                channel: *channel,
                first: log.first,
                last: log.last,
            })
            .collect()
    }

    fn compact(&mut self) {
        if self.compaction.is_some() || !self.compacts || self.calm {
            return;
        }
        let active = self.active.as_ref().map(|active| active.order);
        let number = self.catalogue.state.next_number;
        let plan = {
            let index = lock(&self.shared.index);
            compact::plan(&index, active, number, self.options.segment_bytes)
        };
        let Some(plan) = plan else { return };
        // The number is used, whatever becomes of the file.
        if self.record(vec![Change::Next { channel: 0, number: number + 1 }]).is_err() {
            return;
        }
        let (shared, disk) = (Arc::clone(&self.shared), Arc::clone(&self.disk));
        let work = move || {
            let outcome = plan.carry_out(&*disk);
            // A store that is being closed goes without: the file is not listed.
            drop(shared.queue.push([Command::Compacted(Box::new(outcome))], 0));
        };
        match crate::thread::spawn("qyun-compact", work) {
            Ok(thread) => self.compaction = Some(thread),
            Err(error) => log::warn!(target: "qyun::store", "no thread to compact with: {error}"),
        }
    }

    pub(super) fn take_over(&mut self, outcome: Outcome) {
        let made = match outcome {
            Ok(made) => made,
            Err(error) => {
                log::error!(target: "qyun::store", "segments were not written anew: {error}");
                self.compacts = false;
                return;
            }
        };
        let mut changes = self.forgotten();
        changes.extend(made.olds.iter().map(|(order, _)| Change::Removed { order: *order }));
        changes.push(Change::Segment { order: made.order, number: made.number });
        if let Err(error) = self.record(changes) {
            log::warn!(target: "qyun::store", "segments were not written anew: {error}");
            // Not if the catalogue may name it.
            if self.shared.failure().is_none() {
                let _ = self.disk.remove(&segment::name(made.number));
                let _ = self.disk.remove(&sidecar::name(made.number));
            }
            return;
        }
        let olds = made.olds.clone();
        lock(&self.shared.index).replace(made);
        for (_, number) in olds {
            let _ = self.disk.remove(&segment::name(number));
            let _ = self.disk.remove(&sidecar::name(number));
        }
    }
}
