//! `qyun stop`: a graceful stop, and a wait until the process has gone.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::json;

use super::Place;
use super::pid_file::{State, look};
use crate::exit::{Exit, Failure};
use crate::{duration, output};

/// Stop the server in the background, and wait until it has gone.
///
/// It sends what is queued and closes every client first, for as long as its drain_ms.
#[derive(clap::Args)]
#[command(after_help = "No server is no failure. Exit code 6 if it has not gone in time.")]
pub struct Args {
    #[command(flatten)]
    pub place: Place,
    /// How long to wait until it has gone
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = duration::parse)]
    timeout: Duration,
}

impl Args {
    pub fn run(&self) -> Result<(), Failure> {
        let path = self.place.pid_file()?;
        let state = look(&path)?;
        let State::Running(number) = state else {
            return self.tell(None, &format!("not running ({})", path.display()));
        };
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else { return Err(Failure::failed(format!("no process {number}"))) };
        let failure = |error: Errno| {
            let error = std::io::Error::from(error);
            Failure::failed(format!("cannot stop process {number}: {error}"))
        };
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return self.tell(Some(number), "stopped"),
            opened => opened.map_err(failure)?,
        };
        // From here on the descriptor is that process. If it had ended before, another one could
        // have got its number, but not the lock.
        if look(&path)? == state {
            match pidfd_send_signal(&process, Signal::TERM) {
                Err(Errno::SRCH) => {}
                sent => sent.map_err(failure)?,
            }
            self.wait(&process, number)?;
        }
        self.tell(Some(number), &format!("stopped process {number}"))
    }

    /// Waits until the process has ended.
    fn wait(&self, process: &impl std::os::fd::AsFd, number: u32) -> Result<(), Failure> {
        let end = Instant::now() + self.timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left =
                Timespec::try_from(left).map_err(|_| Failure::usage("that is too long a time"))?;
            match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&left)) {
                Ok(0) => {
                    let text = format!(
                        "process {number} was told to stop and has not gone in {:?}",
                        self.timeout
                    );
                    return Err(Failure::new(Exit::Timeout, text));
                }
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
        }
    }

    fn tell(&self, pid: Option<u32>, text: &str) -> Result<(), Failure> {
        match self.place.json {
            true => output::line(json!({ "stopped": pid.is_some(), "pid": pid })),
            false => output::line(text),
        }
    }
}
