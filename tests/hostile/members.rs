//! Packets of connections with a name that are none, come in no order, or ask for too much.

use qyun::wire::Position;
use qyun::wire::members::{self, Call, Notice, decode_notice, encode_call};
use qyun::wire::stream::{Op, Packet, Request, decode_packet};

use crate::kit::{Raw, masked};
use crate::stage::{Case, Stage, case, with};

const ROOM: &[(&str, &str)] = &[("namespaces", "open: presence=true")];

fn packet(call: &Call<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_call(&mut out, call);
    out
}

fn plain(channel: &str, op: Op<'_>) -> Vec<u8> {
    packet(&Call::Plain(Request { id: 1, channel, op }))
}

fn pattern(pattern: &str) -> Vec<u8> {
    packet(&Call::Pattern { id: 1, pattern })
}

fn end_of_pattern(pattern: &str) -> Vec<u8> {
    packet(&Call::NoPattern { id: 1, pattern })
}

fn watch(channel: &str, since: Option<(u64, u64)>) -> Vec<u8> {
    let since = since.map(|(epoch, offset)| Position { epoch, offset });
    packet(&Call::Watch { id: 1, channel, since })
}

fn attendance(channel: &str, limit: u16, after: Option<&str>) -> Vec<u8> {
    packet(&Call::Attendance { id: 1, channel, limit, after })
}

fn member(s: &Stage) -> Raw {
    let mut raw = Raw::websocket(s.address(), members::PATH);
    let frame = raw.frame();
    assert!(matches!(decode_notice(&frame.payload), Some(Notice::Welcome(_))), "{frame:?}");
    raw
}

/// What one binary message gets.
fn send(s: &Stage, bytes: &[u8]) -> String {
    let mut raw = member(s);
    raw.try_send(masked(0x82, bytes));
    raw.outcome()
}

/// What each of them gets, if it is the same.
fn all(s: &Stage, packets: impl IntoIterator<Item = Vec<u8>>) -> String {
    let got: Vec<_> = packets.into_iter().map(|packet| send(s, &packet)).collect();
    if got.iter().all(|one| *one == got[0]) { got[0].clone() } else { format!("{got:?}") }
}

/// The next reply; what is told of channels besides is passed over.
fn hear(raw: &mut Raw) -> String {
    loop {
        let frame = raw.message();
        match decode_packet(&frame.payload) {
            Some(Packet::Reply(reply)) => {
                let there = reply.there.map_or("", |_| ", and who is there");
                let text = format!("reply {} {}", reply.status, reply.error);
                return format!("{}{there}", text.trim());
            }
            None if decode_notice(&frame.payload).is_some() => {}
            other => return format!("{other:?}: {frame:?}"),
        }
    }
}

fn asked(s: &Stage, bytes: &[u8]) -> String {
    let mut raw = member(s);
    raw.try_send(masked(0x82, bytes));
    let reply = hear(&mut raw);
    format!("{reply}; {}", raw.outcome())
}

pub const CASES: &[Case] = &[
    case("nothing", "1002 not a request packet", |s| send(s, b"")),
    case("operations 0, 9, 132 and 255", "1002 not a request packet", |s| {
        all(s, [0, 9, 132, 255].map(|op| vec![op, 0, 1, 0, 1, 0, 0, 0, b'a']))
    }),
    case("requests cut at each byte in front of their payload", "1002 not a request packet", |s| {
        let calls = [
            pattern("a.*"),
            end_of_pattern("a.*"),
            watch("a.b", Some((1, 1))),
            attendance("a.b", 1, Some("id")),
        ];
        let cuts = calls.iter().flat_map(|call| (0..11).map(move |cut| call[..cut].to_vec()));
        all(s, cuts)
    }),
    case(
        "a watch behind a position of 1, 15, 17 and 60,000 bytes",
        "1002 not a request packet",
        |s| {
            let sizes = [1, 15, 17, 60_000];
            all(s, sizes.map(|size| [watch("open", None), vec![0; size]].concat()))
        },
    ),
    case("a pattern, and the end of one, with a payload", "1002 not a request packet", |s| {
        all(s, [pattern("a.*"), end_of_pattern("a.*")].map(|call| [call, vec![0]].concat()))
    }),
    case("who is there, with no limit and with half of one", "1002 not a request packet", |s| {
        let call = attendance("open", 1, None);
        all(s, [2, 1].map(|less| call[..call.len() - less].to_vec()))
    }),
    case("who is there, behind an id that is not UTF-8", "1002 not a request packet", |s| {
        send(s, &[attendance("open", 1, None), vec![0xff]].concat())
    }),
    case("patterns and names that are not UTF-8", "1002 not a request packet", |s| {
        all(s, (5..=8).map(|op| vec![op, 0, 2, 0, 1, 0, 0, 0, 0xc0, 0xaf, 1, 0]))
    }),
    case("a name of 65,535 bytes that are not there", "1002 not a request packet", |s| {
        all(s, (1..=8).map(|op| vec![op, 0, 255, 255, 1, 0, 0, 0, b'a']))
    }),
    case("a request as text", "1002 not a request packet", |s| {
        let mut raw = member(s);
        raw.try_send(masked(0x81, &pattern("a.*")));
        raw.outcome()
    }),
    case("what the server says, said to it", "1002 not a request packet", |s| {
        let mut notice = Vec::new();
        members::encode_notice(
            &mut notice,
            &Notice::Welcome("00000000-0000-0000-0000-000000000000"),
        );
        send(s, &notice)
    }),
    case(
        "a packet of 1,025 bytes more than a message may have: told by its header",
        "1009 message over the limit",
        |s| {
            let mut raw = member(s);
            let length: u64 = 65_536 + 1025;
            raw.try_send([&[0x82, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat());
            raw.outcome()
        },
    ),
    case(
        "a message over the limit",
        "reply 413 Message has 65537 bytes; the limit is 65536; goes on",
        |s| {
            let message = [0; 65_537];
            asked(s, &plain("test", Op::Publish(qyun::wire::MessageKind::Binary, &message)))
        },
    ),
    case("a pattern of nothing", "reply 400 Channel name is empty; goes on", |s| {
        asked(s, &pattern(""))
    }),
    case(
        "a pattern of 256 bytes",
        "reply 400 Channel name has 256 bytes; the limit is 255; goes on",
        |s| asked(s, &pattern(&"x".repeat(256))),
    ),
    case(
        "a pattern of 33 segments",
        "reply 400 a pattern has 33 segments; the limit is 32; goes on",
        |s| asked(s, &pattern(&["*"; 33].join("."))),
    ),
    case(
        "a pattern with a line feed",
        "reply 400 Channel name has a control character at position 1; goes on",
        |s| asked(s, &pattern("a\n.*")),
    ),
    case(
        "a pattern with an empty segment",
        "reply 400 'a..*' is no pattern of channel names: a segment between dots is empty; goes on",
        |s| asked(s, &pattern("a..*")),
    ),
    case(
        "a pattern with `>` in its middle",
        "reply 400 '>.a' is no pattern of channel names: '>' is its end; goes on",
        |s| asked(s, &pattern(">.a")),
    ),
    with(
        &[("session_patterns", "false")],
        "a pattern where there are none",
        "reply 403 This server takes no patterns; goes on",
        |s| asked(s, &pattern("*")),
    ),
    case("the end of a pattern that never began", "reply 404 Not subscribed; goes on", |s| {
        asked(s, &end_of_pattern("a.*"))
    }),
    case("the end of a pattern that is none", "reply 400 Channel name is empty; goes on", |s| {
        asked(s, &end_of_pattern(""))
    }),
    case(
        "a watch of a channel that keeps nobody",
        "reply 404 Channel 'open' tells no presence: its option 'presence' is false; goes on",
        |s| asked(s, &watch("open", None)),
    ),
    case("a watch of a channel that does not exist", "reply 404 Channel not found; goes on", |s| {
        asked(s, &watch("nowhere", None))
    }),
    with(
        ROOM,
        "a watch behind a position of nonsense: every bit set",
        "reply 0, and who is there; goes on",
        |s| asked(s, &watch("open", Some((u64::MAX, u64::MAX)))),
    ),
    with(
        ROOM,
        "who is there, at most 0",
        "reply 400 limit cannot be 0: it is 1 to 1000; goes on",
        |s| asked(s, &attendance("open", 0, None)),
    ),
    with(
        ROOM,
        "who is there, at most 65,535",
        "reply 400 limit cannot be 65535: it is 1 to 1000; goes on",
        |s| asked(s, &attendance("open", 65_535, None)),
    ),
    with(ROOM, "who is there, behind 60,000 letters", "reply 0, and who is there; goes on", |s| {
        asked(s, &attendance("open", 1, Some(&"z".repeat(60_000))))
    }),
    case("who is in a channel that does not exist", "reply 404 Channel not found; goes on", |s| {
        asked(s, &attendance("nowhere", 1, None))
    }),
    with(
        ROOM,
        "ends before beginnings, and everything twice",
        "404 404 0 0 0 0 0 404 0 0 0 404; goes on",
        |s| {
            let mut raw = member(s);
            let calls = [
                end_of_pattern("none.*"),
                plain("open", Op::Unsubscribe),
                attendance("open", 1, None),
                watch("open", None),
                watch("open", Some((1, 1))),
                plain("open", Op::Subscribe),
                plain("open", Op::Unsubscribe),
                plain("open", Op::Unsubscribe),
                pattern("none.*"),
                pattern("none.*"),
                end_of_pattern("none.*"),
                end_of_pattern("none.*"),
            ];
            let frames: Vec<_> = calls.iter().map(|call| masked(0x82, call)).collect();
            raw.try_send(frames.concat());
            let got = calls.map(|_| {
                let reply = hear(&mut raw);
                reply.split([' ', ',']).nth(1).unwrap_or_default().to_owned()
            });
            format!("{}; {}", got.join(" "), raw.outcome())
        },
    ),
    case("requests that want no reply, and fail", "4 replies, each with id 0; goes on", |s| {
        let mut raw = member(s);
        let mut calls =
            [pattern(""), end_of_pattern("a"), watch("open", None), attendance("open", 0, None)];
        for call in &mut calls {
            call[4..8].fill(0);
            raw.try_send(masked(0x82, call));
        }
        for call in &calls {
            let frame = raw.message();
            let Some(Packet::Reply(reply)) = decode_packet(&frame.payload) else {
                return format!("{call:?}: {frame:?}");
            };
            assert!(reply.id == 0 && reply.status >= 400, "{reply:?}");
        }
        format!("{} replies, each with id 0; {}", calls.len(), raw.outcome())
    }),
    case(
        "21 patterns, where 20 subscriptions may be",
        "reply 507 'n20.*' matches 0 channels: with what there is, it would be 21 subscriptions, and 20 may be; goes on",
        |s| {
            let mut raw = member(s);
            let mut got = String::new();
            for n in 0..21 {
                raw.try_send(masked(0x82, &pattern(&format!("n{n}.*"))));
                got = hear(&mut raw);
            }
            format!("{got}; {}", raw.outcome())
        },
    ),
    case(
        "100 channels created under a pattern, where 20 subscriptions may be",
        "19 that entered, 79 beyond",
        |s| {
            let mut raw = member(s);
            raw.try_send(masked(0x82, &pattern("n.*")));
            hear(&mut raw);
            let (mut entered, mut beyond) = (0, 0);
            for n in 0..98 {
                s.service().create_channel(&format!("n.{n}")).unwrap();
                match decode_notice(&raw.message().payload) {
                    Some(Notice::Entered { .. }) => entered += 1,
                    Some(Notice::Beyond(_)) => beyond += 1,
                    other => return format!("{other:?}"),
                }
            }
            format!("{entered} that entered, {beyond} beyond")
        },
    ),
    case(
        "10,000 times the same pattern, and 10,000 times its end",
        "20000 replies: 10001 × 0, 9999 × 404",
        |s| {
            let mut raw = member(s);
            let frames = [pattern("none.*"), end_of_pattern("none.*")]
                .map(|call| masked(0x82, &call).repeat(10_000));
            let mut writer = raw.stream.try_clone().unwrap();
            let write = std::thread::spawn(move || {
                frames.iter().all(|frames| std::io::Write::write_all(&mut writer, frames).is_ok())
            });
            let mut statuses = std::collections::BTreeMap::new();
            for _ in 0..20_000 {
                let reply = hear(&mut raw);
                let status = reply.split(' ').nth(1).unwrap_or_default().to_owned();
                *statuses.entry(status).or_insert(0) += 1;
            }
            assert!(write.join().unwrap());
            let words: Vec<_> = statuses.iter().map(|(what, n)| format!("{n} × {what}")).collect();
            format!("{} replies: {}", statuses.values().sum::<usize>(), words.join(", "))
        },
    ),
    with(
        ROOM,
        "100,000 requests for who is there, replies not read for now",
        "held back meanwhile, then 100000 replies",
        |s| {
            let mut raw = member(s);
            let frame = masked(0x82, &attendance("open", 1000, None));
            let mut writer = raw.stream.try_clone().unwrap();
            let write = std::thread::spawn(move || {
                (0..100)
                    .all(|_| std::io::Write::write_all(&mut writer, &frame.repeat(1000)).is_ok())
            });
            let held = s.becomes(|| s.service().counters().queued_bytes > 0);
            let most = s.service().counters().queued_bytes;
            let mut replies = 0;
            while replies < 100_000 && hear(&mut raw) == "reply 0, and who is there" {
                replies += 1;
            }
            let sent = write.join().unwrap();
            assert!(held && sent && most <= 65_536 + 1024, "{most} bytes queued");
            format!("held back meanwhile, then {replies} replies")
        },
    ),
];
