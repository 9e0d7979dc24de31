//! `qyun store`: look at the folder of durable channels, and mend it.

use std::path::PathBuf;

use clap::Subcommand;
use qyun::store::{self, Report};
use serde_json::json;

use crate::exit::Failure;
use crate::output;

/// Check or repair the folder in which a server keeps its durable channels.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(Check),
    Repair(Repair),
}

/// Read all of a store and tell what is damaged; nothing is changed.
#[derive(clap::Args)]
#[command(after_help = "Exit code 1 says that something is damaged. No server may have it open.")]
struct Check {
    #[command(flatten)]
    place: Place,
}

/// Keep what is good of a damaged store, so that a server opens it again.
#[derive(clap::Args)]
#[command(after_help = "\
What is bad is put into files that end with '.bad'. If anything was, every channel begins a new
epoch: clients are told that they missed something. No server may have the store open.")]
struct Repair {
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
struct Place {
    /// The folder, as the option 'store' names it
    folder: PathBuf,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn json(&self) -> bool {
        match &self.command {
            Command::Check(args) => args.place.json,
            Command::Repair(args) => args.place.json,
        }
    }

    pub fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Check(args) => args.run(),
            Command::Repair(args) => args.run(),
        }
    }
}

impl Check {
    fn run(&self) -> Result<(), Failure> {
        let report = store::check(&self.place.folder)?;
        tell(&self.place, "damaged", &report)?;
        match report.damage.len() {
            0 => Ok(()),
            // What there is has been told.
            _ if self.place.json => Err(Failure::failed("")),
            many => {
                let folder = self.place.folder.display();
                let text = format!(
                    "{folder}: damaged in {many} places; 'qyun store repair' keeps the rest"
                );
                Err(Failure::failed(text))
            }
        }
    }
}

impl Repair {
    fn run(&self) -> Result<(), Failure> {
        let report = store::repair(&self.place.folder)?;
        tell(&self.place, "taken out", &report)
    }
}

fn tell(place: &Place, word: &str, report: &Report) -> Result<(), Failure> {
    if place.json {
        return output::line(json!(report));
    }
    let Report { channels, segments, records, bytes, damage, torn } = report;
    let mut text = String::new();
    for one in damage {
        text += &format!(
            "{word}: {} at byte {}, {} bytes: {}\n",
            one.file, one.at, one.bytes, one.what
        );
    }
    if *torn > 0 {
        text += &format!("a torn last write of {torn} bytes: the next opening cuts it off\n");
    }
    text += &format!(
        "{channels} channels, {segments} segments, {records} good records of {bytes} bytes\n"
    );
    output::write_all(text.as_bytes())
}
