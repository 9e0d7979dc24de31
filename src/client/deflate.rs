//! The client's side of `permessage-deflate` (RFC 7692).
//!
//! tungstenite takes a set reserved bit for a fault, so a [`Filter`] on the byte stream below it
//! notes and clears the bit: a compressed message arrives there as a binary one, and is what it was
//! again once [`inflate`] has decompressed it. Everything else stays tungstenite's judgement.
//! Nothing is buffered and nothing is copied on the way.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::wire::MessageKind;
use crate::wire::websocket::{
    DEFLATE_OFFER, Deflater, Event, Fault, Inflater, Limits, is_deflate_answer,
};
use crate::{Error, ErrorKind, Result};

/// The handshake's header field that offers extensions and answers the offer.
pub(super) const FIELD: &str = "sec-websocket-extensions";

/// The value of [`FIELD`] that offers compression.
pub(super) fn offer() -> HeaderValue {
    HeaderValue::from_static(DEFLATE_OFFER)
}

/// A smaller message is sent as it is.
const MIN_BYTES: usize = 256;

thread_local! {
    /// For all connections of the I/O thread; the state is made when it is first used.
    static CODEC: RefCell<(Deflater, Inflater)> = RefCell::default();
}

/// Whether the server's answer agrees on compression. An answer that was not offered, or that is
/// no answer to the offer, is a fault (RFC 6455 section 4.1).
pub(super) fn agreed(offered: bool, response: &Response) -> Result<bool> {
    let mut answers = response.headers().get_all(FIELD).iter();
    match (answers.next(), answers.next()) {
        (None, _) => Ok(false),
        (Some(answer), None) if offered && is_deflate_answer(answer.as_bytes()) => Ok(true),
        (Some(answer), _) => {
            let answer = String::from_utf8_lossy(answer.as_bytes()).into_owned();
            let text = format!(
                "no WebSocket: the server agrees on extensions that were not offered: '{answer}'"
            );
            Err(Error::new(ErrorKind::Protocol, text))
        }
    }
}

/// What was compressed by the sender, as it was before: of this kind and at most `max` bytes.
pub(super) fn inflate(
    kind: MessageKind,
    data: &[u8],
    max: usize,
) -> std::result::Result<Bytes, Fault> {
    CODEC.with_borrow_mut(|(_, inflater)| {
        match inflater.inflate(kind, data, Limits::keep(max))? {
            Event::Message(_, data) => Ok(Bytes::copy_from_slice(data)),
            _ => Ok(Bytes::new()),
        }
    })
}

/// The message as a server that agreed on compression gets it: compressed if it is large enough and
/// gets smaller by it.
pub(super) fn deflate(message: Message) -> Message {
    let (opcode, data) = match &message {
        Message::Text(text) => (Data::Text, text.as_bytes()),
        Message::Binary(data) => (Data::Binary, &data[..]),
        _ => return message,
    };
    if data.len() < MIN_BYTES {
        return message;
    }
    let deflated = CODEC
        .with_borrow_mut(|(deflater, _)| deflater.deflate(&[data]).map(Bytes::copy_from_slice));
    let Some(payload) = deflated else { return message };
    let mut frame = Frame::message(payload, OpCode::Data(opcode), true);
    frame.header_mut().rsv1 = true;
    Message::Frame(frame)
}

/// A byte stream from a server. Where compression was offered, it clears the bit that says that a
/// message is compressed, and remembers it.
#[derive(Debug)]
pub(crate) struct Filter<S> {
    inner: S,
    scan: Option<Box<Scan>>,
}

impl<S> Filter<S> {
    /// A filter on a stream that begins with the server's answer to an upgrade.
    pub(super) fn new(inner: S, offers: bool) -> Self {
        Self { inner, scan: offers.then(Box::default) }
    }

    /// The stream below.
    pub(super) fn get_ref(&self) -> &S {
        &self.inner
    }

    /// What the next message was before it was compressed; `None` if it was not. To be asked for
    /// each message, in order.
    pub(super) fn next_deflated(&mut self) -> Option<MessageKind> {
        self.scan.as_mut()?.messages.pop_front().flatten()
    }
}

/// Where in the stream it is, and which of the messages that began are compressed.
#[derive(Debug, Default)]
struct Scan {
    at: At,
    /// At most as many as begin in what tungstenite reads ahead.
    messages: VecDeque<Option<MessageKind>>,
}

#[derive(Debug)]
enum At {
    /// In the answer to the upgrade; so many bytes of its end were seen.
    Answer(usize),
    /// Before a frame.
    First,
    /// Behind a frame's first byte.
    Second,
    /// In a frame's length: bytes of it to come, its value so far, bytes of the mask behind it.
    Length(u8, u64, u8),
    /// So many bytes before the next frame.
    Payload(u64),
}

impl Default for At {
    fn default() -> Self {
        Self::Answer(0)
    }
}

const END: &[u8] = b"\r\n\r\n";
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const RSV1: u8 = 0x40;

impl Scan {
    fn pass(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while let Some(byte) = bytes.get_mut(at) {
            at += 1;
            self.at = match self.at {
                At::Answer(seen) => match END.get(seen) == Some(byte) {
                    true if seen + 1 == END.len() => At::First,
                    true => At::Answer(seen + 1),
                    false => At::Answer(usize::from(*byte == b'\r')),
                },
                At::First => {
                    self.begin(byte);
                    At::Second
                }
                At::Second => {
                    // A server must not mask; one that does is tungstenite's to judge.
                    let mask = if *byte & 0x80 == 0 { 0 } else { 4 };
                    match *byte & 0x7f {
                        126 => At::Length(2, 0, mask),
                        127 => At::Length(8, 0, mask),
                        short => skip(u64::from(short), mask),
                    }
                }
                At::Length(left, value, mask) => {
                    let value = value << 8 | u64::from(*byte);
                    match left {
                        1 => skip(value, mask),
                        left => At::Length(left - 1, value, mask),
                    }
                }
                At::Payload(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX);
                    let here = here.min(bytes.len() + 1 - at);
                    at += here - 1;
                    skip(left - here as u64, 0)
                }
            };
        }
    }

    /// Notes whether a message begins with this byte, and hides that it is compressed.
    fn begin(&mut self, first: &mut u8) {
        let kind = match *first & 0x0f {
            TEXT => MessageKind::Text,
            BINARY => MessageKind::Binary,
            _ => return,
        };
        let deflated = *first & RSV1 != 0;
        if deflated {
            *first = *first & !(RSV1 | 0x0f) | BINARY;
        }
        self.messages.push_back(deflated.then_some(kind));
    }
}

fn skip(payload: u64, mask: u8) -> At {
    match payload.saturating_add(u64::from(mask)) {
        0 => At::First,
        left => At::Payload(left),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Filter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if let Some(scan) = &mut self.scan {
            scan.pass(buf.filled_mut().get_mut(before..).unwrap_or_default());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Filter<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes out of a filter that gets `bytes` in these pieces, and what it noted.
    fn filtered(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, Vec<Option<MessageKind>>) {
        let mut bytes = bytes.to_vec();
        let mut scan = Scan::default();
        let mut rest = &mut bytes[..];
        let mut cuts = cuts.iter().copied().chain(std::iter::repeat(usize::MAX));
        while !rest.is_empty() {
            let piece;
            (piece, rest) = rest.split_at_mut(cuts.next().unwrap_or(1).clamp(1, rest.len()));
            scan.pass(piece);
        }
        (bytes, scan.messages.into())
    }

    fn frame(first: u8, len: usize) -> Vec<u8> {
        let mut out = vec![first];
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
        // Payloads full of what looks like a compressed text.
        out.resize(out.len() + len, 0xc1);
        out
    }

    const ANSWER: &[u8] = b"HTTP/1.1 101 X\r\n\r\xc1: \xc1\r\n\r\n";

    #[test]
    fn the_bit_is_cleared_on_first_frames_and_nowhere_else() {
        for (before, after, noted) in [
            (0xc1, 0x82, vec![Some(MessageKind::Text)]),
            (0x42, 0x02, vec![Some(MessageKind::Binary)]),
            (0x81, 0x81, vec![None]),
            (0x02, 0x02, vec![None]),
            // For tungstenite to refuse.
            (0xf1, 0xb2, vec![Some(MessageKind::Text)]),
            (0xc0, 0xc0, vec![]),
            (0xc9, 0xc9, vec![]),
            (0xc3, 0xc3, vec![]),
        ] {
            let (out, messages) = filtered(&[ANSWER, &frame(before, 5)].concat(), &[]);
            assert_eq!(out, [ANSWER, &frame(after, 5)].concat());
            assert_eq!(messages, noted, "{before:x}");
        }
    }

    proptest! {
        #[test]
        fn frames_are_found_however_they_are_cut(
            frames in prop::collection::vec(
                (
                    prop::sample::select(vec![(0xc1u8, 0x82u8), (0x81, 0x81), (0x80, 0x80), (0x8a, 0x8a), (0x42, 0x02)]),
                    prop_oneof![0usize..130, Just(0xffff), Just(0x10000)],
                ),
                0..6,
            ),
            cuts in prop::collection::vec(1usize..40, 0..60),
        ) {
            let mut before = ANSWER.to_vec();
            let mut after = ANSWER.to_vec();
            let mut noted = Vec::new();
            for ((first, then), len) in frames {
                before.extend(frame(first, len));
                after.extend(frame(then, len));
                match first {
                    0xc1 => noted.push(Some(MessageKind::Text)),
                    0x42 => noted.push(Some(MessageKind::Binary)),
                    0x81 => noted.push(None),
                    _ => {}
                }
            }
            let (out, messages) = filtered(&before, &cuts);
            prop_assert!(out == after);
            prop_assert_eq!(messages, noted);
        }

        #[test]
        fn no_input_breaks_it(bytes: Vec<u8>, cuts in prop::collection::vec(1usize..9, 0..40)) {
            filtered(&[ANSWER, &bytes].concat(), &cuts);
            filtered(&bytes, &cuts);
        }
    }

    #[test]
    fn a_message_survives_both_ways() {
        let text = "青云 ".repeat(200);
        let Message::Frame(frame) = deflate(Message::text(text.clone())) else { panic!() };
        assert!(frame.header().rsv1 && frame.len() < 100);
        let back = inflate(MessageKind::Text, frame.payload(), text.len());
        assert_eq!(back.unwrap(), text.as_bytes());
        assert_eq!(
            inflate(MessageKind::Text, frame.payload(), text.len() - 1).unwrap_err().code,
            1009
        );
        let small = Message::binary(vec![0; MIN_BYTES - 1]);
        assert_eq!(deflate(small.clone()), small);
    }

    #[test]
    fn only_an_answer_to_the_offer_is_an_agreement() {
        let response = |fields: &[&str]| {
            let mut response = Response::new(None);
            for field in fields {
                response.headers_mut().append(FIELD, field.parse().unwrap());
            }
            response
        };
        let answer = "permessage-deflate; server_no_context_takeover";
        assert!(agreed(true, &response(&[answer])).unwrap());
        assert!(!agreed(true, &response(&[])).unwrap());
        assert!(!agreed(false, &response(&[])).unwrap());
        for (offered, fields) in
            [(false, &[answer][..]), (true, &["permessage-deflate"]), (true, &[answer, answer])]
        {
            let error = agreed(offered, &response(fields)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol);
        }
    }
}
