//! `Socket` against a raw peer.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use qyun::ErrorKind;
use qyun::client::{Delivery, Overflow, Socket, SocketEvent, SocketOptions, SocketState};
use qyun::wire::MessageKind::{Binary, Text};
use tungstenite::Message;

use crate::peer::{Link, Peer};
use crate::server::{LONG, Server};

/// What a callback was told, in short.
fn short(event: &SocketEvent) -> String {
    match event {
        SocketEvent::Connected { protocol: None } => "connected".into(),
        SocketEvent::Connected { protocol: Some(chosen) } => format!("connected {chosen}"),
        SocketEvent::Message { kind: Text, data } => {
            format!("text {}", String::from_utf8_lossy(data))
        }
        SocketEvent::Message { kind: Binary, data } => format!("binary {data:?}"),
        SocketEvent::Ping(data) => format!("ping {}", String::from_utf8_lossy(data)),
        SocketEvent::Pong(data) => format!("pong {}", String::from_utf8_lossy(data)),
        SocketEvent::Disconnected { code, reason, will_reconnect } => {
            format!("disconnected {code} '{reason}' {will_reconnect}")
        }
        SocketEvent::Error { error, will_reconnect } => {
            format!("error {:?} {will_reconnect}", error.kind())
        }
        SocketEvent::Closed { reason } => format!("closed {reason}"),
    }
}

/// The test's end of a callback.
struct Told {
    events: Receiver<String>,
    dropped: Receiver<()>,
}

struct Canary(Sender<()>);

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl Told {
    fn next(&self) -> String {
        self.events.recv_timeout(LONG).expect("an event")
    }

    fn expect(&self, event: &str) {
        assert_eq!(self.next(), event);
    }

    /// Expects the last event, then the drop of the function, then nothing more.
    fn end(&self) {
        self.expect("closed closed");
        self.dropped.recv_timeout(LONG).expect("the function is dropped");
        assert!(self.events.try_recv().is_err(), "an event after the last one");
    }
}

type Function = Box<dyn FnMut(&SocketEvent) + Send>;

fn callback(mut then: impl FnMut(&SocketEvent) + Send + 'static) -> (Function, Told) {
    let (sender, events) = channel();
    let (canary, dropped) = channel();
    let canary = Canary(canary);
    let function = move |event: &SocketEvent| {
        let _canary = &canary;
        let _ = sender.send(short(event));
        then(event);
    };
    (Box::new(function), Told { events, dropped })
}

fn delivery(inline: bool) -> (Delivery<SocketEvent>, Told) {
    let (function, told) = callback(|_| {});
    match inline {
        true => (Delivery::Inline(function), told),
        false => (Delivery::Thread(function), told),
    }
}

fn fast() -> SocketOptions {
    SocketOptions { reconnect_delay: Duration::from_millis(1), ..SocketOptions::default() }
}

/// A connected socket, its report, and the peer's end.
fn connected(peer: &Peer, options: SocketOptions) -> (Socket, Told, Link) {
    let (delivery, told) = delivery(false);
    let socket = Socket::open(&peer.url("/"), options, delivery).unwrap();
    socket.connect(Duration::ZERO).unwrap();
    let link = peer.accept();
    socket.connect(LONG).unwrap();
    told.expect("connected");
    (socket, told, link)
}

#[test]
fn it_says_path_query_headers_and_protocols_and_tells_what_was_chosen() {
    let peer = Peer::start();
    let mut options = fast();
    options.set("header", "Authorization: Bearer 云").unwrap();
    options.set("header", "Cookie: a=1").unwrap();
    options.set("header", "Cookie: b=2").unwrap();
    options.set("header", "Origin: https://a.example").unwrap();
    options.set("header", "Host: other.example").unwrap();
    options.set("protocols", "v2, v1").unwrap();
    let (delivery, told) = delivery(false);
    let socket = Socket::open(&peer.url("/a%20b?uid=1&x=/"), options, delivery).unwrap();
    assert_eq!(socket.state(), SocketState::Disconnected);
    socket.connect(Duration::ZERO).unwrap();
    let link = peer.accept_with(Some("v1"));
    assert_eq!(link.path, "/a%20b?uid=1&x=/");
    assert_eq!(link.header("authorization"), ["Bearer 云"]);
    assert_eq!(link.header("cookie"), ["a=1", "b=2"]);
    assert_eq!(link.header("origin"), ["https://a.example"]);
    assert_eq!(link.header("host"), ["other.example"]);
    assert_eq!(link.header("sec-websocket-protocol"), ["v2, v1"]);
    assert_eq!(link.header("user-agent").len(), 1);
    told.expect("connected v1");
    assert!(socket.is_connected());
    drop(socket);
    told.end();
}

#[test]
fn messages_go_both_ways_in_order_and_are_counted() {
    let peer = Peer::start();
    for inline in [false, true] {
        let (delivery, told) = delivery(inline);
        let socket = Socket::open(&peer.url("/"), fast(), delivery).unwrap();
        socket.connect(Duration::ZERO).unwrap();
        let mut link = peer.accept();
        socket.connect(LONG).unwrap();
        told.expect("connected");
        socket.send(Text, "青云".as_bytes()).unwrap();
        socket.send(Binary, &[0, 255]).unwrap();
        socket.send_json(br#"{"a":[1]}"#).unwrap();
        socket.send(Text, b"").unwrap();
        assert_eq!(link.read(), Message::text("青云"));
        assert_eq!(link.read(), Message::binary(vec![0, 255]));
        assert_eq!(link.read(), Message::text(r#"{"a":[1]}"#));
        assert_eq!(link.read(), Message::text(""));
        for number in 0..500 {
            link.send(Message::text(number.to_string()));
        }
        link.send(Message::binary(vec![7]));
        for number in 0..500 {
            told.expect(&format!("text {number}"));
        }
        told.expect(r#"binary b"\x07""#);
        let counters = socket.counters();
        assert_eq!((counters.messages_out, counters.bytes_out), (4, 6 + 2 + 9));
        assert_eq!((counters.messages_in, counters.bytes_in), (501, 10 + 180 + 1200 + 1));
        assert_eq!((counters.dropped, counters.unsent, counters.reconnects), (0, 0, 0));
        socket.close();
        assert_eq!(link.read_close(), (1000, String::new()));
        told.end();
        assert_eq!(socket.state(), SocketState::Closed);
        assert_eq!(socket.send(Text, b"x").unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(socket.connect(LONG).unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let peer = Peer::start();
    let (socket, _told, _link) = connected(&peer, fast());
    for (result, kind, word) in [
        (socket.send(Text, b"a\xff"), ErrorKind::InvalidUtf8, "byte 1"),
        (socket.send_json(b"{\"a\":"), ErrorKind::InvalidArgument, "no JSON"),
        (socket.send_json(b"{} x"), ErrorKind::InvalidArgument, "no JSON"),
        (socket.ping(&[0; 126]), ErrorKind::InvalidArgument, "126 bytes"),
        (socket.disconnect(1005, ""), ErrorKind::InvalidArgument, "1005"),
        (socket.disconnect(1000, &"x".repeat(124)), ErrorKind::InvalidArgument, "124"),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(socket.counters().messages_out, 0);
}

#[test]
fn it_comes_back_after_a_loss_and_not_after_a_code_that_means_stay_away() {
    let peer = Peer::start();
    let (socket, told, mut link) = connected(&peer, fast());
    link.close(4001, "again");
    told.expect("disconnected 4001 'again' true");
    let link = peer.accept();
    told.expect("connected");
    link.kill();
    let lost = told.next();
    assert!(lost.starts_with("disconnected 1006 '") && lost.ends_with("' true"), "{lost}");
    let mut link = peer.accept();
    told.expect("connected");
    assert_eq!(socket.counters().reconnects, 2);
    link.close(4500, "away");
    told.expect("disconnected 4500 'away' false");
    assert_eq!(socket.state(), SocketState::Disconnected);
    // The program may still want to.
    socket.connect(Duration::ZERO).unwrap();
    let _link = peer.accept();
    told.expect("connected");
    assert_eq!(socket.counters().reconnects, 2);
}

/// The delay alone would keep it waiting for minutes.
#[test]
fn a_server_that_says_when_to_come_back_is_heeded() {
    let peer = Peer::start();
    let options = SocketOptions { reconnect_delay: LONG * 100, ..SocketOptions::default() };
    let (delivery, told) = delivery(false);
    let socket = Socket::open(&peer.url("/"), options, delivery).unwrap();
    socket.connect(Duration::ZERO).unwrap();
    let mut link = peer.accept();
    told.expect("connected");
    link.close(1012, "server is stopping; reconnect after 1..5 ms");
    told.expect("disconnected 1012 'server is stopping; reconnect after 1..5 ms' true");
    let _link = peer.accept();
    told.expect("connected");
}

#[test]
fn attempts_in_a_row_are_limited_and_each_failure_is_told() {
    let peer = Peer::start();
    let options = SocketOptions { reconnect_attempts: 3, ..fast() };
    let (delivery, told) = delivery(false);
    let socket = Socket::open(&peer.url("/"), options, delivery).unwrap();
    let connecting = std::thread::spawn({
        let socket = socket.clone();
        move || socket.connect(LONG)
    });
    for _ in 0..3 {
        peer.refuse(403);
    }
    let error = connecting.join().unwrap().unwrap_err();
    for _ in 0..2 {
        told.expect("error Refused true");
    }
    told.expect("error Refused false");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("403"), "{error}");
    assert_eq!(socket.state(), SocketState::Disconnected);
    assert!(socket.last_error().is_some());
}

#[test]
fn without_reconnection_one_failure_ends_it() {
    let peer = Peer::start();
    let address = peer.address();
    drop(peer);
    let options = SocketOptions { reconnect: false, ..fast() };
    let (delivery, told) = delivery(false);
    let socket = Socket::open(&format!("ws://{address}/"), options, delivery).unwrap();
    let error = socket.connect(LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    told.expect("error Connect false");
    let peer = Peer::bind(address);
    socket.connect(Duration::ZERO).unwrap();
    let link = peer.accept();
    told.expect("connected");
    link.kill();
    let lost = told.next();
    assert!(lost.ends_with("' false"), "{lost}");
    assert_eq!(socket.send(Text, b"x").unwrap_err().kind(), ErrorKind::Connect);
}

#[test]
fn a_connect_that_times_out_names_the_last_failure_and_goes_on() {
    let peer = Peer::start();
    let address = peer.address();
    drop(peer);
    let (delivery, told) = delivery(false);
    let socket = Socket::open(&format!("ws://{address}/"), fast(), delivery).unwrap();
    socket.connect(Duration::ZERO).unwrap();
    told.expect("error Connect true");
    let error = socket.connect(Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(socket.state(), SocketState::Connecting);
    let peer = Peer::bind(address);
    let accepted = std::thread::spawn(move || peer.accept());
    socket.connect(LONG).unwrap();
    drop(accepted.join().unwrap());
}

#[test]
fn disconnect_writes_what_was_queued_says_goodbye_and_allows_another_connect() {
    let peer = Peer::start();
    let (socket, told, mut link) = connected(&peer, fast());
    for number in 0..100 {
        socket.send(Text, number.to_string().as_bytes()).unwrap();
    }
    socket.disconnect(4000, "bye").unwrap();
    assert_eq!(socket.state(), SocketState::Disconnected);
    assert_eq!(socket.send(Text, b"x").unwrap_err().kind(), ErrorKind::Connect);
    socket.disconnect(1000, "").unwrap();
    // At once, while the goodbye is under way.
    socket.connect(Duration::ZERO).unwrap();
    for number in 0..100 {
        assert_eq!(link.read(), Message::text(number.to_string()));
    }
    assert_eq!(link.read_close(), (4000, "bye".into()));
    told.expect("disconnected 4000 'bye' false");
    let mut link = peer.accept();
    told.expect("connected");
    socket.send(Text, b"again").unwrap();
    assert_eq!(link.read(), Message::text("again"));
    assert_eq!(socket.counters().unsent, 0);
}

#[test]
fn disconnect_ends_the_attempts_too() {
    let peer = Peer::start();
    let address = peer.address();
    drop(peer);
    let options = SocketOptions { reconnect_delay: LONG * 100, ..fast() };
    let (delivery, told) = delivery(false);
    let socket = Socket::open(&format!("ws://{address}/"), options, delivery).unwrap();
    socket.connect(Duration::ZERO).unwrap();
    told.expect("error Connect true");
    let waiting = {
        let socket = socket.clone();
        std::thread::spawn(move || socket.connect(LONG * 100))
    };
    socket.disconnect(1000, "").unwrap();
    // It waited and was told, or came later and waits for attempts of its own.
    socket.close();
    let kind = waiting.join().unwrap().unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::Connect | ErrorKind::Closed), "{kind:?}");
    told.end();
}

#[test]
fn a_full_send_queue_says_so_and_a_server_that_takes_nothing_is_given_up() {
    let peer = Peer::start();
    let options = SocketOptions {
        send_queue_bytes: 1 << 20,
        write_wait: Duration::from_millis(50),
        reconnect: false,
        ..fast()
    };
    let (socket, told, link) = connected(&peer, options);
    let block = vec![1; 100_000];
    let (mut sent, mut full) = (0_u64, false);
    loop {
        match socket.send(Binary, &block) {
            Ok(()) => sent += 1,
            Err(error) if error.kind() == ErrorKind::QueueFull => {
                full = true;
                std::thread::yield_now();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
                break;
            }
        }
    }
    assert!(full);
    let lost = told.next();
    assert_eq!(lost, "disconnected 1006 'the server took nothing for 50 ms' false");
    let counters = socket.counters();
    assert_eq!(counters.messages_out + counters.unsent, sent);
    assert!(counters.unsent > 0);
    drop(link);
}

#[test]
fn one_message_over_the_byte_limit_waits_alone() {
    let peer = Peer::start();
    let options = SocketOptions { send_queue_bytes: 10, ..fast() };
    let (socket, _told, mut link) = connected(&peer, options);
    socket.send(Binary, &[3; 1000]).unwrap();
    assert_eq!(link.read(), Message::binary(vec![3; 1000]));
}

#[test]
fn a_message_over_the_limit_and_a_broken_frame_close_with_their_codes() {
    let peer = Peer::start();
    let options = SocketOptions { max_message_bytes: 1000, ..fast() };
    let (_socket, told, mut link) = connected(&peer, options);
    link.send(Message::binary(vec![0; 1000]));
    told.next();
    link.send(Message::binary(vec![0; 1001]));
    let lost = told.next();
    assert!(lost.starts_with("disconnected 1009 '") && lost.ends_with("' true"), "{lost}");
    assert_eq!(link.read_close().0, 1009);
    let mut link = peer.accept();
    told.expect("connected");
    // A frame with a reserved bit.
    std::io::Write::write_all(link.socket.get_mut(), &[0xc1, 0]).unwrap();
    let lost = told.next();
    assert!(lost.starts_with("disconnected 1002 '"), "{lost}");
    assert_eq!(link.read_close().0, 1002);
}

#[test]
fn pings_are_answered_and_told_when_asked_for() {
    let peer = Peer::start();
    let options = SocketOptions { control_events: true, ..fast() };
    let (socket, told, mut link) = connected(&peer, options);
    link.send(Message::Ping("p".into()));
    told.expect("ping p");
    assert_eq!(link.socket.read().unwrap(), Message::Pong("p".into()));
    socket.ping(b"q").unwrap();
    assert_eq!(link.socket.read().unwrap(), Message::Ping("q".into()));
    link.socket.flush().unwrap();
    told.expect("pong q");
    assert_eq!(socket.counters().messages_in, 0);
    assert_eq!(socket.counters().messages_out, 0);
}

#[test]
fn a_server_that_answers_no_ping_is_given_up() {
    let peer = Peer::start();
    let options = SocketOptions {
        ping_interval: Duration::from_millis(10),
        pong_wait: Duration::from_millis(30),
        ..fast()
    };
    let (_socket, told, _silent) = connected(&peer, options);
    told.expect("disconnected 1006 'the server did not answer a ping within 30 ms' true");
    drop(peer.accept());
    told.expect("connected");
}

#[test]
fn events_can_be_taken_with_a_descriptor_and_back_pressure_loses_nothing() {
    let peer = Peer::start();
    let options = SocketOptions { queue_messages: 4, ..fast() };
    let socket = Socket::open(&peer.url("/"), options, Delivery::Pull).unwrap();
    socket.connect(Duration::ZERO).unwrap();
    let mut link = peer.accept();
    assert_eq!(short(&socket.recv(LONG).unwrap()), "connected");
    let sender = std::thread::spawn(move || {
        for number in 0..2000 {
            link.send(Message::text(format!("{number:0>1000}")));
        }
        link.close(1000, "done");
    });
    let fd = socket.poll_fd().unwrap();
    let mut events = Vec::new();
    while events.len() < 2001 {
        assert!(crate::poll_fd::readable(fd, LONG));
        socket.recv_many(&mut events, 64, Duration::ZERO).unwrap();
    }
    sender.join().unwrap();
    for (number, event) in events[..2000].iter().enumerate() {
        assert_eq!(short(event), format!("text {number:0>1000}"));
    }
    assert_eq!(short(&events[2000]), "disconnected 1000 'done' true");
    assert_eq!(socket.counters().dropped, 0);
    socket.close();
    assert_eq!(socket.recv(LONG).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn the_overflow_policy_can_drop() {
    let peer = Peer::start();
    let options = SocketOptions { queue_messages: 3, overflow: Overflow::DropOldest, ..fast() };
    let socket = Socket::open(&peer.url("/"), options, Delivery::Pull).unwrap();
    socket.connect(Duration::ZERO).unwrap();
    let mut link = peer.accept();
    for number in 0..10 {
        link.send(Message::text(number.to_string()));
    }
    link.close(4500, "");
    let mut told = Vec::new();
    while told.last().is_none_or(|last: &String| !last.starts_with("disconnected")) {
        if socket.state() == SocketState::Disconnected {
            told.push(short(&socket.recv(LONG).unwrap()));
        } else {
            std::thread::yield_now();
        }
    }
    assert_eq!(told, ["connected", "text 7", "text 8", "text 9", "disconnected 4500 '' false"]);
    assert_eq!(socket.counters().dropped, 7);
}

#[test]
fn a_callback_may_call_everything() {
    for inline in [false, true] {
        let peer = Peer::start();
        let own: Arc<std::sync::OnceLock<Socket>> = Arc::default();
        let (kinds, results) = channel();
        let (function, told) = {
            let own = own.clone();
            callback(move |event| {
                let socket = own.wait();
                match event {
                    SocketEvent::Connected { .. } => {
                        socket.connect(LONG).unwrap();
                        socket.send(Text, b"hello").unwrap();
                    }
                    SocketEvent::Message { .. } => {
                        let wait = socket.close_wait(LONG).unwrap_err().kind();
                        let recv = socket.recv(LONG).unwrap_err().kind();
                        kinds.send((wait, recv)).unwrap();
                    }
                    _ => {}
                }
            })
        };
        let delivery = if inline { Delivery::Inline(function) } else { Delivery::Thread(function) };
        let socket = Socket::open(&peer.url("/"), fast(), delivery).unwrap();
        own.set(socket.clone()).unwrap();
        socket.connect(Duration::ZERO).unwrap();
        let mut link = peer.accept();
        assert_eq!(link.read(), Message::text("hello"));
        link.send(Message::text("go"));
        assert_eq!(
            results.recv_timeout(LONG).unwrap(),
            (ErrorKind::WouldDeadlock, ErrorKind::InvalidArgument)
        );
        told.expect("connected");
        told.expect("text go");
        told.end();
    }
}

#[test]
fn an_inline_callback_may_not_wait_for_a_connection() {
    let peer = Peer::start();
    let own: Arc<std::sync::OnceLock<Socket>> = Arc::default();
    let (kinds, results) = channel();
    let function = {
        let own = own.clone();
        Box::new(move |event: &SocketEvent| {
            if let SocketEvent::Disconnected { .. } = event {
                let socket = own.wait();
                kinds.send(socket.connect(LONG).unwrap_err().kind()).unwrap();
                socket.connect(Duration::ZERO).unwrap();
            }
        })
    };
    let options = SocketOptions { reconnect: false, ..fast() };
    let socket = Socket::open(&peer.url("/"), options, Delivery::Inline(function)).unwrap();
    own.set(socket.clone()).unwrap();
    socket.connect(Duration::ZERO).unwrap();
    peer.accept().kill();
    assert_eq!(results.recv_timeout(LONG).unwrap(), ErrorKind::WouldDeadlock);
    drop(peer.accept());
}

#[test]
fn a_callback_that_panics_closes_its_socket() {
    let peer = Peer::start();
    for inline in [false, true] {
        let function = Box::new(|event: &SocketEvent| {
            if let SocketEvent::Message { .. } = event {
                panic!("planted");
            }
        });
        let delivery = if inline { Delivery::Inline(function) } else { Delivery::Thread(function) };
        let socket = Socket::open(&peer.url("/"), fast(), delivery).unwrap();
        socket.connect(Duration::ZERO).unwrap();
        let mut link = peer.accept();
        link.send(Message::text("x"));
        assert_eq!(link.read_close().0, 1000);
        assert_eq!(socket.state(), SocketState::Closed);
    }
}

#[test]
fn many_threads_send_connect_disconnect_and_close() {
    let peer = Arc::new(Peer::start());
    let accepting = {
        let peer = peer.clone();
        std::thread::spawn(move || {
            loop {
                let Some(mut link) = peer.try_accept() else { continue };
                if link.path == "/stop" {
                    return;
                }
                std::thread::spawn(move || while link.socket.read().is_ok() {});
            }
        })
    };
    for round in 0..40 {
        let (delivery, told) = delivery(round % 2 == 0);
        let socket = Socket::open(&peer.url("/"), fast(), delivery).unwrap();
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for role in 0..4 {
                let (socket, barrier) = (&socket, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for _ in 0..20 {
                        match role {
                            0 => drop(socket.connect(LONG)),
                            1 => drop(socket.send(Text, b"x")),
                            2 => drop(socket.disconnect(1000, "")),
                            _ => drop(socket.connect(Duration::ZERO)),
                        }
                    }
                    if role == 3 {
                        socket.close();
                    }
                });
            }
        });
        socket.close_wait(LONG).unwrap();
        let all: Vec<_> = told.events.iter().collect();
        assert_eq!(all.iter().filter(|event| event.starts_with("closed")).count(), 1);
        assert!(all.last().is_some_and(|event| event.starts_with("closed")));
        told.dropped.recv_timeout(LONG).unwrap();
    }
    let socket = Socket::open(&peer.url("/stop"), fast(), Delivery::Pull).unwrap();
    socket.connect(Duration::ZERO).unwrap();
    accepting.join().unwrap();
}

#[test]
fn a_bad_url_or_header_is_refused_and_the_function_dropped_uncalled() {
    for (url, kind) in [
        ("ws://a/#x", ErrorKind::InvalidUrl),
        ("nowhere://a", ErrorKind::InvalidUrl),
        ("ws://a/ b", ErrorKind::InvalidUrl),
    ] {
        let (delivery, told) = delivery(false);
        let error = Socket::open(url, fast(), delivery).unwrap_err();
        assert_eq!(error.kind(), kind, "{url}");
        told.dropped.recv_timeout(LONG).unwrap();
        assert!(told.events.try_recv().is_err());
    }
}

#[test]
fn it_speaks_tls() {
    let server = Server::start();
    server.create("c");
    let tls = crate::terminator::Terminator::start(server.address, "socket");
    let options = SocketOptions { ca_file: tls.options().ca_file, ..fast() };
    let url = format!("wss://localhost:{}/channel/listen/c", tls.address.port());
    let (delivery, told) = delivery(false);
    let socket = Socket::open(&url, options, delivery).unwrap();
    socket.connect(LONG).unwrap();
    told.expect("connected");
    server.sockets(1);
    server.text("c", "by TLS");
    told.expect("text by TLS");
}
