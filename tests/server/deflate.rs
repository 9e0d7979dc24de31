//! permessage-deflate (RFC 7692) over real sockets.

use std::net::SocketAddr;

use qyun::hub::Counters;
use qyun::server::Server;
use qyun::wire::MessageKind;
use qyun::wire::stream::{Op, Packet, decode_packet};

use crate::kit::{Frame, OFFER, Raw, deflate, masked, server, until};
use crate::stream::{message, reply, request, subscribe};

/// A WebSocket that agreed on compression.
pub fn deflating(address: SocketAddr, target: &str) -> Raw {
    let mut raw = Raw::connect(address);
    let answer = raw.upgrade(target, OFFER);
    assert_eq!(answer.status, 101, "{answer:?}");
    assert!(answer.field("sec-websocket-extensions").is_some(), "{answer:?}");
    raw
}

fn with_channel(options: &[(&str, &str)]) -> Server {
    let server = server(options);
    server.service().create_channel("test").unwrap();
    server
}

fn publish(server: &Server, text: &str) {
    server.service().publish("test", MessageKind::Text, text.as_bytes()).unwrap();
}

fn counters(server: &Server) -> Counters {
    server.service().counters()
}

/// A text that compresses well, each number another one.
pub fn text(number: usize) -> String {
    format!("{number}: {}", "青云 qyun ".repeat(100))
}

#[test]
fn an_offer_is_answered_on_every_path() {
    let server = with_channel(&[]);
    const PLAIN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for target in ["/channel/listen/test", "/channel/send/test", "/channel/stream"] {
        for (offers, agreed) in [
            (&["permessage-deflate; client_max_window_bits"][..], Some(PLAIN.to_owned())),
            (&["permessage-deflate; server_max_window_bits=8"], None),
            (
                &["x; y=\"z\"", "permessage-deflate; server_max_window_bits=12"],
                Some(format!("{PLAIN}; server_max_window_bits=12")),
            ),
            (&["permessage-deflate; other, permessage-deflate"], Some(PLAIN.to_owned())),
            (&[], None),
        ] {
            let fields: String = offers
                .iter()
                .map(|offer| format!("Sec-WebSocket-Extensions: {offer}\r\n"))
                .collect();
            let mut raw = Raw::connect(server.local_addr());
            let answer = raw.upgrade(target, &fields);
            assert_eq!(answer.status, 101);
            assert_eq!(answer.field("sec-websocket-extensions"), agreed.as_deref(), "{offers:?}");
        }
        let mut raw = Raw::connect(server.local_addr());
        assert_eq!(raw.upgrade(target, "Sec-WebSocket-Extensions: a b\r\n").status, 400);
    }
}

#[test]
fn compression_can_be_turned_off() {
    let server = with_channel(&[("compression", "false")]);
    let mut raw = Raw::connect(server.local_addr());
    let answer = raw.upgrade("/channel/listen/test", OFFER);
    assert_eq!((answer.status, answer.field("sec-websocket-extensions")), (101, None));
    publish(&server, &text(1));
    assert_eq!(raw.message(), Frame::text(&text(1)));
    raw.send_frame(0xc1, &deflate(b"x"));
    assert_eq!(raw.message().close_code(), Some(1002));
}

#[test]
fn an_upgrade_that_is_refused_agrees_on_nothing() {
    let server = with_channel(&[]);
    let mut raw = Raw::connect(server.local_addr());
    let answer = raw.upgrade("/channel/listen/none", OFFER);
    assert_eq!((answer.status, answer.field("sec-websocket-extensions")), (403, None));
    raw.send("GET /channel/listen/test HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n");
    assert!(raw.head().starts_with("HTTP/1.1 200 "));
    assert!(raw.event().starts_with("id: "));
    publish(&server, &text(1));
    assert!(raw.event().contains(&text(1)));
    assert_eq!(counters(&server).compressions, 0);
}

#[test]
fn a_message_is_compressed_once_for_all_who_agreed_on_it_and_not_for_the_others() {
    let server = with_channel(&[("shards", "2")]);
    let address = server.local_addr();
    let mut deflating: Vec<_> =
        (0..20).map(|_| deflating(address, "/channel/listen/test")).collect();
    let mut plain: Vec<_> =
        (0..5).map(|_| Raw::websocket(address, "/channel/listen/test")).collect();
    for number in 1..4 {
        publish(&server, &text(number));
        for raw in &mut deflating {
            assert_eq!(raw.inflated(), (Frame::text(&text(number)), true));
        }
        for raw in &mut plain {
            assert_eq!(raw.message(), Frame::text(&text(number)));
        }
        let now = counters(&server);
        assert_eq!(now.compressions, number as u64);
        assert_eq!(now.compressed_bytes_in, (number * text(1).len()) as u64);
        assert!(now.compressed_bytes_out * 10 < now.compressed_bytes_in);
    }
    until("all is counted", || counters(&server).delivered == 3 * 25);
    // With the last of them gone nothing is compressed any more.
    drop(deflating);
    until("they are gone", || counters(&server).subscribers == 5);
    publish(&server, &text(4));
    assert_eq!(plain[0].message(), Frame::text(&text(4)));
    assert_eq!(counters(&server).compressions, 3);
}

#[test]
fn what_is_small_or_saves_nothing_is_sent_as_it_is() {
    let server = with_channel(&[("compress_min_bytes", "100")]);
    let mut raw = deflating(server.local_addr(), "/channel/listen/test");
    for (length, compressed) in [(0, false), (99, false), (100, true)] {
        let message = "x".repeat(length);
        publish(&server, &message);
        assert_eq!(raw.inflated(), (Frame::text(&message), compressed), "{length}");
    }
    assert_eq!(counters(&server).compressions, 1);
    let random: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(10_000).collect();
    server.service().publish("test", MessageKind::Binary, &random).unwrap();
    assert_eq!(raw.inflated(), (Frame { opcode: 2, payload: random }, false));
    let now = counters(&server);
    assert_eq!(now.compressions, 2);
    assert!(now.compressed_bytes_out > 10_000 && now.compressed_bytes_out < 10_050);
}

#[test]
fn a_round_of_messages_of_all_kinds_arrives_in_order() {
    let server =
        with_channel(&[("shards", "2"), ("queue_bytes", "16777216"), ("ping_interval_ms", "0")]);
    let address = server.local_addr();
    let mut all: Vec<_> = (0..4).map(|_| deflating(address, "/channel/listen/test")).collect();
    // Small ones, small when compressed, large also then.
    let message = |number: usize| match number % 3 {
        0 => format!("{number}"),
        1 => text(number),
        _ => {
            let mut random = fastrand::Rng::with_seed(number as u64);
            std::iter::repeat_with(|| random.alphanumeric()).take(100_000).collect()
        }
    };
    (0..90).for_each(|number| publish(&server, &message(number)));
    for raw in &mut all {
        for number in 0..90 {
            assert_eq!(raw.inflated(), (Frame::text(&message(number)), number % 3 > 0));
        }
    }
    assert_eq!(counters(&server).compressions, 60);
}

#[test]
fn the_stream_protocol_compresses_its_packets() {
    let server = with_channel(&[("shards", "2")]);
    let address = server.local_addr();
    let mut streams: Vec<_> = (0..6).map(|_| deflating(address, "/channel/stream")).collect();
    for raw in &mut streams {
        raw.send_frame(0xc2, &deflate(&subscribe(1, "test")));
        assert_eq!(reply(&raw.message()).1, 0);
    }
    let mut listener = deflating(address, "/channel/listen/test");
    let publication = request(0, "test", Op::Publish(MessageKind::Text, text(1).as_bytes()));
    streams[0].send_frame(0xc2, &deflate(&publication));
    assert_eq!(listener.inflated(), (Frame::text(&text(1)), true));
    for raw in &mut streams {
        let (frame, compressed) = raw.inflated();
        assert!(compressed);
        assert_eq!(message(&frame), (1, text(1).into()));
    }
    let now = counters(&server);
    assert_eq!((now.compressions, now.inflations), (2, 7), "once for each encoding");
    // Unsubscribed, it is out of the count.
    streams[0].send_frame(0x82, &request(2, "test", Op::Unsubscribe));
    assert_eq!(reply(&streams[0].message()).0, 2);
    drop((streams, listener));
    until("they are gone", || counters(&server).connections == 0);
    let mut plain = Raw::websocket(address, "/channel/listen/test");
    publish(&server, &text(2));
    assert_eq!(plain.message(), Frame::text(&text(2)));
    assert_eq!(counters(&server).compressions, 2);
}

#[test]
fn what_a_sender_compressed_is_broadcast() {
    let server = with_channel(&[]);
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let mut sender = deflating(server.local_addr(), "/channel/send/test");
    sender.send_frame(0xc1, &deflate("你好".as_bytes()));
    sender.send_frame(0x81, b"plain between");
    sender.send_frame(0xc2, &deflate(b"\xff\x00"));
    sender.send_frame(0xc1, &deflate(b""));
    // In pieces, cut within a character, with a control frame between, byte by byte.
    let payload = deflate(text(1).as_bytes());
    let mut bytes = masked(0x41, &payload[..10]);
    bytes.extend(masked(0x89, b"ping"));
    bytes.extend(masked(0x00, b""));
    bytes.extend(masked(0x80, &payload[10..]));
    for byte in bytes {
        sender.send([byte]);
    }
    // A final block, and another behind it (RFC 7692 section 7.2.3.4).
    sender.send_frame(0xc1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x00");
    for expected in ["你好", "plain between"] {
        assert_eq!(listener.message(), Frame::text(expected));
    }
    assert_eq!(listener.message(), Frame { opcode: 2, payload: b"\xff\x00".to_vec() });
    for expected in ["", &text(1), "HelloHello"] {
        assert_eq!(listener.message(), Frame::text(expected));
    }
    assert_eq!(sender.message(), Frame { opcode: 10, payload: b"ping".to_vec() });
    until("all is counted", || counters(&server).published == 6);
    let now = counters(&server);
    assert_eq!((now.inflations, now.compressions), (5, 0));
}

#[test]
fn what_a_listener_compresses_is_checked_and_ignored() {
    let server = with_channel(&[]);
    let mut listener = deflating(server.local_addr(), "/channel/listen/test");
    listener.send_frame(0xc1, &deflate(text(1).as_bytes()));
    publish(&server, "still here");
    assert_eq!(listener.inflated(), (Frame::text("still here"), false));
    assert_eq!(counters(&server).published, 1);
    listener.send_frame(0xc1, &deflate(b"\xff"));
    assert_eq!(listener.message().close_code(), Some(1007));
}

#[test]
fn a_breach_is_closed_with_its_code_and_nothing_is_broadcast() {
    let server = with_channel(&[("max_message_bytes", "100000")]);
    let address = server.local_addr();
    let bomb = deflate(&vec![0; 50 << 20]);
    assert!(bomb.len() < 60_000);
    let over = deflate(&vec![b'x'; 100_001]);
    for (name, first, payload, code) in [
        ("not deflated", 0xc2, &b"\x07"[..], 1007),
        ("text", 0xc1, &deflate(b"\xff"), 1007),
        ("incomplete text", 0xc1, &deflate(b"\xe4\xbd"), 1007),
        ("a bomb", 0xc2, &bomb, 1009),
        ("over the limit", 0xc2, &over, 1009),
        ("compressed payload far over the limit", 0xc2, &[0; 112_565], 1009),
        ("second reserved bit", 0xa1, b"", 1002),
        ("compressed ping", 0xc9, b"", 1002),
        ("compressed continuation", 0xc0, b"", 1002),
    ] {
        for target in ["/channel/send/test", "/channel/listen/test"] {
            let mut raw = deflating(address, target);
            raw.send_frame(first, payload);
            assert_eq!(raw.message().close_code(), Some(code), "{name}, {target}");
            assert!(raw.is_closed());
        }
    }
    assert_eq!(counters(&server).published, 0);
    // Exactly at the limit.
    let mut sender = deflating(address, "/channel/send/test");
    sender.send_frame(0xc2, &deflate(&vec![b'x'; 100_000]));
    until("it is published", || counters(&server).published == 1);
}

#[test]
fn a_publication_over_the_limit_is_refused_on_a_stream_and_a_bomb_ends_it() {
    let server = with_channel(&[("max_message_bytes", "1000")]);
    let mut raw = deflating(server.local_addr(), "/channel/stream");
    for size in [1001, 16_000] {
        let payload = vec![b'x'; size];
        let publication = request(7, "test", Op::Publish(MessageKind::Text, &payload));
        raw.send_frame(0xc2, &deflate(&publication));
        let frame = raw.message();
        match decode_packet(&frame.payload) {
            Some(Packet::Reply(reply)) => {
                assert_eq!((reply.id, reply.status), (7, 413));
                assert!(reply.error.contains(&format!("{size} bytes")), "{}", reply.error);
            }
            other => panic!("{other:?}"),
        }
    }
    raw.send_frame(0xc2, &deflate(&request(8, "test", Op::Publish(MessageKind::Text, b"fits"))));
    assert_eq!(reply(&raw.message()).1, 0);
    let huge = vec![b'x'; 20_000];
    raw.send_frame(0xc2, &deflate(&request(9, "test", Op::Publish(MessageKind::Text, &huge))));
    assert_eq!(raw.message().close_code(), Some(1009));
}

#[test]
fn a_slow_reader_ends_behind_a_whole_frame() {
    let server = with_channel(&[("queue_bytes", "65536"), ("ping_interval_ms", "0")]);
    let mut slow = deflating(server.local_addr(), "/channel/listen/test");
    let mut fast = deflating(server.local_addr(), "/channel/listen/test");
    // Half random, so that the sockets' buffers fill although it is compressed.
    let message = |number: usize| {
        let mut random = fastrand::Rng::with_seed(number as u64);
        let mut text: String =
            std::iter::repeat_with(|| random.alphanumeric()).take(200_000).collect();
        text.push_str(&"x".repeat(200_000));
        text
    };
    let mut sent = 0;
    while counters(&server).closed_slow == 0 {
        publish(&server, &message(sent));
        assert_eq!(fast.inflated(), (Frame::text(&message(sent)), true));
        sent += 1;
    }
    for number in 0..sent {
        match slow.inflated() {
            (frame, true) => assert_eq!(frame, Frame::text(&message(number))),
            (close, false) => {
                assert_eq!(close.close_code(), Some(3008));
                return;
            }
        }
    }
    assert_eq!(slow.message().close_code(), Some(3008));
}
