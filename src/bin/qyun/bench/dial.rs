//! Opening many WebSockets, or subscribers of another protocol, a bounded number of them at a time.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::target::Target;
use super::upgrade::Key;
use super::wire::Wire;
use crate::exit::{Exit, Failure};

/// What is said first.
enum Greeting {
    Upgrade(Key),
    /// `path` is the channel's name.
    Subscribe(Wire),
}

impl Greeting {
    fn new(target: &Target) -> Self {
        match target.wire {
            Wire::WebSocket => Self::Upgrade(Key::new(target.compress)),
            wire => Self::Subscribe(wire),
        }
    }

    fn request(&self, authority: &str, path: &str) -> Vec<u8> {
        match self {
            Self::Upgrade(key) => key.request(authority, path),
            Self::Subscribe(wire) => wire.subscribe(path),
        }
    }

    /// `None` while the answer is not whole, else how many bytes it has.
    fn answered(&self, bytes: &[u8]) -> Result<Option<usize>, String> {
        match self {
            Self::Upgrade(key) => key.answered(bytes),
            Self::Subscribe(wire) => wire.subscribed(bytes),
        }
    }
}

/// A handshake in progress.
struct Pending {
    stream: TcpStream,
    number: usize,
    request: Vec<u8>,
    written: usize,
    answer: Vec<u8>,
}

enum Step {
    Wait,
    /// The handshake is done; these bytes came after it.
    Open(Vec<u8>),
}

/// A WebSocket that is open.
pub struct Opened {
    /// Which of the run's connections it is.
    pub number: usize,
    pub stream: TcpStream,
    /// Bytes that came with the answer.
    pub leftover: Vec<u8>,
}

/// Opens WebSockets until `path`, asked for the path of each by its number, gives `None`; each goes
/// to `opened`. `timeout` is the time in which at least one of them must make progress.
pub fn dial(
    target: &Target,
    at_once: usize,
    timeout: Duration,
    mut path: impl FnMut(usize) -> Option<String>,
    mut opened: impl FnMut(Opened) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let greeting = Greeting::new(target);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut pending: Slab<Pending> = Slab::with_capacity(at_once);
    let mut number = 0;
    let mut more = true;
    let mut progress = Instant::now();
    while more || !pending.is_empty() {
        while more && pending.len() < at_once {
            let Some(path) = path(number) else {
                more = false;
                break;
            };
            let mut stream = target.connect(number).map_err(|error| connect_failure(&error))?;
            let entry = pending.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(entry.key()), interest)?;
            let request = greeting.request(&target.authority, &path);
            entry.insert(Pending { stream, number, request, written: 0, answer: Vec::new() });
            number += 1;
        }
        if let Err(error) = poll.poll(&mut events, Some(Duration::from_millis(100))) {
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error.into());
        }
        for event in &events {
            let Some(one) = pending.get_mut(event.token().0) else { continue };
            match one.step(&greeting)? {
                Step::Wait => {}
                Step::Open(leftover) => {
                    let mut one = pending.remove(event.token().0);
                    poll.registry().deregister(&mut one.stream)?;
                    progress = Instant::now();
                    opened(Opened { number: one.number, stream: one.stream, leftover })?;
                }
            }
        }
        if progress.elapsed() > timeout && !pending.is_empty() {
            let waiting = pending.len();
            let text = format!("{waiting} handshakes made no progress within {timeout:?}");
            return Err(Failure::new(Exit::Timeout, text));
        }
    }
    Ok(())
}

impl Pending {
    /// Goes on as far as the socket lets it.
    fn step(&mut self, greeting: &Greeting) -> Result<Step, Failure> {
        while self.written < self.request.len() {
            match self.stream.write(&self.request[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if not_yet(&error) => return Ok(Step::Wait),
                Err(error) => {
                    let cause = self.stream.take_error().ok().flatten().unwrap_or(error);
                    return Err(connect_failure(&cause));
                }
            }
        }
        let mut buffer = [0; 2048];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    let text = format!("connection {}: closed in the handshake", self.number);
                    return Err(Failure::failed(text));
                }
                Ok(read) => {
                    self.answer.extend_from_slice(&buffer[..read]);
                    let answered = greeting.answered(&self.answer).map_err(|why| {
                        Failure::failed(format!("connection {}: {why}", self.number))
                    })?;
                    if let Some(head) = answered {
                        return Ok(Step::Open(self.answer.split_off(head)));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let text = format!("connection {} in the handshake: {error}", self.number);
                    return Err(Failure::failed(text));
                }
            }
        }
    }
}

/// Whether a connection is still being made, or its socket takes nothing more now.
fn not_yet(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, NotConnected, WouldBlock};
    matches!(error.kind(), WouldBlock | NotConnected | Interrupted)
}

fn connect_failure(error: &io::Error) -> Failure {
    let hint = match error.raw_os_error() {
        Some(libc::EMFILE) => "; raise the limit of open files (ulimit -n)",
        Some(libc::EADDRNOTAVAIL) => "; no local port is left",
        _ => "",
    };
    Failure::new(Exit::Connect, format!("cannot connect: {error}{hint}"))
}
