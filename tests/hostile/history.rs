//! Histories, positions, keys and patterns of nonsense, or more of them than anybody needs.

use crate::kit::{KEY, Raw, masked};
use crate::stage::{Case, Stage, case, with};

const KEPT: &[(&str, &str)] = &[("namespaces", "open: history_size=1000, history_bytes=16777216")];

fn history(s: &Stage, query: &str) -> String {
    s.get(&format!("/channel/history/open?{query}"))
}

/// Fills the history with `count` messages of 60,000 bytes.
fn fill(s: &Stage, count: usize) {
    for _ in 0..count {
        s.service().publish("open", qyun::wire::MessageKind::Text, &[b'x'; 60_000]).unwrap();
    }
}

/// What a listener that says where it was is told.
fn listen(s: &Stage, query: &str) -> String {
    let mut raw = s.raw();
    let answer = raw.upgrade(&format!("/channel/listen/open?{query}"), "");
    match answer.field("qyun-recovered") {
        Some(recovered) => format!("{}, recovered: {recovered}", answer.status),
        None if answer.status == 101 => "101, from the present".into(),
        None => {
            let message = answer.body.split(r#""message":""#).nth(1).unwrap_or_default();
            format!("{} {}", answer.status, message.trim_end_matches("\"}"))
        }
    }
}

fn publish(s: &Stage, fields: &str) -> String {
    s.answered(format!(
        "POST /channel/send/open HTTP/1.1\r\nHost: t\r\n{fields}Content-Length: 1\r\n\r\nx"
    ))
}

/// What a session gets for an action.
fn ask(s: &Stage, action: &str, payload: &str) -> String {
    let mut raw = Raw::websocket(s.address(), "/ws");
    raw.frame();
    let text = format!(r#"{{"id":1,"type":"request","action":"{action}","payload":{payload}}}"#);
    raw.send_frame(0x81, text.as_bytes());
    let answer = String::from_utf8(raw.message().payload).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let said = match answer["error"]["code"].as_str() {
        Some(code) => format!("`{code}`"),
        None => match answer["data"]["recovered"].as_bool() {
            Some(recovered) => format!("a response, recovered: {recovered}"),
            None => "a response".into(),
        },
    };
    format!("{said}; {}", raw.outcome())
}

pub const CASES: &[Case] = &[
    case("a page with `limit=0`", "400 limit cannot be '0': it is 1 to 1000; goes on", |s| {
        history(s, "limit=0")
    }),
    case("a page with `limit=1001`", "400 limit cannot be '1001': it is 1 to 1000; goes on", |s| {
        history(s, "limit=1001")
    }),
    case("a page with `limit=-1`", "400 limit cannot be '-1': it is 1 to 1000; goes on", |s| {
        history(s, "limit=-1")
    }),
    case("a page behind `x`", "400 after cannot be 'x': it is an offset; goes on", |s| {
        history(s, "after=x")
    }),
    case("a page behind -1", "400 after cannot be '-1': it is an offset; goes on", |s| {
        history(s, "after=-1")
    }),
    case(
        "a page behind 2⁶⁴",
        "400 after cannot be '18446744073709551616': it is an offset; goes on",
        |s| history(s, "after=18446744073709551616"),
    ),
    with(KEPT, "a page behind 2⁶⁴ - 1", "200 0 publications; goes on", |s| {
        fill(s, 3);
        history(s, "after=18446744073709551615")
    }),
    with(
        KEPT,
        "a page whose end is in front of its beginning",
        "200 0 publications; goes on",
        |s| {
            fill(s, 3);
            history(s, "after=3&before=1")
        },
    ),
    with(KEPT, "a page in front of 0, from behind", "200 0 publications; goes on", |s| {
        fill(s, 3);
        history(s, "before=0&reverse=1")
    }),
    case("a page of a channel that does not exist", "404 Channel not found; goes on", |s| {
        s.get("/channel/history/nowhere")
    }),
    case("to listen from `x`", "400 since cannot be 'x': it is a position, EPOCH-OFFSET", |s| {
        listen(s, "since=x")
    }),
    case("to listen from `1`", "400 since cannot be '1': it is a position, EPOCH-OFFSET", |s| {
        listen(s, "since=1")
    }),
    case(
        "to listen from `-1--1`",
        "400 since cannot be '-1--1': it is a position, EPOCH-OFFSET",
        |s| listen(s, "since=-1--1"),
    ),
    case("to listen from `0-0`", "101, recovered: false", |s| listen(s, "since=0-0")),
    case("to listen from the last position that a number can say", "101, recovered: false", |s| {
        listen(s, "since=18446744073709551615-18446744073709551615")
    }),
    case(
        "to listen from a position of the right epoch that is not there yet",
        "101, recovered: false",
        |s| {
            let epoch = s.service().channel("open").unwrap().epoch;
            listen(s, &format!("since={epoch}-1000"))
        },
    ),
    case("`Last-Event-ID` of 4,000 letters", "200", |s| {
        let mut raw = s.raw();
        let id = "x".repeat(3900);
        raw.send(format!(
            "GET /channel/listen/open HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\nLast-Event-ID: {id}\r\n\r\n"
        ));
        raw.head().split_whitespace().nth(1).unwrap().to_owned()
    }),
    with(
        KEPT,
        "10 requests in a row for pages of 4 MiB, answers not read for now",
        "one at a time, 10 pages",
        |s| {
            fill(s, 200);
            let mut raw = s.raw();
            let request = "GET /channel/history/open?limit=1000 HTTP/1.1\r\nHost: t\r\n\r\n";
            raw.try_send(request.repeat(10));
            let held = s.becomes(|| s.service().counters().queued_bytes > 0);
            let most = s.service().counters().queued_bytes;
            let mut pages = 0;
            while pages < 10 && raw.answer().status == 200 {
                pages += 1;
            }
            assert!(held && most <= 8 << 20, "{most} bytes queued");
            format!("one at a time, {pages} pages")
        },
    ),
    with(
        KEPT,
        "10 requests of a session for pages of 4 MiB, not read for now",
        "one at a time, 10 pages",
        |s| {
            fill(s, 200);
            let mut raw = Raw::websocket(s.address(), "/ws");
            raw.frame();
            let text = r#"{"id":1,"type":"request","action":"history","payload":{"channel":"open","limit":1000}}"#;
            raw.try_send(masked(0x81, text.as_bytes()).repeat(10));
            let held = s.becomes(|| s.service().counters().queued_bytes > 0);
            let most = s.service().counters().queued_bytes;
            let mut pages = 0;
            while pages < 10 && raw.message().opcode == 1 {
                pages += 1;
            }
            assert!(held && most <= 8 << 20, "{most} bytes queued");
            format!("one at a time, {pages} pages")
        },
    ),
    with(
        KEPT,
        "20 listeners from the beginning of a history of 12 MB that read nothing",
        "no more than a page waits for each",
        |s| {
            fill(s, 200);
            let epoch = s.service().channel("open").unwrap().epoch;
            let raws: Vec<_> = (0..20)
            .map(|_| {
                let mut raw = s.raw();
                raw.send(format!(
                    "GET /channel/listen/open?since={epoch}-0 HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
                ));
                raw
            })
            .collect();
            let behind = s.becomes(|| s.service().counters().queued_bytes > 0);
            let most = s.service().counters().queued_bytes;
            // A page of 64 KiB and a message each.
            assert!(behind && most <= 20 * 2 * 65_536, "{most} bytes queued");
            drop(raws);
            "no more than a page waits for each".into()
        },
    ),
    case(
        "an empty `Idempotency-Key`",
        "400 an idempotency key is 1 to 255 bytes, not 0; goes on",
        |s| publish(s, "Idempotency-Key:\r\n"),
    ),
    case(
        "an `Idempotency-Key` of 256 bytes",
        "400 an idempotency key is 1 to 255 bytes, not 256; goes on",
        |s| publish(s, &format!("Idempotency-Key: {}\r\n", "k".repeat(256))),
    ),
    case("two `Idempotency-Key`s", "400 Idempotency-Key is repeated; goes on", |s| {
        publish(s, "Idempotency-Key: a\r\nIdempotency-Key: b\r\n")
    }),
    case(
        "a key that another message has",
        "409 another message was published under this key; goes on",
        |s| {
            publish(s, "Idempotency-Key: a\r\n");
            s.answered("POST /channel/send/open HTTP/1.1\r\nHost: t\r\nIdempotency-Key: a\r\nContent-Length: 1\r\n\r\ny")
        },
    ),
    with(
        &[("namespaces", "open: idempotency_size=100")],
        "10,000 keys, where 100 are remembered",
        "10000 publications, then 10001",
        |s| {
            let mut raw = s.raw();
            for block in 0..100 {
                let requests: String = (0..100)
                .map(|n| format!("POST /channel/send/open HTTP/1.1\r\nHost: t\r\nIdempotency-Key: {block}-{n}\r\nContent-Length: 1\r\n\r\nx"))
                .collect();
                raw.try_send(requests);
                for _ in 0..100 {
                    assert_eq!(raw.answer().status, 200);
                }
            }
            // The last one is known, the first one is not any more.
            let offset = || s.service().channel("open").unwrap().offset;
            publish(s, "Idempotency-Key: 99-99\r\n");
            let known = offset();
            publish(s, "Idempotency-Key: 0-0\r\n");
            format!("{known} publications, then {}", offset())
        },
    ),
    case("a session's `since` of text", "`invalid_payload`; goes on", |s| {
        ask(s, "subscribe", r#"{"channel":"open","since":"1-1"}"#)
    }),
    case("a session's `since` of -1", "`invalid_payload`; goes on", |s| {
        ask(s, "subscribe", r#"{"channel":"open","since":{"epoch":-1,"offset":-1}}"#)
    }),
    case("a session's `since` beyond 64 bits", "`invalid_payload`; goes on", |s| {
        ask(
            s,
            "subscribe",
            r#"{"channel":"open","since":{"epoch":18446744073709551616,"offset":0}}"#,
        )
    }),
    case("a session's `since` from nowhere", "a response, recovered: false; goes on", |s| {
        ask(s, "subscribe", r#"{"channel":"open","since":{"epoch":1,"offset":1}}"#)
    }),
    case("a pattern of nothing", "`invalid_name`; goes on", |s| {
        ask(s, "subscribe", r#"{"pattern":""}"#)
    }),
    case("a pattern with an empty segment", "`invalid_name`; goes on", |s| {
        ask(s, "subscribe", r#"{"pattern":"a..*"}"#)
    }),
    case("a pattern with `>` in its middle", "`invalid_name`; goes on", |s| {
        ask(s, "subscribe", r#"{"pattern":"a.>.b"}"#)
    }),
    case("a pattern of 33 segments", "`invalid_name`; goes on", |s| {
        ask(s, "subscribe", &format!(r#"{{"pattern":"{}>"}}"#, "a.".repeat(32)))
    }),
    case("a pattern of 60,000 bytes", "`invalid_name`; goes on", |s| {
        ask(s, "subscribe", &format!(r#"{{"pattern":"{}"}}"#, "*.".repeat(30_000)))
    }),
    case("a pattern of 256 bytes", "`invalid_name`; goes on", |s| {
        ask(s, "subscribe", &format!(r#"{{"pattern":"{}"}}"#, "x".repeat(256)))
    }),
    case("a pattern with a NUL", "`invalid_name`; goes on", |s| {
        ask(s, "subscribe", r#"{"pattern":"a\u0000.*"}"#)
    }),
    case("a pattern that ends with a dot", "`invalid_name`; goes on", |s| {
        ask(s, "subscribe", r#"{"pattern":"a.*."}"#)
    }),
    case("a pattern that is a number", "`invalid_payload`; goes on", |s| {
        ask(s, "subscribe", r#"{"pattern":7}"#)
    }),
    case("a pattern from a position on", "`invalid_payload`; goes on", |s| {
        ask(s, "subscribe", r#"{"pattern":"*","since":{"epoch":1,"offset":1}}"#)
    }),
    case("neither a pattern nor a channel", "`invalid_payload`; goes on", |s| {
        ask(s, "subscribe", r#"{"presence":false}"#)
    }),
    case("the end of a pattern that never began", "`not_subscribed`; goes on", |s| {
        ask(s, "unsubscribe", r#"{"pattern":"a.*"}"#)
    }),
    with(
        &[("session_patterns", "false")],
        "a pattern where there are none",
        "`forbidden`; goes on",
        |s| ask(s, "subscribe", r#"{"pattern":"*"}"#),
    ),
    case(
        "a pattern that begins and ends 10,000 times",
        "20000 responses; then in no channel",
        |s| {
            let mut raw = Raw::websocket(s.address(), "/ws");
            raw.frame();
            let both = ["subscribe", "unsubscribe"].map(|action| {
                let ask = format!(
                    r#"{{"type":"request","action":"{action}","payload":{{"pattern":"*"}}}}"#
                );
                masked(0x81, ask.as_bytes())
            });
            let frames = both.concat().repeat(10_000);
            let mut writer = raw.stream.try_clone().unwrap();
            let write = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &frames));
            let mut responses = 0;
            for _ in 0..20_000 {
                let frame = raw.message();
                let text = String::from_utf8_lossy(&frame.payload);
                assert!(text.contains(r#""type":"response""#), "{text}");
                responses += 1;
            }
            write.join().unwrap().unwrap();
            // The witness stays.
            assert!(s.becomes(|| s.service().counters().subscribers == 1));
            format!("{responses} responses; then in no channel")
        },
    ),
    case("a pattern and a channel in one request", "`invalid_payload`; goes on", |s| {
        ask(s, "subscribe", r#"{"pattern":"*","channel":"open"}"#)
    }),
    case(
        "a pattern that matches 100 channels, where 20 subscriptions may be",
        "`limit_exceeded`; goes on",
        |s| {
            for n in 2..100 {
                s.service().create_channel(&format!("n{n}")).unwrap();
            }
            ask(s, "subscribe", r#"{"pattern":">"}"#)
        },
    ),
    case(
        "21 patterns that match nothing, where 20 subscriptions may be",
        "{\"limit_exceeded\": 1, \"response\": 20}",
        |s| {
            let mut raw = Raw::websocket(s.address(), "/ws");
            raw.frame();
            let mut answers = std::collections::BTreeMap::new();
            for n in 0..21 {
                let text = format!(
                    r#"{{"type":"request","action":"subscribe","payload":{{"pattern":"x{n}.*"}}}}"#
                );
                raw.send_frame(0x81, text.as_bytes());
                let answer: serde_json::Value =
                    serde_json::from_slice(&raw.message().payload).unwrap();
                let code = answer["error"]["code"].as_str().unwrap_or("response").to_owned();
                *answers.entry(code).or_insert(0) += 1;
            }
            format!("{answers:?}")
        },
    ),
];
