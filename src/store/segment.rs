//! Segments: files of records, one after another. Only the last one grows.
//!
//! A segment begins with 32 bytes: `qyunlog1`, its file number, its place in the order of segments
//! (both u64, little-endian), four zeros, and the CRC-32 of all that. Behind its last record there
//! may be zeros, because it grows in steps.

use std::io;
use std::sync::Arc;

use flate2::Crc;

use super::disk::{Disk, DiskFile};
use super::record::{self, Fault, Place, u32_at, u64_at};

/// Where the first record of a segment begins.
pub(super) const START: u64 = 32;

/// The largest a segment may become by options, in bytes: positions have 32 bits.
pub(super) const MAX_SEGMENT: u64 = 1 << 30;

const MAGIC: &[u8; 8] = b"qyunlog1";
const WINDOW: usize = 1 << 20;

/// The name of a segment's file.
pub(super) fn name(file: u64) -> String {
    format!("{file:016x}.log")
}

/// The number in the name of a segment's file.
pub(super) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    match digits.len() == 16 {
        true => u64::from_str_radix(digits, 16).ok(),
        false => None,
    }
}

/// Which segment a file says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Title {
    pub file: u64,
    pub order: u64,
}

impl Title {
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.file.to_le_bytes());
        bytes.extend_from_slice(&self.order.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let sum = sum(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads it; what is wrong otherwise.
    pub fn read(file: &dyn DiskFile) -> io::Result<Result<Self, &'static str>> {
        let mut bytes = [0; START as usize];
        if file.read_at(&mut bytes, 0)? < bytes.len() {
            return Ok(Err("the file is shorter than its heading"));
        }
        let (body, found) = bytes.split_at(28);
        Ok(match () {
            () if !body.starts_with(MAGIC) => Err("the file is no segment of this version"),
            () if found != sum(body).to_le_bytes() => Err("the heading's checksum is wrong"),
            () => Ok(Self { file: u64_at(body, 8), order: u64_at(body, 16) }),
        })
    }
}

pub(super) fn sum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Makes a segment's file, which lasts when this returns.
pub(super) fn create(disk: &dyn Disk, title: Title) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(&name(title.file))?;
    file.write_at(&title.encode(), 0)?;
    file.sync()?;
    disk.sync_names()?;
    Ok(file)
}

/// Where a scan met bytes that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad {
    pub at: u64,
    pub fault: Fault,
}

/// Goes through a segment's records in large reads.
pub(super) struct Scan<'a> {
    file: &'a dyn DiskFile,
    number: u64,
    /// The length of the file.
    pub len: u64,
    window: Vec<u8>,
    /// Where the window begins in the file.
    from: u64,
}

impl<'a> Scan<'a> {
    pub fn new(file: &'a dyn DiskFile, number: u64) -> io::Result<Self> {
        Ok(Self { file, number, len: file.len()?, window: Vec::new(), from: 0 })
    }

    /// At least `len` bytes at `at`, or all up to the end of the file.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let end = self.from + self.window.len() as u64;
        if at < self.from || at + len as u64 > end {
            self.window.resize(len.max(WINDOW.min(left)), 0);
            let read = self.file.read_at(&mut self.window, at)?;
            self.window.truncate(read);
            self.from = at;
        }
        let skip = usize::try_from(at - self.from).unwrap_or(usize::MAX);
        Ok(self.window.get(skip..).unwrap_or_default())
    }

    /// The record at `at`, with all its bytes.
    pub fn record(&mut self, at: u64) -> io::Result<Result<(Place, &[u8]), Fault>> {
        let size = match record::claimed(self.bytes(at, record::HEADER)?) {
            Ok(size) => size,
            Err(fault) => return Ok(Err(fault)),
        };
        let number = self.number;
        let bytes = self.bytes(at, size)?;
        Ok(match record::check(bytes, number, at) {
            Ok((place, size)) => Ok((place, bytes.get(..size).unwrap_or_default())),
            Err(fault) => Err(fault),
        })
    }

    /// Whether there is nothing but zeros from `at` to the end.
    pub fn is_blank(&mut self, at: u64) -> io::Result<bool> {
        let mut at = at;
        while at < self.len {
            let bytes = self.bytes(at, WINDOW)?;
            if bytes.is_empty() || bytes.iter().any(|byte| *byte != 0) {
                return Ok(bytes.is_empty());
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }

    /// Where the zeros begin that the file ends with, at or behind `at`.
    pub fn end_of_data(&mut self, at: u64) -> io::Result<u64> {
        let (mut at, mut end) = (at, at);
        while at < self.len {
            let bytes = self.bytes(at, WINDOW)?;
            if bytes.is_empty() {
                break;
            }
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                end = at + last as u64 + 1;
            }
            at += bytes.len() as u64;
        }
        Ok(end)
    }

    /// Calls `each` for the records from `at` on; gives the end of the last one, and what stands
    /// there if that is neither zeros nor the end of the file.
    pub fn run(
        &mut self,
        mut at: u64,
        mut each: impl FnMut(u64, &Place, &[u8]),
    ) -> io::Result<(u64, Option<Bad>)> {
        while at < self.len {
            let fault = match self.record(at)? {
                Ok((place, bytes)) => {
                    each(at, &place, bytes);
                    at += bytes.len() as u64;
                    continue;
                }
                Err(fault) => fault,
            };
            match self.is_blank(at)? {
                true => break,
                false => return Ok((at, Some(Bad { at, fault }))),
            }
        }
        Ok((at, None))
    }

    /// The first record behind `at`, wherever it begins. A checksum that covers the position makes
    /// a false find as good as impossible.
    pub fn next_good(&mut self, at: u64) -> io::Result<Option<u64>> {
        let mut at = at;
        while at + (record::HEADER as u64) <= self.len {
            let left = self.len - at;
            let bytes = self.bytes(at, WINDOW.min(1 << 16))?;
            // Only what may be a length is worth a checksum.
            let candidates = bytes.len().saturating_sub(record::HEADER) + 1;
            let hopeful = (0..candidates).find(|skip| {
                let size = u64::from(u32_at(bytes, skip + 4));
                size >= record::HEADER as u64 && size <= left - *skip as u64
            });
            let Some(skip) = hopeful else {
                at += candidates as u64;
                continue;
            };
            at += skip as u64;
            if self.record(at)?.is_ok() {
                return Ok(Some(at));
            }
            at += 1;
        }
        Ok(None)
    }
}
