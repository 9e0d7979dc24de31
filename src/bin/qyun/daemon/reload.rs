//! `qyun reload`: the server in the background reads its configuration again.

use std::time::Duration;

use serde_json::Value;

use super::{Place, order};
use crate::exit::Failure;
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
        order(&self.place, "reload", PATIENCE, tell)
    }
}

fn tell(told: &Value) -> Result<(), Failure> {
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
