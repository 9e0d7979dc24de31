//! Both directions against an ordinary zlib, the limits, and what is no deflate stream at all.

use flate2::Compression;
use proptest::prelude::*;

use super::*;

/// A compressed payload as another implementation makes it, with blocks of its own choice.
fn deflated(parts: &[&[u8]], level: u32, flushes: &[FlushCompress]) -> Vec<u8> {
    let mut state = Compress::new(Compression::new(level), false);
    let mut out = Vec::with_capacity(parts.concat().len() * 2 + 1024);
    for (nth, part) in parts.iter().enumerate() {
        let flush = flushes.get(nth).copied().unwrap_or(FlushCompress::None);
        state.compress_vec(part, &mut out, flush).unwrap();
    }
    state.compress_vec(&[], &mut out, FlushCompress::Full).unwrap();
    out.strip_suffix(&TAIL).unwrap().to_vec()
}

/// What an ordinary zlib makes of a compressed payload.
fn inflated(payload: &[u8]) -> Vec<u8> {
    let mut state = Decompress::new_with_window_bits(false, WINDOW_BITS);
    let mut out = Vec::with_capacity(1 << 21);
    for piece in [payload, &TAIL] {
        state.decompress_vec(piece, &mut out, FlushDecompress::Sync).unwrap();
    }
    assert_eq!(state.total_in(), (payload.len() + TAIL.len()) as u64);
    out
}

fn inflate(kind: MessageKind, payload: &[u8], limits: Limits) -> Result<Vec<u8>, u16> {
    match Inflater::default().inflate(kind, payload, limits) {
        Ok(Event::Message(told, data)) if told == kind => Ok(data.to_vec()),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault.code),
    }
}

const KEEP: Limits = Limits { deflate: true, ..Limits::keep(1 << 20) };

/// The examples of RFC 7692 section 7.2.3.
#[test]
fn the_examples_of_the_rfc() {
    for payload in [
        &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
    ] {
        assert_eq!(inflate(MessageKind::Text, payload, KEEP), Ok(b"Hello".to_vec()));
    }
    assert_eq!(inflate(MessageKind::Text, b"\x00", KEEP), Ok(Vec::new()));
}

#[test]
fn what_follows_a_final_block_belongs_to_the_message() {
    let mut payload = b"\xf3\x48\xcd\xc9\xc9\x07\x00".repeat(3);
    payload.push(0);
    assert_eq!(inflate(MessageKind::Text, &payload, KEEP), Ok(b"HelloHelloHello".to_vec()));
}

#[test]
fn a_bomb_is_refused_before_it_is_held() {
    let zeros = vec![0; 64 << 20];
    let bomb = deflated(&[&zeros], 9, &[]);
    assert!(bomb.len() < 1 << 17);
    let mut inflater = Inflater::default();
    for limits in [KEEP, Limits { keep: false, ..KEEP }, Limits { skip: 16 << 20, head: 8, ..KEEP }]
    {
        let fault = inflater.inflate(MessageKind::Binary, &bomb, limits).unwrap_err();
        assert_eq!(fault.code, close::TOO_BIG);
        assert!(inflater.out.capacity() <= limits.max + 1, "{}", inflater.out.capacity());
    }
    // And it goes on working.
    let hello = inflater.inflate(MessageKind::Text, b"\xf2\x48\xcd\xc9\xc9\x07\x00", KEEP);
    assert_eq!(hello, Ok(Event::Message(MessageKind::Text, b"Hello")));
}

#[test]
fn the_limit_is_exact() {
    let text = b"abcdefgh".repeat(100);
    let payload = deflated(&[&text], 6, &[]);
    for (max, fits) in [(801, true), (800, true), (799, false), (0, false)] {
        let said = inflate(MessageKind::Text, &payload, Limits { max, ..KEEP });
        assert_eq!(said, if fits { Ok(text.clone()) } else { Err(close::TOO_BIG) });
    }
}

#[test]
fn of_a_message_that_is_skipped_the_head_is_kept() {
    let text = b"abcdefgh".repeat(100);
    let payload = deflated(&[&text], 6, &[]);
    let limits = Limits { max: 100, skip: 800, head: 10, ..KEEP };
    let mut inflater = Inflater::default();
    let said = inflater.inflate(MessageKind::Text, &payload, limits);
    assert_eq!(said, Ok(Event::TooLarge(MessageKind::Text, b"abcdefghab", 800)));
    let limits = Limits { skip: 799, ..limits };
    let fault = inflater.inflate(MessageKind::Text, &payload, limits).unwrap_err();
    assert_eq!(fault.code, close::TOO_BIG);
}

#[test]
fn text_is_checked_once_it_is_whole() {
    let payload = deflated(&[b"\xe9\x9d", b"\x92"], 6, &[FlushCompress::Full]);
    assert_eq!(inflate(MessageKind::Text, &payload, KEEP), Ok("青".as_bytes().to_vec()));
    let payload = deflated(&[b"\xe9\x9d"], 6, &[]);
    for limits in [KEEP, Limits { keep: false, ..KEEP }] {
        let said = inflate(MessageKind::Text, &payload, limits);
        assert_eq!(said, Err(close::INVALID_DATA));
    }
    assert_eq!(inflate(MessageKind::Binary, &payload, KEEP), Ok(b"\xe9\x9d".to_vec()));
}

#[test]
fn garbage_is_a_fault() {
    // A block of the type that does not exist.
    assert_eq!(inflate(MessageKind::Binary, b"\x07", KEEP), Err(close::INVALID_DATA));
    // A stored block whose length does not match its complement.
    let said = inflate(MessageKind::Binary, b"\x00\x05\x00\x00\x00Hello", KEEP);
    assert_eq!(said, Err(close::INVALID_DATA));
}

#[test]
fn what_saves_nothing_is_not_compressed() {
    let mut deflater = Deflater::default();
    let random: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(5000).collect();
    assert_eq!(deflater.deflate(&[&random]), None);
    assert_eq!(deflater.deflate(&[]), None);
    assert_eq!(deflater.deflate(&[b"", b""]), None);
    let twice = deflater.deflate(&[&random, &random[..2000]]);
    assert_eq!(twice, None, "4 KiB back is out of the window");
    let payload = deflater.deflate(&[&random[..1000], &random[..1000]]).unwrap();
    assert!(payload.len() < 1100);
    assert_eq!(inflated(payload), [&random[..1000], &random[..1000]].concat());
}

/// Text with repetitions, near and far, of about any size.
fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "[a-z青云]{0,40}".prop_map(String::into_bytes),
        Just(b"{\"id\":1,\"name\":\"user\",\"active\":true}".to_vec()),
        prop::collection::vec(any::<u8>(), 0..60),
    ];
    prop::collection::vec((piece, 1usize..200), 0..8)
        .prop_map(|pieces| pieces.iter().flat_map(|(piece, n)| piece.repeat(*n)).collect())
}

fn any_flush() -> impl Strategy<Value = FlushCompress> {
    prop::sample::select(vec![
        FlushCompress::None,
        FlushCompress::Partial,
        FlushCompress::Sync,
        FlushCompress::Full,
    ])
}

proptest! {
    #[test]
    fn zlib_reads_what_is_compressed(
        messages in prop::collection::vec((any_text(), any::<prop::sample::Index>()), 1..4),
    ) {
        let mut deflater = Deflater::default();
        for (message, cut) in &messages {
            let (front, back) = message.split_at(cut.index(message.len() + 1));
            if let Some(payload) = deflater.deflate(&[front, back]) {
                prop_assert!(payload.len() < message.len());
                prop_assert_eq!(&inflated(payload), message);
            }
        }
    }

    #[test]
    fn what_zlib_compresses_is_read(
        messages in prop::collection::vec((any_text(), 0u32..10), 1..4),
        flushes in prop::collection::vec(any_flush(), 0..9),
        pieces in 1usize..9,
    ) {
        let mut inflater = Inflater::default();
        for (message, level) in &messages {
            let parts: Vec<&[u8]> = message.chunks(message.len() / pieces + 1).collect();
            let payload = deflated(&parts, *level, &flushes);
            prop_assert!(payload.len() <= KEEP.longest_deflated());
            let said = inflater.inflate(MessageKind::Binary, &payload, KEEP);
            prop_assert_eq!(said, Ok(Event::Message(MessageKind::Binary, &message[..])));
        }
    }

    #[test]
    fn no_input_breaks_it(bytes: Vec<u8>, max in 0usize..2000, skip in 0usize..4000, head in 0usize..3000) {
        let limits = Limits { max, skip, head, ..KEEP };
        let _ = Inflater::default().inflate(MessageKind::Text, &bytes, limits);
    }
}
