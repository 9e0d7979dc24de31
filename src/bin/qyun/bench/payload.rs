//! What the messages of a run say: `SEQUENCE-CHANNEL-padding`, a pure function of both numbers, so
//! that a message in the wrong place, in the wrong channel or with a changed byte is recognised.

/// Digits of the sequence number.
const SEQUENCE: usize = 12;
/// Digits of the channel number.
const CHANNEL: usize = 6;
/// The smallest message: both numbers and what stands between them.
pub const MIN: usize = SEQUENCE + 1 + CHANNEL;
/// The largest message.
pub const MAX: usize = 16 << 20;
/// One more than the largest channel number.
pub const MAX_CHANNELS: usize = 1_000_000;

/// Fills `payload`, of at least [`MIN`] bytes, with message `sequence` of `channel`. All bytes are
/// unreserved in URLs.
pub fn write(payload: &mut [u8], channel: u32, sequence: u64) {
    debug_assert!(payload.len() >= MIN);
    let (head, padding) = payload.split_at_mut(MIN);
    digits(&mut head[..SEQUENCE], sequence);
    head[SEQUENCE] = b'-';
    digits(&mut head[SEQUENCE + 1..], channel.into());
    if let Some((dash, padding)) = padding.split_first_mut() {
        *dash = b'-';
        padding.fill(letter(channel, sequence));
    }
}

/// The sequence number of a whole and unchanged message of `channel` and `size`.
pub fn read(payload: &[u8], channel: u32, size: usize) -> Option<u64> {
    if payload.len() != size {
        return None;
    }
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    let sequence = number(payload.get(..SEQUENCE)?)?;
    let mut expected = vec![0; size];
    write(&mut expected, channel, sequence);
    (payload == expected).then_some(sequence)
}

fn letter(channel: u32, sequence: u64) -> u8 {
    b'a' + ((sequence + u64::from(channel)) % 26) as u8
}

fn digits(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for size in [MIN, MIN + 1, 128] {
            let mut payload = vec![0; size];
            write(&mut payload, 42, 1_234_567);
            assert!(payload.starts_with(b"000001234567-000042"));
            assert_eq!(read(&payload, 42, size), Some(1_234_567));
            assert_eq!(read(&payload, 43, size), None, "another channel's message");
            assert_eq!(read(&payload[1..], 42, size), None, "another size");
        }
    }

    #[test]
    fn any_changed_byte_is_seen() {
        let mut payload = vec![0; 64];
        write(&mut payload, 7, 99);
        for at in 0..payload.len() {
            let mut changed = payload.clone();
            changed[at] ^= 1;
            assert_ne!(read(&changed, 7, 64), Some(99), "byte {at}");
        }
    }
}
