//! Looking for damage in a store that nobody has open, and keeping what is good of a damaged one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::catalogue::{self, Catalogue, Refused, State};
use super::disk::{Disk, DiskFile, Draft, Folder, read_exact};
use super::open::{has_unannounced, next_epoch};
use super::record::{self, Place};
use super::segment::{self, START, Scan, Title};
use super::sidecar;
use super::{ChannelRecord, Level, Retention};
use crate::{Error, ErrorKind, Result};

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file in the store's folder.
    pub file: String,
    /// Where the damage begins in it.
    pub at: u64,
    /// Bytes up to what is good again, or to the end.
    pub bytes: u64,
    /// What is wrong.
    pub what: String,
}

/// What a store has, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Channels.
    pub channels: u64,
    /// Segments.
    pub segments: u64,
    /// Good records in them, also those that are not kept any more.
    pub records: u64,
    /// What those take.
    pub bytes: u64,
    /// All that is wrong.
    pub damage: Vec<Damage>,
    /// Bytes of a torn last write, which the next opening cuts off.
    pub torn: u64,
}

/// Reads a whole store and tells what is wrong with it. Changes nothing. Blocks for as long as the
/// reading takes.
///
/// Errors: `Exists` when another process has it open, `NotFound` when there is none, `Io`.
pub fn check(folder: &Path) -> Result<Report> {
    let disk = existing(folder)?;
    let found = Found::look(&disk).map_err(|error| error.context(folder.display()))?;
    Ok(found.report)
}

/// Keeps what is good of a damaged store, so that it can be opened: segments are written anew
/// without what is bad, which goes into a file of the same name with `.bad` behind it. When
/// something is lost every channel gets a new epoch; records of channels whose names are lost are
/// found again in channels `recovered.1`, `recovered.2` and so on. Gives what was wrong; a store in
/// which nothing is stays as it is.
///
/// Errors: as for [`check`].
pub fn repair(folder: &Path) -> Result<Report> {
    let disk = existing(folder)?;
    repair_on(&disk).map_err(|error| error.context(folder.display()))
}

fn existing(folder: &Path) -> Result<Arc<dyn Disk>> {
    if !folder.join(catalogue::NAME).is_file() && !has_segments(folder) {
        let text = format!("{}: there is no store", folder.display());
        return Err(Error::new(ErrorKind::NotFound, text));
    }
    Ok(Arc::new(Folder::open_existing(folder)?))
}

fn has_segments(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_str().and_then(segment::number).is_some())
}

/// What was found in one segment.
struct Part {
    number: u64,
    order: u64,
    file: Option<Arc<dyn DiskFile>>,
    /// Begin and end of what is bad.
    bad: Vec<(u64, u64)>,
    torn: bool,
}

/// What was found in a store.
pub(super) struct Found {
    pub report: Report,
    state: State,
    parts: Vec<Part>,
    /// Channels that records name.
    named: BTreeSet<u64>,
    catalogue_is_bad: bool,
}

impl Found {
    pub fn look(disk: &Arc<dyn Disk>) -> Result<Self> {
        let names = disk.list()?;
        let mut report = Report::default();
        let (mut state, mut catalogue_is_bad) = (State::default(), false);
        if names.iter().any(|name| name == catalogue::NAME) {
            let file = disk.open(catalogue::NAME)?;
            let read = catalogue::read(&*file, true)?;
            state = read.state;
            if let Some(what) = read.bad {
                let rest = file.len()?.saturating_sub(read.len);
                // As opening has it: only the last entry can be torn, and only without a peace.
                if read.more
                    || state.closed.is_some()
                    || read.len == 0
                    || has_unannounced(&**disk, &names, &state)?
                {
                    catalogue_is_bad = true;
                    report.damage.push(damage(catalogue::NAME, (read.len, read.len + rest), what));
                } else {
                    report.torn += rest;
                }
            }
        } else {
            catalogue_is_bad = true;
            report.damage.push(damage(catalogue::NAME, (0, 0), "the file is missing"));
        }
        let mut found =
            Self { report, state, parts: Vec::new(), named: BTreeSet::new(), catalogue_is_bad };
        found.parts = found.list(&**disk, &names)?;
        let mut parts = std::mem::take(&mut found.parts);
        let last = parts.len().saturating_sub(1);
        let mut lasts = BTreeMap::new();
        for (at, part) in parts.iter_mut().enumerate() {
            found.look_at(disk, part, at == last, &mut lasts)?;
        }
        found.parts = parts;
        let unknown = found.named.iter().find(|id| **id >= found.state.next_channel);
        if let (Some(id), false) = (unknown, found.catalogue_is_bad) {
            let what = format!("it does not know channel {id}, which has records");
            found.report.damage.push(damage(catalogue::NAME, (0, 0), what));
            found.catalogue_is_bad = true;
        }
        found.report.channels = found.state.channels.len() as u64;
        found.report.segments = found.parts.len() as u64;
        Ok(found)
    }

    /// The segments, in order: those that the catalogue names, and if it is bad, all.
    fn list(&self, disk: &dyn Disk, names: &[String]) -> Result<Vec<Part>> {
        let part = |order, number| Part { number, order, file: None, bad: Vec::new(), torn: false };
        let listed = self.state.segments.iter();
        let mut parts: Vec<Part> = listed.map(|(order, number)| part(*order, *number)).collect();
        if self.catalogue_is_bad {
            for number in names.iter().filter_map(|name| segment::number(name)) {
                if !parts.iter().any(|part| part.number == number) {
                    let title = Title::read(&*disk.open(&segment::name(number))?)?;
                    parts.push(part(title.map_or(number, |title| title.order), number));
                }
            }
            parts.sort_by_key(|part| (part.order, part.number));
            // One that took the place of others, and those: the higher number is the later file.
            parts.reverse();
            parts.dedup_by_key(|part| part.order);
            parts.reverse();
        }
        Ok(parts)
    }

    fn look_at(
        &mut self,
        disk: &Arc<dyn Disk>,
        part: &mut Part,
        is_last: bool,
        lasts: &mut BTreeMap<u64, u64>,
    ) -> Result<()> {
        let name = segment::name(part.number);
        let file = match disk.open(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.report.damage.push(damage(&name, (0, 0), "the file is missing"));
                return Ok(());
            }
            Err(error) => return Err(Error::from(error).context(name)),
        };
        let title = Title { file: part.number, order: part.order };
        let wrong = match Title::read(&*file)? {
            Ok(found) if found == title => None,
            Ok(_) => Some("the heading is that of another segment"),
            Err(what) => Some(what),
        };
        if let Some(what) = wrong {
            let end = START.min(file.len()?);
            self.report.damage.push(damage(&name, (0, end), what));
            part.bad.push((0, end));
        }
        let mut scan = Scan::new(&*file, part.number)?;
        let mut at = START;
        loop {
            let mut backward = None;
            let (end, bad) = scan.run(at, |at, place, bytes| {
                let last = lasts.entry(place.channel).or_default();
                if place.offset <= *last {
                    backward.get_or_insert((at, bytes.len() as u64, place.offset, *last));
                    return;
                }
                *last = place.offset;
                self.named.insert(place.channel);
                self.report.records += 1;
                self.report.bytes += bytes.len() as u64;
            })?;
            if let Some((at, size, offset, last)) = backward {
                let what = format!("offset {offset} comes behind {last}");
                self.report.damage.push(damage(&name, (at, at + size), what));
                part.bad.push((at, at + size));
            }
            let Some(bad) = bad else {
                if end < scan.len && !is_last {
                    let what = "zeros where records should be";
                    self.report.damage.push(damage(&name, (end, scan.len), what));
                    part.bad.push((end, scan.len));
                }
                self.check_end(is_last, &name, end);
                break;
            };
            let good = scan.next_good(end + 1)?;
            let next = good.unwrap_or(scan.len);
            if good.is_none() && is_last && self.state.closed.is_none() {
                part.torn = true;
                self.report.torn += scan.end_of_data(end)? - end;
                break;
            }
            self.report.damage.push(damage(&name, (end, next), bad.fault));
            part.bad.push((end, next));
            let Some(good) = good else { break };
            at = good;
        }
        part.file = Some(file);
        Ok(())
    }

    /// After an end in peace the last segment has the length that was noted.
    fn check_end(&mut self, is_last: bool, name: &str, end: u64) {
        if let Some((_, told)) = self.state.closed
            && is_last
            && told != end
        {
            let what = format!("it ends here, and ended at byte {told} when it was closed");
            self.report.damage.push(damage(name, (end, told.max(end)), what));
        }
    }
}

fn damage(file: &str, range: (u64, u64), what: impl std::fmt::Display) -> Damage {
    let (at, end) = range;
    Damage { file: file.into(), at, bytes: end - at, what: what.to_string() }
}

pub(super) fn repair_on(disk: &Arc<dyn Disk>) -> Result<Report> {
    let found = Found::look(disk)?;
    if found.report.damage.is_empty() {
        return Ok(found.report);
    }
    let Found { report, mut state, parts, named, catalogue_is_bad } = found;
    if catalogue_is_bad && disk.list()?.iter().any(|name| name == catalogue::NAME) {
        let file = disk.open(catalogue::NAME)?;
        let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        keep(&**disk, catalogue::NAME, &read_exact(&*file, 0, len)?)?;
    }
    if catalogue_is_bad {
        for id in
            named.iter().filter(|id| !state.channels.contains_key(id)).copied().collect::<Vec<_>>()
        {
            state.apply(catalogue::Change::Channel(ChannelRecord {
                id,
                name: format!("recovered.{id}"),
                epoch: 0,
                level: Level::Fsync,
                retention: Retention::default(),
                created_ms: super::writer::now_ms(),
                text: String::new(),
            }));
        }
    }
    // Which channels lost something cannot be known: positions of none of them may be trusted.
    for channel in state.channels.values_mut() {
        channel.epoch = next_epoch(channel.epoch);
    }
    state.segments = parts
        .iter()
        .filter(|part| part.file.is_some())
        .map(|part| (part.order, part.number))
        .collect();
    let numbers = parts.iter().map(|part| part.number + 1);
    state.next_number = numbers.max().unwrap_or(0).max(state.next_number);
    (state.opened, state.closed) = (None, None);
    // First this: a repair that does not come to its end is begun again, with newer epochs.
    Catalogue::write(disk, state).map(drop).map_err(|refused| match refused {
        Refused::Unwritten(error) | Refused::Unknown(error) => {
            Error::from(error).context(catalogue::NAME)
        }
    })?;
    for part in parts.iter().filter(|part| !part.bad.is_empty()) {
        if let Some(file) = &part.file {
            rewrite(&**disk, part, &**file)?;
        }
    }
    Ok(report)
}

/// Puts bytes aside that are not good.
fn keep(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Result<()> {
    let aside = format!("{name}.bad");
    let draft = Draft::write(disk, &aside, bytes)?;
    draft.publish()?;
    Ok(())
}

/// Writes a segment anew without what is bad in it.
fn rewrite(disk: &dyn Disk, part: &Part, file: &dyn DiskFile) -> Result<()> {
    let name = segment::name(part.number);
    let mut bad = Vec::new();
    for (from, to) in &part.bad {
        let len = usize::try_from(to - from).unwrap_or(usize::MAX);
        bad.extend(read_exact(file, *from, len)?);
    }
    keep(disk, &name, &bad)?;

    let mut bytes = Title { file: part.number, order: part.order }.encode();
    let mut tails: BTreeMap<u64, u64> = BTreeMap::new();
    let mut scan = Scan::new(file, part.number)?;
    let is_bad = |at: u64| part.bad.iter().any(|(from, to)| (*from..*to).contains(&at));
    let mut at = START;
    while at < scan.len {
        let (end, fault) = scan.run(at, |at, place, record| {
            if is_bad(at) {
                return;
            }
            let position = bytes.len() as u64;
            let back = tails.insert(place.channel, position).map_or(0, |before| position - before);
            let back = u32::try_from(back).unwrap_or(0);
            let moved = Place { back, synced: 0, ..*place };
            let stored = record::decode(record, place);
            record::encode(&mut bytes, part.number, position, &moved, &stored.record);
        })?;
        match fault {
            Some(_) => at = scan.next_good(end + 1)?.unwrap_or(scan.len),
            None => break,
        }
    }
    let _ = disk.remove(&sidecar::name(part.number));
    Draft::write(disk, &name, &bytes)?.publish()?;
    Ok(())
}
