//! A file beside each whole segment with its part of the index, which saves opening a scan. One
//! that is missing or does not fit is as good as none.
//!
//! `qyunidx1`, file number and length of the segment (u64, little-endian), then for each channel
//! its id, the number of strides (u64) and the strides (first, last, at, bytes, first time, last
//! time: u64), at the end the CRC-32 of all that.

use std::collections::VecDeque;
use std::io;

use super::disk::{Disk, read_exact};
use super::index::{Run, Stride};
use super::record::{u32_at, u64_at};
use super::segment::sum;

const MAGIC: &[u8; 8] = b"qyunidx1";

/// The name of the file beside a segment.
pub(super) fn name(number: u64) -> String {
    format!("{number:016x}.idx")
}

/// Whether it is the name of such a file.
pub(super) fn number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(".idx")?, 16).ok()
}

/// Writes it. Not synced: the segment can always be scanned instead.
pub(super) fn write(disk: &dyn Disk, number: u64, len: u64, runs: &[(u64, Run)]) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    let mut put = |value: u64| bytes.extend_from_slice(&value.to_le_bytes());
    put(number);
    put(len);
    for (channel, run) in runs {
        put(*channel);
        put(run.strides.len() as u64);
        for stride in &run.strides {
            let Stride { first, last, at, bytes, first_time, last_time } = *stride;
            [first, last, u64::from(at), bytes, first_time, last_time]
                .into_iter()
                .for_each(&mut put);
        }
    }
    let sum = sum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    disk.create(&name(number))?.write_at(&bytes, 0)
}

/// Reads it; `None` if there is none that fits the segment.
pub(super) fn read(disk: &dyn Disk, number: u64, len: u64, order: u64) -> Option<Vec<(u64, Run)>> {
    let file = disk.open(&name(number)).ok()?;
    let bytes = read_exact(&*file, 0, usize::try_from(file.len().ok()?).ok()?).ok()?;
    let (body, found) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if sum(body) != u32_at(found, 0) || !body.starts_with(MAGIC) {
        return None;
    }
    let mut words = body.get(8..)?.chunks_exact(8).map(|word| u64_at(word, 0));
    if (words.next()?, words.next()?) != (number, len) {
        return None;
    }
    let mut runs = Vec::new();
    while let Some(channel) = words.next() {
        let mut strides = VecDeque::new();
        for _ in 0..words.next()? {
            strides.push_back(Stride {
                first: words.next()?,
                last: words.next()?,
                at: u32::try_from(words.next()?).ok()?,
                bytes: words.next()?,
                first_time: words.next()?,
                last_time: words.next()?,
            });
        }
        runs.push((channel, Run { order, strides }));
    }
    Some(runs)
}
