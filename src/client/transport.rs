//! The sockets under the one-shot calls: what ureq reads and writes, plain or TLS.
//!
//! ureq's own transport resolves the name for every call, on a thread when there is a time limit,
//! and cannot say whether a failed request had begun to leave. Here a name is resolved only for a
//! new connection, a kept connection is checked with one system call, and a request that could
//! not leave at all is known ([`take_unsent`]), because only that one may be sent again.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::SockRef;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};
use ureq::{Error, Timeout};

use super::host::Host;

/// One HTTP head, with the longest path that is sent, fits.
const BUFFER: usize = 16 * 1024;
/// A socket's time limit is set anew only when it is off by more than this: it costs a system call.
const SLACK: Duration = Duration::from_millis(50);

thread_local! {
    static UNSENT: Cell<bool> = const { Cell::new(false) };
}

/// Whether the last request of this thread failed on a kept connection before the kernel took its
/// first byte; forgets it.
pub(crate) fn take_unsent() -> bool {
    UNSENT.take()
}

/// Resolves nothing: that happens in [`Connect`], once per connection instead of once per call.
#[derive(Debug)]
pub(crate) struct LateResolver;

impl Resolver for LateResolver {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}

/// Opens connections to one host.
pub(crate) struct Connect {
    pub(crate) host: Host,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Connector for Connect {
    type Out = HttpTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<HttpTransport>, Error> {
        let deadline = Instant::now().checked_add(*details.timeout.after);
        let left = || match deadline {
            None => Duration::from_secs(3600),
            Some(deadline) => deadline.saturating_duration_since(Instant::now()),
        };
        let addresses: Vec<SocketAddr> = match self.host.name().parse() {
            Ok(ip) => vec![SocketAddr::new(ip, self.host.port())],
            Err(_) => DefaultResolver::default()
                .resolve(details.uri, details.config, details.timeout)?
                .iter()
                .copied()
                .collect(),
        };
        let stream = Arc::new(connect_any(&addresses, left)?);
        stream.set_nodelay(true)?;
        let handle: Weak<TcpStream> = Arc::downgrade(&stream);
        (details.register_shutdown)(handle as Weak<dyn ShutdownHandle>)?;
        let mut wire = Wire { stream, reading: None, writing: None, kept: false, sent: false };
        let Some(config) = &self.tls else {
            return Ok(Some(HttpTransport::new(Channel::Plain(wire))));
        };
        let name = ServerName::try_from(self.host.name().to_owned())
            .map_err(|_| Error::Tls("the host is no name that a certificate can have"))?;
        let mut session = ClientConnection::new(config.clone(), name)?;
        while session.is_handshaking() {
            let left = left();
            if left.is_zero() {
                return Err(Error::Timeout(Timeout::Connect));
            }
            wire.limit_reads(left)?;
            wire.limit_writes(left)?;
            session.complete_io(&mut wire).map_err(|error| ureq_error(error, Timeout::Connect))?;
        }
        Ok(Some(HttpTransport::new(Channel::Tls(Box::new(StreamOwned::new(session, wire))))))
    }
}

/// Tries one address after the other, the time left shared out evenly.
fn connect_any(addresses: &[SocketAddr], left: impl Fn() -> Duration) -> Result<TcpStream, Error> {
    let mut last = Error::HostNotFound;
    for (index, address) in addresses.iter().enumerate() {
        let share = left() / (addresses.len() - index).max(1) as u32;
        if share.is_zero() {
            return Err(Error::Timeout(Timeout::Connect));
        }
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = ureq_error(error, Timeout::Connect),
        }
    }
    Err(last)
}

fn ureq_error(error: io::Error, reason: Timeout) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Error::Timeout(reason),
        _ => Error::Io(error),
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connect({})", self.host)
    }
}

/// The socket. It has no vectored write: that would raise SIGPIPE in the program.
struct Wire {
    stream: Arc<TcpStream>,
    /// The time limits that the socket has.
    reading: Option<Duration>,
    writing: Option<Duration>,
    /// It carried a request before.
    kept: bool,
    /// The kernel took a byte of the current request.
    sent: bool,
}

impl Wire {
    fn limit_reads(&mut self, limit: Duration) -> io::Result<()> {
        limit_socket(limit, &mut self.reading, |limit| self.stream.set_read_timeout(limit))
    }

    fn limit_writes(&mut self, limit: Duration) -> io::Result<()> {
        limit_socket(limit, &mut self.writing, |limit| self.stream.set_write_timeout(limit))
    }

    /// What waits to be read: `Some(0)` at the end of the stream, `None` when nothing waits.
    fn peek(&self) -> io::Result<Option<usize>> {
        let mut byte = [MaybeUninit::<u8>::uninit()];
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        match SockRef::from(&*self.stream).recv_with_flags(&mut byte, flags) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn limit_socket(
    limit: Duration,
    current: &mut Option<Duration>,
    set: impl FnOnce(Option<Duration>) -> io::Result<()>,
) -> io::Result<()> {
    // A limit of zero is no limit to the kernel.
    let limit = limit.max(Duration::from_millis(1));
    if current.is_some_and(|current| current.abs_diff(limit) <= SLACK.min(limit)) {
        return Ok(());
    }
    set(Some(limit))?;
    *current = Some(limit);
    Ok(())
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&*self.stream).read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                result => return result,
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match (&*self.stream).write(buf) {
            Ok(count) => {
                self.sent |= count > 0;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::Interrupted && self.kept && !self.sent {
                    UNSENT.set(true);
                }
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Channel {
    Plain(Wire),
    Tls(Box<StreamOwned<ClientConnection, Wire>>),
}

impl Channel {
    fn wire(&mut self) -> &mut Wire {
        match self {
            Self::Plain(wire) => wire,
            Self::Tls(stream) => &mut stream.sock,
        }
    }

    /// Whether a kept connection can carry another request: nothing waits to be read, neither an
    /// end nor an answer that was not asked for. Records of TLS itself are read and are fine.
    fn is_idle(&mut self) -> io::Result<bool> {
        match self {
            Self::Plain(wire) => Ok(wire.peek()?.is_none()),
            Self::Tls(stream) => {
                while stream.sock.peek()?.is_some() {
                    if stream.conn.read_tls(&mut stream.sock)? == 0 {
                        return Ok(false);
                    }
                    let state = stream.conn.process_new_packets().map_err(io::Error::other)?;
                    if state.plaintext_bytes_to_read() > 0 || state.peer_has_closed() {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }
}

/// One connection as ureq uses it.
pub(crate) struct HttpTransport {
    buffers: LazyBuffers,
    channel: Channel,
}

impl HttpTransport {
    fn new(channel: Channel) -> Self {
        Self { buffers: LazyBuffers::new(BUFFER, BUFFER), channel }
    }
}

impl Transport for HttpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.channel.wire().limit_writes(*timeout.after)?;
        let output = self.buffers.output();
        let output = output.get(..amount).unwrap_or(output);
        match &mut self.channel {
            Channel::Plain(wire) => wire.write_all(output),
            Channel::Tls(stream) => stream.write_all(output).and_then(|()| stream.flush()),
        }
        .map_err(|error| ureq_error(error, timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.channel.wire().limit_reads(*timeout.after)?;
        let input = self.buffers.input_append_buf();
        let count = match &mut self.channel {
            Channel::Plain(wire) => wire.read(input),
            Channel::Tls(stream) => stream.read(input),
        }
        .map_err(|error| ureq_error(error, timeout.reason))?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    /// ureq asks after an answer and before the next request.
    fn is_open(&mut self) -> bool {
        let wire = self.channel.wire();
        (wire.kept, wire.sent) = (true, false);
        self.channel.is_idle().unwrap_or(false)
    }

    fn is_tls(&self) -> bool {
        matches!(self.channel, Channel::Tls(_))
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpTransport")
    }
}
