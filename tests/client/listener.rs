//! `listen_channel` and `stop_listening`.

use std::time::{Duration, Instant};

use qyun::ErrorKind;
use qyun::client::{Delivery, EventKind, listen_channel, stop_listening};
use qyun::wire::{MessageKind, close};

use crate::events::{callback, inline, thread};
use crate::server::Server;

#[test]
fn messages_arrive_in_order_and_unchanged_until_it_is_stopped() {
    let server = Server::start();
    server.create("名/ ?#%");
    for (delivery, events) in [thread(), inline()] {
        listen_channel(&server.host(), "名/ ?#%", delivery).unwrap();
        events.expect(EventKind::Connected);
        server.sockets(1);
        let texts = ["a", "", "青云 😀", "\n\0", "/?#%"];
        texts.iter().for_each(|text| server.text("名/ ?#%", text));
        texts.iter().for_each(|text| assert_eq!(events.message(), *text));
        server.publish("名/ ?#%", MessageKind::Binary, b"\xff\0");
        let binary = events.next();
        assert_eq!((binary.message_kind, &binary.data[..]), (MessageKind::Binary, &b"\xff\0"[..]));
        stop_listening(&server.host(), "名/ ?#%").unwrap();
        assert_eq!(events.end(), "closed");
        let again = stop_listening(&server.host(), "名/ ?#%").unwrap_err();
        assert_eq!(again.kind(), ErrorKind::NotFound);
        server.sockets(0);
    }
}

#[test]
fn it_outlives_the_thread_that_began_it() {
    let server = Server::start();
    server.create("c");
    let host = server.host();
    let events = std::thread::spawn(move || {
        let (delivery, events) = thread();
        listen_channel(&host, "c", delivery).unwrap();
        events
    })
    .join()
    .unwrap();
    events.expect(EventKind::Connected);
    server.text("c", "still here");
    assert_eq!(events.message(), "still here");
    stop_listening(&server.host(), "c").unwrap();
    events.end();
}

#[test]
fn stopping_stops_every_listener_of_the_pair_and_no_other() {
    let server = Server::start();
    server.create("a");
    server.create("b");
    let (first, first_events) = thread();
    let (second, second_events) = inline();
    let (other, other_events) = thread();
    listen_channel(&server.host(), "a", first).unwrap();
    listen_channel(&format!("http://{}", server.host()), "a", second).unwrap();
    listen_channel(&server.host(), "b", other).unwrap();
    for events in [&first_events, &second_events] {
        events.expect(EventKind::Connected);
    }
    stop_listening(&format!("ws://{}", server.host()), "a").unwrap();
    for events in [first_events, second_events] {
        events.end();
    }
    server.sockets(1);
    server.text("b", "x");
    other_events.expect(EventKind::Connected);
    assert_eq!(other_events.message(), "x");
    stop_listening(&server.host(), "b").unwrap();
    other_events.end();
}

#[test]
fn a_failure_to_begin_is_told_and_the_function_never_called() {
    let server = Server::start();
    let (delivery, events) = thread();
    let error = listen_channel(&server.host(), "missing", delivery).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ChannelNotFound, "{error}");
    assert!(error.to_string().contains("'missing'"), "{error}");
    assert!(error.to_string().contains(&server.host()), "{error}");
    events.never_called();

    let (delivery, events) = inline();
    server.state().refuse = Some(500);
    let error = listen_channel(&server.host(), "missing", delivery).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    events.never_called();

    let host = server.host();
    drop(server);
    let (delivery, events) = thread();
    let error = listen_channel(&host, "missing", delivery).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    events.never_called();

    let error = listen_channel(&host, "c", Delivery::Pull).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    for bad in ["..", "", "\n"] {
        let error = listen_channel(&host, bad, thread().0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidName);
    }
}

#[test]
fn a_server_that_never_answers_costs_the_connect_timeout() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (delivery, events) = thread();
    let begin = Instant::now();
    let error =
        listen_channel(&silent.local_addr().unwrap().to_string(), "c", delivery).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!((4900..6500).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    events.never_called();
}

#[test]
fn a_lost_connection_is_told_and_restored() {
    let server = Server::start();
    server.create("c");
    let (delivery, events) = thread();
    listen_channel(&server.host(), "c", delivery).unwrap();
    events.expect(EventKind::Connected);
    server.sockets(1)[0].kill();
    let lost = events.expect(EventKind::Error);
    assert!(lost.contains("'c'") && lost.contains(&server.host()), "{lost}");
    events.skip_errors(EventKind::Connected);
    server.text("c", "again");
    assert_eq!(events.message(), "again");
    stop_listening(&server.host(), "c").unwrap();
    events.end();
}

#[test]
fn attempts_go_on_while_the_server_is_away_or_refuses() {
    let server = Server::start();
    let address = server.address;
    server.create("c");
    let (delivery, events) = inline();
    listen_channel(&server.host(), "c", delivery).unwrap();
    events.expect(EventKind::Connected);
    drop(server);
    let lost = events.expect(EventKind::Error);
    assert!(lost.contains("lost the connection"), "{lost}");
    let attempt = events.expect(EventKind::Error);
    assert!(attempt.contains(&address.to_string()) && attempt.contains("'c'"), "{attempt}");
    // It is there again, and does not know the channel at first.
    let server = Server::bind(address);
    loop {
        let attempt = events.expect(EventKind::Error);
        if attempt.contains("403") {
            break;
        }
    }
    server.create("c");
    events.skip_errors(EventKind::Connected);
    stop_listening(&server.host(), "c").unwrap();
    events.end();
}

#[test]
fn close_codes_say_whether_to_come_back() {
    let server = Server::start();
    server.create("c");
    for code in [1000, close::GOING_AWAY, close::TOO_SLOW, 4499] {
        let (delivery, events) = thread();
        listen_channel(&server.host(), "c", delivery).unwrap();
        events.expect(EventKind::Connected);
        server.sockets(1)[0].close(code, "for a reason");
        let text = events.expect(EventKind::Error);
        assert!(text.contains(&code.to_string()) && text.contains("for a reason"), "{text}");
        events.skip_errors(EventKind::Connected);
        stop_listening(&server.host(), "c").unwrap();
        events.end();
        server.sockets(0);
    }
    for (code, why) in [(close::CHANNEL_DELETED, "channel deleted"), (4500, "code 4500")] {
        let (delivery, events) = thread();
        listen_channel(&server.host(), "c", delivery).unwrap();
        events.expect(EventKind::Connected);
        server.text("c", "last");
        server.sockets(1)[0].close(code, "");
        assert_eq!(events.message(), "last");
        assert!(events.end().contains(why));
        server.sockets(0);
        // The first may still find it, about to end, and waits for that.
        let _ = stop_listening(&server.host(), "c");
        let error = stop_listening(&server.host(), "c").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

#[test]
fn stopping_ends_an_attempt_to_reconnect_at_once() {
    let server = Server::start();
    server.create("c");
    let (function, events) = callback();
    listen_channel(&server.host(), "c", Delivery::Inline(function)).unwrap();
    events.expect(EventKind::Connected);
    let host = server.host();
    drop(server);
    events.expect(EventKind::Error);
    let begin = Instant::now();
    stop_listening(&host, "c").unwrap();
    events.skip_errors(EventKind::Closed);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}
