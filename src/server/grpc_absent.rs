//! What stands for gRPC in a library that is built without it.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use super::Service;
use crate::{Error, ErrorKind, Result};

/// There is none of these.
#[derive(Debug)]
pub(super) struct Grpc(Infallible);

impl Grpc {
    /// Refuses a `grpc_listen`, and a socket for it.
    pub(super) fn start(
        service: &Arc<Service>,
        listener: Option<TcpListener>,
    ) -> Result<Option<Self>> {
        if listener.is_some() {
            let text = "this library was built without gRPC and has no use for a socket of it";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        match service.options().grpc_listen.as_str() {
            "" => Ok(None),
            listen => Err(Error::new(
                ErrorKind::InvalidOption,
                format!(
                    "option 'grpc_listen' cannot be '{listen}': this library was built without \
                     gRPC; leave it empty, or build with the feature 'grpc'"
                ),
            )),
        }
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        match self.0 {}
    }

    pub(super) fn take_listener(&self) -> Option<TcpListener> {
        match self.0 {}
    }

    pub(super) fn request_stop(&self, _drain: Duration) {
        match self.0 {}
    }

    pub(super) fn join(&self) -> bool {
        match self.0 {}
    }
}
