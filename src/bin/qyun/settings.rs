//! The table of options: `qyun options`, and the end of `qyun serve --help`.

use qyun::options::{OptionKind, OptionSpec};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::output;

/// List the options of a server, of a client, or of a channel.
#[derive(clap::Args)]
#[command(
    after_help = "A server takes them as flags, variables, and in a file: see 'qyun config default'."
)]
pub struct Args {
    /// The options of a client in place of those of a server
    #[arg(long)]
    client: bool,
    /// The options of a channel
    #[arg(long, conflicts_with = "client")]
    channel: bool,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

impl Args {
    pub fn run(&self) -> Result<(), Failure> {
        let table = match (self.client, self.channel) {
            (true, _) => qyun::client::OPTIONS,
            (_, true) => qyun::hub::CHANNEL_OPTIONS,
            _ => qyun::server::OPTIONS,
        };
        match self.json {
            true => output::line(Value::Array(table.iter().map(describe).collect())),
            false => output::write_all(text(table).as_bytes()),
        }
    }
}

/// What `spec` takes, for people.
fn accepted(spec: &OptionSpec) -> String {
    match spec.kind {
        OptionKind::Integer { min, max } => format!("{min} to {max}"),
        OptionKind::Text => "text".into(),
        OptionKind::Boolean => "true or false".into(),
        OptionKind::Choice(words) => words.join(", "),
    }
}

fn describe(spec: &OptionSpec) -> Value {
    let mut option = json!({
        "key": spec.key, "type": spec.kind.name(), "default": spec.default, "help": spec.help,
    });
    match spec.kind {
        OptionKind::Integer { min, max } => {
            option["min"] = min.into();
            option["max"] = max.into();
        }
        OptionKind::Choice(words) => option["choices"] = words.into(),
        OptionKind::Text | OptionKind::Boolean => {}
    }
    option
}

/// Each option with its default and what it takes, and below it what it does.
pub fn text(table: &[OptionSpec]) -> String {
    let mut text = String::new();
    for spec in table {
        let (key, default, accepted) = (spec.key, spec.default, accepted(spec));
        text += &format!("  {key}={default}  [{accepted}]\n      {}\n", spec.help);
    }
    text
}
