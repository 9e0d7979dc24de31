//! Each breach with its close code, every cut, and tungstenite as the oracle.

use proptest::prelude::*;

use super::*;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        n @ 0..=125 => out.push(0x80 | n as u8),
        n @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    let mask = [0x11, 0x22, 0x33, 0x44];
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    out
}

/// Owned events, for comparing.
#[derive(Debug, Clone, PartialEq)]
enum Said {
    Message(MessageKind, Vec<u8>),
    Deflated(MessageKind, Vec<u8>),
    TooLarge(Vec<u8>, usize),
    Ping(Vec<u8>),
    Pong,
    Close(u16),
    Fault(u16),
}

fn read(bytes: &[u8], cuts: &[usize], max: usize, keep: bool) -> Vec<Said> {
    read_within(bytes, cuts, if keep { Limits::keep(max) } else { Limits::discard(max) })
}

fn read_within(bytes: &[u8], cuts: &[usize], limits: Limits) -> Vec<Said> {
    let mut decoder = Decoder::default();
    let mut said = Vec::new();
    let mut bytes = bytes.to_vec();
    let mut rest = &mut bytes[..];
    let mut cuts = cuts.iter().copied().chain(std::iter::repeat(usize::MAX));
    while !rest.is_empty() {
        let piece;
        (piece, rest) = rest.split_at_mut(cuts.next().unwrap_or(1).clamp(1, rest.len()));
        let mut input = piece;
        loop {
            match decoder.next(&mut input, limits) {
                Ok(None) => break,
                Ok(Some(Event::TooLarge(_, head, size))) => {
                    said.push(Said::TooLarge(head.to_vec(), size));
                }
                Ok(Some(Event::Message(kind, data))) => {
                    said.push(Said::Message(kind, data.to_vec()));
                }
                Ok(Some(Event::Deflated(kind, data))) => {
                    said.push(Said::Deflated(kind, data.to_vec()));
                }
                Ok(Some(Event::Ping(data))) => said.push(Said::Ping(data.to_vec())),
                Ok(Some(Event::Pong)) => said.push(Said::Pong),
                Ok(Some(Event::Close(code, _))) => {
                    said.push(Said::Close(code));
                    return said;
                }
                Err(fault) => {
                    said.push(Said::Fault(fault.code));
                    return said;
                }
            }
        }
        assert!(input.is_empty());
        let most = if limits.deflate { limits.longest_deflated() } else { limits.max };
        assert!(decoder.buffer.len() <= most.max(limits.head));
    }
    said
}

fn text(s: &str) -> Said {
    Said::Message(MessageKind::Text, s.as_bytes().to_vec())
}

#[test]
fn fragments_with_control_frames_between_make_one_message() {
    let mut bytes = frame(0x01, "青".as_bytes());
    bytes.extend(frame(0x89, b"are you there"));
    bytes.extend(frame(0x00, b""));
    bytes.extend(frame(0x8a, b""));
    bytes.extend(frame(0x80, "云".as_bytes()));
    bytes.extend(frame(0x88, &[0x03, 0xe8, b'b', b'y', b'e']));
    let expected =
        [Said::Ping(b"are you there".to_vec()), Said::Pong, text("青云"), Said::Close(1000)];
    for cut in 1..bytes.len() {
        assert_eq!(read(&bytes, &vec![cut; 100], 100, true), expected, "cut every {cut}");
    }
}

#[test]
fn each_breach_has_its_close_code() {
    let oversized_control = [0x89, 0x80 | 126, 0, 126];
    let mut nested = frame(0x01, b"a");
    nested.extend(frame(0x81, b"b"));
    let mut cut_text = frame(0x01, &[0xe4]);
    cut_text.extend(frame(0x80, b"x"));
    for (name, bytes, code) in [
        ("rsv", frame(0xc1, b""), 1002),
        ("opcode 3", frame(0x83, b""), 1002),
        ("opcode 11", frame(0x8b, b""), 1002),
        ("fragmented ping", frame(0x09, b""), 1002),
        ("unmasked", vec![0x81, 1, b'a'], 1002),
        ("long control", oversized_control.to_vec(), 1002),
        ("continuation of nothing", frame(0x80, b""), 1002),
        ("nested", nested, 1002),
        ("long form of a short length", vec![0x81, 0xfe, 0, 5], 1002),
        ("length with the top bit", vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002),
        ("close of one byte", frame(0x88, b"a"), 1002),
        ("close 999", frame(0x88, &999u16.to_be_bytes()), 1002),
        ("close 1005", frame(0x88, &1005u16.to_be_bytes()), 1002),
        ("close reason", frame(0x88, &[3, 0xe8, 0xff]), 1007),
        ("text", frame(0x81, &[0xff]), 1007),
        ("incomplete text", frame(0x81, &[0xe4, 0xbd]), 1007),
        ("text over fragments", cut_text, 1007),
        ("too big", frame(0x82, &[0; 101]), 1009),
    ] {
        assert_eq!(read(&bytes, &[], 100, true), [Said::Fault(code)], "{name}");
        assert_eq!(read(&bytes, &[1; 200], 100, true), [Said::Fault(code)], "{name}, bytewise");
        assert_eq!(read(&bytes, &[], 100, false), [Said::Fault(code)], "{name}, discarding");
    }
}

#[test]
fn many_fragments_cannot_exceed_the_limit() {
    let mut bytes = frame(0x02, &[0; 60]);
    bytes.extend(frame(0x00, &[0; 41]));
    assert_eq!(read(&bytes, &[], 100, true), [Said::Fault(1009)]);
}

#[test]
fn a_message_that_is_too_large_is_skipped_and_the_next_one_taken() {
    let limits = Limits { skip: 300, head: 4, ..Limits::keep(100) };
    let mut bytes = frame(0x82, &[b'a'; 101]);
    bytes.extend(frame(0x01, &[b'b'; 90]));
    bytes.extend(frame(0x89, b""));
    bytes.extend(frame(0x80, &[0xff; 210]));
    bytes.extend(frame(0x81, b"after"));
    bytes.extend(frame(0x82, &[0; 301]));
    let expected = [
        Said::TooLarge(b"aaaa".to_vec(), 101),
        Said::Ping(Vec::new()),
        Said::TooLarge(b"bbbb".to_vec(), 300),
        text("after"),
        Said::Fault(1009),
    ];
    for cut in 1..bytes.len() {
        let said = read_within(&bytes, &vec![cut; 700], limits);
        assert_eq!(said, expected, "cut every {cut}");
    }
}

#[test]
fn memory_follows_what_arrived_not_what_was_claimed() {
    let mut decoder = Decoder::default();
    let mut head = vec![0x82, 0xff, 0, 0, 0, 0, 0x3f, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5];
    let mut input = &mut head[..];
    assert_eq!(decoder.next(&mut input, Limits::keep(usize::MAX)), Ok(None));
    assert!(decoder.buffer.capacity() < 64);
    assert!(!decoder.is_idle());
}

fn deflating(max: usize) -> Limits {
    Limits { deflate: true, ..Limits::keep(max) }
}

#[test]
fn compressed_messages_are_told_from_plain_ones() {
    let mut bytes = frame(0xc1, b"abc");
    bytes.extend(frame(0x81, "青".as_bytes()));
    // Not text before it is inflated.
    bytes.extend(frame(0x41, &[0xff]));
    bytes.extend(frame(0x89, b"?"));
    bytes.extend(frame(0x00, b""));
    bytes.extend(frame(0x80, b"def"));
    bytes.extend(frame(0x82, b"x"));
    bytes.extend(frame(0xc2, b""));
    bytes.extend(frame(0x01, b"plain"));
    bytes.extend(frame(0x80, b"!"));
    let expected = [
        Said::Deflated(MessageKind::Text, b"abc".to_vec()),
        text("青"),
        Said::Ping(b"?".to_vec()),
        Said::Deflated(MessageKind::Text, b"\xffdef".to_vec()),
        Said::Message(MessageKind::Binary, b"x".to_vec()),
        Said::Deflated(MessageKind::Binary, Vec::new()),
        text("plain!"),
    ];
    for cut in 1..bytes.len() {
        let said = read_within(&bytes, &vec![cut; 200], deflating(100));
        assert_eq!(said, expected, "cut every {cut}");
    }
    // Who discards messages needs the compressed ones all the same, for checking.
    let said = read_within(&bytes, &[], Limits { keep: false, ..deflating(100) });
    assert_eq!(said[3], expected[3]);
}

#[test]
fn the_bit_of_compression_stands_on_first_frames_only() {
    let mut inside = frame(0x41, b"a");
    inside.extend(frame(0xc0, b"b"));
    let mut begun_plain = frame(0x01, b"a");
    begun_plain.extend(frame(0xc0, b"b"));
    for (name, bytes) in [
        ("continuation", inside),
        ("continuation of a plain message", begun_plain),
        ("ping", frame(0xc9, b"")),
        ("close", frame(0xc8, b"")),
        ("second bit", frame(0xa1, b"")),
        ("third bit", frame(0xd1, b"")),
    ] {
        assert_eq!(read_within(&bytes, &[], deflating(100)), [Said::Fault(1002)], "{name}");
    }
}

#[test]
fn a_compressed_payload_is_limited_before_it_is_read() {
    let limits = Limits { skip: 4000, head: 10, ..deflating(800) };
    let fits = frame(0xc2, &[0; 964]);
    assert!(matches!(read_within(&fits, &[], limits)[..], [Said::Deflated(..)]));
    assert_eq!(read_within(&frame(0xc2, &[0; 965]), &[], limits), [Said::Fault(1009)]);
    let mut pieces = frame(0x42, &[0; 500]);
    pieces.extend(frame(0x00, &[0; 465]));
    assert_eq!(read_within(&pieces, &[7; 200], limits), [Said::Fault(1009)]);
}

/// What tungstenite, an independent implementation, makes of the same bytes.
fn oracle(bytes: &[u8], max: usize) -> Vec<Said> {
    use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
    struct Input<'a>(&'a [u8]);
    impl std::io::Read for Input<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            match self.0.is_empty() {
                true => Err(std::io::ErrorKind::WouldBlock.into()),
                false => std::io::Read::read(&mut self.0, out),
            }
        }
    }
    impl std::io::Write for Input<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let config = WebSocketConfig::default().max_message_size(Some(max)).max_frame_size(Some(max));
    let mut socket = WebSocket::from_raw_socket(Input(bytes), Role::Server, Some(config));
    let mut said = Vec::new();
    loop {
        use tungstenite::{Error, Message};
        said.push(match socket.read() {
            Ok(Message::Text(text)) => Said::Message(MessageKind::Text, text.as_bytes().to_vec()),
            Ok(Message::Binary(data)) => Said::Message(MessageKind::Binary, data.to_vec()),
            Ok(Message::Ping(data)) => Said::Ping(data.to_vec()),
            Ok(Message::Pong(_)) => Said::Pong,
            Ok(Message::Close(frame)) => {
                said.push(Said::Close(frame.map_or(1005, |frame| frame.code.into())));
                return said;
            }
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(Error::Io(_)) => return said,
            Err(Error::Utf8(_)) => Said::Fault(1007),
            Err(Error::Capacity(_)) => Said::Fault(1009),
            Err(_) => Said::Fault(1002),
        });
        if matches!(said.last(), Some(Said::Fault(_))) {
            return said;
        }
    }
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        6 => prop::sample::select(vec![0x81u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a]),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        3 => "[a-z青云😀]{0,50}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..140),
    ];
    (first, payload).prop_map(|(first, payload)| frame(first, &payload))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn tungstenite_agrees(frames in prop::collection::vec(any_frame(), 0..8)) {
        let bytes = frames.concat();
        let (ours, theirs) = (read(&bytes, &[], 150, true), oracle(&bytes, 150));
        // A Close's code and reason are judged by rules of their own (tested above): it is
        // enough that both stop there.
        let cut = |said: &[Said]| {
            let whole = said.iter().take_while(|s| !matches!(s, Said::Close(_) | Said::Fault(_)));
            whole.cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(cut(&ours), cut(&theirs));
        prop_assert_eq!(ours.len() > cut(&ours).len(), theirs.len() > cut(&theirs).len());
    }

    #[test]
    fn cuts_change_nothing(
        frames in prop::collection::vec(any_frame(), 0..6),
        cuts in prop::collection::vec(1usize..20, 0..40),
    ) {
        let bytes = frames.concat();
        prop_assert_eq!(read(&bytes, &cuts, 150, true), read(&bytes, &[], 150, true));
    }

    #[test]
    fn no_input_breaks_it(bytes: Vec<u8>, cuts in prop::collection::vec(1usize..9, 0..40)) {
        read(&bytes, &cuts, 1000, true);
        read(&bytes, &cuts, 1000, false);
        read_within(&bytes, &cuts, deflating(1000));
    }
}

#[test]
fn a_message_comes_in_so_many_frames_and_no_more() {
    let limits = Limits { max_fragments: 3, ..Limits::keep(100) };
    let three = [frame(0x01, b"a"), frame(0x00, b""), frame(0x89, b""), frame(0x80, b"b")].concat();
    let whole = [Said::Ping(vec![]), Said::Message(MessageKind::Text, b"ab".to_vec())];
    // Twice: each message begins to count anew.
    let said = read_within(&three.repeat(2), &[], limits);
    assert_eq!(said, [&whole[..], &whole[..]].concat());
    let four = [frame(0x01, b""), frame(0x00, b""), frame(0x00, b""), frame(0x80, b"")].concat();
    assert_eq!(read_within(&four, &[], limits), [Said::Fault(1009)]);
}
