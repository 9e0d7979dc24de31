//! One reader stands still among a thousand.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use qyun::wire::{MessageKind, close};

use crate::kit::{alone, open, until_deserted, upgraded};
use crate::process;
use crate::raw::{PATIENCE, server, until};
use crate::swarm::{Sink, Swarm};

const QUEUE: u64 = 256 << 10;
/// The queue may exceed its bound by the buffer that came when it was empty.
const BATCH: u64 = 256 << 10;
const WINDOW: u64 = 64;
const SIZE: usize = 1024;
/// What the system may keep for a socket, and more: by then it must have been found out.
const PLENTY: u64 = 64 << 20;

/// Counts numbered messages, which must come in order.
#[derive(Default)]
struct Numbers(u64);

impl Sink for Numbers {
    fn message(&mut self, _: u8, payload: &[u8]) {
        assert_eq!(payload.len(), SIZE);
        assert_eq!(payload.first_chunk().copied().map(u64::from_le_bytes), Some(self.0));
        self.0 += 1;
    }
}

fn message(number: u64) -> Vec<u8> {
    let mut message = vec![0; SIZE];
    message[..8].copy_from_slice(&number.to_le_bytes());
    message
}

fn stalled(address: std::net::SocketAddr) -> (TcpStream, Vec<u8>) {
    let kind = socket2::Type::STREAM;
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), kind, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let ahead = upgraded(&mut stream, "/channel/listen/test");
    (stream, ahead)
}

#[test]
fn one_stalled_reader_among_a_thousand_is_closed_and_nobody_else_notices() {
    let _alone = alone();
    let queue = QUEUE.to_string();
    let server = server(&[("shards", "2"), ("queue_bytes", &queue), ("ping_interval_ms", "0")]);
    let service = server.service();
    service.create_channel("test").unwrap();
    let mut swarm = Swarm::new();
    for _ in 0..999 {
        swarm.join(open(server.local_addr(), "/channel/listen/test"), Numbers::default());
    }
    let still = stalled(server.local_addr());
    assert_eq!(service.channel("test").unwrap().subscribers, 1000);

    let before = process::memory();
    let (over, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut published = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                most.fetch_max(process::memory(), SeqCst);
                // At any time: the stalled one's queue, and a window for each of the others.
                let queued = service.counters().queued_bytes;
                let others = 999 * WINDOW * (SIZE as u64 + 4);
                assert!(queued <= QUEUE + BATCH + others, "{queued} bytes are queued");
                std::thread::park_timeout(std::time::Duration::from_millis(1));
            }
        });
        let mut after = 0;
        while after < 20 {
            for _ in 0..WINDOW {
                service.publish("test", MessageKind::Binary, &message(published)).unwrap();
                published += 1;
            }
            swarm.until("the others have it", |all| all.iter().all(|one| one.sink.0 == published));
            // Nothing waits for the others now: what is queued is for the stalled one.
            until("its queue keeps to the bound", || {
                service.counters().queued_bytes <= QUEUE + BATCH
            });
            assert!(published * SIZE as u64 <= PLENTY, "the stalled reader is never closed");
            after += service.counters().closed_slow;
        }
        over.store(true, SeqCst);
    });
    assert_eq!(service.counters().closed_slow, 1);
    assert_eq!(service.channel("test").unwrap().subscribers, 999);
    let grown = most.load(SeqCst).saturating_sub(before);
    assert!(grown < 64 << 20, "memory grew by {grown} bytes");

    // It reads on: what it got has no hole, and then it is told why there is no more.
    let mut late = Swarm::new();
    late.join(still, Numbers::default());
    late.until("the end", |all| all[0].ended);
    assert_eq!(late.members[0].close_code, Some(close::TOO_SLOW));
    let got = late.members[0].sink.0;
    assert!(got > 0 && got < published, "{got} of {published}");

    assert!(swarm.members.iter().all(|one| !one.ended && one.close_code.is_none()));
    drop((swarm, late));
    until_deserted(&server, 1000);
}
