//! Heads that are no heads, or that two readers could understand differently.

use crate::stage::{Case, case, with};

const UPGRADE: &str = "GET /channel/listen/open HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

pub const CASES: &[Case] = &[
    case("no `Host`", "400 Host is missing; closed", |s| s.refused("GET /health HTTP/1.1\r\n\r\n")),
    case("two `Host`s", "400 Host is repeated; closed", |s| {
        s.refused("GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    }),
    case("a `Host` of two hosts", "400 Host is malformed; closed", |s| {
        s.refused("GET /health HTTP/1.1\r\nHost: a, b\r\n\r\n")
    }),
    case("a `Host` with a user", "400 Host is malformed; closed", |s| {
        s.refused("GET /health HTTP/1.1\r\nHost: a@b\r\n\r\n")
    }),
    case("lines that end in LF alone", "400 A line ends without CR; closed", |s| {
        s.refused("GET /health HTTP/1.1\nHost: t\n\n")
    }),
    case("one line that ends in LF alone", "400 A line ends without CR; closed", |s| {
        s.refused("GET /health HTTP/1.1\r\nHost: t\nX: y\r\n\r\n")
    }),
    case("a CR alone in a value", "400 Malformed header value; closed", |s| {
        s.refused("GET /health HTTP/1.1\r\nHost: t\r\nX: a\rY: b\r\n\r\n")
    }),
    case("a NUL in a value", "400 Malformed header value; closed", |s| {
        s.refused("GET /health HTTP/1.1\r\nHost: t\r\nX: a\0b\r\n\r\n")
    }),
    case("a NUL in the path", "400 Malformed request line; closed", |s| {
        s.refused("GET /hea\0lth HTTP/1.1\r\nHost: t\r\n\r\n")
    }),
    case("a tab in the path", "400 Malformed request line; closed", |s| {
        s.refused("GET /hea\tlth HTTP/1.1\r\nHost: t\r\n\r\n")
    }),
    case(
        "a space in the path",
        "400 Malformed request line: a space in a path is sent as %20; closed",
        |s| s.refused("GET /hea lth HTTP/1.1\r\nHost: t\r\n\r\n"),
    ),
    case("a `#` in the path", "400 Request target has a '#': it is sent as %23; closed", |s| {
        s.refused("GET /health#x HTTP/1.1\r\nHost: t\r\n\r\n")
    }),
    case("two spaces behind the method", "400 Malformed request line; closed", |s| {
        s.refused("GET  /health HTTP/1.1\r\nHost: t\r\n\r\n")
    }),
    case("a folded field", "400 Malformed header name; closed", |s| {
        s.refused("GET /health HTTP/1.1\r\nHost: t\r\nX: a\r\n b\r\n\r\n")
    }),
    case("a space in front of a colon", "400 Malformed header name; closed", |s| {
        s.refused("GET /health HTTP/1.1\r\nHost: t\r\nX : a\r\n\r\n")
    }),
    case("a first field that begins with a space", "400 Malformed header name; closed", |s| {
        s.refused("GET /health HTTP/1.1\r\n Host: t\r\n\r\n")
    }),
    case("a field without a name", "400 Malformed header name; closed", |s| {
        s.refused("GET /health HTTP/1.1\r\nHost: t\r\n: a\r\n\r\n")
    }),
    case("a field without a colon", "400 Malformed header name; closed", |s| {
        s.refused("GET /health HTTP/1.1\r\nHost: t\r\nabc\r\n\r\n")
    }),
    case("HTTP/0.9", "400 Malformed request line; closed", |s| s.refused("GET /health\r\n")),
    case("HTTP/1.2", "505 HTTP version is not 1.0 or 1.1; closed", |s| {
        s.refused("GET /health HTTP/1.2\r\nHost: t\r\n\r\n")
    }),
    case("HTTP/2 without being asked", "505 HTTP version is not 1.0 or 1.1; closed", |s| {
        s.refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    }),
    case("`http/1.1` in small letters", "505 HTTP version is not 1.0 or 1.1; closed", |s| {
        s.refused("GET /health http/1.1\r\nHost: t\r\n\r\n")
    }),
    case("a TLS ClientHello", "400 Malformed request line; closed", |s| {
        s.refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x5a\x5a".as_slice())
    }),
    case("SSH", "400 Malformed request line; closed", |s| s.refused("SSH-2.0-OpenSSH_9.2\r\n")),
    case("a method of 10,000 letters", "414 Request target is too long; closed", |s| {
        s.refused(format!("{} / HTTP/1.1\r\nHost: t\r\n\r\n", "A".repeat(10_000)))
    }),
    case("65 fields", "431 More than 64 header fields; closed", |s| {
        s.refused(format!("GET / HTTP/1.1\r\nHost: t\r\n{}\r\n", "X: y\r\n".repeat(64)))
    }),
    case("fields of 100 KB", "431 Request header is too long; closed", |s| {
        s.refused(format!(
            "GET / HTTP/1.1\r\nHost: t\r\n{}\r\n",
            format!("X: {}\r\n", "y".repeat(10_000)).repeat(10)
        ))
    }),
    case("a field's name of 100 KB", "431 Request header is too long; closed", |s| {
        s.refused(format!("GET / HTTP/1.1\r\nHost: t\r\n{}: y\r\n\r\n", "x".repeat(100_000)))
    }),
    case("a field that does not end, 1 MB of it", "431 Request header is too long; closed", |s| {
        s.answered(format!("GET / HTTP/1.1\r\nHost: t\r\nX: {}", "y".repeat(1 << 20)))
    }),
    case("a path of 1 MB", "414 Request target is too long; closed", |s| {
        s.refused(format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "x".repeat(1 << 20)))
    }),
    case("a query of 1 MB", "414 Request target is too long; closed", |s| {
        s.refused(format!("GET /channels?{} HTTP/1.1\r\nHost: t\r\n\r\n", "a=b&".repeat(1 << 18)))
    }),
    case("a line that does not end, 1 MB of it", "414 Request target is too long; closed", |s| {
        s.answered(format!("GET /{}", "x".repeat(1 << 20)))
    }),
    case("1 MB of empty lines", "431 Request header is too long; closed", |s| {
        s.refused("\r\n".repeat(1 << 19))
    }),
    case(
        "an upgrade without a key",
        "400 Sec-WebSocket-Key is not 16 bytes of base64; closed",
        |s| s.refused(format!("{UPGRADE}\r\n")),
    ),
    case("an upgrade with two keys", "400 Sec-WebSocket-Key is repeated; closed", |s| {
        s.refused(format!("{UPGRADE}{KEY}{KEY}\r\n"))
    }),
    case(
        "an upgrade whose key is not 16 bytes",
        "400 Sec-WebSocket-Key is not 16 bytes of base64; closed",
        |s| s.refused(format!("{UPGRADE}Sec-WebSocket-Key: YWJj\r\n\r\n")),
    ),
    case("an upgrade to version 8", "426 Sec-WebSocket-Version is not 13; closed", |s| {
        s.refused(format!("{}{KEY}\r\n", UPGRADE.replace("13", "8")))
    }),
    case(
        "an upgrade by POST",
        "400 A WebSocket upgrade is an HTTP/1.1 GET without a body; closed",
        |s| s.refused(format!("{}{KEY}\r\n", UPGRADE.replace("GET", "POST"))),
    ),
    case(
        "an upgrade by HTTP/1.0",
        "400 A WebSocket upgrade is an HTTP/1.1 GET without a body; closed",
        |s| s.refused(format!("{}{KEY}\r\n", UPGRADE.replace("HTTP/1.1", "HTTP/1.0"))),
    ),
    case(
        "an upgrade with a body",
        "400 A WebSocket upgrade is an HTTP/1.1 GET without a body; closed",
        |s| s.refused(format!("{UPGRADE}{KEY}Content-Length: 5\r\n\r\nhello")),
    ),
    case(
        "an upgrade with a chunked body",
        "400 A WebSocket upgrade is an HTTP/1.1 GET without a body; closed",
        |s| s.refused(format!("{UPGRADE}{KEY}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
    ),
    case("a sub-protocol with a space", "400 Sec-WebSocket-Protocol is malformed; closed", |s| {
        s.refused(format!("{UPGRADE}{KEY}Sec-WebSocket-Protocol: a b\r\n\r\n"))
    }),
    case(
        "extensions that are no list of extensions",
        "400 Sec-WebSocket-Extensions is malformed; closed",
        |s| s.refused(format!("{UPGRADE}{KEY}Sec-WebSocket-Extensions: ;=;,\"\r\n\r\n")),
    ),
    with(
        &[("origins", "https://good.example")],
        "an upgrade from a page of somebody else",
        "403 Origin is not allowed; goes on",
        |s| s.answered(format!("{UPGRADE}{KEY}Origin: https://evil.example\r\n\r\n")),
    ),
    case("an upgrade for a channel that does not exist", "403 Channel not found; goes on", |s| {
        s.answered(format!("{}{KEY}\r\n", UPGRADE.replace("open", "nowhere")))
    }),
];
