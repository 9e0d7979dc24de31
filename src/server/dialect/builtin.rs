//! The dialects that are there without a host program, each at the path that an option names.

use std::sync::Arc;

use super::session::Session;
use super::{EndpointOptions, gateway, packet};
use crate::Result;
use crate::server::Service;

/// Adds the endpoints of the built-in dialects. Called once, before the first connection.
pub(in crate::server) fn install(service: &Arc<Service>) -> Result<()> {
    let options = service.options();
    if !options.packet_path.is_empty() {
        let max_message_bytes = options.packet_max_bytes;
        let limits = EndpointOptions { max_message_bytes, ..limits(service) };
        let handler = packet::Dialect(Arc::clone(service.packets()));
        service.add_endpoint(&options.packet_path, limits, Arc::new(handler))?;
    }
    if !options.gateway_path.is_empty() {
        let limits = EndpointOptions { heartbeat: options.gateway_heartbeat, ..limits(service) };
        let handler = gateway::Dialect::new(&options);
        service.add_endpoint(&options.gateway_path, limits, Arc::new(handler))?;
    }
    if !options.session_path.is_empty() {
        // A message within the limit has room for its JSON around it, for base64 and for escapes.
        let max_message_bytes = options.max_message_bytes.saturating_mul(2).saturating_add(4096);
        let limits = EndpointOptions { max_message_bytes, ..limits(service) };
        service.add_endpoint(&options.session_path, limits, Arc::new(Session))?;
    }
    Ok(())
}

/// The limits of a built-in dialect: the server's own.
fn limits(service: &Service) -> EndpointOptions {
    let options = service.options();
    EndpointOptions {
        max_message_bytes: options.max_message_bytes,
        ping_interval: options.ping_interval,
        pong_wait: options.pong_wait,
        origins: options.origins.clone(),
        // If the server does.
        compression: true,
        ..EndpointOptions::default()
    }
}
