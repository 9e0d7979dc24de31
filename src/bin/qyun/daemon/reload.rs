//! `qyun reload`: the server in the background reads its configuration again.

use std::time::Duration;

use serde_json::Value;

use super::pid_file::{State, look};
use super::{Place, control, not_running};
use crate::exit::{Exit, Failure};
use crate::output;

/// Have the server in the background read its configuration file again.
///
/// No connection is dropped. What can change while it runs is in force when the command ends; what
/// needs a restart is named. If the file has a fault, nothing changes.
#[derive(clap::Args)]
#[command(
    after_help = "SIGHUP does the same. Exit code 2 for a fault in the file, 3 without a server."
)]
pub struct Args {
    #[command(flatten)]
    pub place: Place,
}

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(30);

impl Args {
    pub fn run(&self) -> Result<(), Failure> {
        let path = self.place.pid_file()?;
        let state = look(&path)?;
        if !matches!(state, State::Running(_)) {
            return Err(not_running(&path, &state));
        }
        let told = control::ask(&path, "reload", PATIENCE)?;
        if let Some(message) = told["message"].as_str() {
            let exit = Exit::from_code(told["exit_code"].as_u64().unwrap_or(1));
            return Err(Failure::new(exit, message));
        }
        if self.place.json {
            return output::line(told);
        }
        let keys = |name: &str| {
            let keys = told[name].as_array().into_iter().flatten().filter_map(Value::as_str);
            keys.collect::<Vec<_>>().join(", ")
        };
        match keys("changed").as_str() {
            "" => output::line("reloaded; nothing to change")?,
            changed => output::line(format_args!("reloaded; changed: {changed}"))?,
        }
        match keys("needs_restart").as_str() {
            "" => Ok(()),
            keys => output::line(format_args!("needs a restart: {keys}")),
        }
    }
}
