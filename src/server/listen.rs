//! Listening sockets: one per shard on the same address, so that the kernel spreads connections.

use std::net::{SocketAddr, ToSocketAddrs};

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Error, ErrorKind, Result};

const BACKLOG: i32 = 4096;

/// Listening sockets that the server did not open itself: of a service manager, or of the server
/// before it.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For HTTP and WebSocket. With none, the option `listen` is followed.
    pub http: Vec<std::net::TcpListener>,
    /// For gRPC; the option `grpc_listen` is not looked at then.
    pub grpc: Option<std::net::TcpListener>,
}

/// Deals `sockets`, of which there is one at least, out to `shards` shards. Each socket is somebody's:
/// what waits at one that nobody looks at would wait for ever. With fewer sockets than shards,
/// several shards look at one.
pub(super) fn deal(
    sockets: &[std::net::TcpListener],
    shards: usize,
) -> Result<Vec<Vec<TcpListener>>> {
    let mut dealt: Vec<Vec<TcpListener>> = (0..shards).map(|_| Vec::new()).collect();
    for n in 0..sockets.len().max(shards) {
        let (Some(socket), Some(hand)) =
            (sockets.get(n % sockets.len()), dealt.get_mut(n % shards))
        else {
            continue;
        };
        let socket = socket.try_clone()?;
        socket.set_nonblocking(true)?;
        hand.push(TcpListener::from_std(socket));
    }
    Ok(dealt)
}

/// Binds `count` listeners on `listen` (`HOST:PORT`; port 0 takes any free one).
///
/// The first socket is bound without `SO_REUSEPORT`, so that an address that another program, or
/// another server of this one, listens on is an error and not silently shared. Only then does it
/// get the option, which lets the others join it.
///
/// Of the addresses that a name stands for, the first that can be bound is taken, IPv4 before IPv6:
/// "localhost" is 127.0.0.1, as in the default.
pub(super) fn bind(listen: &str, count: usize) -> Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    let (address, sockets) = sockets(listen, count)?;
    Ok((address, sockets.into_iter().map(Into::into).collect()))
}

/// Binds one listener on `listen`, non-blocking.
#[cfg(feature = "grpc")]
pub(super) fn bind_one(listen: &str) -> Result<(SocketAddr, std::net::TcpListener)> {
    let (address, mut sockets) = sockets(listen, 1)?;
    let socket = sockets.pop().ok_or_else(|| Error::new(ErrorKind::Io, "no socket"))?;
    Ok((address, socket.into()))
}

fn sockets(listen: &str, count: usize) -> Result<(SocketAddr, Vec<Socket>)> {
    let mut failure = None;
    for address in resolve(listen)? {
        match bind_all(address, count) {
            Ok(bound) => return Ok(bound),
            Err(error) => {
                failure.get_or_insert(Error::from(error));
            }
        }
    }
    let failure =
        failure.unwrap_or_else(|| Error::new(ErrorKind::InvalidArgument, "it names no address"));
    Err(failure.context(format_args!("cannot listen on '{listen}'")))
}

fn resolve(listen: &str) -> Result<Vec<SocketAddr>> {
    let addresses = listen.to_socket_addrs().map_err(|error| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("cannot listen on '{listen}': {error}; write HOST:PORT, as in 127.0.0.1:8000"),
        )
    })?;
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    Ok(addresses)
}

fn bind_all(address: SocketAddr, count: usize) -> std::io::Result<(SocketAddr, Vec<Socket>)> {
    let first = open(address)?;
    first.bind(&address.into())?;
    let bound = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    if count > 1 {
        for socket in &sockets {
            socket.set_reuse_port(true)?;
        }
        for _ in 1..count {
            let socket = open(bound)?;
            socket.set_reuse_port(true)?;
            socket.bind(&bound.into())?;
            sockets.push(socket);
        }
    }
    sockets.iter().try_for_each(|socket| socket.listen(BACKLOG))?;
    Ok((bound, sockets))
}

fn open(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_listeners_share_one_port_and_nobody_else_gets_it() {
        let (address, listeners) = bind("127.0.0.1:0", 3).unwrap();
        assert_eq!(listeners.len(), 3);
        for count in [1, 2] {
            let error = bind(&address.to_string(), count).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddressInUse);
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
        drop(listeners);
        bind(&address.to_string(), 2).unwrap();
    }

    #[test]
    fn every_socket_has_a_shard_and_every_shard_a_socket() {
        for (sockets, shards) in [(1, 1), (1, 3), (2, 3), (3, 2), (5, 1)] {
            let (_, sockets) = bind("127.0.0.1:0", sockets).unwrap();
            let dealt = deal(&sockets, shards).unwrap();
            assert_eq!(dealt.len(), shards);
            assert!(dealt.iter().all(|hand| !hand.is_empty()));
            let in_all: usize = dealt.iter().map(Vec::len).sum();
            assert_eq!(in_all, sockets.len().max(shards));
        }
    }

    #[test]
    fn localhost_is_the_loopback_of_ipv4_and_ipv6_has_its_own_form() {
        let (address, _listeners) = bind("localhost:0", 1).unwrap();
        assert!(address.ip().is_loopback() && address.is_ipv4());
        let (address, _listeners) = bind("[::1]:0", 2).unwrap();
        assert!(address.ip().is_loopback() && address.is_ipv6());
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        for bad in ["", "localhost", "127.0.0.1:99999", "no such host:1"] {
            let error = bind(bad, 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}");
            assert!(error.to_string().contains(bad));
        }
    }
}
