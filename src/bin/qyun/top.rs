//! `qyun top`: the slowest connections of a server, again and again.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use qyun::hub::Slow;
use serde_json::json;

use crate::duration;
use crate::exit::Failure;
use crate::output;
use crate::remote::Remote;

/// Show the slowest connections, those for which the most waits.
#[derive(clap::Args)]
#[command(after_help = "It asks the admin API: on the server's machine, or with its token.")]
pub struct Args {
    /// What they are ranked by
    #[arg(long, default_value = "queued", value_name = "WHAT",
          value_parser = ["queued", "messages", "age", "dropped"])]
    by: String,
    /// At most so many connections
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    /// How long to wait before asking again
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = duration::parse)]
    interval: Duration,
    /// Ask once
    #[arg(long)]
    once: bool,
    /// The admin API's token
    #[arg(
        long,
        env = "QYUN_ADMIN_TOKEN",
        hide_env_values = true,
        default_value = "",
        value_name = "TOKEN"
    )]
    token: String,
    #[command(flatten)]
    pub remote: Remote,
}

impl Args {
    pub fn run(&self) -> Result<(), Failure> {
        let http = self.remote.http()?;
        let clears = !self.once && !self.remote.json && std::io::stdout().is_terminal();
        loop {
            let slow = http.top(&self.by, self.limit, &self.token)?;
            if self.remote.json {
                output::line(json!({ "status": "success", "connections": slow }))?;
            } else {
                // The cursor to the corner, and what was there away.
                let start = if clears { "\x1b[H\x1b[2J" } else { "" };
                output::write_all(format!("{start}{}", table(&slow)).as_bytes())?;
            }
            std::io::stdout().flush().map_err(|error| output::failure(&error))?;
            if self.once {
                return Ok(());
            }
            std::thread::sleep(self.interval);
        }
    }
}

fn table(slow: &[Slow]) -> String {
    let mut table = format!(
        "{:>12}  {:>9}  {:>9}  {:>9}  {:8}  {:21}  {:24}  {}\n",
        "queued bytes", "messages", "oldest ms", "dropped", "dialect", "remote", "id", "channels"
    );
    for one in slow {
        let remote = one.remote.map(|remote| remote.to_string()).unwrap_or_default();
        let id = match (&one.id, &one.user) {
            (Some(id), Some(user)) => format!("{id} ({user})"),
            (Some(id), None) => id.to_string(),
            (None, _) => format!("{}/{}", one.shard, one.socket),
        };
        table += &format!(
            "{:>12}  {:>9}  {:>9}  {:>9}  {:8}  {remote:21}  {:24}  {}\n",
            one.queued_bytes,
            one.queued_messages,
            one.oldest_ms,
            one.dropped,
            one.dialect,
            id.escape_debug().to_string(),
            one.channels.join(" ").escape_debug(),
        );
    }
    table
}
