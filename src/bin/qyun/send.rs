//! `qyun send`.

use qyun::client::Http;
use qyun::wire::MessageKind;

use crate::exit::Failure;
use crate::remote::Remote;
use crate::{output, stdin};

const EXAMPLES: &str = "\
Examples:
  qyun send news 'hello, world'
  date | qyun send news                   all of stdin, the last newline included
  tail -f app.log | qyun send news --lines
  qyun send --binary pictures - < cat.jpg";

/// Send a message to everyone who listens to a channel.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The channel's name
    name: String,
    /// The message; without it, or as '-', it is read from stdin
    message: Option<String>,
    /// Send each line of stdin as a message, as soon as it is read
    #[arg(long)]
    lines: bool,
    /// Send bytes; without it a message is UTF-8 text
    #[arg(long)]
    binary: bool,
    #[command(flatten)]
    pub remote: Remote,
}

impl Args {
    pub fn run(&self) -> Result<(), Failure> {
        let server = self.remote.http()?;
        let from_stdin = matches!(self.message.as_deref(), None | Some("-"));
        let mut sent = 0_u64;
        match (&self.message, from_stdin) {
            (_, true) if self.lines => {
                let mut input = std::io::stdin().lock();
                let mut line = Vec::new();
                while stdin::next_line(&mut input, &mut line)? {
                    let told = |failure: Failure| failure.context(format!("line {}", sent + 1));
                    self.send(&server, &line).map_err(told)?;
                    sent += 1;
                }
            }
            (Some(message), false) if !self.lines => {
                self.send(&server, message.as_bytes())?;
                sent = 1;
            }
            (Some(_), false) => {
                return Err(Failure::usage("--lines reads stdin; give no MESSAGE with it"));
            }
            _ => {
                self.send(&server, &stdin::whole(std::io::stdin().lock())?)?;
                sent = 1;
            }
        }
        match self.remote.json {
            true => output::line(
                serde_json::json!({"status": "success", "channel": self.name, "messages": sent}),
            ),
            false => Ok(()),
        }
    }

    fn send(&self, server: &Http, message: &[u8]) -> Result<(), Failure> {
        let kind = if self.binary { MessageKind::Binary } else { MessageKind::Text };
        if !self.binary && std::str::from_utf8(message).is_err() {
            return Err(Failure::usage("the message is not UTF-8; send bytes with --binary"));
        }
        Ok(server.send(&self.name, kind, message).map(drop)?)
    }
}
