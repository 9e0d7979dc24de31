//! Peers that take their time.

use std::time::Duration;

use qyun::wire::MessageKind;

use crate::kit::{KEY, OFFER, Raw, masked};
use crate::stage::{Case, Stage, case, closed, with};

const HASTE: &[(&str, &str)] = &[
    ("handshake_timeout_ms", "150"),
    ("request_timeout_ms", "150"),
    ("idle_timeout_ms", "150"),
    ("message_timeout_ms", "150"),
];
const PINGS: &[(&str, &str)] = &[("ping_interval_ms", "50"), ("pong_wait_ms", "100")];

/// Sends a byte every millisecond, over and over the ones of `bytes`, until something comes back.
fn drip(raw: &mut Raw, bytes: &[u8]) {
    for byte in bytes.iter().cycle() {
        raw.try_send([*byte]);
        std::thread::sleep(Duration::from_millis(1));
        raw.stream.set_nonblocking(true).unwrap();
        let came = !matches!(raw.stream.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        raw.stream.set_nonblocking(false).unwrap();
        if came {
            return;
        }
    }
}

fn dripped(s: &Stage, begin: &str, bytes: &[u8]) -> String {
    let mut raw = s.raw();
    raw.try_send(begin);
    drip(&mut raw, bytes);
    raw.reply_and_end()
}

/// Publishes until somebody is closed as too slow.
fn publish_until_slow(s: &Stage) -> bool {
    s.becomes(|| {
        s.service().publish("open", MessageKind::Text, &[b'x'; 60_000]).unwrap();
        s.service().counters().closed_slow > 0
    })
}

/// Makes the server see a small window, so that little is enough to fill what lies between.
fn reads_little(raw: &Raw) {
    socket2::SockRef::from(&raw.stream).set_recv_buffer_size(4096).unwrap();
}

pub const CASES: &[Case] = &[
    with(HASTE, "a connection that says nothing", "closed", |s| {
        let mut raw = s.raw();
        if raw.ends() { "closed".into() } else { raw.reply() }
    }),
    with(HASTE, "500 connections that say nothing", "500 closed", |s| {
        let mut raws: Vec<_> = (0..500).map(|_| s.raw()).collect();
        let ended = raws.iter_mut().filter_map(|raw| raw.ends().then_some(())).count();
        format!("{ended} closed")
    }),
    with(HASTE, "a head, a byte a millisecond", "408 Request took too long; closed", |s| {
        dripped(s, "", b"GET /health HTTP/1.1\r\nX: ")
    }),
    with(
        HASTE,
        "fields that never end, a byte a millisecond",
        "408 Request took too long; closed",
        |s| dripped(s, "GET /health HTTP/1.1\r\nHost: t\r\n", b"X: y\r\n"),
    ),
    with(
        HASTE,
        "a WebSocket handshake, a byte a millisecond",
        "408 Request took too long; closed",
        |s| {
            let begin = format!(
                "GET /channel/listen/open HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\nSec-WebSocket-Key: {KEY}\r\n"
            );
            dripped(s, &begin, b"X: y\r\n")
        },
    ),
    with(
        HASTE,
        "a second request on a kept connection, a byte a millisecond",
        "408 Request took too long; closed",
        |s| {
            let mut raw = s.raw();
            assert_eq!(raw.get("/health").status, 200);
            drip(&mut raw, b"GET /health HTTP/1.1\r\nX: ");
            raw.reply_and_end()
        },
    ),
    with(HASTE, "a body, a byte a millisecond", "408 Request took too long; closed", |s| {
        dripped(
            s,
            "POST /channel/send/test HTTP/1.1\r\nHost: t\r\nContent-Length: 60000\r\n\r\n",
            b"x",
        )
    }),
    with(
        HASTE,
        "chunks of one byte, a byte a millisecond",
        "408 Request took too long; closed",
        |s| {
            dripped(
                s,
                "POST /channel/send/test HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"1\r\nx\r\n",
            )
        },
    ),
    with(HASTE, "a kept connection without a next request", "closed", |s| {
        let mut raw = s.raw();
        assert_eq!(raw.get("/health").status, 200);
        if raw.ends() { "closed".into() } else { raw.reply() }
    }),
    with(HASTE, "requests whose answers are not read", "cut, with at most 1 MiB queued", |s| {
        let mut raw = s.raw();
        reads_little(&raw);
        // Each answer is the page's script.
        let requests = "GET /qyun/test.js HTTP/1.1\r\nHost: t\r\n\r\n".repeat(200);
        raw.try_send(requests);
        let most = std::cell::Cell::new(0);
        let gone = s.becomes(|| {
            let counters = s.service().counters();
            most.set(counters.queued_bytes.max(most.get()));
            counters.connections == 1
        });
        assert!(most.get() <= 1 << 20, "{} bytes queued", most.get());
        if gone { "cut, with at most 1 MiB queued".into() } else { "kept".into() }
    }),
    with(HASTE, "a WebSocket message, a byte a millisecond", "3018 message took too long", |s| {
        let mut raw = Raw::websocket(s.address(), "/channel/send/test");
        raw.try_send(b"\x82\xfe\xea\x60\0\0\0\0");
        drip(&mut raw, b"x");
        raw.outcome()
    }),
    with(HASTE, "a frame's header, of which one byte comes", "3018 message took too long", |s| {
        let mut raw = Raw::websocket(s.address(), "/channel/listen/open");
        raw.try_send(b"\x82");
        raw.frame_or_end().map_or("cut".into(), |frame| closed(&frame))
    }),
    with(
        HASTE,
        "fragments with pings between them, without an end",
        "3018 message took too long",
        |s| {
            let mut raw = Raw::websocket(s.address(), "/ws");
            raw.frame();
            let mut first = 0x01;
            loop {
                raw.try_send([masked(first, b"x"), masked(0x89, b"p")].concat());
                first = 0x00;
                match raw.frame_or_end() {
                    None => return "cut".into(),
                    Some(frame) if frame.opcode == 8 => return closed(&frame),
                    Some(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        },
    ),
    with(HASTE, "a compressed message, half of it", "3018 message took too long", |s| {
        let mut raw = Raw::connect(s.address());
        raw.upgrade("/channel/send/test", OFFER);
        raw.try_send(b"\xc2\xfe\x10\x00\0\0\0\0abc");
        raw.frame_or_end().map_or("cut".into(), |frame| closed(&frame))
    }),
    with(HASTE, "no answer to the server's Close", "3504 channel deleted, then cut", |s| {
        let mut raw = Raw::websocket(s.address(), "/channel/listen/open");
        s.service().delete_channel("open").unwrap();
        let frame = raw.frame();
        format!("{}, then {}", closed(&frame), if raw.ends() { "cut" } else { "kept" })
    }),
    with(HASTE, "talking on behind a fault, for ever", "1002 reserved bit set, then cut", |s| {
        let mut raw = Raw::websocket(s.address(), "/channel/send/test");
        raw.try_send(b"\xff\xff");
        let frame = raw.frame();
        let gone = s.becomes(|| {
            raw.try_send([0; 1000]);
            s.service().counters().connections == 1
        });
        format!("{}, then {}", closed(&frame), if gone { "cut" } else { "kept" })
    }),
    with(PINGS, "pings that are not answered", "3012 no pong", |s| {
        let paths =
            ["/channel/listen/open", "/channel/send/open", "/channel/stream", "/ws", "/join?uid=1"];
        let all = paths.map(|path| {
            let mut raw = Raw::websocket(s.address(), path);
            loop {
                match raw.frame_or_end() {
                    None => return "cut".to_owned(),
                    Some(frame) if frame.opcode == 8 => return closed(&frame),
                    Some(_) => {}
                }
            }
        });
        if all.iter().all(|one| *one == all[0]) { all[0].clone() } else { format!("{all:?}") }
    }),
    case("a listener that does not read", "3008 reader is too slow", |s| {
        let mut raw = Raw::websocket(s.address(), "/channel/listen/open");
        assert!(publish_until_slow(s));
        loop {
            match raw.frame_or_end() {
                None => return "cut".into(),
                Some(frame) if frame.opcode == 8 => return closed(&frame),
                Some(frame) => assert_eq!(frame.payload.len(), 60_000, "whole frames only"),
            }
        }
    }),
    case("a subscriber of events that does not read", "cut", |s| {
        let mut raw = s.raw();
        raw.send(
            "GET /channel/listen/open HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n",
        );
        raw.head();
        assert!(publish_until_slow(s));
        raw.drain();
        "cut".into()
    }),
    case("pings whose pongs are not read", "3008 reader is too slow", |s| {
        let mut raw = Raw::websocket(s.address(), "/channel/listen/open");
        s.flood(&mut raw, &masked(0x89, &[7; 125]).repeat(500))
    }),
];
