//! Durable channels: a log on disk of what is published, and reading it back.
//!
//! A [`Store`] is one folder, held by one process. All channels share one log of **segments**,
//! because what an acknowledgement costs is the `fdatasync`, and a shared log needs one for all
//! channels that published meanwhile. One thread writes: it takes everything that waits, writes it
//! at once, syncs if anything in it asked for that, and then says so, in order. The
//! catalogue beside the log says which channels and segments there are.
//!
//! What is promised:
//!
//! - A record whose [`Done`] was called with `Ok` is there after `kill -9` when its level is
//!   [`Level::Os`] or [`Level::Fsync`], and after a power cut when it is [`Level::Fsync`].
//! - A channel's records are read in the order of their offsets, each as it was written: every one
//!   has a checksum, which is looked at whenever it is read.
//! - A position that was told is never another record's: where one might be, because records below
//!   `Fsync` may have been lost, opening gives the channel a new epoch. Offsets go on.
//!
//! An end without notice may leave a torn last write; opening cuts it off. Any other damage is an
//! error of [`Store::open`] that says which file and which byte; [`check`] lists all of it, and
//! [`repair`] keeps what is good.

mod catalogue;
mod check;
mod compact;
mod disk;
mod handover;
mod index;
mod open;
mod queue;
mod read;
mod record;
mod segment;
mod sidecar;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
mod upkeep;
mod writer;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use serde::{Deserialize, Serialize};

pub use check::{Damage, Report, check, repair};
pub use handover::{Calm, Heir, Parked};
pub use read::{Page, Query};
pub use record::{MAX_PAYLOAD, Record, Stored};

use crate::sync::thread::JoinHandle;
use crate::{Error, ErrorKind, Result};
use index::Index;
use open::Opened;
use queue::{Command, Queue};
use writer::Begin;

/// When an append is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// At once; it is written behind.
    Memory,
    /// When the operating system has it (`write` returned): it survives the process.
    Os,
    /// When the disk has it (`fdatasync` returned): it survives the machine.
    Fsync,
}

/// How much of a channel is kept; 0 means without limit. Age is exact, bytes to within one of the
/// index's entries (64 records or 64 KiB).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Retention {
    /// The newest so many.
    pub records: u64,
    /// The newest so many bytes, as records take them on disk.
    pub bytes: u64,
    /// Those published in the last so many ms.
    pub age_ms: u64,
}

/// What an append waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// `write` returned.
    Os,
    /// `fdatasync` returned.
    Fsync,
}

/// A channel as the catalogue has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRecord {
    /// The store's number for it, never used again.
    pub id: u64,
    /// Its name. The store does not mind two channels of one name.
    pub name: String,
    /// Its incarnation.
    pub epoch: u64,
    /// What its appends ask for; it decides whether the epoch goes on after an end without notice.
    pub level: Level,
    /// How much is kept.
    pub retention: Retention,
    /// When it was created, in ms since the Unix epoch.
    pub created_ms: u64,
    /// Whatever its owner wants to find again.
    pub text: String,
}

/// A channel that was there when the store was opened, or is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelState {
    /// What the catalogue has.
    pub channel: ChannelRecord,
    /// The oldest offset that is kept; `last + 1` if none is.
    pub first: u64,
    /// The last offset that was ever written; 0 if none was.
    pub last: u64,
    /// Records that are kept.
    pub records: u64,
}

/// Where an append landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its offset.
    pub offset: u64,
    /// Its time, in ms since the Unix epoch.
    pub time_ms: u64,
}

/// Called once, when the level that was asked for is reached or cannot be. On the store's thread,
/// in the order of the appends of a channel: it must not wait.
pub type Done<T> = Box<dyn FnOnce(Result<T>) + Send>;

/// How a store works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// A segment that has reached this is followed by another; 64 KiB to 1 GiB. A record that is
    /// larger gets a segment of its own.
    pub segment_bytes: u64,
    /// Bytes that may wait to be written before [`Store::is_full`].
    pub queue_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, queue_bytes: 16 << 20 }
    }
}

/// What a store has done since it was opened, and what it has now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records written.
    pub records: u64,
    /// Their bytes, with what the log adds to each.
    pub bytes: u64,
    /// Writes that they went out with: a group of records each.
    pub writes: u64,
    /// Syncs of segments (`fdatasync`).
    pub syncs: u64,
    /// Segments now.
    pub segments: u64,
    /// Bytes of records in them.
    pub segment_bytes: u64,
    /// Bytes that wait to be written now.
    pub queued_bytes: u64,
}

/// The totals of [`Stats`]. The writer's thread alone counts.
#[derive(Debug, Default)]
struct Counts {
    records: AtomicU64,
    bytes: AtomicU64,
    writes: AtomicU64,
    syncs: AtomicU64,
}

/// A folder of durable channels, open. Any thread may use it.
///
/// Dropping it closes it in peace: what waits is written, everything is synced, and the end is
/// noted, so that the next opening trusts all it finds.
pub struct Store {
    shared: Arc<Shared>,
    next_channel: AtomicU64,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// The lock on the folder, until it is closed.
    claim: Mutex<Option<OwnedFd>>,
    /// What its thread waits for before it begins.
    begin: Mutex<Option<mpsc::Sender<()>>>,
}

/// What the writer's thread and the others have together.
struct Shared {
    index: Mutex<Index>,
    queue: Queue,
    /// Why nothing can be written any more.
    failed: Mutex<Option<Error>>,
    counts: Counts,
    /// All channels, as the catalogue has them.
    channels: Mutex<std::collections::BTreeMap<u64, ChannelRecord>>,
}

/// The size of a record on disk, if it can be written. Error: `TooLarge`.
fn checked(record: &Record) -> Result<usize> {
    let keys = [record.key.len(), record.idempotency.len()];
    if record.payload.len() > MAX_PAYLOAD || keys.iter().any(|len| *len > 65_535) {
        let text = format!(
            "a record of {} bytes with keys of {} and {}; the limits are {MAX_PAYLOAD} and 65535",
            record.payload.len(),
            keys[0],
            keys[1]
        );
        return Err(Error::new(ErrorKind::TooLarge, text));
    }
    Ok(record::size(record))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn failure(&self) -> Option<Error> {
        lock(&self.failed).clone()
    }
}

impl Store {
    /// Opens the store in `folder`, making it if it is not there. Blocks: it reads what was written
    /// since the last whole segment.
    ///
    /// Errors: `Exists` when another process has it open; `InvalidOption`; `Io`, also for damage,
    /// with the file and the byte.
    pub fn open(folder: &Path, options: Options) -> Result<Self> {
        let disk = disk::Folder::open(folder)?;
        let claim = disk.claim()?;
        let opened = Self::open_on(Arc::new(disk), options);
        let mut store = opened.map_err(|error| error.context(folder.display()))?;
        store.claim = Some(claim).into();
        Ok(store)
    }

    fn open_on(disk: Arc<dyn disk::Disk>, options: Options) -> Result<Self> {
        if !(64 << 10..=segment::MAX_SEGMENT).contains(&options.segment_bytes) {
            let text = format!(
                "segment_bytes is {}; it takes 65536 to {}",
                options.segment_bytes,
                segment::MAX_SEGMENT
            );
            return Err(Error::new(ErrorKind::InvalidOption, text));
        }
        let opened = open::open(&disk)?;
        Self::run(disk, opened, options, Begin::default())
    }

    fn run(
        disk: Arc<dyn disk::Disk>,
        opened: Opened,
        options: Options,
        begin: Begin,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            index: Mutex::new(opened.index),
            queue: Queue::new(options.queue_bytes),
            failed: Mutex::default(),
            counts: Counts::default(),
            channels: Mutex::new(opened.catalogue.state.channels.clone()),
        });
        let next_channel = AtomicU64::new(opened.catalogue.state.next_channel);
        let writer = writer::Writer::new(
            Arc::clone(&shared),
            disk,
            opened.catalogue,
            opened.active,
            options,
            begin,
        );
        let thread = crate::thread::spawn("qyun-store", move || writer.run())
            .map_err(|error| Error::from(error).context("the store's thread"))?;
        let writer = Mutex::new(Some(thread));
        Ok(Self { shared, next_channel, writer, claim: Mutex::default(), begin: Mutex::default() })
    }

    /// All channels.
    pub fn channels(&self) -> Vec<ChannelState> {
        let channels: Vec<_> = lock(&self.shared.channels).values().cloned().collect();
        channels.into_iter().map(|channel| self.state_of(channel)).collect()
    }

    /// The oldest offset that a channel keeps (`last + 1` if none) and its last, if it is there.
    pub fn bounds(&self, id: u64) -> Option<(u64, u64)> {
        lock(&self.shared.index).logs.get(&id).map(|log| (log.first, log.last))
    }

    /// One channel, if it is there.
    pub fn channel(&self, id: u64) -> Option<ChannelState> {
        let channel = lock(&self.shared.channels).get(&id).cloned()?;
        Some(self.state_of(channel))
    }

    fn state_of(&self, channel: ChannelRecord) -> ChannelState {
        let index = lock(&self.shared.index);
        let (first, last, records) =
            index.logs.get(&channel.id).map_or((1, 0, 0), |log| (log.first, log.last, log.records));
        ChannelState { channel, first, last, records }
    }

    /// Adds a channel, whose `id` is chosen here and returned at once: appends may follow. `done`
    /// hears when it is on the disk.
    pub fn create(&self, channel: ChannelRecord, done: Done<()>) -> u64 {
        let id = self.next_channel.fetch_add(1, Relaxed);
        self.submit(Command::Create(Box::new(ChannelRecord { id, ..channel }), done), 0);
        id
    }

    /// Changes a channel's epoch, level, retention and text to those of `channel`, whose `id` says
    /// which. Error: `ChannelNotFound`.
    pub fn change(&self, channel: ChannelRecord, done: Done<()>) {
        self.submit(Command::Change(Box::new(channel), done), 0);
    }

    /// Removes a channel and all its records. Error: `ChannelNotFound`.
    pub fn delete(&self, id: u64, done: Done<()>) {
        self.submit(Command::Delete(id, done), 0);
    }

    /// Lets go of all records of a channel in front of the offset `before`.
    /// Error: `ChannelNotFound`.
    pub fn trim(&self, id: u64, before: u64, done: Done<()>) {
        self.submit(Command::Trim(id, before, done), 0);
    }

    /// Appends a record to a channel, behind its last one; `done` hears its offset when `level` is
    /// reached. A record that cannot be written takes no offset.
    ///
    /// Errors: `ChannelNotFound`; `TooLarge`; `Io` when it cannot be written; `Closed`.
    pub fn append(&self, channel: u64, record: Record, level: Reached, done: Done<Appended>) {
        self.append_many(channel, [(record, done)], level);
    }

    /// Appends several at once: they are written together, and nothing of the channel comes between
    /// them. For each as with [`Store::append`].
    pub fn append_many(
        &self,
        channel: u64,
        records: impl IntoIterator<Item = (Record, Done<Appended>)>,
        level: Reached,
    ) {
        let sync = level == Reached::Fsync;
        let mut total = 0;
        let commands = records.into_iter().filter_map(|(record, done)| match checked(&record) {
            Ok(size) => {
                total += size;
                Some(Command::Append { channel, record, offset: None, sync, done })
            }
            Err(error) => {
                done(Err(error));
                None
            }
        });
        let commands: Vec<_> = commands.collect();
        self.submit_all(commands, total);
    }

    /// Appends a record whose offset is known already, and is larger than the channel's last:
    /// [`Level::Memory`]. What goes wrong when it is written is logged, and the store's end is then
    /// not one in peace, so that the channel gets a new epoch.
    ///
    /// Errors: `TooLarge`, `Closed` or what the store failed with.
    pub fn append_behind(&self, channel: u64, record: Record, offset: u64) -> Result<()> {
        let size = checked(&record)?;
        if let Some(error) = self.shared.failure() {
            return Err(error);
        }
        let done = Box::new(move |written: Result<Appended>| {
            if let Err(error) = written {
                log::warn!(target: "qyun::store", "channel {channel}, offset {offset}: {error}");
            }
        });
        let offset = Some(offset);
        self.submit(Command::Append { channel, record, offset, sync: false, done }, size);
        Ok(())
    }

    /// Calls `done` when all that was asked for before is on the disk.
    pub fn sync(&self, done: Done<()>) {
        self.submit(Command::Sync(done), 0);
    }

    /// Records of a channel that are on the disk, or with the operating system, as far as their
    /// level asked. Reads files, so it may block. Errors: `ChannelNotFound`; `Io`, also for damage.
    pub fn read(&self, channel: u64, query: &Query) -> Result<Page> {
        read::read(&self.shared.index, channel, query)
    }

    /// Whether as much waits to be written as may. Who publishes should wait; nothing is refused.
    pub fn is_full(&self) -> bool {
        self.shared.queue.is_full()
    }

    /// Waits until less waits to be written. Not in a [`Done`].
    pub fn wait_for_room(&self) {
        self.shared.queue.wait_for_room();
    }

    /// Why the store writes nothing any more, if it does not: after a failed `fdatasync` nobody
    /// knows what the disk has.
    pub fn failure(&self) -> Option<Error> {
        self.shared.failure()
    }

    /// What was done and what is there.
    pub fn stats(&self) -> Stats {
        let Counts { records, bytes, writes, syncs } = &self.shared.counts;
        let (segments, segment_bytes) = {
            let index = lock(&self.shared.index);
            (index.segments.len() as u64, index.segments.values().map(|segment| segment.len).sum())
        };
        Stats {
            records: records.load(Relaxed),
            bytes: bytes.load(Relaxed),
            writes: writes.load(Relaxed),
            syncs: syncs.load(Relaxed),
            segments,
            segment_bytes,
            queued_bytes: self.shared.queue.bytes() as u64,
        }
    }

    /// Writes what waits, syncs, notes the end, and waits for all that. What comes later is
    /// refused with `Closed`. Not in a [`Done`].
    pub fn close(&self) {
        let thread = lock(&self.writer).take();
        drop(lock(&self.begin).take());
        self.shared.queue.close();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!(target: "qyun::store", "the store's thread ended by a defect");
        }
        drop(lock(&self.claim).take());
    }

    fn submit(&self, command: Command, size: usize) {
        self.submit_all([command], size);
    }

    fn submit_all(&self, commands: impl IntoIterator<Item = Command>, size: usize) {
        let back = self.shared.queue.push(commands, size);
        if back.is_empty() {
            return;
        }
        let closed = || Error::new(ErrorKind::Closed, "the store is closed");
        let error = self.shared.failure().unwrap_or_else(closed);
        back.into_iter().for_each(|command| command.refuse(&error));
    }
}

#[cfg(test)]
impl Store {
    /// One whose disk has failed it.
    pub(crate) fn failed() -> Self {
        let disk = simulated::Simulated::new();
        let store = Self::open_on(Arc::new(disk.clone()), Options::default());
        let store = store.expect("a new disk");
        disk.fail_syncs(true);
        let (tell, told) = std::sync::mpsc::channel();
        let channel = ChannelRecord {
            id: 0,
            name: "x".into(),
            epoch: 1,
            level: Level::Fsync,
            retention: Retention::default(),
            created_ms: 0,
            text: String::new(),
        };
        store.create(channel, Box::new(move |done| drop(tell.send(done))));
        told.recv().expect("an answer").expect_err("the catalogue is synced");
        store
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("failed", &self.failure()).finish_non_exhaustive()
    }
}
