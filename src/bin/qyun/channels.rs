//! `qyun create`, `delete`, `channels` and `info`.

use serde_json::json;

use crate::exit::Failure;
use crate::output;
use crate::remote::Remote;

/// Create a channel.
#[derive(clap::Args)]
#[command(after_help = "Exit code 5 says that the channel exists already.")]
pub struct Create {
    /// The channel's name: 1 to 255 bytes of UTF-8 without control characters
    name: String,
    #[command(flatten)]
    pub remote: Remote,
}

impl Create {
    pub fn run(&self) -> Result<(), Failure> {
        self.remote.http()?.create(&self.name)?;
        say(&self.remote, &format!("Channel '{}' created", self.name))
    }
}

/// Delete a channel and disconnect its listeners.
#[derive(clap::Args)]
pub struct Delete {
    /// The channel's name
    name: String,
    #[command(flatten)]
    pub remote: Remote,
}

impl Delete {
    pub fn run(&self) -> Result<(), Failure> {
        self.remote.http()?.delete(&self.name)?;
        say(&self.remote, &format!("Channel '{}' deleted", self.name))
    }
}

/// List the channels.
#[derive(clap::Args)]
pub struct List {
    #[command(flatten)]
    pub remote: Remote,
}

impl List {
    pub fn run(&self) -> Result<(), Failure> {
        let channels = self.remote.http()?.channels()?;
        if self.remote.json {
            return output::line(json!({ "status": "success", "channels": channels }));
        }
        let width = channels.iter().map(|channel| channel.name.chars().count()).max();
        let width = width.unwrap_or(0).max(7);
        let mut table =
            format!("{:width$}  {:>11}  {:>12}\n", "channel", "subscribers", "messages");
        for channel in &channels {
            let (name, subscribers, messages) =
                (&channel.name, channel.subscribers, channel.offset);
            table += &format!("{name:width$}  {subscribers:>11}  {messages:>12}\n");
        }
        output::write_all(table.as_bytes())
    }
}

/// Show what is known of a channel.
#[derive(clap::Args)]
pub struct Info {
    /// The channel's name
    name: String,
    #[command(flatten)]
    pub remote: Remote,
}

impl Info {
    pub fn run(&self) -> Result<(), Failure> {
        let channel = self.remote.http()?.channel(&self.name)?;
        if self.remote.json {
            return output::line(json!({ "status": "success", "channel": channel }));
        }
        let mut lines = format!("{:11}  {}\n", "name", channel.name);
        for (key, value) in [
            ("subscribers", channel.subscribers),
            ("offset", channel.offset),
            ("epoch", channel.epoch),
            ("created_ms", channel.created_ms),
        ] {
            lines += &format!("{key:11}  {value}\n");
        }
        output::write_all(lines.as_bytes())
    }
}

/// Shows a success.
fn say(remote: &Remote, message: &str) -> Result<(), Failure> {
    match remote.json {
        true => output::line(json!({ "status": "success", "message": message })),
        false => output::line(message),
    }
}
