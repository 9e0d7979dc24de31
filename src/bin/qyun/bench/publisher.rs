//! The connections that messages are sent on.

use std::io::{self, Read};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::answers::Answers;
use super::dial::{Opened, dial};
use super::frame::{self, Parsed};
use super::outbox::Outbox;
use super::plan::{Plan, Via};
use super::target::Target;
use super::wire::Wire;
use crate::exit::Failure;

/// One connection that sends messages of one or more channels.
pub struct Publisher {
    stream: TcpStream,
    outbox: Outbox,
    incoming: Incoming,
    /// Something was appended since the last flush.
    dirty: bool,
}

/// How what comes back is understood.
enum Incoming {
    /// An answer to each request.
    Http(Answers),
    /// Nothing but control frames.
    Frames(Wire, Vec<u8>),
}

/// How the messages of one channel are wrapped.
pub enum Envelope {
    Around {
        before: Vec<u8>,
        after: Vec<u8>,
    },
    /// A frame of a WebSocket, masked.
    WebSocket,
}

impl Envelope {
    pub fn new(target: &Target, plan: &Plan, channel: usize) -> Self {
        let (name, host) = (target.channel(channel), &target.authority);
        let (before, after) = match plan.via {
            Via::Ws => return Self::WebSocket,
            Via::Http => (
                format!("GET /channel/send/{name}/").into_bytes(),
                format!(" HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes(),
            ),
            Via::Post => {
                let size = plan.size;
                let head = format!(
                    "POST /channel/send/{name} HTTP/1.1\r\nHost: {host}\r\n\
                     Content-Type: text/plain\r\nContent-Length: {size}\r\n\r\n"
                );
                (head.into_bytes(), Vec::new())
            }
            Via::Broker => plan.wire.envelope(&name, plan.size),
        };
        Self::Around { before, after }
    }
}

impl Publisher {
    /// Opens the publishers of a run: as many as asked for by HTTP, one per channel by WebSocket.
    pub fn open(target: &Target, plan: &Plan) -> Result<Vec<Self>, Failure> {
        match plan.via {
            Via::Http | Via::Post => (0..plan.publishers)
                .map(|number| {
                    let stream = target.connect(number)?;
                    Ok(Self::new(stream, Incoming::Http(Answers::default())))
                })
                .collect(),
            Via::Broker => (0..plan.publishers)
                .map(|number| {
                    let incoming = Incoming::Frames(plan.wire, Vec::new());
                    let mut one = Self::new(target.connect(number)?, incoming);
                    one.outbox.tail().extend(plan.wire.introduce());
                    Ok(one)
                })
                .collect(),
            Via::Ws => {
                let mut open: Vec<Option<Self>> = Vec::new();
                open.resize_with(plan.channels, || None);
                let path = |number| {
                    let name = target.channel(number);
                    (number < plan.channels).then(|| format!("/channel/send/{name}"))
                };
                dial(target, plan.concurrency, plan.timeout, path, |one: Opened| {
                    if let Some(place) = open.get_mut(one.number) {
                        *place =
                            Some(Self::new(one.stream, Incoming::Frames(plan.wire, one.leftover)));
                    }
                    Ok(())
                })?;
                Ok(open.into_iter().flatten().collect())
            }
        }
    }

    fn new(stream: TcpStream, incoming: Incoming) -> Self {
        Self { stream, outbox: Outbox::default(), incoming, dirty: false }
    }

    /// Watches the connection.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Appends a message. True when it is the first since the last flush.
    pub fn append(&mut self, envelope: &Envelope, payload: &[u8]) -> bool {
        let tail = self.outbox.tail();
        match envelope {
            Envelope::Around { before, after } => {
                tail.reserve(before.len() + payload.len() + after.len());
                tail.extend_from_slice(before);
                tail.extend_from_slice(payload);
                tail.extend_from_slice(after);
            }
            Envelope::WebSocket => {
                let mask = fastrand::u32(..).to_ne_bytes();
                frame::append_masked(tail, frame::TEXT, payload, mask);
            }
        }
        !std::mem::replace(&mut self.dirty, true)
    }

    /// Writes what was appended, as far as the socket takes it.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.dirty = false;
        self.outbox.flush(&mut self.stream).map_err(|error| {
            let cause = self.stream.take_error().ok().flatten().unwrap_or(error);
            Failure::failed(format!("a publisher's connection: {cause}"))
        })
    }

    /// Bytes written since the start.
    pub fn written(&self) -> u64 {
        self.outbox.total
    }

    /// Reads what came; tells how many requests were answered.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let mut answered = 0;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(Failure::failed("the server closed a publisher's connection")),
                Ok(read) => {
                    let data = buffer.get(..read).unwrap_or_default();
                    answered += match &mut self.incoming {
                        Incoming::Http(answers) => answers.feed(data).map_err(Failure::failed)?,
                        Incoming::Frames(wire, carry) => {
                            carry.extend_from_slice(data);
                            control(*wire, carry, self.outbox.tail())?;
                            0
                        }
                    };
                    // Edge-triggered: a short read has emptied the socket, what comes later is
                    // another event.
                    if read < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::NotConnected => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Failure::failed(format!("a publisher's connection: {error}")));
                }
            }
        }
        self.flush()?;
        Ok(answered)
    }
}

/// Takes whole control frames from `carry`; pings are answered.
fn control(wire: Wire, carry: &mut Vec<u8>, replies: &mut Vec<u8>) -> Result<(), Failure> {
    loop {
        let used = match wire.parse(carry) {
            Parsed::Partial => return Ok(()),
            Parsed::Bad(why) => return Err(Failure::failed(format!("to a publisher: {why}"))),
            Parsed::Frame { first: frame::CLOSE, payload, .. } => {
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                let text = format!("the server closed a publisher's WebSocket with {code}");
                return Err(Failure::failed(text));
            }
            Parsed::Frame { first, payload, total } => {
                if first == frame::PING {
                    wire.pong(replies, payload);
                }
                total
            }
        };
        carry.drain(..used);
    }
}
