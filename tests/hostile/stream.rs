//! Packets of the stream protocol that are none, or ask for too much.

use qyun::wire::stream::{Op, Packet, Request, decode_packet, encode_request};
use qyun::wire::{MessageKind, Position};

use crate::kit::{Raw, masked};
use crate::stage::{Case, Stage, case, with};

fn packet(id: u32, channel: &str, op: Op<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_request(&mut out, &Request { id, channel, op });
    out
}

fn stream(s: &Stage) -> Raw {
    Raw::websocket(s.address(), "/channel/stream")
}

/// What one binary message gets.
fn send(s: &Stage, bytes: &[u8]) -> String {
    s.socket("/channel/stream", masked(0x82, bytes))
}

/// The status of the reply to a request.
fn ask(raw: &mut Raw, bytes: &[u8]) -> String {
    raw.send_frame(0x82, bytes);
    let frame = raw.message();
    match decode_packet(&frame.payload) {
        Some(Packet::Reply(reply)) => {
            format!("reply {} {}", reply.status, reply.error).trim().into()
        }
        other => format!("{other:?}"),
    }
}

fn asked(s: &Stage, bytes: &[u8]) -> String {
    let mut raw = stream(s);
    let reply = ask(&mut raw, bytes);
    format!("{reply}; {}", raw.outcome())
}

fn position(epoch: u64, offset: u64) -> Op<'static> {
    Op::Resume(Position { epoch, offset })
}

pub const CASES: &[Case] = &[
    case("nothing", "1002 not a request packet", |s| send(s, b"")),
    case("7 bytes", "1002 not a request packet", |s| send(s, &[1, 0, 0, 0, 1, 0, 0])),
    case("a packet as text", "1002 not a request packet", |s| {
        s.socket("/channel/stream", masked(0x81, &packet(1, "open", Op::Subscribe)))
    }),
    case("operations 0, 5, 129 and 255", "1002 not a request packet", |s| {
        let all = [0, 5, 129, 255].map(|op| send(s, &[op, 0, 1, 0, 1, 0, 0, 0, b'a']));
        if all.iter().all(|one| *one == all[0]) { all[0].clone() } else { format!("{all:?}") }
    }),
    case("a name longer than the packet", "1002 not a request packet", |s| {
        send(s, &[1, 0, 255, 255, 1, 0, 0, 0, b'a'])
    }),
    case("a payload where none belongs", "1002 not a request packet", |s| {
        send(s, &[1, 0, 1, 0, 1, 0, 0, 0, b'a', b'b'])
    }),
    case("a name that is not UTF-8", "1002 not a request packet", |s| {
        send(s, &[1, 0, 1, 0, 1, 0, 0, 0, 0xff])
    }),
    case(
        "a name with a line feed",
        "reply 400 Channel name has a control character at position 1; goes on",
        |s| asked(s, &packet(1, "a\nb", Op::Subscribe)),
    ),
    case("an empty name", "reply 400 Channel name is empty; goes on", |s| {
        asked(s, &packet(1, "", Op::Subscribe))
    }),
    case(
        "a name of 300 bytes",
        "reply 400 Channel name has 300 bytes; the limit is 255; goes on",
        |s| asked(s, &packet(1, &"x".repeat(300), Op::Subscribe)),
    ),
    case("a channel that does not exist", "reply 404 Channel not found; goes on", |s| {
        asked(s, &packet(1, "nowhere", Op::Subscribe))
    }),
    case(
        "to unsubscribe from what it is not subscribed to",
        "reply 404 Not subscribed; goes on",
        |s| asked(s, &packet(1, "open", Op::Unsubscribe)),
    ),
    case("a text that is not UTF-8", "reply 400 Message is not UTF-8 at byte 0; goes on", |s| {
        asked(s, &packet(1, "test", Op::Publish(MessageKind::Text, b"\xff")))
    }),
    case(
        "a message over the limit",
        "reply 413 Message has 65537 bytes; the limit is 65536; goes on",
        |s| asked(s, &packet(1, "test", Op::Publish(MessageKind::Binary, &[0; 65_537]))),
    ),
    case(
        "a message over 16 times the limit: told by its header",
        "1009 message over the limit",
        |s| s.socket("/channel/stream", b"\x82\xff\0\0\0\0\0\x20\0\0\0\0\0\0"),
    ),
    case("to continue behind a position of nonsense: every bit set", "reply 0; goes on", |s| {
        asked(s, &packet(1, "open", position(u64::MAX, u64::MAX)))
    }),
    case(
        "to continue behind a position that is not there yet, of the right epoch",
        "reply 0; goes on",
        |s| {
            let epoch = s.service().channel("open").unwrap().epoch;
            asked(s, &packet(1, "open", position(epoch, u64::MAX)))
        },
    ),
    case("to continue with a position of 15 bytes", "1002 not a request packet", |s| {
        let mut bytes = packet(1, "open", position(1, 1));
        bytes.pop();
        send(s, &bytes)
    }),
    case(
        "21 subscriptions, where 20 may be",
        "reply 507 There are 20 subscriptions already, as many as may be; 20 subscriptions",
        |s| {
            let mut raw = stream(s);
            let mut got = String::new();
            for n in 0..21 {
                let name = format!("n{n}");
                s.service().create_channel(&name).unwrap();
                got = ask(&mut raw, &packet(1, &name, Op::Subscribe));
            }
            format!("{got}; {} subscriptions", s.service().counters().subscribers - 1)
        },
    ),
    case(
        "200,000 subscriptions to channels that do not exist, replies read",
        "{404: 200000} replies by status; 2 channels",
        |s| {
            let mut raw = stream(s);
            let mut writer = raw.stream.try_clone().unwrap();
            let write = std::thread::spawn(move || {
                for block in 0..200_u32 {
                    let mut frames = Vec::new();
                    for n in 0..1000 {
                        let name = format!("x{}", block * 1000 + n);
                        frames.extend(masked(0x82, &packet(n + 1, &name, Op::Subscribe)));
                    }
                    std::io::Write::write_all(&mut writer, &frames).unwrap();
                }
            });
            let mut statuses = std::collections::BTreeMap::new();
            for _ in 0..200_000 {
                let frame = raw.message();
                match decode_packet(&frame.payload) {
                    Some(Packet::Reply(reply)) => *statuses.entry(reply.status).or_insert(0) += 1,
                    other => return format!("{other:?}"),
                }
            }
            write.join().unwrap();
            format!("{statuses:?} replies by status; {} channels", s.service().channels().len())
        },
    ),
    with(
        &[("auto_create", "true")],
        "a thousand subscriptions that would each create a channel",
        "reply 507 There are 100 channels, the limit; 100 channels",
        |s| {
            let mut raw = stream(s);
            let mut last = String::new();
            for n in 0..1000 {
                last = ask(&mut raw, &packet(1, &format!("x{n}"), Op::Subscribe));
            }
            format!("{last}; {} channels", s.service().channels().len())
        },
    ),
    case("requests whose replies are not read", "3008 reader is too slow", |s| {
        let mut raw = stream(s);
        s.flood(&mut raw, &masked(0x82, &packet(1, "nowhere", Op::Subscribe)).repeat(1000))
    }),
];
