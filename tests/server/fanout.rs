//! Order, completeness and isolation of what is published.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use qyun::wire::MessageKind;

use crate::kit::{KEY, PATIENCE, Raw, server, until};
use crate::stream::{message, reply, subscribe};

#[test]
fn threads_and_connections_publish_at_once_and_every_subscriber_sees_one_order() {
    const THREADS: usize = 16;
    const EACH: usize = 200;
    const SUBSCRIBERS: usize = 40;
    let server = server(&[("shards", "4")]);
    server.service().create_channel("test").unwrap();
    let mut listeners: Vec<_> = (0..SUBSCRIBERS)
        .map(|_| Raw::websocket(server.local_addr(), "/channel/listen/test"))
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let server = &server;
            scope.spawn(move || {
                let mut raw = Raw::connect(server.local_addr());
                let mut websocket = Raw::websocket(server.local_addr(), "/channel/send/test");
                for i in 0..EACH {
                    let text = format!("{thread}.{i}");
                    match thread % 3 {
                        0 => drop(
                            server
                                .service()
                                .publish("test", MessageKind::Text, text.as_bytes())
                                .unwrap(),
                        ),
                        1 => assert_eq!(raw.get(&format!("/channel/send/test/{text}")).status, 200),
                        _ => websocket.send_frame(0x81, text.as_bytes()),
                    }
                }
            });
        }
    });
    let mut seen: Vec<Vec<Vec<u8>>> = Vec::new();
    for listener in &mut listeners {
        seen.push((0..THREADS * EACH).map(|_| listener.message().payload).collect());
    }
    assert!(seen.iter().all(|order| *order == seen[0]), "two subscribers saw different orders");
    let mut next = [0; THREADS];
    for payload in &seen[0] {
        let text = std::str::from_utf8(payload).unwrap();
        let (thread, i) = text.split_once('.').unwrap();
        let thread: usize = thread.parse().unwrap();
        assert_eq!(i.parse::<usize>().unwrap(), next[thread], "publisher {thread} is out of order");
        next[thread] += 1;
    }
    assert_eq!(next, [EACH; THREADS]);
}

#[test]
fn a_subscription_begins_at_one_point_of_the_order() {
    let server = server(&[("shards", "3")]);
    server.service().create_channel("test").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    let service = server.service();
                    service.publish("test", MessageKind::Text, b"x").unwrap();
                    std::thread::yield_now();
                }
            });
        }
        for _ in 0..30 {
            // The stream's answer tells the position; the next message must be the next.
            let mut raw = Raw::websocket(server.local_addr(), "/channel/stream");
            raw.send_frame(0x82, &subscribe(1, "test"));
            let reply = reply(&raw.message());
            for expected in (reply.2 + 1..).take(50) {
                assert_eq!(message(&raw.message()).0, expected);
            }
        }
        stop.store(true, SeqCst);
    });
}

#[test]
fn a_stalled_reader_is_closed_and_the_others_get_everything() {
    let server = server(&[("queue_bytes", "262144"), ("handshake_timeout_ms", "300")]);
    server.service().create_channel("test").unwrap();
    let stalled = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let mut others: Vec<_> =
        (0..10).map(|_| Raw::websocket(server.local_addr(), "/channel/listen/test")).collect();
    let payload = vec![b'x'; 16 << 10];
    let mut sent = 0;
    let start = Instant::now();
    while server.service().counters().closed_slow == 0 {
        assert!(start.elapsed() < PATIENCE, "the stalled reader was never closed");
        server.service().publish("test", MessageKind::Text, &payload).unwrap();
        sent += 1;
        for other in &mut others {
            assert_eq!(other.message().payload.len(), payload.len());
        }
        // The reader's queue and one message are all that may wait.
        assert!(server.service().counters().queued_bytes <= (262_144 + (32 << 10)));
    }
    assert_eq!(server.service().channel("test").unwrap().subscribers, 10);
    server.service().publish("test", MessageKind::Text, b"more").unwrap();
    for other in &mut others {
        assert_eq!(other.message().payload, b"more");
    }
    assert!(sent > 10, "the queue holds more than nothing");
    until("the stalled one is gone", || server.service().counters().connections == 10);
    assert_eq!(server.service().counters().queued_bytes, 0);
    drop(stalled);
}

/// The messages and the upgrade come in one piece, so what the subscription flushes is what fails
/// the only other subscriber of the shard.
#[test]
fn a_subscriber_hears_the_channel_though_the_last_other_one_falls_while_it_subscribes() {
    let server = server(&[("shards", "1"), ("queue_bytes", "65536")]);
    server.service().create_channel("test").unwrap();
    let stalled = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let requests = format!(
        "GET /channel/send/test/{} HTTP/1.1\r\nHost: t\r\n\r\n\
         GET /channel/listen/test HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
        "x".repeat(30_000)
    );
    let mut newcomer = loop {
        let mut raw = Raw::connect(server.local_addr());
        raw.send(&requests);
        assert_eq!((raw.answer().status, raw.answer().status), (200, 101));
        if server.service().counters().closed_slow > 0 {
            break raw;
        }
        drop(raw);
        until("only the stalled one is left", || {
            server.service().channel("test").unwrap().subscribers == 1
        });
    };
    assert_eq!(server.service().channel("test").unwrap().subscribers, 1);
    server.service().publish("test", MessageKind::Text, b"after").unwrap();
    assert_eq!(newcomer.message().payload, b"after");
    drop(stalled);
}

#[test]
fn a_slow_reader_that_wakes_up_in_time_reads_whole_frames_and_its_close() {
    let server = server(&[("queue_bytes", "100000")]);
    server.service().create_channel("test").unwrap();
    let mut slow = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let payload = vec![b'x'; 30_000];
    while server.service().counters().closed_slow == 0 {
        server.service().publish("test", MessageKind::Text, &payload).unwrap();
        std::thread::sleep(Duration::from_micros(200));
    }
    let mut frames = 0;
    let last = loop {
        let frame = slow.message();
        if frame.opcode == 8 {
            break frame;
        }
        assert_eq!(frame.payload, payload);
        frames += 1;
    };
    assert_eq!(last.close_code(), Some(3008));
    assert!(frames > 0);
    slow.send_frame(0x88, b"\x0b\xc0");
    assert!(slow.is_closed());
}

#[test]
fn a_burst_larger_than_the_inbox_holds_the_publishers_and_loses_nothing() {
    let server =
        server(&[("inbox_bytes", "65536"), ("queue_bytes", "1073741824"), ("shards", "2")]);
    server.service().create_channel("test").unwrap();
    let mut listeners: Vec<_> =
        (0..4).map(|_| Raw::websocket(server.local_addr(), "/channel/listen/test")).collect();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    server.service().publish("test", MessageKind::Text, &[b'x'; 1000]).unwrap();
                }
            });
        }
        scope.spawn(|| {
            let mut sender = Raw::websocket(server.local_addr(), "/channel/send/test");
            let frames = crate::kit::masked(0x81, &[b'x'; 1000]).repeat(1000);
            sender.stream.write_all(&frames).unwrap();
            // Its frames are published before its pong.
            sender.send_frame(0x89, b"done?");
            assert_eq!(sender.message().payload, b"done?");
        });
    });
    for listener in &mut listeners {
        for _ in 0..4000 {
            assert_eq!(listener.message().payload.len(), 1000);
        }
    }
    assert_eq!(server.service().channel("test").unwrap().offset, 4000);
}
