//! The session dialect: publishing by JSON requests, pipelined, and subscribers that check every
//! notification. What anybody is sent is known to the byte; the first byte that differs ends the run.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::clock::{Clock, Usage};
use super::dial::dial;
use super::frame::{self, Parsed};
use super::latency::Latency;
use super::outbox::Outbox;
use super::payload::{self, Filling};
use super::plan::Plan;
use super::report::{Report, number};
use super::target::Target;
use crate::exit::{Exit, Failure};

/// Where the dialect is spoken by default.
const PATH: &str = "/ws";
const READ: usize = 256 << 10;

/// How far a connection has come.
enum Role {
    /// It has not been told its id.
    New { subscribes: bool },
    /// It has asked to subscribe.
    Subscribing,
    /// It waits for this message next.
    Subscriber { next: u64 },
    /// It publishes: the id of the next request, and when those in flight were sent.
    Publisher { next: u64, sent_at: VecDeque<u64> },
}

struct Client {
    stream: TcpStream,
    outbox: Outbox,
    /// What came and is not a whole frame yet.
    carry: Vec<u8>,
    role: Role,
}

/// A message that some subscriber still has to receive.
struct Expected {
    frame: Vec<u8>,
    missing: usize,
    sent_at: u64,
}

struct Session<'a> {
    plan: &'a Plan,
    channel: String,
    poll: Poll,
    clients: Vec<Client>,
    /// Connections that are not ready to begin.
    starting: usize,
    epoch: u64,
    /// The channel's offset before the first message.
    base: u64,
    expected: VecDeque<Expected>,
    /// The number of the first of them.
    oldest: u64,
    delivered: u64,
    answered: u64,
    latency: Latency,
    /// Latencies of what was sent before are not measured.
    from: u64,
    message: Vec<u8>,
}

/// Counts at one moment.
struct Mark {
    at: u64,
    delivered: u64,
    answered: u64,
    usage: Usage,
}

/// Runs it.
pub fn run(target: &Target, plan: &Plan, window: usize) -> Result<Report, Failure> {
    let mut session = Session::open(target, plan)?;
    session.prepare()?;
    let (from, to) = session.drive(window)?;
    Ok(session.report(window, &from, &to))
}

impl<'a> Session<'a> {
    fn open(target: &Target, plan: &'a Plan) -> Result<Self, Failure> {
        let poll = Poll::new()?;
        let all = plan.subscribers + plan.publishers;
        let mut clients = Vec::with_capacity(all);
        let path = |number| (number < all).then(|| PATH.to_owned());
        dial(target, plan.concurrency, plan.timeout, path, |mut one| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut one.stream, Token(clients.len()), interest)?;
            let role = Role::New { subscribes: clients.len() < plan.subscribers };
            let (stream, carry) = (one.stream, one.leftover);
            clients.push(Client { stream, outbox: Outbox::default(), carry, role });
            Ok(())
        })?;
        Ok(Self {
            plan,
            channel: target.channel(0),
            poll,
            clients,
            starting: all,
            epoch: 0,
            base: 0,
            expected: VecDeque::new(),
            oldest: 0,
            delivered: 0,
            answered: 0,
            latency: Latency::new()?,
            from: 0,
            message: vec![0; plan.size],
        })
    }

    /// Waits until every connection was greeted and every subscriber subscribes.
    fn prepare(&mut self) -> Result<(), Failure> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ];
        let (mut progress, mut before) = (Instant::now(), self.starting);
        for number in 0..self.clients.len() {
            self.take(number, 0)?;
        }
        while self.starting > 0 {
            self.wait(&mut events, &mut buffer, Duration::from_millis(100), None)?;
            if self.starting != before {
                (progress, before) = (Instant::now(), self.starting);
            }
            if progress.elapsed() > self.plan.timeout {
                let text = format!("{before} sessions made no progress");
                return Err(Failure::new(Exit::Timeout, text));
            }
        }
        Ok(())
    }

    fn drive(&mut self, window: usize) -> Result<(Mark, Mark), Failure> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ];
        let mut clock = Clock::start(self.plan);
        self.from = clock.from;
        let mut from = None;
        let mut progress = (0, 0);
        loop {
            let now = clock.now();
            if from.is_none() && now >= clock.from {
                from = Some(self.mark(now)?);
            }
            if now >= clock.to {
                let to = self.mark(now)?;
                return Ok((from.map_or_else(|| self.mark(now), Ok)?, to));
            }
            let done = self.delivered + self.answered;
            if done != progress.0 {
                progress = (done, now);
            } else if u128::from(now - progress.1) > self.plan.timeout.as_nanos() {
                let text = format!("nothing came within {:?}", self.plan.timeout);
                return Err(Failure::new(Exit::Timeout, text));
            }
            let answered = self.answered;
            clock.tick(now, || {
                format!("{} publishes/s", number(answered as f64 * 1e9 / now as f64))
            });
            self.publish(window, now)?;
            let patience = if self.plan.spin { Duration::ZERO } else { clock.patience(now) };
            self.wait(&mut events, &mut buffer, patience, Some(&clock))?;
        }
    }

    /// Sends what the window has room for: of messages that some subscriber misses, and on each
    /// connection of requests that are not answered.
    fn publish(&mut self, window: usize, now: u64) -> Result<(), Failure> {
        let subscribers = self.plan.subscribers;
        for client in &mut self.clients[subscribers..] {
            let Role::Publisher { next, sent_at } = &mut client.role else { continue };
            while sent_at.len() < window && self.expected.len() < window {
                payload::write(&mut self.message, 0, *next, Filling::Letter);
                let text = std::str::from_utf8(&self.message).unwrap_or_default();
                let channel = &self.channel;
                let request = format!(
                    r#"{{"id":{next},"type":"request","action":"publish","payload":{{"channel":"{channel}","message":"{text}"}}}}"#
                );
                let mask = fastrand::u32(..).to_ne_bytes();
                let tail = client.outbox.tail();
                frame::append_masked(tail, frame::TEXT, request.as_bytes(), mask);
                if subscribers > 0 {
                    let (epoch, offset) = (self.epoch, self.base + *next + 1);
                    let told = format!(
                        r#"{{"type":"notification","data":{{"event":"message","channel":"{channel}","message":"{text}","epoch":{epoch},"offset":{offset}}}}}"#
                    );
                    let header = frame::header_len(told.len());
                    let mut frame = vec![0; header];
                    frame::write_header(&mut frame, frame::TEXT, told.len());
                    frame.extend_from_slice(told.as_bytes());
                    self.expected.push_back(Expected { frame, missing: subscribers, sent_at: now });
                }
                sent_at.push_back(now);
                *next += 1;
            }
            client.flush()?;
        }
        Ok(())
    }

    /// Polls once and reads what came.
    fn wait(
        &mut self,
        events: &mut Events,
        buffer: &mut [u8],
        patience: Duration,
        clock: Option<&Clock>,
    ) -> Result<(), Failure> {
        match self.poll.poll(events, Some(patience)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in events.iter() {
            let number = event.token().0;
            let Some(client) = self.clients.get_mut(number) else { continue };
            loop {
                match client.stream.read(buffer) {
                    Ok(0) => {
                        let text = format!("the server closed session {number}");
                        return Err(Failure::failed(text));
                    }
                    Ok(read) => {
                        client.carry.extend_from_slice(&buffer[..read]);
                        // Edge-triggered: a short read has emptied the socket.
                        if read < buffer.len() {
                            break;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        return Err(Failure::failed(format!("session {number}: {error}")));
                    }
                }
            }
            self.take(number, clock.map_or(0, Clock::now))?;
            self.clients[number].flush()?;
        }
        Ok(())
    }

    /// Judges the whole frames that a connection has.
    fn take(&mut self, number: usize, now: u64) -> Result<(), Failure> {
        let mut carry = std::mem::take(&mut self.clients[number].carry);
        let mut at = 0;
        loop {
            if let Role::Subscriber { next } = &mut self.clients[number].role
                && let Some(expected) = self.expected.get_mut((*next - self.oldest) as usize)
                && carry[at..].starts_with(&expected.frame)
            {
                at += expected.frame.len();
                expected.missing -= 1;
                *next += 1;
                self.delivered += 1;
                continue;
            }
            let (text, total) = match frame::parse(&carry[at..]) {
                Parsed::Partial => break,
                Parsed::Frame { first: frame::TEXT, payload, total } => {
                    (String::from_utf8_lossy(payload), total)
                }
                Parsed::Frame { first: frame::PING, payload, total } => {
                    let mask = fastrand::u32(..).to_ne_bytes();
                    let tail = self.clients[number].outbox.tail();
                    frame::append_masked(tail, frame::PONG, payload, mask);
                    at += total;
                    continue;
                }
                Parsed::Frame { first, .. } => {
                    let text = format!("session {number} got a frame that begins with {first:#x}");
                    return Err(Failure::failed(text));
                }
                Parsed::Bad(why) => {
                    return Err(Failure::failed(format!("session {number}: {why}")));
                }
            };
            self.judge(number, &text, now)?;
            at += total;
        }
        carry.drain(..at);
        self.clients[number].carry = carry;
        while self.expected.front().is_some_and(|expected| expected.missing == 0) {
            let sent = self.expected.pop_front().map_or(0, |expected| expected.sent_at);
            self.oldest += 1;
            self.measure(sent, now);
        }
        Ok(())
    }

    fn measure(&mut self, sent: u64, now: u64) {
        if sent >= self.from && self.from > 0 {
            self.latency.record(now.saturating_sub(sent));
        }
    }

    /// Judges a message that is none of the channel's.
    fn judge(&mut self, number: usize, text: &str, now: u64) -> Result<(), Failure> {
        let client = &mut self.clients[number];
        let unexpected = || Err(Failure::failed(format!("session {number} got {text}")));
        match &mut client.role {
            Role::New { subscribes } => {
                if !text.starts_with(r#"{"type":"notification","data":{"event":"connected","#) {
                    return unexpected();
                }
                if *subscribes {
                    let request = format!(
                        r#"{{"id":"s","type":"request","action":"subscribe","payload":{{"channel":"{}"}}}}"#,
                        self.channel
                    );
                    let mask = fastrand::u32(..).to_ne_bytes();
                    let tail = client.outbox.tail();
                    frame::append_masked(tail, frame::TEXT, request.as_bytes(), mask);
                    client.role = Role::Subscribing;
                    client.flush()?;
                } else {
                    client.role = Role::Publisher { next: 0, sent_at: VecDeque::new() };
                    self.starting -= 1;
                }
            }
            Role::Subscribing => {
                let answer: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
                let data = &answer["data"];
                let (Some(epoch), Some(base)) = (data["epoch"].as_u64(), data["offset"].as_u64())
                else {
                    return unexpected();
                };
                (self.epoch, self.base) = (epoch, base);
                client.role = Role::Subscriber { next: 0 };
                self.starting -= 1;
            }
            Role::Subscriber { .. } => return unexpected(),
            Role::Publisher { next, sent_at } => {
                let id = *next - sent_at.len() as u64;
                let start = format!(r#"{{"id":{id},"type":"response","data":{{"epoch":"#);
                let Some(sent) = sent_at.pop_front().filter(|_| text.starts_with(&start)) else {
                    return unexpected();
                };
                self.answered += 1;
                if self.plan.subscribers == 0 {
                    self.measure(sent, now);
                }
            }
        }
        Ok(())
    }

    fn mark(&self, at: u64) -> Result<Mark, Failure> {
        let (delivered, answered) = (self.delivered, self.answered);
        Ok(Mark { at, delivered, answered, usage: Usage::now(self.plan)? })
    }

    fn report(self, window: usize, from: &Mark, to: &Mark) -> Report {
        let plan = self.plan;
        let title = format!(
            "{} sessions subscribe, {} publish with {} in flight, {} bytes",
            number(plan.subscribers as f64),
            number(plan.publishers as f64),
            number(window as f64),
            number(plan.size as f64)
        );
        let mut report = Report::new(plan, title);
        let seconds = (to.at - from.at) as f64 / 1e9;
        let deliveries = (to.delivered - from.delivered) as f64 / seconds;
        let publishes = (to.answered - from.answered) as f64 / seconds;
        report.put("subscribers", plan.subscribers);
        report.put("publishers", plan.publishers);
        report.put("window", window);
        report.put("size", plan.size);
        report.put("seconds", seconds);
        report.put("deliveries_per_s", deliveries);
        report.put("publishes_per_s", publishes);
        report.put("delivered_in_all", self.delivered);
        report.put("answered_in_all", self.answered);
        report.put("latency_us", self.latency.json());
        report.say("deliveries", format!("{}/s", number(deliveries)));
        report.say("publishes", format!("{}/s", number(publishes)));
        report.say("latency", self.latency.text());
        let (generator, server) = to.usage.since(&from.usage);
        report.cpu(generator, server);
        report
    }
}

impl Client {
    fn flush(&mut self) -> Result<(), Failure> {
        self.outbox
            .flush(&mut self.stream)
            .map_err(|error| Failure::failed(format!("a session's connection: {error}")))
    }
}
