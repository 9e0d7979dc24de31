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

use crate::config::{Given, Sources};
use crate::exit::{Exit, Failure};

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

/// That there is no daemon to talk to.
fn not_running(pid_file: &Path, state: &pid_file::State) -> Failure {
    let stale = match state {
        pid_file::State::Stale(pid) => format!("; the file was left by process {pid}"),
        _ => String::new(),
    };
    Failure::new(Exit::Connect, format!("not running ({}{stale})", pid_file.display()))
}
