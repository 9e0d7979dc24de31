//! Close races: whoever wins, the function is told once and dropped once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use qyun::ErrorKind;
use qyun::client::{Client, ClientState, Delivery, EventKind};
use qyun::wire::MessageKind;

use crate::events::fast;
use crate::server::{LONG, Server};

#[derive(Default)]
struct Calls {
    closed: AtomicUsize,
    dropped: AtomicUsize,
    after_closed: AtomicUsize,
}

struct Canary(Arc<Calls>);

impl Drop for Canary {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn counting(inline: bool) -> (Delivery, Arc<Calls>) {
    let calls = Arc::new(Calls::default());
    let canary = Canary(calls.clone());
    let function = Box::new(move |event: &qyun::client::Event| {
        let calls = &canary.0;
        if calls.closed.load(Ordering::SeqCst) > 0 {
            calls.after_closed.fetch_add(1, Ordering::SeqCst);
        }
        if event.kind == EventKind::Closed {
            calls.closed.fetch_add(1, Ordering::SeqCst);
        }
    });
    match inline {
        true => (Delivery::Inline(function), calls),
        false => (Delivery::Thread(function), calls),
    }
}

#[test]
fn many_threads_close_while_messages_arrive() {
    let server = Server::start();
    server.create("c");
    for round in 0..60 {
        let client = Client::open(&server.host(), fast()).unwrap();
        let (delivery, calls) = counting(round % 2 == 0);
        let subscription = client.subscribe("c", delivery).unwrap();
        std::thread::scope(|scope| {
            for closer in 0..4 {
                let (client, subscription) = (&client, &subscription);
                scope.spawn(move || {
                    for _ in 0..20 {
                        let _ = client.publish_nowait("c", MessageKind::Text, Bytes::new());
                    }
                    match closer {
                        0 => client.close(),
                        1 => subscription.close(),
                        2 => drop(subscription.clone()),
                        _ => subscription.close_wait(LONG).unwrap(),
                    }
                });
            }
        });
        subscription.close_wait(LONG).unwrap();
        assert_eq!(calls.closed.load(Ordering::SeqCst), 1, "round {round}");
        assert_eq!(calls.dropped.load(Ordering::SeqCst), 1, "round {round}");
        assert_eq!(calls.after_closed.load(Ordering::SeqCst), 0, "round {round}");
    }
    server.sockets(0);
}

#[test]
fn no_callback_runs_after_close_wait() {
    let server = Server::start();
    server.create("c");
    let client = Client::open(&server.host(), fast()).unwrap();
    let late = Arc::new(AtomicUsize::new(0));
    for round in 0..60 {
        let over = Arc::new(AtomicBool::new(false));
        let function = {
            let (over, late) = (over.clone(), late.clone());
            Box::new(move |_: &qyun::client::Event| {
                std::thread::yield_now();
                late.fetch_add(usize::from(over.load(Ordering::SeqCst)), Ordering::SeqCst);
            })
        };
        let delivery = match round % 2 {
            0 => Delivery::Thread(function),
            _ => Delivery::Inline(function),
        };
        let subscription = client.subscribe("c", delivery).unwrap();
        (0..20).for_each(|_| drop(client.publish_nowait("c", MessageKind::Text, Bytes::new())));
        subscription.close_wait(LONG).unwrap();
        over.store(true, Ordering::SeqCst);
    }
    // What was under way has arrived when this is answered.
    client.publish("c", MessageKind::Text, b"").unwrap();
    assert_eq!(late.load(Ordering::SeqCst), 0);
}

#[test]
fn subscribing_while_the_handle_closes_ends_one_way_or_the_other() {
    let server = Server::start();
    server.create("c");
    for round in 0..60 {
        let client = Client::open(&server.host(), fast()).unwrap();
        if round % 3 == 0 {
            client.wait_connected(LONG).unwrap();
        }
        let (delivery, calls) = counting(round % 2 == 0);
        let subscribed = std::thread::scope(|scope| {
            let subscriber = scope.spawn(|| client.subscribe("c", delivery));
            client.close();
            subscriber.join().unwrap()
        });
        assert_eq!(client.state(), ClientState::Closed);
        match subscribed {
            Ok(subscription) => {
                subscription.close_wait(LONG).unwrap();
                assert_eq!(calls.closed.load(Ordering::SeqCst), 1);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                assert_eq!(calls.closed.load(Ordering::SeqCst), 0);
            }
        }
        assert_eq!(calls.dropped.load(Ordering::SeqCst), 1, "round {round}");
    }
}

#[test]
fn closing_is_idempotent_and_wakes_who_waits() {
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::open(&host.local_addr().unwrap().to_string(), fast()).unwrap();
    std::thread::scope(|scope| {
        let connected = scope.spawn(|| client.wait_connected(LONG).unwrap_err());
        let published = scope.spawn(|| client.publish("c", MessageKind::Text, b"").unwrap_err());
        let subscribed = scope.spawn(|| client.subscribe("c", Delivery::Pull).unwrap_err());
        client.close();
        client.close();
        for waiter in [connected, published, subscribed] {
            assert_eq!(waiter.join().unwrap().kind(), ErrorKind::Closed);
        }
    });
    let error = client.wait_connected(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}
