//! Subscribers that do not keep up, by their channel's policy: what they get, what they miss, and
//! whether every message is accounted for.

use qyun::hub::{ChannelConfig, Deliveries};
use qyun::server::{Server, Service};
use qyun::wire::MessageKind;
use qyun::wire::stream::{Op, Packet, Publication, decode_packet};

use crate::kit::{Raw, server, until};
use crate::stream::{message, reply, request, subscribe};

const SIZE: usize = 2048;
/// A client's receive buffer, so that the system does not take megabytes for it.
const NARROW: usize = 64 << 10;
/// What the system keeps for a socket, and more.
const PLENTY: u64 = 64 << 20;

fn config(text: &str) -> ChannelConfig {
    let mut config = ChannelConfig::default();
    config.set_all(text).unwrap();
    config
}

fn quiet(options: &[(&str, &str)]) -> Server {
    let mut all = vec![("ping_interval_ms", "0")];
    all.extend(options);
    server(&all)
}

/// A client's socket that takes little.
fn narrow(server: &Server, target: &str) -> Raw {
    let raw = Raw::connect(server.local_addr());
    socket2::SockRef::from(&raw.stream).set_recv_buffer_size(NARROW).unwrap();
    let mut raw = raw;
    assert_eq!(raw.upgrade(target, "").status, 101);
    raw
}

fn numbered(number: u64) -> Vec<u8> {
    let mut bytes = vec![b'.'; SIZE];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn number(payload: &[u8]) -> u64 {
    assert_eq!(payload.len(), SIZE, "a message is whole");
    payload.first_chunk().copied().map(u64::from_be_bytes).unwrap()
}

/// What became of the channel's messages once `due` of them were fanned out. A shard counts one after
/// the other: that all are accounted for is so between two of its steps.
fn settled(service: &Service, channel: &str, due: u64) -> Deliveries {
    deliveries(service, channel, |all| all.due == due)
}

/// The same once nothing is queued any more: a reader may have a message before that is counted.
fn taken(service: &Service, channel: &str, due: u64) -> Deliveries {
    deliveries(service, channel, |all| all.due == due && all.queued == 0)
}

fn deliveries(service: &Service, channel: &str, done: impl Fn(&Deliveries) -> bool) -> Deliveries {
    let mut last = Deliveries::default();
    until("every message is accounted for", || {
        last = service.channel(channel).unwrap().deliveries;
        done(&last) && last.adds_up()
    });
    last
}

/// Publishes numbered messages to the only subscriber of a channel until `enough` of what became of
/// them; gives how many those were.
fn publish_until(service: &Service, channel: &str, enough: impl Fn(&Deliveries) -> bool) -> u64 {
    publish_on(service, channel, (0, 16), enough)
}

/// The same after `published` of them, so many at a time: one, if the subscriber may be closed.
fn publish_on(
    service: &Service,
    channel: &str,
    (mut published, burst): (u64, u64),
    enough: impl Fn(&Deliveries) -> bool,
) -> u64 {
    loop {
        for _ in 0..burst {
            service.publish(channel, MessageKind::Binary, &numbered(published)).unwrap();
            published += 1;
        }
        if enough(&settled(service, channel, published)) {
            return published;
        }
        assert!(published * (SIZE as u64) < PLENTY, "the reader is never behind");
    }
}

/// Reads numbered messages up to the one numbered `last`.
fn read_to(raw: &mut Raw, last: u64) -> Vec<u64> {
    let mut got = Vec::new();
    while got.last() != Some(&last) {
        got.push(number(&raw.message().payload));
    }
    assert!(got.is_sorted_by(|a, b| a < b), "in order, and none twice");
    got
}

fn holes(got: &[u64]) -> usize {
    got.windows(2).filter(|pair| pair[1] != pair[0] + 1).count()
}

#[test]
fn the_oldest_give_way_and_the_newest_arrive() {
    let server = quiet(&[("shards", "1"), ("queue_bytes", "65536")]);
    let service = server.service();
    service.create_channel_with("test", config("overload=drop_oldest")).unwrap();
    let mut slow = narrow(&server, "/channel/listen/test");
    let published = publish_until(service, "test", |all| all.dropped_oldest >= 100);
    assert!(service.counters().queued_bytes <= 65536);
    let before = service.channel("test").unwrap().deliveries;
    assert_eq!((before.dropped_newest, before.conflated, before.lost), (0, 0, 0));

    let got = read_to(&mut slow, published - 1);
    assert_eq!(holes(&got), 1, "what it missed is in one piece");
    let after = taken(service, "test", published);
    assert_eq!(after.written, got.len() as u64);
    assert_eq!((after.queued, after.dropped()), (0, published - got.len() as u64));
    assert_eq!(service.counters().deliveries, after);
    // It is a reader like any other again.
    service.publish("test", MessageKind::Binary, &numbered(published)).unwrap();
    assert_eq!(number(&slow.message().payload), published);
    assert_eq!(service.counters().closed_slow, 0);
}

#[test]
fn the_newest_are_not_queued_and_what_waits_arrives() {
    let server = quiet(&[("shards", "1"), ("queue_bytes", "65536")]);
    let service = server.service();
    service.create_channel_with("test", config("overload=drop_newest")).unwrap();
    let mut slow = narrow(&server, "/channel/listen/test");
    let published = publish_until(service, "test", |all| all.dropped_newest >= 100);
    assert!(service.counters().queued_bytes <= 65536);
    let before = service.channel("test").unwrap().deliveries;
    assert_eq!((before.dropped_oldest, before.conflated, before.lost), (0, 0, 0));

    let kept = published - before.dropped_newest;
    let got = read_to(&mut slow, kept - 1);
    assert_eq!((got.len() as u64, holes(&got)), (kept, 0));
    service.publish("test", MessageKind::Binary, &numbered(published)).unwrap();
    assert_eq!(number(&slow.message().payload), published);
    let after = taken(service, "test", published + 1);
    assert_eq!((after.written, after.dropped_newest), (kept + 1, before.dropped_newest));
}

#[test]
fn without_keys_the_latest_alone_waits() {
    let server = quiet(&[("shards", "1"), ("queue_bytes", "65536")]);
    let service = server.service();
    service.create_channel_with("test", config("overload=keep_latest")).unwrap();
    let mut slow = narrow(&server, "/channel/listen/test");
    let published = publish_until(service, "test", |all| all.conflated >= 100);
    // The one that was begun, and the latest.
    assert!(service.channel("test").unwrap().deliveries.queued <= 2);
    assert!(service.counters().queued_bytes <= 2 * (SIZE as u64 + 4));

    let got = read_to(&mut slow, published - 1);
    let after = taken(service, "test", published);
    assert_eq!((after.written, after.queued), (got.len() as u64, 0));
    assert_eq!(after.conflated, published - got.len() as u64);
    assert_eq!((after.dropped_oldest, after.dropped_newest, after.lost), (0, 0, 0));
}

#[test]
fn the_stream_protocol_says_of_what_a_message_is_the_latest() {
    let server = quiet(&[("shards", "1"), ("queue_bytes", "65536")]);
    let service = server.service();
    service.create_channel_with("test", config("overload=keep_latest")).unwrap();
    let mut slow = narrow(&server, "/channel/listen/test");
    let mut published = publish_until(service, "test", |all| all.conflated >= 10);
    let before = settled(service, "test", published);
    let mut client = Raw::websocket(server.local_addr(), "/channel/stream");
    let mut publish = |conflate: &str| {
        let data = numbered(published);
        let publication = Publication {
            conflate: Some(conflate),
            ..Publication::new(MessageKind::Binary, &data)
        };
        client.send_frame(0x82, &request(1, "test", Op::PublishWith(publication)));
        let status = reply(&client.message()).1;
        published += u64::from(status == 0);
        status
    };
    for _ in 0..4 {
        assert_eq!((publish("a"), publish("b")), (0, 0));
    }
    assert_eq!((publish(""), publish(&"k".repeat(255))), (400, 0));
    let got = read_to(&mut slow, published - 1);
    assert_eq!(got[got.len() - 3..], [published - 3, published - 2, published - 1]);
    let after = settled(service, "test", published);
    assert_eq!(after.conflated - before.conflated, 6);
}

#[test]
fn of_each_key_the_latest_waits_and_of_a_full_queue_of_keys_the_reader_is_closed() {
    let server = quiet(&[("shards", "1"), ("queue_bytes", "65536")]);
    let service = server.service();
    service.create_channel_with("test", config("overload=keep_latest")).unwrap();
    let mut slow = narrow(&server, "/channel/listen/test");
    let mut client = Raw::connect(server.local_addr());
    let mut published = publish_until(service, "test", |all| all.conflated >= 10);
    let mut publish = |key: &str| {
        let target = format!("/channel/send/test?conflate={key}&result=1");
        let fields = "Content-Type: application/octet-stream\r\n";
        let answer = client.request("POST", &target, fields, &numbered(published));
        published += 1;
        answer
    };
    for round in 0..5 {
        for key in ["a", "b", "c"] {
            let answer = publish(key);
            assert_eq!(answer.status, 200);
            let counts = r#""reached":1,"queued":1,"dropped":0"#;
            assert!(answer.body.contains(counts), "{round}, {key}: {}", answer.body);
        }
    }
    // It waits behind those that were published after the one that it is the newest of.
    publish("a");
    assert_eq!(publish(&"k".repeat(256)).status, 400);
    published -= 1;
    let got = read_to(&mut slow, published - 1);
    assert_eq!(got[got.len() - 3..], [published - 3, published - 2, published - 1]);
    let after = taken(service, "test", published);
    assert_eq!((after.written, after.queued), (got.len() as u64, 0));

    let published =
        publish_on(service, "test", (published, 16), |all| all.conflated > after.conflated);
    let mut extra = 0;
    while service.counters().closed_slow == 0 {
        let target = format!("/channel/send/test?conflate={extra}");
        client.request("POST", &target, "", &[b'.'; SIZE]);
        extra += 1;
        settled(service, "test", published + extra);
        assert!(extra < 64, "more keys than there is room for");
    }
    assert!(extra > 24);
}

#[test]
fn what_a_closed_reader_does_not_get_is_counted() {
    let server = quiet(&[("shards", "1"), ("queue_bytes", "65536")]);
    let service = server.service();
    service.create_channel("test").unwrap();
    let mut slow = narrow(&server, "/channel/listen/test");
    let published = publish_on(service, "test", (0, 1), |all| all.closed_slow == 1);
    let mut got = 0;
    let code = loop {
        let frame = slow.message();
        if frame.opcode == 8 {
            break frame.close_code();
        }
        assert_eq!(number(&frame.payload), got);
        got += 1;
    };
    assert_eq!(code, Some(3008));
    until("the rest of what was begun is written", || {
        service.channel("test").unwrap().deliveries.queued == 0
    });
    let after = settled(service, "test", published);
    assert_eq!((after.written, after.lost), (got, published - got));
    assert_eq!((after.dropped(), after.closed_slow), (0, 1));
}

#[test]
fn a_reader_that_vanishes_takes_what_waits_along() {
    let server = quiet(&[("shards", "1")]);
    let service = server.service();
    service.create_channel_with("test", config("overload=drop_oldest, queue_messages=7")).unwrap();
    let slow = narrow(&server, "/channel/listen/test");
    let published = publish_until(service, "test", |all| all.dropped_oldest > 0);
    let before = service.channel("test").unwrap().deliveries;
    // Of the eighth, a part was written.
    assert!((7..=8).contains(&before.queued), "{before:?}");
    drop(slow);
    until("it is gone", || service.counters().connections == 0);
    let after = settled(service, "test", published);
    assert_eq!((after.written, after.queued, after.lost), (before.written, 0, before.queued));
    assert_eq!(service.counters().queued_bytes, 0);
}

#[test]
fn a_number_of_messages_bounds_a_channel_that_closes_its_slow_readers() {
    let server = quiet(&[("shards", "1")]);
    let service = server.service();
    service.create_channel_with("test", config("queue_messages=20")).unwrap();
    let slow = narrow(&server, "/channel/listen/test");
    let published = publish_on(service, "test", (0, 1), |all| all.closed_slow == 1);
    let after = settled(service, "test", published);
    assert!((20..=20 + 32).contains(&after.lost), "{after:?}");
    drop(slow);
}

#[test]
fn control_frames_and_answers_find_room_in_a_queue_that_a_policy_keeps_full() {
    let server = quiet(&[("shards", "1"), ("queue_bytes", "65536")]);
    let service = server.service();
    service.create_channel_with("test", config("overload=drop_oldest")).unwrap();
    let mut slow = narrow(&server, "/channel/stream");
    slow.send_frame(0x82, &subscribe(1, "test"));
    reply(&slow.message());
    let mut published = publish_until(service, "test", |all| all.dropped_oldest >= 10);
    slow.send_frame(0x89, b"are you there?");
    slow.send_frame(0x82, &subscribe(2, "other"));
    published = publish_on(service, "test", (published, 16), |all| all.dropped_oldest >= 200);
    let (mut pongs, mut replies, mut offsets) = (0, 0, Vec::new());
    while offsets.last() != Some(&published) || pongs + replies < 2 {
        let frame = slow.message();
        if frame.opcode == 10 {
            assert_eq!(frame.payload, b"are you there?");
            pongs += 1;
        } else if let Some(Packet::Reply(reply)) = decode_packet(&frame.payload) {
            assert_eq!((reply.id, reply.status), (2, 404));
            replies += 1;
        } else {
            let (offset, payload) = message(&frame);
            assert_eq!(number(&payload) + 1, offset);
            offsets.push(offset);
        }
    }
    assert_eq!((pongs, replies), (1, 1));
    assert!(offsets.is_sorted_by(|a, b| a < b));
    let after = taken(service, "test", published);
    assert_eq!(after.written, offsets.len() as u64);
}

#[test]
fn the_policy_of_the_channel_whose_message_does_not_fit_decides() {
    let server = quiet(&[("shards", "1"), ("queue_bytes", "131072")]);
    let service = server.service();
    let narrow_channel = config("overload=drop_oldest, queue_bytes=32768");
    service.create_channel_with("prices", narrow_channel).unwrap();
    service.create_channel("orders").unwrap();
    let mut slow = narrow(&server, "/channel/stream");
    for (id, name) in [(1, "prices"), (2, "orders")] {
        slow.send_frame(0x82, &subscribe(id, name));
        reply(&slow.message());
    }
    // Prices keep to their own bound, and leave room for orders.
    let prices = publish_until(service, "prices", |all| all.dropped_oldest >= 100);
    assert!(service.counters().queued_bytes <= 32768 + 2 * SIZE as u64);
    let mut orders = 0;
    for _ in 0..20 {
        service.publish("orders", MessageKind::Binary, &numbered(orders)).unwrap();
        orders += 1;
    }
    let waits = settled(service, "orders", orders);
    assert_eq!((waits.queued, waits.dropped(), waits.lost), (20, 0, 0));
    // An order for which there is no room closes the connection, prices or not.
    let orders = publish_on(service, "orders", (orders, 1), |all| all.closed_slow == 1);
    until("nothing waits but the rest of a frame", || {
        service.channel("orders").unwrap().deliveries.queued == 0
    });
    settled(service, "orders", orders);
    let end = settled(service, "prices", prices);
    assert!(end.lost > 0 && end.closed_slow == 0, "{end:?}");
}

#[test]
fn events_sessions_and_compressed_listeners_lose_whole_messages_too() {
    let server = quiet(&[("queue_bytes", "65536")]);
    let service = server.service();
    service.create_channel_with("test", config("overload=drop_oldest")).unwrap();

    let mut events = Raw::connect(server.local_addr());
    socket2::SockRef::from(&events.stream).set_recv_buffer_size(NARROW).unwrap();
    events
        .send("GET /channel/listen/test HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n");
    assert!(events.head().starts_with("HTTP/1.1 200"));

    let mut session = narrow(&server, "/ws");
    session.message();
    let request = r#"{"id":1,"type":"request","action":"subscribe","payload":{"channel":"test"}}"#;
    session.send_frame(0x81, request.as_bytes());
    session.message();

    let mut deflating = Raw::connect(server.local_addr());
    socket2::SockRef::from(&deflating.stream).set_recv_buffer_size(NARROW).unwrap();
    assert_eq!(deflating.upgrade("/channel/listen/test", crate::kit::OFFER).status, 101);

    // Text that compresses by half at best: hexadecimal digits.
    let text = |number: u64| {
        let mut random = fastrand::Rng::with_seed(number);
        let digits: String = (0..4000).map(|_| random.char('0'..='9')).collect();
        format!("{number} {digits}")
    };
    let of = |text: &str| text.split_once(' ').unwrap().0.parse::<u64>().unwrap();
    let mut published = 0;
    let mut dropped = 0;
    loop {
        let before = dropped;
        for _ in 0..64 {
            service.publish("test", MessageKind::Text, text(published).as_bytes()).unwrap();
            published += 1;
        }
        assert!(published * 4000 < PLENTY, "some reader is never behind");
        dropped = settled(service, "test", published * 3).dropped_oldest;
        // More than two of them drop, so all three do.
        if dropped - before >= 160 {
            break;
        }
    }
    assert!(service.counters().queued_bytes <= 3 * 65536);
    let last = published - 1;
    let mut received = 0;
    let mut count = |got: Vec<u64>| {
        assert!(got.is_sorted_by(|a, b| a < b));
        assert!(holes(&got) >= 1);
        received += got.len() as u64;
    };

    let mut got = Vec::new();
    while got.last() != Some(&last) {
        let event = events.event();
        if let Some((_, data)) = event.split_once("\ndata: ") {
            let number = of(data);
            assert_eq!(data, format!("{}\n\n", text(number)));
            got.push(number);
        }
    }
    count(got);
    let mut got = Vec::new();
    while got.last() != Some(&last) {
        let notice: serde_json::Value = serde_json::from_slice(&session.message().payload).unwrap();
        let data = &notice["data"];
        let number = of(data["message"].as_str().unwrap());
        assert_eq!(data["offset"], number + 1);
        got.push(number);
    }
    count(got);
    let mut got = Vec::new();
    while got.last() != Some(&last) {
        let (frame, compressed) = deflating.inflated();
        assert!(compressed);
        let data = String::from_utf8(frame.payload).unwrap();
        assert_eq!(data, text(of(&data)));
        got.push(of(&data));
    }
    count(got);
    let after = taken(service, "test", published * 3);
    assert_eq!((after.written, after.queued), (received, 0));
    let dropped = service.connections(&Default::default(), None, 10)[0].dropped;
    assert!(dropped > 0 && dropped < after.dropped(), "{dropped} of {after:?}");
}

/// A channel that a reader holds: it reads nothing, and publishers wait. Gives the reader and how
/// many numbered messages were published and are under way.
fn held(server: &Server, options: &str) -> (Raw, u64) {
    let service = server.service();
    service.create_channel_with("test", config(&format!("overload=hold, {options}"))).unwrap();
    let slow = narrow(server, "/channel/listen/test");
    let mut sender = Raw::websocket(server.local_addr(), "/channel/send/test");
    let mut sent = 0;
    // One at a time, so that no more than the last one waits.
    loop {
        sender.send_frame(0x82, &numbered(sent));
        sent += 1;
        let deliveries = || service.channel("test").unwrap().deliveries;
        until("it was sent on, or waits", || deliveries().due == sent || deliveries().held > 0);
        if deliveries().held > 0 {
            break;
        }
        assert!(sent * (SIZE as u64) < PLENTY, "the reader is never behind");
    }
    assert!(service.counters().queued_bytes <= 65536);
    (slow, sent)
}

#[test]
fn a_held_channel_loses_nothing_whoever_publishes() {
    let server = quiet(&[("shards", "1"), ("queue_bytes", "65536")]);
    let service = server.service();
    let (mut slow, mut published) = held(&server, "hold_ms=600000");
    // By the program, by the hot request, and by one that asks for counts.
    let mut clients = [Raw::connect(server.local_addr()), Raw::connect(server.local_addr())];
    let text = format!("{:0SIZE$}", 7);
    clients[0].send(format!("GET /channel/send/test/{text} HTTP/1.1\r\nHost: t\r\n\r\n"));
    clients[1].send(format!(
        "POST /channel/send/test?result=1 HTTP/1.1\r\nHost: t\r\nContent-Length: {SIZE}\r\n\r\n{text}"
    ));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| service.publish("test", MessageKind::Text, text.as_bytes()));
        until("all three wait", || service.counters().deliveries.held >= 4 && !waits.is_finished());
        let got = read_to(&mut slow, published - 1);
        assert_eq!((got.len() as u64, holes(&got)), (published, 0));
        for _ in 0..3 {
            assert_eq!(slow.message().payload, text.as_bytes());
            published += 1;
        }
        waits.join().unwrap().unwrap();
    });
    assert_eq!(clients[0].answer().status, 200);
    let counts = clients[1].answer();
    assert!(counts.body.contains(r#""reached":1"#), "{}", counts.body);
    let after = taken(service, "test", published);
    assert_eq!((after.written, after.queued, after.closed_slow), (published, 0, 0));
    // Nobody holds it any more.
    service.publish("test", MessageKind::Text, b"at once").unwrap();
    assert_eq!(slow.message().payload, b"at once");
}

#[test]
fn who_holds_a_channel_too_long_is_closed_and_publishing_goes_on() {
    let server = quiet(&[("shards", "1"), ("queue_bytes", "65536")]);
    let service = server.service();
    let (mut slow, sent) = held(&server, "hold_ms=50");
    let mut other = Raw::websocket(server.local_addr(), "/channel/listen/test");
    service.publish("test", MessageKind::Text, b"goes on").unwrap();
    while other.message().payload != b"goes on" {}
    let after = service.channel("test").unwrap();
    assert_eq!((after.subscribers, after.deliveries.closed_slow), (1, 1));
    assert_eq!(after.offset, sent + 1);
    assert!(after.deliveries.adds_up(), "{after:?}");
    loop {
        let frame = slow.message();
        if frame.opcode == 8 {
            assert_eq!(frame.close_code(), Some(3008));
            break;
        }
    }
}

#[test]
fn a_publisher_that_waits_too_long_is_told_and_nothing_was_published() {
    let server =
        quiet(&[("shards", "1"), ("queue_bytes", "65536"), ("request_timeout_ms", "1000")]);
    let service = server.service();
    let (mut slow, published) = held(&server, "hold_ms=600000");
    let error = service.publish("test", MessageKind::Text, b"never").unwrap_err();
    assert_eq!(error.kind(), qyun::ErrorKind::Timeout);
    let got = read_to(&mut slow, published - 1);
    assert_eq!(got.len() as u64, published);
    service.publish("test", MessageKind::Text, b"next").unwrap();
    assert_eq!(slow.message().payload, b"next");
    assert_eq!(service.channel("test").unwrap().offset, published + 1);
}

#[test]
fn slow_subscribers_are_ranked() {
    let server = quiet(&[("queue_bytes", "65536"), ("shards", "2")]);
    let service = server.service();
    service.create_channel_with("test", config("overload=drop_oldest")).unwrap();
    let mut quick = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let mut admin = Raw::connect(server.local_addr());
    let mut top = |query: &str| -> serde_json::Value {
        let target = format!("/api/v1/top?{query}");
        admin.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = admin.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    };
    assert_eq!(top("")["connections"], serde_json::json!([]));
    let mut slow = narrow(&server, "/channel/listen/test");
    let mut session = narrow(&server, "/ws");
    session.message();
    let request = r#"{"id":1,"type":"request","action":"subscribe","payload":{"channel":"test"}}"#;
    session.send_frame(0x81, request.as_bytes());
    session.message();
    let mut published = 0;
    let list = |value: &serde_json::Value| value["connections"].as_array().unwrap().clone();
    while list(&top("by=dropped")).len() < 2 {
        for _ in 0..16 {
            service.publish("test", MessageKind::Binary, &numbered(published)).unwrap();
            assert_eq!(number(&quick.message().payload), published);
            published += 1;
        }
        settled(service, "test", published * 3);
    }
    let socket = |one: &serde_json::Value| (one["shard"].as_u64(), one["socket"].as_u64());
    for by in ["queued", "messages", "age", "dropped"] {
        let all = list(&top(&format!("by={by}")));
        let key = match by {
            "queued" => "queued_bytes",
            "messages" => "queued_messages",
            "age" => "oldest_ms",
            _ => "dropped",
        };
        assert_eq!(all.len(), 2, "{by}: {all:?}");
        assert!(all.is_sorted_by_key(|one| std::cmp::Reverse(one[key].as_u64())), "{by}: {all:?}");
        assert!(all.iter().all(|one| one["channels"] == serde_json::json!(["test"])));
        let first = list(&top(&format!("by={by}&limit=1")));
        assert_eq!((first.len(), first.first().map(socket)), (1, all.first().map(socket)), "{by}");
    }
    let all = list(&top("by=dropped"));
    let dropped: u64 = all.iter().map(|one| one["dropped"].as_u64().unwrap()).sum();
    let deliveries = settled(service, "test", published * 3);
    assert_eq!(dropped, deliveries.dropped_oldest);
    let waiting = list(&top("by=messages"));
    let waiting: u64 = waiting.iter().map(|one| one["queued_messages"].as_u64().unwrap()).sum();
    assert_eq!(waiting, deliveries.queued);
    admin.send("GET /api/v1/top?by=colour HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(admin.answer().status, 400);
    let name = slow.stream.local_addr().unwrap().to_string();
    assert!(all.iter().any(|one| one["remote"] == name.as_str() && one["dialect"] == "listener"));
    read_to(&mut slow, published - 1);
}
