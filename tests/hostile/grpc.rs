//! HTTP/2 and gRPC by hand.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::caller::Caller;
use crate::kit::PATIENCE;
use crate::stage::{Case, Stage, with};

const GRPC: &[(&str, &str)] = &[
    ("grpc_listen", "127.0.0.1:0"),
    ("handshake_timeout_ms", "300"),
    ("request_timeout_ms", "300"),
];
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A field as it is, in no table (RFC 7541 section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0, name.len() as u8];
    out.extend_from_slice(name.as_bytes());
    assert!(value.len() < 127);
    out.push(value.len() as u8);
    out.extend_from_slice(value.as_bytes());
    out
}

fn fields(path: &str) -> Vec<u8> {
    [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":path", path),
        field(":authority", "t"),
        field("content-type", "application/grpc"),
        field("te", "trailers"),
    ]
    .concat()
}

const METHOD: &str = "/proto.CountOnlineClient/CountOnlineClient";

/// A gRPC message with its prefix.
fn message(flag: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![flag];
    out.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
    out.extend_from_slice(data);
    out
}

struct Peer(TcpStream);

impl Peer {
    fn raw(s: &Stage) -> Self {
        let stream = TcpStream::connect(s.server.grpc_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Past the handshake.
    fn connect(s: &Stage) -> Self {
        let mut peer = Self::raw(s);
        peer.send([PREFACE, &frame(SETTINGS, 0, 0, b"")].concat());
        peer
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref());
    }

    fn frame(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        Some((head[3], stream, payload))
    }

    /// How it ends: by a GOAWAY, whose error is named, or without.
    fn end(&mut self) -> String {
        let mut said = None;
        while let Some((kind, _, payload)) = self.frame() {
            if kind == GOAWAY {
                let code = u32::from_be_bytes(payload[4..8].try_into().unwrap());
                let name = match code {
                    0 => "NO_ERROR",
                    1 => "PROTOCOL_ERROR",
                    6 => "FRAME_SIZE_ERROR",
                    9 => "COMPRESSION_ERROR",
                    11 => "ENHANCE_YOUR_CALM",
                    _ => "another error",
                };
                said = Some(format!("GOAWAY {name}"));
            }
        }
        format!("{}closed", said.map_or(String::new(), |said| said + ", "))
    }

    /// Whether it goes on: a ping is answered.
    fn goes_on(&mut self) -> &'static str {
        self.send(frame(PING, 0, 0, b"12345678"));
        while let Some((kind, _, payload)) = self.frame() {
            if kind == PING && payload == b"12345678" {
                return "goes on";
            }
        }
        "closed"
    }
}

/// The status of a call with these bytes for messages, and whether the connection goes on.
fn call(s: &Stage, path: &str, bytes: Vec<u8>, done: bool) -> String {
    let mut caller = Caller::connect(s.server.grpc_addr().unwrap());
    let (code, text) = caller.open_with(path, bytes, done).status(&caller);
    let name = match code {
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        _ => "another status",
    };
    let count = caller.count("CountOnlineClient", &[]);
    format!("{name} {}; goes on, {count} clients", text.split(':').next().unwrap_or_default())
}

fn ends(s: &Stage, bytes: impl AsRef<[u8]>) -> String {
    let mut peer = Peer::connect(s);
    peer.send(bytes);
    peer.end()
}

pub const CASES: &[Case] = &[
    with(GRPC, "HTTP/1.1", "closed", |s| {
        let mut peer = Peer::raw(s);
        peer.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        peer.end()
    }),
    with(GRPC, "silence", "closed", |s| Peer::raw(s).end()),
    with(GRPC, "half a preface", "closed", |s| {
        let mut peer = Peer::raw(s);
        peer.send(&PREFACE[..10]);
        peer.end()
    }),
    with(GRPC, "garbage behind the preface", "GOAWAY FRAME_SIZE_ERROR, closed", |s| {
        let mut peer = Peer::raw(s);
        peer.send([PREFACE, &[0xff; 100]].concat());
        peer.end()
    }),
    with(GRPC, "a frame of 16 MB", "GOAWAY FRAME_SIZE_ERROR, closed", |s| {
        let mut head = frame(DATA, 0, 1, b"");
        head[..3].copy_from_slice(&[0xff, 0xff, 0xff]);
        ends(s, head)
    }),
    with(GRPC, "data on a stream that was never opened", "GOAWAY PROTOCOL_ERROR, closed", |s| {
        ends(s, frame(DATA, 0, 1, b"x"))
    }),
    with(GRPC, "a stream with an even number", "GOAWAY PROTOCOL_ERROR, closed", |s| {
        ends(s, frame(HEADERS, END_HEADERS, 2, &fields(METHOD)))
    }),
    with(GRPC, "fields that are no HPACK", "GOAWAY PROTOCOL_ERROR, closed", |s| {
        ends(s, frame(HEADERS, END_HEADERS, 1, &[0xff; 50]))
    }),
    with(
        GRPC,
        "fields that go on for ever: CONTINUATIONs without an end",
        "GOAWAY ENHANCE_YOUR_CALM, closed",
        |s| {
            let mut bytes = frame(HEADERS, 0, 1, &fields(METHOD));
            let more = frame(CONTINUATION, 0, 1, &field("x", &"y".repeat(100)).repeat(100));
            for _ in 0..200 {
                bytes.extend_from_slice(&more);
            }
            ends(s, bytes)
        },
    ),
    with(
        GRPC,
        "calls that are reset at once, 2,000 of them",
        "GOAWAY ENHANCE_YOUR_CALM, closed",
        |s| {
            let mut bytes = Vec::new();
            for n in 0..2000 {
                bytes.extend(frame(HEADERS, END_HEADERS, 2 * n + 1, &fields(METHOD)));
                bytes.extend(frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes()));
            }
            ends(s, bytes)
        },
    ),
    with(
        GRPC,
        "calls that this side is made to reset, 2,000 of them",
        "GOAWAY PROTOCOL_ERROR, closed",
        |s| {
            let mut bytes = Vec::new();
            for n in 0..2000 {
                bytes.extend(frame(HEADERS, END_HEADERS, 2 * n + 1, &fields(METHOD)));
                // A window update of 0 is a stream error.
                bytes.extend(frame(8, 0, 2 * n + 1, &0_u32.to_be_bytes()));
            }
            ends(s, bytes)
        },
    ),
    with(GRPC, "10,000 SETTINGS, acknowledgements not read", "goes on", |s| {
        let mut peer = Peer::connect(s);
        peer.send(frame(SETTINGS, 0, 0, b"").repeat(10_000));
        peer.goes_on().into()
    }),
    with(GRPC, "10,000 pings, answers read", "goes on", |s| {
        let mut peer = Peer::connect(s);
        peer.send(frame(PING, 0, 0, b"abcdefgh").repeat(10_000));
        peer.goes_on().into()
    }),
    with(
        GRPC,
        "1,000 calls at a time, where 128 may be",
        "128 answered or timed out, the others refused: true",
        |s| {
            let mut peer = Peer::connect(s);
            for n in 0..1000 {
                peer.send(frame(HEADERS, END_HEADERS, 2 * n + 1, &fields(METHOD)));
            }
            let mut refused = 0;
            let mut answered = std::collections::BTreeSet::new();
            while refused + answered.len() < 1000 {
                match peer.frame() {
                    None => return "closed".into(),
                    Some((GOAWAY, ..)) => {
                        return format!(
                            "{}, then GOAWAY",
                            if refused > 0 { "some refused" } else { "none refused" }
                        );
                    }
                    Some((RST_STREAM, _, payload)) if payload == 7_u32.to_be_bytes() => {
                        refused += 1
                    }
                    Some((HEADERS, stream, _)) => {
                        answered.insert(stream);
                    }
                    Some(_) => {}
                }
            }
            format!(
                "{} answered or timed out, the others refused: {}",
                answered.len().min(128),
                refused > 0
            )
        },
    ),
    with(
        GRPC,
        "a call without an end",
        "DEADLINE_EXCEEDED the request did not come in time; goes on, 0 clients",
        |s| call(s, METHOD, Vec::new(), false),
    ),
    with(
        GRPC,
        "a message over the limit: told by its prefix",
        "OUT_OF_RANGE Error, decoded message length too large; goes on, 0 clients",
        |s| call(s, METHOD, vec![0, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3], false),
    ),
    with(
        GRPC,
        "a message that is no protobuf",
        "INTERNAL failed to decode Protobuf message; goes on, 0 clients",
        |s| call(s, METHOD, message(0, &[0xff; 20]), true),
    ),
    with(
        GRPC,
        "a string that is not UTF-8",
        "INTERNAL failed to decode Protobuf message; goes on, 0 clients",
        |s| call(s, "/proto.UidIsOnline/UidIsOnline", message(0, b"\x0a\x02\xff\xfe"), true),
    ),
    with(
        GRPC,
        "a message that says it is compressed",
        "INTERNAL protocol error; goes on, 0 clients",
        |s| call(s, METHOD, message(1, b"x"), true),
    ),
    with(
        GRPC,
        "a message that is cut",
        "INTERNAL Unexpected EOF decoding stream.; goes on, 0 clients",
        |s| call(s, METHOD, vec![0, 0, 0, 0, 9, 1], true),
    ),
    with(
        GRPC,
        "a method that does not exist",
        "UNIMPLEMENTED there is no method /proto.Nothing/Nothing; goes on, 0 clients",
        |s| call(s, "/proto.Nothing/Nothing", message(0, b""), true),
    ),
    with(
        &[
            ("grpc_listen", "127.0.0.1:0"),
            ("handshake_timeout_ms", "300"),
            ("grpc_allow", "192.0.2.1"),
        ],
        "a caller that may not, and stays",
        "closed",
        |s| {
            let mut peer = Peer::connect(s);
            peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(METHOD)));
            peer.end()
        },
    ),
];
