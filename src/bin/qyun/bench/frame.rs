//! WebSocket frames (RFC 6455 section 5.2) as far as a load generator needs them.

/// The opcodes with the FIN bit.
pub const TEXT: u8 = 0x81;
/// A compressed text (RFC 7692).
pub const DEFLATED: u8 = 0xc1;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;

/// The largest frame that is read: nothing the generator sends is longer.
const MAX_PAYLOAD: u64 = super::payload::MAX as u64;

/// A frame from a server at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The first byte, the payload, and how many bytes the frame has in all.
    Frame { first: u8, payload: &'a [u8], total: usize },
    /// The frame does not end in these bytes.
    Partial,
    /// No frame that a server may send here.
    Bad(&'static str),
}

/// Reads the frame at the start of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let &[first, second, ..] = bytes else { return Parsed::Partial };
    if second & 0x80 != 0 {
        return Parsed::Bad("a masked frame from the server");
    }
    let number = |width: usize| {
        let digits = bytes.get(2..2 + width)?;
        Some(digits.iter().fold(0_u64, |number, &byte| number << 8 | u64::from(byte)))
    };
    let (header, length) = match second {
        126 => (4, number(2)),
        127 => (10, number(8)),
        short => (2, Some(u64::from(short))),
    };
    let Some(length) = length else { return Parsed::Partial };
    match first {
        TEXT | 0x82 | DEFLATED if length <= MAX_PAYLOAD => {}
        CLOSE | PING | PONG if second < 126 => {}
        0x00..=0x02 | 0x80 => {
            return Parsed::Bad("a fragmented message, which is not checked here");
        }
        _ => return Parsed::Bad("a frame header that is none"),
    }
    let total = header + length as usize;
    match bytes.get(header..total) {
        Some(payload) => Parsed::Frame { first, payload, total },
        None => Parsed::Partial,
    }
}

/// Bytes of the header of a server's frame with a payload of `length`.
pub fn header_len(length: usize) -> usize {
    match length {
        0..126 => 2,
        126..65536 => 4,
        _ => 10,
    }
}

/// Writes the header of a server's frame into `out`, of [`header_len`] bytes.
pub fn write_header(out: &mut [u8], first: u8, length: usize) {
    out[0] = first;
    match out.len() {
        2 => out[1] = length as u8,
        4 => {
            out[1] = 126;
            out[2..].copy_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out[1] = 127;
            out[2..].copy_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a client's frame: the payload masked with `mask`.
pub fn append_masked(out: &mut Vec<u8>, first: u8, payload: &[u8], mask: [u8; 4]) {
    let mut header = [0; 10];
    let header = &mut header[..header_len(payload.len())];
    write_header(header, first, payload.len());
    header[1] |= 0x80;
    out.reserve(header.len() + 4 + payload.len());
    out.extend_from_slice(header);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    let key = u32::from_ne_bytes(mask);
    let (words, tail) = out[start..].as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; header_len(payload.len())];
        write_header(&mut frame, first, payload.len());
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn what_is_written_is_parsed_and_a_part_of_it_is_partial() {
        for length in [0, 1, 125, 126, 65535, 65536] {
            let payload = vec![b'x'; length];
            let mut bytes = server_frame(TEXT, &payload);
            let total = bytes.len();
            for cut in (0..total).step_by(1 + total / 50) {
                assert_eq!(parse(&bytes[..cut]), Parsed::Partial, "{cut} of {total}");
            }
            bytes.extend_from_slice(b"rest");
            assert_eq!(parse(&bytes), Parsed::Frame { first: TEXT, payload: &payload, total });
        }
    }

    #[test]
    fn masking_is_undone_by_masking() {
        for length in [0, 1, 3, 4, 5, 130] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mask = [1, 2, 3, 4];
            let mut out = b"before".to_vec();
            append_masked(&mut out, TEXT, &payload, mask);
            let body = &out[out.len() - length..];
            let back: Vec<u8> =
                body.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            assert_eq!(back, payload);
            assert_eq!(out[7] & 0x80, 0x80, "the mask bit");
        }
    }

    #[test]
    fn what_no_server_may_send_is_bad() {
        for bytes in [[0x81, 0x80], [0x01, 1], [0x89, 126], [0xd1, 0], [0x83, 0]] {
            let mut bytes = bytes.to_vec();
            bytes.extend_from_slice(&[0; 16]);
            assert!(matches!(parse(&bytes), Parsed::Bad(_)), "{bytes:x?}");
        }
    }
}
