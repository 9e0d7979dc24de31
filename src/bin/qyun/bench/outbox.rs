//! Bytes that wait for a non-blocking socket.

use std::io::{self, Write};

use mio::net::TcpStream;

/// What is to be written; bounded by whoever appends, through the window or the pipeline depth.
#[derive(Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    written: usize,
    /// Bytes written since the start.
    pub total: u64,
}

impl Outbox {
    /// Where new bytes are appended.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Writes what the socket takes now. The rest waits for the socket to be writable.
    pub fn flush(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.written < self.bytes.len() {
            match stream.write(&self.bytes[self.written..]) {
                Ok(written) => {
                    self.written += written;
                    self.total += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.written = 0;
        Ok(())
    }
}
