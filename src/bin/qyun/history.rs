//! `qyun history`: prints what a channel has kept.

use std::io::{BufWriter, Write};

use qyun::client::{Http, Publication};
use qyun::hub::Range;
use qyun::wire::{MessageKind, Position};

use crate::exit::Failure;
use crate::listen::{data, position};
use crate::output;
use crate::remote::Remote;

/// Publications that are asked for at a time.
const PAGE: usize = 1000;

const EXAMPLES: &str = "\
Examples:
  qyun history news                       all that is kept, the oldest first
  qyun history news --limit 10 --reverse  the last ten, the newest first
  qyun history news --since 1700000000000000-41
  qyun history news --json | jq .data     with positions and times";

/// Print what a channel has kept.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The channel's name
    name: String,
    /// Only what was published behind this position, EPOCH-OFFSET
    #[arg(long, value_name = "POSITION", value_parser = position)]
    since: Option<Position>,
    /// Only what was published in front of this offset
    #[arg(long, value_name = "OFFSET")]
    before: Option<u64>,
    /// At most so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// The newest first
    #[arg(long)]
    reverse: bool,
    /// Print the messages' bytes and nothing between them
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    #[command(flatten)]
    pub remote: Remote,
}

impl Args {
    pub fn run(&self) -> Result<(), Failure> {
        let http = self.remote.http()?;
        let mut out = BufWriter::with_capacity(64 << 10, std::io::stdout());
        self.print(&http, &mut out)?;
        out.flush().map_err(|error| output::failure(&error))
    }

    fn print(&self, http: &Http, out: &mut impl Write) -> Result<(), Failure> {
        let mut range = Range {
            after: self.since.map(|since| since.offset),
            before: self.before,
            limit: PAGE,
            backward: self.reverse,
        };
        let mut left = self.limit.unwrap_or(u64::MAX);
        let mut epoch = self.since.map(|since| since.epoch);
        loop {
            range.limit = usize::try_from(left).unwrap_or(PAGE).min(PAGE);
            let page = http.history(&self.name, &range)?;
            let now = page.position.epoch;
            if epoch.is_some_and(|epoch| epoch != now) {
                let name = self.name.escape_debug();
                let text = format!("channel '{name}' has begun anew: its epoch is {now} now");
                return Err(Failure::failed(text));
            }
            epoch = Some(now);
            for publication in &page.publications {
                self.write(out, now, publication).map_err(|error| output::failure(&error))?;
            }
            left -= page.publications.len() as u64;
            match page.publications.last() {
                Some(last) if page.more && left > 0 && self.reverse => {
                    range.before = Some(last.offset);
                }
                Some(last) if page.more && left > 0 => range.after = Some(last.offset),
                _ => return Ok(()),
            }
        }
    }

    fn write(&self, out: &mut impl Write, epoch: u64, row: &Publication) -> std::io::Result<()> {
        if self.raw {
            return out.write_all(&row.data);
        }
        if self.remote.json {
            let mut object = data(row.kind == MessageKind::Text, &row.data);
            object["epoch"] = epoch.into();
            object["offset"] = row.offset.into();
            object["time_ms"] = row.time_ms.into();
            return writeln!(out, "{object}");
        }
        out.write_all(&row.data)?;
        out.write_all(b"\n")
    }
}
