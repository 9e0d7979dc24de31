//! A minute of everything at once.
//!
//! Two channels stay: each publisher numbers its messages, and each well-behaved listener checks
//! that it sees every publisher's numbers without a hole. Publishers keep within a window of what
//! the slowest of those listeners has read, so that none of them is ever too slow. Around them,
//! stream clients subscribe and leave, channels are created and deleted, and slow readers on a
//! channel of their own are closed.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use qyun::server::{Server, Service};
use qyun::wire::stream::{self, Op, Packet};
use qyun::wire::{MessageKind, close};

use crate::kit::{alone, open, stream_packet, until_deserted};
use crate::process;
use crate::raw::{Raw, masked, server};
use crate::swarm::{Sink, Swarm};

const STEADY: [&str; 2] = ["steady/青", "steady/云"];
const LISTENERS: usize = 200;
const PUBLISHERS: usize = 5;
const WINDOW: u64 = 1000;
const QUEUE: u64 = 512 << 10;
/// Memory may grow by this over what it is when the soak begins.
const BOUND: usize = 128 << 20;

/// How far publishers may be ahead of the slowest listener of a channel.
#[derive(Default)]
struct Window {
    /// Announced, read by all.
    state: Mutex<(u64, u64)>,
    moved: Condvar,
}

impl Window {
    /// Waits for room and announces `count` messages.
    fn enter(&self, count: u64) {
        let mut state = self.state.lock().unwrap();
        while state.0 + count > state.1 + WINDOW {
            state = self.moved.wait(state).unwrap();
        }
        state.0 += count;
    }

    fn advance(&self, read: u64) {
        let mut state = self.state.lock().unwrap();
        if read > state.1 {
            state.1 = read;
            self.moved.notify_all();
        }
    }

    fn announced(&self) -> u64 {
        self.state.lock().unwrap().0
    }
}

/// A well-behaved listener.
struct Listener {
    channel: usize,
    seen: u64,
    next: [u64; PUBLISHERS],
}

impl Sink for Listener {
    fn message(&mut self, _: u8, payload: &[u8]) {
        let text = std::str::from_utf8(payload).unwrap();
        let mut fields = text.split(' ');
        let mut field = || fields.next().unwrap().parse::<u64>().unwrap();
        let (publisher, number) = (field() as usize, field());
        assert_eq!(number, self.next[publisher], "of publisher {publisher}");
        self.next[publisher] += 1;
        self.seen += 1;
    }
}

/// Whatever comes.
struct Ignored;

impl Sink for Ignored {
    fn message(&mut self, _: u8, _: &[u8]) {}
}

/// What all threads of the soak share.
struct Soak<'a> {
    server: &'a Server,
    over: AtomicBool,
    windows: [Window; 2],
    /// Publications by anybody: what the server's count must be in the end.
    published: AtomicU64,
}

impl Soak<'_> {
    fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    fn service(&self) -> &Service {
        self.server.service()
    }

    fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Publishes numbered messages to both steady channels, `batch` at a time, until the end.
    fn publish(&self, publisher: usize, batch: u64, mut send: impl FnMut(usize, &[String])) {
        let mut random = fastrand::Rng::with_seed(publisher as u64);
        let mut counts = [0; STEADY.len()];
        while !self.is_over() {
            for (channel, next) in counts.iter_mut().enumerate() {
                self.windows[channel].enter(batch);
                let message = |number| {
                    let size = random.usize(..300);
                    format!("{publisher} {number} {}", "云".repeat(size / 3))
                };
                let messages: Vec<_> = (*next..*next + batch).map(message).collect();
                *next += batch;
                send(channel, &messages);
                self.published.fetch_add(batch, SeqCst);
            }
        }
    }

    fn publish_in_process(&self, publisher: usize) {
        self.publish(publisher, 1, |channel, messages| {
            let text = messages[0].as_bytes();
            self.service().publish(STEADY[channel], MessageKind::Text, text).unwrap();
        });
    }

    /// Pipelined: GETs with the message in the path, and every fourth a POST.
    fn publish_by_http(&self, publisher: usize) {
        let mut raw = Raw::connect(self.address());
        self.publish(publisher, 8, |channel, messages| {
            let name = encoded(STEADY[channel]);
            let mut requests = Vec::new();
            for (n, text) in messages.iter().enumerate() {
                if n % 4 == 3 {
                    let (path, length) = (format!("/channel/send/{name}"), text.len());
                    write!(
                        requests,
                        "POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n{text}"
                    )
                    .unwrap();
                } else {
                    let path = format!("/channel/send/{name}/{}", encoded(text));
                    write!(requests, "GET {path} HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
                }
            }
            raw.send(requests);
            for _ in messages {
                let answer = raw.answer();
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        });
    }

    /// A WebSocket sender for each channel.
    fn publish_by_websocket(&self, publisher: usize) {
        let path = |channel| format!("/channel/send/{}", encoded(STEADY[channel]));
        let mut senders = [0, 1].map(|channel| Raw::websocket(self.address(), &path(channel)));
        self.publish(publisher, 4, |channel, messages| {
            let frames: Vec<u8> =
                messages.iter().flat_map(|text| masked(0x81, text.as_bytes())).collect();
            senders[channel].send(frames);
        });
        for sender in &mut senders {
            // What was sent before the Close is published when the Close is answered.
            sender.send_frame(0x88, b"\x03\xe8");
            while sender.message().close_code().is_none() {}
        }
    }

    /// Comes to the steady channels, checks the offsets for a while, and goes.
    fn wander(&self, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        while !self.is_over() {
            let mut raw = Raw::websocket(self.address(), stream::PATH);
            for _ in 0..random.usize(1..4) {
                let channel = random.choice(STEADY).unwrap_or(STEADY[0]);
                raw.send(stream_packet(1, channel, Op::Subscribe));
                let mut next = 0;
                let mut left = random.u64(..200);
                loop {
                    let frame = raw.message();
                    match stream::decode_packet(&frame.payload) {
                        Some(Packet::Reply(reply)) if reply.id == 1 => {
                            assert_eq!(reply.status, 0, "{}", reply.error);
                            next = reply.position.offset + 1;
                        }
                        Some(Packet::Reply(reply)) => {
                            assert_eq!(reply.status, 0, "{}", reply.error);
                            break;
                        }
                        Some(Packet::Message { offset, .. }) => {
                            assert_eq!(offset, next, "on {channel}");
                            next += 1;
                        }
                        other => panic!("{other:?}"),
                    }
                    // The count goes on below zero: one request is enough.
                    if left == 0 {
                        raw.send(stream_packet(2, channel, Op::Unsubscribe));
                    }
                    left = left.wrapping_sub(1);
                }
            }
        }
    }

    /// Channels that live for a moment: their listener gets all of it, and then is told.
    fn create_and_delete(&self) {
        let mut control = Raw::connect(self.address());
        for n in (0..u64::MAX).take_while(|_| !self.is_over()) {
            let name = format!("moment-{n}");
            assert_eq!(control.get(&format!("/channel/create/{name}")).status, 200);
            let mut listener = Raw::websocket(self.address(), &format!("/channel/listen/{name}"));
            for number in 0..10 {
                let path = format!("/channel/send/{name}/{number}");
                assert_eq!(control.get(&path).status, 200);
                self.published.fetch_add(1, SeqCst);
            }
            let path = format!("/channel/{name}");
            assert_eq!(control.request("DELETE", &path, "", b"").status, 200);
            for number in 0..10 {
                assert_eq!(listener.message().payload, number.to_string().as_bytes());
            }
            assert_eq!(listener.message().close_code(), Some(close::CHANNEL_DELETED));
        }
    }

    /// Readers that do not read, each until it is closed for that. Returns how many.
    fn stand_still(&self) -> u64 {
        let message = vec![0; 16 << 10];
        let mut closed = 0;
        while !self.is_over() {
            let still = open(self.address(), "/channel/listen/flood");
            while self.service().counters().closed_slow == closed {
                self.service().publish("flood", MessageKind::Binary, &message).unwrap();
                self.published.fetch_add(1, SeqCst);
            }
            closed += 1;
            assert_eq!(self.service().counters().closed_slow, closed);
            // It reads on up to the Close, which is the last thing.
            let mut late = Swarm::new();
            late.join(still, Ignored);
            late.until("the end", |all| all[0].ended);
            assert_eq!(late.members[0].close_code, Some(close::TOO_SLOW));
        }
        closed
    }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Reads for the listeners and checks the bounds, until every thread of `run` is done.
fn listen(soak: &Soak<'_>, swarm: &mut Swarm<Listener>, seconds: u64) {
    let start = Instant::now();
    let before = process::memory();
    let mut checked = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        read_on(soak, swarm);
        if checked.elapsed() > Duration::from_millis(250) {
            checked = Instant::now();
            let grown = process::memory().saturating_sub(before);
            assert!(grown < BOUND, "memory grew by {grown} bytes");
            let counters = soak.service().counters();
            // Nobody's queue exceeds its bound by more than one batch.
            assert!(counters.queued_bytes <= counters.connections.max(1) * (QUEUE + (256 << 10)));
            assert!(counters.subscribers >= LISTENERS as u64, "{counters:?}");
        }
    }
    soak.over.store(true, SeqCst);
}

fn read_on(soak: &Soak<'_>, swarm: &mut Swarm<Listener>) {
    swarm.turn(Duration::from_millis(10));
    for (channel, window) in soak.windows.iter().enumerate() {
        let of_channel = swarm.members.iter().filter(|one| one.sink.channel == channel);
        window.advance(of_channel.map(|one| one.sink.seen).min().unwrap_or(0));
    }
}

/// Reads until every listener has all that was announced, and no more.
fn all_read(soak: &Soak<'_>, swarm: &mut Swarm<Listener>) {
    let announced = [0, 1].map(|channel: usize| soak.windows[channel].announced());
    swarm.until("all have everything", |all| {
        all.iter().all(|one| one.sink.seen == announced[one.sink.channel])
    });
    for (window, announced) in soak.windows.iter().zip(announced) {
        window.advance(announced);
    }
}

/// Lets all threads end, so that a failure of the one that reads is told instead of waited for.
struct End<'a>(&'a Soak<'a>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.over.store(true, SeqCst);
            self.0.windows.iter().for_each(|window| window.advance(u64::MAX / 2));
        }
    }
}

fn run(soak: &Soak<'_>, swarm: &mut Swarm<Listener>, seconds: u64) {
    std::thread::scope(|scope| {
        let _end = End(soak);
        let publishers = [
            scope.spawn(|| soak.publish_in_process(0)),
            scope.spawn(|| soak.publish_by_http(1)),
            scope.spawn(|| soak.publish_by_http(2)),
            scope.spawn(|| soak.publish_by_websocket(3)),
            scope.spawn(|| soak.publish_by_websocket(4)),
        ];
        let wanderers = [7, 8, 9].map(|seed| scope.spawn(move || soak.wander(seed)));
        let channels = scope.spawn(|| soak.create_and_delete());
        let still = scope.spawn(|| soak.stand_still());
        listen(soak, swarm, seconds);

        while !publishers.iter().all(|publisher| publisher.is_finished()) {
            read_on(soak, swarm);
        }
        // The wanderers hear something until they have left.
        while !wanderers.iter().all(|wanderer| wanderer.is_finished()) {
            for (channel, name) in STEADY.iter().enumerate() {
                all_read(soak, swarm);
                let next = swarm.members.iter().find(|one| one.sink.channel == channel);
                let text = format!("0 {}", next.map_or(0, |one| one.sink.next[0]));
                soak.windows[channel].enter(1);
                soak.service().publish(name, MessageKind::Text, text.as_bytes()).unwrap();
                soak.published.fetch_add(1, SeqCst);
            }
        }
        all_read(soak, swarm);
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        wanderers.into_iter().for_each(|wanderer| wanderer.join().unwrap());
        channels.join().unwrap();
        let closed = still.join().unwrap();
        assert!(closed > 0, "no reader was ever too slow");
        assert_eq!(soak.service().counters().closed_slow, closed);
    });
}

#[test]
fn a_minute_of_everything() {
    let _alone = alone();
    let seconds = std::env::var("QYUN_SOAK_SECONDS").map_or(60, |text| text.parse().unwrap());
    // Without pings: on a busy machine one thread that reads for all may be late with its pongs.
    let queue = QUEUE.to_string();
    let server = server(&[("shards", "2"), ("queue_bytes", &queue), ("ping_interval_ms", "0")]);
    for name in STEADY.iter().chain(&["flood"]) {
        server.service().create_channel(name).unwrap();
    }
    let descriptors = process::descriptors();
    let mut swarm = Swarm::new();
    for n in 0..LISTENERS {
        let channel = n % STEADY.len();
        let path = format!("/channel/listen/{}", encoded(STEADY[channel]));
        let sink = Listener { channel, seen: 0, next: [0; PUBLISHERS] };
        swarm.join(open(server.local_addr(), &path), sink);
    }
    let soak = Soak {
        server: &server,
        over: AtomicBool::new(false),
        windows: Default::default(),
        published: AtomicU64::new(0),
    };
    run(&soak, &mut swarm, seconds);

    let announced = [0, 1].map(|channel: usize| soak.windows[channel].announced());
    for member in &swarm.members {
        assert_eq!(member.sink.seen, announced[member.sink.channel]);
        assert!(!member.ended && member.close_code.is_none());
    }
    assert_eq!(server.service().counters().published, soak.published.load(SeqCst));
    for (name, announced) in STEADY.iter().zip(announced) {
        assert_eq!(server.service().channel(name).unwrap().offset, announced);
    }
    drop(swarm);
    let total = server.service().counters().connections_total;
    until_deserted(&server, total);
    assert_eq!(server.service().counters().channels, 3);
    assert_eq!(process::descriptors(), descriptors);
}
