//! Many WebSockets read by one thread: one poll, one buffer, a few bytes for each.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::raw::masked;

/// So long without a byte from anybody is a failure: nothing more is coming.
const SILENCE: Duration = Duration::from_secs(60);

/// What is done with the frames of one connection.
pub trait Sink {
    /// A text or binary frame.
    fn message(&mut self, opcode: u8, payload: &[u8]);
}

/// One connection.
pub struct Member<S> {
    stream: mio::net::TcpStream,
    /// A frame that is half read.
    carry: Vec<u8>,
    /// What looks at the frames.
    pub sink: S,
    /// The code of the Close that came.
    pub close_code: Option<u16>,
    /// The connection ended.
    pub ended: bool,
}

/// The connections.
pub struct Swarm<S> {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    pub members: Vec<Member<S>>,
}

impl<S: Sink> Swarm<S> {
    pub fn new() -> Self {
        Self {
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(1024),
            buffer: vec![0; 256 << 10],
            members: Vec::new(),
        }
    }

    /// Adds an open WebSocket and what was read ahead from it.
    pub fn join(&mut self, (stream, ahead): (TcpStream, Vec<u8>), sink: S) {
        stream.set_nonblocking(true).unwrap();
        let mut stream = mio::net::TcpStream::from_std(stream);
        let token = Token(self.members.len());
        self.poll.registry().register(&mut stream, token, Interest::READABLE).unwrap();
        let mut member = Member { stream, carry: Vec::new(), sink, close_code: None, ended: false };
        member.input(&ahead);
        self.members.push(member);
    }

    /// Reads what there is, waiting up to `timeout` for it. The number of connections that had
    /// something.
    pub fn turn(&mut self, timeout: Duration) -> usize {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return 0,
            polled => polled.unwrap(),
        }
        let mut served = 0;
        for event in &self.events {
            self.members[event.token().0].read(&mut self.buffer);
            served += 1;
        }
        served
    }

    /// Reads until `done`.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&[Member<S>]) -> bool) {
        let mut heard = Instant::now();
        while !done(&self.members) {
            if self.turn(Duration::from_millis(100)) > 0 {
                heard = Instant::now();
            }
            assert!(heard.elapsed() < SILENCE, "silence, and still not: {what}");
        }
    }
}

impl<S: Sink> Member<S> {
    fn read(&mut self, buffer: &mut [u8]) {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return self.ended = true,
                Ok(n) => self.input(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.ended = true,
            }
        }
    }

    fn input(&mut self, bytes: &[u8]) {
        let mut joined;
        let mut rest = bytes;
        if !self.carry.is_empty() {
            joined = std::mem::take(&mut self.carry);
            joined.extend_from_slice(bytes);
            let used = self.frames(&joined);
            self.carry = joined.split_off(used);
            return;
        }
        let used = self.frames(rest);
        rest = &rest[used..];
        self.carry.extend_from_slice(rest);
    }

    /// Takes whole frames; how many bytes they were.
    fn frames(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some((first, start, end)) = header(&bytes[at..]) {
            let Some(payload) = bytes.get(at + start..at + end) else { break };
            assert_eq!(first & 0xf0, 0x80, "a server neither fragments nor uses reserved bits");
            assert_eq!(self.close_code, None, "something follows the Close");
            match first & 0x0f {
                opcode @ (1 | 2) => self.sink.message(opcode, payload),
                8 => {
                    let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                    self.close_code = Some(code);
                    // The peer may be gone already.
                    let _ = self.stream.write(&masked(0x88, payload));
                }
                9 => {
                    let pong = masked(0x8a, payload);
                    assert_eq!(self.stream.write(&pong).unwrap(), pong.len());
                }
                opcode => panic!("opcode {opcode} from the server"),
            }
            at += end;
        }
        at
    }
}

/// A frame's first byte, and where its payload begins and ends.
fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (start, len) = match second {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        short => (2, usize::from(short)),
    };
    Some((first, start, start + len))
}
