//! Packets that lie about their length, joins that are none, and talkative gateway clients.

use crate::kit::{Raw, masked};
use crate::stage::{Case, Stage, case, closed, with};

fn packet(length: u32, protocol: u32, sn: u32, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0xfe, 0xef];
    for word in [length, protocol, sn] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(data);
    out
}

fn send(s: &Stage, bytes: &[u8]) -> String {
    s.socket("/join?uid=1", masked(0x82, bytes))
}

fn join(s: &Stage, query: &str) -> String {
    let mut raw = s.raw();
    let answer = raw.upgrade(&format!("/join{query}"), "");
    match answer.status {
        101 => "101; ".to_owned() + &raw.outcome(),
        status => format!("{status} {}", answer.body.split('"').nth(7).unwrap_or_default()),
    }
}

pub const CASES: &[Case] = &[
    case("to join without a uid", "400 The query needs a uid, as in ?uid=100", |s| join(s, "")),
    case("to join with an empty uid", "400 The query needs a uid, as in ?uid=100", |s| {
        join(s, "?uid=")
    }),
    case("to join with a type that is no number", "400 type cannot be \\", |s| {
        join(s, "?uid=1&type=x")
    }),
    case("to join with a type beyond 32 bits", "400 type cannot be \\", |s| {
        join(s, "?uid=1&type=99999999999")
    }),
    case(
        "to join with a line feed in the uid",
        "400 The id has a control character at position 1",
        |s| join(s, "?uid=a%0Ab"),
    ),
    case(
        "to join with a uid of 2,000 bytes",
        "400 The id has 2004 bytes; the limit is 1024",
        |s| join(s, &format!("?uid={}", "u".repeat(2000))),
    ),
    case(
        "to join with bytes that are not UTF-8",
        "400 uid: Not UTF-8 after percent-decoding",
        |s| join(s, "?uid=%FF"),
    ),
    case("no packet: 13 bytes", "1002 not a packet", |s| send(s, &packet(8, 1, 0, b"")[..13])),
    case("another mark", "1002 not a packet", |s| {
        let mut bytes = packet(8, 1, 0, b"");
        bytes[0] = 0xef;
        send(s, &bytes)
    }),
    case("a length of 7, less than its own header", "1002 not a packet", |s| {
        send(s, &packet(7, 1, 0, b""))
    }),
    case("a length one too long", "1002 not a packet", |s| send(s, &packet(10, 1, 0, b"x"))),
    case("a length one too short", "1002 not a packet", |s| send(s, &packet(8, 1, 0, b"x"))),
    case("a length of 4 GB", "1002 not a packet", |s| send(s, &packet(u32::MAX, 1, 0, b"x"))),
    case("a packet over `packet_max_bytes`", "1009 message over the limit", |s| {
        send(s, &packet(8 + 4083, 1, 0, &[0; 4083]))
    }),
    case("two packets in one message", "1002 not a packet", |s| {
        send(s, &[packet(8, 1, 0, b""), packet(8, 1, 0, b"")].concat())
    }),
    case("text", "goes on", |s| s.socket("/join?uid=1", masked(0x81, b"hello"))),
    case("1,000 requests for protocols that nobody handles", "goes on", |s| {
        s.socket("/join?uid=1", masked(0x82, &packet(8, 77, 2, b"")).repeat(1000))
    }),
    case("1,000 responses to nothing", "goes on", |s| {
        s.socket("/join?uid=1", masked(0x82, &packet(8, 77, 3, b"")).repeat(1000))
    }),
    case("the message of displacement, from a client", "goes on", |s| {
        send(s, &packet(8, 2_147_483_647, 0, b""))
    }),
    case(
        "200 connections with one id",
        "{\"3505 displaced by a connection with the same id\": 199}, each told first; the last one goes on",
        |s| {
            let mut raws: Vec<_> =
                (0..200).map(|_| Raw::websocket(s.address(), "/join?uid=1")).collect();
            let last = raws.pop().map(|mut raw| raw.outcome()).unwrap();
            let mut codes = std::collections::BTreeMap::new();
            for raw in &mut raws {
                while let Some(frame) = raw.frame_or_end() {
                    if frame.opcode == 8 {
                        *codes.entry(closed(&frame)).or_insert(0) += 1;
                        raw.send_frame(0x88, &frame.payload);
                    }
                }
            }
            format!("{codes:?}, each told first; the last one {last}")
        },
    ),
    case("a gateway client that says what it likes", "goes on", |s| {
        let mut raw = Raw::websocket(s.address(), "/");
        raw.frame();
        raw.try_send(
            [masked(0x81, "青".as_bytes()), masked(0x82, &[0xff; 60_000]), masked(0x81, b"PING")]
                .concat(),
        );
        raw.outcome()
    }),
    case("a gateway client's message over the limit", "1009 message over the limit", |s| {
        let mut raw = Raw::websocket(s.address(), "/");
        raw.frame();
        raw.try_send(masked(0x82, &[0; 65_537]));
        raw.outcome()
    }),
    with(
        &[("gateway_heartbeat_ms", "100")],
        "a gateway client that pings by frames and never says `ping`",
        "3013 no heartbeat",
        |s| {
            let mut raw = Raw::websocket(s.address(), "/");
            raw.frame();
            loop {
                raw.try_send(masked(0x89, b"x"));
                match raw.frame_or_end() {
                    None => return "cut".into(),
                    Some(frame) if frame.opcode == 8 => return closed(&frame),
                    Some(_) => {}
                }
            }
        },
    ),
    case("100,000 `ping`s whose answers are not read for now", "100000 `pong`s", |s| {
        let mut raw = Raw::websocket(s.address(), "/");
        raw.frame();
        let pings = masked(0x81, b"ping").repeat(1000);
        let mut writer = raw.stream.try_clone().unwrap();
        let write = std::thread::spawn(move || {
            (0..100).all(|_| std::io::Write::write_all(&mut writer, &pings).is_ok())
        });
        let mut pongs = 0;
        while pongs < 100_000 && raw.message().payload == b"pong" {
            pongs += 1;
        }
        assert!(write.join().unwrap());
        format!("{pongs} `pong`s")
    }),
];
