//! What the messages of a run say: `SEQUENCE-CHANNEL-padding`, a pure function of both numbers, so
//! that a message in the wrong place, in the wrong channel or with a changed byte is recognised.

/// Digits of the sequence number, where there is room; the smallest message has nine.
const SEQUENCE: usize = 12;
/// Digits of the channel number.
const CHANNEL: usize = 6;
/// The smallest message: both numbers and what stands between them.
pub const MIN: usize = 9 + 1 + CHANNEL;
/// The largest message.
pub const MAX: usize = 16 << 20;
/// One more than the largest channel number.
pub const MAX_CHANNELS: usize = 1_000_000;

/// What a message is filled with behind its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filling {
    /// One letter: the cheapest to make.
    Letter,
    /// Words, about as far from each other as in real text: for what is compressed.
    Words,
}

/// Fills `payload`, of at least [`MIN`] bytes, with message `sequence` of `channel`. All bytes are
/// unreserved in URLs.
pub fn write(payload: &mut [u8], channel: u32, sequence: u64, filling: Filling) {
    debug_assert!(payload.len() >= MIN);
    let width = sequence_digits(payload.len());
    let (head, padding) = payload.split_at_mut(width + 1 + CHANNEL);
    digits(&mut head[..width], sequence);
    head[width] = b'-';
    digits(&mut head[width + 1..], channel.into());
    if let Some((dash, padding)) = padding.split_first_mut() {
        *dash = b'-';
        match filling {
            Filling::Letter => padding.fill(letter(channel, sequence)),
            Filling::Words => words(padding, channel, sequence),
        }
    }
}

/// The sequence number of a whole and unchanged message of `channel` and `size`.
pub fn read(payload: &[u8], channel: u32, size: usize, filling: Filling) -> Option<u64> {
    if payload.len() != size {
        return None;
    }
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    let sequence = number(payload.get(..sequence_digits(size))?)?;
    let mut expected = vec![0; size];
    write(&mut expected, channel, sequence, filling);
    (payload == expected).then_some(sequence)
}

fn sequence_digits(size: usize) -> usize {
    (size.saturating_sub(1 + CHANNEL)).min(SEQUENCE)
}

fn letter(channel: u32, sequence: u64) -> u8 {
    b'a' + ((sequence + u64::from(channel)) % 26) as u8
}

/// Words and numbers in an order that no other message has.
fn words(mut out: &mut [u8], channel: u32, sequence: u64) {
    const WORDS: [&str; 32] = [
        "user", "name", "price", "amount", "true", "false", "created", "updated", "order", "item",
        "status", "open", "closed", "pending", "channel", "message", "hello", "world", "from",
        "with", "the", "and", "that", "this", "have", "not", "cloud", "blue", "id", "time",
        "value", "null",
    ];
    let mut state = sequence << 20 | u64::from(channel) | 1 << 63;
    while !out.is_empty() {
        // Knuth's multiplier; the upper bits are the good ones.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number;
        let word = match state >> 60 {
            0..4 => {
                number = format!("{}.", (state >> 40) % 10_000);
                &number
            }
            _ => WORDS[(state >> 50) as usize % WORDS.len()],
        };
        let piece = word.bytes().chain(*b"-");
        let count = out.len().min(word.len() + 1);
        out.iter_mut().zip(piece).for_each(|(byte, with)| *byte = with);
        out = &mut out[count..];
    }
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
        for filling in [Filling::Letter, Filling::Words] {
            for size in [MIN, MIN + 1, 19, 20, 128] {
                let mut payload = vec![0; size];
                write(&mut payload, 42, 1_234_567, filling);
                let head = "000001234567-000042";
                assert!(payload.starts_with(&head.as_bytes()[19 - size.min(19)..]));
                assert!(payload.iter().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(b)));
                assert_eq!(read(&payload, 42, size, filling), Some(1_234_567));
                assert_eq!(read(&payload, 43, size, filling), None, "another channel's message");
                assert_eq!(read(&payload[1..], 42, size, filling), None, "another size");
            }
        }
    }

    #[test]
    fn any_changed_byte_is_seen() {
        let mut payload = vec![0; 64];
        write(&mut payload, 7, 99, Filling::Letter);
        for at in 0..payload.len() {
            let mut changed = payload.clone();
            changed[at] ^= 1;
            assert_ne!(read(&changed, 7, 64, Filling::Letter), Some(99), "byte {at}");
        }
    }
}
