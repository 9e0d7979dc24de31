//! A real server behind a real socket: bytes in pieces, to its end.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use qyun::server::{Server, ServerOptions};

use crate::cuts::{Cuts, steered};

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

fn start() -> Server {
    let mut options = ServerOptions::default();
    for (key, value) in [
        ("listen", "127.0.0.1:0"),
        ("shards", "1"),
        ("delivery_threads", "1"),
        ("auto_create", "true"),
        ("max_channels", "64"),
        ("gateway_path", "/gateway"),
        ("session_path", "/session"),
        ("max_message_bytes", "4096"),
        ("packet_max_bytes", "4096"),
        // A connection that waits for more ends soon: the input is all that comes.
        ("handshake_timeout_ms", "5000"),
    ] {
        options.set(key, value).unwrap();
    }
    Server::start(options).unwrap()
}

/// An upgrade that is in order, so that the rest of the input is frames.
fn upgrade(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-extensions: permessage-deflate\r\n\r\n"
    )
    .into_bytes()
}

/// Masks the frames that `plain` is made of: a byte of kind, a byte of length, and the payload.
fn frames(mut plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let [kind, len, rest @ ..] = plain {
        let len = usize::from(*len & 0x7f).min(rest.len());
        let (payload, rest) = rest.split_at(len);
        plain = rest;
        out.push(*kind);
        match len {
            0..=125 => out.push(0x80 | len as u8),
            _ => out.extend_from_slice(&[0x80 | 126, 0, len as u8]),
        }
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(payload);
    }
    out
}

/// Whatever comes, the connection ends when the client has ended its side, and the server serves on.
pub fn server(input: &[u8]) {
    let Some((steer, input)) = steered(input) else { return };
    let Some((cuts, input)) = steered(input) else { return };
    SERVER.with_borrow_mut(|server| {
        let server = server.get_or_insert_with(start);
        let bytes = match steer % 10 {
            0..2 => input.to_vec(),
            2 => [&upgrade("/channel/stream")[..], &frames(input)].concat(),
            3 => [&upgrade("/session")[..], &frames(input)].concat(),
            4 => [&upgrade("/join?uid=1")[..], &frames(input)].concat(),
            5 => [&upgrade("/gateway")[..], &frames(input)].concat(),
            6 => [&upgrade("/channel/send/a")[..], &frames(input)].concat(),
            7 => [&upgrade("/channel/listen/a")[..], &frames(input)].concat(),
            8 => [&upgrade("/channel/stream")[..], input].concat(),
            _ => [&upgrade("/channel/send/a")[..], input].concat(),
        };
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut read = stream.try_clone().unwrap();
        for piece in Cuts::new(cuts).pieces(&bytes).into_iter() {
            // The server may have ended it.
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        match read.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection does not end: {error}"),
        }
        let is_http = answer.is_empty() || answer.starts_with(b"HTTP/1.1 ");
        assert!(is_http, "{:?}", String::from_utf8_lossy(&answer));
        server.service().channel("alive").ok();
    });
}
