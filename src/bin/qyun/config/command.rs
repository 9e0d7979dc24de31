//! `qyun config`: look at a configuration without serving.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{Config, Fault, Flags, Origin, Setting, Sources, namespaces, print, table};
use crate::exit::Failure;
use crate::output;

/// Check, show, or write a configuration.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(Check),
    Show(Show),
    Default(Default),
}

/// Check a file, and the environment with it.
#[derive(clap::Args)]
#[command(
    after_help = "Every fault is told with its line, key and value; exit code 2 if there is one."
)]
struct Check {
    /// The file
    #[arg(env = "QYUN_CONFIG")]
    file: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Show what every option would be, and where each value comes from.
#[derive(clap::Args)]
#[command(after_help = "It takes the arguments of 'qyun serve'.")]
struct Show {
    #[command(flatten)]
    flags: Flags,
    /// Only what is not the default
    #[arg(long)]
    changed: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Print a file with every option at its default, and what each does.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  qyun config default > qyun.toml")]
struct Default {}

impl Args {
    pub fn json(&self) -> bool {
        match &self.command {
            Command::Check(args) => args.json,
            Command::Show(args) => args.json,
            Command::Default(_) => false,
        }
    }

    pub fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Check(args) => args.run(),
            Command::Show(args) => args.run(),
            Command::Default(_) => output::write_all(print::default_file().as_bytes()),
        }
    }
}

impl Check {
    fn run(&self) -> Result<(), Failure> {
        let sources = Sources::new(self.file.clone(), Vec::new());
        let doubts = sources.doubts();
        let read = sources.load();
        if self.json {
            let faults = read.as_ref().err().map_or(&[][..], Vec::as_slice);
            output::line(json!({
                "ok": read.is_ok(),
                "errors": faults.iter().map(Fault::json).collect::<Vec<_>>(),
                "warnings": doubts,
            }))?;
            return read.map(drop).map_err(|_| Failure::usage(""));
        }
        for doubt in doubts {
            eprintln!("qyun: {doubt}");
        }
        let config = read?;
        let changed = config.settings.values().filter(|one| one.origin != Origin::Default).count();
        let total = config.settings.len();
        let file = sources.file.map_or("no file".into(), |file| file.display().to_string());
        output::line(format_args!("{file}: ok, {changed} of {total} options are set"))
    }
}

impl Show {
    fn run(&self) -> Result<(), Failure> {
        let config = self.flags.sources().load()?;
        match self.json {
            true => output::line(self.json_of(&config)),
            false => output::write_all(self.text_of(&config).as_bytes()),
        }
    }

    fn shows(&self, config: &Config, key: &str) -> bool {
        !self.changed
            || config.settings.get(key).is_some_and(|setting| setting.origin != Origin::Default)
    }

    fn json_of(&self, config: &Config) -> Value {
        let mut all = Map::new();
        for spec in table::all() {
            if let Some(setting) = config.settings.get(spec.key)
                && self.shows(config, spec.key)
            {
                let (value, origin) = (setting.shown(spec), setting.origin.to_string());
                all.insert(spec.key.into(), json!({ "value": value, "from": origin }));
            }
        }
        all.into()
    }

    /// A file again, with the origins as comments.
    fn text_of(&self, config: &Config) -> String {
        let mut text = String::new();
        let tables = Tables::of(config);
        for (section, specs) in table::sections() {
            let shown: Vec<_> = specs
                .into_iter()
                .filter(|spec| self.shows(config, spec.key) && spec.key != tables.key)
                .collect();
            if shown.is_empty() {
                continue;
            }
            let gap = if text.is_empty() { "" } else { "\n" };
            text += &format!("{gap}[{section}]\n");
            for spec in shown {
                if let Some(setting) = config.settings.get(spec.key) {
                    let value = print::literal(spec, setting.shown(spec));
                    text += &format!("{} = {value}  # {}\n", spec.key, setting.origin);
                }
            }
        }
        if !text.is_empty() && !tables.text.is_empty() {
            text += "\n";
        }
        text + &tables.text
    }
}

/// The option that is shown as tables.
struct Tables {
    /// None if it is shown like the others, being empty.
    key: &'static str,
    text: String,
}

impl Tables {
    fn of(config: &Config) -> Self {
        match config.settings.get(namespaces::KEY) {
            Some(Setting { value, origin }) if !value.is_empty() => {
                Self { key: namespaces::KEY, text: namespaces::tables(value, &origin.to_string()) }
            }
            _ => Self { key: "", text: String::new() },
        }
    }
}
