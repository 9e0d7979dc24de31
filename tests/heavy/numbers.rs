//! Numbers, sent to a hundred channels in turn at their pace, and heard by many, while something
//! happens to the server: each number is answered once and heard once, in order.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::kit::open;
use crate::raw::{PATIENCE, Raw};
use crate::swarm::{Sink, Swarm};

pub const CHANNELS: usize = 100;
const TICK: Duration = Duration::from_millis(10);

/// How much of it.
#[derive(Clone, Copy)]
pub struct Load {
    pub listeners: usize,
    /// Messages a second.
    pub rate: usize,
    pub seconds: usize,
    /// How often it is told that a further part of them is sent.
    pub milestones: usize,
}

impl Load {
    pub fn total(self) -> usize {
        self.rate * self.seconds
    }

    /// Creates the channels and puts the load on the server at `address`, while `meanwhile` waits for
    /// milestones and does what it does.
    pub fn put_on(self, address: SocketAddr, meanwhile: impl FnOnce(&Receiver<()>) + Send) {
        let mut raw = Raw::connect(address);
        for channel in 0..CHANNELS {
            assert_eq!(raw.get(&format!("/channel/create/c{channel}")).status, 200);
        }
        let mut swarm = Swarm::new();
        for n in 0..self.listeners {
            let next = n % CHANNELS;
            swarm.join(open(address, &format!("/channel/listen/c{next}")), Numbers { next });
        }
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let answers = stream.try_clone().unwrap();
        let (send, milestones) = channel();
        std::thread::scope(|scope| {
            let others = [
                scope.spawn(move || self.publish(stream, &send)),
                scope.spawn(move || count_answers(answers, self.total())),
                scope.spawn(move || meanwhile(&milestones)),
            ];
            swarm.until("all is sent, and all that is to happen has", |_| {
                others.iter().all(|other| other.is_finished())
            });
            others.into_iter().for_each(|other| other.join().unwrap());
        });
        let total = self.total();
        swarm.until("everybody has everything", |all| all.iter().all(|one| one.sink.next >= total));
        // Whatever else had come would have failed in the sink.
        assert!(swarm.members.iter().all(|one| !one.ended && one.close_code.is_none()));
        // The connection from before all of it is still one.
        let metrics = raw.get("/metrics").body;
        let subscribers = format!("\nqyun_subscribers {}\n", self.listeners);
        assert!(metrics.contains(&subscribers), "{metrics}");
    }

    /// Sends all numbers, pipelined over one connection.
    fn publish(self, mut stream: TcpStream, milestones: &Sender<()>) {
        let (total, start) = (self.total(), Instant::now());
        let ticks = self.seconds * 1000 / TICK.as_millis() as usize;
        for tick in 0..ticks {
            let due = start + TICK * tick as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let mut requests = String::new();
            for number in total * tick / ticks..total * (tick + 1) / ticks {
                let channel = number % CHANNELS;
                requests +=
                    &format!("GET /channel/send/c{channel}/{number} HTTP/1.1\r\nHost: t\r\n\r\n");
                if number % (total / (self.milestones + 1)) == 0 && number > 0 {
                    // After the last milestone nobody listens.
                    let _ = milestones.send(());
                }
            }
            stream.write_all(requests.as_bytes()).unwrap();
        }
        println!("{total} messages sent in {:?}", start.elapsed());
    }
}

/// What a listener must get: every hundredth number, each once, in order.
struct Numbers {
    next: usize,
}

impl Sink for Numbers {
    fn message(&mut self, _: u8, payload: &[u8]) {
        let number: usize = std::str::from_utf8(payload).unwrap().parse().unwrap();
        assert_eq!(number, self.next);
        self.next += CHANNELS;
    }
}

/// Reads the answers to them: all 200, each once.
fn count_answers(mut stream: TcpStream, total: usize) {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";
    let (mut seen, mut ahead, mut buffer) = (0, Vec::new(), vec![0; 64 << 10]);
    while seen < total {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "closed after {seen} answers");
        ahead.extend_from_slice(&buffer[..n]);
        // An answer is whole with the brace that ends its body.
        while let Some(end) = ahead.iter().position(|byte| *byte == b'}') {
            assert!(ahead.starts_with(OK), "{}", String::from_utf8_lossy(&ahead[..end]));
            ahead.drain(..=end);
            seen += 1;
        }
    }
    assert!(ahead.is_empty(), "one answer too many");
}
