//! One reader stands still among a thousand, under each overload policy: the others get everything in
//! order, what waits for the one keeps to its bound, and every message is accounted for.

use std::net::TcpStream;

use qyun::hub::{ChannelConfig, Deliveries};
use qyun::server::Service;
use qyun::wire::MessageKind;

use crate::kit::{alone, open, until_deserted, upgraded};
use crate::raw::{PATIENCE, server, until};
use crate::swarm::{Sink, Swarm};

const OTHERS: u64 = 999;
const QUEUE: u64 = 256 << 10;
const WINDOW: u64 = 32;
const SIZE: usize = 1024;
/// What the system may keep for a socket, and more.
const PLENTY: u64 = 64 << 20;

/// The numbers of messages, which must rise.
#[derive(Default)]
struct Numbers {
    count: u64,
    next: u64,
}

impl Sink for Numbers {
    fn message(&mut self, _: u8, payload: &[u8]) {
        assert_eq!(payload.len(), SIZE);
        let number = payload.first_chunk().copied().map(u64::from_le_bytes).unwrap();
        assert!(number >= self.next, "{number} after {}", self.next);
        self.count += 1;
        self.next = number + 1;
    }
}

fn message(number: u64) -> Vec<u8> {
    let mut message = vec![0; SIZE];
    message[..8].copy_from_slice(&number.to_le_bytes());
    message
}

fn deliveries(service: &Service) -> Deliveries {
    service.channel("test").unwrap().deliveries
}

/// Runs a policy until `enough` became of the stalled reader's messages, then lets it read; gives how
/// many messages were published, how many it got, and the end of the account.
fn stalled_among_a_thousand(
    options: &str,
    enough: impl Fn(&Deliveries) -> bool,
) -> (u64, u64, Deliveries) {
    let _alone = alone();
    let server =
        server(&[("shards", "2"), ("queue_bytes", &QUEUE.to_string()), ("ping_interval_ms", "0")]);
    let service = server.service();
    let mut config = ChannelConfig::default();
    config.set_all(options).unwrap();
    service.create_channel_with("test", config).unwrap();
    let mut swarm = Swarm::new();
    for _ in 0..OTHERS {
        swarm.join(open(server.local_addr(), "/channel/listen/test"), Numbers::default());
    }
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    socket2::SockRef::from(&stream).set_recv_buffer_size(64 << 10).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let ahead = upgraded(&mut stream, "/channel/listen/test");

    let mut published = 0;
    loop {
        for _ in 0..WINDOW {
            service.publish("test", MessageKind::Binary, &message(published)).unwrap();
            published += 1;
        }
        swarm.until("the others have it", |all| all.iter().all(|one| one.sink.count == published));
        // Nothing waits for the others now: what does is the stalled one's.
        until("what waits keeps to the bound", || service.counters().queued_bytes <= QUEUE);
        assert!(deliveries(service).queued * (SIZE as u64) <= QUEUE + SIZE as u64);
        if enough(&deliveries(service)) {
            break;
        }
        assert!(published * (SIZE as u64) < PLENTY, "the reader is never behind");
    }
    let mut late = Swarm::new();
    late.join((stream, ahead), Numbers::default());
    late.until("nothing waits for it", |_| deliveries(service).queued == 0);
    let end = deliveries(service);
    assert!(end.adds_up(), "{end:?}");
    assert_eq!(service.counters().deliveries.due, end.due);
    late.until("it has read what was written", |all| {
        all[0].ended || all[0].sink.count + OTHERS * published == end.written
    });
    let got = late.members[0].sink.count;
    assert_eq!(end.written, OTHERS * published + got);
    assert!(swarm.members.iter().all(|one| !one.ended && one.close_code.is_none()));
    drop((swarm, late));
    until_deserted(&server, OTHERS + 1);
    (published, got, end)
}

#[test]
fn the_oldest_messages_of_one_stalled_reader_among_a_thousand_give_way() {
    let (published, got, end) =
        stalled_among_a_thousand("overload=drop_oldest", |all| all.dropped_oldest >= 1000);
    assert_eq!(end.dropped_oldest, published - got);
    assert_eq!((end.lost, end.dropped()), (0, end.dropped_oldest));
}

#[test]
fn the_newest_messages_for_one_stalled_reader_among_a_thousand_are_dropped() {
    let (published, got, end) =
        stalled_among_a_thousand("overload=drop_newest", |all| all.dropped_newest >= 1000);
    assert_eq!(end.dropped_newest, published - got);
    assert_eq!((end.lost, end.dropped()), (0, end.dropped_newest));
}

#[test]
fn one_stalled_reader_among_a_thousand_keeps_the_latest() {
    let (published, got, end) =
        stalled_among_a_thousand("overload=keep_latest", |all| all.conflated >= 1000);
    assert_eq!(end.conflated, published - got);
    assert_eq!((end.lost, end.dropped()), (0, end.conflated));
}

#[test]
fn one_stalled_reader_among_a_thousand_holds_the_channel_and_is_closed() {
    let (published, got, end) =
        stalled_among_a_thousand("overload=hold, hold_ms=200", |all| all.closed_slow == 1);
    // What was published behind its end was not due to it.
    assert_eq!(end.due - OTHERS * published, got + end.lost);
    assert!(end.lost > 0 && end.held > 0 && end.dropped() == 0, "{end:?}");
}
