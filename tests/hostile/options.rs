//! Channels that somebody wants created with options that are none.

use crate::kit::Raw;
use crate::stage::{Case, Stage, case, closed};

/// What the creation of a channel gets.
fn create(s: &Stage, name: &str, options: &str) -> String {
    let length = options.len();
    s.answered(format!(
        "PUT /api/v1/channels/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{options}"
    ))
}

/// The same of one that must not come into being.
fn refused(s: &Stage, options: &str) -> String {
    let got = create(s, "new", options);
    assert!(s.service().channel("new").is_err(), "created: {got}");
    got
}

pub const CASES: &[Case] = &[
    case(
        "no JSON",
        "400 options are a JSON object: expected value at line 1 column 1; goes on",
        |s| refused(s, "overload=hold"),
    ),
    case(
        "an array",
        "400 options are a JSON object: invalid type: sequence, expected a map at line 1 column 0; goes on",
        |s| refused(s, "[]"),
    ),
    case(
        "half an object",
        "400 options are a JSON object: EOF while parsing a string at line 1 column 6; goes on",
        |s| refused(s, r#"{"over"#),
    ),
    case(
        "60,000 brackets",
        "400 options are a JSON object: recursion limit exceeded at line 1 column 139; goes on",
        |s| refused(s, &format!(r#"{{"overload":{}"#, "[".repeat(60_000))),
    ),
    case("an option that does not exist", "400 no option 'colour'; goes on", |s| {
        refused(s, r#"{"colour":"red"}"#).replace(&there_are(), "")
    }),
    case("an option whose name has 60,000 bytes", "400 no option 'xxx…'; goes on", |s| {
        let got = refused(s, &format!(r#"{{"{}":1}}"#, "x".repeat(60_000)));
        got.replace(&there_are(), "").replace(&"x".repeat(60_000), "xxx…")
    }),
    case(
        "an option that is null",
        "400 option 'overload' cannot be null: it takes a number, a string, true or false; goes on",
        |s| refused(s, r#"{"overload":null}"#),
    ),
    case(
        "an `overload` that does not exist",
        "400 option 'overload' cannot be 'explode': it takes one of disconnect, drop_oldest, drop_newest, keep_latest, hold; goes on",
        |s| refused(s, r#"{"overload":"explode"}"#),
    ),
    case(
        "a `hold_ms` of 0",
        "400 option 'hold_ms' cannot be '0': it takes a number from 1 to 3600000; goes on",
        |s| refused(s, r#"{"overload":"hold","hold_ms":0}"#),
    ),
    case(
        "a `queue_bytes` of -1",
        "400 option 'queue_bytes' cannot be '-1': it takes a number from 0 to 1073741824; goes on",
        |s| refused(s, r#"{"queue_bytes":-1}"#),
    ),
    case(
        "a `history_size` of 1.5",
        "400 option 'history_size' cannot be '1.5': it takes a number from 0 to 1000000; goes on",
        |s| refused(s, r#"{"history_size":1.5}"#),
    ),
    case(
        "a `history_size` beyond 64 bits",
        "400 option 'history_size' cannot be '1.8446744073709552e+19': it takes a number from 0 to 1000000; goes on",
        |s| refused(s, r#"{"history_size":18446744073709551616}"#),
    ),
    case(
        "a `history_bytes` of 1e999",
        "400 options are a JSON object: number out of range at line 1 column 22; goes on",
        |s| refused(s, r#"{"history_bytes":1e999}"#),
    ),
    case(
        "a `presence` of `maybe`",
        "400 option 'presence' cannot be 'maybe': it takes true or false; goes on",
        |s| refused(s, r#"{"presence":"maybe"}"#),
    ),
    case(
        "a `durability` of `fsync`, where there is no store",
        "400 channel 'new' has the option durability=fsync, and the server no option 'store'; goes on",
        |s| refused(s, r#"{"durability":"fsync"}"#),
    ),
    case("options of more than `max_message_bytes`", "413 Body is over the limit; closed", |s| {
        refused(s, &format!("{{{}}}", " ".repeat(65_536)))
    }),
    case(
        "options from a page of somebody else",
        "403 Origin is not this server: without option 'admin_token', the admin API is for this machine; goes on",
        |s| {
            s.answered("PUT /api/v1/channels/new HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nContent-Length: 2\r\n\r\n{}")
        },
    ),
    case(
        "other options for a channel that is there",
        "400 Channel already exists; goes on; presence: false",
        |s| {
            let got = create(s, "open", r#"{"presence":true}"#);
            format!("{got}; presence: {}", s.service().presence("open", None, 1).is_ok())
        },
    ),
    case(
        "a name with a line feed",
        "400 Channel name has a control character at position 1; goes on",
        |s| create(s, "a%0Ab", r#"{"overload":"hold"}"#),
    ),
    case(
        "200 channels with options, where 100 may be",
        "507 There are 100 channels, the limit; goes on; 100 channels",
        |s| {
            let mut got = String::new();
            for n in 0..200 {
                got = create(s, &format!("n{n}"), r#"{"overload":"drop_oldest"}"#);
            }
            format!("{got}; {} channels", s.service().channels().len())
        },
    ),
    case(
        "a channel that may keep 1,000,000 publications in 1 TiB, and nothing in it",
        "200 Channel 'new' created; goes on",
        |s| {
            create(
                s,
                "new",
                r#"{"history_size":1000000,"history_bytes":1099511627776,"idempotency_size":1000000}"#,
            )
        },
    ),
    case(
        "a channel that allows a subscriber 1 GiB, and one who does not read",
        "3008 reader is too slow; as much as `queue_bytes` waited",
        |s| {
            create(s, "new", r#"{"queue_bytes":1073741824,"queue_messages":4294967296}"#);
            let mut raw = Raw::websocket(s.address(), "/channel/listen/new");
            let mut most = 0;
            let slow = s.becomes(|| {
                let message = [b'x'; 6000];
                s.service().publish("new", qyun::wire::MessageKind::Text, &message).unwrap();
                let counters = s.service().counters();
                most = counters.queued_bytes.max(most);
                counters.closed_slow > 0
            });
            assert!(slow && most <= 65_536 + 6100, "{most} bytes queued");
            format!("{}; as much as `queue_bytes` waited", end_of(&mut raw))
        },
    ),
    case(
        "a channel that holds its publishers for one who does not read",
        "3008 reader is too slow; what was accepted meanwhile is there, and nothing else",
        |s| {
            create(s, "new", r#"{"overload":"hold","hold_ms":50,"history_size":10}"#);
            let mut raw = Raw::websocket(s.address(), "/channel/listen/new");
            let mut sent = 0;
            let slow = s.becomes(|| {
                let message = [b'x'; 6000];
                // Who has waited for too long is refused.
                let accepted = s.service().publish("new", qyun::wire::MessageKind::Text, &message);
                sent += u64::from(accepted.is_ok());
                s.service().counters().closed_slow > 0
            });
            let info = s.service().channel("new").unwrap();
            assert!(slow && info.offset == sent && info.deliveries.held > 0, "{info:?}");
            let end = end_of(&mut raw);
            format!("{end}; what was accepted meanwhile is there, and nothing else")
        },
    ),
];

/// How a refusal of an unknown option goes on.
fn there_are() -> String {
    let keys: Vec<_> = qyun::hub::CHANNEL_OPTIONS.iter().map(|spec| spec.key).collect();
    format!("; there are: {}", keys.join(", "))
}

/// Reads to the end of a WebSocket.
fn end_of(raw: &mut Raw) -> String {
    loop {
        match raw.frame_or_end() {
            None => return "cut".into(),
            Some(frame) if frame.opcode == 8 => return closed(&frame),
            Some(_) => {}
        }
    }
}
