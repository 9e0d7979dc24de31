//! One publication as bytes of a segment.
//!
//! All numbers are little-endian:
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 4 | CRC-32 of the segment's file number, this position, and all that follows |
//! | 4 | 4 | length of the whole record |
//! | 8 | 8 | channel id |
//! | 16 | 8 | offset in the channel |
//! | 24 | 8 | time, ms since the Unix epoch |
//! | 32 | 4 | how far back the channel's previous record in this segment begins; 0: none |
//! | 36 | 4 | how much of this segment was synced when this was written |
//! | 40 | 2 | length of the key |
//! | 42 | 2 | length of the idempotency key |
//! | 44 | 1 | 0 text, 1 binary |
//! | 45 | 3 | 0 |
//! | 48 | | key, idempotency key, payload |
//!
//! The CRC covers where the record stands, so that one that was moved is as bad as one that was
//! changed.

use bytes::Bytes;
use flate2::Crc;

use crate::wire::MessageKind;

/// Bytes of a record before its key.
pub(super) const HEADER: usize = 48;

/// The longest payload of a record, in bytes.
pub const MAX_PAYLOAD: usize = 256 << 20;

/// A publication to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Text or binary. That text is UTF-8 is the caller's business.
    pub kind: MessageKind,
    /// The message; at most [`MAX_PAYLOAD`] bytes.
    pub payload: Bytes,
    /// What the message replaces others by, if it does; at most 65,535 bytes.
    pub key: Bytes,
    /// What makes a repeat of it no second publication, if there is something; at most 65,535
    /// bytes.
    pub idempotency: Bytes,
    /// When it was published, in ms since the Unix epoch. An earlier time than that of the
    /// channel's last record becomes that one.
    pub time_ms: u64,
}

/// A publication that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the channel.
    pub offset: u64,
    /// The publication.
    pub record: Record,
}

/// Where a record belongs, and what the log needs to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub channel: u64,
    pub offset: u64,
    pub time: u64,
    /// How far back the channel's previous record of this segment begins; 0 when there is none.
    pub back: u32,
    /// Up to where the segment was synced.
    pub synced: u32,
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// So many bytes are there, and so many would be needed.
    Short { have: usize, need: usize },
    /// The length cannot be one.
    Length(u32),
    /// The checksum is another.
    Checksum,
    /// The checksum is right and the content is not of this version.
    Content,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short { have, need } => {
                write!(f, "a record of {need} bytes or more has {have}")
            }
            Self::Length(length) => write!(f, "a record cannot have {length} bytes"),
            Self::Checksum => f.write_str("a record's checksum is wrong"),
            Self::Content => f.write_str("a record is of an unknown form"),
        }
    }
}

/// The bytes that a record takes in a segment.
pub(super) fn size(record: &Record) -> usize {
    HEADER + record.key.len() + record.idempotency.len() + record.payload.len()
}

/// Appends the record, which stands at byte `at` of the segment file `file`. The lengths have been
/// checked.
pub(super) fn encode(into: &mut Vec<u8>, file: u64, at: u64, place: &Place, record: &Record) {
    let start = into.len();
    let kind = match record.kind {
        MessageKind::Text => 0,
        MessageKind::Binary => 1,
    };
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&(size(record) as u32).to_le_bytes());
    into.extend_from_slice(&place.channel.to_le_bytes());
    into.extend_from_slice(&place.offset.to_le_bytes());
    into.extend_from_slice(&place.time.to_le_bytes());
    into.extend_from_slice(&place.back.to_le_bytes());
    into.extend_from_slice(&place.synced.to_le_bytes());
    into.extend_from_slice(&(record.key.len() as u16).to_le_bytes());
    into.extend_from_slice(&(record.idempotency.len() as u16).to_le_bytes());
    into.extend_from_slice(&[kind, 0, 0, 0]);
    into.extend_from_slice(&record.key);
    into.extend_from_slice(&record.idempotency);
    into.extend_from_slice(&record.payload);
    if let Some((sum, body)) = into.get_mut(start..).and_then(|all| all.split_at_mut_checked(4)) {
        sum.copy_from_slice(&checksum(file, at, body).to_le_bytes());
    }
}

fn checksum(file: u64, at: u64, body: &[u8]) -> u32 {
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&file.to_le_bytes());
    seed[8..].copy_from_slice(&at.to_le_bytes());
    let mut crc = Crc::new();
    crc.update(&seed);
    crc.update(body);
    crc.sum()
}

/// The length that the record at the start of `bytes` claims to have.
pub(super) fn claimed(bytes: &[u8]) -> Result<usize, Fault> {
    let Some(header) = bytes.get(..HEADER) else {
        return Err(Fault::Short { have: bytes.len(), need: HEADER });
    };
    let length = u32_at(header, 4);
    match length as usize {
        size @ HEADER.. if size <= MAX_PAYLOAD + HEADER + 2 * 65_535 => Ok(size),
        _ => Err(Fault::Length(length)),
    }
}

/// The record at the start of `bytes`, which stand at byte `at` of the segment file `file`, as its
/// place and its length.
pub(super) fn check(bytes: &[u8], file: u64, at: u64) -> Result<(Place, usize), Fault> {
    let size = claimed(bytes)?;
    let Some(bytes) = bytes.get(..size) else {
        return Err(Fault::Short { have: bytes.len(), need: size });
    };
    let (sum, body) = bytes.split_at(4);
    if sum != checksum(file, at, body).to_le_bytes() {
        return Err(Fault::Checksum);
    }
    let keys = usize::from(u16_at(bytes, 40)) + usize::from(u16_at(bytes, 42));
    if bytes[44] > 1 || bytes[45..HEADER] != [0; 3] || HEADER + keys > size {
        return Err(Fault::Content);
    }
    let place = Place {
        channel: u64_at(bytes, 8),
        offset: u64_at(bytes, 16),
        time: u64_at(bytes, 24),
        back: u32_at(bytes, 32),
        synced: u32_at(bytes, 36),
    };
    Ok((place, size))
}

/// What the record carries; `bytes` is what [`check`] found good, and no more.
pub(super) fn decode(bytes: &[u8], place: &Place) -> Stored {
    let key = HEADER + usize::from(u16_at(bytes, 40));
    let idempotency = key + usize::from(u16_at(bytes, 42));
    let record = Record {
        kind: if bytes[44] == 0 { MessageKind::Text } else { MessageKind::Binary },
        payload: Bytes::copy_from_slice(&bytes[idempotency..]),
        key: Bytes::copy_from_slice(&bytes[HEADER..key]),
        idempotency: Bytes::copy_from_slice(&bytes[key..idempotency]),
        time_ms: place.time,
    };
    Stored { offset: place.offset, record }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// `N` bytes at `at`; zeros where `bytes` ends before, which no caller lets happen.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    debug_assert!(found.is_some(), "{N} bytes at {at} of {}", bytes.len());
    found.copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Place, Record) {
        let place = Place { channel: 7, offset: 9, time: 11, back: 13, synced: 15 };
        let record = Record {
            kind: MessageKind::Binary,
            payload: Bytes::from_static(b"payload"),
            key: Bytes::from_static(b"key"),
            idempotency: Bytes::from_static(b"once"),
            time_ms: 11,
        };
        (place, record)
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let (place, record) = sample();
        let mut bytes = Vec::new();
        encode(&mut bytes, 3, 40, &place, &record);
        assert_eq!(bytes.len(), size(&record));
        assert_eq!(check(&bytes, 3, 40), Ok((place, bytes.len())));
        assert_eq!(decode(&bytes, &place), Stored { offset: 9, record });
    }

    #[test]
    fn a_record_that_was_moved_shortened_or_changed_is_none() {
        let (place, record) = sample();
        let mut bytes = Vec::new();
        encode(&mut bytes, 3, 40, &place, &record);
        assert_eq!(check(&bytes, 3, 41), Err(Fault::Checksum));
        assert_eq!(check(&bytes, 4, 40), Err(Fault::Checksum));
        for len in 0..bytes.len() {
            assert!(matches!(check(&bytes[..len], 3, 40), Err(Fault::Short { .. })), "{len}");
        }
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bytes, 3, 40).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(check(&[0; 4096], 3, 40).is_err(), "zeros");
    }
}
