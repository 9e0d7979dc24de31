//! The frames that a server sends (RFC 6455 section 5.2): never masked, never fragmented.

use bytes::Bytes;

use crate::wire::MessageKind;

/// A message and its WebSocket frame in one buffer: encoded once, written to every subscriber.
#[derive(Debug, Clone)]
pub struct Message {
    frame: Bytes,
    header: u8,
    kind: MessageKind,
}

impl Message {
    /// Copies `payload` behind a frame header: one allocation, one copy.
    pub fn new(kind: MessageKind, payload: &[u8]) -> Self {
        Self::from_parts(kind, &[payload])
    }

    /// The message that these pieces make together.
    pub fn from_parts(kind: MessageKind, parts: &[&[u8]]) -> Self {
        let len = parts.iter().map(|part| part.len()).sum();
        let mut frame = Vec::with_capacity(MAX_HEADER + len);
        write_header(&mut frame, opcode(kind), len);
        let header = frame.len() as u8;
        for part in parts {
            frame.extend_from_slice(part);
        }
        Self { frame: frame.into(), header, kind }
    }

    /// The whole frame, ready for a socket.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The payload alone.
    pub fn payload(&self) -> &[u8] {
        &self.frame[usize::from(self.header)..]
    }

    /// Text or binary.
    pub fn kind(&self) -> MessageKind {
        self.kind
    }
}

const MAX_HEADER: usize = 10;

fn opcode(kind: MessageKind) -> u8 {
    match kind {
        MessageKind::Text => 1,
        MessageKind::Binary => 2,
    }
}

/// Appends the header of a final frame. The length takes the shortest of its three forms.
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
    let mut end = reason.len().min(123);
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
        let Some((size, payload)) = frame_size(&frames[start..]) else { return frames.len() };
        start = start.saturating_add(size).saturating_add(payload);
    }
    start.min(frames.len())
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
