//! The server: shards that own sockets, and the operations that every face of it shares.

mod options;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use options::{OPTIONS, ServerOptions};

use crate::Result;
use crate::hub::{ChannelInfo, Counters, Published};
use crate::wire::MessageKind;

/// A running server. Dropping it stops it without a drain.
#[derive(Debug)]
pub struct Server {}

/// The operations, the same for C, HTTP and the command line. Every method may be called from any
/// thread and none waits for a subscriber.
#[derive(Debug)]
pub struct Service {}

impl Server {
    /// Binds, starts the shards, and returns once connections are accepted.
    pub fn start(_options: ServerOptions) -> Result<Self> {
        todo!()
    }

    /// The address it listens on, with the real port when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        todo!()
    }

    /// The operations on its channels.
    pub fn service(&self) -> &Arc<Service> {
        todo!()
    }

    /// Stops accepting, sends what is queued and a Close to every client, waits up to `drain` for
    /// them to go, closes the rest and joins every thread. True if all went by themselves. Calling
    /// it again, or from several threads, is harmless: all return when the server is stopped.
    pub fn stop(&self, _drain: Duration) -> bool {
        todo!()
    }
}

impl Service {
    /// Creates a channel.
    pub fn create_channel(&self, _name: &str) -> Result<()> {
        todo!()
    }

    /// Deletes a channel; its listeners are closed after the last message before the deletion.
    pub fn delete_channel(&self, _name: &str) -> Result<()> {
        todo!()
    }

    /// All channels, by name.
    pub fn channels(&self) -> Vec<ChannelInfo> {
        todo!()
    }

    /// One channel.
    pub fn channel(&self, _name: &str) -> Result<ChannelInfo> {
        todo!()
    }

    /// Broadcasts a message. Waits only while the shards are behind by `inbox_bytes`.
    pub fn publish(
        &self,
        _channel: &str,
        _kind: MessageKind,
        _payload: &[u8],
    ) -> Result<Published> {
        todo!()
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        todo!()
    }
}
