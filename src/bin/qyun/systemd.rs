//! What systemd asks of a service (sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3)): to be
//! told of its state by datagrams, and to take the sockets that were opened for it.

use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use listenfd::ListenFd;
use qyun::server::Listeners;
use rustix::time::{ClockId, clock_gettime};
use socket2::SockRef;

use crate::exit::Failure;

/// The name of a socket that is gRPC's; one of any other name is for HTTP.
const GRPC: &str = "grpc";

/// What systemd is told about.
#[derive(Debug)]
pub enum State<'a> {
    /// It serves; in words, how.
    Ready(&'a str),
    /// It reads its configuration again, until it says that it is ready.
    Reloading,
    /// It stops, until it ends.
    Stopping,
    /// Another process is the service from now on.
    Successor(u32),
    /// It lives.
    Alive,
}

impl State<'_> {
    fn text(&self) -> String {
        match self {
            // A status is one line.
            Self::Ready(status) => format!("READY=1\nSTATUS={}\n", status.replace('\n', " ")),
            Self::Reloading => {
                let now = clock_gettime(ClockId::Monotonic);
                let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
                format!("RELOADING=1\nMONOTONIC_USEC={micros}\n")
            }
            Self::Stopping => "STOPPING=1\nSTATUS=waiting for clients to go\n".into(),
            Self::Successor(pid) => format!("MAINPID={pid}\n"),
            Self::Alive => "WATCHDOG=1\n".into(),
        }
    }
}

/// The way to systemd, for a service that it runs.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Notifier {
    /// The one that `NOTIFY_SOCKET` names; `None` without it. One that cannot be used is told in the
    /// log.
    pub fn of_environment() -> Option<Self> {
        let path = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())?;
        let open = || {
            let to = match path.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
                _ => SocketAddr::from_pathname(&path)?,
            };
            Ok::<_, io::Error>(Self { socket: UnixDatagram::unbound()?, to })
        };
        match open() {
            Ok(notifier) => Some(notifier),
            Err(error) => {
                log::warn!(target: "qyun", "NOTIFY_SOCKET {path:?}: {error}");
                None
            }
        }
    }

    /// Tells; what cannot be told is told in the log.
    pub fn tell(&self, state: &State<'_>) {
        if let Err(error) = self.socket.send_to_addr(state.text().as_bytes(), &self.to) {
            log::warn!(target: "qyun", "systemd cannot be told {state:?}: {error}");
        }
    }
}

/// How often systemd wants to hear that this process lives, if it does.
pub fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let is_another = |pid: u64| pid != u64::from(std::process::id());
    if number("WATCHDOG_PID").is_some_and(is_another) {
        return None;
    }
    number("WATCHDOG_USEC").filter(|micros| *micros > 0).map(Duration::from_micros)
}

/// The sockets that were opened for this process, as `LISTEN_PID` says; none otherwise. To be called
/// before there is another thread: it takes the variables away.
pub fn listeners() -> Result<Listeners, Failure> {
    let own = std::process::id().to_string();
    if std::env::var_os("LISTEN_PID").is_none_or(|pid| pid != *own) {
        return Ok(Listeners::default());
    }
    let mut given = ListenFd::from_env();
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut listeners = Listeners::default();
    for at in 0..given.len() {
        let name = names.next().unwrap_or_default();
        let socket = take(&mut given, at).map_err(|error| {
            let text = format!("socket {at} ('{name}') of LISTEN_FDS: {error}");
            Failure::usage(format!("{text}; it takes TCP sockets that listen"))
        })?;
        match name {
            GRPC if listeners.grpc.is_some() => {
                return Err(Failure::usage("two sockets of LISTEN_FDS are called 'grpc'"));
            }
            GRPC => listeners.grpc = Some(socket),
            _ => listeners.http.push(socket),
        }
    }
    Ok(listeners)
}

fn take(given: &mut ListenFd, at: usize) -> io::Result<TcpListener> {
    let none = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
    let socket = given.take_tcp_listener(at)?.ok_or_else(|| none("there is none"))?;
    match SockRef::from(&socket).is_listener()? {
        true => Ok(socket),
        false => Err(none("it does not listen")),
    }
}
