//! The frames that a server sends (RFC 6455 section 5.2): never masked, never fragmented.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::Deflater;
use crate::tally::Tally;
use crate::wire::MessageKind;

/// A message and its WebSocket frame in one buffer: encoded once, written to every subscriber.
#[derive(Debug, Clone)]
pub struct Message {
    frame: Bytes,
    header: u8,
    kind: MessageKind,
    shared: Option<Arc<Shared>>,
}

/// How many encodings of a message can be shared compressed.
pub const DEFLATED_FORMS: usize = 5;

/// The compressed frames of a message, one per encoding, each made by whoever needs it first;
/// `None` when compression saves nothing.
type Deflated = [OnceLock<Option<Bytes>>; DEFLATED_FORMS];

/// What the clones of a message have in common. Most messages have nothing of it.
#[derive(Debug, Default)]
struct Shared {
    deflated: Deflated,
    extras: Extras,
}

/// What can be hung on a message, for all who send it on.
#[derive(Debug, Default)]
pub struct Extras {
    /// Who counts the subscribers that it reaches.
    pub tally: Option<Tally>,
    /// What it is the latest value of, for channels that keep no other.
    pub conflation: Option<Arc<str>>,
}

impl From<Message> for Cow<'_, Message> {
    fn from(message: Message) -> Self {
        Self::Owned(message)
    }
}

impl<'a> From<&'a Message> for Cow<'a, Message> {
    fn from(message: &'a Message) -> Self {
        Self::Borrowed(message)
    }
}

impl Message {
    /// Copies `payload` behind a frame header: one allocation, one copy.
    pub fn new(kind: MessageKind, payload: &[u8]) -> Self {
        Self::from_parts(kind, &[payload])
    }

    /// The message that these pieces make together.
    pub fn from_parts(kind: MessageKind, parts: &[&[u8]]) -> Self {
        let len = parts.iter().map(|part| part.len()).sum();
        // Exactly what it takes: what has room to spare costs a second allocation.
        let mut frame = Vec::with_capacity(header_len(len) + len);
        write_header(&mut frame, opcode(kind), len);
        let header = frame.len() as u8;
        for part in parts {
            frame.extend_from_slice(part);
        }
        Self { frame: frame.into(), header, kind, shared: None }
    }

    /// The whole frame, ready for a socket.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The payload alone.
    pub fn payload(&self) -> &[u8] {
        &self.frame[usize::from(self.header)..]
    }

    /// What it is the latest value of, for channels that keep no other.
    pub fn conflation(&self) -> Option<&Arc<str>> {
        self.shared.as_ref()?.extras.conflation.as_ref()
    }

    /// Text or binary.
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// The same message, with `extras` and a place for its compressed frames: its clones share them,
    /// on whatever threads they are. One allocation. Not for a message that is published a second
    /// time: an encoding may tell the message's place in its channel.
    pub fn sharing(&self, extras: Extras) -> Self {
        Self { shared: Some(Arc::new(Shared { extras, ..Shared::default() })), ..self.clone() }
    }

    /// Whether it shares anything with its clones.
    pub fn shares(&self) -> bool {
        self.shared.is_some()
    }

    /// The same message, which shares nothing but its frame.
    pub fn alone(&self) -> Self {
        Self { frame: self.frame.clone(), shared: None, ..*self }
    }

    /// Who counts the subscribers that it reaches.
    pub fn tally(&self) -> Option<&Tally> {
        self.shared.as_ref()?.extras.tally.as_ref()
    }

    /// The compressed frame of encoding `form` (below [`DEFLATED_FORMS`]), which `make` makes when
    /// neither this message nor a clone that shares it has it yet. Who comes while another thread
    /// makes it waits for that thread.
    pub fn deflated(&self, form: usize, make: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
        match self.shared.as_ref().and_then(|shared| shared.deflated.get(form)) {
            Some(place) => place.get_or_init(make).clone(),
            None => make(),
        }
    }
}

/// The compressed form of a server's frame that holds one whole message; `None` when that would not
/// be smaller. One allocation, one copy of the compressed payload.
pub fn deflated_frame(deflater: &mut Deflater, frame: &[u8]) -> Option<Bytes> {
    let opcode = frame.first()? & 0x0f;
    let payload = deflater.deflate(&[frame_payload(frame)])?;
    let mut frame = Vec::with_capacity(MAX_HEADER + payload.len());
    write_frame(&mut frame, RSV1 | opcode, &[payload]);
    Some(frame.into())
}

/// The payload of a server's frame; nothing if it is none.
pub fn frame_payload(frame: &[u8]) -> &[u8] {
    frame_size(frame).and_then(|(header, _)| frame.get(header..)).unwrap_or_default()
}

const MAX_HEADER: usize = 10;
/// The message is compressed (RFC 7692 section 6).
const RSV1: u8 = 0x40;

fn opcode(kind: MessageKind) -> u8 {
    match kind {
        MessageKind::Text => 1,
        MessageKind::Binary => 2,
    }
}

/// Appends the header of a final frame. The length takes the shortest of its three forms.
/// What [`write_header`] writes, in bytes.
fn header_len(len: usize) -> usize {
    match len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

fn write_header(out: &mut Vec<u8>, opcode: u8, len: usize) {
    out.push(0x80 | opcode);
    match len {
        0..=125 => out.push(len as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Appends the frame of a message made of `parts`, for encodings that are not shared.
pub(super) fn write_frame(out: &mut Vec<u8>, opcode: u8, parts: &[&[u8]]) {
    write_header(out, opcode, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

impl Message {
    /// Appends a frame to `out` without an allocation of its own.
    pub fn append(out: &mut Vec<u8>, kind: MessageKind, parts: &[&[u8]]) {
        write_frame(out, opcode(kind), parts);
    }
}

/// A pong that carries a ping's payload back. A control frame's payload is at most 125 bytes.
pub fn pong_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(2 + payload.len());
    write_frame(&mut frame, 10, &[&payload[..payload.len().min(125)]]);
    frame
}

/// A Close with a code and a reason of at most 123 bytes; 1005 ("no status") makes an empty one.
pub fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let mut frame = Vec::with_capacity(4 + reason.len());
    if code == 1005 {
        write_frame(&mut frame, 8, &[]);
        return frame;
    }
    let mut end = reason.len().min(crate::wire::close::MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    write_frame(&mut frame, 8, &[&code.to_be_bytes(), &reason.as_bytes()[..end]]);
    frame
}

/// Where the frame that covers byte `at` of `frames` ends, `frames` being whole server frames one
/// after the other. When `at` is a frame's first byte, that is `at` itself: nothing of it was sent.
pub fn frame_end(frames: &[u8], at: usize) -> usize {
    let mut start = 0;
    while start < at {
        let Some((size, payload)) = frames.get(start..).and_then(frame_size) else {
            return frames.len();
        };
        start = start.saturating_add(size).saturating_add(payload);
    }
    start.min(frames.len())
}

/// How many of `frames`, whole server frames one after the other, end at or before byte `at`.
pub fn frames_before(frames: &[u8], at: usize) -> u32 {
    let (mut end, mut count) = (0_usize, 0);
    while let Some((size, payload)) = frames.get(end..).and_then(frame_size) {
        end = end.saturating_add(size).saturating_add(payload);
        if end > at {
            break;
        }
        count += 1;
    }
    count
}

fn frame_size(frame: &[u8]) -> Option<(usize, usize)> {
    match frame.get(1)? & 0x7f {
        126 => Some((4, usize::from(u16::from_be_bytes(frame.get(2..4)?.try_into().ok()?)))),
        127 => {
            let len = u64::from_be_bytes(frame.get(2..10)?.try_into().ok()?);
            Some((10, usize::try_from(len).ok()?))
        }
        len => Some((2, usize::from(len))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_takes_its_shortest_form() {
        for (len, header) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65535, vec![0x81, 126, 0xff, 0xff]),
            (65536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let message = Message::new(MessageKind::Text, &vec![b'x'; len]);
            assert_eq!(message.frame()[..header.len()], header);
            assert_eq!(message.payload().len(), len);
        }
    }

    #[test]
    fn frames_are_counted_when_they_are_whole() {
        let mut frames = Vec::new();
        for len in [0, 200, 70_000] {
            Message::append(&mut frames, MessageKind::Binary, &[&vec![0; len]]);
        }
        let ends = [2, 2 + 204, 2 + 204 + 70_010];
        for (at, count) in
            [(0, 0), (1, 0), (ends[0], 1), (ends[1] - 1, 1), (ends[1], 2), (ends[2], 3)]
        {
            assert_eq!(frames_before(&frames, at), count, "at {at}");
        }
        assert_eq!(frames_before(&[], 0), 0);
    }

    #[test]
    fn clones_share_what_one_of_them_compressed() {
        let mut deflater = Deflater::default();
        let text = "qyun ".repeat(100);
        let message = Message::new(MessageKind::Text, text.as_bytes()).sharing(Extras::default());
        let mut frame = |message: &Message| deflated_frame(&mut deflater, message.frame());
        let first = message.clone().deflated(1, || frame(&message)).unwrap();
        assert_eq!(first[0], 0xc1);
        assert!(first.len() < 50 && usize::from(first[1]) == first.len() - 2);
        let again = message.deflated(1, || panic!("it is there")).unwrap();
        assert_eq!(first.as_ptr(), again.as_ptr());
        // Another encoding, another message, and one that shares nothing.
        assert_eq!(message.deflated(0, || None), None);
        assert_eq!(message.deflated(0, || panic!("it is known to save nothing")), None);
        assert!(message.sharing(Extras::default()).deflated(1, || None).is_none());
        let alone = Message::new(MessageKind::Text, text.as_bytes());
        assert!(alone.deflated(1, || frame(&alone)).is_some());
        assert!(alone.deflated(1, || None).is_none());
    }

    #[test]
    fn a_close_reason_is_cut_between_characters() {
        let frame = close_frame(1000, &"青".repeat(60));
        assert_eq!(frame[..4], [0x88, 2 + 123, 0x03, 0xe8]);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
        assert_eq!(close_frame(1005, "ignored"), [0x88, 0]);
    }

    #[test]
    fn the_end_of_a_half_sent_frame_is_found() {
        let mut joined = Vec::new();
        for len in [3, 200, 70_000] {
            joined.extend_from_slice(Message::new(MessageKind::Binary, &vec![0; len]).frame());
        }
        assert_eq!(frame_end(&joined, 0), 0);
        assert_eq!(frame_end(&joined, 1), 5);
        assert_eq!(frame_end(&joined, 5), 5);
        assert_eq!(frame_end(&joined, 6), 5 + 204);
        assert_eq!(frame_end(&joined, 5 + 204 + 1), joined.len());
        assert_eq!(frame_end(&joined[..100], 50), 100);
    }
}
