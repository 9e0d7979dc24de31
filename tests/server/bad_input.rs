//! Hostile and broken requests: each gets its answer, and nobody else notices.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::kit::{PATIENCE, Raw, server, until};

#[test]
fn what_is_no_acceptable_request_is_answered_and_closed() {
    let server = server(&[]);
    server.service().create_channel("test").unwrap();
    let mut witness = Raw::websocket(server.local_addr(), "/channel/listen/test");
    const SEND: &str = "POST /channel/send/test HTTP/1.1\r\nHost: t\r\n";
    for (request, status) in [
        ("GET /channel/send/test/x HTTP/1.1\r\n\r\n".to_string(), 400),
        ("GET /channel/send/test/x HTTP/1.1\nHost: t\n\n".into(), 400),
        ("GET /channel/send/test/x HTTP/3.0\r\nHost: t\r\n\r\n".into(), 505),
        ("GET /channel/send/test/x#y HTTP/1.1\r\nHost: t\r\n\r\n".into(), 400),
        ("GET /channel/send/test/a b HTTP/1.1\r\nHost: t\r\n\r\n".into(), 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03".into(), 400),
        (format!("{SEND}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"), 400),
        (format!("{SEND}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        (format!("{SEND}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 501),
        (format!("{SEND}Transfer-Encoding: chunked\r\n\r\nzz\r\n"), 400),
        (format!("{SEND}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"), 400),
        (format!("{SEND}Content-Length: 99999999999\r\n\r\n"), 413),
        (format!("{SEND}Expect: something\r\nContent-Length: 1\r\n\r\nx"), 417),
        (format!("{SEND}{}\r\n", "X: y\r\n".repeat(70)), 431),
        (
            "GET /channel/listen/test HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \r\n\r\n".into(),
            400,
        ),
        (
            format!(
                "GET /channel/listen/test HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: {}\r\n\r\n",
                crate::kit::KEY
            ),
            426,
        ),
    ] {
        let mut raw = Raw::connect(server.local_addr());
        raw.send(&request);
        // Smuggled behind it: must not be executed.
        let _ =
            raw.stream.write_all(b"GET /channel/send/test/smuggled HTTP/1.1\r\nHost: t\r\n\r\n");
        let answer = raw.answer();
        assert_eq!(answer.status, status, "{request:?}");
        assert!(answer.body.starts_with(r#"{"status":"error","message":""#), "{}", answer.body);
        assert!(answer.field("connection").unwrap().ends_with("close"));
        assert!(raw.is_closed(), "{request:?}");
    }
    server.service().publish("test", qyun::wire::MessageKind::Text, b"only this").unwrap();
    assert_eq!(witness.message().payload, b"only this");
}

#[test]
fn long_heads_are_refused_by_what_is_long_about_them() {
    let server = server(&[("max_header_bytes", "1000"), ("max_url_message_bytes", "2000")]);
    server.service().create_channel("test").unwrap();
    let path = |n: usize| {
        format!("GET /channel/send/test/{} HTTP/1.1\r\nHost: t\r\n\r\n", "%41".repeat(n))
    };
    let mut raw = Raw::connect(server.local_addr());
    raw.send(path(2000));
    assert_eq!(raw.answer().status, 200);
    raw.send(path(2001));
    assert_eq!(raw.answer().status, 413);
    for (request, status) in [
        (path(10_000), 414),
        ("GET /".to_string() + &"x".repeat(20_000), 414),
        (format!("GET / HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n", "x".repeat(1500)), 431),
        (format!("GET / HTTP/1.1\r\nHost: t\r\nX: {}", "x".repeat(1500)), 431),
    ] {
        for cut in [100, 100_000] {
            let mut raw = Raw::connect(server.local_addr());
            for piece in request.as_bytes().chunks(cut) {
                if raw.stream.write_all(piece).is_err() {
                    break;
                }
            }
            assert_eq!(raw.answer().status, status);
        }
    }
}

#[test]
fn a_slow_head_or_body_is_408_and_an_idle_connection_is_closed() {
    let server = server(&[
        ("handshake_timeout_ms", "100"),
        ("request_timeout_ms", "100"),
        ("idle_timeout_ms", "100"),
    ]);
    let address = server.local_addr();
    // One byte now and then does not help: the head as a whole has its time.
    let mut drip = Raw::connect(address);
    let start = Instant::now();
    for byte in b"GET /health HTTP/1.1\r\nX: ".iter().cycle() {
        if drip.stream.write_all(&[*byte]).is_err() || start.elapsed() > PATIENCE {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
        drip.stream.set_nonblocking(true).unwrap();
        let answered = drip.stream.peek(&mut [0]).is_ok();
        drip.stream.set_nonblocking(false).unwrap();
        if answered {
            break;
        }
    }
    assert_eq!(drip.answer().status, 408);

    let mut body = Raw::connect(address);
    body.send("POST /channel/send/x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nab");
    assert_eq!(body.answer().status, 408);

    let mut silent = Raw::connect(address);
    assert!(silent.is_closed());
    let mut idle = Raw::connect(address);
    assert_eq!(idle.get("/health").status, 200);
    assert!(idle.is_closed());
    until("all are gone", || server.service().counters().connections == 0);
}

#[test]
fn beyond_max_connections_the_answer_is_503() {
    let server = server(&[("max_connections", "2"), ("shards", "1")]);
    let mut first = Raw::connect(server.local_addr());
    let mut second = Raw::connect(server.local_addr());
    assert_eq!(first.get("/health").status, 200);
    assert_eq!(second.get("/health").status, 200);
    for _ in 0..3 {
        let mut third = Raw::connect(server.local_addr());
        let answer = third.upgrade("/channel/listen/test", "");
        assert_eq!(answer.status, 503);
        assert!(third.is_closed());
    }
    drop(first);
    until("there is room again", || server.service().counters().connections == 1);
    let mut fourth = Raw::connect(server.local_addr());
    assert_eq!(fourth.get("/health").status, 200);
}

#[test]
fn beyond_max_channels_the_answer_is_507() {
    let server = server(&[("max_channels", "1")]);
    let mut raw = Raw::connect(server.local_addr());
    assert_eq!(raw.get("/channel/create/a").status, 200);
    assert_eq!(raw.get("/channel/create/b").status, 507);
    raw.request("DELETE", "/channel/a", "", b"");
    assert_eq!(raw.get("/channel/create/b").status, 200);
}

#[test]
fn connections_that_end_at_any_byte_leave_nothing() {
    let server = server(&[]);
    server.service().create_channel("test").unwrap();
    let mut script = format!(
        "GET /channel/send/test/x HTTP/1.1\r\nHost: t\r\n\r\n\
         POST /channel/send/test HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n\
         GET /channel/listen/test HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
        crate::kit::KEY
    )
    .into_bytes();
    script.extend(crate::kit::masked(0x01, b"fragment"));
    script.extend(crate::kit::masked(0x89, b"ping"));
    for cut in 0..=script.len() {
        let mut raw = Raw::connect(server.local_addr());
        raw.send(&script[..cut]);
        // Half of them end in an orderly way, half do not.
        if cut % 2 == 0 {
            socket2::SockRef::from(&raw.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    until("all are gone", || {
        let counters = server.service().counters();
        (counters.connections, counters.subscribers, counters.queued_bytes) == (0, 0, 0)
    });
    assert_eq!(server.service().channel("test").unwrap().subscribers, 0);
}

/// The bytes and the end behind them arrive in one segment: there is one event for both.
#[test]
fn an_end_that_comes_with_the_last_bytes_is_noticed() {
    let server = server(&[("shards", "1")]);
    server.service().create_channel("test").unwrap();
    let with_end = |script: &[u8]| {
        let mut raw = Raw::connect(server.local_addr());
        let socket = socket2::SockRef::from(&raw.stream);
        socket.set_tcp_cork(true).unwrap();
        raw.send(script);
        raw.stream.shutdown(std::net::Shutdown::Write).unwrap();
        raw
    };
    let upgrade = format!(
        "GET /channel/listen/test HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
        crate::kit::KEY
    );
    let mut raw = with_end(upgrade.as_bytes());
    assert_eq!(raw.answer().status, 101);
    assert!(raw.is_closed());

    let mut raw = with_end(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(raw.answer().status, 200, "the end does not take the answer away");
    assert!(raw.is_closed());

    let sends = "GET /channel/send/test/x HTTP/1.1\r\nHost: t\r\n\r\n".repeat(1000);
    let mut raw = with_end(sends.as_bytes());
    for _ in 0..1000 {
        assert_eq!(raw.answer().status, 200);
    }
    assert!(raw.is_closed());

    let mut raw = with_end(b"GET /health HT");
    assert!(raw.is_closed());
    until("nobody is left", || {
        let counters = server.service().counters();
        (counters.connections, counters.subscribers) == (0, 0)
    });
}
