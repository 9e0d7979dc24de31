//! `qyun status`: what the server in the background is and does.

use std::time::Duration;

use serde_json::{Value, json};

use super::pid_file::{State, look};
use super::{Place, control, not_running};
use crate::exit::Failure;
use crate::output;

/// Tell what the server in the background is and does.
#[derive(clap::Args)]
#[command(after_help = "Exit code 3 if it does not run.")]
pub struct Args {
    #[command(flatten)]
    pub place: Place,
}

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

impl Args {
    pub fn run(&self) -> Result<(), Failure> {
        let path = self.place.pid_file()?;
        let state = look(&path)?;
        if !matches!(state, State::Running(_)) {
            let failure = not_running(&path, &state);
            if self.place.json {
                output::line(json!({ "running": false, "pid_file": path.to_string_lossy() }))?;
                return Err(Failure::new(failure.exit, ""));
            }
            return Err(failure);
        }
        let status = control::ask(&path, "status", PATIENCE)?;
        match self.place.json {
            true => output::line(status),
            false => output::write_all(text(&status).as_bytes()),
        }
    }
}

/// The status for people.
fn text(status: &Value) -> String {
    let number = |key: &str| status[key].as_f64().unwrap_or(0.0);
    let mut text = String::new();
    let mut line = |name: &str, value: String| text += &format!("{name:<13}{value}\n");
    let plain = |key: &str| match &status[key] {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    };
    line("state", plain("state"));
    line("pid", plain("pid"));
    line("version", plain("version"));
    line("uptime", uptime(number("uptime_seconds")));
    line(
        "cpu",
        format!("{:.1} % on average, {:.2} s", number("cpu_percent"), number("cpu_seconds")),
    );
    line("memory", format!("{:.1} MiB", number("memory_bytes") / (1 << 20) as f64));
    let ports = status["ports"].as_object();
    let ports = ports.into_iter().flatten().map(|(name, port)| format!("{port} ({name})"));
    line("ports", ports.collect::<Vec<_>>().join(", "));
    for key in ["clients", "users", "groups", "channels", "subscribers", "config"] {
        line(key, plain(key));
    }
    text
}

fn uptime(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes_are_told_in_two_units() {
        for (seconds, told) in
            [(0.9, "0 s"), (61.0, "1 min 1 s"), (3600.0, "1 h 0 min"), (90_000.0, "1 d 1 h")]
        {
            assert_eq!(uptime(seconds), told);
        }
    }
}
