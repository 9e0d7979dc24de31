//! The old process's part.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::link::{self, Frame, Incoming, Outgoing};
use super::{CALLS, CALM, HandedOver, LAST_WORDS, PAUSE, PREPARATION, kind};
use crate::server::Server;
use crate::server::grpc::Grpc;
use crate::server::shard::Pause;
use crate::store::Parked;
use crate::wire::handover::{FORMAT, Reader, Writer};
use crate::wire::{Dialect, MessageKind};
use crate::{Error, ErrorKind, Result};

impl Server {
    /// Hands the listening sockets, all connections and the channels to the process at the other end
    /// of `stream`, which calls [`Server::take_over`]. Clients notice a pause, and nothing else.
    /// Callers of gRPC are told to go (GOAWAY), and find the other process at the same address.
    ///
    /// When it succeeds, this server has nothing any more: its threads have ended, and no socket was
    /// closed for anybody. When it fails it serves on, and nobody noticed more than the pause.
    ///
    /// Blocks for up to 30 s until the other process is ready, while everybody is served, and for up
    /// to 10 s when nobody is. Meanwhile nothing else may be asked of this server in this process.
    /// Errors: `InvalidArgument` when the program handles connections itself, whose part nobody can
    /// take; `Closed` when the server is stopped; `Protocol` for another version of the format; what
    /// the store failed with, if it has; `Timeout`; `Io`.
    pub fn hand_over(&self, stream: UnixStream) -> Result<HandedOver> {
        let (mut from, mut to) = link::open(stream, PREPARATION)?;
        let other = self.agree(&mut from, &to)?;
        let store = self.service.hub().store();
        let about = |error: Error| error.context("the store");
        let _calm = store.map(|store| store.calm(CALM)).transpose().map_err(about)?;
        // A call changes what is handed over: there must be none.
        let calls = self.end_calls();
        let grpc = calls.as_ref().map(AsFd::as_fd);
        from.allow(PAUSE);
        to.allow(PAUSE);
        let begun = Instant::now();
        let pause = Arc::new(Pause::new(self.wakers.len()));
        let handed_over = match self.control.request_pause(Arc::clone(&pause)) {
            true => {
                self.wake();
                self.give(&mut from, Arc::new(to), &pause, grpc)
            }
            false => Err(Error::new(ErrorKind::Closed, "the server is stopping")),
        };
        match handed_over {
            Ok((connections, store)) => {
                store.into_iter().for_each(Parked::leave);
                self.service.close();
                pause.leave();
                let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
                for thread in threads.drain(..) {
                    if thread.join().is_err() {
                        log::error!(target: "qyun::server", "a shard panicked");
                    }
                }
                Ok(HandedOver { to: other, connections, pause: begun.elapsed() })
            }
            Err(error) => {
                self.control.end_pause();
                pause.resume();
                if calls.is_some() {
                    self.start_calls(calls);
                }
                Err(explained(&mut from, error))
            }
        }
    }

    /// Both sides say who they are; gives the other one's process.
    fn agree(&self, from: &mut Incoming, to: &Outgoing) -> Result<u32> {
        let hello = from.receive()?;
        let refuse = |error: Error| {
            let mut out = Writer::default();
            out.text(&error.to_string());
            // It is an error anyway.
            let _ = to.send(kind::REFUSED, &out.take(), &[]);
            error
        };
        let mut input = Reader::new(&hello.payload);
        let (format, process) = match (hello.kind, input.u32(), input.u32()) {
            (kind::HELLO, Some(format), Some(process)) => (format, process),
            _ => return Err(refuse(unexpected(hello.kind))),
        };
        if format != FORMAT {
            let text = format!(
                "the new process hands over in format {format} and this one in {FORMAT}: stop this \
                 one and start the other"
            );
            return Err(refuse(Error::new(ErrorKind::Protocol, text)));
        }
        self.is_ours().map_err(refuse)?;
        let claim = match self.service.hub().store() {
            Some(store) => store.claim()?,
            None => None,
        };
        let claim: Vec<_> = claim.iter().map(AsFd::as_fd).collect();
        let mut out = Writer::default();
        out.u32(FORMAT);
        out.u32(std::process::id());
        to.send(kind::OFFER, &out.take(), &claim)?;
        let answer = from.receive()?;
        match answer.kind {
            kind::READY => Ok(process),
            _ => Err(failure(&answer)),
        }
    }

    /// Whether nothing of it is in the hands of the program.
    fn is_ours(&self) -> Result<()> {
        let hosted = |path: &str| {
            let text = format!("the program handles the connections at '{path}'");
            Error::new(ErrorKind::InvalidArgument, text)
        };
        for endpoint in self.service.endpoints() {
            if endpoint.handler.dialect() == Dialect::Host {
                return Err(hosted(&endpoint.path));
            }
        }
        match self.service.packets().is_registered() || self.service.rpc().is_registered() {
            true => {
                let text = "the program handles packets or calls of clients";
                Err(Error::new(ErrorKind::InvalidArgument, text))
            }
            false => Ok(()),
        }
    }

    /// Everything that nobody is served during. Gives the number of connections, and the store, which
    /// works again when it is dropped.
    fn give(
        &self,
        from: &mut Incoming,
        to: Arc<Outgoing>,
        pause: &Pause,
        grpc: Option<BorrowedFd<'_>>,
    ) -> Result<(usize, Option<Parked>)> {
        let since = clock_gettime(ClockId::Monotonic);
        let hub = self.service.hub();
        pause.settle(PAUSE, || {
            self.service.yield_held();
            hub.is_at_rest()
        })?;
        let store = self.give_channels(&to)?;
        self.give_held(&to)?;
        if let Some(listener) = grpc {
            to.send(kind::GRPC, &[], &[listener])?;
        }
        let connections = pause.hand_over(&to)?;
        let mut out = Writer::default();
        out.size(connections);
        out.u64(since.tv_sec.cast_unsigned());
        out.u64(since.tv_nsec.cast_unsigned());
        to.send(kind::END, &out.take(), &[])?;
        match from.receive() {
            Ok(frame) if frame.kind == kind::TAKEN => Ok((connections, store)),
            Ok(frame) if frame.kind == kind::REFUSED => Err(failure(&frame)),
            // In the very last moment it may have begun to serve.
            _ if from.close_and_look_for(kind::TAKEN) => Ok((connections, store)),
            Ok(frame) => Err(unexpected(frame.kind)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Error::new(ErrorKind::Io, "the new process ended before it had everything"))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn give_store(&self, to: &Outgoing) -> Result<Option<Parked>> {
        let Some(store) = self.service.hub().store() else { return Ok(None) };
        let parked = store.park(PAUSE).map_err(|error| error.context("the store"))?;
        for part in parked.logs() {
            to.send(kind::LOGS, &part, &[])?;
        }
        let mut out = Writer::default();
        parked.rest(&mut out);
        to.send(kind::STORE, &out.take(), &[])?;
        Ok(Some(parked))
    }

    fn give_channels(&self, to: &Outgoing) -> Result<Option<Parked>> {
        let hub = self.service.hub();
        let mut out = Writer::default();
        hub.hand_over(&mut out);
        self.service.registry().hand_over(&mut out);
        to.send(kind::HUB, &out.take(), &[])?;
        let store = self.give_store(to)?;
        for channel in hub.page(None, usize::MAX) {
            channel.hand_over(&mut out);
            to.send(kind::CHANNEL, &out.take(), &[])?;
            let mut sent = 0;
            loop {
                match channel.hand_over_history(sent, &mut out) {
                    0 => break,
                    count => sent += count,
                }
                to.send(kind::HISTORY, &out.take(), &[])?;
            }
        }
        Ok(store)
    }

    fn give_held(&self, to: &Outgoing) -> Result<()> {
        let mut out = Writer::default();
        for (channel, message) in self.service.held_for_ever() {
            out.u64(channel.id());
            out.flag(message.kind() == MessageKind::Binary);
            out.bytes(message.payload());
            to.send(kind::HELD, &out.take(), &[])?;
        }
        Ok(())
    }

    /// Ends gRPC, with its listening socket left open: whoever connects meanwhile waits.
    fn end_calls(&self) -> Option<TcpListener> {
        let grpc = self.grpc.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let listener = grpc.take_listener();
        grpc.request_stop(CALLS);
        grpc.join();
        listener
    }

    /// Starts gRPC on `listener`, or as the options say. A failure is told in the log: everything
    /// else is served already.
    pub(super) fn start_calls(&self, listener: Option<TcpListener>) {
        match Grpc::start(&self.service, listener) {
            Ok(started) => {
                let mut grpc = self.grpc.lock().unwrap_or_else(PoisonError::into_inner);
                *grpc = started.map(Arc::new);
            }
            Err(error) => log::error!(target: "qyun::server", "gRPC does not start: {error}"),
        }
    }
}

/// What went wrong there, or here: a frame that should have been another.
fn failure(frame: &Frame) -> Error {
    if frame.kind != kind::REFUSED {
        return unexpected(frame.kind);
    }
    let why = Reader::new(&frame.payload).text().unwrap_or_default();
    Error::new(ErrorKind::Refused, format!("the new process: {why}"))
}

/// Why the other side has closed, if it said so, rather than that it has.
fn explained(from: &mut Incoming, error: Error) -> Error {
    if error.kind() != ErrorKind::Io {
        return error;
    }
    from.allow(LAST_WORDS);
    match from.receive() {
        Ok(frame) if frame.kind == kind::REFUSED => failure(&frame),
        _ => error,
    }
}

fn unexpected(kind: u8) -> Error {
    let text = format!("frame {kind} is not what comes next in a hand-over");
    Error::new(ErrorKind::Protocol, text)
}

/// The time since a moment of the clock that never jumps, on this machine.
pub(super) fn since(seconds: u64, nanos: u64) -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32);
    now.saturating_sub(Duration::from_secs(seconds) + Duration::from_nanos(nanos))
}
