//! The thread that writes: group commit for all channels.
//!
//! It owns the catalogue and the end of the log. One round takes all commands that wait, turns the
//! appends into one buffer (at most 4 MiB, at most the rest of the segment), writes that, tells
//! those who wait for the write, syncs if anybody asked, and tells those. A record is in the index,
//! and so can be read, from the moment when it is acknowledged.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::catalogue::{Catalogue, Change, Refused};
use super::disk::{Disk, DiskFile};
use super::index::{Segment, Written};
use super::queue::Command;
use super::record::{self, Place, Record};
use super::segment::{self, START, Title};
use super::{Appended, Done, Options, Shared, lock, sidecar};
use crate::sync::thread::JoinHandle;
use crate::{Error, ErrorKind, Result};

/// The most that one write has, but for a single record that is larger.
const BATCH_BYTES: usize = 4 << 20;

/// How far ahead of its records a segment's file grows. A sync then has no new length to write down
/// with nearly every write, which makes it about a quarter cheaper.
const AHEAD: u64 = 1 << 20;

/// How often what is too old is looked for in channels that nobody publishes to.
const TICK: Duration = Duration::from_secs(5);

/// The segment that grows.
pub(super) struct Active {
    pub order: u64,
    pub number: u64,
    pub file: Arc<dyn DiskFile>,
    /// The end of its last record.
    pub len: u64,
    /// The length that the file was given ahead; zeros from `len` on.
    pub room: u64,
    /// Up to where it was synced.
    pub synced: u64,
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) catalogue: Catalogue,
    pub(super) options: Options,
    pub(super) active: Option<Active>,
    batch: Batch,
    /// A record was acknowledged before it was written, and then was not.
    pub(super) lost: bool,
    pub(super) compaction: Option<JoinHandle<()>>,
    /// Compacting met what it cannot read: that stays as it is until the next opening.
    pub(super) compacts: bool,
    /// Nothing is compacted, because the store is about to change hands.
    pub(super) calm: bool,
    /// Who waits until nothing is being compacted.
    pub(super) awaits_calm: Option<Sender<()>>,
    /// When to begin, if not at once.
    begins: Option<Receiver<()>>,
}

/// How the thread begins.
#[derive(Default)]
pub(super) struct Begin {
    /// As [`Writer`] has it.
    pub lost: bool,
    /// When this is told; never, when it is dropped instead.
    pub when: Option<Receiver<()>>,
}

/// What goes out with the next write.
#[derive(Default)]
struct Batch {
    buffer: Vec<u8>,
    entries: Vec<Entry>,
    /// The last record in the batch of each of its channels.
    tails: HashMap<u64, Tail, foldhash::fast::RandomState>,
}

struct Entry {
    written: Written,
    /// Its offset was told before.
    told: bool,
    done: Done<Appended>,
}

struct Tail {
    offset: u64,
    time: u64,
    at: Option<u32>,
    /// One of the channel's records waits for the sync, and so all do, to be told in order.
    sync: bool,
}

impl Writer {
    pub fn new(
        shared: Arc<Shared>,
        disk: Arc<dyn Disk>,
        catalogue: Catalogue,
        active: Option<Active>,
        options: Options,
        begin: Begin,
    ) -> Self {
        let batch = Batch::default();
        Self {
            shared,
            disk,
            catalogue,
            options,
            active,
            batch,
            lost: begin.lost,
            compaction: None,
            compacts: true,
            calm: false,
            awaits_calm: None,
            begins: begin.when,
        }
    }

    /// Works until the queue is closed and empty.
    pub fn run(mut self) {
        // What waits for room, or for a commit, would wait for this thread.
        crate::thread::never_waits();
        // Should the thread end by a defect, nobody is left waiting.
        let guard = Guard(Arc::clone(&self.shared));
        if self.begins.take().is_some_and(|begins| begins.recv().is_err()) {
            // The folder is another process's as before.
            return;
        }
        let mut commands = Vec::new();
        while self.shared.queue.take(&mut commands, TICK) {
            if commands.is_empty() {
                self.tick();
            }
            for command in commands.drain(..) {
                self.execute(command);
            }
            self.commit();
            self.clean_up();
        }
        self.end();
        drop(guard);
    }

    fn execute(&mut self, command: Command) {
        if let Some(error) = self.shared.failure() {
            if let Command::Append { record, .. } = &command {
                self.shared.queue.written(record::size(record));
            }
            return command.refuse(&error);
        }
        match command {
            Command::Append { channel, record, offset, sync, done } => {
                self.append(channel, record, offset, sync, done);
            }
            Command::Create(channel, done) => {
                self.commit();
                done(self.create(*channel));
            }
            Command::Change(channel, done) => {
                self.commit();
                done(self.change(*channel));
            }
            Command::Delete(channel, done) => {
                self.commit();
                done(self.delete(channel));
            }
            Command::Trim(channel, before, done) => {
                self.commit();
                done(self.trim(channel, before));
            }
            Command::Sync(done) => {
                self.commit();
                done(self.sync());
            }
            Command::Compacted(outcome) => {
                self.compaction = None;
                self.take_over(*outcome);
                if let Some(tell) = self.awaits_calm.take() {
                    // Who does not wait any more need not be told.
                    let _ = tell.send(());
                }
            }
            Command::HandOver(step) => {
                self.commit();
                self.hand_over(step);
            }
        }
    }

    // Appending.

    fn append(
        &mut self,
        channel: u64,
        record: Record,
        offset: Option<u64>,
        sync: bool,
        done: Done<Appended>,
    ) {
        let size = record::size(&record);
        let end = self.active.as_ref().map_or(START, |active| active.len);
        let at = end + self.batch.buffer.len() as u64;
        let full = at + size as u64 > self.options.segment_bytes && at > START;
        if full || self.batch.buffer.len() + size > BATCH_BYTES {
            self.commit();
        }
        if full && let Err(error) = self.seal() {
            return self.refuse_append(size, offset, done, error);
        }
        if let Err(error) = self.ensure_active() {
            return self.refuse_append(size, offset, done, error);
        }
        match self.place(channel, offset, record.time_ms, sync) {
            Ok((place, at)) => {
                let Some(active) = &self.active else { return };
                record::encode(
                    &mut self.batch.buffer,
                    active.number,
                    u64::from(at),
                    &place,
                    &record,
                );
                let written = Written {
                    channel,
                    offset: place.offset,
                    time: place.time,
                    at,
                    size: u32::try_from(size).unwrap_or(u32::MAX),
                };
                self.batch.entries.push(Entry { written, told: offset.is_some(), done });
            }
            Err(error) => self.refuse_append(size, offset, done, error),
        }
    }

    fn refuse_append(
        &mut self,
        size: usize,
        offset: Option<u64>,
        done: Done<Appended>,
        error: Error,
    ) {
        self.lost |= offset.is_some();
        self.shared.queue.written(size);
        // What the channel published before is told before.
        self.commit();
        done(Err(error));
    }

    /// Where the next record of a channel goes.
    fn place(
        &mut self,
        channel: u64,
        offset: Option<u64>,
        time: u64,
        sync: bool,
    ) -> Result<(Place, u32)> {
        let Some(active) = &self.active else {
            return Err(Error::new(ErrorKind::Io, "there is no segment"));
        };
        let at = active.len + self.batch.buffer.len() as u64;
        let at = u32::try_from(at)
            .map_err(|_| Error::new(ErrorKind::Io, format!("byte {at} is beyond a segment")))?;
        let tail = match self.batch.tails.entry(channel) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let index = lock(&self.shared.index);
                let Some(log) = index.logs.get(&channel) else { return Err(unknown(channel)) };
                let (offset, time, at) = (log.last, log.time, log.tail(active.order));
                entry.insert(Tail { offset, time, at, sync: false })
            }
        };
        let offset = offset.unwrap_or(tail.offset + 1);
        if offset <= tail.offset {
            let text = format!("offset {offset} is not behind the channel's last, {}", tail.offset);
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let time = time.max(tail.time);
        let back = tail.at.map_or(0, |before| at - before);
        *tail = Tail { offset, time, at: Some(at), sync: tail.sync || sync };
        let synced = u32::try_from(active.synced).unwrap_or(u32::MAX);
        Ok((Place { channel, offset, time, back, synced }, at))
    }

    fn ensure_active(&mut self) -> Result<()> {
        if self.active.is_some() {
            return Ok(());
        }
        let state = &self.catalogue.state;
        let order = state.segments.last_key_value().map_or(1, |(order, _)| order + 1);
        let number = state.next_number.max(1);
        let about = |error: io::Error| Error::from(error).context("a new segment");
        let file = segment::create(&*self.disk, Title { file: number, order }).map_err(about)?;
        self.record(vec![Change::Segment { order, number }])?;
        let segment = Segment { number, file: Arc::clone(&file), len: START, live: 0, users: 0 };
        lock(&self.shared.index).segments.insert(order, segment);
        self.active = Some(Active { order, number, file, len: START, room: START, synced: START });
        Ok(())
    }

    /// Writes what is gathered, and tells everybody whose records they are.
    fn commit(&mut self) {
        if self.batch.entries.is_empty() {
            return;
        }
        let Batch { buffer, entries, tails, .. } = std::mem::take(&mut self.batch);
        let written = self.write(&buffer);
        let size = buffer.len();
        self.shared.queue.written(size);
        self.batch.buffer = buffer;
        self.batch.buffer.clear();
        if let Err(error) = written {
            return self.refuse(entries, &error);
        }
        let counts = &self.shared.counts;
        counts.records.fetch_add(entries.len() as u64, Relaxed);
        counts.bytes.fetch_add(size as u64, Relaxed);
        counts.writes.fetch_add(1, Relaxed);
        let waits = |entry: &Entry| tails.get(&entry.written.channel).is_some_and(|tail| tail.sync);
        let (later, now): (Vec<_>, Vec<_>) = entries.into_iter().partition(waits);
        self.publish(now);
        if later.is_empty() {
            return;
        }
        match self.sync() {
            Ok(()) => self.publish(later),
            Err(error) => self.refuse(later, &error),
        }
    }

    fn write(&mut self, buffer: &[u8]) -> Result<()> {
        let Some(active) = &mut self.active else {
            return Err(Error::new(ErrorKind::Io, "there is no segment"));
        };
        let end = active.len + buffer.len() as u64;
        if end > active.room {
            let room = (end + AHEAD).min(self.options.segment_bytes.max(end));
            // It only saves time.
            if active.file.set_len(room).is_ok() {
                active.room = room;
            }
        }
        let Err(error) = active.file.write_at(buffer, active.len) else {
            active.len = end;
            return Ok(());
        };
        let text = format!("{}: {error}", segment::name(active.number));
        let error = Error::from(error).context(segment::name(active.number));
        // A part may have been written: it must not stand in front of what comes next.
        active.room = active.len;
        if let Err(cut) = active.file.set_len(active.len) {
            self.fail(Error::new(ErrorKind::Io, format!("{text}; it cannot be cut off: {cut}")));
        }
        Err(error)
    }

    /// Makes records readable, lets go of what is over the limits, and tells who waited.
    fn publish(&mut self, entries: Vec<Entry>) {
        let Some(active) = &self.active else { return };
        {
            let now = now_ms();
            let mut index = lock(&self.shared.index);
            for Entry { written, .. } in &entries {
                index.add(active.order, written);
            }
            if let Some(segment) = index.segments.get_mut(&active.order) {
                segment.len = active.len;
            }
            // Entries of a channel mostly stand together: once for each such group.
            let mut last = None;
            for Entry { written, .. } in &entries {
                if last.replace(written.channel) != Some(written.channel) {
                    index.retain(written.channel, now);
                }
            }
        }
        for Entry { written, done, .. } in entries {
            done(Ok(Appended { offset: written.offset, time_ms: written.time }));
        }
    }

    fn refuse(&mut self, entries: Vec<Entry>, error: &Error) {
        for Entry { told, done, .. } in entries {
            self.lost |= told;
            done(Err(error.clone()));
        }
    }

    // The disk.

    /// Makes all that was written survive a power cut. After a failure nobody knows what does, and
    /// the kernel may tell of it once only: so nothing is acknowledged any more.
    pub(super) fn sync(&mut self) -> Result<()> {
        if let Some(error) = self.shared.failure() {
            return Err(error);
        }
        let Some(active) = &mut self.active else { return Ok(()) };
        if active.synced == active.len {
            return Ok(());
        }
        match active.file.sync() {
            Ok(()) => {
                active.synced = active.len;
                self.shared.counts.syncs.fetch_add(1, Relaxed);
                Ok(())
            }
            Err(error) => {
                let name = segment::name(active.number);
                Err(self.fail(Error::from(error).context(format!("{name}: it cannot be synced"))))
            }
        }
    }

    /// Writes nothing any more.
    fn fail(&mut self, error: Error) -> Error {
        log::error!(target: "qyun::store", "nothing is written any more: {error}");
        lock(&self.shared.failed).get_or_insert(error).clone()
    }

    pub(super) fn record(&mut self, changes: Vec<Change>) -> Result<()> {
        self.catalogue.change(changes).map_err(|refused| match refused {
            Refused::Unwritten(error) => Error::from(error).context("the catalogue"),
            Refused::Unknown(error) => {
                let error = Error::from(error).context("the catalogue");
                self.fail(error)
            }
        })
    }

    /// Ends the segment that grows. Its records are synced before the next one has any: so only the
    /// last segment can have a torn end.
    fn seal(&mut self) -> Result<()> {
        self.cut()?;
        self.sync()?;
        let Some(active) = self.active.take() else { return Ok(()) };
        let runs = lock(&self.shared.index).runs_of(active.order);
        if let Err(error) = sidecar::write(&*self.disk, active.number, active.len, &runs) {
            // It only saves the next opening a scan.
            log::warn!(target: "qyun::store", "{}: {error}", sidecar::name(active.number));
        }
        Ok(())
    }

    /// Takes away what the file was given ahead. It is synced with the records.
    fn cut(&mut self) -> Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        let about = |error: io::Error| Error::from(error).context(segment::name(active.number));
        if active.file.len().map_err(about)? != active.len {
            active.file.set_len(active.len).map_err(about)?;
            active.room = active.len;
            active.synced = active.synced.min(active.len - 1);
        }
        Ok(())
    }

    /// The end in peace: the next opening finds everything up to here.
    fn end(&mut self) {
        // It has the folder open.
        if let Some(thread) = self.compaction.take() {
            let _ = thread.join();
        }
        if self.shared.failure().is_some()
            || self.cut().is_err()
            || self.sync().is_err()
            || self.lost
        {
            return;
        }
        let (order, len) =
            self.active.as_ref().map_or((None, 0), |active| (Some(active.order), active.len));
        let _ = self.record(vec![Change::Closed { order, len }]);
    }
}

/// Answers everybody when the thread ends.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.queue.close();
        let ended = || Error::new(ErrorKind::Closed, "the store is closed");
        let error = self.0.failure().unwrap_or_else(ended);
        let mut left = Vec::new();
        self.0.queue.take(&mut left, Duration::ZERO);
        left.into_iter().for_each(|command| command.refuse(&error));
    }
}

pub(super) fn unknown(channel: u64) -> Error {
    Error::new(ErrorKind::ChannelNotFound, format!("the store has no channel {channel}"))
}

/// The time of day, in ms since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
