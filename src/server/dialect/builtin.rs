//! The dialects that are there without a host program, each at the path that an option names.

use std::sync::Arc;

use crate::Result;
use crate::server::Service;

/// Adds the endpoints of the built-in dialects. Called once, before the first connection.
pub(in crate::server) fn install(_service: &Arc<Service>) -> Result<()> {
    Ok(())
}
