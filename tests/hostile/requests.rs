//! Bodies that lie about their length, and requests nobody expects.

use crate::stage::{Case, Stage, case};

/// What a POST with these fields and this body gets.
fn post(s: &Stage, fields: &str, body: &str) -> String {
    s.refused(format!("POST /channel/send/test HTTP/1.1\r\nHost: t\r\n{fields}\r\n\r\n{body}"))
}

fn chunked(s: &Stage, body: &str) -> String {
    post(s, "Transfer-Encoding: chunked", body)
}

pub const CASES: &[Case] = &[
    case("`Content-Length: -1`", "400 Content-Length is not a number; closed", |s| {
        post(s, "Content-Length: -1", "x")
    }),
    case("`Content-Length: +1`", "400 Content-Length is not a number; closed", |s| {
        post(s, "Content-Length: +1", "x")
    }),
    case("`Content-Length: 0x1`", "400 Content-Length is not a number; closed", |s| {
        post(s, "Content-Length: 0x1", "x")
    }),
    case("`Content-Length: 1 1`", "400 Content-Length is not a number; closed", |s| {
        post(s, "Content-Length: 1 1", "x")
    }),
    case("`Content-Length: 1, 1`", "400 Content-Length is not a number; closed", |s| {
        post(s, "Content-Length: 1, 1", "x")
    }),
    case("an empty `Content-Length`", "400 Content-Length is not a number; closed", |s| {
        post(s, "Content-Length:", "x")
    }),
    case("a `Content-Length` beyond 64 bits", "400 Content-Length is not a number; closed", |s| {
        post(s, "Content-Length: 18446744073709551617", "x")
    }),
    case("a `Content-Length` of 1 TB", "413 Body is over the limit; closed", |s| {
        post(s, "Content-Length: 1000000000000", "x")
    }),
    case("two `Content-Length`s that agree", "400 Content-Length is repeated; closed", |s| {
        post(s, "Content-Length: 1\r\nContent-Length: 1", "x")
    }),
    case("two `Content-Length`s that do not", "400 Content-Length is repeated; closed", |s| {
        post(s, "Content-Length: 1\r\nContent-Length: 60", "x")
    }),
    case(
        "`Content-Length` beside `Transfer-Encoding`",
        "400 Transfer-Encoding beside Content-Length, or in HTTP/1.0; closed",
        |s| post(s, "Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ),
    case(
        "`Transfer-Encoding` beside `Content-Length`",
        "400 Transfer-Encoding beside Content-Length, or in HTTP/1.0; closed",
        |s| post(s, "Transfer-Encoding: chunked\r\nContent-Length: 4", "0\r\n\r\n"),
    ),
    case("`Transfer-Encoding: xchunked`", "501 Transfer-Encoding is not chunked; closed", |s| {
        post(s, "Transfer-Encoding: xchunked", "0\r\n\r\n")
    }),
    case(
        "`Transfer-Encoding: chunked, identity`",
        "501 Transfer-Encoding is not chunked; closed",
        |s| post(s, "Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
    ),
    case(
        "`Transfer-Encoding: gzip, chunked`",
        "501 Transfer-Encoding is not chunked; closed",
        |s| post(s, "Transfer-Encoding: gzip, chunked", "0\r\n\r\n"),
    ),
    case(
        "`Transfer-Encoding: \"chunked\"`, quoted",
        "501 Transfer-Encoding is not chunked; closed",
        |s| post(s, "Transfer-Encoding: \"chunked\"", "0\r\n\r\n"),
    ),
    case("`Transfer-Encoding` with a vertical tab", "400 Malformed header value; closed", |s| {
        post(s, "Transfer-Encoding: \x0bchunked", "0\r\n\r\n")
    }),
    case("`Transfer-Encoding` twice", "501 Transfer-Encoding is not chunked; closed", |s| {
        post(s, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n")
    }),
    case(
        "`Transfer-Encoding` in HTTP/1.0",
        "400 Transfer-Encoding beside Content-Length, or in HTTP/1.0; closed",
        |s| {
            s.refused(
                "POST /channel/send/test HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            )
        },
    ),
    case("a chunk of size -1", "400 Malformed chunked body; closed", |s| {
        chunked(s, "-1\r\nx\r\n0\r\n\r\n")
    }),
    case("a chunk of size 0x1", "400 Malformed chunked body; closed", |s| {
        chunked(s, "0x1\r\nx\r\n0\r\n\r\n")
    }),
    case("a chunk of size ` 1`", "400 Malformed chunked body; closed", |s| {
        chunked(s, " 1\r\nx\r\n0\r\n\r\n")
    }),
    case("a chunk without a size", "400 Malformed chunked body; closed", |s| {
        chunked(s, "\r\nx\r\n0\r\n\r\n")
    }),
    case("a chunk's size beyond 64 bits", "400 Malformed chunked body; closed", |s| {
        chunked(s, "10000000000000001\r\nx\r\n0\r\n\r\n")
    }),
    case("a chunk's size of a thousand zeros", "400 Malformed chunked body; closed", |s| {
        chunked(s, &format!("{}1\r\nx\r\n0\r\n\r\n", "0".repeat(1000)))
    }),
    case("a chunk longer than it says", "400 Malformed chunked body; closed", |s| {
        chunked(s, "1\r\nxy\r\n0\r\n\r\n")
    }),
    case("a chunk whose size ends in LF alone", "400 Malformed chunked body; closed", |s| {
        chunked(s, "1\nx\r\n0\r\n\r\n")
    }),
    case("a chunk that ends in LF alone", "400 Malformed chunked body; closed", |s| {
        chunked(s, "1\r\nx\n0\r\n\r\n")
    }),
    case("a chunk's line of 10 KB", "400 Malformed chunked body; closed", |s| {
        chunked(s, &format!("1;{}\r\nx\r\n", "e".repeat(10_000)))
    }),
    case("chunk extensions of 20 KB in all", "400 Malformed chunked body; closed", |s| {
        chunked(s, &format!("1;{}\r\nx\r\n", "e".repeat(1000)).repeat(20))
    }),
    case("trailers of 100 KB", "400 Malformed chunked body; closed", |s| {
        chunked(s, &format!("1\r\nx\r\n0\r\n{}\r\n", "X: y\r\n".repeat(16_000)))
    }),
    case(
        "chunks of more than `max_message_bytes` in all",
        "413 Body is over the limit; closed",
        |s| chunked(s, &format!("8000\r\n{}\r\n", "x".repeat(0x8000)).repeat(3)),
    ),
    case("a body over `max_message_bytes`", "413 Body is over the limit; closed", |s| {
        post(s, "Content-Length: 65537", &"x".repeat(65_537))
    }),
    case("`Expect: 200-fine`", "417 Expect is not 100-continue; closed", |s| {
        post(s, "Expect: 200-fine\r\nContent-Length: 1", "x")
    }),
    case(
        "a text that is not UTF-8, as a body",
        "400 Message is not UTF-8 at byte 0; goes on",
        |s| {
            s.answered(
                b"POST /channel/send/test HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n\xc0\xaf"
                    .as_slice(),
            )
        },
    ),
    case("a request in the body of another", "400 Channel already exists; goes on", |s| {
        let inner = "GET /channel/send/test/inner HTTP/1.1\r\nHost: t\r\n\r\n";
        s.answered(format!(
            "POST /channel/create/open HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{inner}",
            inner.len()
        ))
    }),
    case("`OPTIONS *`", "404 Not found; goes on", |s| {
        s.answered("OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n")
    }),
    case("`CONNECT` to another host", "404 Not found; goes on", |s| {
        s.answered("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n")
    }),
    case("`TRACE`", "405 Method not allowed; goes on", |s| {
        s.answered("TRACE /health HTTP/1.1\r\nHost: t\r\nCookie: secret\r\n\r\n")
    }),
    case("the address of another server", "200 Serving; goes on", |s| {
        s.answered("GET http://example.org/health HTTP/1.1\r\nHost: example.org\r\n\r\n")
    }),
    case(
        "the admin API through a name that leads here",
        "403 Host does not name the loopback: without option 'admin_token', the admin API is for this machine; goes on",
        |s| s.answered("GET /api/v1/stats HTTP/1.1\r\nHost: rebound.example\r\n\r\n"),
    ),
    case(
        "the admin API from a page of somebody else",
        "403 Origin is not this server: without option 'admin_token', the admin API is for this machine; goes on",
        |s| {
            s.answered("POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nContent-Length: 1\r\n\r\nx")
        },
    ),
    case(
        "the admin API through a proxy on this machine",
        "403 The request came through a proxy: without option 'admin_token', the admin API is for this machine; goes on",
        |s| {
            s.answered(
            "GET /api/v1/stats HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n",
        )
        },
    ),
];
