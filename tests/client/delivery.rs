//! Threads, queues and overflow.

use std::sync::mpsc::channel;
use std::time::Duration;

use qyun::ErrorKind;
use qyun::client::{Client, ClientOptions, Delivery, Event, EventKind, Overflow};
use qyun::wire::MessageKind;

use crate::events::{callback_with, fast, thread};
use crate::server::{LONG, Server};

/// A handle whose subscription to `c` holds three messages.
fn small(server: &Server, overflow: Overflow) -> Client {
    server.create("c");
    server.create("d");
    let options = ClientOptions { queue_messages: 3, overflow, ..fast() };
    Client::open(&server.host(), options).unwrap()
}

/// Publishes ten messages, and waits until the handle has read them all: the answer to a
/// publication comes after what was published before it.
fn ten(server: &Server, client: &Client) {
    (0..10).for_each(|number| server.text("c", &number.to_string()));
    client.publish("d", MessageKind::Text, b"").unwrap();
}

fn waiting(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| std::str::from_utf8(&event.data).unwrap()).collect()
}

#[test]
fn drop_oldest_keeps_the_newest_and_counts() {
    let server = Server::start();
    let client = small(&server, Overflow::DropOldest);
    let subscription = client.subscribe("c", Delivery::Pull).unwrap();
    ten(&server, &client);
    let mut events = Vec::new();
    subscription.recv_many(&mut events, 100, LONG).unwrap();
    assert_eq!(waiting(&events), ["", "7", "8", "9"]);
    assert_eq!(events[0].kind, EventKind::Connected);
    assert_eq!((subscription.dropped(), client.counters().dropped), (7, 7));
}

#[test]
fn drop_newest_keeps_the_oldest_and_counts() {
    let server = Server::start();
    let client = small(&server, Overflow::DropNewest);
    let subscription = client.subscribe("c", Delivery::Pull).unwrap();
    ten(&server, &client);
    let mut events = Vec::new();
    subscription.recv_many(&mut events, 100, LONG).unwrap();
    assert_eq!(waiting(&events), ["", "0", "1", "2"]);
    assert_eq!((subscription.dropped(), client.counters().dropped), (7, 7));
}

#[test]
fn block_loses_nothing_and_holds_the_connection() {
    let server = Server::start();
    let client = small(&server, Overflow::Block);
    let subscription = client.subscribe("c", Delivery::Pull).unwrap();
    assert_eq!(subscription.recv(LONG).unwrap().kind, EventKind::Connected);
    (0..10).for_each(|number| server.text("c", &number.to_string()));
    server.gone("c");
    for number in 0..10 {
        assert_eq!(subscription.recv(LONG).unwrap().data, number.to_string());
    }
    assert_eq!(subscription.recv(LONG).unwrap().kind, EventKind::Closed);
    assert_eq!(subscription.dropped(), 0);
}

#[test]
fn a_callback_that_sleeps_delays_nobody_else() {
    let server = Server::start();
    server.create("c");
    let client = Client::open(&server.host(), fast()).unwrap();
    let (release, released) = channel::<()>();
    let (function, slow) = callback_with(move |_| {
        let _ = released.recv();
    });
    let slow_subscription = client.subscribe("c", Delivery::Thread(function)).unwrap();
    let (delivery, quick) = thread();
    let _quick = client.subscribe("c", delivery).unwrap();
    quick.expect(EventKind::Connected);
    for number in 0..100 {
        client.publish("c", MessageKind::Text, number.to_string().as_bytes()).unwrap();
        assert_eq!(quick.message(), number.to_string());
    }
    slow.expect(EventKind::Connected);
    assert!(slow.pending().is_empty());
    let error = slow_subscription.close_wait(Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    drop(release);
    slow_subscription.close_wait(LONG).unwrap();
    slow.end();
}

#[test]
fn closing_discards_what_waits_for_a_callback() {
    let server = Server::start();
    server.create("c");
    let client = Client::open(&server.host(), fast()).unwrap();
    let (release, released) = channel::<()>();
    let (function, events) = callback_with(move |event| {
        if event.kind == EventKind::Message {
            let _ = released.recv();
        }
    });
    let subscription = client.subscribe("c", Delivery::Thread(function)).unwrap();
    for _ in 0..10 {
        client.publish("c", MessageKind::Text, b"x").unwrap();
    }
    events.expect(EventKind::Connected);
    events.message();
    subscription.close();
    release.send(()).unwrap();
    assert_eq!(events.end(), "closed");
}

#[test]
fn a_panicking_callback_ends_alone() {
    let server = Server::start();
    server.create("c");
    let client = Client::open(&server.host(), fast()).unwrap();
    let panics = |event: &Event| assert_ne!(event.kind, EventKind::Message, "on purpose");
    let (function, threaded) = callback_with(panics);
    let first = client.subscribe("c", Delivery::Thread(function)).unwrap();
    let (function, inlined) = callback_with(panics);
    let second = client.subscribe("c", Delivery::Inline(function)).unwrap();
    let (delivery, healthy) = thread();
    let _healthy = client.subscribe("c", delivery).unwrap();
    client.publish("c", MessageKind::Text, b"x").unwrap();
    client.publish("c", MessageKind::Text, b"y").unwrap();
    healthy.expect(EventKind::Connected);
    assert_eq!((healthy.message(), healthy.message()), ("x".into(), "y".into()));
    for (subscription, events) in [(first, threaded), (second, inlined)] {
        subscription.close_wait(LONG).unwrap();
        events.expect(EventKind::Connected);
        assert_eq!(events.message(), "x");
        events.never_called();
    }
}

#[test]
fn receiving_times_out_ends_and_refuses_other_modes() {
    let server = Server::start();
    server.create("c");
    let client = Client::open(&server.host(), fast()).unwrap();
    let pull = client.subscribe("c", Delivery::Pull).unwrap();
    assert_eq!(pull.channel(), "c");
    assert_eq!(pull.recv(LONG).unwrap().kind, EventKind::Connected);
    for timeout in [Duration::ZERO, Duration::from_millis(1)] {
        assert_eq!(pull.recv(timeout).unwrap_err().kind(), ErrorKind::Timeout);
        let error = pull.recv_many(&mut Vec::new(), 5, timeout).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
    let error = pull.recv_many(&mut Vec::new(), 0, Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    std::thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..4).map(|_| scope.spawn(|| pull.recv(Duration::MAX).unwrap_err())).collect();
        pull.close();
        for waiter in waiting {
            assert_eq!(waiter.join().unwrap().kind(), ErrorKind::Closed);
        }
    });
    pull.close_wait(Duration::ZERO).unwrap();
    let (delivery, _events) = thread();
    let threaded = client.subscribe("c", delivery).unwrap();
    assert_eq!(threaded.recv(Duration::ZERO).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(threaded.poll_fd().unwrap_err().kind(), ErrorKind::InvalidArgument);
}
