//! The options as arguments: each has a flag of its own, made from the table.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, Error, FromArgMatches};
use qyun::options::{OptionKind, OptionSpec};

use super::{Given, Sources, print, table};
use crate::duration;

/// What `qyun serve` and `qyun start` take.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub file: Option<PathBuf>,
    given: Vec<Given>,
}

/// Flags that `-h` shows, too; `--help` shows all.
const FREQUENT: &[&str] = &["listen", "shards", "auto_create", "create", "log_filter", "pid_file"];

impl Flags {
    pub fn sources(&self) -> Sources {
        Sources::new(self.file.clone(), self.given.clone())
    }
}

fn name(spec: &OptionSpec) -> String {
    spec.key.replace('_', "-")
}

fn argument(spec: &'static OptionSpec) -> Arg {
    let arg = Arg::new(spec.key)
        .long(name(spec))
        .help(format!("{} {}", spec.help.trim_end_matches('.'), print::hint(spec)))
        .help_heading(format!("Options, [{}]", spec.section))
        .hide_short_help(!FREQUENT.contains(&spec.key));
    let arg = match spec.kind {
        OptionKind::Boolean => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL"),
        OptionKind::Integer { .. } => arg.value_name("N").allow_negative_numbers(true),
        OptionKind::Choice(words) => arg.value_name(words.join("|")),
        OptionKind::Text => arg.value_name("TEXT"),
    };
    match spec.key {
        "listen" => arg.value_name("HOST:PORT"),
        "create" => arg.value_name("NAME").action(ArgAction::Append),
        "log_filter" => arg.value_name("FILTER").visible_alias("log"),
        "log_file" | "pid_file" => arg.value_name("FILE"),
        _ => arg,
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let command = command
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("Read this configuration file ('qyun config default' prints one) [env: QYUN_CONFIG]"),
            )
            .arg(
                Arg::new("set")
                    .long("set")
                    .value_name("KEY=VALUE")
                    .action(ArgAction::Append)
                    .help("Set an option by its key; may be given again"),
            )
            .arg(
                Arg::new("drain")
                    .long("drain")
                    .value_name("TIME")
                    .conflicts_with("drain_ms")
                    .value_parser(duration::parse)
                    .help("How long to wait for clients to go when stopping, like 5s [default: 30s]"),
            );
        command.args(table::all().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self { file: matches.get_one("config").cloned(), given: Vec::new() };
        for pair in matches.get_many::<String>("set").into_iter().flatten() {
            // Without '=', the key is all there is, and its fault tells what is missing.
            let Some((key, value)) = pair.split_once('=') else {
                let text = format!("--set '{pair}': it takes KEY=VALUE, like shards=2\n");
                return Err(Error::raw(clap::error::ErrorKind::ValueValidation, text));
            };
            flags.push(key, value, format!("--set {pair}"));
        }
        if let Some(drain) = matches.get_one::<std::time::Duration>("drain") {
            flags.push("drain_ms", &drain.as_millis().to_string(), "--drain".into());
        }
        for spec in table::all() {
            let values: Vec<&String> = matches.get_many(spec.key).into_iter().flatten().collect();
            if !values.is_empty() {
                let values: Vec<&str> = values.into_iter().map(String::as_str).collect();
                flags.push(spec.key, &values.join(","), format!("--{}", name(spec)));
            }
        }
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Flags {
    fn push(&mut self, key: &str, value: &str, flag: String) {
        self.given.push(Given { key: key.into(), value: value.into(), flag });
    }
}
