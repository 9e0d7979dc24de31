//! Compression on the endpoints: what is sent to one, to a user, to a channel and to everyone.

use std::sync::mpsc::Receiver;

use qyun::server::Server;
use qyun::wire::{Dialect, MessageKind};

use crate::deflate::{deflating, text};
use crate::endpoint::{Told, endpoint_of, opened};
use crate::kit::{Frame, OFFER, Raw, deflate, server, until};

/// Connections of an endpoint that agreed on compression, with their ids.
fn peers(server: &Server, path: &str, told: &Receiver<Told>, count: usize) -> Vec<(String, Raw)> {
    let open = |_| {
        let raw = deflating(server.local_addr(), path);
        (opened(told), raw)
    };
    (0..count).map(open).collect()
}

fn compressions(server: &Server) -> u64 {
    server.service().counters().compressions
}

#[test]
fn an_endpoint_compresses_unless_it_is_told_not_to() {
    let server = server(&[]);
    let (_handler, told) = endpoint_of(&server, "/on", &[], Dialect::Host);
    let (_other, _) = endpoint_of(&server, "/off", &[("compression", "false")], Dialect::Host);
    let mut off = Raw::connect(server.local_addr());
    let answer = off.upgrade("/off", OFFER);
    assert_eq!((answer.status, answer.field("sec-websocket-extensions")), (101, None));

    let mut all = peers(&server, "/on", &told, 1);
    let (id, raw) = &mut all[0];
    raw.send_frame(0xc1, &deflate(text(1).as_bytes()));
    assert_eq!(raw.inflated(), (Frame::text(&text(1)), true), "the handler's echo");
    raw.send_frame(0xc2, &deflate(b"small"));
    assert_eq!(raw.inflated(), (Frame { opcode: 2, payload: b"small".to_vec() }, false));
    let counters = server.service().counters();
    assert_eq!((counters.inflations, counters.compressions), (2, 1));
    // The connection's own counts are of what went over the wire.
    let traffic = server.service().connection(id).unwrap().info();
    assert_eq!((traffic.messages_in, traffic.messages_out), (2, 2));
    assert!(traffic.bytes_out < 100 && traffic.bytes_in < 150, "{traffic:?}");
    raw.send_frame(0xc1, &deflate(b"\xff"));
    assert_eq!(raw.message().close_code(), Some(1007));
}

#[test]
fn each_encoding_is_compressed_once_for_all_members_of_a_channel() {
    let server = server(&[("shards", "2")]);
    let service = server.service();
    service.create_channel("c").unwrap();
    let mut all = Vec::new();
    for (path, dialect) in
        [("/host", Dialect::Host), ("/session", Dialect::Session), ("/packet", Dialect::Packet)]
    {
        let (_handler, told) = endpoint_of(&server, path, &[], dialect);
        let peers = peers(&server, path, &told, 6);
        peers.iter().for_each(|(id, _)| assert!(service.join(id, "c").unwrap()));
        all.push((dialect, peers));
    }
    let mut listener = deflating(server.local_addr(), "/channel/listen/c");
    service.publish("c", MessageKind::Text, text(1).as_bytes()).unwrap();
    // A listener and a member that gets bare frames share one.
    assert_eq!(listener.inflated(), (Frame::text(&text(1)), true));
    for (dialect, peers) in &mut all {
        for (_, raw) in peers {
            let (frame, compressed) = raw.inflated();
            assert!(compressed);
            let payload = String::from_utf8_lossy(&frame.payload).into_owned();
            match dialect {
                Dialect::Packet => assert!(payload.ends_with(&text(1))),
                Dialect::Session => assert!(payload.contains(&text(1))),
                _ => assert_eq!(payload, text(1)),
            }
        }
    }
    assert_eq!(compressions(&server), 3);
    // Nobody is left who compresses: neither by leaving nor by going.
    let (_, mut hosts) = all.remove(0);
    for (id, _) in &hosts {
        assert!(service.leave(id, "c").unwrap());
    }
    drop((all, listener));
    until("they are gone", || service.counters().connections == 6);
    let mut plain = Raw::websocket(server.local_addr(), "/channel/listen/c");
    service.publish("c", MessageKind::Text, text(2).as_bytes()).unwrap();
    assert_eq!(plain.message(), Frame::text(&text(2)));
    assert_eq!(compressions(&server), 3);
    // They still get what is sent to them.
    service.send_to(&hosts[0].0, MessageKind::Text, text(3).as_bytes()).unwrap();
    assert_eq!(hosts[0].1.inflated(), (Frame::text(&text(3)), true));
}

#[test]
fn a_message_to_many_connections_is_compressed_once() {
    let server = server(&[("shards", "2")]);
    let service = server.service();
    let (_handler, told) = endpoint_of(&server, "/host", &[], Dialect::Host);
    let mut all = peers(&server, "/host", &told, 10);
    let mut plain = Raw::websocket(server.local_addr(), "/host");
    all.iter().for_each(|(id, _)| service.bind_user(id, "u").unwrap());
    service.bind_user(&opened(&told), "u").unwrap();
    let reached = service.send_to_user("u", MessageKind::Text, text(1).as_bytes()).unwrap();
    assert_eq!(reached, 11);
    let reached = service.broadcast(None, MessageKind::Binary, text(2).as_bytes()).unwrap();
    assert_eq!(reached, 11);
    for (_, raw) in &mut all {
        assert_eq!(raw.inflated(), (Frame::text(&text(1)), true));
        let expected = Frame { opcode: 2, payload: text(2).into() };
        assert_eq!(raw.inflated(), (expected, true));
    }
    assert_eq!(plain.message(), Frame::text(&text(1)));
    assert_eq!(plain.message().payload, text(2).as_bytes());
    assert_eq!(compressions(&server), 2);
}

#[test]
fn direct_sends_and_publications_keep_their_order() {
    let server = server(&[]);
    let service = server.service();
    service.create_channel("c").unwrap();
    let (_handler, told) = endpoint_of(&server, "/host", &[], Dialect::Host);
    let mut all = peers(&server, "/host", &told, 1);
    let (id, raw) = &mut all[0];
    service.join(id, "c").unwrap();
    let message = |number: usize| match number % 2 {
        0 => format!("{number}"),
        _ => text(number),
    };
    for number in 0..200 {
        match number % 5 {
            0 | 3 => {
                let payload = message(number);
                service.publish("c", MessageKind::Text, payload.as_bytes()).map(drop)
            }
            _ => service.send_to(id, MessageKind::Text, message(number).as_bytes()),
        }
        .unwrap();
    }
    for number in 0..200 {
        assert_eq!(raw.inflated(), (Frame::text(&message(number)), number % 2 == 1));
    }
}
