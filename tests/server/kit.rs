//! A raw client: bytes out, bytes in, nothing hidden.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use qyun::server::{Server, ServerOptions};

/// No wait in these tests may last longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server on any free port, with these options besides.
pub fn server(options: &[(&str, &str)]) -> Server {
    let mut all = ServerOptions::default();
    all.set("listen", "127.0.0.1:0").unwrap();
    for (key, value) in options {
        all.set(key, value).unwrap();
    }
    Server::start(all).unwrap()
}

/// A connection and what was read ahead from it.
pub struct Raw {
    pub stream: TcpStream,
    ahead: Vec<u8>,
    /// How much of it was taken.
    taken: usize,
}

/// An HTTP answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// A header field's value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A WebSocket frame from the server.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn text(text: &str) -> Self {
        Self { opcode: 1, payload: text.into() }
    }

    /// The code of a Close.
    pub fn close_code(&self) -> Option<u16> {
        match (self.opcode, &*self.payload) {
            (8, []) => Some(1005),
            (8, [a, b, ..]) => Some(u16::from_be_bytes([*a, *b])),
            _ => None,
        }
    }
}

pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

impl Raw {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, ahead: Vec::new(), taken: 0 }
    }

    /// A connection from `source`, one of the loopback's many addresses.
    pub fn connect_from(source: [u8; 4], address: SocketAddr) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, ahead: Vec::new(), taken: 0 }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(n) => {
                self.ahead.drain(..std::mem::take(&mut self.taken));
                self.ahead.extend_from_slice(&buffer[..n]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing came: {error}; so far {:?}", self.rest()),
        }
    }

    /// Whether something was read and not taken.
    pub fn has_ahead(&self) -> bool {
        !self.rest().is_empty()
    }

    fn rest(&self) -> &[u8] {
        &self.ahead[self.taken..]
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        while self.rest().len() < n {
            assert!(self.fill(), "closed after {:?}", String::from_utf8_lossy(self.rest()));
        }
        let piece = self.rest()[..n].to_vec();
        self.taken += n;
        piece
    }

    /// Reads an answer's head and its body.
    pub fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// Reads up to and with `end`.
    fn take_until(&mut self, end: &[u8]) -> String {
        loop {
            match self.rest().windows(end.len()).position(|window| window == end) {
                Some(at) => return String::from_utf8(self.take(at + end.len())).unwrap(),
                None => assert!(self.fill(), "closed after {:?}", self.rest()),
            }
        }
    }

    /// Reads a head alone.
    pub fn head(&mut self) -> String {
        self.take_until(b"\r\n\r\n")
    }

    /// Reads a server-sent event.
    pub fn event(&mut self) -> String {
        self.take_until(b"\n\n")
    }

    pub fn answer_to(&mut self, method: &str) -> Answer {
        let head = self.head();
        let mut answer = Answer { status: head[9..12].parse().unwrap(), head, body: String::new() };
        if method != "HEAD" && answer.status != 101 && answer.status != 100 {
            let length = answer.field("content-length").unwrap().parse().unwrap();
            answer.body = String::from_utf8(self.take(length)).unwrap();
        }
        answer
    }

    /// Sends a request without a body and reads its answer.
    pub fn get(&mut self, target: &str) -> Answer {
        self.request("GET", target, "", b"")
    }

    pub fn request(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) -> Answer {
        let length = match body {
            [] => String::new(),
            body => format!("Content-Length: {}\r\n", body.len()),
        };
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: t\r\n{fields}{length}\r\n"));
        self.send(body);
        self.answer_to(method)
    }

    /// Whether the server ends the connection without another byte.
    pub fn is_closed(&mut self) -> bool {
        assert!(!self.has_ahead(), "unread: {:?}", String::from_utf8_lossy(self.rest()));
        !self.fill()
    }

    pub fn upgrade(&mut self, target: &str, fields: &str) -> Answer {
        self.send(format!(
            "GET {target} HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{fields}\r\n"
        ));
        self.answer()
    }

    /// An open WebSocket.
    pub fn websocket(address: SocketAddr, target: &str) -> Self {
        let mut raw = Self::connect(address);
        let answer = raw.upgrade(target, "");
        assert_eq!(answer.status, 101, "{answer:?}");
        raw
    }

    pub fn frame(&mut self) -> Frame {
        let (first, payload) = self.frame_bytes();
        assert_eq!(first & 0xf0, 0x80, "a server does not fragment");
        Frame { opcode: first & 0x0f, payload }
    }

    /// The next frame that is no ping, decompressed, and whether it came compressed.
    pub fn inflated(&mut self) -> (Frame, bool) {
        loop {
            let (first, payload) = self.frame_bytes();
            let opcode = first & 0x0f;
            match first & 0xf0 {
                0xc0 => {
                    return (Frame { opcode, payload: inflate(&payload) }, true);
                }
                0x80 if opcode != 9 => return (Frame { opcode, payload }, false),
                high => assert_eq!(high, 0x80, "a server does not fragment"),
            }
        }
    }

    /// The next frame's first byte and its payload.
    fn frame_bytes(&mut self) -> (u8, Vec<u8>) {
        let head = self.take(2);
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let len = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.take(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.take(8).try_into().unwrap()),
            short => u64::from(short),
        };
        (head[0], self.take(len as usize))
    }

    /// The next frame that is no ping.
    pub fn message(&mut self) -> Frame {
        loop {
            let frame = self.frame();
            if frame.opcode != 9 {
                return frame;
            }
        }
    }

    pub fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.send(masked(first, payload));
    }
}

/// What agrees on compression.
pub const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

/// A compressed payload's message, read with the window that the server promises.
pub fn inflate(payload: &[u8]) -> Vec<u8> {
    let mut state = flate2::Decompress::new_with_window_bits(false, 12);
    let mut out = Vec::with_capacity(1 << 20);
    for piece in [payload, b"\x00\x00\xff\xff"] {
        let before = state.total_in();
        state.decompress_vec(piece, &mut out, flate2::FlushDecompress::Sync).unwrap();
        assert_eq!(state.total_in() - before, piece.len() as u64);
    }
    out
}

/// A message's compressed payload.
pub fn deflate(message: &[u8]) -> Vec<u8> {
    let mut state = flate2::Compress::new(flate2::Compression::new(6), false);
    let mut out = Vec::with_capacity(message.len() + 1024);
    state.compress_vec(message, &mut out, flate2::FlushCompress::Sync).unwrap();
    out.strip_suffix(b"\x00\x00\xff\xff").unwrap().to_vec()
}

/// A client's frame.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        n @ 0..=125 => out.push(0x80 | n as u8),
        n @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    let mask = [7, 77, 177, 250];
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    out
}

/// Waits until `condition` holds, which some other thread will make true.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
