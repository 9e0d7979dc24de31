//! Many publishers, many subscribers, one order.

use std::hash::{DefaultHasher, Hash, Hasher};

use qyun::wire::MessageKind;
use qyun::wire::stream::{self, Op, Packet};

use crate::kit::{alone, open, stream_packet, until_deserted};
use crate::raw::server;
use crate::swarm::{Sink, Swarm};

const PUBLISHERS: u32 = 64;
const MESSAGES: u32 = 150;
const SUBSCRIBERS: usize = 1000;
const TOTAL: u64 = (PUBLISHERS * MESSAGES) as u64;

/// What a subscriber saw: how much, in which order, and that no publisher's messages were lost,
/// doubled or turned around.
struct Ledger {
    /// Speaks the stream protocol, which tells the offsets as well.
    is_stream: bool,
    subscribed: bool,
    seen: u64,
    chain: u64,
    next: Vec<u32>,
}

impl Ledger {
    fn new(is_stream: bool) -> Self {
        let next = vec![0; PUBLISHERS as usize];
        Self { is_stream, subscribed: !is_stream, seen: 0, chain: 0, next }
    }

    fn take(&mut self, payload: &[u8]) {
        let (publisher, number) = fields(payload);
        let next = &mut self.next[publisher as usize];
        assert_eq!(number, *next, "of publisher {publisher}");
        *next += 1;
        self.seen += 1;
        self.chain = chained(self.chain, payload);
    }
}

impl Sink for Ledger {
    fn message(&mut self, opcode: u8, payload: &[u8]) {
        if !self.is_stream {
            assert_eq!(opcode, 2);
            return self.take(payload);
        }
        match stream::decode_packet(payload) {
            Some(Packet::Reply(reply)) => {
                assert_eq!((reply.status, reply.position.offset), (0, 0), "{}", reply.error);
                self.subscribed = true;
            }
            Some(Packet::Message { offset, payload, .. }) => {
                assert_eq!(offset, self.seen + 1);
                self.take(payload);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn message(publisher: u32, number: u32) -> Vec<u8> {
    [publisher.to_le_bytes(), number.to_le_bytes()].concat()
}

fn fields(payload: &[u8]) -> (u32, u32) {
    let word = |at: usize| u32::from_le_bytes(payload[at..at + 4].try_into().unwrap());
    assert_eq!(payload.len(), 8);
    (word(0), word(4))
}

fn chained(chain: u64, payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (chain, payload).hash(&mut hasher);
    hasher.finish()
}

fn one_order(shards: &str) {
    // Without pings: on a busy machine one thread that reads for all may be late with its pongs.
    let server = server(&[("shards", shards), ("ping_interval_ms", "0")]);
    let service = server.service();
    service.create_channel("test").unwrap();
    let mut swarm = Swarm::new();
    for n in 0..SUBSCRIBERS {
        let is_stream = n % 10 == 0;
        let path = if is_stream { stream::PATH } else { "/channel/listen/test" };
        let (mut socket, ahead) = open(server.local_addr(), path);
        if is_stream {
            use std::io::Write;
            socket.write_all(&stream_packet(1, "test", Op::Subscribe)).unwrap();
        }
        swarm.join((socket, ahead), Ledger::new(is_stream));
    }
    swarm.until("all are subscribed", |all| all.iter().all(|member| member.sink.subscribed));
    assert_eq!(service.channel("test").unwrap().subscribers, SUBSCRIBERS as u64);

    // The order that the publishers were told.
    let mut order = vec![None; TOTAL as usize];
    std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                scope.spawn(move || {
                    let place = |number| {
                        let message = message(publisher, number);
                        let published = service.publish("test", MessageKind::Binary, &message);
                        (published.unwrap().position.offset, message)
                    };
                    (0..MESSAGES).map(place).collect::<Vec<_>>()
                })
            })
            .collect();
        swarm.until("all have everything", |all| all.iter().all(|one| one.sink.seen >= TOTAL));
        for publisher in publishers {
            for (offset, message) in publisher.join().unwrap() {
                assert_eq!(order[offset as usize - 1].replace(message), None, "offset {offset}");
            }
        }
    });
    let told = order.iter().flatten().fold(0, |chain, message| chained(chain, message));
    for member in &swarm.members {
        assert_eq!((member.sink.seen, member.sink.chain), (TOTAL, told));
        assert!(!member.ended && member.close_code.is_none(), "{:?}", member.close_code);
    }
    let counters = service.counters();
    assert_eq!((counters.published, counters.closed_slow), (TOTAL, 0));
    assert_eq!(counters.delivered, TOTAL * SUBSCRIBERS as u64);
    drop(swarm);
    until_deserted(&server, SUBSCRIBERS as u64);
}

#[test]
fn sixty_four_publishers_and_a_thousand_subscribers_have_one_order() {
    let _alone = alone();
    one_order("1");
    one_order("4");
}
