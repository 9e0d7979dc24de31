//! Segments that hold little of what is kept, written anew without the rest.
//!
//! The log is shared, so a quiet channel's old records would keep whole segments of busy ones.
//! Neighbouring segments of which less than half is kept become one, on a thread of its own; the
//! writer then puts it in their place, in the catalogue and in the index.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::index::{Index, Log, Run, Segment, Written};
use super::record::{self, Place};
use super::segment::{self, START, Scan, Title};
use crate::{Error, ErrorKind, Result};

/// What is to be written anew.
pub(super) struct Plan {
    /// Order, file number and file of each segment, in order.
    olds: Vec<(u64, u64, Arc<dyn DiskFile>)>,
    /// The oldest offset that each channel keeps.
    firsts: HashMap<u64, u64>,
    number: u64,
}

/// A segment that can take the place of others.
pub(super) struct Made {
    /// Order and file number of those.
    pub olds: Vec<(u64, u64)>,
    pub order: u64,
    pub number: u64,
    pub file: Arc<dyn DiskFile>,
    pub len: u64,
    pub runs: HashMap<u64, Run>,
}

pub(super) type Outcome = Result<Made>;

/// So many small segments next to each other become one even if all of them is kept.
const SMALL: usize = 8;

/// Chooses the oldest neighbours that are worth it; `number` is free for a new file.
pub(super) fn plan(
    index: &Index,
    active: Option<u64>,
    number: u64,
    segment_bytes: u64,
) -> Option<Plan> {
    let whole: Vec<_> =
        index.segments.iter().filter(|(order, _)| Some(**order) != active).collect();
    for start in 0..whole.len() {
        let (mut live, mut len, mut count) = (0, 0, 0);
        for (_, segment) in whole.get(start..).unwrap_or_default() {
            if live + segment.live + START > segment_bytes {
                break;
            }
            live += segment.live;
            len += segment.len;
            count += 1;
        }
        if count > 0 && (len > 2 * live + START || count >= SMALL) {
            let chosen = whole.iter().skip(start).take(count);
            let olds = chosen
                .map(|(order, segment)| (**order, segment.number, Arc::clone(&segment.file)))
                .collect();
            let firsts = index.logs.iter().map(|(id, log)| (*id, log.first)).collect();
            return Some(Plan { olds, firsts, number });
        }
    }
    None
}

impl Plan {
    /// Writes the new segment.
    pub fn carry_out(self, disk: &dyn Disk) -> Outcome {
        self.write(disk).map_err(|error| error.context(segment::name(self.number)))
    }

    fn write(&self, disk: &dyn Disk) -> Outcome {
        let Some((order, ..)) = self.olds.first() else {
            return Err(Error::new(ErrorKind::InvalidArgument, "there is nothing to write"));
        };
        let (order, number) = (*order, self.number);
        let file = segment::create(disk, Title { file: number, order })?;
        // An index of this segment alone gives the strides.
        let mut index = Index::default();
        let segment = Segment { number, file: Arc::clone(&file), len: START, live: 0, users: 0 };
        index.segments.insert(order, segment);
        let (mut at, mut buffer) = (START, Vec::new());
        for (_, old, from) in &self.olds {
            let mut failed = None;
            let (end, bad) = Scan::new(&**from, *old)?.run(START, |_, place, bytes| {
                let kept =
                    self.firsts.get(&place.channel).is_some_and(|first| place.offset >= *first);
                if !kept || failed.is_some() {
                    return;
                }
                let position = at + buffer.len() as u64;
                match copy(&mut index, &mut buffer, order, number, position, place, bytes) {
                    Ok(()) if buffer.len() >= 1 << 20 => {
                        failed = file.write_at(&buffer, at).err();
                        at += buffer.len() as u64;
                        buffer.clear();
                    }
                    Ok(()) => {}
                    Err(error) => failed = Some(error),
                }
            })?;
            if let Some(error) = failed {
                return Err(error.into());
            }
            if let Some(bad) = bad {
                let name = segment::name(*old);
                let text = format!("{name} at byte {end}: {}", bad.fault);
                return Err(Error::new(ErrorKind::Io, text));
            }
        }
        file.write_at(&buffer, at)?;
        file.sync()?;
        let runs = index.runs_of(order);
        let len = at + buffer.len() as u64;
        super::sidecar::write(disk, number, len, &runs)?;
        let olds = self.olds.iter().map(|(order, number, _)| (*order, *number)).collect();
        Ok(Made { olds, order, number, file, len, runs: runs.into_iter().collect() })
    }
}

/// Appends a record of another segment.
fn copy(
    index: &mut Index,
    buffer: &mut Vec<u8>,
    order: u64,
    number: u64,
    position: u64,
    place: &Place,
    bytes: &[u8],
) -> io::Result<()> {
    let at = u32::try_from(position).map_err(io::Error::other)?;
    let before = place.offset.saturating_sub(1);
    let log = index
        .logs
        .entry(place.channel)
        .or_insert_with(|| Log::new(before, super::Retention::default()));
    let back = log.tail(order).map_or(0, |before| at - before);
    let moved = Place { back, synced: 0, ..*place };
    record::encode(buffer, number, position, &moved, &record::decode(bytes, place).record);
    let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let Place { channel, offset, time, .. } = *place;
    index.add(order, &Written { channel, offset, time, at, size });
    Ok(())
}
