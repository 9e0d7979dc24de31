//! Messages that nobody receives: what the publishing side alone can take.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::clock::{Clock, Usage};
use super::latency::Latency;
use super::payload::{self, Filling};
use super::plan::Plan;
use super::publisher::{Envelope, Publisher};
use super::report::{Report, number};
use super::target::Target;
use crate::exit::{Exit, Failure};

const READ: usize = 64 << 10;

/// One connection and the requests on it that are not answered.
struct Lane {
    publisher: Publisher,
    envelope: Envelope,
    channel: u32,
    sequence: u64,
    sent_at: VecDeque<u64>,
}

impl Lane {
    /// Sends until `depth` requests are in flight.
    fn fill(&mut self, depth: usize, message: &mut [u8], now: u64) -> Result<(), Failure> {
        while self.sent_at.len() < depth {
            payload::write(message, self.channel, self.sequence, Filling::Letter);
            self.publisher.append(&self.envelope, message);
            self.sequence += 1;
            self.sent_at.push_back(now);
        }
        self.publisher.flush()
    }
}

/// Runs it. Every answer is checked to be a success.
pub fn run(target: &Target, plan: &Plan) -> Result<Report, Failure> {
    let mut poll = Poll::new()?;
    let mut lanes = Vec::with_capacity(plan.publishers);
    for (number, mut publisher) in Publisher::open(target, plan)?.into_iter().enumerate() {
        publisher.register(poll.registry(), Token(number))?;
        let channel = number % plan.channels;
        let envelope = Envelope::new(target, plan, channel);
        let sent_at = VecDeque::with_capacity(plan.pipeline);
        lanes.push(Lane { publisher, envelope, channel: channel as u32, sequence: 0, sent_at });
    }
    let mut message = vec![0; plan.size];
    let mut latency = Latency::new()?;
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; READ];
    let mut clock = Clock::start(plan);
    let mut answered = 0_u64;
    let mut progress = 0;
    let mut from = None;
    for lane in &mut lanes {
        lane.fill(plan.pipeline, &mut message, 0)?;
    }
    let (to, end) = loop {
        let now = clock.now();
        if from.is_none() && now >= clock.from {
            from = Some((now, answered, Usage::now(plan)?));
        }
        if now >= clock.to {
            break (now, Usage::now(plan)?);
        }
        if u128::from(now - progress) > plan.timeout.as_nanos() {
            let text = format!("no request was answered within {:?}", plan.timeout);
            return Err(Failure::new(Exit::Timeout, text));
        }
        clock.tick(now, || format!("{} publishes/s", number(answered as f64 * 1e9 / now as f64)));
        let patience = if plan.spin { Duration::ZERO } else { clock.patience(now) };
        match poll.poll(&mut events, Some(patience)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let Some(lane) = lanes.get_mut(event.token().0) else { continue };
            let answers = lane.publisher.read(&mut buffer)?;
            if answers == 0 {
                continue;
            }
            let now = clock.now();
            progress = now;
            answered += answers as u64;
            if answers > lane.sent_at.len() {
                return Err(Failure::failed("the server answers more than it was asked"));
            }
            for sent in lane.sent_at.drain(..answers) {
                if sent >= clock.from {
                    latency.record(now - sent);
                }
            }
            lane.fill(plan.pipeline, &mut message, now)?;
        }
    };
    let (from, before, start) = from.unwrap_or((0, 0, end));
    let seconds = (to - from) as f64 / 1e9;
    let rate = (answered - before) as f64 / seconds;
    let title = format!(
        "{} publisher(s) with {} requests in flight each, nobody listens, {} bytes",
        number(plan.publishers as f64),
        number(plan.pipeline as f64),
        number(plan.size as f64)
    );
    let mut report = Report::new(plan, title);
    report.put("pipeline", plan.pipeline);
    report.put("seconds", seconds);
    report.put("publishes", answered - before);
    report.put("publishes_per_s", rate);
    report.put("answered_in_all", answered);
    report.put("latency_us", latency.json());
    report.say("publishes", format!("{}/s", number(rate)));
    report.say("latency", latency.text());
    let (generator, server) = end.since(&start);
    report.cpu(generator, server);
    Ok(report)
}
