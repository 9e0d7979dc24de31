//! The checker against bytes that a server might send, cut in every way.

use super::*;
use crate::bench::frame::{CLOSE, PING, append_masked, header_len, write_header};
use crate::bench::payload::Filling;
use crate::bench::wire::{Framing, Wire};

const SIZE: usize = 40;

/// A channel with five messages sent, one subscriber, and what it was found to receive.
struct Bed {
    stream: Stream,
    checker: Checker,
    tally: Tally,
    replies: Vec<u8>,
    verdict: Verdict,
}

impl Bed {
    fn new() -> Self {
        let framing = Framing::new(Wire::WebSocket, "", SIZE);
        let mut stream = Stream::new(9, &framing, SIZE, Filling::Letter, 8);
        let checker = Checker::new(&mut stream);
        for now in 0..5 {
            stream.push(now);
        }
        let (tally, replies, verdict) = (Tally::default(), Vec::new(), Verdict::Open);
        Self { stream, checker, tally, replies, verdict }
    }

    fn feed(&mut self, data: &[u8]) {
        let (checker, stream) = (&mut self.checker, &mut self.stream);
        let mut settles = false;
        self.verdict = checker.feed(stream, data, &mut self.tally, &mut self.replies, &mut settles);
    }
}

fn message(channel: u32, sequence: u64) -> Vec<u8> {
    let mut body = [0; SIZE];
    payload::write(&mut body, channel, sequence, Filling::Letter);
    frame(frame::TEXT, &body)
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; header_len(payload.len())];
    write_header(&mut frame, first, payload.len());
    frame.extend_from_slice(payload);
    frame
}

fn messages(sequences: &[u64]) -> Vec<u8> {
    sequences.iter().flat_map(|&sequence| message(9, sequence)).collect()
}

/// Feeds `bytes` whole, cut in two at every place, and byte by byte: all must find the same.
fn found(bytes: &[u8]) -> Tally {
    let mut whole = Bed::new();
    whole.feed(bytes);
    let expected = whole.tally;
    for cut in 0..=bytes.len() {
        let mut bed = Bed::new();
        bed.feed(&bytes[..cut]);
        if bed.verdict == Verdict::Open {
            bed.feed(&bytes[cut..]);
        }
        assert_eq!(bed.tally, expected, "cut at {cut}");
        assert_eq!(bed.replies.len(), whole.replies.len(), "cut at {cut}");
    }
    let mut bed = Bed::new();
    for byte in bytes {
        bed.feed(std::slice::from_ref(byte));
    }
    assert_eq!(bed.tally, expected, "byte by byte");
    Tally { bytes: 0, ..expected }
}

#[test]
fn messages_in_order_are_clean() {
    let tally = found(&messages(&[0, 1, 2, 3, 4]));
    assert_eq!(tally, Tally { delivered: 5, ..Tally::default() });
    assert!(tally.is_clean());
}

#[test]
fn a_missing_message_is_lost() {
    let tally = found(&messages(&[0, 1, 3, 4]));
    assert_eq!(tally, Tally { delivered: 4, lost: 1, ..Tally::default() });
    assert!(!tally.is_clean());
}

#[test]
fn a_message_that_comes_again_is_doubled() {
    let tally = found(&messages(&[0, 1, 1, 2, 3, 4, 4]));
    assert_eq!(tally, Tally { delivered: 5, duplicated: 2, ..Tally::default() });
}

#[test]
fn swapped_messages_are_out_of_order_and_not_lost() {
    let tally = found(&messages(&[0, 2, 1, 3, 4]));
    assert_eq!(tally, Tally { delivered: 5, out_of_order: 1, ..Tally::default() });
}

#[test]
fn a_changed_byte_anywhere_in_a_message_is_seen() {
    let clean = messages(&[0, 1, 2, 3, 4]);
    let second = message(9, 0).len();
    for at in second + 2..2 * second {
        let mut bytes = clean.clone();
        bytes[at] ^= 0x10;
        assert!(!found(&bytes).is_clean(), "byte {at}");
    }
    let mut bytes = clean;
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(found(&bytes), Tally { delivered: 4, corrupted: 1, ..Tally::default() });
}

#[test]
fn another_channels_message_a_binary_one_and_one_never_sent_are_corrupt() {
    let mut body = [0; SIZE];
    payload::write(&mut body, 9, 1, Filling::Letter);
    for wrong in [message(8, 1), frame(0x82, &body), message(9, 7), frame(frame::TEXT, b"short")] {
        let mut bytes = messages(&[0]);
        bytes.extend_from_slice(&wrong);
        bytes.extend_from_slice(&messages(&[2, 3, 4]));
        let expected = Tally { delivered: 4, corrupted: 1, ..Tally::default() };
        assert_eq!(found(&bytes), expected);
    }
}

#[test]
fn pings_between_messages_are_answered_and_change_nothing() {
    let mut bytes = frame(PING, b"a");
    bytes.extend_from_slice(&messages(&[0, 1]));
    bytes.extend_from_slice(&frame(PING, b""));
    bytes.extend_from_slice(&messages(&[2, 3, 4]));
    bytes.extend_from_slice(&frame(PING, b"end"));
    assert_eq!(found(&bytes), Tally { delivered: 5, ..Tally::default() });
    let mut bed = Bed::new();
    bed.feed(&bytes);
    let mut pong = Vec::new();
    append_masked(
        &mut pong,
        frame::PONG,
        b"a",
        [bed.replies[2], bed.replies[3], bed.replies[4], bed.replies[5]],
    );
    assert!(bed.replies.starts_with(&pong));
}

#[test]
fn a_close_tells_code_and_reason() {
    let mut bytes = messages(&[0]);
    bytes.extend_from_slice(&frame(CLOSE, b"\x0b\xc0too slow"));
    let mut bed = Bed::new();
    bed.feed(&bytes);
    assert_eq!(bed.verdict, Verdict::Ended("closed by the server: 3008 too slow".into()));
    assert_eq!(bed.checker.outstanding(&bed.stream), 4);
}

#[test]
fn bytes_that_are_no_frame_end_the_connection() {
    let mut bytes = messages(&[0]);
    bytes.extend_from_slice(b"HTTP/1.1 500 Oops\r\n");
    let mut bed = Bed::new();
    bed.feed(&bytes);
    assert!(matches!(bed.verdict, Verdict::Ended(_)));
}

#[test]
fn one_that_leaves_twice_leaves_once() {
    let mut bed = Bed::new();
    bed.feed(&messages(&[0, 1]));
    bed.checker.leave(&mut bed.stream);
    bed.checker.leave(&mut bed.stream);
    bed.stream.settle(|_| {});
    assert_eq!(bed.stream.in_flight(), 0);
}
