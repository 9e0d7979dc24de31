//! The gateway dialect's gRPC: 21 methods, each a service of its own, server reflection and health,
//! on a port of its own.
//!
//! One thread with a runtime of its own serves every connection; a call is executed on it by the
//! [`Service`] and never waits for a client. hyper speaks HTTP/2, tonic the gRPC on top of it.
//!
//! - `methods`: the table of the contract, and what each row does;
//! - `schema`: the table as the descriptors that reflection serves;
//! - `wire`: requests and replies as protobuf;
//! - `router`: from a path to what answers it;
//! - `connections`: sockets, their limits and their end.

mod connections;
mod methods;
mod router;
mod schema;
mod wire;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::{Service, listen};
use crate::sync::thread::JoinHandle;
use crate::{Error, Result, thread};
use router::Router;

/// A request's two fields, for the fuzz targets.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn arguments(bytes: &[u8]) -> Option<(String, String)> {
    let arguments: wire::Arguments = prost::Message::decode(bytes).ok()?;
    Some((arguments.first, arguments.second))
}

/// A running gRPC server.
#[derive(Debug)]
pub(super) struct Grpc {
    address: SocketAddr,
    /// Kept for whoever takes it over; none once it is asked to stop.
    listener: Mutex<Option<TcpListener>>,
    stop: Mutex<Option<oneshot::Sender<Duration>>>,
    /// Empty once it is stopped; true from the thread says that all calls were finished. Whoever
    /// stops it holds the lock while it joins.
    thread: Mutex<Option<JoinHandle<bool>>>,
}

impl Grpc {
    /// Starts on `listener`, or what `grpc_listen` asks for. Errors: as of [`super::Server::start`].
    pub(super) fn start(
        service: &Arc<Service>,
        listener: Option<TcpListener>,
    ) -> Result<Option<Self>> {
        let options = service.options();
        let (address, listener) = match listener {
            Some(listener) => {
                listener.set_nonblocking(true)?;
                (listener.local_addr()?, listener)
            }
            None if options.grpc_listen.is_empty() => return Ok(None),
            None => listen::bind_one(&options.grpc_listen)
                .map_err(|error| error.context("option 'grpc_listen'"))?,
        };
        let kept = listener.try_clone()?;
        let router = Router::new(Arc::clone(service))?;
        let (stop, stopped) = oneshot::channel();
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| Error::from(error).context("gRPC"))?;
        let name = format!("{}-grpc", options.thread_name);
        let thread = thread::spawn(&name, move || {
            // What is left when this ends is dropped with the runtime: sockets, streams, timers.
            runtime.block_on(connections::serve(listener, router, stopped))
        })?;
        log::info!(target: "qyun::server", "gRPC on {address}");
        Ok(Some(Self {
            address,
            listener: Mutex::new(Some(kept)),
            stop: Mutex::new(Some(stop)),
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// The address it listens on.
    pub(super) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The socket that it listens on, for who takes it over; none once it was asked to stop.
    pub(super) fn take_listener(&self) -> Option<TcpListener> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Asks it to stop: to accept no more, to end the streams, and to wait up to `drain` for calls
    /// that have begun.
    pub(super) fn request_stop(&self, drain: Duration) {
        // Nobody shall wait at a socket that nobody looks at.
        drop(self.take_listener());
        if let Some(stop) = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = stop.send(drain);
        }
    }

    /// Waits until it has stopped. False if a call was cut. Again, or from several threads, it is
    /// harmless.
    pub(super) fn join(&self) -> bool {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.take().is_none_or(|thread| {
            thread.join().unwrap_or_else(|_| {
                log::error!(target: "qyun::server", "the gRPC thread panicked");
                false
            })
        })
    }
}

impl Drop for Grpc {
    fn drop(&mut self) {
        self.request_stop(Duration::ZERO);
        // A shard that waited for it could be what it waits for.
        if !thread::must_not_wait() {
            self.join();
        }
    }
}
