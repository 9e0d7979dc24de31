//! The one-shot calls: no handle, no background thread, connections kept per host.

use std::sync::{Arc, PoisonError};

use super::host::Host;
use super::http::Http;
use super::state::state;
use super::{ClientOptions, tls};
use crate::Result;
use crate::wire::MessageKind;

/// Hosts whose connections are kept; beyond it all are closed and kept anew.
const MAX_HOSTS: usize = 256;

pub(crate) fn create_channel(host: &str, name: &str) -> Result<()> {
    agent(host)?.create(name)
}

pub(crate) fn send_message(host: &str, channel: &str, message: &str) -> Result<()> {
    agent(host)?.send(channel, MessageKind::Text, message.as_bytes()).map(drop)
}

/// Closes the kept connections. Calls that wait on them fail with `Connect`.
pub(crate) fn close_all() {
    let agents =
        std::mem::take(&mut *state().agents.write().unwrap_or_else(PoisonError::into_inner));
    agents.values().for_each(|agent| agent.close());
}

/// The kept connections to `host`: a read lock and one hash look-up once it is known.
pub(super) fn agent(host: &str) -> Result<Arc<Http>> {
    let agents = &state().agents;
    if let Some(agent) = agents.read().unwrap_or_else(PoisonError::into_inner).get(host) {
        return Ok(agent.clone());
    }
    let parsed = Host::parse(host)?;
    // Outside the lock: it may read the system's certificates.
    let tls = if parsed.is_secure() { Some(tls::config("")?) } else { None };
    let mut agents = agents.write().unwrap_or_else(PoisonError::into_inner);
    // The same host may be known under another spelling.
    let known = agents.values().find(|agent| *agent.host() == parsed).cloned();
    let agent = known.unwrap_or_else(|| {
        let options = ClientOptions::default();
        Arc::new(Http::with(parsed, tls, options.connect_timeout, options.request_timeout))
    });
    if agents.len() >= MAX_HOSTS {
        agents.clear();
    }
    agents.insert(host.into(), agent.clone());
    Ok(agent)
}
