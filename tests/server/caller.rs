//! A gRPC caller that knows HTTP/2 and the bytes of protobuf, and nothing of what the server is
//! made of.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Handle};
use tokio::time::timeout;

use crate::kit::PATIENCE;

/// A status that is not OK: its code and message.
pub type Failure = (u32, String);

pub const INVALID_ARGUMENT: u32 = 3;
pub const NOT_FOUND: u32 = 5;
pub const UNIMPLEMENTED: u32 = 12;
pub const UNAVAILABLE: u32 = 14;

/// A field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

/// A connection, which a thread of its own reads.
pub struct Caller {
    runtime: Handle,
    requests: SendRequest<Bytes>,
}

impl Caller {
    pub fn connect(address: SocketAddr) -> Self {
        Self::connect_from("127.0.0.1".parse().unwrap(), address)
    }

    /// As the peer `from`.
    pub fn connect_from(from: IpAddr, address: SocketAddr) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (requests, connection) = runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((from, 0).into()).unwrap();
            let stream = socket.connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            h2::client::handshake(stream).await.unwrap()
        });
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(connection));
        Self { runtime: handle, requests }
    }

    /// Calls a method with strings as the fields 1, 2 and so on; gives the reply's fields.
    pub fn call(&mut self, path: &str, fields: &[&str]) -> Result<Vec<(u64, Field)>, Failure> {
        let mut stream = self.open(path, &strings(fields), true);
        let reply = stream.next(self);
        match stream.status(self) {
            (0, _) => Ok(read(&reply.expect("a reply comes before OK"))),
            failure => Err(failure),
        }
    }

    /// The same of the gateway's method `name`.
    pub fn gateway(&mut self, name: &str, fields: &[&str]) -> Vec<(u64, Field)> {
        let reply = self.call(&format!("/proto.{name}/{name}"), fields);
        reply.unwrap_or_else(|failure| panic!("{name}{fields:?}: {failure:?}"))
    }

    /// A reply's field 1 as a flag; the default is not sent.
    pub fn flag(&mut self, name: &str, fields: &[&str]) -> bool {
        match &*self.gateway(name, fields) {
            [] => false,
            [(1, Field::Number(1))] => true,
            other => panic!("{name}{fields:?} gave {other:?}"),
        }
    }

    /// A reply's field 1 as a number.
    pub fn count(&mut self, name: &str, fields: &[&str]) -> u64 {
        match &*self.gateway(name, fields) {
            [] => 0,
            [(1, Field::Number(n))] => *n,
            other => panic!("{name}{fields:?} gave {other:?}"),
        }
    }

    /// A reply's field 1, any number of times, as strings.
    pub fn list(&mut self, name: &str, fields: &[&str]) -> Vec<String> {
        let fields = self.gateway(name, fields).into_iter().map(|field| match field {
            (1, Field::Bytes(bytes)) => String::from_utf8(bytes).unwrap(),
            other => panic!("{name} gave {other:?}"),
        });
        fields.collect()
    }

    /// Begins a call with one message; `done` says that no other follows.
    pub fn open(&mut self, path: &str, message: &[u8], done: bool) -> Stream {
        let mut framed = vec![0];
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(message);
        self.open_with(path, framed, done)
    }

    /// Begins a call with bytes that should be messages.
    pub fn open_with(&mut self, path: &str, bytes: Vec<u8>, done: bool) -> Stream {
        let request = Request::post(format!("http://t{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let requests = self.requests.clone();
        self.runtime.block_on(async {
            let mut requests = requests.ready().await.unwrap();
            let (answer, mut body) = requests.send_request(request, false).unwrap();
            // A refusal may come before the body is taken.
            let _ = body.send_data(bytes.into(), done);
            let answer = timeout(PATIENCE, answer).await.expect("an answer comes").unwrap();
            assert_eq!(answer.status(), 200);
            let (head, answer) = answer.into_parts();
            Stream {
                head: head.headers,
                answer,
                kept: (!done).then_some(body),
                ahead: VecDeque::new(),
            }
        })
    }
}

/// A call that was begun.
pub struct Stream {
    head: HeaderMap,
    answer: RecvStream,
    /// The request's side, while it is open.
    #[allow(dead_code)]
    kept: Option<h2::SendStream<Bytes>>,
    ahead: VecDeque<u8>,
}

impl Stream {
    /// The next message, or nothing at the end.
    pub fn next(&mut self, caller: &Caller) -> Option<Vec<u8>> {
        self.fill(caller, 5)?;
        let head: Vec<u8> = self.ahead.drain(..5).collect();
        assert_eq!(head[0], 0, "nothing is compressed");
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        self.fill(caller, length).expect("a whole message");
        Some(self.ahead.drain(..length).collect())
    }

    fn fill(&mut self, caller: &Caller, length: usize) -> Option<()> {
        while self.ahead.len() < length {
            let data = async { timeout(PATIENCE, self.answer.data()).await.expect("data comes") };
            let data = caller.runtime.block_on(data)?.unwrap();
            self.answer.flow_control().release_capacity(data.len()).unwrap();
            self.ahead.extend(data);
        }
        Some(())
    }

    /// The status that the call ends with.
    pub fn status(mut self, caller: &Caller) -> Failure {
        while self.next(caller).is_some() {}
        let trailers = async { timeout(PATIENCE, self.answer.trailers()).await.expect("an end") };
        let trailers = caller.runtime.block_on(trailers).unwrap();
        let fields = trailers.as_ref().unwrap_or(&self.head);
        let text = |name| fields.get(name).map(|value| value.to_str().unwrap());
        let code = text("grpc-status").expect("a status comes").parse().unwrap();
        (code, text("grpc-message").unwrap_or_default().replace("%20", " "))
    }
}

/// Strings as the fields 1, 2 and so on.
pub fn strings(fields: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, field) in (1..).zip(fields) {
        out.push(number << 3 | 2);
        varint(&mut out, field.len() as u64);
        out.extend_from_slice(field.as_bytes());
    }
    out
}

/// A string as field `number`.
pub fn string(number: u8, value: &str) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    varint(&mut out, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
    out
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// The fields of a message: numbers, and what has a length.
pub fn read(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    fn number(bytes: &mut &[u8]) -> u64 {
        let (mut n, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            n |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return n;
            }
        }
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = number(&mut bytes);
        let value = match key & 7 {
            0 => Field::Number(number(&mut bytes)),
            2 => {
                let length = number(&mut bytes) as usize;
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(value.into())
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, value));
    }
    fields
}
