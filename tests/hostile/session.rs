//! Requests of the session dialect that are none, or ask for too much.

use crate::kit::{Raw, masked};
use crate::stage::{Case, Stage, case, closed, with};

fn session(s: &Stage) -> Raw {
    let mut raw = Raw::websocket(s.address(), "/ws");
    raw.frame();
    raw
}

/// The next answer: its error's code, or that it is a response.
fn hear(raw: &mut Raw) -> String {
    let frame = raw.message();
    if frame.opcode == 8 {
        return closed(&frame);
    }
    // By hand: what is echoed may be more than a JSON library takes.
    let text = String::from_utf8(frame.payload).unwrap();
    match text.split(r#""code":""#).nth(1).and_then(|rest| rest.split('"').next()) {
        Some(code) if text.contains(r#""type":"error""#) => {
            let id = text.starts_with(r#"{"id":"#);
            format!("`{code}`{}", if id { "" } else { ", without an id" })
        }
        _ if text.contains(r#""type":"response""#) => "a response".into(),
        _ => format!("something else: {text}"),
    }
}

/// What a text message gets, and whether the connection goes on.
fn say(s: &Stage, text: impl AsRef<[u8]>) -> String {
    let mut raw = session(s);
    raw.send_frame(0x81, text.as_ref());
    let heard = hear(&mut raw);
    format!("{heard}; {}", raw.outcome())
}

fn ask(s: &Stage, action: &str, payload: &str) -> String {
    say(s, format!(r#"{{"id":1,"type":"request","action":"{action}","payload":{payload}}}"#))
}

pub const CASES: &[Case] = &[
    case("nothing", "`parse_error`, without an id; goes on", |s| say(s, "")),
    case("no JSON", "`parse_error`, without an id; goes on", |s| say(s, "hello")),
    case("an array, a number, a string, null", "`invalid_request`, without an id; goes on", |s| {
        let all = ["[1]", "7", r#""x""#, "null"].map(|text| say(s, text));
        if all.iter().all(|one| *one == all[0]) { all[0].clone() } else { format!("{all:?}") }
    }),
    case("60,000 brackets that open", "`parse_error`, without an id; goes on", |s| {
        say(s, "[".repeat(60_000))
    }),
    case("60,000 objects in each other", "`parse_error`, without an id; goes on", |s| {
        say(s, r#"{"a":"#.repeat(12_000))
    }),
    case("30,000 brackets in a payload that is not looked at", "a response; goes on", |s| {
        say(
            s,
            format!(
                r#"{{"id":1,"type":"request","action":"ping","payload":{}{}}}"#,
                "[".repeat(30_000),
                "]".repeat(30_000)
            ),
        )
    }),
    case("30,000 brackets to be echoed", "a response; goes on", |s| {
        ask(s, "echo", &format!(r#"{{"message":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000)))
    }),
    case("a number of 1e999999 to be echoed", "a response; goes on", |s| {
        ask(s, "echo", r#"{"message":1e999999}"#)
    }),
    case("an id of 1e999999", "a response; goes on", |s| {
        say(s, r#"{"id":1e999999,"type":"request","action":"ping"}"#)
    }),
    case("an id of 1,000 bytes", "`invalid_request`, without an id; goes on", |s| {
        say(s, format!(r#"{{"id":"{}","type":"request","action":"ping"}}"#, "i".repeat(1000)))
    }),
    case("an id that is an object", "`invalid_request`, without an id; goes on", |s| {
        say(s, r#"{"id":{},"type":"request","action":"ping"}"#)
    }),
    case("a member twice", "`invalid_request`, without an id; goes on", |s| {
        say(s, r#"{"id":1,"id":2,"type":"request","action":"ping"}"#)
    }),
    case("half a surrogate pair", "`invalid_request`; goes on", |s| {
        say(s, r#"{"id":1,"type":"request","action":"\ud800"}"#)
    }),
    case("an action that does not exist", "`unknown_action`; goes on", |s| {
        ask(s, "drop_all_channels", "{}")
    }),
    case("an action of 60 KB", "`unknown_action`; goes on", |s| ask(s, &"x".repeat(60_000), "{}")),
    case("a binary message", "`unsupported`, without an id; goes on", |s| {
        let mut raw = session(s);
        raw.send_frame(0x82, b"\0\x01\x02");
        let heard = hear(&mut raw);
        format!("{heard}; {}", raw.outcome())
    }),
    case("a message over twice the limit and 4 KiB", "1009 message over the limit", |s| {
        let mut raw = session(s);
        raw.try_send(masked(0x81, &[b'x'; 140_000]));
        raw.outcome()
    }),
    case("to publish more than `max_message_bytes`", "`too_large`; goes on", |s| {
        ask(s, "publish", &format!(r#"{{"channel":"test","message":"{}"}}"#, "x".repeat(65_537)))
    }),
    case("to publish base64 that is none", "`invalid_payload`; goes on", |s| {
        ask(s, "publish", r#"{"channel":"test","message":"=?","encoding":"base64"}"#)
    }),
    case("to publish in an encoding that does not exist", "`invalid_payload`; goes on", |s| {
        ask(s, "publish", r#"{"channel":"test","message":"","encoding":"rot13"}"#)
    }),
    case("to publish a number", "`invalid_payload`; goes on", |s| {
        ask(s, "publish", r#"{"channel":"test","message":1}"#)
    }),
    case("to create a channel with a NUL in its name", "`invalid_name`; goes on", |s| {
        ask(s, "create", r#"{"channel":"a\u0000b"}"#)
    }),
    case("to create a channel whose name is a number", "`invalid_payload`; goes on", |s| {
        ask(s, "create", r#"{"channel":7}"#)
    }),
    case("to list with a limit of 0", "`invalid_payload`; goes on", |s| {
        ask(s, "connections", r#"{"limit":0}"#)
    }),
    case("to list with a limit of -1", "`invalid_payload`; goes on", |s| {
        ask(s, "connections", r#"{"limit":-1}"#)
    }),
    case("to list with a limit of 1.5", "`invalid_payload`; goes on", |s| {
        ask(s, "connections", r#"{"limit":1.5}"#)
    }),
    case("to list with a limit beyond 64 bits", "`invalid_payload`; goes on", |s| {
        ask(s, "connections", r#"{"limit":99999999999999999999}"#)
    }),
    case("to list behind 60 KB of nonsense", "a response; goes on", |s| {
        ask(s, "connections", &format!(r#"{{"after":"{}"}}"#, "z".repeat(60_000)))
    }),
    case("the members of a channel that does not exist", "`channel_not_found`; goes on", |s| {
        ask(s, "presence", r#"{"channel":"nowhere"}"#)
    }),
    case("to call a method that does not exist", "`method_not_found`; goes on", |s| {
        ask(s, "rpc", r#"{"method":"system","params":["rm"]}"#)
    }),
    case(
        "21 subscriptions, where 20 may be",
        "`limit_exceeded`, without an id; 20 subscriptions",
        |s| {
            let mut raw = session(s);
            let mut got = String::new();
            for n in 0..21 {
                s.service().create_channel(&format!("n{n}")).unwrap();
                let text = format!(
                    r#"{{"type":"request","action":"subscribe","payload":{{"channel":"n{n}"}}}}"#
                );
                raw.send_frame(0x81, text.as_bytes());
                got = hear(&mut raw);
            }
            format!("{got}; {} subscriptions", s.service().counters().subscribers - 1)
        },
    ),
    with(
        &[("auto_create", "true")],
        "10,000 channels created by publishing to them",
        "`limit_exceeded`; 100 channels",
        |s| {
            let mut raw = session(s);
            let mut writer = raw.stream.try_clone().unwrap();
            let write = std::thread::spawn(move || {
                for n in 0..10_000 {
                    let text = format!(
                        r#"{{"id":{n},"type":"request","action":"publish","payload":{{"channel":"x{n}","message":""}}}}"#
                    );
                    std::io::Write::write_all(&mut writer, &masked(0x81, text.as_bytes())).unwrap();
                }
            });
            let mut last = String::new();
            for _ in 0..10_000 {
                last = hear(&mut raw);
            }
            write.join().unwrap();
            format!("{last}; {} channels", s.service().channels().len())
        },
    ),
    case(
        "10,000 requests of 6 KB each to be echoed, answers not read for now",
        "held back meanwhile, then 10000 responses",
        |s| {
            let mut raw = session(s);
            let text = format!(
                r#"{{"id":1,"type":"request","action":"echo","payload":{{"message":"{}"}}}}"#,
                "x".repeat(6000)
            );
            let frame = masked(0x81, text.as_bytes());
            let mut writer = raw.stream.try_clone().unwrap();
            let write = std::thread::spawn(move || {
                (0..10_000).all(|_| std::io::Write::write_all(&mut writer, &frame).is_ok())
            });
            // It is read no further once its queue is a quarter full.
            let held = s.becomes(|| s.service().counters().queued_bytes > 0);
            let most = s.service().counters().queued_bytes;
            let mut answers = 0;
            while answers < 10_000 && hear(&mut raw) == "a response" {
                answers += 1;
            }
            let sent = write.join().unwrap();
            assert!(held && sent && most <= 65_536 + 6100, "{most} bytes queued");
            format!("held back meanwhile, then {answers} responses")
        },
    ),
];
