//! Opening: what is on the disk becomes an index again, or an error that says what is wrong.
//!
//! Whole segments are taken by their index files, or scanned; the last one is always scanned, and
//! may end in a torn write:
//!
//! - After an end in peace nothing may be torn, and nothing missing.
//! - After the process alone ended, the operating system has every write that returned. Only the
//!   last one can be incomplete: nothing good stands behind it.
//! - After the machine went down, what was not synced may be there in parts, in any order. Every
//!   record says how much was synced when it was written: what is bad in front of that was synced,
//!   and so is damage; what is bad behind it was never acknowledged as synced.

use std::io;
use std::sync::Arc;

use super::catalogue::{self, Catalogue, Change, Refused, State};
use super::disk::{DRAFT, Disk, DiskFile};
use super::index::{Index, Log, Segment, Written};
use super::segment::{self, Bad, START, Scan, Title};
use super::sidecar;
use super::writer::{Active, now_ms};
use crate::{Error, ErrorKind, Result};

/// A store that was opened, before its thread runs.
pub(super) struct Opened {
    pub catalogue: Catalogue,
    pub index: Index,
    pub active: Option<Active>,
}

/// What is wrong, and where.
pub(super) fn damaged(name: &str, at: u64, what: impl std::fmt::Display) -> Error {
    let text = format!("{name} is damaged at byte {at}: {what}; see 'qyun store check'");
    Error::new(ErrorKind::Io, text)
}

pub(super) fn about(name: &str) -> impl Fn(io::Error) -> Error {
    move |error| Error::from(error).context(name)
}

pub(super) fn open(disk: &Arc<dyn Disk>) -> Result<Opened> {
    let mut names = disk.list()?;
    names.sort();
    let boot = disk.boot_id();
    let mut state = load_catalogue(&**disk, &names)?;
    remove_leftovers(&**disk, &names, &state);

    let mut index = Index::default();
    for (id, channel) in &state.channels {
        let last = state.trimmed.get(id).map_or(0, |(_, last)| *last);
        index.logs.insert(*id, Log::new(last, channel.retention));
    }
    let mut active = None;
    let last = state.segments.last_key_value().map(|(order, _)| *order);
    for (order, number) in &state.segments {
        let opening =
            Opening { disk: &**disk, state: &state, boot: &boot, order: *order, number: *number };
        if Some(*order) == last {
            active = Some(opening.growing(&mut index)?);
        } else {
            opening.whole(&mut index)?;
        }
    }
    if let Some((order, _)) = state.closed
        && order != last
    {
        return Err(damaged(catalogue::NAME, 0, "the last segment is not the one that it names"));
    }
    let now = now_ms();
    for id in state.channels.keys() {
        if let Some((first, _)) = state.trimmed.get(id) {
            index.trim(*id, *first);
        }
        index.retain(*id, now);
    }
    index.stale = true;

    for id in state.doubtful(&boot) {
        if let Some(channel) = state.channels.get_mut(&id) {
            channel.epoch = next_epoch(channel.epoch);
            log::warn!(
                target: "qyun::store",
                "channel '{}' may have lost its end: it has a new epoch", channel.name
            );
        }
    }
    state.apply(Change::Opened { boot });
    let catalogue = Catalogue::write(disk, state).map_err(|refused| match refused {
        Refused::Unwritten(error) | Refused::Unknown(error) => about(catalogue::NAME)(error),
    })?;
    Ok(Opened { catalogue, index, active })
}

/// Another epoch than this and all before: the time of day in microseconds, as the hub's are.
pub(super) fn next_epoch(epoch: u64) -> u64 {
    (now_ms() * 1000).max(epoch + 1)
}

fn load_catalogue(disk: &dyn Disk, names: &[String]) -> Result<State> {
    if !names.iter().any(|name| name == catalogue::NAME) {
        return match names.iter().find(|name| segment::number(name).is_some()) {
            None => Ok(State::default()),
            Some(name) => {
                Err(damaged(catalogue::NAME, 0, format!("it is missing, and {name} is there")))
            }
        };
    }
    let file = disk.open(catalogue::NAME).map_err(about(catalogue::NAME))?;
    let read = catalogue::read(&*file, false).map_err(about(catalogue::NAME))?;
    match read.bad {
        // Every entry was synced before the next one was written.
        Some(what) if read.more || read.state.closed.is_some() || read.len == 0 => {
            Err(damaged(catalogue::NAME, read.len, what))
        }
        Some(what) if has_unannounced(disk, names, &read.state)? => {
            Err(damaged(catalogue::NAME, read.len, what))
        }
        Some(what) => {
            log::warn!(
                target: "qyun::store",
                "{} is cut off at byte {}: {what}", catalogue::NAME, read.len
            );
            Ok(read.state)
        }
        None => Ok(read.state),
    }
}

/// Whether there is a segment with records that the catalogue has never heard of: every segment is
/// noted before it has a record, so what noted this one was not torn, but damaged.
pub(super) fn has_unannounced(disk: &dyn Disk, names: &[String], state: &State) -> Result<bool> {
    for number in names.iter().filter_map(|name| segment::number(name)) {
        if number >= state.next_number.max(1) {
            let name = segment::name(number);
            let file = disk.open(&name).map_err(about(&name))?;
            let mut scan = Scan::new(&*file, number).map_err(about(&name))?;
            if scan.next_good(START).map_err(about(&name))?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Files that were not finished, or not removed.
fn remove_leftovers(disk: &dyn Disk, names: &[String], state: &State) {
    for name in names {
        let number = segment::number(name).or_else(|| sidecar::number(name));
        let listed = number.is_some_and(|number| state.segments.values().any(|one| *one == number));
        if name.ends_with(DRAFT) || (number.is_some() && !listed) {
            // It is tried again by the next opening.
            let _ = disk.remove(name);
        }
    }
}

/// A segment's file.
pub(super) fn segment(disk: &dyn Disk, order: u64, number: u64) -> Result<Arc<dyn DiskFile>> {
    let name = segment::name(number);
    let file = disk.open(&name).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => damaged(&name, 0, "the file is missing"),
        _ => about(&name)(error),
    })?;
    match Title::read(&*file).map_err(about(&name))? {
        Ok(title) if title == (Title { file: number, order }) => Ok(file),
        Ok(_) => Err(damaged(&name, 0, "the heading is that of another segment")),
        Err(what) => Err(damaged(&name, 0, what)),
    }
}

/// One segment that is being opened.
struct Opening<'a> {
    disk: &'a dyn Disk,
    state: &'a State,
    boot: &'a str,
    order: u64,
    number: u64,
}

impl Opening<'_> {
    fn name(&self) -> String {
        segment::name(self.number)
    }

    fn file(&self) -> Result<Arc<dyn DiskFile>> {
        segment(self.disk, self.order, self.number)
    }

    fn add(&self, index: &mut Index, file: Arc<dyn DiskFile>, len: u64) {
        let segment = Segment { number: self.number, file, len, live: 0, users: 0 };
        index.segments.insert(self.order, segment);
    }

    /// A segment that is followed by another.
    fn whole(&self, index: &mut Index) -> Result<()> {
        let file = self.file()?;
        let len = file.len().map_err(about(&self.name()))?;
        self.add(index, Arc::clone(&file), len);
        if let Some(runs) = sidecar::read(self.disk, self.number, len, self.order) {
            runs.into_iter().for_each(|(channel, run)| index.add_run(channel, run));
            return Ok(());
        }
        let (end, bad) = self.scan(index, &*file)?;
        match bad {
            Some(bad) => Err(damaged(&self.name(), bad.at, bad.fault)),
            None if end < len => Err(damaged(&self.name(), end, "zeros where records should be")),
            None => Ok(()),
        }
    }

    /// The last segment.
    fn growing(&self, index: &mut Index) -> Result<Active> {
        let name = self.name();
        let file = self.file()?;
        self.add(index, Arc::clone(&file), START);
        let (len, bad) = self.scan(index, &*file)?;
        if let Some((_, told)) = self.state.closed {
            if let Some(bad) = bad {
                return Err(damaged(&name, bad.at, bad.fault));
            }
            if len != told {
                let what = format!("it ends here, and ended at byte {told} when it was closed");
                return Err(damaged(&name, len, what));
            }
        } else if let Some(bad) = bad {
            self.judge(&*file, bad)?;
            let mut scan = Scan::new(&*file, self.number).map_err(about(&name))?;
            let cut = scan.end_of_data(len).map_err(about(&name))? - len;
            log::warn!(
                target: "qyun::store",
                "{name} is cut off at byte {len}, where its last write is torn: {}; {cut} bytes are gone",
                bad.fault
            );
        }
        // Whatever stands behind must never be met again.
        file.set_len(len).map_err(about(&name))?;
        file.sync().map_err(about(&name))?;
        if let Some(segment) = index.segments.get_mut(&self.order) {
            segment.len = len;
        }
        Ok(Active { order: self.order, number: self.number, file, len, room: len, synced: len })
    }

    /// An error if what is bad cannot be what a torn write left.
    fn judge(&self, file: &dyn DiskFile, bad: Bad) -> Result<()> {
        let name = self.name();
        let same_boot = self.state.opened.as_deref() == Some(self.boot);
        let mut scan = Scan::new(file, self.number).map_err(about(&name))?;
        let mut at = bad.at + 1;
        while let Some(good) = scan.next_good(at).map_err(about(&name))? {
            let Ok((place, bytes)) = scan.record(good).map_err(about(&name))? else { break };
            if same_boot || u64::from(place.synced) > bad.at {
                return Err(damaged(&name, bad.at, bad.fault));
            }
            at = good + bytes.len() as u64;
        }
        Ok(())
    }

    fn scan(&self, index: &mut Index, file: &dyn DiskFile) -> Result<(u64, Option<Bad>)> {
        let name = self.name();
        let (mut backward, mut unknown) = (None, None);
        let mut scan = Scan::new(file, self.number).map_err(about(&name))?;
        let scanned = scan.run(START, |at, place, bytes| {
            let Some(log) = index.logs.get(&place.channel) else {
                if place.channel >= self.state.next_channel {
                    unknown.get_or_insert(place.channel);
                }
                return;
            };
            // What a power cut left behind what was cut off, or a file that was put back.
            if let Some(newest) = log.newest()
                && place.offset <= newest
            {
                backward.get_or_insert((at, place.offset, newest));
                return;
            }
            let (Ok(at), Ok(size)) = (u32::try_from(at), u32::try_from(bytes.len())) else {
                return;
            };
            let super::record::Place { channel, offset, time, .. } = *place;
            index.add(self.order, &Written { channel, offset, time, at, size });
        });
        let scanned = scanned.map_err(about(&name))?;
        if let Some(channel) = unknown {
            // Every channel is noted before it has a record.
            let what = format!("it does not know channel {channel}, which has records");
            return Err(damaged(catalogue::NAME, 0, what));
        }
        match backward {
            Some((at, offset, last)) => {
                Err(damaged(&name, at, format!("offset {offset} comes behind {last}")))
            }
            None => Ok(scanned),
        }
    }
}
