//! Compressed messages that are bombs, or none.

use crate::kit::{OFFER, Raw, deflate, masked};
use crate::stage::{Case, Stage, case};

fn compressed(s: &Stage, path: &str, bytes: &[u8]) -> String {
    let mut raw = Raw::connect(s.address());
    let answer = raw.upgrade(path, OFFER);
    assert!(answer.head.contains("permessage-deflate"), "{answer:?}");
    raw.try_send(bytes);
    raw.outcome()
}

/// A compressed payload of `megabytes` of zeros.
fn bomb(megabytes: usize) -> Vec<u8> {
    let mut state = flate2::Compress::new(flate2::Compression::new(9), false);
    let mut out = Vec::with_capacity(megabytes * 1100 + 1024);
    let zeros = vec![0; 1 << 20];
    for _ in 0..megabytes {
        state.compress_vec(&zeros, &mut out, flate2::FlushCompress::None).unwrap();
    }
    state.compress_vec(&[], &mut out, flate2::FlushCompress::Sync).unwrap();
    out.strip_suffix(b"\x00\x00\xff\xff").unwrap().to_vec()
}

pub const CASES: &[Case] = &[
    case("60 KB that become 60 MB", "1009 message over the limit", |s| {
        let bomb = bomb(60);
        assert!(bomb.len() < 65_536);
        compressed(s, "/channel/send/test", &masked(0xc2, &bomb))
    }),
    case("the same in fragments of 100 bytes", "1009 message over the limit", |s| {
        let bomb = bomb(60);
        let mut all = Vec::new();
        let mut first = 0x42;
        for piece in bomb.chunks(100) {
            all.extend(masked(first, piece));
            first = 0x00;
        }
        all.extend(masked(0x80, b""));
        compressed(s, "/channel/send/test", &all)
    }),
    case("the same, 50 times, on as many connections", "1009 message over the limit", |s| {
        let frame = masked(0xc2, &bomb(60));
        let mut raws: Vec<_> = (0..50)
            .map(|_| {
                let mut raw = Raw::connect(s.address());
                raw.upgrade("/channel/send/test", OFFER);
                raw.try_send(&frame);
                raw
            })
            .collect();
        let all: Vec<_> = raws.iter_mut().map(Raw::outcome).collect();
        if all.iter().all(|one| *one == all[0]) { all[0].clone() } else { format!("{all:?}") }
    }),
    case("the same to a listener, which is not asked", "1009 message over the limit", |s| {
        compressed(s, "/channel/listen/open", &masked(0xc2, &bomb(60)))
    }),
    case("the same to a session", "1009 message over the limit", |s| {
        let mut raw = Raw::connect(s.address());
        raw.upgrade("/ws", OFFER);
        raw.frame();
        raw.try_send(masked(0xc1, &bomb(60)));
        raw.outcome()
    }),
    case("the same as a stream's packet", "1009 message over the limit", |s| {
        compressed(s, "/channel/stream", &masked(0xc2, &bomb(60)))
    }),
    case("bytes that are not deflated", "1007 message is not deflated as agreed", |s| {
        compressed(s, "/channel/send/test", &masked(0xc2, &[0xff; 100]))
    }),
    case(
        "a stream that refers to what was never sent",
        "1007 message is not deflated as agreed",
        |s| {
            // A block with fixed codes that copies from 32 KiB before the beginning.
            compressed(s, "/channel/send/test", &masked(0xc2, &[0x03, 0x7e, 0xfe, 0xff]))
        },
    ),
    case("the bit of compression on a continuation", "1002 reserved bit set", |s| {
        let all = [masked(0x42, b"x"), masked(0xc0, b"y")].concat();
        compressed(s, "/channel/send/test", &all)
    }),
    case("the bit of compression on a ping", "1002 reserved bit set", |s| {
        compressed(s, "/channel/send/test", &masked(0xc9, b"x"))
    }),
    case("text that is not UTF-8 once it is decompressed", "1007 text is not UTF-8", |s| {
        compressed(s, "/channel/send/test", &masked(0xc1, &deflate(b"ab\xff")))
    }),
    case("an offer with every parameter a thousand times", "101; compression declined", |s| {
        let offers = "permessage-deflate; server_max_window_bits=8; x=\"y\", ".repeat(60);
        let mut raw = Raw::connect(s.address());
        let answer = raw
            .upgrade("/channel/listen/open", &format!("Sec-WebSocket-Extensions: {offers}foo\r\n"));
        format!(
            "{}; compression {}",
            answer.status,
            if answer.head.contains("deflate") { "on" } else { "declined" }
        )
    }),
];
