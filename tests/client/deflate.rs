//! Clients that offer compression: against Qyun's server, plain and by TLS, and against a raw peer.

use std::time::Duration;

use qyun::client::{
    Client, ClientOptions, Delivery, EventKind, Socket, SocketEvent, SocketOptions,
};
use qyun::server::{self, ServerOptions};
use qyun::wire::MessageKind::{self, Binary, Text};
use tungstenite::Message;

use crate::events::fast;
use crate::peer::{Link, Peer};
use crate::server::LONG;
use crate::terminator::Terminator;

const FIELD: &str = "sec-websocket-extensions";
const ANSWER: &str = "permessage-deflate; server_no_context_takeover";

fn qyun(options: &[(&str, &str)]) -> server::Server {
    let mut all = ServerOptions::default();
    for (key, value) in [&[("listen", "127.0.0.1:0")], options].concat() {
        all.set(key, value).unwrap();
    }
    let server = server::Server::start(all).unwrap();
    server.service().create_channel("c").unwrap();
    server
}

fn text(number: usize) -> String {
    format!("{number} {}", "青云 ".repeat(300))
}

#[test]
fn a_handle_and_the_server_compress_both_ways() {
    let server = qyun(&[]);
    let plain = ClientOptions { compression: true, ..fast() };
    let tls = Terminator::start(server.local_addr(), "deflate");
    let secure = ClientOptions { compression: true, ..tls.options() };
    for (host, options) in [
        (server.local_addr().to_string(), plain),
        (format!("wss://localhost:{}", tls.address.port()), secure),
    ] {
        let before = server.service().counters();
        let client = Client::open(&host, options).unwrap();
        let subscription = client.subscribe("c", Delivery::Pull).unwrap();
        assert_eq!(subscription.recv(LONG).unwrap().kind, EventKind::Connected);
        for number in 0..20 {
            client.publish("c", Text, text(number).as_bytes()).unwrap();
            let event = subscription.recv(LONG).unwrap();
            assert_eq!((event.message_kind, event.data), (Text, text(number).into()));
            client.publish("c", Binary, &[number as u8]).unwrap();
            assert_eq!(subscription.recv(LONG).unwrap().data, vec![number as u8]);
        }
        let now = server.service().counters();
        assert_eq!(now.inflations - before.inflations, 20);
        assert_eq!(now.compressions - before.compressions, 20);
        assert!(now.bytes_in + now.bytes_out - before.bytes_in - before.bytes_out < 20_000);
    }
}

#[test]
fn without_the_option_nothing_is_offered() {
    let server = qyun(&[]);
    let client = Client::open(&server.local_addr().to_string(), fast()).unwrap();
    let subscription = client.subscribe("c", Delivery::Pull).unwrap();
    assert_eq!(subscription.recv(LONG).unwrap().kind, EventKind::Connected);
    client.publish("c", Text, text(1).as_bytes()).unwrap();
    assert_eq!(subscription.recv(LONG).unwrap().data, text(1));
    let counters = server.service().counters();
    assert_eq!((counters.compressions, counters.inflations), (0, 0));
}

#[test]
fn a_server_that_does_not_compress_is_spoken_to_plainly() {
    let server = qyun(&[("compression", "false")]);
    let options = ClientOptions { compression: true, ..fast() };
    let client = Client::open(&server.local_addr().to_string(), options).unwrap();
    let subscription = client.subscribe("c", Delivery::Pull).unwrap();
    assert_eq!(subscription.recv(LONG).unwrap().kind, EventKind::Connected);
    client.publish("c", Text, text(1).as_bytes()).unwrap();
    assert_eq!(subscription.recv(LONG).unwrap().data, text(1));
}

/// A socket that offers compression, and the peer that answers so.
fn socket(peer: &Peer, answer: Option<&str>, max: usize) -> (Socket, Link) {
    let options = SocketOptions {
        compression: true,
        reconnect: false,
        max_message_bytes: max,
        ..SocketOptions::default()
    };
    let socket = Socket::open(&peer.url("/"), options, Delivery::Pull).unwrap();
    socket.connect(Duration::ZERO).unwrap();
    let link = match answer {
        Some(answer) => peer.accept_answering(&[(FIELD, answer)]),
        None => peer.accept(),
    };
    (socket, link)
}

fn connected(peer: &Peer, answer: Option<&str>, max: usize) -> (Socket, Link) {
    let (socket, link) = socket(peer, answer, max);
    socket.connect(LONG).unwrap();
    assert!(matches!(socket.recv(LONG).unwrap(), SocketEvent::Connected { .. }));
    (socket, link)
}

fn deflate(message: &[u8]) -> Vec<u8> {
    let mut state = flate2::Compress::new(flate2::Compression::new(6), false);
    let mut out = Vec::with_capacity(message.len() + 1024);
    state.compress_vec(message, &mut out, flate2::FlushCompress::Sync).unwrap();
    out.strip_suffix(b"\x00\x00\xff\xff").unwrap().to_vec()
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ 0..=125 => out.push(short as u8),
        long @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(long as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

fn message(socket: &Socket) -> (MessageKind, Vec<u8>) {
    match socket.recv(LONG).unwrap() {
        SocketEvent::Message { kind, data } => (kind, data.to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_of_all_shapes_are_read() {
    let peer = Peer::start();
    let (socket, mut link) = connected(&peer, Some(ANSWER), 1 << 20);
    assert_eq!(
        link.header(FIELD),
        ["permessage-deflate; server_no_context_takeover; client_no_context_takeover"]
    );
    let payload = deflate(text(1).as_bytes());
    let mut bytes = frame(0xc1, &deflate("云".as_bytes()));
    bytes.extend(frame(0x81, "plain".as_bytes()));
    bytes.extend(frame(0xc2, &deflate(b"\xff\x00")));
    bytes.extend(frame(0x41, &payload[..3]));
    bytes.extend(frame(0x89, b"between"));
    bytes.extend(frame(0x00, b""));
    bytes.extend(frame(0x80, &payload[3..]));
    bytes.extend(frame(0xc1, b"\x00"));
    bytes.extend(frame(0x82, &[7; 70_000]));
    for piece in bytes.chunks(50) {
        link.send_raw(piece);
    }
    for expected in [
        (Text, "云".as_bytes().to_vec()),
        (Text, b"plain".to_vec()),
        (Binary, b"\xff\x00".to_vec()),
        (Text, text(1).into()),
        (Text, Vec::new()),
        (Binary, vec![7; 70_000]),
    ] {
        assert_eq!(message(&socket), expected);
    }
    // Too small to be compressed; the peer's tungstenite would refuse what is.
    socket.send(Text, b"small").unwrap();
    loop {
        match link.socket.read().unwrap() {
            Message::Pong(_) => {}
            message => break assert_eq!(message, Message::text("small")),
        }
    }
}

#[test]
fn a_breach_is_closed_with_its_code() {
    let peer = Peer::start();
    let zeros = deflate(&vec![0; 50 << 20]);
    for (name, answer, bytes, code) in [
        ("a bomb", Some(ANSWER), frame(0xc2, &zeros), 1009),
        ("over the limit", Some(ANSWER), frame(0xc1, &deflate(&[b'x'; 20_001])), 1009),
        ("not deflated", Some(ANSWER), frame(0xc2, b"\x07"), 1007),
        ("no text", Some(ANSWER), frame(0xc1, &deflate(b"\xff")), 1007),
        ("not agreed", None, frame(0xc1, &deflate(b"x")), 1002),
        ("second bit", Some(ANSWER), frame(0xa1, b"x"), 1002),
        ("continuation", Some(ANSWER), frame(0xc0, b"x"), 1002),
    ] {
        let max = if name == "a bomb" { 1 << 20 } else { 20_000 };
        let (_socket, mut link) = connected(&peer, answer, max);
        link.send_raw(&bytes);
        assert_eq!(link.read_close().0, code, "{name}");
    }
}

#[test]
fn an_answer_that_was_not_asked_for_fails_the_connection() {
    let peer = Peer::start();
    for answer in ["permessage-deflate", "x-other", "permessage-deflate; client_max_window_bits=9"]
    {
        let (socket, _link) = socket(&peer, Some(answer), 1000);
        match socket.recv(LONG).unwrap() {
            SocketEvent::Error { error, .. } => {
                assert_eq!(error.kind(), qyun::ErrorKind::Protocol);
                assert!(error.to_string().contains(answer), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}
