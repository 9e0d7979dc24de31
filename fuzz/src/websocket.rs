//! WebSocket frames in both directions, and their compression.

use std::io::{self, Read, Write};

use flate2::{Decompress, FlushDecompress, Status};
use qyun::client::fuzzing::filtered;
use qyun::wire::MessageKind;
use qyun::wire::close;
use qyun::wire::websocket::{
    Decoder, Deflater, Event, Fault, Inflater, Limits, Message, accept_deflate, close_frame,
    deflated_frame, frame_end, frame_payload, is_deflate_answer, pong_frame,
};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use crate::cuts::{Cuts, steered};

/// An event that outlives the input.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Message(MessageKind, Vec<u8>),
    Deflated(MessageKind, Vec<u8>),
    TooLarge(MessageKind, Vec<u8>, usize),
    Ping(Vec<u8>),
    Pong,
    Close(u16, String),
}

impl From<Event<'_>> for Heard {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message(kind, data) => Self::Message(kind, data.into()),
            Event::Deflated(kind, data) => Self::Deflated(kind, data.into()),
            Event::TooLarge(kind, data, size) => Self::TooLarge(kind, data.into(), size),
            Event::Ping(data) => Self::Ping(data.into()),
            Event::Pong => Self::Pong,
            Event::Close(code, reason) => Self::Close(code, reason.into()),
        }
    }
}

/// What a decoder makes of these pieces, up to a Close; a fault, or whether nothing is half read.
fn heard(pieces: &[&[u8]], limits: Limits) -> (Vec<Heard>, Result<bool, Fault>) {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            // A connection that is between messages needs no decoder.
            if decoder.is_idle() {
                decoder = Decoder::default();
            }
            match decoder.next(&mut rest, limits) {
                Ok(Some(event)) => events.push(Heard::from(event)),
                Ok(None) => break,
                Err(fault) => return (events, Err(fault)),
            }
            if matches!(events.last(), Some(Heard::Close(..))) {
                return (events, Ok(true));
            }
        }
        assert!(rest.is_empty(), "bytes are left over");
    }
    let idle = decoder.is_idle();
    (events, Ok(idle))
}

fn limits(steer: u8) -> Limits {
    let max = [0, 1, 125, 300, 4096, 70_000][usize::from(steer & 7) % 6];
    let (skip, head) = match steer & 0x20 {
        0 => (0, 0),
        _ => (max * 4, max.min(16)),
    };
    let max_fragments = if steer & 0x80 == 0 { u32::MAX } else { 3 };
    Limits { max, keep: steer & 8 == 0, skip, head, max_fragments, deflate: steer & 16 != 0 }
}

/// The same however it is cut, and within the limits.
pub fn decoder(input: &[u8]) {
    let Some((cuts, input)) = steered(input) else { return };
    let Some((steer, input)) = steered(input) else { return };
    let limits = limits(steer);
    let whole = heard(&[input], limits);
    let pieces = heard(&Cuts::new(cuts).pieces(input), limits);
    assert_eq!(whole.0, pieces.0);
    assert_eq!(whole.1, pieces.1);
    for event in &whole.0 {
        match event {
            Heard::Message(kind, data) => {
                assert!(data.len() <= limits.max && (limits.keep || data.is_empty()));
                assert!(*kind == MessageKind::Binary || std::str::from_utf8(data).is_ok());
            }
            Heard::Deflated(_, data) => {
                assert!(limits.deflate && data.len() <= limits.max + limits.max / 8 + 64);
            }
            Heard::TooLarge(_, head, size) => {
                assert!(
                    head.len() <= kept_head(limits) && limits.max < *size && *size <= limits.skip
                );
            }
            Heard::Ping(data) => {
                assert!(data.len() <= 125);
                assert_eq!(frame_payload(&pong_frame(data)), data);
            }
            Heard::Pong => {}
            Heard::Close(code, reason) => {
                assert!(*code == close::NO_STATUS || close::may_be_sent(*code));
                assert!(reason.len() <= close::MAX_REASON);
            }
        }
    }
    if let Err(fault) = whole.1 {
        assert!(matches!(fault.code, 1002 | 1007 | 1009), "{fault:?}");
    }
}

/// A socket that has these pieces to read, and takes whatever is written.
struct Peer<'a>(Vec<&'a [u8]>);

impl Read for Peer<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.0.last_mut() else { return Err(io::ErrorKind::WouldBlock.into()) };
        let (now, rest) = piece.split_at(piece.len().min(buf.len()));
        buf[..now.len()].copy_from_slice(now);
        *piece = rest;
        if rest.is_empty() {
            self.0.pop();
        }
        Ok(now.len())
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of it as a server: the events, and the code that it would close with.
fn theirs(pieces: &[&[u8]], max: usize) -> (Vec<Heard>, Option<u16>) {
    use tungstenite::Message::{Binary, Close, Frame, Ping, Pong, Text};
    let config = WebSocketConfig::default()
        .max_message_size(Some(max))
        .max_frame_size(Some(max))
        .accept_unmasked_frames(false);
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let pieces = pieces.iter().rev().filter(|piece| !piece.is_empty());
    let mut peer = Peer(pieces.copied().collect());
    let mut events = Vec::new();
    loop {
        match context.read(&mut peer) {
            Ok(Text(text)) => {
                events.push(Heard::Message(MessageKind::Text, text.as_bytes().into()));
            }
            Ok(Binary(data)) => events.push(Heard::Message(MessageKind::Binary, data.to_vec())),
            Ok(Ping(data)) => events.push(Heard::Ping(data.to_vec())),
            Ok(Pong(_)) => events.push(Heard::Pong),
            Ok(Close(None)) => {
                events.push(Heard::Close(close::NO_STATUS, String::new()));
                return (events, None);
            }
            Ok(Close(Some(frame))) => {
                events.push(Heard::Close(frame.code.into(), frame.reason.to_string()));
                return (events, None);
            }
            Ok(Frame(frame)) => panic!("{frame:?}"),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (events, None);
            }
            Err(tungstenite::Error::Capacity(_)) => return (events, Some(close::TOO_BIG)),
            Err(tungstenite::Error::Utf8(_)) => return (events, Some(close::INVALID_DATA)),
            Err(tungstenite::Error::Protocol(_)) => return (events, Some(close::PROTOCOL_ERROR)),
            Err(error) => panic!("{error}"),
        }
    }
}

/// The same messages, controls and verdict as tungstenite's, on the same bytes.
pub fn tungstenite(input: &[u8]) {
    let Some((cuts, input)) = steered(input) else { return };
    let max = 4096;
    let (mut ours, verdict) = heard(&Cuts::new(cuts).pieces(input), Limits::keep(max));
    let (mut theirs, fault) = theirs(&[input], max);
    match (&verdict, theirs.last()) {
        // A close code that must not be sent is a Close to them, answered with 1002.
        (Err(Fault { code: 1002, reason: "close code out of range" }), Some(Heard::Close(..))) => {
            theirs.pop();
            assert_eq!(ours, theirs);
            return;
        }
        // Codes that were registered after RFC 6455 are one to them.
        (Ok(true), Some(Heard::Close(1002, _)))
            if matches!(ours.last(), Some(Heard::Close(1012..=1014 | 3000.., _))) =>
        {
            ours.pop();
            theirs.pop();
            assert_eq!(ours, theirs);
            return;
        }
        _ => {}
    }
    let ahead = ours.len().min(theirs.len());
    assert_eq!(ours[..ahead], theirs[..ahead]);
    match (verdict, fault) {
        (Ok(_), None) => assert_eq!(ours, theirs),
        // A length that is not in its shortest form, against RFC 6455 section 5.2, passes there; in a
        // control frame that is one over 125 by its first byte.
        (
            Err(Fault {
                reason: "length is not in its shortest form" | "control frame over 125 bytes",
                ..
            }),
            _,
        ) => {}
        // Ours is found at the byte that shows it, theirs when the frame is there.
        (Err(Fault { code, .. }), None) => {
            assert!(matches!(code, 1002 | 1007 | 1009));
            assert_eq!(ours, theirs);
        }
        // Of two faults in one frame each finds another first: a text that is too large and broken.
        (Err(Fault { code, .. }), Some(their)) => {
            assert_eq!(ours, theirs);
            assert!(code == their || ranks(code) && ranks(their), "{code} {their}");
        }
        (Ok(_), Some(their)) => panic!("they refuse with {their} what gives {ours:?} here"),
    }
}

/// Whether it is a fault that another one in the same frame may come before.
fn ranks(code: u16) -> bool {
    matches!(code, close::PROTOCOL_ERROR | close::INVALID_DATA | close::TOO_BIG)
}

/// What the server sends is what a client reads; walking through frames stays within them.
pub fn frames(input: &[u8]) {
    let Some((steer, input)) = steered(input) else { return };
    let at = usize::from(steer);
    let end = frame_end(input, at);
    assert!(end <= input.len());
    let _ = frame_payload(input);

    let kind = match std::str::from_utf8(input) {
        Ok(text) if steer & 1 == 0 => {
            let frame = close_frame(1000 + u16::from(steer), text);
            match frame_payload(&frame) {
                [] => assert_eq!(steer, 5),
                [_, _, reason @ ..] => {
                    assert!(reason.len() <= close::MAX_REASON);
                    assert!(text.starts_with(std::str::from_utf8(reason).unwrap()));
                    assert!(reason.len() + 3 >= text.len().min(close::MAX_REASON));
                }
                other => panic!("{other:?}"),
            }
            MessageKind::Text
        }
        _ => MessageKind::Binary,
    };
    let message = Message::new(kind, input);
    assert_eq!(message.payload(), input);
    assert_eq!(frame_payload(message.frame()), input);
    let mut parts = Vec::new();
    let (first, second) = input.split_at(input.len().min(at));
    Message::append(&mut parts, kind, &[first, second]);
    assert_eq!(&parts[..], &message.frame()[..]);
    let size = message.frame().len();
    let twice = [&parts[..], &parts[..]].concat();
    let middle = frame_end(&twice, 1 + at % size);
    assert_eq!(middle, size);
    assert_eq!(frame_end(&twice, size + 1), 2 * size);

    if let Some(deflated) = deflated_frame(&mut Deflater::default(), message.frame()) {
        assert!(deflated.len() < message.frame().len());
        assert_eq!(deflated[0] & 0x70, 0x40);
        let limits = Limits { deflate: true, ..Limits::keep(input.len()) };
        let mut inflater = Inflater::default();
        let event = inflater.inflate(kind, frame_payload(&deflated), limits).unwrap();
        assert_eq!(event, Event::Message(kind, input));
    }
}

/// What is decompressed is what flate2 makes of it, cut at the limits.
pub fn deflate(input: &[u8]) {
    let Some((steer, input)) = steered(input) else { return };
    let limits = limits(steer);
    let kind = match steer & 0x40 {
        0 => MessageKind::Text,
        _ => MessageKind::Binary,
    };
    let mut inflater = Inflater::default();
    // What came before leaves nothing behind.
    let _ = inflater.inflate(MessageKind::Binary, &input[..input.len() / 2], limits);
    let ours = inflater.inflate(kind, input, limits).map(Heard::from);
    let longest = limits.max.max(limits.skip);
    match (ours, inflated(input, longest)) {
        (Ok(Heard::Message(_, data)), Ok(theirs)) => {
            assert!(theirs.len() <= limits.max);
            assert_eq!(data, if limits.keep { &theirs[..] } else { &[] });
            assert!(kind == MessageKind::Binary || std::str::from_utf8(&theirs).is_ok());
        }
        (Ok(Heard::TooLarge(_, head, size)), Ok(theirs)) => {
            assert_eq!(size, theirs.len());
            assert!(size > limits.max && head == theirs[..kept_head(limits).min(size)]);
        }
        (Err(Fault { code: 1009, .. }), Ok(theirs)) => assert!(theirs.len() > longest),
        (Err(Fault { code: 1007, .. }), Ok(theirs)) => {
            // What is broken may be found before what is too large.
            let broken = kind == MessageKind::Text && std::str::from_utf8(&theirs).is_err();
            assert!(broken || theirs.len() > longest);
        }
        (Err(Fault { code: 1007 | 1009, .. }), Err(())) => {}
        other => panic!("{other:?}"),
    }
}

fn kept_head(limits: Limits) -> usize {
    if limits.keep { limits.head } else { 0 }
}

/// The plain way: a stream of blocks, in which a final one begins another; as soon as there is more
/// than `longest`, what there is.
fn inflated(input: &[u8], longest: usize) -> Result<Vec<u8>, ()> {
    let input = [input, &[0, 0, 0xff, 0xff]].concat();
    let mut state = Decompress::new(false);
    let (mut out, mut at) = (Vec::new(), 0);
    loop {
        let mut some = [0; 997];
        let (read, written) = (state.total_in(), state.total_out());
        let status = state.decompress(&input[at..], &mut some, FlushDecompress::None);
        let status = status.map_err(drop)?;
        at += (state.total_in() - read) as usize;
        let made = (state.total_out() - written) as usize;
        out.extend_from_slice(&some[..made]);
        if out.len() > longest {
            return Ok(out);
        }
        match status {
            Status::StreamEnd if at == input.len() => return Ok(out),
            Status::StreamEnd => state.reset(false),
            _ if made < some.len() && at == input.len() => return Ok(out),
            _ => {}
        }
    }
}

/// What is agreed on is what was offered.
pub fn extensions(input: &[u8]) {
    if let Ok(Some(agreement)) = accept_deflate(input) {
        let text = String::from_utf8_lossy(input).to_ascii_lowercase();
        assert!(text.contains("permessage-deflate"));
        let told = agreement.answer().contains("server_max_window_bits");
        assert!(!told || text.contains("server_max_window_bits"));
        assert!(is_deflate_answer(agreement.answer().as_bytes()));
    }
    if is_deflate_answer(input) {
        assert!(input.is_ascii());
        let text = String::from_utf8_lossy(input);
        assert!(text.contains("server_no_context_takeover"));
        assert!(!text.contains("client_max_window_bits"));
    }
}

/// The filter below tungstenite clears bits and nothing else, however it is cut.
pub fn client_filter(input: &[u8]) {
    let Some((cuts, input)) = steered(input) else { return };
    let answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    let input = [answer, input].concat();
    let messages = input.len();
    let (bytes, kinds) = filtered(&[&input], messages);
    assert_eq!(filtered(&Cuts::new(cuts).pieces(&input), messages), (bytes.clone(), kinds.clone()));
    assert!(bytes.len() == input.len() && bytes.starts_with(answer));
    let changed: Vec<_> = bytes.iter().zip(&input).filter(|(a, b)| a != b).collect();
    assert!(changed.iter().all(|(now, before)| **before & 0x40 != 0 && **now & 0x4f == 2));
    assert_eq!(changed.len(), kinds.iter().flatten().count());
}
