//! A server in the background: `qyun start`, `stop`, `status`, `reload` and `restart`, the pid file that says
//! which process it is, and the control socket over which it answers.

pub mod control;
pub mod pid_file;
pub mod reload;
pub mod restart;
pub mod start;
pub mod status;
pub mod stop;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::config::{Given, Sources};
use crate::exit::{Exit, Failure};
use crate::output;
use pid_file::{State, look};

/// What a command that looks for a daemon takes.
#[derive(clap::Args, Debug, Clone)]
pub struct Place {
    /// The daemon's pid file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// The daemon's configuration file, which may name the pid file [env: QYUN_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

impl Place {
    /// The pid file, found as `qyun start` finds it.
    pub fn pid_file(&self) -> Result<PathBuf, Failure> {
        let given = self.pid_file.iter().map(|path| Given {
            key: "pid_file".into(),
            value: path.to_string_lossy().into_owned(),
            flag: "--pid-file".into(),
        });
        // Only this value counts: a fault elsewhere in the file is the daemon's matter.
        match Sources::new(self.config.clone(), given.collect()).pid_file() {
            Some(path) => Ok(path),
            None => pid_file::default_path(),
        }
    }
}

/// Has the daemon do what may fail, as `reload` and `restart`. What comes of it is told in JSON, if that
/// is wanted, or by `tell`; a failure there is one here.
fn order(
    place: &Place,
    what: &str,
    patience: Duration,
    tell: impl FnOnce(&Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let path = place.pid_file()?;
    let state = look(&path)?;
    if !matches!(state, State::Running(_)) {
        return Err(not_running(&path, &state));
    }
    let told = control::ask(&path, what, patience)?;
    if let Some(message) = told["message"].as_str() {
        let exit = Exit::from_code(told["exit_code"].as_u64().unwrap_or(1));
        return Err(Failure::new(exit, message));
    }
    match place.json {
        true => output::line(told),
        false => tell(&told),
    }
}

/// That there is no daemon to talk to.
fn not_running(pid_file: &Path, state: &State) -> Failure {
    let stale = match state {
        State::Stale(pid) => format!("; the file was left by process {pid}"),
        _ => String::new(),
    };
    Failure::new(Exit::Connect, format!("not running ({}{stale})", pid_file.display()))
}
