//! Reading what a client sends (RFC 6455 sections 5 and 7.4), in whatever pieces it arrives.
//!
//! A frame that lies whole in the input is unmasked in place and lent to the caller: no copy, no
//! allocation. What is cut by the input's end is gathered in a buffer that grows with the bytes
//! that really arrived, never with what a header claims.

mod handover;

use super::utf8::Utf8Stream;
use crate::wire::{MessageKind, close};

/// Something a client said.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message, unmasked, text checked. Empty when the decoder discards messages.
    Message(MessageKind, &'a [u8]),
    /// A whole message that came compressed: its compressed payload, for
    /// [`Inflater::inflate`](super::Inflater::inflate). Only where [`Limits::deflate`] is set.
    Deflated(MessageKind, &'a [u8]),
    /// A message over [`Limits::max`]: its first [`Limits::head`] bytes, and its whole size. What
    /// it says is not checked as text.
    TooLarge(MessageKind, &'a [u8], usize),
    /// A ping; its payload belongs into a pong.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// The closing handshake: code and reason; 1005 stands for a Close without a code.
    Close(u16, &'a str),
}

/// Why a connection must be closed: the code to close it with, and the reason in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The close code.
    pub code: u16,
    /// What the client did.
    pub reason: &'static str,
}

impl Fault {
    /// A message came in more frames than [`Limits::max_fragments`].
    pub const TOO_MANY_FRAGMENTS: Self =
        Self { code: close::TOO_BIG, reason: "message in more fragments than the limit" };
}

const fn protocol(reason: &'static str) -> Fault {
    Fault { code: close::PROTOCOL_ERROR, reason }
}

/// How long a message may be, and what is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest message that is taken, in bytes.
    pub max: usize,
    /// Whether its content is kept, and lent with the event.
    pub keep: bool,
    /// The longest message that is skipped, and reported, instead of being a fault.
    pub skip: usize,
    /// How much of the front of a skipped message is kept, where content is.
    pub head: usize,
    /// Whether messages may come compressed (RFC 7692): the connection has agreed on it.
    pub deflate: bool,
    /// The most frames that a message may come in.
    pub max_fragments: u32,
}

impl Limits {
    /// Messages up to `max` bytes are kept; a longer one is a fault.
    pub const fn keep(max: usize) -> Self {
        Self { max, keep: true, skip: 0, head: 0, deflate: false, max_fragments: u32::MAX }
    }

    /// Messages up to `max` bytes are checked and reported, their content is neither kept nor
    /// lent; a longer one is a fault.
    pub const fn discard(max: usize) -> Self {
        Self { max, keep: false, skip: 0, head: 0, deflate: false, max_fragments: u32::MAX }
    }

    /// What is kept of a message that is too large.
    pub(super) fn kept_head(self) -> usize {
        if self.keep { self.head } else { 0 }
    }

    /// The longest compressed payload that can stand for an acceptable message: the compressors in
    /// use add an eighth at the very most to what they cannot compress.
    pub(super) fn longest_deflated(self) -> usize {
        self.max.saturating_add(self.max / 8 + 64)
    }
}

/// The state between two pieces of input.
#[derive(Debug, Default)]
pub struct Decoder {
    /// A frame header that is not complete yet.
    head: [u8; 14],
    head_len: u8,
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// The kind of the message that is being assembled, until its final frame.
    message: Option<MessageKind>,
    /// That message came compressed.
    deflated: bool,
    /// Payload bytes of the message so far, kept or not.
    size: usize,
    /// Its frames so far.
    fragments: u32,
    text: Utf8Stream,
    buffer: Vec<u8>,
    control: Vec<u8>,
    /// The buffer was lent with the last event and is to be cleared.
    lent: bool,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: u8,
    fin: bool,
    remaining: usize,
    mask: [u8; 4],
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The first reserved bit: the message is compressed (RFC 7692 section 6).
const RSV1: u8 = 0x40;

impl Decoder {
    /// Whether nothing is half read: the decoder may be dropped and a new one take the next byte.
    pub fn is_idle(&self) -> bool {
        self.head_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Takes bytes from the front of `input` until there is an event; `None` when all is taken.
    ///
    /// `limits` may change between messages only. Of a message that is too large no more is held
    /// than of one that is taken.
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i mut [u8],
        limits: Limits,
    ) -> Result<Option<Event<'s>>, Fault> {
        if std::mem::take(&mut self.lent) {
            self.buffer = Vec::new();
        }
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.read_header(input, limits)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let whole = frame.remaining <= input.len();
            let here = frame.remaining.min(input.len());
            let piece;
            (piece, *input) = std::mem::take(input).split_at_mut(here);
            unmask(piece, &mut frame.mask);
            frame.remaining -= piece.len();

            if frame.opcode >= CLOSE {
                if !whole {
                    self.control.extend_from_slice(piece);
                    self.frame = Some(frame);
                    return Ok(None);
                }
                if self.control.is_empty() {
                    return control_event(frame.opcode, piece).map(Some);
                }
                self.control.extend_from_slice(piece);
                return control_event(frame.opcode, &self.control).map(Some);
            }

            let Some(kind) = self.message else { return Err(protocol("unexpected continuation")) };
            let last = whole && frame.fin;
            let alone = last && self.size == piece.len();
            // Known from the header on, so before a byte of the frame is kept.
            let over = self.size > limits.max && !self.deflated;
            if !over
                && !self.deflated
                && (kind == MessageKind::Text && !self.text.push(piece)
                    || last && !self.text.is_complete())
            {
                return Err(Fault { code: close::INVALID_DATA, reason: "text is not UTF-8" });
            }
            let wanted = if over { limits.kept_head() } else { usize::MAX };
            if over && self.buffer.len() > wanted {
                self.buffer.truncate(wanted);
                self.buffer.shrink_to_fit();
            }
            if (limits.keep || self.deflated) && !alone {
                let room = piece.len().min(wanted - self.buffer.len());
                self.buffer.extend_from_slice(&piece[..room]);
            }
            if last {
                self.message = None;
                self.text = Utf8Stream::default();
                let size = std::mem::take(&mut self.size);
                if std::mem::take(&mut self.deflated) {
                    if alone {
                        return Ok(Some(Event::Deflated(kind, piece)));
                    }
                    self.lent = true;
                    return Ok(Some(Event::Deflated(kind, &self.buffer)));
                }
                if over {
                    if alone {
                        let head = &piece[..piece.len().min(wanted)];
                        return Ok(Some(Event::TooLarge(kind, head, size)));
                    }
                    self.lent = true;
                    return Ok(Some(Event::TooLarge(kind, &self.buffer, size)));
                }
                if !limits.keep {
                    return Ok(Some(Event::Message(kind, &[])));
                }
                if alone {
                    return Ok(Some(Event::Message(kind, piece)));
                }
                self.lent = true;
                return Ok(Some(Event::Message(kind, &self.buffer)));
            }
            if !whole {
                self.frame = Some(frame);
                return Ok(None);
            }
        }
    }

    fn read_header(
        &mut self,
        input: &mut &mut [u8],
        limits: Limits,
    ) -> Result<Option<Frame>, Fault> {
        self.control.clear();
        let have = usize::from(self.head_len);
        let mut bytes = self.head;
        let fresh = input.len().min(bytes.len() - have);
        bytes[have..have + fresh].copy_from_slice(&input[..fresh]);
        let got = &bytes[..have + fresh];

        let Some((size, len)) = header_size(got, limits.deflate)? else {
            self.head = bytes;
            self.head_len = got.len() as u8;
            *input = &mut [];
            return Ok(None);
        };
        // The header that was incomplete before needs at least one byte of this input.
        *input = &mut std::mem::take(input)[size - have..];
        self.head_len = 0;
        let mask = [bytes[size - 4], bytes[size - 3], bytes[size - 2], bytes[size - 1]];
        let (opcode, fin) = (bytes[0] & 0x0f, bytes[0] & 0x80 != 0);
        if opcode >= CLOSE {
            let remaining = usize::try_from(len).unwrap_or(usize::MAX);
            return Ok(Some(Frame { opcode, fin, remaining, mask }));
        }
        match (opcode, self.message) {
            (0, None) => return Err(protocol("continuation of nothing")),
            (TEXT | BINARY, Some(_)) => return Err(protocol("new message inside another")),
            (TEXT, None) => self.message = Some(MessageKind::Text),
            (BINARY, None) => self.message = Some(MessageKind::Binary),
            _ => {}
        }
        self.fragments = if opcode == 0 { self.fragments.saturating_add(1) } else { 1 };
        if self.fragments > limits.max_fragments {
            return Err(Fault::TOO_MANY_FRAGMENTS);
        }
        self.deflated |= bytes[0] & RSV1 != 0;
        let longest = match self.deflated {
            true => limits.longest_deflated(),
            false => limits.max.max(limits.skip),
        };
        match usize::try_from(len).ok().and_then(|len| Some((len, self.size.checked_add(len)?))) {
            Some((remaining, size)) if size <= longest => {
                self.size = size;
                Ok(Some(Frame { opcode, fin, remaining, mask }))
            }
            _ => Err(Fault { code: close::TOO_BIG, reason: "message over the limit" }),
        }
    }
}

/// The size of the header that `bytes` begin with, and the payload length that it tells. What is
/// wrong in it is found at the first byte that shows it.
fn header_size(bytes: &[u8], deflate: bool) -> Result<Option<(usize, u64)>, Fault> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let opcode = first & 0x0f;
    let allowed = if deflate && matches!(opcode, TEXT | BINARY) { RSV1 } else { 0 };
    if first & 0x70 & !allowed != 0 {
        return Err(protocol("reserved bit set"));
    }
    if !matches!(opcode, 0..=BINARY | CLOSE..=PONG) {
        return Err(protocol("reserved opcode"));
    }
    let control = opcode >= CLOSE;
    if control && first & 0x80 == 0 {
        return Err(protocol("fragmented control frame"));
    }
    let Some(&second) = bytes.get(1) else { return Ok(None) };
    if second & 0x80 == 0 {
        return Err(protocol("frame is not masked"));
    }
    let short = second & 0x7f;
    if control && short > 125 {
        return Err(protocol("control frame over 125 bytes"));
    }
    let (len, extra) = match short {
        126 => match bytes.get(2..4).and_then(|b| b.try_into().ok()) {
            Some(b) => (u64::from(u16::from_be_bytes(b)), 2),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|b| b.try_into().ok()) {
            Some(b) => (u64::from_be_bytes(b), 8),
            None => return Ok(None),
        },
        short => (u64::from(short), 0),
    };
    if extra == 2 && len < 126 || extra == 8 && (len <= 0xffff || len >> 63 != 0) {
        return Err(protocol("length is not in its shortest form"));
    }
    let size = 2 + extra + 4;
    Ok((bytes.len() >= size).then_some((size, len)))
}

fn control_event(opcode: u8, payload: &[u8]) -> Result<Event<'_>, Fault> {
    match opcode {
        PING => Ok(Event::Ping(payload)),
        PONG => Ok(Event::Pong),
        _ => match payload {
            [] => Ok(Event::Close(1005, "")),
            [a, b, reason @ ..] => {
                let code = u16::from_be_bytes([*a, *b]);
                if !close::may_be_sent(code) {
                    return Err(protocol("close code out of range"));
                }
                match std::str::from_utf8(reason) {
                    Ok(reason) => Ok(Event::Close(code, reason)),
                    Err(_) => Err(Fault {
                        code: close::INVALID_DATA,
                        reason: "close reason is not UTF-8",
                    }),
                }
            }
            [_] => Err(protocol("close payload of one byte")),
        },
    }
}

/// Removes the mask from `bytes` and turns `mask` so that it fits the byte after them.
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let wide = u64::from(u32::from_ne_bytes(*mask));
    let wide = wide | wide << 32;
    let len = bytes.len();
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    mask.rotate_left(len % 4);
}

#[cfg(test)]
mod tests;
