//! `qyun restart`: another process of the program takes over what this one serves.

use std::time::Duration;

use super::pid_file::{State, look};
use super::{Place, control, not_running};
use crate::exit::{Exit, Failure};
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
        let path = self.place.pid_file()?;
        let state = look(&path)?;
        if !matches!(state, State::Running(_)) {
            return Err(not_running(&path, &state));
        }
        let told = control::ask(&path, "restart", PATIENCE)?;
        if let Some(message) = told["message"].as_str() {
            let exit = Exit::from_code(told["exit_code"].as_u64().unwrap_or(1));
            return Err(Failure::new(exit, message));
        }
        if self.place.json {
            return output::line(told);
        }
        output::line(format_args!(
            "process {} serves in place of {}: {} connections, after a pause of {:.1} ms",
            told["pid"],
            told["from"],
            told["connections"],
            told["pause_ms"].as_f64().unwrap_or_default()
        ))
    }
}
