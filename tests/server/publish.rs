//! Publishing with counts and with keys, and answers that come later than their requests.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

use qyun::delivery::Mode;
use qyun::hub::Connection;
use qyun::server::dialect::EndpointOptions;
use qyun::server::dialect::host::{Host, Program};
use qyun::server::{PublishOptions, Server, Service};
use qyun::tally::Counts;
use qyun::wire::MessageKind;
use qyun::wire::stream::{Op, Packet, Publication, decode_packet};
use serde_json::{Value, json};

use crate::kit::{Answer, Frame, PATIENCE, Raw, server, until};
use crate::stream::request;

fn body(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

/// `reached`, `queued` and `dropped` of an answer.
fn counts(value: &Value) -> [u64; 3] {
    ["reached", "queued", "dropped"].map(|key| value[key].as_u64().unwrap())
}

fn post(raw: &mut Raw, target: &str, fields: &str, body: &[u8]) -> Answer {
    raw.request("POST", target, fields, body)
}

#[test]
fn counts_say_whom_a_message_reached() {
    let server = server(&[("shards", "3")]);
    server.service().create_channel("c").unwrap();
    let address = server.local_addr();
    let mut http = Raw::connect(address);
    let first = post(&mut http, "/channel/send/c?result=1", "", b"nobody");
    assert!(
        first.body.starts_with(r#"{"status":"success","message":"Message broadcasted","epoch":"#)
            && first
                .body
                .ends_with(r#","offset":1,"subscribers":0,"reached":0,"queued":0,"dropped":0}"#),
        "{first:?}"
    );
    let mut listeners: Vec<_> =
        (0..8).map(|_| Raw::websocket(address, "/channel/listen/c")).collect();
    let mut stream = Raw::connect(address);
    stream.send("GET /channel/listen/c HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n");
    stream.head();
    let value = body(&post(&mut http, "/channel/send/c?result=1", "", b"all"));
    assert_eq!((counts(&value), &value["subscribers"]), ([9, 0, 0], &9.into()));
    let value = body(&http.get("/channel/send/c/get?result=1"));
    assert_eq!((counts(&value), &value["offset"]), ([9, 0, 0], &3.into()));
    for listener in &mut listeners {
        assert_eq!(listener.message(), Frame::text("all"));
        assert_eq!(listener.message(), Frame::text("get"));
    }
    // Only when they are asked for.
    let plain = post(&mut http, "/channel/send/c?result=0", "", b"plain");
    assert!(body(&plain).get("reached").is_none());
    let exact = http.get("/channel/send/c/x?nobody=1").body;
    assert_eq!(exact, r#"{"status":"success","message":"Message broadcasted"}"#);
    let bad = post(&mut http, "/channel/send/c?result=yes", "", b"x");
    assert_eq!(bad.status, 400);
    assert!(bad.body.contains("result cannot be 'yes': it is 0 or 1"), "{bad:?}");
}

#[test]
fn a_subscriber_that_reads_too_slowly_counts_as_queued_and_then_as_dropped() {
    let server = server(&[("shards", "2"), ("queue_bytes", "1000000")]);
    server.service().create_channel("c").unwrap();
    let address = server.local_addr();
    let _slow = Raw::websocket(address, "/channel/listen/c");
    let mut fast = Raw::websocket(address, "/channel/listen/c");
    let mut http = Raw::connect(address);
    let message = vec![b'x'; 300_000];
    let mut seen = [0; 3];
    while seen[2] == 0 {
        let value = body(&post(&mut http, "/channel/send/c?result=1", "", &message));
        assert_eq!(fast.message().payload.len(), message.len());
        let counts = counts(&value);
        assert_eq!(counts[0] + counts[2], value["subscribers"].as_u64().unwrap());
        seen = [seen[0] + counts[0], seen[1] + counts[1], seen[2] + counts[2]];
    }
    assert!(seen[1] > 0, "its socket was full before its queue was");
    let value = body(&post(&mut http, "/channel/send/c?result=1", "", b"x"));
    assert_eq!((counts(&value), &value["subscribers"]), ([1, 0, 0], &1.into()));
}

#[test]
fn a_message_that_comes_again_under_its_key_is_not_published_again() {
    let server = server(&[]);
    server.service().create_channel("c").unwrap();
    let address = server.local_addr();
    let mut listener = Raw::websocket(address, "/channel/listen/c");
    let mut http = Raw::connect(address);
    let key = "Idempotency-Key: order-7\r\n";
    let first = body(&post(&mut http, "/channel/send/c", key, b"one"));
    assert_eq!((&first["offset"], first.get("duplicate")), (&1.into(), None));
    let other = body(&post(&mut http, "/channel/send/c", "", b"one"));
    assert_eq!(other["offset"], 2);
    for (target, fields) in [
        ("/channel/send/c", key),
        ("/channel/send/c?key=order%2D7", ""),
        ("/channel/send/c?key=ignored", key),
    ] {
        let again = body(&post(&mut http, target, fields, b"one"));
        assert_eq!((&again["offset"], &again["epoch"]), (&1.into(), &first["epoch"]));
        assert_eq!(again["duplicate"], true);
    }
    let again = body(&http.get("/channel/send/c/one?key=order-7&result=1"));
    assert_eq!((&again["offset"], counts(&again)), (&1.into(), [0, 0, 0]));
    let again = body(&http.request("GET", "/channel/send/c/one", key, b""));
    assert_eq!((&again["offset"], &again["duplicate"]), (&1.into(), &true.into()));
    // Another message is no repeat, and neither is the same one elsewhere.
    let conflict = post(&mut http, "/channel/send/c", key, b"two");
    assert_eq!(conflict.status, 409, "{conflict:?}");
    server.service().create_channel("d").unwrap();
    let elsewhere = body(&post(&mut http, "/channel/send/d", key, b"two"));
    assert_eq!((&elsewhere["offset"], elsewhere.get("duplicate")), (&1.into(), None));
    let long = "k".repeat(256);
    for (fields, target) in [
        (format!("Idempotency-Key: {long}\r\n"), "/channel/send/c"),
        ("Idempotency-Key:\r\n".into(), "/channel/send/c"),
        (format!("{key}{key}"), "/channel/send/c"),
        (String::new(), "/channel/send/c?key="),
    ] {
        assert_eq!(post(&mut http, target, &fields, b"one").status, 400, "{fields}");
    }
    let longest = format!("Idempotency-Key: {}\r\n", &long[1..]);
    assert_eq!(body(&post(&mut http, "/channel/send/c", &longest, b"3"))["offset"], 3);
    for expected in ["one", "one", "3"] {
        assert_eq!(listener.message(), Frame::text(expected));
    }
    // A channel that is created anew knows nothing of the old one's keys.
    server.service().delete_channel("c").unwrap();
    server.service().create_channel("c").unwrap();
    let anew = body(&post(&mut http, "/channel/send/c", key, b"two"));
    assert_eq!((&anew["offset"], anew.get("duplicate")), (&1.into(), None));
}

#[test]
fn a_channel_may_refuse_keys() {
    let server = server(&[("namespaces", "none: idempotency_ms=0")]);
    server.service().create_channel("none").unwrap();
    let mut http = Raw::connect(server.local_addr());
    let refused = post(&mut http, "/channel/send/none?key=k", "", b"x");
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("remembers no idempotency keys"), "{refused:?}");
    assert_eq!(server.service().channel("none").unwrap().offset, 0);
}

/// Publishes "once" under the key "k"; the offset, and whether it was published before.
type Repeat = Box<dyn FnMut(usize) -> (u64, bool) + Send>;

fn by_http(address: SocketAddr) -> Repeat {
    let mut http = Raw::connect(address);
    Box::new(move |round| {
        let target = ["/channel/send/c?key=k", "/channel/send/c?key=k&result=1"];
        let answer = body(&post(&mut http, target[round % 2], "", b"once"));
        (answer["offset"].as_u64().unwrap(), answer.get("duplicate").is_some())
    })
}

fn by_the_program(service: Arc<Service>) -> Repeat {
    Box::new(move |round| {
        let counts = round.is_multiple_of(2);
        let options = PublishOptions { key: Some(b"k"), counts, ..PublishOptions::default() };
        let report = service.publish_with("c", MessageKind::Text, b"once", options).unwrap();
        (report.published.position.offset, report.published.duplicate)
    })
}

fn by_session(address: SocketAddr) -> Repeat {
    let mut raw = Raw::websocket(address, "/ws");
    raw.message();
    Box::new(move |round| {
        let result = round.is_multiple_of(2);
        let payload = json!({ "channel": "c", "message": "once", "key": "k", "result": result });
        let answer = ask(&mut raw, round, &payload);
        assert_eq!(answer["type"], "response", "{answer}");
        let data = &answer["data"];
        assert_eq!(data.get("reached").is_some(), result);
        (data["offset"].as_u64().unwrap(), data.get("duplicate").is_some())
    })
}

fn ask(raw: &mut Raw, id: usize, payload: &Value) -> Value {
    let request = json!({ "id": id, "type": "request", "action": "publish", "payload": payload });
    raw.send_frame(0x81, request.to_string().as_bytes());
    let answer: Value = serde_json::from_slice(&raw.message().payload).unwrap();
    assert_eq!(answer["id"], id);
    answer
}

fn by_stream(address: SocketAddr) -> Repeat {
    let mut raw = Raw::websocket(address, "/channel/stream");
    Box::new(move |round| {
        let counts = round.is_multiple_of(2);
        let plain = Publication::new(MessageKind::Text, b"once");
        let publication = Publication { key: Some(b"k"), counts, ..plain };
        let id = round as u32 + 1;
        raw.send_frame(0x82, &request(id, "c", Op::PublishWith(publication)));
        let frame = raw.message();
        match decode_packet(&frame.payload) {
            Some(Packet::Reply(reply)) => {
                assert_eq!((reply.id, reply.status), (id, 0));
                assert_eq!(reply.counts.is_some(), counts);
                (reply.position.offset, reply.duplicate)
            }
            other => panic!("{other:?}"),
        }
    })
}

#[test]
fn a_thousand_concurrent_repeats_are_one_publication() {
    const CLIENTS: usize = 20;
    const EACH: usize = 50;
    let server = server(&[("shards", "4")]);
    server.service().create_channel("c").unwrap();
    let address = server.local_addr();
    let mut listener = Raw::websocket(address, "/channel/listen/c");
    let start = Arc::new(Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let start = Arc::clone(&start);
            let service = Arc::clone(server.service());
            std::thread::spawn(move || {
                let mut publish = match client % 4 {
                    0 => by_http(address),
                    1 => by_the_program(service),
                    2 => by_session(address),
                    _ => by_stream(address),
                };
                start.wait();
                let results: Vec<_> = (0..EACH).map(&mut publish).collect();
                assert!(results.iter().all(|(offset, _)| *offset == 1), "{results:?}");
                results.iter().filter(|(_, duplicate)| !duplicate).count()
            })
        })
        .collect();
    let firsts: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(firsts, 1);
    assert_eq!(server.service().channel("c").unwrap().offset, 1);
    assert_eq!(server.service().counters().published, 1);
    server.service().publish("c", MessageKind::Text, b"end").unwrap();
    assert_eq!(listener.message(), Frame::text("once"));
    assert_eq!(listener.message(), Frame::text("end"));
}

#[test]
fn sessions_and_streams_are_told_what_became_of_a_publication() {
    let server = server(&[("shards", "2")]);
    server.service().create_channel("c").unwrap();
    let address = server.local_addr();
    let mut listener = Raw::websocket(address, "/channel/listen/c");
    let mut session = Raw::websocket(address, "/ws");
    session.message();
    let payload = json!({ "channel": "c", "message": "one", "result": true, "key": "k" });
    let data = ask(&mut session, 1, &payload)["data"].clone();
    assert_eq!((counts(&data), &data["subscribers"]), ([1, 0, 0], &1.into()));
    assert_eq!(listener.message(), Frame::text("one"));
    let payload = json!({ "channel": "c", "message": "two", "key": "k" });
    assert_eq!(ask(&mut session, 2, &payload)["error"]["code"], "conflict");
    let payload = json!({ "channel": "c", "message": "two", "key": "" });
    assert_eq!(ask(&mut session, 3, &payload)["error"]["code"], "invalid_payload");

    let mut stream = Raw::websocket(address, "/channel/stream");
    let with = |id, channel, data, key, counts| {
        let plain = Publication::new(MessageKind::Binary, data);
        let publication = Publication { key, counts, ..plain };
        request(id, channel, Op::PublishWith(publication))
    };
    let mut reply = |packet: Vec<u8>| {
        stream.send_frame(0x82, &packet);
        let frame = stream.message();
        match decode_packet(&frame.payload) {
            Some(Packet::Reply(reply)) => {
                (reply.id, reply.status, reply.position.offset, reply.counts)
            }
            other => panic!("{other:?}"),
        }
    };
    let reached = Some(Counts { reached: 1, queued: 0, dropped: 0 });
    assert_eq!(reply(with(1, "c", b"a", None, true)), (1, 0, 2, reached));
    assert_eq!(reply(with(2, "c", b"b", Some(b"k"), true)), (2, 409, 0, None));
    assert_eq!(reply(with(3, "none", b"b", Some(b"k"), true)), (3, 404, 0, None));
    assert_eq!(reply(with(4, "c", b"b", Some(b""), false)), (4, 400, 0, None));
    let large = vec![7; (1 << 20) + 1];
    assert_eq!(reply(with(5, "c", &large, Some(b"k"), true)), (5, 413, 0, None));
    let largest = vec![7; 1 << 20];
    assert_eq!(reply(with(6, "c", &largest, Some(&[9; 255]), true)), (6, 0, 3, reached));
    // Nobody asks for the reply of this one.
    stream.send_frame(0x82, &with(0, "c", b"quiet", None, true));
    stream.send_frame(0x82, &with(7, "c", b"loud", Some(b"l"), false));
    let frame = stream.message();
    let Some(Packet::Reply(reply)) = decode_packet(&frame.payload) else { panic!("{frame:?}") };
    assert_eq!((reply.id, reply.status, reply.position.offset), (7, 0, 5));
}

/// Stands in the way of a shard: its thread waits in a message until the gate opens.
struct Gate {
    entered: Arc<AtomicBool>,
    open: mpsc::Receiver<()>,
}

struct Blocker(Mutex<Gate>);

impl Program for Blocker {
    fn asks(&self) -> bool {
        false
    }

    fn message(&self, _: &Arc<Connection>, _: MessageKind, _: &[u8]) {
        let gate = self.0.lock().unwrap();
        gate.entered.store(true, SeqCst);
        let _ = gate.open.recv_timeout(PATIENCE);
    }
}

/// A server of two shards, one of which can be held up: it has a subscriber of channel "c".
struct Held {
    server: Server,
    blocker: Raw,
    entered: Arc<AtomicBool>,
    open: mpsc::Sender<()>,
}

impl Held {
    fn new(options: &[(&str, &str)]) -> Self {
        let server = server(&[&[("shards", "2")], options].concat());
        let service = server.service();
        service.create_channel("c").unwrap();
        let entered = Arc::new(AtomicBool::new(false));
        let (open, gate) = mpsc::channel();
        let gate = Gate { entered: Arc::clone(&entered), open: gate };
        let program = Arc::new(Blocker(Mutex::new(gate)));
        let host = Host::new(program, Arc::clone(service.delivery()), Mode::Inline);
        let limits = EndpointOptions::default();
        service.add_endpoint("/block", limits, Arc::new(host)).unwrap();
        let blocker = Raw::websocket(server.local_addr(), "/block");
        let id = service.connections(&Default::default(), None, 1)[0].id.to_string();
        service.join(&id, "c").unwrap();
        Self { server, blocker, entered, open }
    }

    /// Holds the shard up, and finds a connection on the other one.
    fn hold(&mut self) -> Raw {
        self.blocker.send_frame(0x82, b"wait");
        let entered = Arc::clone(&self.entered);
        until("the shard is held up", || entered.load(SeqCst));
        self.on_the_other()
    }

    /// A connection on the shard that is not held up.
    fn on_the_other(&self) -> Raw {
        let address: SocketAddr = self.server.local_addr();
        loop {
            let mut raw = Raw::connect(address);
            raw.send("GET /health HTTP/1.1\r\nHost: t\r\n\r\n");
            raw.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            if raw.stream.peek(&mut [0]).is_ok() {
                raw.stream.set_read_timeout(Some(PATIENCE)).unwrap();
                assert_eq!(raw.answer().status, 200);
                return raw;
            }
        }
    }

    fn release(&self) {
        self.open.send(()).unwrap();
    }
}

#[test]
fn requests_behind_one_that_waits_are_answered_in_their_order() {
    let mut held = Held::new(&[]);
    let mut http = held.hold();
    let one = "POST /channel/send/c?result=1 HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\none";
    let info = "GET /channel/info/c HTTP/1.1\r\nHost: t\r\n\r\n";
    let two = "GET /channel/send/c/two?result=1 HTTP/1.1\r\nHost: t\r\n\r\n";
    http.send([one, info, two, info].concat());
    let service = Arc::clone(held.server.service());
    until("the first is published", || service.channel("c").unwrap().offset == 1);
    held.release();
    let first = body(&http.answer());
    assert_eq!((&first["offset"], counts(&first)), (&1.into(), [1, 0, 0]));
    // Executed when the first one was answered, and not before.
    assert_eq!(body(&http.answer())["channel"]["offset"], 1);
    let second = body(&http.answer());
    assert_eq!((&second["offset"], counts(&second)), (&2.into(), [1, 0, 0]));
    assert_eq!(body(&http.answer())["channel"]["offset"], 2);
}

#[test]
fn an_answer_that_takes_too_long_is_504() {
    let mut held = Held::new(&[("request_timeout_ms", "100")]);
    let mut http = held.hold();
    let late = post(&mut http, "/channel/send/c?result=1", "", b"late");
    assert_eq!(late.status, 504, "{late:?}");
    assert_eq!(late.field("connection"), Some("close"));
    assert!(http.is_closed());
    held.release();
    assert_eq!(held.blocker.message(), Frame::text("late"), "it was taken all the same");
}

#[test]
fn a_client_that_does_not_wait_for_its_answer_leaves_nothing_behind() {
    let mut held = Held::new(&[]);
    let mut http = held.hold();
    let service = Arc::clone(held.server.service());
    let before = service.counters().connections;
    http.send("GET /channel/send/c/left?result=1 HTTP/1.1\r\nHost: t\r\n\r\n");
    until("it is published", || service.channel("c").unwrap().offset == 1);
    drop(http);
    // Its number in the shard goes to others, who must not get its answer. Those on the shard that
    // is held up say nothing yet.
    let mut others: Vec<_> = (0..8).map(|_| Raw::connect(held.server.local_addr())).collect();
    held.release();
    assert_eq!(held.blocker.message(), Frame::text("left"));
    for other in &mut others {
        assert_eq!(body(&other.get("/channel/info/c"))["channel"]["offset"], 1);
    }
    drop(others);
    until("they are gone", || service.counters().connections < before);
}

#[test]
fn a_request_that_waits_is_answered_before_the_server_stops() {
    let mut held = Held::new(&[]);
    let mut http = held.hold();
    let mut idle = held.on_the_other();
    http.send("POST /channel/send/c?result=1 HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nlast");
    let service = Arc::clone(held.server.service());
    until("it is published", || service.channel("c").unwrap().offset == 1);
    let Held { server, mut blocker, open, .. } = held;
    let stop = std::thread::spawn(move || server.stop(PATIENCE));
    assert!(idle.is_closed(), "the shard stops");
    open.send(()).unwrap();
    let answer = http.answer();
    assert_eq!(counts(&body(&answer)), [1, 0, 0]);
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(http.is_closed());
    assert_eq!(blocker.message(), Frame::text("last"));
    assert_eq!(blocker.message().close_code(), Some(1000));
    drop(blocker);
    stop.join().unwrap();
}

#[test]
fn replies_of_a_stream_that_wait_are_overtaken_by_those_that_do_not() {
    let mut held = Held::new(&[]);
    // A stream on the shard that is not held up: an upgrade of a connection that is there.
    let mut stream = held.hold();
    assert_eq!(stream.upgrade("/channel/stream", "").status, 101);
    let publication = Publication { counts: true, ..Publication::new(MessageKind::Text, b"1") };
    stream.send_frame(0x82, &request(1, "c", Op::PublishWith(publication)));
    stream.send_frame(0x82, &request(2, "c", Op::Publish(MessageKind::Text, b"2")));
    let id = |frame: Frame| match decode_packet(&frame.payload) {
        Some(Packet::Reply(reply)) => (reply.id, reply.position.offset),
        other => panic!("{other:?}"),
    };
    assert_eq!(id(stream.message()), (2, 2));
    held.release();
    assert_eq!(id(stream.message()), (1, 1));
}
