//! Every call may be made in a callback; one that would wait for itself says so at once.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use qyun::ErrorKind;
use qyun::client::{
    Client, Delivery, EventKind, Subscription, create_channel, listen_channel, send_message,
    shutdown, stop_listening,
};
use qyun::wire::MessageKind;

use crate::events::{callback_with, fast, thread};
use crate::server::{LONG, Server};

#[test]
fn a_delivery_callback_may_call_everything() {
    let server = Server::start();
    server.create("c");
    server.create("d");
    let client = Client::open(&server.host(), fast()).unwrap();
    let own: Arc<OnceLock<Subscription>> = Arc::default();
    let (done, is_done) = channel();
    let (function, events) = {
        let (client, own, host) = (client.clone(), own.clone(), server.host());
        callback_with(move |event| {
            if event.kind != EventKind::Message {
                return;
            }
            client.publish("d", MessageKind::Text, b"from a callback").unwrap();
            let other = client.subscribe("d", Delivery::Pull).unwrap();
            assert_eq!(other.recv(LONG).unwrap().kind, EventKind::Connected);
            other.close_wait(LONG).unwrap();
            create_channel(&host, "e").unwrap();
            send_message(&host, "e", "x").unwrap();
            let (delivery, inner) = thread();
            listen_channel(&host, "e", delivery).unwrap();
            inner.expect(EventKind::Connected);
            stop_listening(&host, "e").unwrap();
            inner.end();
            let error = shutdown(LONG).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldDeadlock);
            let own = own.wait();
            let error = own.close_wait(LONG).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldDeadlock);
            own.close();
            done.send(()).unwrap();
        })
    };
    own.set(client.subscribe("c", Delivery::Thread(function)).unwrap()).unwrap();
    client.publish("c", MessageKind::Text, b"go").unwrap();
    is_done.recv_timeout(LONG).unwrap();
    events.expect(EventKind::Connected);
    events.message();
    events.end();
}

#[test]
fn an_inline_callback_is_refused_what_waits_for_its_own_thread() {
    let server = Server::start();
    server.create("c");
    server.create("d");
    let client = Client::open(&server.host(), fast()).unwrap();
    let pull = client.subscribe("d", Delivery::Pull).unwrap();
    pull.recv(LONG).unwrap();
    let own: Arc<OnceLock<Subscription>> = Arc::default();
    let (kinds, told) = channel();
    let (function, events) = {
        let (client, own, host, pull) = (client.clone(), own.clone(), server.host(), pull.clone());
        callback_with(move |event| {
            if event.kind != EventKind::Message {
                return;
            }
            let refused = [
                client.publish("d", MessageKind::Text, b"").map(drop),
                client.subscribe("d", Delivery::Pull).map(drop),
                pull.recv(LONG).map(drop),
                pull.recv_many(&mut Vec::new(), 1, LONG),
                listen_channel(&host, "d", thread().0),
                shutdown(LONG),
                own.wait().close_wait(LONG),
            ];
            kinds.send(refused.map(|result| result.unwrap_err().kind())).unwrap();
            client.wait_connected(LONG).unwrap();
            assert_eq!(pull.recv(Duration::ZERO).unwrap_err().kind(), ErrorKind::Timeout);
            client.publish_nowait("d", MessageKind::Text, Bytes::from_static(b"out")).unwrap();
            own.wait().close();
        })
    };
    own.set(client.subscribe("c", Delivery::Inline(function)).unwrap()).unwrap();
    client.publish_nowait("c", MessageKind::Text, Bytes::from_static(b"go")).unwrap();
    assert_eq!(told.recv_timeout(LONG).unwrap(), [ErrorKind::WouldDeadlock; 7]);
    assert_eq!(pull.recv(LONG).unwrap().data, "out");
    events.expect(EventKind::Connected);
    events.message();
    events.end();
}

#[test]
fn a_listener_may_stop_itself_in_its_callback() {
    let server = Server::start();
    server.create("c");
    for inline in [false, true] {
        let host = server.host();
        let (result, results) = channel();
        let (function, events) = callback_with(move |event| {
            if event.kind == EventKind::Message {
                result.send(stop_listening(&host, "c")).unwrap();
            }
        });
        let delivery = if inline { Delivery::Inline(function) } else { Delivery::Thread(function) };
        listen_channel(&server.host(), "c", delivery).unwrap();
        server.sockets(1);
        server.text("c", "1");
        server.text("c", "2");
        results.recv_timeout(LONG).unwrap().unwrap();
        events.expect(EventKind::Connected);
        assert_eq!(events.message(), "1");
        events.end();
        server.sockets(0);
    }
}

#[test]
fn a_handle_may_be_closed_and_dropped_in_a_callback() {
    let server = Server::start();
    server.create("c");
    for inline in [false, true] {
        let client = Client::open(&server.host(), fast()).unwrap();
        let publisher = Client::open(&server.host(), fast()).unwrap();
        let kept = Arc::new(Mutex::new(None));
        let (function, events) = {
            let kept = kept.clone();
            callback_with(move |event| {
                if event.kind == EventKind::Message {
                    // The last clones of both.
                    drop(kept.lock().unwrap().take());
                }
            })
        };
        let delivery = if inline { Delivery::Inline(function) } else { Delivery::Thread(function) };
        let subscription = client.subscribe("c", delivery).unwrap();
        *kept.lock().unwrap() = Some((client, subscription));
        publisher.publish("c", MessageKind::Text, b"go").unwrap();
        events.expect(EventKind::Connected);
        events.message();
        events.end();
        publisher.close();
        server.sockets(0);
    }
}

#[test]
fn two_callbacks_that_stop_each_other_do_not_hang() {
    let server = Server::start();
    server.create("a");
    server.create("b");
    let barrier = Arc::new(std::sync::Barrier::new(2));
    let mut all = Vec::new();
    for (mine, other) in [("a", "b"), ("b", "a")] {
        let (host, barrier) = (server.host(), barrier.clone());
        let (function, events) = callback_with(move |event| {
            if event.kind == EventKind::Message {
                barrier.wait();
                stop_listening(&host, other).unwrap();
            }
        });
        listen_channel(&server.host(), mine, Delivery::Thread(function)).unwrap();
        all.push(events);
    }
    server.sockets(2);
    server.text("a", "x");
    server.text("b", "x");
    for events in all {
        events.expect(EventKind::Connected);
        events.message();
        events.end();
    }
}
