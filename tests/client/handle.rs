//! `Client`: one connection, many subscriptions, publications.

use std::time::{Duration, Instant};

use bytes::Bytes;
use qyun::ErrorKind;
use qyun::client::{Client, ClientOptions, ClientState, Delivery, EventKind, PublishVia};
use qyun::wire::{MessageKind, Position, close};

use crate::events::{fast, inline, thread};
use crate::server::{LONG, Server};

fn open(server: &Server) -> Client {
    let client = Client::open(&server.host(), fast()).unwrap();
    client.wait_connected(LONG).unwrap();
    client
}

#[test]
fn one_connection_carries_many_subscriptions_and_publications() {
    let server = Server::start();
    server.create("a");
    server.create("b");
    let client = open(&server);
    assert_eq!(client.state(), ClientState::Connected);
    let (delivery, a) = thread();
    let _a = client.subscribe("a", delivery).unwrap();
    let (delivery, b) = inline();
    let _b = client.subscribe("b", delivery).unwrap();
    let position = client.publish("a", MessageKind::Text, "青云".as_bytes()).unwrap();
    assert_eq!(position, Position { epoch: 7, offset: 1 });
    client.publish("b", MessageKind::Binary, b"\xff").unwrap();
    a.expect(EventKind::Connected);
    let event = a.next();
    assert_eq!((&event.data[..], event.position), ("青云".as_bytes(), position));
    assert_eq!(&*event.channel, "a");
    b.expect(EventKind::Connected);
    let event = b.next();
    assert_eq!((event.message_kind, &event.data[..]), (MessageKind::Binary, &b"\xff"[..]));
    let counters = client.counters();
    assert_eq!((counters.received, counters.published, counters.dropped), (2, 2, 0));
    assert_eq!(server.state().accepted, 1);
    client.close();
    assert_eq!(client.state(), ClientState::Closed);
    a.end();
    b.end();
    let error = client.publish("a", MessageKind::Text, b"").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    server.sockets(0);
}

#[test]
fn subscriptions_to_one_channel_share_one_on_the_server() {
    let server = Server::start();
    server.create("c");
    let client = open(&server);
    let (delivery, first) = thread();
    let first_subscription = client.subscribe("c", delivery).unwrap();
    client.publish("c", MessageKind::Text, b"1").unwrap();
    first.expect(EventKind::Connected);
    assert_eq!(first.message(), "1");
    let (delivery, second) = thread();
    let second_subscription = client.subscribe("c", delivery).unwrap();
    let connected = second.next();
    assert_eq!(connected.position, Position { epoch: 7, offset: 1 });
    client.publish("c", MessageKind::Text, b"2").unwrap();
    assert_eq!((first.message(), second.message()), ("2".into(), "2".into()));
    first_subscription.close();
    first.end();
    client.publish("c", MessageKind::Text, b"3").unwrap();
    assert_eq!(second.message(), "3");
    drop(second_subscription);
    second.end();
    let words = server.wait(|state| {
        let words: Vec<_> = state.asked.iter().map(|(word, _)| *word).collect();
        (words.last() == Some(&"unsubscribe")).then_some(words)
    });
    let count = |word| words.iter().filter(|other| **other == word).count();
    assert_eq!((count("subscribe"), count("unsubscribe")), (1, 1));
}

#[test]
fn subscribing_and_publishing_wait_for_the_connection() {
    let server = Server::start();
    server.create("c");
    let address = server.address;
    drop(server);
    let client = Client::open(&address.to_string(), fast()).unwrap();
    std::thread::scope(|scope| {
        let subscriber = scope.spawn(|| client.subscribe("c", Delivery::Pull).unwrap());
        let publisher = scope.spawn(|| client.publish("d", MessageKind::Text, b"x").unwrap());
        let server = Server::bind(address);
        server.create("c");
        server.create("d");
        let subscription = subscriber.join().unwrap();
        assert_eq!(subscription.recv(LONG).unwrap().kind, EventKind::Connected);
        publisher.join().unwrap();
        // Until a new connection is there: a loss may still fail it.
        drop(subscription);
    });
}

#[test]
fn refusals_are_told_and_the_function_is_never_called() {
    let server = Server::start();
    let client = open(&server);
    for (delivery, events) in [thread(), inline()] {
        let error = client.subscribe("missing", delivery).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ChannelNotFound, "{error}");
        assert!(error.to_string().contains("'missing'"), "{error}");
        events.never_called();
    }
    let error = client.publish("missing", MessageKind::Text, b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ChannelNotFound, "{error}");
    let error = client.publish("c", MessageKind::Text, b"a\xff").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidUtf8, "{error}");
    let error = client.publish_nowait("c", MessageKind::Text, Bytes::from_static(b"\xff"));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidUtf8);
    for bad in ["", "\n"] {
        assert_eq!(
            client.subscribe(bad, Delivery::Pull).unwrap_err().kind(),
            ErrorKind::InvalidName
        );
        let error = client.publish(bad, MessageKind::Text, b"").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidName);
    }
    assert_eq!(Client::open("a b", fast()).unwrap_err().kind(), ErrorKind::InvalidUrl);
}

/// The back-off alone would keep it waiting for minutes, most likely.
#[test]
fn a_server_that_says_when_to_come_back_is_heeded() {
    let server = Server::start();
    let slow = LONG * 1000;
    let options = ClientOptions { reconnect_min: slow, reconnect_max: slow, ..fast() };
    let client = Client::open(&server.host(), options).unwrap();
    client.wait_connected(LONG).unwrap();
    let again = "server is stopping; reconnect after 1..5 ms";
    server.sockets(1)[0].close(close::RESTART, again);
    server.wait(|state| (state.accepted == 2).then_some(()));
    client.wait_connected(LONG).unwrap();
    assert_eq!(client.counters().reconnects, 1);
    client.close();
}

#[test]
fn publishing_without_waiting_keeps_order_and_tells_a_refusal_later() {
    let server = Server::start();
    server.create("c");
    let client = open(&server);
    let subscription = client.subscribe("c", Delivery::Pull).unwrap();
    subscription.recv(LONG).unwrap();
    for number in 0..500 {
        client.publish_nowait("c", MessageKind::Text, number.to_string().into()).unwrap();
    }
    for number in 0..500 {
        assert_eq!(subscription.recv(LONG).unwrap().data, number.to_string());
    }
    client.publish_nowait("missing", MessageKind::Text, Bytes::new()).unwrap();
    // The answer to what follows comes after the refusal.
    client.publish("c", MessageKind::Text, b"").unwrap();
    assert_eq!(client.last_error().unwrap().kind(), ErrorKind::ChannelNotFound);
}

#[test]
fn a_full_send_queue_says_so() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = ClientOptions { send_queue_messages: 3, ..fast() };
    let client = Client::open(&silent.local_addr().unwrap().to_string(), options).unwrap();
    for _ in 0..3 {
        client.publish_nowait("c", MessageKind::Text, Bytes::new()).unwrap();
    }
    let error = client.publish_nowait("c", MessageKind::Text, Bytes::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QueueFull);
    let error = client.publish("c", MessageKind::Text, b"").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QueueFull);
}

#[test]
fn what_times_out_before_a_connection_is_never_sent() {
    let server = Server::start();
    server.create("c");
    let address = server.address;
    drop(server);
    let options = ClientOptions { request_timeout: Duration::from_millis(50), ..fast() };
    let client = Client::open(&address.to_string(), options).unwrap();
    let error = client.publish("c", MessageKind::Text, b"late").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let (delivery, events) = inline();
    let error = client.subscribe("c", delivery).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    events.never_called();
    let error = client.wait_connected(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("refused"), "{error}");
    let server = Server::bind(address);
    server.create("c");
    client.wait_connected(LONG).unwrap();
    client.publish("c", MessageKind::Text, b"after").unwrap();
    assert_eq!(server.state().asked, [("publish", "c".to_owned())]);
}

#[test]
fn a_lost_connection_fails_what_was_under_way_and_is_restored() {
    let server = Server::start();
    server.create("c");
    let client = open(&server);
    let (delivery, events) = thread();
    let _subscription = client.subscribe("c", delivery).unwrap();
    events.expect(EventKind::Connected);
    client.publish("c", MessageKind::Text, b"1").unwrap();
    assert_eq!(events.message(), "1");
    server.state().mute = true;
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| client.publish("c", MessageKind::Text, b"2").unwrap_err());
        server.wait(|state| (state.asked.len() == 3).then_some(()));
        server.sockets(1)[0].kill();
        let error = publisher.join().unwrap();
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    });
    server.state().mute = false;
    let lost = events.expect(EventKind::Error);
    assert!(lost.contains("'c'") && lost.contains(&server.host()), "{lost}");
    let restored = events.next();
    assert_eq!(restored.kind, EventKind::Connected);
    assert_eq!(restored.position, Position { epoch: 7, offset: 1 });
    client.publish("c", MessageKind::Text, b"3").unwrap();
    assert_eq!(events.message(), "3");
    assert_eq!(client.counters().reconnects, 1);
}

#[test]
fn a_channel_that_vanished_is_asked_for_again() {
    let server = Server::start();
    let address = server.address;
    server.create("c");
    let client = open(&server);
    let subscription = client.subscribe("c", Delivery::Pull).unwrap();
    assert_eq!(subscription.recv(LONG).unwrap().kind, EventKind::Connected);
    drop(server);
    let server = Server::bind(address);
    loop {
        let event = subscription.recv(LONG).unwrap();
        assert_eq!(event.kind, EventKind::Error);
        if event.data.windows(3).any(|bytes| bytes == b"404") {
            break;
        }
    }
    server.create("c");
    loop {
        match subscription.recv(LONG).unwrap().kind {
            EventKind::Error => {}
            kind => break assert_eq!(kind, EventKind::Connected),
        }
    }
}

#[test]
fn a_deleted_channel_ends_its_subscriptions_and_no_other() {
    let server = Server::start();
    server.create("c");
    server.create("d");
    let client = open(&server);
    let (delivery, first) = thread();
    let (inlined, second) = inline();
    let (other, others) = thread();
    let _first = client.subscribe("c", delivery).unwrap();
    let _second = client.subscribe("c", inlined).unwrap();
    let _other = client.subscribe("d", other).unwrap();
    server.text("c", "last");
    server.gone("c");
    for events in [first, second] {
        events.expect(EventKind::Connected);
        assert_eq!(events.message(), "last");
        assert_eq!(events.end(), "channel deleted");
    }
    others.expect(EventKind::Connected);
    server.text("d", "x");
    assert_eq!(others.message(), "x");
    server.create("c");
    let again = client.subscribe("c", Delivery::Pull).unwrap();
    assert_eq!(again.recv(LONG).unwrap().kind, EventKind::Connected);
}

#[test]
fn a_code_that_means_stay_away_closes_the_handle() {
    let server = Server::start();
    server.create("c");
    let client = open(&server);
    let (delivery, events) = thread();
    let _subscription = client.subscribe("c", delivery).unwrap();
    events.expect(EventKind::Connected);
    server.sockets(1)[0].close(3500, "banned");
    assert!(events.expect(EventKind::Error).contains("3500"));
    assert!(events.end().contains("banned"));
    let error = client.wait_connected(LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.to_string().contains("banned"), "{error}");
    assert_eq!(server.state().accepted, 1);
}

#[test]
fn attempts_end_when_told_so() {
    let host = Server::start().host();
    for options in [
        ClientOptions { reconnect: false, ..fast() },
        ClientOptions { reconnect_attempts: 3, ..fast() },
    ] {
        let client = Client::open(&host, options).unwrap();
        let error = client.wait_connected(LONG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert_eq!(client.state(), ClientState::Closed);
        assert_eq!(client.last_error().unwrap().kind(), ErrorKind::Connect);
        let error = client.subscribe("c", thread().0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
}

#[test]
fn a_server_that_answers_no_ping_is_given_up() {
    let server = Server::start();
    let options = ClientOptions {
        ping_interval: Duration::from_millis(20),
        pong_wait: Duration::from_millis(50),
        ..fast()
    };
    let client = Client::open(&server.host(), options.clone()).unwrap();
    client.wait_connected(LONG).unwrap();
    // The server's reader answers pings: nothing is lost for ten intervals.
    let begin = Instant::now();
    let error = client.wait_for_closed(Duration::from_millis(200));
    assert!(error && begin.elapsed() >= Duration::from_millis(200));
    assert_eq!((server.state().accepted, client.last_error().is_none()), (1, true));

    let mute = mute_server();
    let client = Client::open(&mute.to_string(), options).unwrap();
    client.wait_connected(LONG).unwrap();
    let error = loop {
        if let Some(error) = client.last_error() {
            break error;
        }
        std::thread::yield_now();
    };
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

trait Lasts {
    fn wait_for_closed(&self, time: Duration) -> bool;
}

impl Lasts for Client {
    /// Whether the handle stays connected for that long: a pull subscription to nothing would do,
    /// but a refused publication per millisecond shows it as well.
    fn wait_for_closed(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let error = self.publish("missing", MessageKind::Text, b"").unwrap_err();
            if error.kind() != ErrorKind::ChannelNotFound {
                return false;
            }
        }
        true
    }
}

/// Upgrades, and then reads nothing.
fn mute_server() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((tcp, _)) = listener.accept() {
            kept.push(tungstenite::accept(tcp).unwrap());
        }
    });
    address
}

#[test]
fn publishing_by_http_runs_on_the_caller_s_thread() {
    let server = Server::start();
    server.create("c");
    let options = ClientOptions { publish_via: PublishVia::Http, ..fast() };
    let client = Client::open(&server.host(), options).unwrap();
    client.wait_connected(LONG).unwrap();
    let position = client.publish("c", MessageKind::Text, b"a b").unwrap();
    assert_eq!(position, Position { epoch: 7, offset: 1 });
    let position = client.publish("c", MessageKind::Binary, b"\xff").unwrap();
    assert_eq!(position, Position { epoch: 7, offset: 2 });
    assert_eq!(client.counters().published, 2);
    let state = server.state();
    assert_eq!(state.asked, []);
    let seen = state.seen.last().unwrap();
    assert_eq!(seen.content_type.as_deref(), Some("application/octet-stream"));
    assert_eq!(seen.body, b"\xff");
    assert_eq!(state.accepted, 2);
    drop(state);
    client.create_channel("d").unwrap();
    assert_eq!(client.create_channel("d").unwrap_err().kind(), ErrorKind::ChannelExists);
    client.delete_channel("d").unwrap();
    assert_eq!(client.delete_channel("d").unwrap_err().kind(), ErrorKind::ChannelNotFound);
    client.close();
    assert_eq!(client.create_channel("e").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_message_over_the_limit_is_refused_and_the_connection_restored() {
    let server = Server::start();
    server.create("c");
    let options = ClientOptions { max_message_bytes: 1000, ..fast() };
    let client = Client::open(&server.host(), options).unwrap();
    let (delivery, events) = thread();
    let _subscription = client.subscribe("c", delivery).unwrap();
    events.expect(EventKind::Connected);
    server.text("c", &"x".repeat(1000));
    assert_eq!(events.message().len(), 1000);
    server.text("c", &"x".repeat(1001));
    events.expect(EventKind::Error);
    events.skip_errors(EventKind::Connected);
}
