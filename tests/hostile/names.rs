//! Names and messages that are none, or that mean something elsewhere.

use crate::stage::{Case, case};

pub const CASES: &[Case] = &[
    case("an empty name", "400 Channel name is empty; goes on", |s| s.get("/channel/create/")),
    case("a name of 256 bytes", "400 Channel name has 256 bytes; the limit is 255; goes on", |s| {
        s.get(&format!("/channel/create/{}", "x".repeat(256)))
    }),
    case(
        "a name of 86 characters of three bytes",
        "400 Channel name has 258 bytes; the limit is 255; goes on",
        |s| s.get(&format!("/channel/create/{}", "%E9%9D%92".repeat(86))),
    ),
    case(
        "a name with a line feed",
        "400 Channel name has a control character at position 1; goes on",
        |s| s.get("/channel/create/a%0Ab"),
    ),
    case(
        "a name with a NUL",
        "400 Channel name has a control character at position 1; goes on",
        |s| s.get("/channel/create/a%00b"),
    ),
    case(
        "a name with a DEL",
        "400 Channel name has a control character at position 1; goes on",
        |s| s.get("/channel/create/a%7Fb"),
    ),
    case(
        "a name with a control character of Latin-1",
        "400 Channel name has a control character at position 1; goes on",
        |s| s.get("/channel/create/a%C2%85b"),
    ),
    case(
        "`%zz`",
        "400 '%' is not followed by two hexadecimal digits; send '%' itself as %25; goes on",
        |s| s.get("/channel/create/%zz"),
    ),
    case(
        "`%4` at the end",
        "400 '%' is not followed by two hexadecimal digits; send '%' itself as %25; goes on",
        |s| s.get("/channel/create/a%4"),
    ),
    case("a byte that is not UTF-8", "400 Not UTF-8 after percent-decoding; goes on", |s| {
        s.get("/channel/create/%FF")
    }),
    case("an overlong slash", "400 Not UTF-8 after percent-decoding; goes on", |s| {
        s.get("/channel/create/%C0%AF")
    }),
    case("a surrogate", "400 Not UTF-8 after percent-decoding; goes on", |s| {
        s.get("/channel/create/%ED%A0%80")
    }),
    case("a character beyond U+10FFFF", "400 Not UTF-8 after percent-decoding; goes on", |s| {
        s.get("/channel/create/%F4%90%80%80")
    }),
    case(
        "`%252e`, encoded twice: decoded once",
        "200 Channel '%2e' created; goes on; named \"%2e\"",
        |s| {
            let got = s.get("/channel/create/%252e");
            format!("{got}; named {:?}", s.service().channel("%2e").unwrap().name)
        },
    ),
    case("`../../etc/passwd`, encoded, as a name", "404 Channel not found; goes on", |s| {
        s.get("/channel/info/..%2F..%2Fetc%2Fpasswd")
    }),
    case("`/channel/../health`", "404 Not found; goes on", |s| s.get("/channel/../health")),
    case("`/qyun/../../etc/passwd`", "404 Not found; goes on", |s| s.get("/qyun/../../etc/passwd")),
    case("`/qyun/%2e%2e/Cargo.toml`", "404 Not found; goes on", |s| {
        s.get("/qyun/%2e%2e/Cargo.toml")
    }),
    case("`//health`", "404 Not found; goes on", |s| s.get("//health")),
    case("a message with CR LF and a head in it", "200 Message broadcasted; goes on", |s| {
        s.get("/channel/send/open/x%0D%0ASet-Cookie:%20a=b%0D%0A%0D%0A")
    }),
    case(
        "a name with CR LF and a head in it, which the answer would repeat",
        "400 Channel name has a control character at position 1; goes on",
        |s| s.get("/channel/create/x%0D%0ASet-Cookie:%20a=b"),
    ),
    case(
        "a name with quotes and braces, which the answer repeats",
        "JSON: Channel '\"}<script>' created",
        |s| {
            let mut raw = s.raw();
            let body = raw.get("/channel/create/%22%7D%3Cscript%3E").body;
            let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
            format!("JSON: {}", parsed["message"].as_str().unwrap())
        },
    ),
    case("a message that is not UTF-8", "400 Not UTF-8 after percent-decoding; goes on", |s| {
        s.get("/channel/send/test/%FF%FE")
    }),
    case(
        "a message over `max_url_message_bytes`",
        "413 Message has 1001 bytes; the limit in a URL is 1000: POST it; goes on",
        |s| s.get(&format!("/channel/send/test/{}", "x".repeat(1001))),
    ),
    case("a listing with `limit=0`", "400 limit cannot be '0': it is 1 to 10000; goes on", |s| {
        s.get("/channels?limit=0")
    }),
    case("a listing with `limit=-1`", "400 limit cannot be '-1': it is 1 to 10000; goes on", |s| {
        s.get("/channels?limit=-1")
    }),
    case(
        "a listing with `limit` beyond 64 bits",
        "400 limit cannot be '99999999999999999999': it is 1 to 10000; goes on",
        |s| s.get("/channels?limit=99999999999999999999"),
    ),
    case(
        "one channel more than `max_channels`",
        "507 There are 100 channels, the limit; 100 channels",
        |s| {
            let mut raw = s.raw();
            let mut got = String::new();
            for n in 0..=100 {
                raw.send(format!("GET /channel/create/n{n} HTTP/1.1\r\nHost: t\r\n\r\n"));
                got = raw.reply();
            }
            format!("{got}; {} channels", s.service().channels().len())
        },
    ),
];
