//! WebSocket by RFC 6455, over real sockets.

use crate::kit::{Frame, Raw, masked, server, until};

#[test]
fn the_first_subprotocol_offered_is_echoed() {
    let server = server(&[]);
    server.service().create_channel("test").unwrap();
    for (target, offered, echoed) in [
        (
            "/channel/listen/test",
            "Sec-WebSocket-Protocol: channel-protocol\r\n",
            "channel-protocol",
        ),
        (
            "/channel/send/test",
            "Sec-WebSocket-Protocol: sender-protocol, other\r\n",
            "sender-protocol",
        ),
    ] {
        let mut raw = Raw::connect(server.local_addr());
        let answer = raw.upgrade(target, offered);
        assert_eq!(answer.status, 101);
        assert_eq!(answer.field("sec-websocket-protocol"), Some(echoed));
        assert_eq!(answer.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }
    let mut raw = Raw::connect(server.local_addr());
    assert_eq!(raw.upgrade("/channel/listen/test", "").field("sec-websocket-protocol"), None);
}

#[test]
fn without_the_channel_the_upgrade_is_403_and_the_connection_goes_on() {
    let server = server(&[]);
    let mut raw = Raw::connect(server.local_addr());
    for target in ["/channel/listen/none", "/channel/send/none"] {
        let answer = raw.upgrade(target, "");
        assert_eq!(answer.status, 403);
        assert_eq!(answer.body, r#"{"status":"error","message":"Channel not found"}"#);
    }
    assert_eq!(raw.upgrade("/channel/listen/%ff", "").status, 400);
    assert_eq!(raw.get("/health").status, 200);
}

#[test]
fn a_sender_broadcasts_what_it_sends_as_the_same_kind() {
    let server = server(&[]);
    server.service().create_channel("test").unwrap();
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let mut sender = Raw::websocket(server.local_addr(), "/channel/send/test");
    sender.send_frame(0x81, "你好".as_bytes());
    sender.send_frame(0x82, b"\xff\x00");
    sender.send_frame(0x01, b"frag");
    sender.send_frame(0x89, b"ping between");
    sender.send_frame(0x00, b"men");
    sender.send_frame(0x80, b"ted");
    sender.send_frame(0x82, &vec![9; 1 << 20]);
    assert_eq!(listener.message(), Frame::text("你好"));
    assert_eq!(listener.message(), Frame { opcode: 2, payload: b"\xff\x00".to_vec() });
    assert_eq!(listener.message(), Frame::text("fragmented"));
    assert_eq!(listener.message(), Frame { opcode: 2, payload: vec![9; 1 << 20] });
    assert_eq!(sender.message(), Frame { opcode: 10, payload: b"ping between".to_vec() });
}

#[test]
fn frames_may_come_in_any_pieces() {
    let server = server(&[]);
    server.service().create_channel("test").unwrap();
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let mut sender = Raw::websocket(server.local_addr(), "/channel/send/test");
    let mut bytes = masked(0x81, "first 青".as_bytes());
    bytes.extend(masked(0x01, &[b'x'; 200]));
    bytes.extend(masked(0x80, &[b'y'; 300]));
    for byte in &bytes {
        sender.send([*byte]);
    }
    assert_eq!(listener.message(), Frame::text("first 青"));
    assert_eq!(listener.message().payload.len(), 500);
    // The upgrade and frames in one segment.
    let mut raw = Raw::connect(server.local_addr());
    let mut all = format!(
        "GET /channel/send/test HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
        crate::kit::KEY
    )
    .into_bytes();
    all.extend(masked(0x81, b"early"));
    raw.send(all);
    assert_eq!(raw.answer().status, 101);
    assert_eq!(listener.message(), Frame::text("early"));
}

#[test]
fn what_a_listener_sends_is_checked_and_ignored() {
    let server = server(&[]);
    server.service().create_channel("test").unwrap();
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/test");
    listener.send_frame(0x81, b"ignored");
    listener.send_frame(0x82, &[0; 100_000]);
    listener.send_frame(0x89, b"p");
    assert_eq!(listener.message(), Frame { opcode: 10, payload: b"p".to_vec() });
    assert_eq!(server.service().counters().published, 0);
    server.service().publish("test", qyun::wire::MessageKind::Text, b"still here").unwrap();
    assert_eq!(listener.message(), Frame::text("still here"));
}

#[test]
fn a_close_is_answered_with_its_code_and_the_connection_ends() {
    let server = server(&[]);
    server.service().create_channel("test").unwrap();
    for target in ["/channel/listen/test", "/channel/send/test", "/channel/stream"] {
        for (payload, code) in [(&b""[..], 1005), (b"\x03\xe8bye", 1000), (b"\x0f\xa0", 4000)] {
            let mut raw = Raw::websocket(server.local_addr(), target);
            raw.send_frame(0x88, payload);
            assert_eq!(raw.message().close_code(), Some(code));
            assert!(raw.is_closed());
        }
    }
    until("the registry forgets them", || {
        let counters = server.service().counters();
        (counters.subscribers, counters.connections) == (0, 0)
    });
}

#[test]
fn a_breach_is_closed_with_its_code_and_nothing_is_broadcast() {
    let server = server(&[("max_message_bytes", "1000")]);
    server.service().create_channel("test").unwrap();
    let mut witness = Raw::websocket(server.local_addr(), "/channel/listen/test");
    for (bytes, code) in [
        (masked(0x81, b"\xff"), 1007),
        (masked(0x83, b""), 1002),
        (masked(0xc1, b"x"), 1002),
        (masked(0x80, b"x"), 1002),
        (masked(0x09, b"x"), 1002),
        (masked(0x88, b"x"), 1002),
        (masked(0x88, b"\x03\xe7"), 1002),
        (vec![0x81, 0x01, b'x'], 1002),
        (masked(0x82, &[0; 1001]), 1009),
        (vec![0x82, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 1, 2, 3, 4], 1009),
    ] {
        for target in ["/channel/send/test", "/channel/listen/test"] {
            let mut raw = Raw::websocket(server.local_addr(), target);
            raw.send(&bytes);
            // What follows a breach is not looked at, and does not hide the Close.
            raw.send([0x55; 5000]);
            assert_eq!(raw.message().close_code(), Some(code), "{target} {bytes:?}");
            assert!(raw.is_closed());
        }
    }
    server.service().publish("test", qyun::wire::MessageKind::Text, b"only this").unwrap();
    assert_eq!(witness.message(), Frame::text("only this"));
}

#[test]
fn a_silent_peer_is_pinged_and_closed_when_it_does_not_answer() {
    let server = server(&[("ping_interval_ms", "20"), ("pong_wait_ms", "200")]);
    server.service().create_channel("test").unwrap();
    let mut quiet = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let mut lively = Raw::websocket(server.local_addr(), "/channel/listen/test");
    for _ in 0..20 {
        assert_eq!(lively.frame(), Frame { opcode: 9, payload: vec![] });
        lively.send_frame(0x8a, b"");
    }
    assert_eq!(quiet.message().close_code(), Some(3012));
}

#[test]
fn a_flood_of_pings_that_is_never_read_costs_no_more_than_the_queue() {
    let server =
        server(&[("queue_bytes", "65536"), ("shards", "1"), ("handshake_timeout_ms", "200")]);
    server.service().create_channel("test").unwrap();
    let mut raw = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let pings = masked(0x89, &[b'p'; 125]).repeat(1000);
    // It ends when the server has closed the connection.
    use std::io::Write;
    while raw.stream.write_all(&pings).is_ok() {
        assert!(server.service().counters().queued_bytes < 200_000);
    }
    until("it is closed as too slow", || server.service().counters().closed_slow == 1);
}
