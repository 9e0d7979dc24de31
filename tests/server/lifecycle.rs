//! Starting, stopping, and what is left afterwards.

use std::time::{Duration, Instant};

use qyun::ErrorKind;
use qyun::server::{Server, ServerOptions};
use qyun::wire::MessageKind;

use crate::kit::{PATIENCE, Raw, server};

#[test]
fn stopping_delivers_what_is_queued_and_says_goodbye() {
    let server = server(&[]);
    server.service().create_channel("test").unwrap();
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let mut idle = Raw::connect(server.local_addr());
    idle.get("/health");
    for _ in 0..1000 {
        server.service().publish("test", MessageKind::Text, &[b'x'; 1000]).unwrap();
    }
    let stopping = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| server.stop(PATIENCE));
        for _ in 0..1000 {
            assert_eq!(listener.message().payload.len(), 1000);
        }
        assert_eq!(listener.message().close_code(), Some(1012));
        listener.send_frame(0x88, b"\x03\xe9");
        assert!(listener.is_closed());
        assert!(idle.is_closed());
        stopping.join().unwrap()
    });
    assert!(stopping, "all went by themselves");
    let error = server.service().publish("test", MessageKind::Text, b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(server.service().counters().connections, 0);
    assert_eq!(server.service().channel("test").unwrap().subscribers, 0);
}

/// The moment between a round's delivery and its look at the stop is short: many tries, with a shard
/// that never rests, find it.
#[test]
fn a_message_published_right_before_the_stop_is_delivered() {
    for _ in 0..200 {
        let server = server(&[("shards", "1")]);
        server.service().create_channel("test").unwrap();
        let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/test");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while server.service().publish("test", MessageKind::Text, b"x").is_ok() {
                    std::thread::yield_now();
                }
            });
            listener.message();
            server.service().publish("test", MessageKind::Text, b"last").unwrap();
            server.stop(Duration::ZERO);
        });
        let frames = std::iter::from_fn(|| Some(listener.message()));
        let mut frames = frames.take_while(|frame| frame.close_code().is_none());
        assert!(
            frames.any(|frame| frame.payload == b"last"),
            "the last message before the stop is lost"
        );
    }
}

#[test]
fn a_client_that_will_not_go_is_cut_when_the_drain_is_over() {
    let server = server(&[]);
    server.service().create_channel("test").unwrap();
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let start = Instant::now();
    assert!(!server.stop(Duration::from_millis(50)));
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(listener.message().close_code(), Some(1012));
    assert!(listener.is_closed());
}

#[test]
fn stopping_is_the_same_from_many_threads_and_again() {
    let server = server(&[("shards", "4")]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(server.stop(PATIENCE)));
        }
    });
    assert!(server.stop(PATIENCE));
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let first = server(&[]);
    let mut options = ServerOptions::default();
    options.set("listen", &first.local_addr().to_string()).unwrap();
    let error = Server::start(options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddressInUse);
    assert!(error.to_string().contains(&first.local_addr().to_string()), "{error}");
}

#[test]
fn servers_in_one_process_are_strangers() {
    let (one, two) = (server(&[]), server(&[]));
    one.service().create_channel("test").unwrap();
    assert!(two.service().channel("test").is_err());
    let mut raw = Raw::connect(two.local_addr());
    assert_eq!(raw.get("/channel/send/test/x").status, 404);
}

#[test]
fn publishing_from_the_process_needs_no_connection_and_counts() {
    let server = server(&[]);
    let service = server.service();
    service.create_channel("test").unwrap();
    let error =
        |name: &str, kind, data: &[u8]| service.publish(name, kind, data).unwrap_err().kind();
    assert_eq!(error("none", MessageKind::Text, b""), ErrorKind::ChannelNotFound);
    assert_eq!(error("test", MessageKind::Text, b"\xff"), ErrorKind::InvalidUtf8);
    assert_eq!(error("test", MessageKind::Binary, &vec![0; (1 << 20) + 1]), ErrorKind::TooLarge);
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/test");
    let first = service.publish("test", MessageKind::Text, b"a").unwrap();
    let second = service.publish("test", MessageKind::Text, b"b").unwrap();
    assert_eq!((first.position.offset, second.position.offset), (1, 2));
    assert_eq!(first.position.epoch, second.position.epoch);
    assert_eq!(second.subscribers, 1);
    listener.message();
    listener.message();
    crate::kit::until("both are counted", || service.counters().delivered == 2);
}
