//! `qyun create`, `delete`, `channels` and `info`.

use qyun::hub::ChannelConfig;
use serde_json::json;

use crate::exit::Failure;
use crate::output;
use crate::remote::Remote;

/// Create a channel.
#[derive(clap::Args)]
#[command(
    after_help = "Without --option, the channel has the options of its namespace. With it, those that are not \
                  given are at their defaults, and the server's admin API is asked ('qyun options --channel' \
                  lists them).\nExit code 5 says that the channel exists already."
)]
pub struct Create {
    /// The channel's name: 1 to 255 bytes of UTF-8 without control characters
    name: String,
    /// Set an option of the channel; may be given again
    #[arg(long = "option", short = 'o', value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// What the server's option 'admin_token' is, if it has one
    #[arg(long, env = "QYUN_ADMIN_TOKEN", hide_env_values = true, default_value = "")]
    admin_token: String,
    #[command(flatten)]
    pub remote: Remote,
}

impl Create {
    pub fn run(&self) -> Result<(), Failure> {
        let http = self.remote.http()?;
        match self.options.is_empty() {
            true => http.create(&self.name)?,
            false => {
                let mut config = ChannelConfig::default();
                for option in &self.options {
                    config.set_all(option).map_err(|error| Failure::usage(error.to_string()))?;
                }
                http.create_with(&self.name, &config, &self.admin_token)?;
            }
        }
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
            ("members", channel.members),
            ("offset", channel.offset),
            ("epoch", channel.epoch),
            ("created_ms", channel.created_ms),
        ] {
            lines += &format!("{key:11}  {value}\n");
        }
        // Next to each other, because they add up.
        let all = &channel.deliveries;
        for (key, value) in [
            ("due", all.due),
            ("written", all.written),
            ("queued", all.queued),
            ("dropped", all.dropped()),
            ("lost", all.lost),
            ("closed_slow", all.closed_slow),
        ] {
            lines += &format!("{key:11}  {value}\n");
        }
        let options = channel.options.unwrap_or_default();
        let width = options.keys().map(String::len).max().unwrap_or(0);
        if !options.is_empty() {
            lines += "options\n";
        }
        for (key, value) in &options {
            // A string without its quotes.
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            lines += &format!("  {key:width$}  {value}\n");
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
