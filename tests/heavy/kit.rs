//! Connections for the heavy tests.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};

use qyun::server::Server;
use qyun::wire::stream::{Op, REQUEST_HEADER, Request, encode_request};

use crate::process;
use crate::raw::{KEY, PATIENCE, masked, until};

/// Held by the test that runs.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    process::raise_open_files();
    guard
}

/// The bytes of an upgrade.
pub fn upgrade(target: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
    .into_bytes()
}

/// An open WebSocket and the bytes that came behind the answer.
pub fn open(address: SocketAddr, target: &str) -> (TcpStream, Vec<u8>) {
    try_open(address, target).unwrap()
}

/// The same of a server that may die meanwhile.
pub fn try_open(address: SocketAddr, target: &str) -> io::Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let ahead = try_upgrade(&mut stream, target)?;
    Ok((stream, ahead))
}

/// Upgrades an open connection.
pub fn upgraded(stream: &mut TcpStream, target: &str) -> Vec<u8> {
    try_upgrade(stream, target).unwrap()
}

fn try_upgrade(stream: &mut TcpStream, target: &str) -> io::Result<Vec<u8>> {
    stream.write_all(&upgrade(target))?;
    let mut answer = Vec::new();
    let end = loop {
        if let Some(at) = answer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            let text = format!("closed instead of upgraded: {}", String::from_utf8_lossy(&answer));
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        answer.extend_from_slice(&buffer[..n]);
    };
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    Ok(answer.split_off(end))
}

/// A packet of the stream protocol as a client's frame.
pub fn stream_packet(id: u32, channel: &str, op: Op<'_>) -> Vec<u8> {
    let mut packet = Vec::with_capacity(REQUEST_HEADER + channel.len());
    encode_request(&mut packet, &Request { id, channel, op });
    masked(0x82, &packet)
}

/// Waits until `total` connections have been accepted and are gone, and nothing is kept for them.
pub fn until_deserted(server: &Server, total: u64) {
    let counters = || server.service().counters();
    until("all connections have been accepted", || counters().connections_total == total);
    until("all connections are gone", || counters().connections == 0);
    let counters = counters();
    assert_eq!((counters.subscribers, counters.queued_bytes), (0, 0), "{counters:?}");
}
