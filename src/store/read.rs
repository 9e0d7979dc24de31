//! Reading pages of a channel's records.

use std::sync::{Arc, Mutex};

use super::disk::DiskFile;
use super::index::{Index, Stride};
use super::lock;
use super::open::damaged;
use super::record::{self, Place, Stored};
use super::segment::{self, START};
use super::writer::now_ms;
use crate::{Error, ErrorKind, Result};

/// Which records of a channel to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Only those behind this offset.
    pub after: Option<u64>,
    /// Only those in front of this offset.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
    /// At most about so many bytes, and at least one record.
    pub max_bytes: usize,
    /// The newest first instead of the oldest.
    pub backward: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self { after: None, before: None, limit: usize::MAX, max_bytes: 1 << 20, backward: false }
    }
}

/// Records of a channel with consecutive offsets: where one is missing, because the disk was full
/// or the store was repaired, a page ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In the order that was asked for.
    pub records: Vec<Stored>,
    /// The oldest offset that is kept; `last + 1` if none is.
    pub first: u64,
    /// The channel's last offset.
    pub last: u64,
}

/// A part of a stride to read.
struct Piece {
    file: Arc<dyn DiskFile>,
    number: u64,
    stride: Stride,
    from: u64,
    to: u64,
}

pub(super) fn read(index: &Mutex<Index>, channel: u64, query: &Query) -> Result<Page> {
    settle_age(index, channel)?;
    let (pieces, mut page) = plan(&lock(index), channel, query)?;
    let mut bytes = 0;
    for piece in pieces {
        let mut records = piece.read(channel)?;
        if query.backward {
            records.reverse();
        }
        for stored in records {
            let size = record::size(&stored.record);
            let full = page.records.len() >= query.limit || bytes + size > query.max_bytes;
            if full && !(page.records.is_empty() && query.limit > 0) {
                return Ok(page);
            }
            bytes += size;
            page.records.push(stored);
        }
    }
    Ok(page)
}

/// Finds the strides that the page needs.
fn plan(index: &Index, channel: u64, query: &Query) -> Result<(Vec<Piece>, Page)> {
    let Some(log) = index.logs.get(&channel) else {
        return Err(Error::new(
            ErrorKind::ChannelNotFound,
            format!("the store has no channel {channel}"),
        ));
    };
    let page = Page { records: Vec::new(), first: log.first, last: log.last };
    let from = query.after.map_or(log.first, |after| after.saturating_add(1).max(log.first));
    let to = query.before.map_or(log.last, |before| before.saturating_sub(1).min(log.last));
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut records, mut bytes) = (0, 0);
    let mut take = |order: u64, stride: &Stride| {
        let enough = records >= query.limit as u64 || bytes >= query.max_bytes as u64;
        let joins = pieces.last().is_none_or(|last| match query.backward {
            false => stride.first == last.stride.last + 1,
            true => stride.last + 1 == last.stride.first,
        });
        let Some(segment) = index.segments.get(&order).filter(|_| !enough && joins) else {
            return false;
        };
        let piece = Piece {
            file: Arc::clone(&segment.file),
            number: segment.number,
            stride: *stride,
            from: stride.first.max(from),
            to: stride.last.min(to),
        };
        records += piece.to + 1 - piece.from;
        // One that is read in part may have fewer: what counts is that they suffice.
        if piece.from == stride.first && piece.to == stride.last {
            bytes += stride.bytes;
        }
        pieces.push(piece);
        true
    };
    if from > to {
        return Ok((pieces, page));
    }
    if query.backward {
        let end =
            log.runs.partition_point(|run| run.strides.front().is_some_and(|s| s.first <= to));
        'runs: for run in log.runs.range(..end).rev() {
            let end = run.strides.partition_point(|stride| stride.first <= to);
            for stride in run.strides.range(..end).rev() {
                if stride.last < from || !take(run.order, stride) {
                    break 'runs;
                }
            }
        }
    } else {
        let start =
            log.runs.partition_point(|run| run.strides.back().is_some_and(|s| s.last < from));
        'runs: for run in log.runs.range(start..) {
            let start = run.strides.partition_point(|stride| stride.last < from);
            for stride in run.strides.range(start..) {
                if stride.first > to || !take(run.order, stride) {
                    break 'runs;
                }
            }
        }
    }
    Ok((pieces, page))
}

/// Lets go of what is too old, to the record.
fn settle_age(index: &Mutex<Index>, channel: u64) -> Result<()> {
    let (age, piece) = {
        let mut index = lock(index);
        let age = index.logs.get(&channel).map_or(0, |log| log.retention.age_ms);
        if age == 0 {
            return Ok(());
        }
        index.retain(channel, now_ms());
        let Some(log) = index.logs.get(&channel) else { return Ok(()) };
        let Some(run) = log.runs.front() else { return Ok(()) };
        let Some(stride) = run.strides.front() else { return Ok(()) };
        let Some(segment) = index.segments.get(&run.order) else { return Ok(()) };
        if now_ms().saturating_sub(stride.first_time) < age {
            return Ok(());
        }
        let piece = Piece {
            file: Arc::clone(&segment.file),
            number: segment.number,
            stride: *stride,
            from: stride.first.max(log.first),
            to: stride.last,
        };
        (age, piece)
    };
    let now = now_ms();
    let kept = piece.read(channel)?;
    let first = kept.iter().find(|stored| now.saturating_sub(stored.record.time_ms) < age);
    let first = first.map_or(piece.to + 1, |stored| stored.offset);
    lock(index).trim(channel, first);
    Ok(())
}

/// How much is read in front of a record, in the hope for those before it.
const AHEAD: u64 = 16 << 10;

impl Piece {
    /// Its records, the oldest first. Walks back from the stride's last one.
    fn read(&self, channel: u64) -> Result<Vec<Stored>> {
        let mut window = Window { piece: self, bytes: Vec::new(), from: 0 };
        let mut records = Vec::new();
        let mut at = u64::from(self.stride.at);
        let mut offset = self.stride.last;
        loop {
            let (place, bytes) = window.record(at)?;
            if (place.channel, place.offset) != (channel, offset) {
                let what = format!(
                    "channel {}, offset {} stands where channel {channel}, offset {offset} should",
                    place.channel, place.offset
                );
                return Err(self.damaged(at, what));
            }
            if offset <= self.to {
                records.push(record::decode(bytes, &place));
            }
            if offset <= self.from {
                break;
            }
            offset -= 1;
            at = match at.checked_sub(u64::from(place.back)) {
                Some(before) if place.back > 0 && before >= START => before,
                _ => return Err(self.damaged(at, "it does not say where the record before it is")),
            };
        }
        records.reverse();
        Ok(records)
    }

    fn damaged(&self, at: u64, what: impl std::fmt::Display) -> Error {
        damaged(&segment::name(self.number), at, what)
    }
}

/// A part of a segment in memory.
struct Window<'a> {
    piece: &'a Piece,
    bytes: Vec<u8>,
    from: u64,
}

impl Window<'_> {
    fn record(&mut self, at: u64) -> Result<(Place, &[u8])> {
        let size = self.need(at, record::HEADER)?;
        let size = record::claimed(size).map_err(|fault| self.piece.damaged(at, fault))?;
        let (number, piece) = (self.piece.number, self.piece);
        let bytes = self.need(at, size)?;
        let (place, size) =
            record::check(bytes, number, at).map_err(|fault| piece.damaged(at, fault))?;
        Ok((place, bytes.get(..size).unwrap_or_default()))
    }

    /// What begins at `at`, at least `len` bytes if the file has them.
    fn need(&mut self, at: u64, len: usize) -> Result<&[u8]> {
        let end = self.from + self.bytes.len() as u64;
        if at < self.from || at + len as u64 > end {
            self.from = at.saturating_sub(AHEAD).max(START);
            let len = usize::try_from(at - self.from).unwrap_or(0) + len.max(4 << 10);
            self.bytes.resize(len, 0);
            let read = self.piece.file.read_at(&mut self.bytes, self.from);
            let read =
                read.map_err(|error| Error::from(error).context(segment::name(self.piece.number)))?;
            self.bytes.truncate(read);
        }
        let skip = usize::try_from(at.saturating_sub(self.from)).unwrap_or(usize::MAX);
        Ok(self.bytes.get(skip..).unwrap_or_default())
    }
}
