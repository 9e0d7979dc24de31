//! A server that stops: what each client is told, and when.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use qyun::server::Server;
use qyun::wire::{MessageKind, reconnect};

use crate::kit::{Frame, PATIENCE, Raw, server, until};

/// Every kind of WebSocket, past the first frame of those that have one.
fn one_of_each(server: &Server) -> Vec<(&'static str, Raw)> {
    server.service().create_channel("c").unwrap();
    let paths =
        ["/channel/listen/c", "/channel/send/c", "/channel/stream", "/ws", "/", "/join?uid=7"];
    let open = |path| {
        let mut raw = Raw::websocket(server.local_addr(), path);
        if ["/ws", "/"].contains(&path) {
            raw.message();
        }
        (path, raw)
    };
    paths.into_iter().map(open).collect()
}

fn goodbye(frame: &Frame) -> (u16, &str) {
    (frame.close_code().unwrap(), std::str::from_utf8(&frame.payload[2..]).unwrap())
}

#[test]
fn every_websocket_is_told_when_to_come_back() {
    let server = server(&[("reconnect_window_ms", "1500")]);
    let mut all = one_of_each(&server);
    assert!(!server.stop(Duration::ZERO), "nobody had time to answer");
    for (path, raw) in &mut all {
        let frame = raw.message();
        let told = goodbye(&frame);
        assert_eq!(told, (1012, "server is stopping; reconnect after 0..1500 ms"), "{path}");
        let window = Duration::ZERO..=Duration::from_millis(1500);
        assert_eq!(reconnect::window(told.1), Some(window));
    }
}

#[test]
fn without_a_window_it_goes_away() {
    let server = server(&[("reconnect_window_ms", "0")]);
    let mut all = one_of_each(&server);
    server.stop(Duration::ZERO);
    for (path, raw) in &mut all {
        assert_eq!(goodbye(&raw.message()), (1001, "server is stopping"), "{path}");
    }
}

/// Their format has one time, not a window.
#[test]
fn streams_of_events_are_told_a_time_each() {
    let server = server(&[("reconnect_window_ms", "100000")]);
    server.service().create_channel("c").unwrap();
    let mut streams: Vec<Raw> = (0..8)
        .map(|_| {
            let mut raw = Raw::connect(server.local_addr());
            raw.send(
                "GET /channel/listen/c HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n",
            );
            assert!(raw.head().starts_with("HTTP/1.1 200"));
            assert!(raw.event().starts_with("id: "));
            raw
        })
        .collect();
    server.service().publish("c", MessageKind::Text, b"last").unwrap();
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| server.stop(PATIENCE));
        let mut times = BTreeSet::new();
        for raw in &mut streams {
            assert!(raw.event().ends_with("data: last\n\n"));
            let told = raw.event();
            let time = told.strip_prefix("retry: ").unwrap().trim_end().parse::<u64>().unwrap();
            assert!(time <= 100_000);
            times.insert(time);
            assert!(raw.is_closed());
        }
        assert!(times.len() > 1, "all are told {times:?}");
        streams.clear();
        assert!(stopping.join().unwrap());
    });
}

#[test]
fn those_who_are_told_over_some_time_go_one_after_the_other() {
    let server = server(&[("drain_spread_ms", "200")]);
    server.service().create_channel("c").unwrap();
    let listen = |_| Raw::websocket(server.local_addr(), "/channel/listen/c");
    let listeners: Vec<Raw> = (0..20).map(listen).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for mut raw in listeners {
            scope.spawn(move || {
                assert_eq!(raw.message().close_code(), Some(1012));
                raw.send_frame(0x88, b"\x03\xe8");
                assert!(raw.is_closed());
            });
        }
        assert!(server.stop(PATIENCE));
    });
    // The last one is told when all of it has passed.
    assert!(start.elapsed() >= Duration::from_millis(190), "{:?}", start.elapsed());
}

/// A spread never outlasts the drain: whoever is told last still gets what is queued.
#[test]
fn without_a_drain_all_are_told_at_once() {
    let server = server(&[("drain_spread_ms", "86400000")]);
    let mut all = one_of_each(&server);
    server.stop(Duration::ZERO);
    for (path, raw) in &mut all {
        assert_eq!(raw.message().close_code(), Some(1012), "{path}");
    }
}

#[test]
fn what_comes_while_it_stops_is_refused() {
    let server = server(&[("drain_spread_ms", "86400000"), ("shards", "1")]);
    server.service().create_channel("c").unwrap();
    let mut leaving: Vec<Raw> =
        (0..2).map(|_| Raw::websocket(server.local_addr(), "/channel/listen/c")).collect();
    // Requests that were begun before, and end after it.
    let begin = |target: &str, fields: &str| {
        let mut raw = Raw::connect(server.local_addr());
        raw.get("/health");
        raw.send(format!("GET {target} HTTP/1.1\r\nHost: t\r\n{fields}"));
        raw
    };
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut late = [
        begin("/channel/listen/c", upgrade),
        begin("/ws", upgrade),
        begin("/channel/listen/c", "Accept: text/event-stream\r\n"),
    ];
    let mut sender = begin("/channel/send/c/late", "");
    // By now the shard has read what was begun.
    assert_eq!(Raw::connect(server.local_addr()).get("/health").status, 200);
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| server.stop(PATIENCE));
        until("nobody is accepted", || TcpStream::connect(server.local_addr()).is_err());
        for raw in &mut late {
            raw.send("\r\n");
            assert_eq!(raw.answer().status, 503);
            assert!(raw.is_closed());
        }
        sender.send("\r\n");
        assert_eq!(sender.answer().status, 200);
        assert!(sender.is_closed());
        for raw in &mut leaving {
            // Their turn to go is seconds away.
            assert_eq!(raw.message(), Frame::text("late"));
            raw.send_frame(0x88, b"\x03\xe8");
            assert_eq!(raw.message().close_code(), Some(1000));
        }
        leaving.clear();
        drop(late);
        assert!(stopping.join().unwrap());
    });
}
