//! Frames that break RFC 6455, on a connection that listens and on one that sends.

use crate::kit::{Raw, masked};
use crate::stage::{Case, Stage, case, with};

/// What both get for these bytes.
fn frames(s: &Stage, bytes: &[u8]) -> String {
    let sender = s.socket("/channel/send/test", bytes);
    for path in ["/channel/listen/open", "/channel/stream", "/ws", "/join?uid=1", "/"] {
        let mut raw = Raw::websocket(s.address(), path);
        if path == "/ws" || path == "/" {
            raw.frame();
        }
        raw.try_send(bytes);
        let other = raw.outcome();
        if other != sender {
            return format!("{sender}; but on {path} {other}");
        }
    }
    sender
}

fn close(s: &Stage, code: u16) -> String {
    frames(s, &masked(0x88, &code.to_be_bytes()))
}

fn text(s: &Stage, payload: &[u8]) -> String {
    frames(s, &masked(0x81, payload))
}

pub const CASES: &[Case] = &[
    case("the first reserved bit, without compression", "1002 reserved bit set", |s| {
        frames(s, &masked(0xc1, b"x"))
    }),
    case("the second reserved bit", "1002 reserved bit set", |s| frames(s, &masked(0xa1, b"x"))),
    case("the third reserved bit", "1002 reserved bit set", |s| frames(s, &masked(0x91, b"x"))),
    case("each reserved opcode: 3 to 7, 11 to 15", "1002 reserved opcode", |s| {
        let all: Vec<_> =
            [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(|op| frames(s, &masked(0x80 | op, b""))).into();
        if all.iter().all(|one| *one == all[0]) { all[0].clone() } else { format!("{all:?}") }
    }),
    case("a frame that is not masked", "1002 frame is not masked", |s| frames(s, b"\x81\x01x")),
    case("a length of 16 bits that fits 7", "1002 length is not in its shortest form", |s| {
        frames(s, b"\x81\xfe\x00\x01\0\0\0\0x")
    }),
    case("a length of 64 bits that fits 16", "1002 length is not in its shortest form", |s| {
        frames(s, b"\x81\xff\0\0\0\0\0\0\0\x01\0\0\0\0x")
    }),
    case("a length with its highest bit set", "1002 length is not in its shortest form", |s| {
        frames(s, b"\x82\xff\x80\0\0\0\0\0\0\x01\0\0\0\0x")
    }),
    case("a length of 4 EB", "1009 message over the limit", |s| {
        frames(s, b"\x82\xff\x3f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0x")
    }),
    case("a fragmented ping", "1002 fragmented control frame", |s| frames(s, &masked(0x09, b"x"))),
    case("a fragmented Close", "1002 fragmented control frame", |s| frames(s, &masked(0x08, b""))),
    case("a ping of 126 bytes", "1002 control frame over 125 bytes", |s| {
        frames(s, &masked(0x89, &[0; 126]))
    }),
    case("a continuation of nothing", "1002 continuation of nothing", |s| {
        frames(s, &masked(0x80, b"x"))
    }),
    case("a message inside another", "1002 new message inside another", |s| {
        frames(s, &[masked(0x01, b"x"), masked(0x81, b"y")].concat())
    }),
    case(
        "close codes that may not be sent: 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535",
        "1002 close code out of range",
        |s| {
            let codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535];
            let all = codes.map(|code| close(s, code));
            if all.iter().all(|one| *one == all[0]) { all[0].clone() } else { format!("{all:?}") }
        },
    ),
    case("a Close of one byte", "1002 close payload of one byte", |s| {
        frames(s, &masked(0x88, b"\x03"))
    }),
    case("a Close whose reason is not UTF-8", "1007 close reason is not UTF-8", |s| {
        frames(s, &masked(0x88, b"\x03\xe8\xff"))
    }),
    case("a Close, and a message behind it", "1000", |s| {
        frames(s, &[masked(0x88, b"\x03\xe8"), masked(0x81, b"late")].concat())
    }),
    case("text that is not UTF-8", "1007 text is not UTF-8", |s| text(s, b"ab\xffcd")),
    case("text with an overlong slash", "1007 text is not UTF-8", |s| text(s, b"\xc0\xaf")),
    case("text with a surrogate", "1007 text is not UTF-8", |s| text(s, b"\xed\xa0\x80")),
    case("text beyond U+10FFFF", "1007 text is not UTF-8", |s| text(s, b"\xf4\x90\x80\x80")),
    case("text that ends within a character", "1007 text is not UTF-8", |s| text(s, b"ab\xe9\x9d")),
    case("text that is found wrong in its first fragment", "1007 text is not UTF-8", |s| {
        frames(s, &masked(0x01, b"\xff"))
    }),
    case(
        "a message over the limit, in one frame: told by its header",
        "1009 message over the limit",
        |s| s.socket("/channel/send/test", b"\x82\xff\0\0\0\0\0\x01\0\x01\0\0\0\0"),
    ),
    case("a message over the limit, in 200 fragments", "1009 message over the limit", |s| {
        let mut all = masked(0x02, &[0; 500]);
        for _ in 0..199 {
            all.extend(masked(0x00, &[0; 500]));
        }
        s.socket("/channel/send/test", all)
    }),
    case("10,000 fragments of one byte", "goes on; 1 message", |s| {
        let mut all = masked(0x02, b"x");
        for _ in 0..9_998 {
            all.extend(masked(0x00, b"x"));
        }
        all.extend(masked(0x80, b"x"));
        let got = s.socket("/channel/send/open", all);
        format!("{got}; {} message", s.service().channel("open").unwrap().offset)
    }),
    with(
        &[("max_fragments", "5000")],
        "fragments of no bytes without an end",
        "1009 message in more fragments than the limit",
        |s| {
            let mut raw = Raw::websocket(s.address(), "/channel/send/test");
            raw.try_send(masked(0x01, b"x"));
            let empty = masked(0x00, b"").repeat(1000);
            for _ in 0..20 {
                raw.try_send(&empty);
            }
            raw.outcome()
        },
    ),
    case("a ping between the fragments of a message", "goes on; 1 message", |s| {
        let all = [masked(0x01, b"a"), masked(0x89, b"p"), masked(0x80, b"b")].concat();
        let got = s.socket("/channel/send/open", all);
        format!("{got}; {} message", s.service().channel("open").unwrap().offset)
    }),
    case("a listener that talks, 1,000 messages", "goes on", |s| {
        s.socket("/channel/listen/open", masked(0x81, b"nobody hears this").repeat(1000))
    }),
    case("HTTP behind the upgrade", "1002 reserved bit set", |s| {
        s.socket("/channel/listen/open", "GET /channel/send/test/x HTTP/1.1\r\nHost: t\r\n\r\n")
    }),
];
