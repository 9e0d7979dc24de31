//! New connections: from the listening sockets into the shard.

use std::io;
use std::net::IpAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Poll, Token};

use super::Shard;
use super::conn::Conn;
use crate::hub::Gauges;
use crate::server::limits::Limit;
use crate::server::service::Admission;

/// The first token of a listening socket; the others follow. No connection gets that far.
const FIRST: usize = usize::MAX / 2;

/// Watches a shard's listening sockets.
pub(super) fn watch(poll: &Poll, listeners: &mut [TcpListener]) -> io::Result<()> {
    for (n, listener) in listeners.iter_mut().enumerate() {
        poll.registry().register(listener, Token(FIRST + n), Interest::READABLE)?;
    }
    Ok(())
}

/// Whether it stands for a listening socket.
pub(super) fn is_listener(token: Token) -> bool {
    token.0 >= FIRST
}

impl Shard {
    /// Takes everybody who waits at any of the sockets.
    pub(super) fn accept(&mut self) {
        for at in 0..self.listeners.len() {
            self.accept_at(at);
        }
    }

    fn accept_at(&mut self, at: usize) {
        while let Some(listener) = self.listeners.get(at) {
            match listener.accept() {
                Ok((stream, peer)) => self.welcome(stream, peer.ip()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The connection was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log::warn!(target: "qyun::server", "cannot accept connections: {error}");
                    self.accept_again = true;
                    return;
                }
            }
        }
    }

    /// Accepts nobody from here on. Whoever else holds the sockets, as systemd may, keeps them open:
    /// they are no longer watched.
    pub(super) fn close_listeners(&mut self) {
        for mut listener in self.listeners.drain(..) {
            // It fails only for what is not watched.
            let _ = self.poll.registry().deregister(&mut listener);
        }
    }

    fn welcome(&mut self, mut stream: TcpStream, peer: IpAddr) {
        let mut admission = self.service.admit();
        let token = self.conns.vacant_key();
        let refused = match admission {
            Admission::Admitted => self.enter_gate(token, peer).err(),
            _ => Some(Limit::MaxConnections),
        };
        if let Some(limit) = refused {
            Gauges::add(&self.gauges().rejected, 1);
            self.service.note_limit(limit);
            if admission == Admission::Admitted {
                self.service.release(admission);
                admission = self.service.refuse();
            }
        }
        if admission == Admission::Dropped {
            return;
        }
        // Answers to pipelined requests would wait 40 ms for an acknowledgement otherwise.
        let _ = stream.set_nodelay(true);
        let timeout = self.options.handshake_timeout.as_millis() as u64;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, Token(token), interest) {
            log::warn!(target: "qyun::server", "cannot watch a connection: {error}");
            self.ledger.forget(token, self.service.gate(), self.now);
            self.service.release(admission);
            return;
        }
        let mut conn = Conn::new(stream, self.now + timeout);
        conn.refused = refused.is_some();
        self.conns.insert(conn);
        let gauges = self.gauges();
        Gauges::add(&gauges.connections, 1);
        Gauges::add(&gauges.connections_total, 1);
        if let Some(limit) = refused {
            self.refuse(token, limit.refusal());
        }
    }
}
