//! Limits on what strangers may do: each with its answer, and nobody else concerned.

use qyun::server::{Server, ServerOptions};
use qyun::wire::MessageKind;
use qyun::wire::stream::Op;

use crate::kit::{Answer, KEY, Raw, server, until};
use crate::stream::{reply, request, subscribe};

const ONE: [u8; 4] = [127, 0, 0, 1];
const TWO: [u8; 4] = [127, 0, 0, 2];
const THREE: [u8; 4] = [127, 0, 0, 3];

fn limited(server: &Server, limit: &str) -> u64 {
    server.service().limited()[limit]
}

/// The answer to a connection or handshake that is over a limit.
#[track_caller]
fn assert_refused(answer: &Answer, status: u16, message: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.body, format!(r#"{{"status":"error","message":"{message}"}}"#));
    assert_eq!(answer.field("retry-after"), Some("1"));
}

#[test]
fn an_address_gets_so_many_connections_and_others_theirs() {
    let server = server(&[("max_connections_per_ip", "2"), ("shards", "2")]);
    let address = server.local_addr();
    let mut own: Vec<_> = (0..2).map(|_| Raw::connect_from(TWO, address)).collect();
    for raw in &mut own {
        assert_eq!(raw.get("/health").status, 200);
    }
    for _ in 0..5 {
        let mut more = Raw::connect_from(TWO, address);
        assert_refused(&more.answer(), 429, "Too many connections from this address");
        assert!(more.is_closed());
    }
    assert_eq!(limited(&server, "max_connections_per_ip"), 5);
    // Others are served, and so are those that were there.
    assert_eq!(Raw::connect_from(THREE, address).get("/health").status, 200);
    assert_eq!(own[0].get("/health").status, 200);
    // Who leaves makes room.
    own.pop();
    until("there is room again", || {
        let mut raw = Raw::connect_from(TWO, address);
        raw.send("GET /health HTTP/1.1\r\nHost: t\r\n\r\n");
        raw.answer().status == 200
    });
}

#[test]
fn behind_a_trusted_proxy_its_clients_are_counted_and_not_the_proxy() {
    let limits =
        [("max_connections_per_ip", "1"), ("trusted_proxies", "127.0.0.1"), ("shards", "1")];
    let server = server(&limits);
    let address = server.local_addr();
    server.service().create_channel("c").unwrap();
    let listen = |client: &str, path: &str| {
        let mut raw = Raw::connect_from(ONE, address);
        let answer = raw.upgrade(path, &format!("X-Forwarded-For: {client}\r\n"));
        (raw, answer)
    };
    // The proxy itself has as many connections as it needs.
    let mut plain: Vec<_> = (0..4).map(|_| Raw::connect_from(ONE, address)).collect();
    for raw in &mut plain {
        assert_eq!(raw.get("/health").status, 200);
    }
    let (first, answer) = listen("192.0.2.1", "/channel/listen/c");
    assert_eq!(answer.status, 101);
    // On whichever path, and as events too.
    for path in ["/channel/listen/c", "/ws", "/channel/stream"] {
        let (_, answer) = listen("192.0.2.1", path);
        assert_refused(&answer, 429, "Too many connections from this address");
    }
    let mut events = Raw::connect_from(ONE, address);
    let fields = "Accept: text/event-stream\r\nX-Forwarded-For: 192.0.2.1\r\n";
    assert_eq!(events.request("GET", "/channel/listen/c", fields, b"").status, 429);
    let (_second, answer) = listen("192.0.2.2", "/ws");
    assert_eq!(answer.status, 101);
    // An IPv6 client is its /64.
    let (_third, answer) = listen("2001:db8::1", "/ws");
    assert_eq!(answer.status, 101);
    assert_eq!(listen("2001:db8::ffff:2", "/ws").1.status, 429);
    assert_eq!(listen("2001:db8:0:1::1", "/ws").1.status, 101);
    drop(first);
    until("its place is free", || listen("192.0.2.1", "/ws").1.status == 101);
    // Who is no trusted proxy cannot say who it is.
    let mut liar = Raw::connect_from(TWO, address);
    assert_eq!(liar.upgrade("/ws", "X-Forwarded-For: 192.0.2.9\r\n").status, 101);
    let mut again = Raw::connect_from(TWO, address);
    assert_eq!(again.upgrade("/ws", "X-Forwarded-For: 192.0.2.8\r\n").status, 429);
}

#[test]
fn new_connections_of_an_address_have_a_rate() {
    let server = server(&[("connections_per_second_per_ip", "3"), ("shards", "1")]);
    let address = server.local_addr();
    let statuses: Vec<u16> = (0..40)
        .map(|_| {
            let mut raw = Raw::connect_from(TWO, address);
            raw.send("GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
            raw.answer().status
        })
        .collect();
    assert_eq!(statuses[..3], [200; 3]);
    let refused = statuses.iter().filter(|status| **status == 429).count() as u64;
    assert!(refused > 0, "{statuses:?}");
    assert_eq!(limited(&server, "connections_per_second_per_ip"), refused);
    assert_eq!(Raw::connect_from(THREE, address).get("/health").status, 200);
}

#[test]
fn handshakes_have_a_rate_of_their_own_and_plain_requests_go_on() {
    let server = server(&[("handshakes_per_second_per_ip", "2"), ("shards", "1")]);
    let address = server.local_addr();
    let mut raw = Raw::connect_from(TWO, address);
    // No such channel: it was a handshake all the same.
    let statuses: Vec<_> =
        (0..30).map(|_| raw.upgrade("/channel/listen/none", "").status).collect();
    assert_eq!(statuses[..2], [403; 2]);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(raw.get("/health").status, 200);
    assert_eq!(Raw::connect_from(THREE, address).upgrade("/ws", "").status, 101);
}

#[test]
fn all_handshakes_together_have_a_rate() {
    let server = server(&[("handshakes_per_second", "2"), ("shards", "2")]);
    let address = server.local_addr();
    let mut refused = None;
    for n in 0..60 {
        let mut raw = Raw::connect_from([127, 0, 1, n], address);
        let answer = raw.upgrade("/ws", "");
        if answer.status != 101 {
            refused = Some(answer);
            assert_eq!(raw.get("/health").status, 200, "the connection stays");
            break;
        }
    }
    assert_refused(&refused.unwrap(), 503, "Too many handshakes");
    assert_eq!(limited(&server, "handshakes_per_second"), 1);
}

#[test]
fn requests_over_the_rate_are_429_and_a_flood_ends_the_connection() {
    let server = server(&[("message_rate", "1"), ("message_burst", "4")]);
    server.service().create_channel("c").unwrap();
    let mut witness = Raw::connect(server.local_addr());
    let mut raw = Raw::connect(server.local_addr());
    let get = "GET /channel/send/c/x HTTP/1.1\r\nHost: t\r\n\r\n";
    let post = "POST /channel/send/c HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\ny";
    raw.send([get, post].concat().repeat(10));
    for _ in 0..4 {
        assert_eq!(raw.answer().status, 200);
    }
    for last in [false, false, false, false, true] {
        let answer = raw.answer();
        assert_refused(&answer, 429, "Too many messages: this connection may send 1 a second");
        assert_eq!(answer.field("connection"), last.then_some("close"));
    }
    assert!(raw.is_closed());
    assert_eq!(server.service().channel("c").unwrap().offset, 4);
    assert_eq!(limited(&server, "message_rate"), 5);
    assert_eq!(witness.get("/health").status, 200);
}

#[test]
fn websocket_messages_over_the_rate_are_refused_by_an_answer_or_a_close() {
    let server = server(&[("message_rate", "1"), ("message_burst", "4"), ("shards", "1")]);
    let service = server.service();
    service.create_channel("c").unwrap();
    let address = server.local_addr();

    let mut stream = Raw::websocket(address, "/channel/stream");
    for id in 1..10 {
        stream.send_frame(0x82, &request(id, "c", Op::Publish(MessageKind::Text, b"x")));
    }
    let replies: Vec<_> = (0..7).map(|_| reply(&stream.message())).collect();
    // The upgrade was the first of the four.
    let statuses: Vec<_> = replies.iter().map(|reply| (reply.0, reply.1)).collect();
    let expected = [(1, 0), (2, 0), (3, 0), (4, 429), (5, 429), (6, 429), (7, 429)];
    assert_eq!(statuses, expected);
    // More refusals in a row than a burst has.
    assert_eq!(stream.message().close_code(), Some(3029));
    assert_eq!(service.channel("c").unwrap().offset, 3);

    let mut session = Raw::websocket(address, "/ws");
    session.message();
    for id in 1..10 {
        session.send_frame(
            0x81,
            format!(r#"{{"id":{id},"type":"request","action":"ping"}}"#).as_bytes(),
        );
    }
    for id in 1..=7 {
        // Behind the three that were carried out there are four refusals.
        let text = String::from_utf8(session.message().payload).unwrap();
        assert!(text.starts_with(&format!(r#"{{"id":{id},"#)), "{text}");
        assert_eq!(text.contains(r#""code":"too_fast""#), id > 3, "{text}");
    }
    assert_eq!(session.message().close_code(), Some(3029));

    // Where nothing is answered, the Close tells that something was lost.
    let mut sender = Raw::websocket(address, "/channel/send/c");
    for _ in 0..9 {
        sender.send_frame(0x81, b"y");
    }
    assert_eq!(sender.message().close_code(), Some(3029));
    assert_eq!(service.channel("c").unwrap().offset, 6);
    for path in ["/channel/listen/c", "/", "/join?uid=1"] {
        let mut raw = Raw::websocket(address, path);
        for _ in 0..9 {
            raw.send_frame(0x81, b"z");
        }
        loop {
            let frame = raw.message();
            if frame.opcode == 8 {
                assert_eq!(frame.close_code(), Some(3029), "{path}");
                break;
            }
        }
    }
    // Pings count, and those over the rate are not answered.
    let mut pings = Raw::websocket(address, "/channel/listen/c");
    for n in 0..9 {
        pings.send_frame(0x89, &[n]);
    }
    for n in 0..3 {
        assert_eq!(pings.message().payload, [n]);
    }
    assert_eq!(pings.message().close_code(), Some(3029));
}

#[test]
fn subscriptions_of_a_connection_are_limited_in_every_dialect() {
    let server = server(&[("max_subscriptions", "2")]);
    let service = server.service();
    for name in ["a", "b", "c"] {
        service.create_channel(name).unwrap();
    }
    let mut raw = Raw::websocket(server.local_addr(), "/channel/stream");
    for (id, name, status) in [(1, "a", 0), (2, "b", 0), (3, "c", 507), (4, "b", 0), (5, "a", 0)] {
        raw.send_frame(0x82, &subscribe(id, name));
        let (of, got, ..) = reply(&raw.message());
        assert_eq!((of, got), (id, status), "{name}");
    }
    raw.send_frame(0x82, &request(6, "a", Op::Unsubscribe));
    raw.send_frame(0x82, &subscribe(7, "c"));
    assert_eq!([reply(&raw.message()).1, reply(&raw.message()).1], [0, 0]);

    let _packets = Raw::websocket(server.local_addr(), "/join?uid=7");
    until("it is registered", || service.connection("7-0--").is_ok());
    assert!(service.join("7-0--", "a").unwrap());
    assert!(service.join_group("7-0--", "group").unwrap());
    let error = service.join("7-0--", "b").unwrap_err();
    assert_eq!(error.kind(), qyun::ErrorKind::QueueFull);
    assert_eq!(error.to_string(), "There are 2 subscriptions already, as many as may be");
    assert!(service.join_group("7-0--", "another").is_err());
    assert!(service.channel("another").is_err(), "a group without members is none");
    assert!(!service.join("7-0--", "a").unwrap());
    assert_eq!(limited(&server, "max_subscriptions"), 3);
}

#[test]
fn a_message_in_endless_fragments_is_1009() {
    let server = server(&[("max_fragments", "1000")]);
    server.service().create_channel("c").unwrap();
    let mut raw = Raw::websocket(server.local_addr(), "/channel/send/c");
    let mut frames = crate::kit::masked(0x01, b"x");
    for _ in 0..998 {
        frames.extend(crate::kit::masked(0x00, b""));
    }
    frames.extend(crate::kit::masked(0x80, b"y"));
    raw.send(&frames);
    until("it was published", || server.service().channel("c").unwrap().offset == 1);
    frames.truncate(frames.len() - 7);
    frames.extend(crate::kit::masked(0x00, b"").repeat(2));
    raw.send(&frames);
    let close = raw.message();
    assert_eq!(close.close_code(), Some(1009));
    assert_eq!(&close.payload[2..], b"message in more fragments than the limit");
    assert_eq!(limited(&server, "max_fragments"), 1);
}

#[test]
fn a_message_that_does_not_end_is_3018_although_pings_are_answered() {
    let server = server(&[("message_timeout_ms", "200"), ("ping_interval_ms", "20")]);
    server.service().create_channel("c").unwrap();
    let address = server.local_addr();
    for path in ["/channel/send/c", "/channel/listen/c", "/channel/stream", "/ws", "/join?uid=1"] {
        let mut raw = Raw::websocket(address, path);
        raw.send_frame(0x02, b"begun");
        let close = loop {
            let frame = raw.frame();
            match frame.opcode {
                9 => raw.send_frame(0x8a, &frame.payload),
                8 => break frame,
                _ => {}
            }
        };
        assert_eq!(close.close_code(), Some(3018), "{path}");
    }
    assert_eq!(limited(&server, "message_timeout_ms"), 5);
}

#[test]
fn who_is_refused_takes_nobodys_place() {
    let server = server(&[("max_connections", "2"), ("shards", "1")]);
    let address = server.local_addr();
    let mut one = Raw::connect(address);
    let mut two = Raw::connect(address);
    assert_eq!([one.get("/health").status, two.get("/health").status], [200, 200]);
    // They have their answers and stay.
    let mut refused: Vec<_> = (0..8).map(|_| Raw::connect(address)).collect();
    for raw in &mut refused {
        assert_eq!(raw.answer().status, 503);
    }
    drop(two);
    until("there is room although they are still there", || {
        Raw::connect(address).get("/health").status == 200
    });
}

#[test]
fn a_limit_by_address_that_is_set_later_counts_those_who_are_there() {
    let server = server(&[("shards", "2"), ("trusted_proxies", "127.0.0.1")]);
    let address = server.local_addr();
    let mut there: Vec<_> = (0..3).map(|_| Raw::connect_from(TWO, address)).collect();
    for raw in &mut there {
        assert_eq!(raw.get("/health").status, 200);
    }
    let mut proxied = Raw::connect_from(ONE, address);
    assert_eq!(proxied.upgrade("/ws", "X-Forwarded-For: 192.0.2.1\r\n").status, 101);

    let mut options = ServerOptions::clone(&server.service().options());
    options.set("max_connections_per_ip", "3").unwrap();
    server.reload(&options).unwrap();
    assert_eq!(Raw::connect_from(TWO, address).answer().status, 429);
    options.set("max_connections_per_ip", "1").unwrap();
    server.reload(&options).unwrap();
    let mut raw = Raw::connect_from(ONE, address);
    assert_eq!(raw.upgrade("/ws", "X-Forwarded-For: 192.0.2.1\r\n").status, 429);

    there.clear();
    until("they are forgotten", || {
        let mut raw = Raw::connect_from(TWO, address);
        raw.send("GET /health HTTP/1.1\r\nHost: t\r\n\r\n");
        raw.answer().status == 200
    });
    options.set("max_connections_per_ip", "0").unwrap();
    server.reload(&options).unwrap();
    let many: Vec<_> = (0..3).map(|_| Raw::connect_from(TWO, address)).collect();
    for mut raw in many {
        assert_eq!(raw.get("/health").status, 200);
    }
}

#[test]
fn every_ping_is_answered_in_order_and_many_by_one_write() {
    let server = server(&[("shards", "1")]);
    server.service().create_channel("c").unwrap();
    let mut raw = Raw::websocket(server.local_addr(), "/channel/listen/c");
    let pings: Vec<u8> =
        (0..10_000_u32).flat_map(|n| crate::kit::masked(0x89, &n.to_be_bytes())).collect();
    let mut writer = raw.stream.try_clone().unwrap();
    let write = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &pings));
    for n in 0..10_000_u32 {
        let pong = raw.message();
        assert_eq!((pong.opcode, &pong.payload[..]), (10, &n.to_be_bytes()[..]));
    }
    write.join().unwrap().unwrap();
    // And in front of the Close that follows them.
    raw.send([crate::kit::masked(0x89, b"last"), crate::kit::masked(0x88, b"\x03\xe8")].concat());
    assert_eq!(raw.message().payload, b"last");
    assert_eq!(raw.message().close_code(), Some(1000));
}

/// What takes long is done once in a turn: others are served between.
#[test]
fn who_asks_for_much_takes_turns_with_the_others() {
    let server = server(&[("shards", "1"), ("max_subscriptions", "10")]);
    let service = server.service();
    for n in 0..5_000 {
        service.create_channel(&format!("n{n}")).unwrap();
    }
    let mut other = Raw::connect(server.local_addr());
    assert_eq!(other.get("/health").status, 200);
    let mut session = Raw::websocket(server.local_addr(), "/ws");
    session.message();
    // Each looks at all channels, and is refused because they are too many.
    let ask = br#"{"type":"request","action":"subscribe","payload":{"pattern":">"}}"#;
    session.send(crate::kit::masked(0x81, ask).repeat(200));
    let refused = |frame: crate::kit::Frame| {
        String::from_utf8(frame.payload).unwrap().contains("limit_exceeded")
    };
    assert!(refused(session.message()));
    assert_eq!(other.get("/health").status, 200);
    let filter = qyun::hub::Filter::default();
    let told = service.connections(&filter, None, 1)[0].messages_out;
    assert!(told < 200, "it was served to its end before the other was looked at");
    for _ in 1..200 {
        assert!(refused(session.message()));
    }
}

#[test]
fn extensions_of_chunks_do_not_go_on_for_ever() {
    let server = server(&[]);
    server.service().create_channel("c").unwrap();
    let mut raw = Raw::connect(server.local_addr());
    raw.send("POST /channel/send/c HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(1000));
    for _ in 0..20 {
        if std::io::Write::write_all(&mut raw.stream, chunk.as_bytes()).is_err() {
            break;
        }
    }
    assert_eq!(raw.answer().status, 400);
    assert!(raw.is_closed());
}

#[test]
fn what_was_limited_is_in_the_statistics_and_the_metrics() {
    let server = server(&[("max_channels", "1"), ("max_message_bytes", "10")]);
    let mut raw = Raw::connect(server.local_addr());
    raw.get("/channel/create/a");
    assert_eq!(raw.get("/channel/create/b").status, 507);
    raw.send(format!(
        "GET /channel/listen/a HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    ));
    assert_eq!(raw.answer().status, 101);
    raw.send_frame(0x82, &[0; 11]);
    assert_eq!(raw.message().close_code(), Some(1009));
    let mut raw = Raw::connect(server.local_addr());
    raw.send("GET /api/v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let stats = raw.answer().body;
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["limited"]["max_channels"], 1);
    assert_eq!(stats["limited"]["max_message_bytes"], 1);
    assert_eq!(stats["limited"]["max_connections"], 0);
    let metrics = raw.get("/metrics").body;
    assert!(metrics.contains("qyun_limited_total{limit=\"max_channels\"} 1\n"), "{metrics}");
    assert!(metrics.contains("qyun_limited_total{limit=\"max_message_bytes\"} 1\n"));
}
