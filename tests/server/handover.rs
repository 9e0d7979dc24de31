//! From one server to the next, over a Unix socket as between two processes: everybody stays.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use qyun::ErrorKind;
use qyun::hub::{ChannelConfig, Value};
use qyun::server::{Server, ServerOptions, TakenOver};
use qyun::wire::handover::FORMAT;
use qyun::wire::members::{self, Call, Notice};
use qyun::wire::stream::{Op, Request};
use qyun::wire::{MessageKind, Position};
use serde_json::Value as Json;

use crate::kit::{Frame, OFFER, PATIENCE, Raw, deflate, masked, server, until};
use crate::stream::{message, reply, request, subscribe};

pub fn options(options: &[(&str, &str)]) -> ServerOptions {
    let mut all = ServerOptions::default();
    all.set("listen", "127.0.0.1:0").unwrap();
    for (key, value) in options {
        all.set(key, value).unwrap();
    }
    all
}

/// The server that comes after `old`, with other options.
pub fn successor(old: &Server, next: &[(&str, &str)]) -> (Server, TakenOver) {
    let (give, take) = UnixStream::pair().unwrap();
    let options = options(next);
    let (new, taken) = std::thread::scope(|scope| {
        let taking = scope.spawn(|| Server::take_over(options, take));
        let given = old.hand_over(give).unwrap();
        let (new, taken) = taking.join().unwrap().unwrap();
        assert_eq!((given.connections, given.to), (taken.connections, std::process::id()));
        assert_eq!(taken.from, std::process::id());
        (new, taken)
    });
    assert_eq!(new.local_addr(), old.local_addr());
    (new, taken)
}

pub fn text(server: &Server, channel: &str, text: &str) {
    server.service().publish(channel, MessageKind::Text, text.as_bytes()).unwrap();
}

pub fn json(frame: &Frame) -> Json {
    serde_json::from_slice(&frame.payload).unwrap()
}

fn events(address: SocketAddr, target: &str) -> Raw {
    let mut raw = Raw::connect(address);
    raw.send(format!("GET {target} HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n"));
    assert!(raw.head().starts_with("HTTP/1.1 200"));
    // The position that it begins behind.
    raw.event();
    raw
}

pub fn ask(raw: &mut Raw, action: &str, payload: &str) -> Json {
    let text = format!(r#"{{"id":"1","type":"request","action":"{action}","payload":{payload}}}"#);
    raw.send_frame(0x81, text.as_bytes());
    json(&raw.message())
}

#[test]
fn every_kind_of_connection_goes_on_where_it_was() {
    for (before, after) in [("1", "1"), ("1", "3"), ("3", "2")] {
        let old = server(&[("shards", before)]);
        let address = old.local_addr();
        for name in ["a", "b", "empty"] {
            old.service().create_channel(name).unwrap();
        }
        let mut listener = Raw::websocket(address, "/channel/listen/a");
        let mut meta = Raw::websocket(address, "/channel/listen/a?meta=1");
        assert_eq!(json(&meta.message())["event"], "subscribed");
        let mut compressed = Raw::connect(address);
        assert_eq!(compressed.upgrade("/channel/listen/a", OFFER).status, 101);
        let mut stream = Raw::websocket(address, "/channel/stream");
        for (id, name) in [(1, "a"), (2, "b")] {
            stream.send_frame(0x82, &subscribe(id, name));
            reply(&stream.message());
        }
        let mut sse = events(address, "/channel/listen/a");
        let mut sender = Raw::websocket(address, "/channel/send/a");
        let mut idle = Raw::connect(address);
        assert_eq!(idle.get("/health").status, 200);
        let mut session = Raw::websocket(address, "/ws");
        let id = json(&session.message())["data"]["connection_id"].clone();
        assert_eq!(ask(&mut session, "subscribe", r#"{"channel":"a"}"#)["type"], "response");
        let mut gateway = Raw::websocket(address, "/");
        let client = String::from_utf8(gateway.message().payload).unwrap();
        let service = old.service();
        service.bind_user(&client, "u1").unwrap();
        service.join_group(&client, "group").unwrap();
        let connection = service.connection(&client).unwrap();
        connection.set_value("n", Value::Integer(-5));
        connection.set_value("b", Value::Bytes(b"\xff"[..].into()));
        let mut packet = Raw::websocket(address, "/join?uid=7");
        text(&old, "a", "1");
        until("all have it", || old.service().counters().delivered >= 6);
        let (told, counted) = (service.connection(&client).unwrap().info(), service.counters());

        let (new, taken) = successor(&old, &[("shards", after)]);
        assert_eq!((taken.connections, taken.channels), (10, 4));
        let error = old.service().publish("a", MessageKind::Text, b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        drop(old);

        text(&new, "a", "2");
        text(&new, "b", "3");
        assert_eq!((listener.message(), listener.message()), (Frame::text("1"), Frame::text("2")));
        for (offset, text) in [(1, "1"), (2, "2")] {
            let told = json(&meta.message());
            assert_eq!((&told["offset"], &told["message"]), (&offset.into(), &text.into()));
            assert_eq!(message(&stream.message()), (offset, text.into()));
            assert!(sse.event().ends_with(&format!("-{offset}\ndata: {text}\n\n")));
            assert_eq!(json(&session.message())["data"]["message"], text);
        }
        assert_eq!(message(&stream.message()), (1, b"3".to_vec()));
        assert_eq!(
            (compressed.inflated().0, compressed.inflated().0),
            (Frame::text("1"), Frame::text("2"))
        );
        // What clients say is heard.
        sender.send_frame(0x81, b"4");
        assert_eq!(listener.message(), Frame::text("4"));
        assert_eq!(idle.get("/channel/send/b/5").status, 200);
        assert_eq!(message(&stream.message()), (3, b"4".to_vec()));
        assert_eq!(message(&stream.message()), (2, b"5".to_vec()));
        stream.send_frame(0x82, &request(3, "b", Op::Unsubscribe));
        assert_eq!(reply(&stream.message()).1, 0);
        compressed.send_frame(0xc1, &deflate(b"ignored"));
        assert_eq!(ask(&mut session, "echo", r#"{"message":"x"}"#)["data"]["message"], "4");
        assert_eq!(json(&session.message())["data"]["echo"], "x");
        assert_eq!(ask(&mut session, "unsubscribe", r#"{"channel":"a"}"#)["type"], "response");
        // Who was somebody is the same.
        let service = new.service();
        let connection = service.connection(&client).unwrap();
        let mut now = connection.info();
        assert!(now.uptime_ms >= told.uptime_ms);
        now.uptime_ms = told.uptime_ms;
        assert_eq!(now, told);
        assert_eq!(connection.value("n"), Some(Value::Integer(-5)));
        assert_eq!(connection.value("b"), Some(Value::Bytes(b"\xff"[..].into())));
        assert!(service.connection(id.as_str().unwrap()).is_ok());
        text(&new, "group", "6");
        assert_eq!(gateway.message(), Frame::text("6"));
        assert_eq!(service.send_to_user("u1", MessageKind::Text, b"7").unwrap(), 1);
        assert_eq!(gateway.message(), Frame::text("7"));
        gateway.send_frame(0x81, b"ping");
        assert_eq!(gateway.message(), Frame::text("pong"));
        assert_eq!(service.connection("7-0--").unwrap().user().as_deref(), Some("7"));
        packet.send_frame(0x89, b"");
        assert_eq!(packet.frame().opcode, 10);
        // All are counted, and a new one is accepted at the same address.
        let counters = service.counters();
        assert_eq!(counters.connections, counted.connections);
        assert_eq!(counters.subscribers, counted.subscribers - 2, "two have unsubscribed");
        let mut fresh = Raw::websocket(address, "/channel/listen/empty");
        text(&new, "empty", "8");
        assert_eq!(fresh.message(), Frame::text("8"));
        drop((
            listener, meta, stream, sse, sender, idle, session, gateway, packet, compressed, fresh,
        ));
        until("nothing is left of them", || {
            let counters = new.service().counters();
            (counters.connections, counters.subscribers, counters.queued_bytes) == (0, 0, 0)
        });
        assert!(new.service().channel("group").is_err(), "a group goes with its last member");
    }
}

/// A client that has taken nothing, and of whose messages one was written by half.
#[test]
fn what_is_queued_goes_along() {
    let old = server(&[("queue_bytes", "100000000"), ("shards", "2"), ("ping_interval_ms", "0")]);
    old.service().create_channel("c").unwrap();
    let address = old.local_addr();
    let mut slow: Vec<Raw> = (0..4).map(|_| Raw::websocket(address, "/channel/listen/c")).collect();
    let body = "x".repeat(100_000);
    for n in 0..200 {
        text(&old, "c", &format!("{n} {body}"));
    }
    until("something is queued", || old.service().counters().delivered == 4 * 200);
    let queued = old.service().counters().queued_bytes;
    assert!(queued > 1_000_000, "{queued}");
    let (middle, _) = successor(&old, &[("queue_bytes", "100000000"), ("ping_interval_ms", "0")]);
    assert_eq!(middle.service().counters().queued_bytes, queued);
    text(&middle, "c", "between");
    let (new, _) = successor(&middle, &[("shards", "1"), ("queue_bytes", "100000000")]);
    text(&new, "c", "last");
    for raw in &mut slow {
        for n in 0..200 {
            assert_eq!(raw.message(), Frame::text(&format!("{n} {body}")));
        }
        assert_eq!(raw.message(), Frame::text("between"));
        assert_eq!(raw.message(), Frame::text("last"));
    }
    until("nothing is queued", || new.service().counters().queued_bytes == 0);
}

#[test]
fn what_is_half_read_goes_along() {
    let old = server(&[]);
    old.service().create_channel("c").unwrap();
    let address = old.local_addr();
    let mut listener = Raw::websocket(address, "/channel/listen/c");
    let begin = |bytes: &[u8]| {
        let mut raw = Raw::connect(address);
        raw.send(bytes);
        raw
    };
    let mut head = begin(b"GET /channel/send/c/in-a-he");
    let mut body =
        begin(b"POST /channel/send/c HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhalf a");
    let chunks = b"POST /channel/send/c HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nthr\r\n5\r\nee";
    let mut chunked = begin(chunks);
    let mut expecting = begin(
        b"POST /channel/send/c HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    );
    assert_eq!(expecting.answer().status, 100);
    let mut sender = Raw::websocket(address, "/channel/send/c");
    let frame = masked(0x81, "青云 by half".as_bytes());
    sender.send(&frame[..7]);
    let mut fragments = Raw::websocket(address, "/channel/send/c");
    fragments.send_frame(0x01, b"first, ");
    fragments.send(&masked(0x80, b"second")[..1]);
    until("all is read", || {
        let read = old.service().counters().bytes_in;
        // What was read before is whole; this is what was begun.
        read >= (27 + 72 + chunks.len() + 7 + 13 + 1) as u64
    });
    let (new, taken) = successor(&old, &[]);
    assert_eq!(taken.connections, 7);
    let mut next = || String::from_utf8(listener.message().payload).unwrap();
    head.send(b"ad HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!((head.answer().status, &*next()), (200, "in-a-head"));
    body.send(b"body");
    assert_eq!((body.answer().status, &*next()), (200, "half abody"));
    chunked.send(b"eee\r\n0\r\n\r\n");
    assert_eq!((chunked.answer().status, &*next()), (200, "threeeee"));
    expecting.send(b"ok");
    assert_eq!((expecting.answer().status, &*next()), (200, "ok"));
    sender.send(&frame[7..]);
    assert_eq!(next(), "青云 by half");
    fragments.send(&masked(0x80, b"second")[1..]);
    assert_eq!(next(), "first, second");
    // And they go on.
    for raw in [&mut head, &mut body, &mut chunked, &mut expecting] {
        assert_eq!(raw.get("/channel/send/c/again").status, 200);
        assert_eq!(next(), "again");
    }
    drop(new);
}

/// More answers than one connection may have waiting: the rest of its requests stays unread.
#[test]
fn requests_that_wait_for_their_answers_to_be_read_are_executed_once() {
    const REQUESTS: usize = 20_000;
    let old = server(&[("shards", "1")]);
    old.service().create_channel("c").unwrap();
    let mut raw = Raw::connect(old.local_addr());
    let mut writer = raw.stream.try_clone().unwrap();
    let sent = std::thread::spawn(move || {
        for n in 0..REQUESTS {
            let request = format!("GET /channel/send/c/{n} HTTP/1.1\r\nHost: t\r\n\r\n");
            writer.write_all(request.as_bytes()).unwrap();
        }
    });
    let published = |server: &Server| server.service().counters().published;
    until("the first are executed", || published(&old) > 100);
    let (middle, _) = successor(&old, &[]);
    for _ in 0..5000 {
        assert_eq!(raw.answer().status, 200);
    }
    let (new, _) = successor(&middle, &[]);
    for _ in 5000..REQUESTS {
        assert_eq!(raw.answer().status, 200);
    }
    sent.join().unwrap();
    assert_eq!(raw.get("/channel/info/c").status, 200);
    assert_eq!(new.service().channel("c").unwrap().offset, REQUESTS as u64);
}

#[test]
fn a_history_goes_along_and_so_does_who_is_catching_up() {
    let old = server(&[("ping_interval_ms", "0")]);
    let mut config = ChannelConfig::default();
    config.set_all("history_size=1000, history_bytes=1073741824").unwrap();
    old.service().create_channel_with("c", config).unwrap();
    let epoch = old.service().channel("c").unwrap().epoch;
    let body = "x".repeat(100_000);
    for n in 1..=200 {
        text(&old, "c", &format!("{n} {body}"));
    }
    let address = old.local_addr();
    // They get the history as fast as they take it, and they take nothing.
    let mut listener = Raw::websocket(address, &format!("/channel/listen/c?since={epoch}-3"));
    let mut stream = Raw::websocket(address, "/channel/stream");
    let since = Position { epoch, offset: 5 };
    stream.send_frame(0x82, &request(1, "c", Op::Resume(since)));
    assert_eq!(reply(&stream.message()).1, 0);
    let mut session = Raw::websocket(address, "/ws");
    session.message();
    let payload = format!(r#"{{"channel":"c","since":{{"epoch":{epoch},"offset":7}}}}"#);
    assert_eq!(ask(&mut session, "subscribe", &payload)["data"]["recovered"], true);
    let (new, _) = successor(&old, &[("ping_interval_ms", "0")]);
    text(&new, "c", "last");
    for n in 4..=200 {
        assert_eq!(listener.message(), Frame::text(&format!("{n} {body}")));
    }
    assert_eq!(listener.message(), Frame::text("last"));
    for n in 6..=200 {
        assert_eq!(message(&stream.message()), (n, format!("{n} {body}").into_bytes()));
    }
    assert_eq!(message(&stream.message()), (201, b"last".to_vec()));
    for n in 8..=201 {
        assert_eq!(json(&session.message())["data"]["offset"], n);
    }
    // Who comes back to the new one finds the same positions.
    let mut back = Raw::websocket(address, &format!("/channel/listen/c?since={epoch}-199"));
    assert_eq!(back.message(), Frame::text(&format!("200 {body}")));
    assert_eq!(back.message(), Frame::text("last"));
}

/// Publishers, listeners, and who connects: through one hand-over after the other.
#[test]
fn nothing_is_lost_doubled_or_out_of_order_however_often_it_changes_hands() {
    const ROUNDS: usize = 20;
    let mut old = server(&[("shards", "2")]);
    let address = old.local_addr();
    for n in 0..2 {
        old.service().create_channel(&format!("c{n}")).unwrap();
    }
    let (stop, connected) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let mut totals = Vec::new();
        let mut listeners = Vec::new();
        for channel in 0..2 {
            for target in ["/channel/listen/c", "/channel/stream"] {
                let mut raw = match target {
                    "/channel/stream" => {
                        let mut raw = Raw::websocket(address, target);
                        raw.send_frame(0x82, &subscribe(1, &format!("c{channel}")));
                        reply(&raw.message());
                        raw
                    }
                    target => Raw::websocket(address, &format!("{target}{channel}")),
                };
                listeners.push(scope.spawn(move || {
                    for n in 0_u64.. {
                        let frame = raw.message();
                        let payload = match target {
                            "/channel/stream" => {
                                let (offset, payload) = message(&frame);
                                assert_eq!(offset, n + 1);
                                payload
                            }
                            _ => frame.payload,
                        };
                        if payload == b"end" {
                            return n;
                        }
                        assert_eq!(payload, n.to_string().into_bytes());
                    }
                    unreachable!()
                }));
            }
            let stop = &stop;
            totals.push(scope.spawn(move || {
                let mut raw = Raw::connect(address);
                let mut n = 0_u64;
                while !stop.load(SeqCst) {
                    // Several at a time, so that some are under way whenever it changes hands.
                    let requests: String = (n..n + 16)
                        .map(|n| {
                            format!("GET /channel/send/c{channel}/{n} HTTP/1.1\r\nHost: t\r\n\r\n")
                        })
                        .collect();
                    raw.send(requests);
                    (0..16).for_each(|_| assert_eq!(raw.answer().status, 200));
                    n += 16;
                }
                assert_eq!(raw.get(&format!("/channel/send/c{channel}/end")).status, 200);
                n
            }));
        }
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream
                    .write_all(b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
                    .unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                connected.fetch_add(1, SeqCst);
            }
        });
        for round in 0..ROUNDS {
            let before = connected.load(SeqCst);
            until("somebody has come", || connected.load(SeqCst) > before + 2);
            let shards = ((round % 3) + 1).to_string();
            old = successor(&old, &[("shards", &shards)]).0;
        }
        stop.store(true, SeqCst);
        let totals: Vec<u64> = totals.into_iter().map(|total| total.join().unwrap()).collect();
        assert!(totals.iter().all(|total| *total > 0));
        for (at, listener) in listeners.into_iter().enumerate() {
            assert_eq!(listener.join().unwrap(), totals[at / 2]);
        }
    });
}

/// What a new process says first.
pub fn hello(format: u32) -> Vec<u8> {
    [&[1, 0, 8, 0, 0, 0], &format.to_le_bytes()[..], &7_u32.to_le_bytes()].concat()
}

/// What it says when it has prepared itself.
pub const READY: [u8; 6] = [4, 0, 0, 0, 0, 0];

/// A new process that dies, or says nothing, at any point until it has taken everything.
#[test]
fn who_fails_to_take_over_leaves_the_old_one_serving() {
    let old = server(&[]);
    old.service().create_channel("c").unwrap();
    let address = old.local_addr();
    let mut listener = Raw::websocket(address, "/channel/listen/c");
    let mut session = Raw::websocket(address, "/ws");
    session.message();
    let mut n = 0;
    let mut still_serves = |what: &str| {
        n += 1;
        text(&old, "c", &n.to_string());
        assert_eq!(listener.message(), Frame::text(&n.to_string()), "{what}");
        assert_eq!(ask(&mut session, "echo", r#"{"message":1}"#)["data"]["echo"], 1, "{what}");
        assert_eq!(Raw::connect(address).get("/health").status, 200, "{what}");
    };
    let attempts: [(&str, Vec<u8>, ErrorKind); 6] = [
        ("goes at once", vec![], ErrorKind::Io),
        ("speaks something else", vec![9, 0, 0, 0, 0, 0], ErrorKind::Protocol),
        ("has another format", hello(9999), ErrorKind::Protocol),
        ("goes before it is ready", hello(FORMAT), ErrorKind::Io),
        ("goes before it has taken all", [&hello(FORMAT)[..], &READY].concat(), ErrorKind::Io),
        (
            "refuses",
            [&hello(FORMAT)[..], &READY, &[2, 0, 11, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0], b"no!"]
                .concat(),
            ErrorKind::Refused,
        ),
    ];
    for (what, said, kind) in attempts {
        let (give, mut take) = UnixStream::pair().unwrap();
        take.write_all(&said).unwrap();
        let dies = std::thread::spawn(move || {
            take.shutdown(std::net::Shutdown::Write).unwrap();
            // Reads what it can, like one that dies while it takes.
            let _ = take.read_to_end(&mut Vec::new());
        });
        let error = old.hand_over(give).unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error}");
        dies.join().unwrap();
        still_serves(what);
    }
    // With a successor that does what it should, it still works.
    until("who asked is gone", || old.service().counters().connections == 2);
    let (new, taken) = successor(&old, &[]);
    assert_eq!(taken.connections, 2);
    text(&new, "c", "last");
    assert_eq!(listener.message(), Frame::text("last"));
}

#[test]
fn a_failure_of_the_new_one_is_told_to_both() {
    let old = server(&[]);
    let (give, take) = UnixStream::pair().unwrap();
    let bad = options(&[("thread_name", "a\0b")]);
    std::thread::scope(|scope| {
        let taking = scope.spawn(|| Server::take_over(bad, take).map(drop).unwrap_err());
        assert!(old.hand_over(give).is_err());
        let error = taking.join().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
    });
    assert_eq!(Raw::connect(old.local_addr()).get("/health").status, 200);
}

#[test]
fn a_path_that_the_new_one_does_not_have_is_said_goodbye_to() {
    let old = server(&[]);
    let mut session = Raw::websocket(old.local_addr(), "/ws");
    session.message();
    let (new, _) = successor(&old, &[("session_path", "/elsewhere")]);
    assert_eq!(session.message().close_code(), Some(1012));
    session.send_frame(0x88, b"\x03\xe8");
    assert!(session.is_closed());
    until("it is gone", || new.service().counters().connections == 0);
}

#[test]
fn what_a_program_handles_is_not_handed_over() {
    let old = server(&[]);
    old.service().rpc().on("m", qyun::delivery::Mode::Inline, |_| {}).unwrap();
    let (give, take) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        let taking = scope.spawn(|| Server::take_over(options(&[]), take).map(drop).unwrap_err());
        assert_eq!(old.hand_over(give).unwrap_err().kind(), ErrorKind::InvalidArgument);
        let error = taking.join().unwrap();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("the program handles"), "{error}");
    });
    assert_eq!(Raw::connect(old.local_addr()).get("/health").status, 200);
}

/// Callers of gRPC are told to go, and find the new one at the same address; its groups are there.
#[cfg(feature = "grpc")]
#[test]
fn callers_of_the_gateway_come_back_to_the_same_address() {
    use crate::caller::Caller;

    let old = server(&[("grpc_listen", "127.0.0.1:0")]);
    let address = old.grpc_addr().unwrap();
    let mut client = Raw::websocket(old.local_addr(), "/");
    let id = String::from_utf8(client.message().payload).unwrap();
    let mut caller = Caller::connect(address);
    caller.gateway("JoinGroup", &[&id, "g"]);
    caller.gateway("ClientBindUid", &[&id, "u"]);
    let (new, _) = successor(&old, &[("grpc_listen", "127.0.0.1:1")]);
    assert_eq!(new.grpc_addr(), Some(address));
    let mut again = Caller::connect(address);
    again.gateway("SendMessageToGroup", &["g", "hello"]);
    assert_eq!(client.message(), Frame::text("hello"));
    assert_eq!(again.list("GetClientByUid", &[&id]), ["u"]);
    // One that cannot go on leaves the old one's calls as they were.
    let (give, take) = UnixStream::pair().unwrap();
    let said = [hello(FORMAT), READY.to_vec()].concat();
    (&take).write_all(&said).unwrap();
    take.shutdown(std::net::Shutdown::Write).unwrap();
    let reader = std::thread::spawn(move || (&take).read_to_end(&mut Vec::new()));
    assert!(new.hand_over(give).is_err());
    drop(reader);
    assert_eq!(new.grpc_addr(), Some(address));
    Caller::connect(address).gateway("SendMessageToGroup", &["g", "still"]);
    assert_eq!(client.message(), Frame::text("still"));
}

#[test]
fn patterns_go_along_with_the_channels_that_they_brought() {
    let old = server(&[]);
    for name in ["p.named", "p.found", "q"] {
        old.service().create_channel(name).unwrap();
    }
    let mut session = Raw::websocket(old.local_addr(), "/ws");
    let told = json(&session.message());
    let id = told["data"]["connection_id"].as_str().unwrap();
    assert_eq!(ask(&mut session, "subscribe", r#"{"channel":"p.named"}"#)["type"], "response");
    assert_eq!(ask(&mut session, "subscribe", r#"{"pattern":"p.*"}"#)["type"], "response");
    let (new, _) = successor(&old, &[]);
    let service = new.service();
    assert_eq!(service.connection(id).unwrap().patterns().len(), 1);
    service.create_channel("p.later").unwrap();
    for name in ["p.named", "p.found", "p.later", "q"] {
        text(&new, name, name);
    }
    for name in ["p.named", "p.found", "p.later"] {
        assert_eq!(json(&session.message())["data"]["message"], name);
    }
    // What it asked for by name it stays in.
    let left = ask(&mut session, "unsubscribe", r#"{"pattern":"p.*"}"#);
    assert_eq!(left["type"], "response", "{left}");
    for name in ["p.found", "p.later", "p.named"] {
        text(&new, name, "again");
    }
    let told = json(&session.message());
    assert_eq!(
        (&told["data"]["channel"], &told["data"]["message"]),
        (&"p.named".into(), &"again".into())
    );
}

#[test]
fn who_is_there_stays_there_and_who_watches_is_told_of_the_next() {
    let rooms = ("namespaces", "room.*: presence=true, auto_create=true");
    let old = server(&[("shards", "2"), rooms]);
    let address = old.local_addr();
    let session = || {
        let mut raw = Raw::websocket(address, "/ws");
        let id = json(&raw.message())["data"]["connection_id"].as_str().unwrap().to_owned();
        (raw, id)
    };
    let (mut member, id) = session();
    let (mut watcher, _) = session();
    old.service().bind_user(&id, "ann").unwrap();
    assert_eq!(ask(&mut member, "subscribe", r#"{"channel":"room.a"}"#)["type"], "response");
    let answer = ask(&mut watcher, "subscribe", r#"{"channel":"room.a","presence":true}"#);
    let before = &answer["data"]["presence"];
    assert_eq!(before["count"], 2);
    let (new, _) = successor(&old, &[("shards", "3"), rooms]);
    let after = ask(&mut watcher, "presence", r#"{"channel":"room.a"}"#);
    assert_eq!(after["data"]["members"], before["members"]);
    // Not a word of those who were there before, and each that comes or goes once.
    let (mut third, third_id) = session();
    new.service().bind_user(&third_id, "ann").unwrap();
    ask(&mut third, "subscribe", r#"{"channel":"room.a"}"#);
    drop(third);
    drop(member);
    let told: Vec<Json> = (0..3).map(|_| json(&watcher.message())["data"].clone()).collect();
    assert_eq!((&told[0]["event"], &told[0]["id"]), (&"join".into(), &Json::from(&*third_id)));
    assert_eq!(told[0]["first"], false);
    assert!(told[1..].iter().all(|told| told["event"] == "leave"));
    assert_eq!((&told[1]["last"], &told[2]["last"]), (&false.into(), &true.into()));
    let mut gone = [&told[1]["id"], &told[2]["id"]].map(|id| id.as_str().unwrap().to_owned());
    let mut expected = [id, third_id];
    gone.sort();
    expected.sort();
    assert_eq!(gone, expected);
    ask(&mut watcher, "ping", "{}");
    assert_eq!(new.service().presence("room.a", None, 10).unwrap().count, 1);
}

#[test]
fn members_go_along_with_their_patterns_and_what_they_watch() {
    let rooms = ("namespaces", "room.*: presence=true, auto_create=true");
    let old = server(&[("shards", "2"), rooms]);
    let address = old.local_addr();
    let connect = || {
        let mut raw = Raw::websocket(address, members::PATH);
        raw.message();
        raw
    };
    let say = |raw: &mut Raw, call: Call<'_>| {
        let mut packet = Vec::new();
        members::encode_call(&mut packet, &call);
        raw.send_frame(0x82, &packet);
        let reply = raw.message().payload;
        assert_eq!((reply[0], &reply[2..4]), (0x81, &[0, 0][..]), "{reply:?}");
    };
    let mut watcher = connect();
    say(&mut watcher, Call::Watch { id: 1, channel: "room.a", since: None });
    say(&mut watcher, Call::Pattern { id: 2, pattern: "room.*" });
    assert!(matches!(
        members::decode_notice(&watcher.message().payload),
        Some(Notice::Entered { name: "room.a", .. })
    ));
    let (new, _) = successor(&old, &[("shards", "3"), rooms]);
    // What its patterns bring and who comes is told as before, in the same form.
    text(&new, "room.b", "1");
    assert!(matches!(
        members::decode_notice(&watcher.message().payload),
        Some(Notice::Entered { name: "room.b", .. })
    ));
    assert!(watcher.message().payload.ends_with(b"1"));
    let mut other = connect();
    let op = Op::Subscribe;
    say(&mut other, Call::Plain(Request { id: 1, channel: "room.a", op }));
    for went in [false, true] {
        match members::decode_notice(&watcher.message().payload) {
            Some(Notice::Presence(told)) => assert_eq!(told.went, went),
            other => panic!("{other:?}"),
        }
        if !went {
            other.stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
    }
    assert_eq!(new.service().presence("room.a", None, 10).unwrap().count, 1);
}

/// A channel whose publishers wait for a subscriber that takes nothing: who can be told is told to
/// publish again, and what nobody could be told of waits on.
#[test]
fn who_waits_for_a_slow_subscriber_is_answered_once() {
    let options = [("shards", "1"), ("ping_interval_ms", "0"), ("queue_bytes", "400000")];
    let old = server(&options);
    let mut config = ChannelConfig::default();
    config.set_all("overload=hold, hold_ms=600000").unwrap();
    old.service().create_channel_with("c", config).unwrap();
    let address = old.local_addr();
    let mut slow = Raw::websocket(address, "/channel/listen/c");
    let mut sender = Raw::websocket(address, "/channel/send/c");
    let body = vec![b'x'; 50_000];
    let held = |server: &Server| server.service().counters().deliveries.held;
    let offset = |server: &Server| server.service().channel("c").unwrap().offset;
    let mut published = 0;
    // The last of these is the one that waits.
    loop {
        sender.send_frame(0x82, &body);
        until("it is published, or waits", || held(&old) > 0 || offset(&old) > published);
        if held(&old) > 0 {
            break;
        }
        published += 1;
    }
    let mut asking = Raw::connect(address);
    asking.send("GET /channel/send/c/late HTTP/1.1\r\nHost: t\r\n\r\n");
    until("it waits as well", || held(&old) == 2);
    let (new, _) = successor(&old, &options);
    let told = asking.answer();
    assert!(told.status >= 500 && told.body.contains("publish again"), "{told:?}");
    assert_eq!((offset(&new), held(&new)), (published, 1));
    for _ in 0..=published {
        assert_eq!(slow.message().payload, body);
    }
    assert_eq!(asking.get("/channel/send/c/again").status, 200);
    assert_eq!(slow.message(), Frame::text("again"));
    sender.send_frame(0x81, b"and on");
    assert_eq!(slow.message(), Frame::text("and on"));
}
