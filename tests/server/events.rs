//! Server-sent events: a channel as an HTTP answer that never ends.

use std::io::Write;

use qyun::wire::MessageKind;

use crate::kit::{Raw, server, until};

const ACCEPT: &str = "Accept: text/event-stream\r\n";

/// Opens the stream and reads its head.
fn listen(server: &qyun::server::Server, target: &str) -> Raw {
    let mut raw = Raw::connect(server.local_addr());
    raw.send(format!("GET {target} HTTP/1.1\r\nHost: t\r\n{ACCEPT}\r\n"));
    let head = raw.head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("\r\ncontent-type: text/event-stream\r\n"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    let start = raw.event();
    assert!(start.starts_with("id: ") && start.lines().count() == 2, "{start}");
    raw
}

#[test]
fn each_message_is_an_event_with_its_position() {
    let server = server(&[]);
    let service = server.service();
    service.create_channel("a/b").unwrap();
    service.publish("a/b", MessageKind::Text, b"before").unwrap();
    let epoch = service.channel("a/b").unwrap().epoch;
    let mut raw = listen(&server, "/channel/listen/a%2Fb");
    assert_eq!(service.channel("a/b").unwrap().subscribers, 1);
    service.publish("a/b", MessageKind::Text, "青\r\n云".as_bytes()).unwrap();
    assert_eq!(raw.event(), format!("id: {epoch}-2\ndata: 青\ndata: 云\n\n"));
    service.publish("a/b", MessageKind::Binary, b"\xff").unwrap();
    assert_eq!(raw.event(), format!("id: {epoch}-3\nevent: binary\ndata: /w==\n\n"));
    drop(raw);
    until("it is gone", || service.channel("a/b").unwrap().subscribers == 0);
}

#[test]
fn all_kinds_of_listeners_get_one_order() {
    let server = server(&[("shards", "2")]);
    let service = server.service();
    service.create_channel("test").unwrap();
    let mut events: Vec<_> = (0..5).map(|_| listen(&server, "/channel/listen/test")).collect();
    let mut frames: Vec<_> =
        (0..5).map(|_| Raw::websocket(server.local_addr(), "/channel/listen/test")).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for i in 0..100 {
                    let text = format!("{thread}.{i}");
                    service.publish("test", MessageKind::Text, text.as_bytes()).unwrap();
                }
            });
        }
    });
    let order: Vec<_> = (0..400).map(|_| frames[0].message().payload).collect();
    for listener in &mut frames[1..] {
        assert!(order.iter().all(|payload| listener.message().payload == *payload));
    }
    for listener in &mut events {
        for payload in &order {
            let event = listener.event();
            let data = event.lines().nth(1).unwrap().strip_prefix("data: ").unwrap();
            assert_eq!(data.as_bytes(), payload);
        }
    }
}

#[test]
fn without_the_channel_it_is_404_and_without_the_header_426() {
    let server = server(&[]);
    server.service().create_channel("test").unwrap();
    let mut raw = Raw::connect(server.local_addr());
    for (target, status) in [("/channel/listen/none", 404), ("/channel/listen/%ff", 400)] {
        let answer = raw.request("GET", target, ACCEPT, b"");
        assert_eq!(answer.status, status);
        assert!(answer.body.starts_with(r#"{"status":"error","message":""#), "{}", answer.body);
    }
    assert_eq!(raw.request("GET", "/channel/listen/test", "Accept: */*\r\n", b"").status, 426);
    assert_eq!(raw.request("POST", "/channel/listen/test", ACCEPT, b"").status, 405);
}

#[test]
fn a_quiet_stream_is_kept_alive_and_what_its_client_sends_is_ignored() {
    let server = server(&[("ping_interval_ms", "20"), ("pong_wait_ms", "20")]);
    server.service().create_channel("test").unwrap();
    let mut raw = listen(&server, "/channel/listen/test");
    raw.send("GET /channel/send/test/smuggled HTTP/1.1\r\nHost: t\r\n\r\n");
    for _ in 0..20 {
        assert_eq!(raw.event(), ":\n\n");
    }
    assert_eq!(server.service().counters().published, 0);
}

#[test]
fn it_ends_with_its_channel_and_with_the_server_behind_the_last_message() {
    let server = server(&[]);
    let service = server.service();
    for name in ["one", "two"] {
        service.create_channel(name).unwrap();
    }
    let mut first = listen(&server, "/channel/listen/one");
    let mut second = listen(&server, "/channel/listen/two");
    service.publish("one", MessageKind::Text, b"last").unwrap();
    service.delete_channel("one").unwrap();
    assert!(first.event().ends_with("data: last\n\n"));
    assert!(first.is_closed());
    service.publish("two", MessageKind::Text, b"last").unwrap();
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| server.stop(crate::kit::PATIENCE));
        assert!(second.event().ends_with("data: last\n\n"));
        assert!(second.event().starts_with("retry: "));
        assert!(second.is_closed());
        drop((first, second));
        assert!(stopping.join().unwrap(), "it went by itself");
    });
}

#[test]
fn a_stalled_stream_is_cut_at_its_bound_and_nobody_else_waits() {
    let server = server(&[("queue_bytes", "65536"), ("shards", "1"), ("ping_interval_ms", "0")]);
    server.service().create_channel("test").unwrap();
    let mut stalled = listen(&server, "/channel/listen/test");
    let mut other = listen(&server, "/channel/listen/test");
    let text = "x".repeat(30_000);
    while server.service().counters().closed_slow == 0 {
        server.service().publish("test", MessageKind::Text, text.as_bytes()).unwrap();
        assert!(other.event().ends_with("x\n\n"));
    }
    until("the stalled one is gone", || server.service().counters().connections == 1);
    assert_eq!(server.service().counters().queued_bytes, 0);
    let _ = stalled.stream.write_all(b"still there?");
}
