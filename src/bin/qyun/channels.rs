//! `qyun create`, `delete`, `channels` and `info`.

use serde_json::Value;

use crate::exit::Failure;
use crate::http::{Server, channel_path};
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
        let path = channel_path("/channel/create/", &self.name)?;
        let answer = Server::new(&self.remote)?.get(&path)?;
        say(&self.remote, &answer)
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
        let path = channel_path("/channel/", &self.name)?;
        let answer = Server::new(&self.remote)?.delete(&path)?;
        say(&self.remote, &answer)
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
        let answer = Server::new(&self.remote)?.get("/channels")?;
        if self.remote.json {
            return output::line(&answer);
        }
        let channels = answer.get("channels").unwrap_or(&answer);
        let channels = channels.as_array().map(Vec::as_slice).unwrap_or_default();
        let names = channels.iter().map(|channel| text(channel, "name"));
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0).max(7);
        let mut table =
            format!("{:width$}  {:>11}  {:>12}\n", "channel", "subscribers", "messages");
        for channel in channels {
            let (name, subscribers) = (text(channel, "name"), text(channel, "subscribers"));
            let messages = text(channel, "offset");
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
        let path = channel_path("/channel/info/", &self.name)?;
        let answer = Server::new(&self.remote)?.get(&path)?;
        if self.remote.json {
            return output::line(&answer);
        }
        let channel = answer.get("channel").filter(|value| value.is_object()).unwrap_or(&answer);
        let mut lines = String::new();
        for key in ["name", "subscribers", "offset", "epoch", "created_ms"] {
            lines += &format!("{key:11}  {}\n", text(channel, key));
        }
        output::write_all(lines.as_bytes())
    }
}

/// Shows a success: its text for people, all of it as JSON.
fn say(remote: &Remote, answer: &Value) -> Result<(), Failure> {
    match remote.json {
        true => output::line(answer),
        false => output::line(text(answer, "message")),
    }
}

/// The value of `key` as text; empty when there is none.
fn text(object: &Value, key: &str) -> String {
    match object.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}
