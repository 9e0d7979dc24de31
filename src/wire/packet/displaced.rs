//! The notice that a connection was displaced: the protobuf message
//! `{ bytes old_ip = 1; bytes new_ip = 2; int64 ts = 3; }`.
//!
//! Three fields are all the protobuf that the dialect has, so it is written by hand: a field is a
//! varint key (`number << 3 | type`), then a varint (type 0), or a varint length and that many bytes
//! (type 2). Fields with their default value are left out, fields that are not known are skipped.

/// Who displaced whom, and when. Addresses are IP addresses as text, without a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Displaced<'a> {
    /// The address of the connection that is told.
    pub old_ip: &'a [u8],
    /// The address of the one that came in its place.
    pub new_ip: &'a [u8],
    /// When, in ns since the Unix epoch.
    pub ts: i64,
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

const OLD_IP: u64 = 1;
const NEW_IP: u64 = 2;
const TS: u64 = 3;

impl<'a> Displaced<'a> {
    /// The message's bytes, the data of the notice.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.old_ip.len() + self.new_ip.len());
        for (number, bytes) in [(OLD_IP, self.old_ip), (NEW_IP, self.new_ip)] {
            if !bytes.is_empty() {
                write_varint(&mut out, number << 3 | BYTES);
                write_varint(&mut out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
        }
        if self.ts != 0 {
            write_varint(&mut out, TS << 3 | VARINT);
            write_varint(&mut out, self.ts as u64);
        }
        out
    }

    /// Reads the message; `None` when the bytes are none.
    pub fn decode(mut bytes: &'a [u8]) -> Option<Self> {
        let mut notice = Self::default();
        while !bytes.is_empty() {
            let key = read_varint(&mut bytes)?;
            match (key >> 3, key & 7) {
                (0, _) => return None,
                (OLD_IP, BYTES) => notice.old_ip = read_bytes(&mut bytes)?,
                (NEW_IP, BYTES) => notice.new_ip = read_bytes(&mut bytes)?,
                (TS, VARINT) => notice.ts = read_varint(&mut bytes)? as i64,
                (_, VARINT) => drop(read_varint(&mut bytes)?),
                (_, BYTES) => drop(read_bytes(&mut bytes)?),
                (_, FIXED64) => bytes = bytes.get(8..)?,
                (_, FIXED32) => bytes = bytes.get(4..)?,
                _ => return None,
            }
        }
        Some(notice)
    }
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn read_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(read_varint(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_protobufs() {
        let notice = Displaced { old_ip: b"10.0.0.1", new_ip: b"::1", ts: 300 };
        assert_eq!(notice.encode(), b"\x0a\x0810.0.0.1\x12\x03::1\x18\xac\x02");
        assert_eq!(Displaced::default().encode(), b"");
        let before = Displaced { ts: -1, ..Displaced::default() };
        assert_eq!(before.encode(), b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    }

    #[test]
    fn unknown_fields_are_skipped_and_broken_ones_refused() {
        let known = b"\x0a\x02ab";
        for unknown in [
            &b"\x20\x96\x01"[..],
            b"\x22\x03xyz",
            b"\x29\x01\x02\x03\x04\x05\x06\x07\x08",
            b"\x2d\x01\x02\x03\x04",
            // Field 1 as a number: not the field that is known.
            b"\x08\x01",
        ] {
            let bytes = [unknown, known].concat();
            assert_eq!(Displaced::decode(&bytes).map(|notice| notice.old_ip), Some(&b"ab"[..]));
        }
        for broken in [
            &b"\x0a"[..],
            b"\x0a\x05ab",
            b"\x18",
            b"\x18\x80",
            b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0b",
            b"\x00\x00",
            b"\x29\x01",
        ] {
            assert_eq!(Displaced::decode(broken), None, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn notices_survive_the_wire(old_ip: Vec<u8>, new_ip: Vec<u8>, ts: i64) {
            let notice = Displaced { old_ip: &old_ip, new_ip: &new_ip, ts };
            let bytes = notice.encode();
            prop_assert_eq!(Displaced::decode(&bytes), Some(notice));
        }

        #[test]
        fn no_input_breaks_the_decoder(bytes: Vec<u8>) {
            let _ = Displaced::decode(&bytes);
        }
    }
}
