//! Requests of the packet dialect: round trips a second, on one connection or on many.
//!
//! The program whose server it is must answer protocol id 1 with the data that it is sent, as
//! `benches/packet_echo.c` does. Every answer is checked: its number, its protocol id, every byte.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use qyun::wire::packet::{HEADER, Packet};

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

const READ: usize = 64 << 10;
/// What the server's program echoes.
const PROTOCOL: u32 = 1;
/// A binary message in one frame.
const BINARY: u8 = 0x82;
const MASK: [u8; 4] = [0x5a, 0xa5, 0x0f, 0xf0];
/// Numbers that a client's requests can have: the even ones without 0.
const NUMBERS: u64 = (u32::MAX / 2) as u64;

/// A request that is not answered.
struct Asked {
    sequence: u64,
    at: u64,
}

/// One connection.
struct Asker {
    number: u32,
    stream: TcpStream,
    input: Vec<u8>,
    outbox: Outbox,
    next: u64,
    asked: VecDeque<Asked>,
}

fn sn(sequence: u64) -> u32 {
    (2 * (sequence % NUMBERS + 1)) as u32
}

impl Asker {
    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Asks until `depth` requests are under way. `message` is the data's buffer, `packet` another.
    fn fill(
        &mut self,
        depth: usize,
        message: &mut [u8],
        packet: &mut Vec<u8>,
        now: u64,
    ) -> Result<(), Failure> {
        while self.asked.len() < depth {
            payload::write(message, self.number, self.next, Filling::Letter);
            let whole = Packet { protocol: PROTOCOL, sn: sn(self.next), data: message };
            packet.clear();
            packet.extend_from_slice(&whole.header().map_err(|e| Failure::failed(e.to_string()))?);
            packet.extend_from_slice(message);
            frame::append_masked(self.outbox.tail(), BINARY, packet, MASK);
            self.asked.push_back(Asked { sequence: self.next, at: now });
            self.next += 1;
        }
        Ok(self.outbox.flush(&mut self.stream)?)
    }

    /// Reads what is there; each answered request goes to `answered`.
    fn read(
        &mut self,
        buffer: &mut [u8],
        size: usize,
        mut answered: impl FnMut(Asked),
    ) -> Result<(), Failure> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(Failure::failed("the server closed a connection")),
                Ok(read) => self.input.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            let input = std::mem::take(&mut self.input);
            let mut at = 0;
            loop {
                match frame::parse(&input[at..]) {
                    Parsed::Partial => break,
                    Parsed::Bad(why) => return Err(Failure::failed(format!("received {why}"))),
                    Parsed::Frame { first, payload, total } => {
                        at += total;
                        match first {
                            BINARY => answered(self.answer(payload, size)?),
                            frame::PING => {
                                let pong = frame::PONG;
                                frame::append_masked(self.outbox.tail(), pong, payload, MASK);
                            }
                            frame::CLOSE => {
                                return Err(Failure::failed("the server closes a connection"));
                            }
                            _ => {}
                        }
                    }
                }
            }
            self.input = input;
            self.input.drain(..at);
        }
    }

    /// The request that a packet answers.
    fn answer(&mut self, bytes: &[u8], size: usize) -> Result<Asked, Failure> {
        let wrong = |what: &str| Failure::failed(format!("the server answered {what}"));
        let packet = Packet::decode(bytes, HEADER + size).map_err(|_| wrong("with no packet"))?;
        let at = self.asked.iter().position(|asked| sn(asked.sequence) == packet.sn);
        let asked = at.and_then(|at| self.asked.remove(at));
        let asked = asked.ok_or_else(|| wrong("what it was not asked"))?;
        let sequence = payload::read(packet.data, self.number, size, Filling::Letter);
        match packet.protocol == PROTOCOL && sequence == Some(asked.sequence) {
            true => Ok(asked),
            false => Err(wrong("with something else than it was sent")),
        }
    }
}

/// Runs it.
pub fn run(target: &Target, plan: &Plan, connections: usize) -> Result<Report, Failure> {
    let mut askers = Vec::with_capacity(connections);
    let path = |number| (number < connections).then(|| format!("/join?uid=bench-{number}"));
    dial(target, plan.concurrency, plan.timeout, path, |one| {
        askers.push(Asker {
            number: one.number as u32,
            stream: one.stream,
            input: one.leftover,
            outbox: Outbox::default(),
            next: 0,
            asked: VecDeque::with_capacity(plan.pipeline),
        });
        Ok(())
    })?;
    let mut poll = Poll::new()?;
    for (token, asker) in askers.iter_mut().enumerate() {
        asker.register(poll.registry(), Token(token))?;
    }
    let mut message = vec![0; plan.size];
    let mut packet = Vec::new();
    let mut latency = Latency::new()?;
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; READ];
    let mut clock = Clock::start(plan);
    let (mut answered, mut progress, mut from) = (0_u64, 0, None);
    for asker in &mut askers {
        asker.fill(plan.pipeline, &mut message, &mut packet, clock.now())?;
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
            let text = format!(
                "no request was answered within {:?}: does the server's program echo packets with \
                 protocol id {PROTOCOL}?",
                plan.timeout
            );
            return Err(Failure::new(Exit::Timeout, text));
        }
        clock.tick(now, || format!("{} requests/s", number(answered as f64 * 1e9 / now as f64)));
        let patience = if plan.spin { Duration::ZERO } else { clock.patience(now) };
        match poll.poll(&mut events, Some(patience)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let Some(asker) = askers.get_mut(event.token().0) else { continue };
            let now = clock.now();
            let measured = clock.from;
            asker.read(&mut buffer, plan.size, |asked| {
                answered += 1;
                progress = now;
                if asked.at >= measured {
                    latency.record(now - asked.at);
                }
            })?;
            asker.fill(plan.pipeline, &mut message, &mut packet, now)?;
        }
    };
    let (from, before, start) = from.unwrap_or((0, 0, end));
    let seconds = (to - from) as f64 / 1e9;
    let rate = (answered - before) as f64 / seconds;
    let title = format!(
        "packet requests on {} connection(s), {} in flight on each, {} bytes",
        number(connections as f64),
        number(plan.pipeline as f64),
        number(plan.size as f64)
    );
    let mut report = Report::new(plan, title);
    report.put("connections", connections);
    report.put("pipeline", plan.pipeline);
    report.put("size", plan.size);
    report.put("seconds", seconds);
    report.put("requests", answered - before);
    report.put("requests_per_s", rate);
    report.put("latency_us", latency.json());
    report.say("requests", format!("{}/s", number(rate)));
    report.say("latency", latency.text());
    let (generator, server) = end.since(&start);
    report.cpu(generator, server);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_even_and_never_0_and_begin_again() {
        assert_eq!((sn(0), sn(1), sn(NUMBERS - 1), sn(NUMBERS)), (2, 4, u32::MAX - 1, 2));
    }
}
