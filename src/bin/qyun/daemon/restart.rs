//! `qyun restart`: another process of the program takes over what this one serves.

use std::time::Duration;

use super::{Place, order};
use crate::exit::Failure;
use crate::output;

/// Restart the server without closing a connection.
///
/// The server starts its program again, with the arguments and from the folder that it was started
/// with, and the configuration as it is now; hands over its address, channels and connections; and
/// ends. Clients notice a pause of some milliseconds. If the new process fails, the old one serves on.
#[derive(clap::Args)]
#[command(
    after_help = "SIGUSR2 does the same. Exit code 1 if the old process serves on, 3 without a server."
)]
pub struct Args {
    #[command(flatten)]
    pub place: Place,
}

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl Args {
    pub fn run(&self) -> Result<(), Failure> {
        order(&self.place, "restart", PATIENCE, |told| {
            output::line(format_args!(
                "process {} serves in place of {}: {} connections, after a pause of {:.1} ms",
                told["pid"],
                told["from"],
                told["connections"],
                told["pause_ms"].as_f64().unwrap_or_default()
            ))
        })
    }
}
