//! `qyun start`: the command again, as a process of its own, and a wait until it serves.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::config::Flags;
use crate::exit::{Exit, Failure};
use crate::succession::Succession;
use crate::{duration, output};

/// The hidden command that the process is.
pub const CHILD: &str = "daemon-child";

/// Start a server in the background.
///
/// Returns once the server listens; a failure until then is told as 'qyun serve' would. What it
/// logs goes to log_file, or nowhere.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  qyun start --config qyun.toml
  qyun start --listen 0.0.0.0:8000 --log-file /var/log/qyun.log
  qyun status && qyun reload && qyun stop")]
pub struct Args {
    #[command(flatten)]
    pub flags: Flags,
    #[command(flatten)]
    pub succession: Succession,
    /// How long to wait until it listens
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = duration::parse)]
    timeout: Duration,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

impl Args {
    pub fn run(&self) -> Result<(), Failure> {
        // Faults of the configuration are told here, where there is somebody to read them.
        self.flags.sources().load()?;
        let mut child = self.spawn()?;
        let told = self.wait(&mut child)?;
        match (told["event"].as_str(), self.json) {
            (Some("listening"), true) => output::line(told),
            (Some("listening"), false) => {
                let (pid, url) = (&told["pid"], told["url"].as_str().unwrap_or_default());
                output::line(format_args!("started as process {pid}, listening on {url}"))
            }
            _ => {
                let code = told["exit_code"].as_u64().unwrap_or(1);
                let text = told["message"].as_str().unwrap_or("it did not say why");
                Err(Failure::new(Exit::from_code(code), text))
            }
        }
    }

    fn spawn(&self) -> Result<Child, Failure> {
        let failure = |error| Failure::from(error).context("cannot start a process");
        Command::new(std::env::current_exe().map_err(failure)?)
            .arg(CHILD)
            // Behind the program and "start".
            .args(std::env::args_os().skip(2))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failure)
    }

    /// The line that the process writes when it listens, or has failed.
    fn wait(&self, child: &mut Child) -> Result<Value, Failure> {
        let Some(stdout) = child.stdout.take() else { return Err(Failure::failed("no pipe")) };
        if !is_readable(&stdout, self.timeout)? {
            let _ = child.kill();
            let _ = child.wait();
            let text = format!("the server did not listen in {:?}; it was ended", self.timeout);
            return Err(Failure::new(Exit::Timeout, text));
        }
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        serde_json::from_str(&line).or_else(|_| {
            let mut said = String::new();
            if let Some(stderr) = &mut child.stderr {
                let _ = stderr.read_to_string(&mut said);
            }
            let status = child.wait()?;
            let text = format!("the server ended before it listened ({status})\n{said}");
            Err(Failure::failed(text.trim_end()))
        })
    }
}

/// Waits until something can be read, or the end.
fn is_readable(pipe: &impl std::os::fd::AsFd, patience: Duration) -> Result<bool, Failure> {
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left =
            Timespec::try_from(left).map_err(|_| Failure::usage("that is too long a time"))?;
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
    }
}
