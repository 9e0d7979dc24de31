//! Subscribers that check every message while it is sent by the same thread.
//!
//! One epoll loop: read from subscribers, note which channels have room, send what they have room
//! for, write. Per read it costs one system call, one comparison of all its bytes with what must
//! come, and a few counters; the clock is read once per round and per settled batch.

use std::io::{self, Read, Write};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use qyun::wire::websocket::Inflater;

use super::checker::{Checker, Tally, Verdict};
use super::clock::{Clock, Usage};
use super::dial::dial;
use super::latency::Latency;
use super::pace::{Alarm, Schedule};
use super::payload::Filling;
use super::plan::{Mode, Pace, Plan};
use super::publisher::{Envelope, Publisher};
use super::report::{Report, number};
use super::stream::Stream;
use super::target::Target;
use super::unpack::Unpacker;
use super::wire::Framing;
use crate::exit::{Exit, Failure};

/// Bytes taken from a subscriber's socket at a time.
const READ: usize = 256 << 10;
/// How long to look for doubles after the last message was received.
const AFTERMATH: u64 = 50_000_000;
const ALARM: Token = Token(usize::MAX - 1);

struct Subscriber {
    /// `None` once disconnected.
    stream: Option<TcpStream>,
    checker: Checker,
    channel: usize,
    /// Of one that compresses.
    unpacker: Option<Unpacker>,
}

/// A channel and how its messages are sent.
struct Channel {
    stream: Stream,
    envelope: Envelope,
    publisher: usize,
    /// It is in the list of channels that may have room.
    listed: bool,
}

/// Counts at one moment.
#[derive(Clone, Copy)]
struct Mark {
    at: u64,
    delivered: u64,
    sent: u64,
    bytes_in: u64,
    bytes_out: u64,
    usage: Usage,
}

struct Fanout<'a> {
    plan: &'a Plan,
    poll: Poll,
    clock: Clock,
    channels: Vec<Channel>,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    /// Channels that may have room for a message.
    listed: Vec<usize>,
    /// Publishers with something to write.
    dirty: Vec<usize>,
    tally: Tally,
    latency: Latency,
    sent: u64,
    /// How far sending was behind an open loop's schedule at worst, in ns.
    behind: u64,
    problem: Option<String>,
    replies: Vec<u8>,
    inflater: Inflater,
    /// What was read, without compression.
    plain: Vec<u8>,
}

/// Runs it.
pub fn run(target: &Target, plan: &Plan, pace: Pace) -> Result<Report, Failure> {
    let mut fanout = Fanout::open(target, plan)?;
    let (from, to) = fanout.drive(pace)?;
    Ok(fanout.report(&from, &to))
}

impl<'a> Fanout<'a> {
    fn open(target: &Target, plan: &'a Plan) -> Result<Self, Failure> {
        let poll = Poll::new()?;
        let filling = if plan.compress { Filling::Words } else { Filling::Letter };
        let mut channels: Vec<_> = (0..plan.channels)
            .map(|channel| {
                let framing = Framing::new(plan.wire, &target.channel(channel), plan.size);
                let (size, in_flight) = (plan.size, plan.in_flight());
                Channel {
                    stream: Stream::new(channel as u32, &framing, size, filling, in_flight),
                    envelope: Envelope::new(target, plan, channel),
                    publisher: plan.publisher_of(channel),
                    listed: true,
                }
            })
            .collect();
        let mut subscribers = Vec::with_capacity(plan.subscribers);
        let mut tally = Tally::default();
        let mut replies = Vec::new();
        let path = |number: usize| {
            (number < plan.subscribers).then(|| target.listen_path(number % plan.channels))
        };
        dial(target, plan.concurrency, plan.timeout, path, |mut one| {
            let channel = one.number % plan.channels;
            let stream = &mut channels[channel].stream;
            let mut checker = Checker::new(stream);
            // Nothing is sent yet: only a ping can have come.
            checker.feed(stream, &one.leftover, &mut tally, &mut replies, &mut false);
            poll.registry().register(
                &mut one.stream,
                Token(subscribers.len()),
                Interest::READABLE,
            )?;
            let unpacker = plan.compress.then(Unpacker::default);
            subscribers.push(Subscriber { stream: Some(one.stream), checker, channel, unpacker });
            Ok(())
        })?;
        let mut publishers = Publisher::open(target, plan)?;
        for (number, publisher) in publishers.iter_mut().enumerate() {
            publisher.register(poll.registry(), Token(subscribers.len() + number))?;
        }
        Ok(Self {
            plan,
            poll,
            clock: Clock::start(plan),
            listed: (0..channels.len()).collect(),
            channels,
            subscribers,
            publishers,
            dirty: Vec::new(),
            tally,
            latency: Latency::new()?,
            sent: 0,
            behind: 0,
            problem: None,
            replies,
            inflater: Inflater::default(),
            plain: Vec::new(),
        })
    }

    /// The run, from the first message to the last. Gives the counts at the start and at the end
    /// of measuring.
    fn drive(&mut self, pace: Pace) -> Result<(Mark, Mark), Failure> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ];
        let mut schedule = Schedule::new(if let Pace::Rate(rate) = pace { rate } else { 1.0 });
        let alarm = match pace {
            Pace::Rate(_) if !self.plan.spin => Some(Alarm::new(self.poll.registry(), ALARM)?),
            _ => None,
        };
        let (mut from, mut to) = (None, None);
        let mut progress = (0, 0);
        loop {
            let now = self.clock.now();
            if from.is_none() && now >= self.clock.from {
                from = Some(self.mark(now)?);
            }
            if to.is_none() {
                match pace {
                    Pace::Rate(_) => self.keep_up(&mut schedule, now),
                    Pace::Window(window) if now < self.clock.to => self.fill(window, now),
                    Pace::Window(_) => {}
                }
                while let Some(publisher) = self.dirty.pop() {
                    self.publishers[publisher].flush()?;
                }
                if let Some(alarm) = &alarm {
                    let (_, due) = schedule.next();
                    // Not at once when sending waits for room: a subscriber wakes the loop.
                    if due > now {
                        alarm.set(due - self.clock.now().min(due))?;
                    }
                }
            }
            if to.is_none() && now >= self.clock.to {
                to = Some(self.mark(now)?);
            }
            if self.tally.delivered != progress.0 {
                progress = (self.tally.delivered, now);
            }
            if let (Some(from), Some(to)) = (from, to) {
                let all = self.channels.iter().all(|channel| channel.stream.in_flight() == 0);
                let patience = if all { AFTERMATH } else { self.plan.timeout.as_nanos() as u64 };
                if now >= progress.1.max(to.at) + patience {
                    return Ok((from, to));
                }
            } else if self.plan.timeout.as_nanos() < u128::from(now - progress.1)
                && self.channels.iter().any(|channel| channel.stream.in_flight() > 0)
            {
                let (timeout, sent) = (self.plan.timeout, self.sent);
                let text = format!("nothing came within {timeout:?}, after {sent} messages sent");
                return Err(Failure::new(Exit::Timeout, text));
            }
            let delivered = self.tally.delivered;
            self.clock.tick(now, || {
                let rate = delivered as f64 * 1e9 / now as f64;
                format!("{} deliveries/s", number(rate))
            });
            let patience = match self.plan.spin {
                true => Duration::ZERO,
                false if to.is_some() => Duration::from_millis(10),
                false => self.clock.patience(now),
            };
            match self.poll.poll(&mut events, Some(patience)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let token = event.token().0;
                if token < self.subscribers.len() {
                    self.read(token, &mut buffer, event.is_read_closed())?;
                } else if let Some(publisher) =
                    self.publishers.get_mut(token - self.subscribers.len())
                {
                    publisher.read(&mut buffer)?;
                }
            }
        }
    }

    /// Reads what a subscriber's socket has, and judges it. `to_the_end`: the server has closed.
    fn read(&mut self, number: usize, buffer: &mut [u8], to_the_end: bool) -> Result<(), Failure> {
        let subscribers = self.subscribers.len() as u64;
        let subscriber = &mut self.subscribers[number];
        let Some(socket) = &mut subscriber.stream else { return Ok(()) };
        let channel = &mut self.channels[subscriber.channel];
        let mut settles = false;
        let end = loop {
            match socket.read(buffer) {
                Ok(0) => break Some("closed by the server without a Close".to_owned()),
                Ok(read) => {
                    let mut data = &buffer[..read];
                    if let Some(unpacker) = &mut subscriber.unpacker {
                        self.plain.clear();
                        if let Err(why) = unpacker.unpack(&mut self.inflater, data, &mut self.plain)
                        {
                            break Some(why);
                        }
                        data = &self.plain;
                    }
                    let verdict = subscriber.checker.feed(
                        &mut channel.stream,
                        data,
                        &mut self.tally,
                        &mut self.replies,
                        &mut settles,
                    );
                    // What is counted is what came.
                    self.tally.bytes = self.tally.bytes - data.len() as u64 + read as u64;
                    if let Verdict::Ended(why) = verdict {
                        break Some(why);
                    }
                    // Edge-triggered: a short read has emptied the socket, and what comes later
                    // is another event. Only the end may have been part of this one.
                    if read < buffer.len() && !to_the_end {
                        break None;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error.to_string()),
            }
        };
        if !self.replies.is_empty() {
            // A socket that carries nothing else has room for a pong; a server that misses one
            // disconnects, and that is told.
            let _ = socket.write(&self.replies);
            self.replies.clear();
        }
        if let Some(why) = end {
            subscriber.checker.leave(&mut channel.stream);
            subscriber.stream = None;
            settles = true;
            self.tally.disconnected += 1;
            self.problem.get_or_insert(format!("subscriber {number}: {why}"));
            if self.tally.disconnected == subscribers {
                let why = self.problem.take().unwrap_or_default();
                return Err(Failure::failed(format!("every subscriber was disconnected; {why}")));
            }
        }
        if settles {
            let (now, clock, latency) = (self.clock.now(), &self.clock, &mut self.latency);
            channel.stream.settle(|sent| {
                if (clock.from..clock.to).contains(&sent) {
                    latency.record(now.saturating_sub(sent));
                }
            });
            if !std::mem::replace(&mut channel.listed, true) {
                self.listed.push(subscriber.channel);
            }
        }
        Ok(())
    }

    /// Sends what the windows have room for.
    fn fill(&mut self, window: usize, now: u64) {
        let mut listed = std::mem::take(&mut self.listed);
        for number in listed.drain(..) {
            self.channels[number].listed = false;
            while self.channels[number].stream.in_flight() < window as u64 {
                self.send(number, now);
            }
        }
        self.listed = listed;
    }

    /// Sends what is due. What finds no room is sent later and counted from when it was due.
    fn keep_up(&mut self, schedule: &mut Schedule, now: u64) {
        loop {
            let (message, due) = schedule.next();
            let number = (message % self.channels.len() as u64) as usize;
            if due > now || due >= self.clock.to || self.channels[number].stream.is_full() {
                return;
            }
            self.behind = self.behind.max(now - due);
            self.send(number, due);
            schedule.advance();
        }
    }

    fn send(&mut self, number: usize, at: u64) {
        let channel = &mut self.channels[number];
        let payload = channel.stream.push(at);
        if self.publishers[channel.publisher].append(&channel.envelope, payload) {
            self.dirty.push(channel.publisher);
        }
        self.sent += 1;
    }

    fn mark(&self, at: u64) -> Result<Mark, Failure> {
        Ok(Mark {
            at,
            delivered: self.tally.delivered,
            sent: self.sent,
            bytes_in: self.tally.bytes,
            bytes_out: self.publishers.iter().map(Publisher::written).sum(),
            usage: Usage::now(self.plan)?,
        })
    }

    fn report(mut self, from: &Mark, to: &Mark) -> Report {
        let channels = &self.channels;
        let outstanding = self
            .subscribers
            .iter()
            .map(|one| one.checker.outstanding(&channels[one.channel].stream));
        self.tally.lost += outstanding.sum::<u64>();
        let plan = self.plan;
        let title = format!(
            "{} subscribers on {} channel(s), {} bytes",
            number(plan.subscribers as f64),
            number(plan.channels as f64),
            number(plan.size as f64)
        );
        let mut report = Report::new(plan, title);
        let seconds = (to.at - from.at) as f64 / 1e9;
        let per_second = |from: u64, to: u64| (to - from) as f64 / seconds;
        let deliveries = per_second(from.delivered, to.delivered);
        let publishes = per_second(from.sent, to.sent);
        let bytes_in = per_second(from.bytes_in, to.bytes_in);
        report.put("seconds", seconds);
        report.put("deliveries", to.delivered - from.delivered);
        report.put("deliveries_per_s", deliveries);
        report.put("publishes", to.sent - from.sent);
        report.put("publishes_per_s", publishes);
        report.put("sent_in_all", self.sent);
        report.put("delivered_in_all", self.tally.delivered);
        report.put("bytes_received", to.bytes_in - from.bytes_in);
        report.put("bytes_sent", to.bytes_out - from.bytes_out);
        report.put("latency_us", self.latency.json());
        report.say("deliveries", format!("{}/s", number(deliveries)));
        report.say("publishes", format!("{}/s", number(publishes)));
        report.say("latency", self.latency.text());
        if let Mode::Fanout(Pace::Rate(_)) = plan.mode {
            let behind = self.behind as f64 / 1e3;
            report.put("behind_max_us", behind);
            report.say("behind", format!("sending was at most {} µs late", number(behind)));
        }
        report.say("received", format!("{} MB/s", number(bytes_in / 1e6)));
        let (generator, server) = to.usage.since(&from.usage);
        report.cpu(generator, server);
        report.checked(&self.tally, self.problem.take());
        report
    }
}
