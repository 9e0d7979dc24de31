//! Who is in a channel, asked for with nonsense, or by too many.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::{Raw, masked};
use crate::stage::{Case, Stage, case, closed, with};

const ROOM: &[(&str, &str)] = &[("namespaces", "open: presence=true")];

fn list(s: &Stage, query: &str) -> String {
    s.get(&format!("/channel/presence/open?{query}"))
}

fn session(s: &Stage) -> Raw {
    let mut raw = Raw::websocket(s.address(), "/ws");
    raw.frame();
    raw
}

fn request(action: &str, payload: &Value) -> Vec<u8> {
    let ask = json!({ "id": 1, "type": "request", "action": action, "payload": payload });
    masked(0x81, ask.to_string().as_bytes())
}

fn hear(raw: &mut Raw) -> Value {
    serde_json::from_slice(&raw.message().payload).unwrap()
}

/// What a session gets for an action.
fn ask(s: &Stage, action: &str, payload: &Value) -> String {
    let mut raw = session(s);
    raw.try_send(request(action, payload));
    let said = match hear(&mut raw)["error"]["code"].as_str() {
        Some(code) => format!("`{code}`"),
        None => "a response".into(),
    };
    format!("{said}; {}", raw.outcome())
}

pub const CASES: &[Case] = &[
    case(
        "the list of a channel that keeps none",
        "404 Channel 'open' tells no presence: its option 'presence' is false; goes on",
        |s| list(s, ""),
    ),
    case("the list of a channel that does not exist", "404 Channel not found; goes on", |s| {
        s.get("/channel/presence/nowhere")
    }),
    case("the list of a name with a NUL", "404 Channel not found; goes on", |s| {
        s.get("/channel/presence/a%00b")
    }),
    case("the list by POST", "405 Method not allowed; goes on", |s| {
        s.answered("POST /channel/presence/open HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx")
    }),
    with(ROOM, "a list with `limit=0`", "400 limit cannot be '0': it is 1 to 1000; goes on", |s| {
        list(s, "limit=0")
    }),
    with(
        ROOM,
        "a list with `limit=1001`",
        "400 limit cannot be '1001': it is 1 to 1000; goes on",
        |s| list(s, "limit=1001"),
    ),
    with(
        ROOM,
        "a list with `limit=-1`",
        "400 limit cannot be '-1': it is 1 to 1000; goes on",
        |s| list(s, "limit=-1"),
    ),
    with(
        ROOM,
        "a list with `limit` beyond 64 bits",
        "400 limit cannot be '18446744073709551616': it is 1 to 1000; goes on",
        |s| list(s, "limit=18446744073709551616"),
    ),
    with(ROOM, "a list behind bytes that are not UTF-8", "200 0 members; goes on", |s| {
        list(s, "after=%FF%00")
    }),
    with(ROOM, "a list behind 4,000 letters", "200 0 members; goes on", |s| {
        list(s, &format!("after={}", "z".repeat(4000)))
    }),
    case("a session that wants `presence` of 1", "`invalid_payload`; goes on", |s| {
        ask(s, "subscribe", &json!({ "channel": "open", "presence": 1 }))
    }),
    case("a session that wants it of a channel that keeps none", "`unsupported`; goes on", |s| {
        ask(s, "subscribe", &json!({ "channel": "open", "presence": true }))
    }),
    with(ROOM, "a session that wants it of a pattern", "`invalid_payload`; goes on", |s| {
        ask(s, "subscribe", &json!({ "pattern": "open", "presence": true }))
    }),
    with(ROOM, "a session's list with a limit of 0", "`invalid_payload`; goes on", |s| {
        ask(s, "presence", &json!({ "channel": "open", "limit": 0 }))
    }),
    with(ROOM, "a session's list with a limit of 1,001", "`invalid_payload`; goes on", |s| {
        ask(s, "presence", &json!({ "channel": "open", "limit": 1001 }))
    }),
    with(ROOM, "a session's list behind a number", "`invalid_payload`; goes on", |s| {
        ask(s, "presence", &json!({ "channel": "open", "after": 7 }))
    }),
    with(ROOM, "a session's list behind 60 KB of nonsense", "a response; goes on", |s| {
        ask(s, "presence", &json!({ "channel": "open", "after": "z".repeat(60_000) }))
    }),
    case(
        "a session's list of a channel that keeps none, behind nonsense",
        "`invalid_payload`; goes on",
        |s| ask(s, "presence", &json!({ "channel": "open", "after": "z" })),
    ),
    with(
        ROOM,
        "200 members that are reset as soon as they are there",
        "200 who came, and each went",
        |s| {
            let mut watcher = session(s);
            watcher.try_send(request("subscribe", &json!({ "channel": "open", "presence": true })));
            hear(&mut watcher);
            for _ in 0..200 {
                let mut raw = session(s);
                raw.try_send(request("subscribe", &json!({ "channel": "open" })));
                hear(&mut raw);
                socket2::SockRef::from(&raw.stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
            let (mut there, mut came, mut went) = (BTreeSet::new(), 0, 0);
            while went < 200 {
                let told = hear(&mut watcher);
                let id = told["data"]["id"].as_str().unwrap().to_owned();
                if told["data"]["event"] == "join" {
                    assert!(there.insert(id), "{told}");
                    came += 1;
                } else {
                    assert!(there.remove(&id), "{told}");
                    went += 1;
                }
            }
            assert!(there.is_empty());
            assert_eq!(s.service().presence("open", None, 10).unwrap().count, 1);
            format!("{came} who came, and each went")
        },
    ),
    with(
        ROOM,
        "one who comes and goes again and again, told to somebody who does not read",
        "3008 reader is too slow; the one goes on",
        |s| {
            let mut watcher = session(s);
            watcher.try_send(request("subscribe", &json!({ "channel": "open", "presence": true })));
            let mut raw = session(s);
            let both = ["subscribe", "unsubscribe"]
                .map(|action| request(action, &json!({ "channel": "open" })))
                .concat();
            let slow = s.becomes(|| {
                raw.try_send(both.repeat(100));
                for _ in 0..200 {
                    assert_eq!(hear(&mut raw)["type"], "response");
                }
                s.service().counters().closed_slow > 0
            });
            let end = loop {
                match watcher.frame_or_end() {
                    None => break "cut".into(),
                    Some(frame) if frame.opcode == 8 => break closed(&frame),
                    Some(_) => {}
                }
            };
            assert!(slow);
            format!("{end}; the one {}", raw.outcome())
        },
    ),
    with(
        ROOM,
        "10,000 requests of a session for the list of 50, not read for now",
        "held back meanwhile, then 10000 responses",
        |s| {
            let mut members: Vec<_> = (0..50).map(|_| session(s)).collect();
            for raw in &mut members {
                raw.try_send(request("subscribe", &json!({ "channel": "open" })));
                hear(raw);
            }
            let mut raw = session(s);
            let frame = request("presence", &json!({ "channel": "open", "limit": 1000 }));
            let mut writer = raw.stream.try_clone().unwrap();
            let write = std::thread::spawn(move || {
                (0..100).all(|_| std::io::Write::write_all(&mut writer, &frame.repeat(100)).is_ok())
            });
            let held = s.becomes(|| s.service().counters().queued_bytes > 0);
            let most = s.service().counters().queued_bytes;
            let mut answers = 0;
            while answers < 10_000 && raw.message().opcode == 1 {
                answers += 1;
            }
            let sent = write.join().unwrap();
            assert!(held && sent && most <= 65_536 + 10_000, "{most} bytes queued");
            format!("held back meanwhile, then {answers} responses")
        },
    ),
];
