//! Compressing and decompressing the messages of connections that agreed on `permessage-deflate`
//! (RFC 7692 section 7.2).
//!
//! Nothing is carried from one message to the next, so one [`Deflater`] and one [`Inflater`] serve
//! all connections of a thread. Their state is made when it is first used, and is then some 260 KiB
//! for compressing and 50 KiB for decompressing.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::decoder::{Event, Fault, Limits};
use crate::wire::{MessageKind, close};

/// The window that is compressed with, in bits. 4 KiB hold most messages whole, for which a larger
/// window saves nothing; and they are what clients that limit the server's window mostly leave it.
pub(super) const WINDOW_BITS: u8 = 12;

/// Fast, and unlike level 1 with Huffman codes of the message's own: for twice the time, which is
/// spent once for all subscribers, JSON takes a third less bytes on every one of their connections.
const LEVEL: u32 = 2;

/// What ends every compressed message, and is not sent (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// A buffer larger than this is not kept for the next message.
const KEEP_BYTES: usize = 256 << 10;

/// Compresses messages.
#[derive(Debug, Default)]
pub struct Deflater {
    state: Option<Compress>,
    out: Vec<u8>,
}

impl Deflater {
    /// The compressed payload of the message that `parts` make together; `None` when it would not
    /// be smaller than the message.
    pub fn deflate(&mut self, parts: &[&[u8]]) -> Option<&[u8]> {
        let state = match &mut self.state {
            Some(state) => {
                state.reset();
                state
            }
            none => none.insert(Compress::new_with_window_bits(
                Compression::new(LEVEL),
                false,
                WINDOW_BITS,
            )),
        };
        if self.out.capacity() > KEEP_BYTES {
            self.out = Vec::new();
        }
        self.out.clear();
        // With the tail, a message that saves nothing fills the buffer to its end.
        let room = parts.iter().map(|part| part.len()).sum::<usize>() + TAIL.len();
        self.out.reserve(room);
        for (nth, part) in parts.iter().enumerate() {
            let flush = match nth + 1 == parts.len() {
                true => FlushCompress::Sync,
                false => FlushCompress::None,
            };
            let before = state.total_in();
            state.compress_vec(part, &mut self.out, flush).ok()?;
            if state.total_in() - before < part.len() as u64 {
                return None;
            }
        }
        if self.out.len() >= room {
            return None;
        }
        self.out.strip_suffix(&TAIL)
    }
}

/// Decompresses messages.
#[derive(Debug, Default)]
pub struct Inflater {
    state: Option<Decompress>,
    out: Vec<u8>,
}

impl Inflater {
    /// The message whose compressed payload is `data`, as the decoder would give one that came
    /// plain: checked as text, and within the same limits. No more than the longest message that is
    /// kept is ever allocated. A message over the limits is a fault as soon as it exceeds them.
    pub fn inflate(
        &mut self,
        kind: MessageKind,
        data: &[u8],
        limits: Limits,
    ) -> Result<Event<'_>, Fault> {
        let size = self.run(data, limits)?;
        if size > limits.max {
            return Ok(Event::TooLarge(kind, &self.out, size));
        }
        if kind == MessageKind::Text && std::str::from_utf8(&self.out).is_err() {
            return Err(Fault { code: close::INVALID_DATA, reason: "text is not UTF-8" });
        }
        let kept: &[u8] = if limits.keep { &self.out } else { &[] };
        Ok(Event::Message(kind, kept))
    }

    /// Fills the buffer with the message, or with the head of one that is too large; gives the
    /// message's size.
    fn run(&mut self, data: &[u8], limits: Limits) -> Result<usize, Fault> {
        let Self { state, out } = self;
        let state = match state {
            Some(state) => {
                state.reset(false);
                state
            }
            none => none.insert(Decompress::new(false)),
        };
        if out.capacity() > KEEP_BYTES {
            *out = Vec::new();
        }
        out.clear();
        // One byte more than is kept shows that there is more.
        let most = limits.max.max(limits.kept_head()).saturating_add(1);
        let longest = limits.max.max(limits.skip);
        let mut size = 0;
        for mut input in [data, &TAIL] {
            loop {
                if out.len() == out.capacity() {
                    let more = out.len().max(4 * input.len()).max(1024);
                    out.reserve_exact(more.min(most - out.len()));
                }
                let (read, written) = (state.total_in(), out.len());
                let status = state.decompress_vec(input, out, FlushDecompress::None);
                let status = status.map_err(|_| MALFORMED)?;
                input = input.get((state.total_in() - read) as usize..).unwrap_or_default();
                size += out.len() - written;
                if size > longest {
                    return Err(Fault { code: close::TOO_BIG, reason: "message over the limit" });
                }
                let filled = out.len() == out.capacity();
                if size > limits.max {
                    out.truncate(limits.kept_head());
                }
                if status == Status::StreamEnd {
                    // A final block in the middle: what follows begins anew.
                    state.reset(false);
                }
                if input.is_empty() && (!filled || status == Status::StreamEnd) {
                    break;
                }
            }
        }
        Ok(size)
    }
}

const MALFORMED: Fault =
    Fault { code: close::INVALID_DATA, reason: "message is not deflated as agreed" };

#[cfg(test)]
mod tests;
