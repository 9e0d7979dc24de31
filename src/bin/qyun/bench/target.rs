//! The server under test: its address, its channels, new connections to it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use qyun::client::Host;
use qyun::wire::percent;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::answers::Answers;
use super::plan::Plan;
use super::wire::Wire;
use crate::exit::{Exit, Failure};

/// Connections from one loopback address before the next one is used: there are about 28,000
/// ports for each.
const PER_SOURCE: usize = 20_000;
/// Loopback addresses that are used in turn.
const SOURCES: usize = 200;

/// A server and the names of the run's channels on it.
pub struct Target {
    address: SocketAddr,
    pub authority: String,
    prefix: String,
    timeout: Duration,
    /// Listeners offer compression.
    pub compress: bool,
    /// What listeners and publishers speak.
    pub wire: Wire,
}

impl Target {
    /// Resolves `host` and takes the first address that accepts a connection.
    pub fn find(host: &Host, plan: &Plan) -> Result<Self, Failure> {
        let (timeout, compress, wire) = (plan.timeout, plan.compress, plan.wire);
        if host.is_secure() {
            return Err(Failure::usage(format!("host '{host}': the load generator speaks no TLS")));
        }
        if !host.prefix().is_empty() {
            let text = format!("host '{host}': the load generator takes no path");
            return Err(Failure::usage(text));
        }
        let authority = host.authority();
        let cannot = |why: String| {
            Failure::new(Exit::Connect, format!("cannot connect to http://{authority}: {why}"))
        };
        let addresses = authority.to_socket_addrs().map_err(|error| cannot(error.to_string()))?;
        let mut last = "no address".to_owned();
        for address in addresses {
            match std::net::TcpStream::connect_timeout(&address, timeout) {
                Ok(_) => {
                    let prefix = format!("bench-{}", std::process::id());
                    return Ok(Self { address, authority, prefix, timeout, compress, wire });
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(cannot(last))
    }

    /// A channel's name, which needs no percent-encoding.
    pub fn channel(&self, channel: usize) -> String {
        format!("{}-{channel}", self.prefix)
    }

    /// What a listener of a channel asks for: a path, or the broker's own name of the channel.
    pub fn listen_path(&self, channel: usize) -> String {
        match self.wire {
            Wire::WebSocket => format!("/channel/listen/{}", self.channel(channel)),
            Wire::Nats | Wire::Mqtt => self.channel(channel),
        }
    }

    /// Begins to connect; the `number`-th connection of the run.
    pub fn connect(&self, number: usize) -> io::Result<mio::net::TcpStream> {
        let socket = Socket::new(
            Domain::for_address(self.address),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        let source = (number / PER_SOURCE % SOURCES) as u8;
        if source > 0 && self.address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 1 + source), 0));
            socket.bind(&source.into())?;
        }
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&self.address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(mio::net::TcpStream::from_std(socket.into()))
    }

    /// Makes closing `stream` leave nothing behind, so that a run of many short connections does
    /// not use up the ports.
    pub fn forget_on_close(stream: &mio::net::TcpStream) -> io::Result<()> {
        SockRef::from(stream).set_linger(Some(Duration::ZERO))
    }

    /// Creates the run's channels, which the brokers of other protocols do by themselves.
    pub fn create_channels(&self, channels: usize) -> Result<(), Failure> {
        if self.wire != Wire::WebSocket {
            return Ok(());
        }
        self.for_all(channels, |name| format!("GET /channel/create/{name}"))
            .map_err(|failure| failure.context("creating the channels"))
    }

    /// Deletes them. What fails is told and otherwise ignored: the run is over.
    pub fn delete_channels(&self, channels: usize) {
        if self.wire != Wire::WebSocket {
            return;
        }
        if let Err(failure) = self.for_all(channels, |name| format!("DELETE /channel/{name}")) {
            log::warn!("deleting the channels: {}", failure.text);
        }
    }

    /// One pipelined request for each channel, in blocks that fit the sockets' buffers.
    fn for_all(&self, channels: usize, line: impl Fn(&str) -> String) -> Result<(), Failure> {
        let mut stream = std::net::TcpStream::connect_timeout(&self.address, self.timeout)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        stream.set_nodelay(true)?;
        let mut answers = Answers::default();
        let mut buffer = vec![0; 16 << 10];
        for first in (0..channels).step_by(64) {
            let last = channels.min(first + 64);
            let mut requests = String::new();
            for channel in first..last {
                let name = percent::encode(&self.channel(channel));
                requests += &line(&name);
                requests += &format!(" HTTP/1.1\r\nHost: {}\r\n\r\n", self.authority);
            }
            stream.write_all(requests.as_bytes())?;
            let mut answered = 0;
            while answered < last - first {
                match stream.read(&mut buffer)? {
                    0 => return Err(Failure::failed("the server closed the connection")),
                    read => answered += answers.feed(&buffer[..read]).map_err(Failure::failed)?,
                }
            }
        }
        Ok(())
    }
}
