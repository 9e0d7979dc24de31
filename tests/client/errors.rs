//! The texts of errors: each names the host and the channel, and names them once.

use std::time::Duration;

use qyun::client::{
    Client, ClientOptions, Delivery, EventKind, Http, PublishVia, create_channel, listen_channel,
    send_message,
};
use qyun::wire::MessageKind;
use qyun::{Error, ErrorKind};

use crate::events::{fast, thread};
use crate::server::{LONG, Script, Server};

/// A name that no other text contains.
const CHANNEL: &str = "the-channel";

fn names_both_once(host: &str, error: &Error) {
    let text = error.to_string();
    for part in [host, CHANNEL] {
        assert_eq!(text.matches(part).count(), 1, "'{part}' in: {text}");
    }
}

#[test]
fn refusals_name_both_once() {
    let server = Server::start();
    let host = server.host();
    let client = Client::open(&host, fast()).unwrap();
    client.wait_connected(LONG).unwrap();
    let options = ClientOptions { publish_via: PublishVia::Http, ..fast() };
    let by_http = Client::open(&host, options).unwrap();
    let http = Http::new(&host, &fast()).unwrap();
    for error in [
        client.publish(CHANNEL, MessageKind::Text, b"x").unwrap_err(),
        by_http.publish(CHANNEL, MessageKind::Text, b"x").unwrap_err(),
        client.subscribe(CHANNEL, Delivery::Pull).unwrap_err(),
        client.delete_channel(CHANNEL).unwrap_err(),
        http.channel(CHANNEL).unwrap_err(),
        send_message(&host, CHANNEL, "x").unwrap_err(),
        listen_channel(&host, CHANNEL, thread().0).unwrap_err(),
    ] {
        names_both_once(&host, &error);
    }
    server.create(CHANNEL);
    for error in [
        client.create_channel(CHANNEL).unwrap_err(),
        create_channel(&host, CHANNEL).unwrap_err(),
        client.publish(CHANNEL, MessageKind::Text, b"\xff").unwrap_err(),
    ] {
        names_both_once(&host, &error);
    }
    server.script([Script::Close]);
    names_both_once(&host, &by_http.publish(CHANNEL, MessageKind::Text, b"x").unwrap_err());
}

#[test]
fn losses_time_limits_and_closed_handles_name_both_once() {
    let server = Server::start();
    let host = server.host();
    server.create(CHANNEL);
    server.state().mute = true;
    let options = ClientOptions { request_timeout: Duration::from_millis(20), ..fast() };
    let client = Client::open(&host, options).unwrap();
    client.wait_connected(LONG).unwrap();
    let (delivery, events) = thread();
    let patient = Client::open(&host, fast()).unwrap();
    let _subscription = patient.subscribe(CHANNEL, delivery).unwrap();
    events.expect(EventKind::Connected);
    names_both_once(&host, &client.publish(CHANNEL, MessageKind::Text, b"x").unwrap_err());

    let lost = std::thread::scope(|scope| {
        let publish = scope.spawn(|| patient.publish(CHANNEL, MessageKind::Text, b"x"));
        server.wait(|state| {
            (state.asked.iter().filter(|(what, _)| *what == "publish").count() == 2).then_some(())
        });
        server.state().sockets.iter().for_each(|socket| socket.kill());
        publish.join().unwrap().unwrap_err()
    });
    assert_eq!(lost.kind(), ErrorKind::Connect, "{lost}");
    names_both_once(&host, &lost);
    let told = events.expect(EventKind::Error);
    names_both_once(&host, &Error::new(ErrorKind::Connect, told));
    events.skip_errors(EventKind::Connected);

    drop(server);
    names_both_once(&host, &Error::new(ErrorKind::Connect, events.expect(EventKind::Error)));
    for error in [
        client.publish(CHANNEL, MessageKind::Text, b"x").unwrap_err(),
        client.subscribe(CHANNEL, Delivery::Pull).unwrap_err(),
        send_message(&host, CHANNEL, "x").unwrap_err(),
    ] {
        names_both_once(&host, &error);
    }
    let error = client.wait_connected(Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.to_string().matches(&host).count(), 1, "{error}");
    let error = client.last_error().unwrap();
    assert_eq!(error.to_string().matches(&host).count(), 1, "{error}");
    client.close();
    for error in [
        client.publish(CHANNEL, MessageKind::Text, b"x").unwrap_err(),
        client.publish_nowait(CHANNEL, MessageKind::Text, "x".into()).unwrap_err(),
        client.subscribe(CHANNEL, Delivery::Pull).unwrap_err(),
        client.create_channel(CHANNEL).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        names_both_once(&host, &error);
    }
}

#[test]
fn a_name_that_cannot_be_one_is_told_once() {
    let server = Server::start();
    let client = Client::open(&server.host(), fast()).unwrap();
    let name = "the\nchannel";
    for error in [
        client.publish(name, MessageKind::Text, b"x").unwrap_err(),
        client.subscribe(name, Delivery::Pull).unwrap_err(),
        create_channel(&server.host(), name).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidName);
        assert_eq!(error.to_string().matches("the\\nchannel").count(), 1, "{error}");
    }
}

#[test]
fn a_close_for_size_blames_the_largest_message_on_its_way() {
    let server = Server::start();
    server.create(CHANNEL);
    server.state().mute = true;
    let client = Client::open(&server.host(), fast()).unwrap();
    client.wait_connected(LONG).unwrap();
    let (small, large) = std::thread::scope(|scope| {
        let small = scope.spawn(|| client.publish(CHANNEL, MessageKind::Binary, &[0; 10]));
        let large = scope.spawn(|| client.publish(CHANNEL, MessageKind::Binary, &[0; 1000]));
        server.wait(|state| (state.asked.len() == 2).then_some(()));
        server.sockets(1)[0].close(1009, "message over the limit");
        (small.join().unwrap().unwrap_err(), large.join().unwrap().unwrap_err())
    });
    assert_eq!(large.kind(), ErrorKind::TooLarge, "{large}");
    assert_eq!(small.kind(), ErrorKind::Connect, "{small}");
    names_both_once(&server.host(), &large);
}
