//! A handle continues from where it was: after a reconnection, and from a position that the program
//! says.

use qyun::client::{
    Client, ClientOptions, Delivery, Event, EventKind, Subscription, listen_channel, stop_listening,
};
use qyun::wire::meta;
use qyun::wire::stream::{self, Op, Reply};
use qyun::wire::{MessageKind, Position};
use tungstenite::Message;

use crate::events::{Events, fast, inline, thread};
use crate::peer::{Link, Peer};
use crate::server::{LONG, Server};

fn open(server: &Server) -> Client {
    let client = Client::open(&server.host(), fast()).unwrap();
    client.wait_connected(LONG).unwrap();
    client
}

fn at(epoch: u64, offset: u64) -> Position {
    Position { epoch, offset }
}

/// Publishes the numbers as texts.
fn publish(server: &Server, numbers: std::ops::RangeInclusive<u64>) {
    numbers.for_each(|number| server.text("c", &number.to_string()));
}

/// Cuts every connection; while none can be made, does what is given.
fn while_away(server: &Server, what: impl FnOnce()) {
    server.state().refuse = Some(503);
    server.sockets(1)[0].kill();
    server.sockets(0);
    what();
    server.state().refuse = None;
}

/// The next `Connected`, behind the errors of failed attempts.
fn connected(next: impl Fn() -> Event) -> (Position, Option<bool>) {
    loop {
        let event = next();
        match event.kind {
            EventKind::Error => {}
            kind => {
                assert_eq!(kind, EventKind::Connected);
                return (event.position, event.recovered);
            }
        }
    }
}

fn pulled(subscription: &Subscription) -> Event {
    subscription.recv(LONG).unwrap()
}

/// Expects the numbers as messages with their positions.
fn expect(events: &Events, epoch: u64, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let event = events.next();
        assert_eq!((event.kind, event.position), (EventKind::Message, at(epoch, number)));
        assert_eq!(event.data, number.to_string());
        assert_eq!(event.recovered, None);
    }
}

#[test]
fn a_reconnection_brings_what_was_missed_once_and_in_order() {
    let server = Server::start();
    server.create_keeping("c", 7, 100);
    publish(&server, 1..=2);
    let client = open(&server);
    let (delivery, threaded) = thread();
    let (delivery_inline, inlined) = inline();
    let _threaded = client.subscribe("c", delivery).unwrap();
    let _inlined = client.subscribe("c", delivery_inline).unwrap();
    for events in [&threaded, &inlined] {
        assert_eq!(connected(|| events.next()), (at(7, 2), None));
    }
    publish(&server, 3..=4);
    for round in 0..3 {
        let last = 4 + round * 10;
        while_away(&server, || publish(&server, last + 1..=last + 5));
        server.wait(|state| (state.asked.len() as u64 == round + 2).then_some(()));
        publish(&server, last + 6..=last + 10);
    }
    for events in [&threaded, &inlined] {
        // What a cut takes out of the connection comes behind it.
        let (mut last, mut reconnections) = (2, 0);
        while last < 34 {
            let event = events.next();
            match event.kind {
                EventKind::Message => {
                    last += 1;
                    assert_eq!((event.position, event.recovered), (at(7, last), None));
                    assert_eq!(event.data, last.to_string());
                }
                EventKind::Connected => {
                    reconnections += 1;
                    assert_eq!((event.position, event.recovered), (at(7, last), Some(true)));
                }
                kind => assert_eq!(kind, EventKind::Error),
            }
        }
        assert_eq!(reconnections, 3);
        assert!(events.pending().is_empty());
    }
    assert_eq!((client.counters().reconnects, client.counters().received), (3, 32));
    let asked: Vec<_> = server.state().asked.iter().map(|(word, _)| *word).collect();
    assert_eq!(asked, ["subscribe", "resume", "resume", "resume"]);
}

#[test]
fn what_is_no_longer_kept_is_told_with_the_position_it_goes_on_from() {
    let server = Server::start();
    server.create_keeping("c", 7, 3);
    let client = open(&server);
    let (delivery, events) = thread();
    let _subscription = client.subscribe("c", delivery).unwrap();
    assert_eq!(connected(|| events.next()), (at(7, 0), None));
    publish(&server, 1..=1);
    expect(&events, 7, 1..=1);
    while_away(&server, || publish(&server, 2..=5));
    assert_eq!(connected(|| events.next()), (at(7, 5), Some(false)));
    publish(&server, 6..=6);
    expect(&events, 7, 6..=6);
    // Nothing missed is recovered without a history, too.
    while_away(&server, || {});
    assert_eq!(connected(|| events.next()), (at(7, 6), Some(true)));
}

#[test]
fn another_epoch_is_no_continuation() {
    let server = Server::start();
    let address = server.address;
    server.create_keeping("c", 7, 100);
    publish(&server, 1..=3);
    let client = open(&server);
    let (delivery, events) = thread();
    let _subscription = client.subscribe("c", delivery).unwrap();
    assert_eq!(connected(|| events.next()), (at(7, 3), None));
    drop(server);
    let server = Server::bind(address);
    server.create_keeping("c", 8, 100);
    publish(&server, 1..=5);
    assert_eq!(connected(|| events.next()), (at(8, 5), Some(false)));
    publish(&server, 6..=6);
    expect(&events, 8, 6..=6);
}

#[test]
fn a_subscription_begins_where_the_program_says() {
    let server = Server::start();
    server.create_keeping("c", 7, 5);
    publish(&server, 1..=8);
    let client = open(&server);
    for (since, recovered, goes_on) in
        [(at(7, 5), true, 5), (at(7, 8), true, 8), (at(7, 2), false, 8), (at(6, 7), false, 8)]
    {
        let subscription = client.subscribe_since("c", since, Delivery::Pull).unwrap();
        let first = connected(|| pulled(&subscription));
        assert_eq!(first, (at(7, goes_on), Some(recovered)));
        for offset in goes_on + 1..=8 {
            assert_eq!(pulled(&subscription).position, at(7, offset));
        }
    }
    // One after the other they have shared the handle's connection.
    assert_eq!(server.state().accepted, 1);
    let error = client.subscribe_since("missing", at(7, 1), Delivery::Pull).unwrap_err();
    assert_eq!(error.kind(), qyun::ErrorKind::ChannelNotFound);
}

#[test]
fn a_position_of_its_own_disturbs_nobody_who_is_subscribed() {
    let server = Server::start();
    server.create_keeping("c", 7, 100);
    publish(&server, 1..=4);
    let client = open(&server);
    let (delivery, first) = thread();
    let _first = client.subscribe("c", delivery).unwrap();
    let (delivery, second) = thread();
    let aside = client.subscribe_since("c", at(7, 1), delivery).unwrap();
    server.sockets(2);
    publish(&server, 5..=6);
    assert_eq!(connected(|| first.next()), (at(7, 4), None));
    expect(&first, 7, 5..=6);
    assert_eq!(connected(|| second.next()), (at(7, 1), Some(true)));
    expect(&second, 7, 2..=6);
    // Its connection ends with it.
    aside.close();
    second.end();
    server.sockets(1);
    publish(&server, 7..=7);
    expect(&first, 7, 7..=7);
    // And the others with the handle.
    let (delivery, third) = inline();
    let _third = client.subscribe_since("c", at(7, 6), delivery).unwrap();
    assert_eq!(connected(|| third.next()), (at(7, 6), Some(true)));
    expect(&third, 7, 7..=7);
    server.sockets(2);
    client.close();
    third.end();
    first.end();
    server.sockets(0);
}

#[test]
fn of_many_positions_at_once_each_gets_its_own() {
    let server = Server::start();
    server.create_keeping("c", 7, 100);
    publish(&server, 1..=20);
    let client = open(&server);
    std::thread::scope(|scope| {
        for since in 0..8 {
            let client = &client;
            scope.spawn(move || {
                let subscription = client.subscribe_since("c", at(7, since), Delivery::Pull);
                let subscription = subscription.unwrap();
                let first = connected(|| pulled(&subscription));
                assert_eq!(first, (at(7, since), Some(true)));
                for offset in since + 1..=20 {
                    assert_eq!(pulled(&subscription).position, at(7, offset));
                }
            });
        }
    });
}

/// Reads a request, and gives its id and what it asks for.
fn read(link: &mut Link, expected: impl Fn(&Op<'_>) -> bool) -> u32 {
    let Message::Binary(bytes) = link.read() else { panic!("not binary") };
    let request = stream::decode_request(&bytes).unwrap();
    assert!(expected(&request.op), "{request:?}");
    request.id
}

fn reply(link: &mut Link, reply: &Reply<'_>) {
    let mut bytes = Vec::new();
    stream::encode_reply(&mut bytes, reply);
    link.send(Message::binary(bytes));
}

fn message(link: &mut Link, offset: u64) {
    let mut bytes = stream::message_header(1, offset, MessageKind::Text).to_vec();
    bytes.extend_from_slice(offset.to_string().as_bytes());
    link.send(Message::binary(bytes));
}

#[test]
fn a_server_that_repeats_itself_is_not_repeated() {
    let peer = Peer::start();
    let client = Client::open(&peer.address().to_string(), fast()).unwrap();
    let subscription = std::thread::scope(|scope| {
        let subscribing = scope.spawn(|| client.subscribe("c", Delivery::Pull).unwrap());
        let mut link = peer.accept();
        let id = read(&mut link, |op| *op == Op::Subscribe);
        reply(&mut link, &Reply { id, channel: 1, position: at(7, 4), ..Reply::default() });
        [4, 5, 5, 6, 4, 6, 8, 7, 8].into_iter().for_each(|offset| message(&mut link, offset));
        let subscription = subscribing.join().unwrap();
        let offsets: Vec<_> = (0..4).map(|_| pulled(&subscription).position.offset).collect();
        assert_eq!(offsets, [4, 5, 6, 8]);
        link.kill();
        subscription
    });
    // The next connection continues behind the last one, and repeats itself as well.
    let mut link = peer.accept();
    let id = read(&mut link, |op| *op == Op::Resume(at(7, 8)));
    let position = at(7, 8);
    reply(&mut link, &Reply { id, channel: 1, position, recovered: true, ..Reply::default() });
    [7, 8, 9].into_iter().for_each(|offset| message(&mut link, offset));
    assert_eq!(connected(|| pulled(&subscription)), (at(7, 8), Some(true)));
    assert_eq!(pulled(&subscription).position, at(7, 9));
    client.publish_nowait("c", MessageKind::Text, "end".into()).unwrap();
    read(&mut link, |op| matches!(op, Op::Publish(..)));
    assert_eq!(client.counters().received, 4);
}

#[test]
fn a_position_takes_the_place_of_an_answer_that_nobody_waits_for_any_longer() {
    let peer = Peer::start();
    let options = ClientOptions { request_timeout: LONG / 100, ..fast() };
    let client = Client::open(&peer.address().to_string(), options).unwrap();
    let mut link = std::thread::scope(|scope| {
        let subscribing = scope.spawn(|| client.subscribe("c", Delivery::Pull).unwrap_err());
        let link = peer.accept();
        assert_eq!(subscribing.join().unwrap().kind(), qyun::ErrorKind::Timeout);
        link
    });
    let late = read(&mut link, |op| *op == Op::Subscribe);
    let client = &client;
    let subscription = std::thread::scope(|scope| {
        let since = at(7, 2);
        let subscribing =
            scope.spawn(move || client.subscribe_since("c", since, Delivery::Pull).unwrap());
        // Behind the wake-up of the subscription on its way; a publication is written behind it.
        client.publish_nowait("c", MessageKind::Text, "mark".into()).unwrap();
        read(&mut link, |op| matches!(op, Op::Publish(..)));
        reply(&mut link, &Reply { id: late, channel: 1, position: at(7, 4), ..Reply::default() });
        message(&mut link, 5);
        let resume = loop {
            let Message::Binary(bytes) = link.read() else { panic!("not binary") };
            let request = stream::decode_request(&bytes).unwrap();
            match request.op {
                Op::Unsubscribe => {}
                Op::Resume(position) => {
                    assert_eq!(position, since);
                    break request.id;
                }
                other => panic!("{other:?}"),
            }
        };
        let answer =
            Reply { id: resume, channel: 1, position: since, recovered: true, ..Reply::default() };
        reply(&mut link, &answer);
        (3..=5).for_each(|offset| message(&mut link, offset));
        subscribing.join().unwrap()
    });
    assert_eq!(connected(|| pulled(&subscription)), (at(7, 2), Some(true)));
    for offset in 3..=5 {
        assert_eq!(pulled(&subscription).position, at(7, offset));
    }
}

#[test]
fn a_listener_continues_behind_its_last_message() {
    let peer = Peer::start();
    let (delivery, events) = thread();
    let host = peer.address().to_string();
    let mut link = std::thread::scope(|scope| {
        let listening = scope.spawn(|| listen_channel(&host, "c d", delivery).unwrap());
        let mut link = peer.accept_answering(&[("qyun-position", "7-4")]);
        listening.join().unwrap();
        assert_eq!(link.path, "/channel/listen/c%20d?meta=1");
        link.send(meta::subscribed("c d", at(7, 4), None));
        link.send(told(5));
        link.send(told(5));
        link.send(told(6));
        link
    });
    assert_eq!(connected(|| events.next()), (at(7, 4), None));
    expect(&events, 7, 5..=6);
    link.send(Message::text(r#"{"event":"of a later version"}"#));
    link.kill();
    events.expect(EventKind::Error);

    let fields = [("qyun-position", "7-6"), ("qyun-recovered", "true")];
    let mut link = peer.accept_answering(&fields);
    assert_eq!(link.path, "/channel/listen/c%20d?meta=1&since=7-6");
    (6..=8).for_each(|offset| link.send(told(offset)));
    assert_eq!(connected(|| events.next()), (at(7, 6), Some(true)));
    expect(&events, 7, 7..=8);
    link.kill();

    let fields = [("qyun-position", "9-2"), ("qyun-recovered", "false")];
    let mut link = peer.accept_answering(&fields);
    assert_eq!(link.path, "/channel/listen/c%20d?meta=1&since=7-8");
    events.expect(EventKind::Error);
    let event = events.next();
    assert_eq!((event.position, event.recovered), (at(9, 2), Some(false)));
    assert_eq!(event.data, "messages were missed; it goes on behind 9-2");
    // What is no such text is no message either.
    link.send(Message::text("bare"));
    assert!(events.expect(EventKind::Error).contains("no message with its position"));
    stop_listening(&host, "c d").unwrap();
}

/// A message as a listener is told of it.
fn told(offset: u64) -> Message {
    let text = meta::message(at(7, offset), MessageKind::Text, offset.to_string().as_bytes());
    Message::text(String::from_utf8(text).unwrap())
}

#[test]
fn a_publication_is_sent_again_under_its_key_as_often_as_is_allowed() {
    let peer = Peer::start();
    let options = ClientOptions { publish_retries: 2, ..fast() };
    let client = Client::open(&peer.address().to_string(), options).unwrap();
    let keyed = |link: &mut Link, data: &[u8]| {
        let Message::Binary(bytes) = link.read() else { panic!("not binary") };
        let request = stream::decode_request(&bytes).unwrap();
        let Op::PublishWith(publication) = request.op else { panic!("{request:?}") };
        assert_eq!((publication.data, publication.counts), (data, false));
        (request.id, publication.key.unwrap().to_vec())
    };
    std::thread::scope(|scope| {
        let publish = |data: &'static [u8]| client.publish("c", MessageKind::Text, data);
        let first = scope.spawn(move || publish(b"first"));
        let mut link = peer.accept();
        let (_, key) = keyed(&mut link, b"first");
        link.kill();
        let mut link = peer.accept();
        let (id, again) = keyed(&mut link, b"first");
        assert_eq!(key, again);
        let duplicate = Reply { id, position: at(7, 3), duplicate: true, ..Reply::default() };
        reply(&mut link, &duplicate);
        assert_eq!(first.join().unwrap().unwrap(), at(7, 3));

        let second = scope.spawn(move || publish(b"second"));
        let (_, other) = keyed(&mut link, b"second");
        assert_ne!(key, other);
        link.kill();
        for _ in 0..2 {
            let mut link = peer.accept();
            assert_eq!(keyed(&mut link, b"second").1, other);
            link.kill();
        }
        let error = second.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), qyun::ErrorKind::Connect);
        assert!(error.to_string().contains("may or may not have been published"), "{error}");
        drop(peer.accept());
    });
    client.close();
}
