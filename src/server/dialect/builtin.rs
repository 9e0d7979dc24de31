//! The dialects that are there without a host program, each at the path that an option names.

use std::sync::Arc;

use super::members::Members;
use super::session::Session;
use super::{EndpointOptions, Handler, gateway, packet};
use crate::Result;
use crate::server::{ServerOptions, Service};
use crate::wire::{Dialect, members};

/// What is read from a client in a turn, and joined for one at most.
const BUFFER_BYTES: usize = 256 << 10;
/// More than the header, the name and the other fields of a request with a message.
const PACKET_BYTES: usize = 1024;

/// Adds the endpoints of the built-in dialects. Called once, before the first connection.
pub(in crate::server) fn install(service: &Arc<Service>) -> Result<()> {
    let options = service.options();
    for (dialect, path, limits) in places(&options) {
        let handler: Arc<dyn Handler> = match dialect {
            Dialect::Packet => Arc::new(packet::Dialect(Arc::clone(service.packets()))),
            Dialect::Gateway => Arc::new(gateway::Dialect::new(&options)),
            Dialect::Stream => Arc::new(Members),
            _ => Arc::new(Session),
        };
        service.add_endpoint(path, limits, handler)?;
    }
    Ok(())
}

/// Gives the endpoints the limits that the options say now. The shards must be told.
pub(in crate::server) fn follow(service: &Service) {
    let options = service.options();
    for (dialect, path, limits) in places(&options) {
        // A program may have put something else there.
        if service.endpoint(path).is_some_and(|there| there.handler.dialect() == dialect) {
            service.limit_endpoint(path, limits);
        }
    }
}

/// Where the dialects are, and their limits: the server's own, but for what a dialect has itself.
fn places(options: &ServerOptions) -> Vec<(Dialect, &str, EndpointOptions)> {
    let limits = EndpointOptions {
        max_message_bytes: options.max_message_bytes,
        ping_interval: options.ping_interval,
        pong_wait: options.pong_wait,
        origins: options.origins.clone(),
        // If the server does.
        compression: true,
        read_buffer_bytes: BUFFER_BYTES,
        write_buffer_bytes: BUFFER_BYTES,
        ..EndpointOptions::default()
    };
    let packet = EndpointOptions { max_message_bytes: options.packet_max_bytes, ..limits.clone() };
    let gateway = EndpointOptions { heartbeat: options.gateway_heartbeat, ..limits.clone() };
    // A message within the limit has room for its JSON around it, for base64 and for escapes.
    let max_message_bytes = options.max_message_bytes.saturating_mul(2).saturating_add(4096);
    let session = EndpointOptions { max_message_bytes, ..limits.clone() };
    // A message within the limit has room for what stands in front of it.
    let max_message_bytes = options.max_message_bytes.saturating_add(PACKET_BYTES);
    let members = EndpointOptions { max_message_bytes, ..limits };
    let mut places = vec![
        (Dialect::Packet, &*options.packet_path, packet),
        (Dialect::Gateway, &*options.gateway_path, gateway),
        (Dialect::Session, &*options.session_path, session),
        (Dialect::Stream, members::PATH, members),
    ];
    places.retain(|(_, path, _)| !path.is_empty());
    places
}
