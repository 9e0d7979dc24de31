//! A store that changes hands: the process that has it open stops writing, and another goes on where
//! it was. The store is not closed on the way and nothing in the folder changes, so that the first
//! one can go on just as well, should the other fail.
//!
//! The lock goes along as a descriptor, so nobody else gets in between. The next process reads the
//! catalogue; where the records are it is told, which saves it reading the log.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use super::catalogue::{self, Catalogue};
use super::disk::{Disk, Folder};
use super::index::{Index, Log, Run, Segment, Stride};
use super::open::{self, Opened, about, damaged};
use super::queue::Command;
use super::writer::{self, Active, Begin};
use super::{Options, Retention, Shared, Store, lock};
use crate::wire::handover::{Reader, Writer};
use crate::{Error, ErrorKind, Result};

/// The most bytes of one part of what [`Parked::logs`] gives, about.
const PART_BYTES: usize = 1 << 20;

/// What the store's thread is asked for, on the way to another process.
pub(super) enum Step {
    /// Nothing is compacted from now on; told when nothing is being compacted.
    Calm(Sender<()>),
    /// Everything is as it was before.
    Stir,
    /// Do nothing until it is decided who has the store.
    Park(Sender<Rest>),
}

/// What the thread says of itself when it rests.
pub(super) struct Rest {
    /// The catalogue's length.
    pub catalogue: u64,
    pub growing: Option<Growing>,
    /// A record was acknowledged before it was written, and then was not.
    pub lost: bool,
    /// Told, or dropped, when the thread may go on.
    pub verdict: Sender<()>,
}

/// The segment that grows, as [`Active`] has it.
#[derive(Clone, Copy)]
pub(super) struct Growing {
    pub order: u64,
    pub number: u64,
    pub len: u64,
    pub synced: u64,
}

impl Growing {
    fn write(self, out: &mut Writer) {
        let Self { order, number, len, synced } = self;
        [order, number, len, synced].into_iter().for_each(|value| out.u64(value));
    }

    fn read(input: &mut Reader<'_>) -> Option<Self> {
        let (order, number) = (input.u64()?, input.u64()?);
        Some(Self { order, number, len: input.u64()?, synced: input.u64()? })
    }

    /// The same with its file, if it is listed.
    fn open(self, index: &mut Index) -> Option<Active> {
        let Self { order, number, len, synced } = self;
        let segment = index.segments.get_mut(&order).filter(|one| one.number == number)?;
        segment.len = len;
        Some(Active { order, number, file: Arc::clone(&segment.file), len, room: len, synced })
    }
}

impl writer::Writer {
    /// On the store's thread.
    pub(super) fn hand_over(&mut self, step: Step) {
        match step {
            Step::Calm(tell) => {
                self.calm = true;
                if self.compaction.is_some() {
                    self.awaits_calm = Some(tell);
                } else {
                    let _ = tell.send(());
                }
            }
            Step::Stir => {
                self.calm = false;
                lock(&self.shared.index).stale = true;
            }
            Step::Park(tell) => {
                let growing = self.active.as_ref().map(|active| {
                    let Active { order, number, file: _, len, room: _, synced } = *active;
                    Growing { order, number, len, synced }
                });
                let (verdict, decided) = mpsc::channel();
                let (catalogue, lost) = (self.catalogue.len(), self.lost);
                if tell.send(Rest { catalogue, growing, lost, verdict }).is_ok() {
                    // Told or not: if the store is another process's now, it has failed here.
                    let _ = decided.recv();
                }
            }
        }
    }
}

/// A store in which nothing is compacted, until this is dropped.
pub struct Calm<'a>(&'a Store);

impl Drop for Calm<'_> {
    fn drop(&mut self) {
        self.0.submit(Command::HandOver(Step::Stir), 0);
    }
}

/// A store that does nothing. When this is dropped, it goes on as if nothing had been.
pub struct Parked {
    shared: Arc<Shared>,
    next_channel: u64,
    rest: Rest,
}

impl std::fmt::Debug for Parked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parked").finish_non_exhaustive()
    }
}

impl Store {
    /// The lock on the folder, for [`Heir::new`]; `None` once the store is closed.
    pub fn claim(&self) -> std::io::Result<Option<OwnedFd>> {
        lock(&self.claim).as_ref().map(OwnedFd::try_clone).transpose()
    }

    /// Has nothing compacted until the result is dropped, and waits for what is. Everything else goes
    /// on. What takes time is behind it then when the store is parked.
    ///
    /// Errors: `Timeout`; `Closed`, or what the store failed with: then it cannot change hands.
    pub fn calm(&self, patience: Duration) -> Result<Calm<'_>> {
        let (tell, told) = mpsc::channel();
        let calm = Calm(self);
        self.submit(Command::HandOver(Step::Calm(tell)), 0);
        self.await_thread(&told, patience)?;
        Ok(calm)
    }

    /// Whether nothing waits to be done, and everybody has been told.
    pub fn is_idle(&self) -> bool {
        self.shared.queue.is_idle()
    }

    /// Stops all work. What waits is written before, and told; what comes meanwhile waits. Call it
    /// when the store is idle. Errors as of [`Store::calm`].
    pub fn park(&self, patience: Duration) -> Result<Parked> {
        let (tell, told) = mpsc::channel();
        self.submit(Command::HandOver(Step::Park(tell)), 0);
        let rest = self.await_thread(&told, patience)?;
        let next_channel = self.next_channel.load(Relaxed);
        Ok(Parked { shared: Arc::clone(&self.shared), next_channel, rest })
    }

    fn await_thread<T>(&self, told: &Receiver<T>, patience: Duration) -> Result<T> {
        told.recv_timeout(patience).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => {
                Error::new(ErrorKind::Timeout, format!("the store is busy for {patience:?}"))
            }
            mpsc::RecvTimeoutError::Disconnected => {
                let closed = || Error::new(ErrorKind::Closed, "the store is closed");
                self.shared.failure().unwrap_or_else(closed)
            }
        })
    }

    /// Begins to work, if it was taken from another process: not before that has let go of it.
    pub fn begin(&self) {
        if let Some(begin) = lock(&self.begin).take() {
            // The thread waits for this alone.
            let _ = begin.send(());
        }
    }
}

impl Parked {
    /// Where the records are, in parts, for [`Heir::add`].
    pub fn logs(&self) -> Vec<Vec<u8>> {
        let (mut parts, mut out) = (Vec::new(), Writer::default());
        for (channel, log) in &lock(&self.shared.index).logs {
            out.u64(*channel);
            write_log(log, &mut out);
            if out.bytes_so_far().len() >= PART_BYTES {
                parts.push(out.take());
            }
        }
        parts.push(out.take());
        parts
    }

    /// The rest, for [`Heir::take`].
    pub fn rest(&self, out: &mut Writer) {
        out.u64(self.next_channel);
        out.u64(self.rest.catalogue);
        out.flag(self.rest.lost);
        out.option(self.rest.growing, |out, growing| growing.write(out));
    }

    /// Another process has the store: this one does nothing in the folder any more. What is asked of
    /// it is refused with `Closed`.
    pub fn leave(self) {
        let error = Error::new(ErrorKind::Closed, "another process has the store now");
        lock(&self.shared.failed).get_or_insert(error);
        // The thread waits for this alone.
        let _ = self.rest.verdict.send(());
    }
}

/// Who gets a store from another process.
pub struct Heir {
    disk: Arc<dyn Disk>,
    claim: Option<OwnedFd>,
    logs: Vec<(u64, Log)>,
}

impl std::fmt::Debug for Heir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heir").field("logs", &self.logs.len()).finish_non_exhaustive()
    }
}

impl Heir {
    /// To the store in `folder`, with what [`Store::claim`] gave to the other process. Errors:
    /// `InvalidArgument` when that is the lock of another folder; `Io`.
    pub fn new(folder: &Path, claim: OwnedFd) -> Result<Self> {
        let kept = claim.try_clone()?;
        let disk = Folder::inherit(folder, claim)?;
        Ok(Self { claim: Some(kept), ..Self::on(Arc::new(disk)) })
    }

    pub(super) fn on(disk: Arc<dyn Disk>) -> Self {
        Self { disk, claim: None, logs: Vec::new() }
    }

    /// Takes a part of [`Parked::logs`]; `None` if it is none.
    pub fn add(&mut self, input: &mut Reader<'_>) -> Option<()> {
        while !input.is_at_end() {
            self.logs.push((input.u64()?, read_log(input)?));
        }
        Some(())
    }

    /// The store, which can be read and asked, and writes nothing before [`Store::begin`]. Dropped
    /// before that it leaves the folder as it is. `None` if the input is not what [`Parked::rest`]
    /// wrote, and does not go with the parts. Error: `Io`, also for files that are not there.
    pub fn take(self, input: &mut Reader<'_>, options: Options) -> Option<Result<Store>> {
        let (next_channel, len, lost) = (input.u64()?, input.u64()?, input.flag()?);
        let growing = input.option(Growing::read)?;
        let Self { disk, claim, logs } = self;
        let (mut catalogue, mut index) = match open_files(&disk, len) {
            Ok(opened) => opened,
            Err(error) => return Some(Err(error)),
        };
        for (channel, log) in logs {
            let known = catalogue.state.channels.get(&channel)?;
            index.restore(channel, Log { retention: known.retention, ..log })?;
        }
        if index.logs.len() != catalogue.state.channels.len() {
            return None;
        }
        let active = match growing {
            Some(growing) => Some(growing.open(&mut index)?),
            None => None,
        };
        catalogue.state.next_channel = catalogue.state.next_channel.max(next_channel);
        index.stale = true;
        let (begin, begins) = mpsc::channel();
        let opened = Opened { catalogue, index, active };
        let store = Store::run(disk, opened, options, Begin { lost, when: Some(begins) });
        Some(store.map(|mut store| {
            store.begin = Some(begin).into();
            store.claim = claim.into();
            store
        }))
    }
}

/// The catalogue, which has `len` bytes, and an index of the segments that it lists, without records.
fn open_files(disk: &Arc<dyn Disk>, len: u64) -> Result<(Catalogue, Index)> {
    let file = disk.open(catalogue::NAME).map_err(about(catalogue::NAME))?;
    let read = catalogue::read(&*file, false).map_err(about(catalogue::NAME))?;
    if read.bad.is_some() || read.len != len {
        let what = format!("{len} bytes of it were written");
        return Err(damaged(catalogue::NAME, read.len, read.bad.map_or(what, str::to_owned)));
    }
    let mut index = Index::default();
    for (order, number) in &read.state.segments {
        let file = open::segment(&**disk, *order, *number)?;
        let len = file.len().map_err(about(&super::segment::name(*number)))?;
        let segment = Segment { number: *number, file, len, live: 0, users: 0 };
        index.segments.insert(*order, segment);
    }
    Ok((Catalogue::go_on(disk, file, read), index))
}

fn write_log(log: &Log, out: &mut Writer) {
    let Log { first, last, time, runs, records: _, bytes: _, retention: _ } = log;
    [*first, *last, *time].into_iter().for_each(|value| out.u64(value));
    out.list(runs.iter(), |out, Run { order, strides }| {
        out.u64(*order);
        out.list(strides.iter(), |out, stride| {
            let Stride { first, last, at, bytes, first_time, last_time } = *stride;
            out.u32(at);
            [first, last, bytes, first_time, last_time]
                .into_iter()
                .for_each(|value| out.u64(value));
        });
    });
}

fn read_log(input: &mut Reader<'_>) -> Option<Log> {
    let (first, last, time) = (input.u64()?, input.u64()?, input.u64()?);
    let runs = input.list(|input| {
        let order = input.u64()?;
        let strides = input.list(|input| {
            let at = input.u32()?;
            let (first, last, bytes) = (input.u64()?, input.u64()?, input.u64()?);
            let (first_time, last_time) = (input.u64()?, input.u64()?);
            (first <= last).then_some(Stride { first, last, at, bytes, first_time, last_time })
        })?;
        Some(Run { order, strides: strides.into() })
    })?;
    Some(Log { first, time, runs: runs.into(), ..Log::new(last, Retention::default()) })
}
