//! The stream protocol over real sockets.

use qyun::wire::stream::{Op, Packet, Request, decode_packet, encode_request};
use qyun::wire::{MessageKind, Position};

use crate::kit::{Frame, Raw, server, until};

pub fn request(id: u32, channel: &str, op: Op<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_request(&mut out, &Request { id, channel, op });
    out
}

pub fn subscribe(id: u32, channel: &str) -> Vec<u8> {
    request(id, channel, Op::Subscribe)
}

/// A reply's id, status, offset and channel number.
pub fn reply(frame: &Frame) -> (u32, u16, u64, u64) {
    assert_eq!(frame.opcode, 2);
    match decode_packet(&frame.payload) {
        Some(Packet::Reply(reply)) => {
            (reply.id, reply.status, reply.position.offset, reply.channel)
        }
        other => panic!("{other:?}"),
    }
}

/// A message's offset and payload.
pub fn message(frame: &Frame) -> (u64, Vec<u8>) {
    match decode_packet(&frame.payload) {
        Some(Packet::Message { offset, payload, .. }) => (offset, payload.to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_channels_over_one_connection() {
    let server = server(&[]);
    let service = server.service();
    for name in ["a", "b"] {
        service.create_channel(name).unwrap();
    }
    service.publish("a", MessageKind::Text, b"before").unwrap();
    let mut raw = Raw::websocket(server.local_addr(), "/channel/stream");
    raw.send_frame(0x82, &subscribe(1, "a"));
    raw.send_frame(0x82, &subscribe(2, "b"));
    let (id, status, offset, a) = reply(&raw.message());
    assert_eq!((id, status, offset), (1, 0, 1));
    let (id, status, offset, b) = reply(&raw.message());
    assert_eq!((id, status, offset), (2, 0, 0));
    assert_ne!(a, b);

    service.publish("a", MessageKind::Binary, b"\xff").unwrap();
    let frame = raw.message();
    let expected =
        Packet::Message { channel: a, offset: 2, kind: MessageKind::Binary, payload: b"\xff" };
    assert_eq!(decode_packet(&frame.payload), Some(expected));
    service.publish("b", MessageKind::Text, "青".as_bytes()).unwrap();
    let frame = raw.message();
    let expected = Packet::Message {
        channel: b,
        offset: 1,
        kind: MessageKind::Text,
        payload: "青".as_bytes(),
    };
    assert_eq!(decode_packet(&frame.payload), Some(expected));

    raw.send_frame(0x82, &request(3, "a", Op::Unsubscribe));
    assert_eq!(reply(&raw.message()).1, 0);
    service.publish("a", MessageKind::Text, b"not for it").unwrap();
    service.publish("b", MessageKind::Text, b"for it").unwrap();
    assert_eq!(message(&raw.message()), (2, b"for it".to_vec()));
    assert_eq!(service.channel("a").unwrap().subscribers, 0);

    drop(raw);
    until("it is gone", || service.counters().subscribers == 0);
}

#[test]
fn a_publisher_that_subscribes_gets_its_message_before_the_reply() {
    let server = server(&[]);
    server.service().create_channel("a").unwrap();
    let epoch = server.service().channel("a").unwrap().epoch;
    let mut raw = Raw::websocket(server.local_addr(), "/channel/stream");
    raw.send_frame(0x82, &subscribe(1, "a"));
    reply(&raw.message());
    raw.send_frame(0x82, &request(9, "a", Op::Publish(MessageKind::Text, b"hi")));
    assert_eq!(message(&raw.message()), (1, b"hi".to_vec()));
    match decode_packet(&raw.message().payload) {
        Some(Packet::Reply(reply)) => {
            assert_eq!((reply.id, reply.status), (9, 0));
            assert_eq!(reply.position, Position { epoch, offset: 1 });
        }
        other => panic!("{other:?}"),
    }
    // Without an id there is no reply.
    raw.send_frame(0x82, &request(0, "a", Op::Publish(MessageKind::Text, b"quiet")));
    raw.send_frame(0x82, &request(10, "a", Op::Publish(MessageKind::Text, b"loud")));
    assert_eq!(message(&raw.message()).1, b"quiet");
    assert_eq!(message(&raw.message()).1, b"loud");
    assert_eq!(reply(&raw.message()).0, 10);
}

#[test]
fn a_publication_far_over_the_limit_is_refused_and_the_connection_lives() {
    let server = server(&[("max_message_bytes", "100000")]);
    server.service().create_channel("a").unwrap();
    let mut raw = Raw::websocket(server.local_addr(), "/channel/stream");
    raw.send_frame(0x82, &subscribe(1, "a"));
    assert_eq!(reply(&raw.message()).1, 0);
    for (id, size) in [(2, 100_001), (3, 100_300), (4, 1_600_000)] {
        let packet = request(id, "a", Op::Publish(MessageKind::Binary, &vec![7; size]));
        raw.send_frame(0x82, &packet);
        let frame = raw.message();
        assert_eq!((reply(&frame).0, reply(&frame).1), (id, 413));
        let text = format!("Message has {size} bytes; the limit is 100000");
        assert!(frame.payload.ends_with(text.as_bytes()), "{frame:?}");
    }
    server.service().publish("a", MessageKind::Text, b"still here").unwrap();
    assert_eq!(message(&raw.message()), (1, b"still here".to_vec()));
    // Only what nobody can have meant costs the connection: told by the frame's header.
    let packet = request(5, "a", Op::Publish(MessageKind::Binary, &vec![7; 1_600_300]));
    raw.send_frame(0x82, &packet);
    assert_eq!(raw.message().close_code(), Some(1009));
}

#[test]
fn what_cannot_be_done_is_answered_with_its_status() {
    let server = server(&[("max_message_bytes", "100")]);
    server.service().create_channel("a").unwrap();
    let mut raw = Raw::websocket(server.local_addr(), "/channel/stream");
    for (packet, status) in [
        (subscribe(1, "none"), 404),
        (subscribe(1, ""), 400),
        (subscribe(1, "a\nb"), 400),
        (request(1, "none", Op::Publish(MessageKind::Text, b"x")), 404),
        (request(1, "a", Op::Publish(MessageKind::Text, b"\xff")), 400),
        (request(1, "a", Op::Publish(MessageKind::Text, &[b'x'; 101])), 413),
        (request(1, "a", Op::Unsubscribe), 404),
    ] {
        raw.send_frame(0x82, &packet);
        assert_eq!(reply(&raw.message()).1, status, "{packet:?}");
    }
    // Even without an id a failure is told.
    raw.send_frame(0x82, &request(0, "none", Op::Publish(MessageKind::Text, b"x")));
    assert_eq!(reply(&raw.message()).1, 404);
    // Subscribing twice is subscribing once.
    for id in [5, 6] {
        raw.send_frame(0x82, &subscribe(id, "a"));
        assert_eq!(reply(&raw.message()).0, id);
    }
    assert_eq!(server.service().channel("a").unwrap().subscribers, 1);
}

#[test]
fn what_is_no_packet_closes_the_connection() {
    let server = server(&[]);
    for (first, bytes) in [(0x82, &b"nonsense"[..]), (0x81, b"\x01\0\x01\0\0\0\0\0a"), (0x82, b"")]
    {
        let mut raw = Raw::websocket(server.local_addr(), "/channel/stream");
        raw.send_frame(first, bytes);
        assert_eq!(raw.message().close_code(), Some(1002));
        assert!(raw.is_closed());
    }
}

#[test]
fn a_deleted_channel_ends_its_subscriptions_after_its_last_message() {
    let server = server(&[]);
    let service = server.service();
    service.create_channel("a").unwrap();
    let mut stream = Raw::websocket(server.local_addr(), "/channel/stream");
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/a");
    let mut sender = Raw::websocket(server.local_addr(), "/channel/send/a");
    stream.send_frame(0x82, &subscribe(1, "a"));
    let (.., number) = reply(&stream.message());
    for _ in 0..100 {
        service.publish("a", MessageKind::Text, b"x").unwrap();
    }
    service.delete_channel("a").unwrap();
    for _ in 0..100 {
        message(&stream.message());
        assert_eq!(listener.message().payload, b"x");
    }
    assert_eq!(decode_packet(&stream.message().payload), Some(Packet::Gone { channel: number }));
    assert_eq!(listener.message().close_code(), Some(3504));
    sender.send_frame(0x81, b"too late");
    assert_eq!(sender.message().close_code(), Some(3504));
    // The connection of a stream outlives its channels.
    service.create_channel("a").unwrap();
    stream.send_frame(0x82, &subscribe(2, "a"));
    assert_eq!(reply(&stream.message()).1, 0);
}
