//! Batches that are none, or of more than may be.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kit::Raw;
use crate::stage::{Case, Stage, case, with};

/// A request that publishes a batch.
fn request(query: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /channels/publish{query} HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// What a batch that names the channel `test` gets; nothing of it may be published.
fn refused(s: &Stage, body: impl AsRef<[u8]>) -> String {
    let got = s.answered(request("", body.as_ref()));
    assert_eq!(s.service().channel("test").unwrap().offset, 0, "published: {got}");
    got
}

/// The statuses of a batch's messages, how often each came, and whether the connection goes on.
fn statuses(s: &Stage, batch: &Value) -> String {
    let mut raw = s.raw();
    raw.try_send(request("", batch.to_string().as_bytes()));
    let answer = raw.answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    let told: Value = serde_json::from_str(&answer.body).unwrap();
    let mut counts = BTreeMap::new();
    for result in told["results"].as_array().unwrap() {
        *counts.entry(result["error"]["status"].as_u64().unwrap_or(200)).or_insert(0) += 1;
    }
    format!("{counts:?} messages by status; {}", raw.get("/health").status)
}

fn message(channel: &str, text: &str) -> Value {
    json!({ "channel": channel, "message": text })
}

/// What a session gets for a batch.
fn session(s: &Stage, payload: &Value) -> String {
    let mut raw = Raw::websocket(s.address(), "/ws");
    raw.frame();
    let ask = json!({ "id": 1, "type": "request", "action": "publish_batch", "payload": payload });
    raw.send_frame(0x81, ask.to_string().as_bytes());
    let answer: Value = serde_json::from_slice(&raw.message().payload).unwrap();
    assert_eq!(s.service().channel("test").unwrap().offset, 0, "published: {answer}");
    let said = match (answer["error"]["code"].as_str(), &answer["data"]["failed"]) {
        (Some(code), _) => format!("`{code}`"),
        (None, failed) => format!("a response, {failed} failed"),
    };
    format!("{said}; {}", raw.outcome())
}

pub const CASES: &[Case] = &[
    case("nothing", "200 0 of 0 messages broadcasted; goes on", |s| refused(s, "")),
    case(
        "no JSON",
        "400 The batch cannot be read: expected value at line 1 column 1; goes on",
        |s| refused(s, "hello"),
    ),
    case(
        "a number",
        "400 The batch cannot be read: invalid type: integer `7`, expected struct Publish at line 1 column 1; goes on",
        |s| refused(s, "7"),
    ),
    case(
        "an array that does not end",
        "400 The batch cannot be read: EOF while parsing a value at line 1 column 34; goes on",
        |s| refused(s, r#"[{"channel":"test","message":"x"},"#),
    ),
    case(
        "lines of which the last one is cut",
        "400 The batch cannot be read: EOF while parsing a string at line 2 column 15; goes on",
        |s| refused(s, "{\"channel\":\"test\",\"message\":\"x\"}\n{\"channel\":\"tes"),
    ),
    case(
        "something behind the array",
        "400 The batch cannot be read: trailing characters at line 1 column 36; goes on",
        |s| refused(s, r#"[{"channel":"test","message":"x"}] []"#),
    ),
    case(
        "a message without a channel",
        "400 The batch cannot be read: missing field `channel` at line 1 column 49; goes on",
        |s| refused(s, r#"[{"channel":"test","message":"x"},{"message":"x"}]"#),
    ),
    case(
        "a message that is a number",
        "400 The batch cannot be read: invalid type: integer `5`, expected a string at line 1 column 30; goes on",
        |s| refused(s, r#"[{"channel":"test","message":5}]"#),
    ),
    case(
        "a channel twice in a message",
        "400 The batch cannot be read: duplicate field `channel` at line 1 column 28; goes on",
        |s| refused(s, r#"[{"channel":"open","channel":"test","message":"x"}]"#),
    ),
    case(
        "half a surrogate pair",
        "400 The batch cannot be read: unexpected end of hex escape at line 1 column 37; goes on",
        |s| refused(s, r#"[{"channel":"test","message":"\ud800"}]"#),
    ),
    case(
        "bytes that are not UTF-8",
        "400 The batch cannot be read: invalid utf-8 sequence of 1 bytes from index 30; goes on",
        |s| refused(s, b"[{\"channel\":\"test\",\"message\":\"\xff\"}]"),
    ),
    case(
        "1,000,000 brackets that open",
        "400 The batch cannot be read: invalid type: sequence, expected a string at line 1 column 2; goes on",
        |s| refused(s, "[".repeat(1_000_000)),
    ),
    case(
        "1,000,000 brackets in a member that nobody knows",
        "200 1 of 1 messages broadcasted; goes on",
        |s| {
            let (open, close) = ("[".repeat(1_000_000), "]".repeat(1_000_000));
            let body = format!(r#"[{{"channel":"open","message":"x","more":{open}{close}}}]"#);
            s.answered(request("", body.as_bytes()))
        },
    ),
    case(
        "base64 that is none, behind messages that are good",
        "400 'message' 2 of the batch is not base64: Invalid symbol 42, offset 0.; goes on",
        |s| {
            let bad = json!({ "channel": "test", "message": "*", "encoding": "base64" });
            let good = message("test", "x");
            refused(s, json!([good, good, bad]).to_string())
        },
    ),
    case(
        "an encoding that does not exist",
        "400 The batch cannot be read: unknown variant `rot13`, expected `text` or `base64` at line 1 column 51; goes on",
        |s| refused(s, r#"[{"channel":"test","message":"x","encoding":"rot13"}]"#),
    ),
    case(
        "1,001 messages, where 1,000 may be",
        "413 A batch has at most 1000 messages, and there are more; goes on",
        |s| refused(s, json!(vec![message("test", ""); 1001]).to_string()),
    ),
    case(
        "100,000 messages as lines, where 1,000 may be",
        "413 A batch has at most 1000 messages, and there are more; goes on",
        |s| refused(s, "{\"channel\":\"test\",\"message\":\"\"}\n".repeat(100_000)),
    ),
    case(
        "a body over `max_batch_bytes`: told by its length",
        "413 Body is over the limit; closed",
        |s| {
            let length = (4 << 20) + 1;
            s.answered(format!(
                "POST /channels/publish HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n["
            ))
        },
    ),
    case(
        "chunks of more than `max_batch_bytes` in all",
        "413 Body is over the limit; closed",
        |s| {
            let mut raw = s.raw();
            raw.try_send(
                "POST /channels/publish HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            raw.try_send(format!("100000\r\n{}\r\n", " ".repeat(1 << 20)).repeat(5));
            raw.reply_and_end()
        },
    ),
    case(
        "a message over `max_message_bytes`, and one behind it",
        "{200: 1, 413: 1} messages by status; 200",
        |s| statuses(s, &json!([message("open", &"x".repeat(65_537)), message("open", "x")])),
    ),
    case(
        "names that are none: empty, of 256 bytes, with a NUL",
        "{400: 3} messages by status; 200",
        |s| {
            let names = ["", &"x".repeat(256), "a\0b"];
            statuses(s, &json!(names.map(|name| message(name, "x"))))
        },
    ),
    case("keys that are none: empty, and of 256 bytes", "{400: 2} messages by status; 200", |s| {
        let with = |key: &str| json!({ "channel": "open", "message": "x", "key": key });
        statuses(s, &json!([with(""), with(&"k".repeat(256))]))
    }),
    case("one key for two messages that differ", "{200: 1, 409: 1} messages by status; 200", |s| {
        let with = |text: &str| json!({ "channel": "open", "message": text, "key": "k" });
        statuses(s, &json!([with("a"), with("b")]))
    }),
    case(
        "1,000 channels that do not exist",
        "{404: 1000} messages by status; 200; 2 channels",
        |s| {
            let all: Vec<_> = (0..1000).map(|n| message(&format!("n{n}"), "x")).collect();
            let got = statuses(s, &json!(all));
            format!("{got}; {} channels", s.service().channels().len())
        },
    ),
    with(
        &[("auto_create", "true")],
        "1,000 channels that would be created, where 100 may be",
        "{200: 98, 507: 902} messages by status; 200; 100 channels",
        |s| {
            let all: Vec<_> = (0..1000).map(|n| message(&format!("n{n}"), "x")).collect();
            let got = statuses(s, &json!(all));
            format!("{got}; {} channels", s.service().channels().len())
        },
    ),
    case("`?result=many`", "400 result cannot be 'many': it is 0 or 1; goes on", |s| {
        s.answered(request("?result=many", b"[]"))
    }),
    case("a batch by GET", "405 Method not allowed; goes on", |s| s.get("/channels/publish")),
    case(
        "100 batches of 1,000 messages in a row, answers not read for now",
        "one at a time, 100 answers",
        |s| {
            let mut raw = s.raw();
            let batch = json!(vec![message("nowhere", "x"); 1000]).to_string();
            let all = request("", batch.as_bytes()).repeat(100);
            let mut writer = raw.stream.try_clone().unwrap();
            let write = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &all));
            let held = s.becomes(|| s.service().counters().queued_bytes > 0);
            let most = s.service().counters().queued_bytes;
            let mut answers = 0;
            while answers < 100 && raw.answer().status == 200 {
                answers += 1;
            }
            write.join().unwrap().unwrap();
            // An answer is of 60 KB, and there are 256 KiB of them before the next one waits.
            assert!(held && most <= 512 << 10, "{most} bytes queued");
            format!("one at a time, {answers} answers")
        },
    ),
    case("a session's batch of nothing", "a response, 0 failed; goes on", |s| {
        session(s, &json!({ "messages": [] }))
    }),
    case("a session's batch without messages", "`invalid_payload`; goes on", |s| {
        session(s, &json!({ "result": true }))
    }),
    case("a session's batch that is an object", "`invalid_payload`; goes on", |s| {
        session(s, &json!({ "messages": message("test", "x") }))
    }),
    case("a session's batch of which one message is a number", "`invalid_payload`; goes on", |s| {
        session(s, &json!({ "messages": [message("test", "x"), 7] }))
    }),
    case("a session's batch with base64 that is none", "`invalid_payload`; goes on", |s| {
        let bad = json!({ "channel": "test", "message": "*", "encoding": "base64" });
        session(s, &json!({ "messages": [message("test", "x"), bad] }))
    }),
    case("a session's batch of 1,001 messages", "`too_large`; goes on", |s| {
        session(s, &json!({ "messages": vec![message("test", ""); 1001] }))
    }),
    case(
        "a session's batch for 1,000 channels that do not exist",
        "a response, 1000 failed; goes on",
        |s| session(s, &json!({ "messages": vec![message("nowhere", "x"); 1000] })),
    ),
];
