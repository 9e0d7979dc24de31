//! Which channels and segments there are: a small log of changes beside the segments.
//!
//! The file is a list of frames: length (u32, little-endian), CRC-32, and a JSON array of
//! [`Change`]s, which hold together or not at all. Every frame is synced before it counts, so only
//! the last one can be torn. Opening writes the file anew with nothing but what still holds.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::disk::{Disk, DiskFile, Draft, read_exact};
use super::record::u32_at;
use super::segment::sum;
use super::{ChannelRecord, Level};

pub(super) const NAME: &str = "catalogue";

const FRAME: usize = 8;
const MAX_FRAME: usize = 1 << 30;

/// One thing that became true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// The store was opened, on a machine that was started like this.
    Opened { boot: String },
    /// It was closed in peace, with this as its last segment.
    Closed { order: Option<u64>, len: u64 },
    /// A channel is like this, new or not.
    Channel(ChannelRecord),
    /// A channel is gone, with all its records.
    Deleted { channel: u64 },
    /// What a channel keeps begins here, and its last offset is at least this.
    Trimmed { channel: u64, first: u64, last: u64 },
    /// There is a segment.
    Segment { order: u64, number: u64 },
    /// There is none any more.
    Removed { order: u64 },
    /// Numbers below these have been given away.
    Next { channel: u64, number: u64 },
}

/// What holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The boot id of the last opening, unless the store was closed since.
    pub opened: Option<String>,
    /// The last segment and its length, if the store was closed in peace.
    pub closed: Option<(Option<u64>, u64)>,
    pub channels: BTreeMap<u64, ChannelRecord>,
    /// First and last offset, where they were told.
    pub trimmed: BTreeMap<u64, (u64, u64)>,
    /// The file number of each segment, by its order.
    pub segments: BTreeMap<u64, u64>,
    pub next_channel: u64,
    pub next_number: u64,
}

impl State {
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Opened { boot } => {
                self.opened = Some(boot);
                self.closed = None;
            }
            Change::Closed { order, len } => {
                self.opened = None;
                self.closed = Some((order, len));
            }
            Change::Channel(channel) => {
                self.next_channel = self.next_channel.max(channel.id + 1);
                self.channels.insert(channel.id, channel);
            }
            Change::Deleted { channel } => {
                self.channels.remove(&channel);
                self.trimmed.remove(&channel);
            }
            Change::Trimmed { channel, first, last } => {
                let told = self.trimmed.entry(channel).or_default();
                *told = (told.0.max(first), told.1.max(last));
            }
            Change::Segment { order, number } => {
                self.next_number = self.next_number.max(number + 1);
                self.segments.insert(order, number);
            }
            Change::Removed { order } => {
                self.segments.remove(&order);
            }
            Change::Next { channel, number } => {
                self.next_channel = self.next_channel.max(channel);
                self.next_number = self.next_number.max(number);
            }
        }
    }

    /// The fewest changes that make it.
    fn changes(&self) -> Vec<Change> {
        let mut all = vec![Change::Next { channel: self.next_channel, number: self.next_number }];
        all.extend(self.channels.values().cloned().map(Change::Channel));
        let trimmed = self.trimmed.iter();
        all.extend(trimmed.map(|(channel, (first, last))| Change::Trimmed {
            channel: *channel,
            first: *first,
            last: *last,
        }));
        let segments = self.segments.iter();
        all.extend(
            segments.map(|(order, number)| Change::Segment { order: *order, number: *number }),
        );
        all.extend(self.opened.clone().map(|boot| Change::Opened { boot }));
        all.extend(self.closed.map(|(order, len)| Change::Closed { order, len }));
        all
    }

    /// The epoch must change where positions may have been told that are not there any more: at
    /// `memory` after any end but a peaceful one, at `os` after the machine went down.
    pub fn doubtful(&self, boot: &str) -> Vec<u64> {
        let Some(opened) = &self.opened else { return Vec::new() };
        let doubted = |channel: &&ChannelRecord| match channel.level {
            Level::Memory => true,
            Level::Os => opened != boot,
            Level::Fsync => false,
        };
        self.channels.values().filter(doubted).map(|channel| channel.id).collect()
    }
}

/// What reading a catalogue found.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub state: State,
    /// The end of the last good frame.
    pub len: u64,
    /// What is wrong there.
    pub bad: Option<&'static str>,
    /// Whether a good frame stands behind what is wrong.
    pub more: bool,
}

/// Reads the catalogue; `salvage` goes on behind what is wrong.
pub(super) fn read(file: &dyn DiskFile, salvage: bool) -> io::Result<Read> {
    let bytes = read_exact(file, 0, usize::try_from(file.len()?).unwrap_or(usize::MAX))?;
    let mut read = Read::default();
    let mut at = 0;
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        match frame(rest) {
            Ok((changes, size)) => {
                changes.into_iter().for_each(|change| read.state.apply(change));
                at += size;
                if read.bad.is_none() {
                    read.len = at as u64;
                }
            }
            Err(what) => {
                read.bad.get_or_insert(what);
                let next = (at + 1..bytes.len())
                    .find(|next| bytes.get(*next..).is_some_and(|rest| frame(rest).is_ok()));
                let Some(next) = next else { break };
                read.more = true;
                if !salvage {
                    break;
                }
                at = next;
            }
        }
    }
    Ok(read)
}

fn frame(bytes: &[u8]) -> Result<(Vec<Change>, usize), &'static str> {
    let Some(header) = bytes.get(..FRAME) else {
        return Err("an entry is incomplete");
    };
    let size = u32_at(header, 0) as usize;
    if size == 0 || size > MAX_FRAME {
        return Err("an entry's length is none");
    }
    let Some(body) = bytes.get(FRAME..FRAME + size) else {
        return Err("an entry is incomplete");
    };
    if sum(body) != u32_at(header, 4) {
        return Err("an entry's checksum is wrong");
    }
    match serde_json::from_slice(body) {
        Ok(changes) => Ok((changes, FRAME + size)),
        Err(_) => Err("an entry is of an unknown form"),
    }
}

fn encode(changes: &[Change]) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(changes)?;
    let size = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut bytes = size.to_le_bytes().to_vec();
    bytes.extend_from_slice(&sum(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// The catalogue of an open store.
pub(super) struct Catalogue {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    len: u64,
    /// Its length when it was last written anew.
    base: u64,
    pub state: State,
}

/// Why a change does not hold.
#[derive(Debug)]
pub(super) enum Refused {
    /// It was not written, and nothing else happened.
    Unwritten(io::Error),
    /// Nobody knows what is on the disk: no change can be made any more.
    Unknown(io::Error),
}

impl Catalogue {
    /// Writes the file anew and goes on from there.
    pub fn write(disk: &Arc<dyn Disk>, state: State) -> Result<Self, Refused> {
        let bytes = encode(&state.changes()).map_err(Refused::Unwritten)?;
        let draft = Draft::write(&**disk, NAME, &bytes).map_err(Refused::Unwritten)?;
        let file = draft.publish().map_err(Refused::Unknown)?;
        let len = bytes.len() as u64;
        Ok(Self { disk: Arc::clone(disk), file, len, base: len, state })
    }

    /// Goes on with the file as it is, in place of the process that has written it.
    pub fn go_on(disk: &Arc<dyn Disk>, file: Arc<dyn DiskFile>, read: Read) -> Self {
        let Read { state, len, .. } = read;
        Self { disk: Arc::clone(disk), file, len, base: len, state }
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Makes changes hold, all or none: when this returns they survive whatever comes.
    pub fn change(&mut self, changes: Vec<Change>) -> Result<(), Refused> {
        let bytes = encode(&changes).map_err(Refused::Unwritten)?;
        if let Err(error) = self.file.write_at(&bytes, self.len) {
            return Err(match self.file.set_len(self.len) {
                Ok(()) => Refused::Unwritten(error),
                Err(_) => Refused::Unknown(error),
            });
        }
        self.file.sync().map_err(Refused::Unknown)?;
        self.len += bytes.len() as u64;
        changes.into_iter().for_each(|change| self.state.apply(change));
        if self.len > 2 * self.base + (1 << 20) {
            match Self::write(&self.disk, self.state.clone()) {
                Ok(written) => *self = written,
                // What there is holds as it is: this costs nothing but room.
                Err(Refused::Unwritten(error)) => {
                    log::warn!(target: "qyun::store", "the catalogue was not shortened: {error}");
                }
                Err(unknown) => return Err(unknown),
            }
        }
        Ok(())
    }
}
