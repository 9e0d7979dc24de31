//! `qyun send`.

use qyun::client::Http;
use qyun::hub::{PublishOptions, Report, Reports};
use qyun::wire::MessageKind;
use serde_json::{Map, Value, json};

use crate::exit::Failure;
use crate::remote::Remote;
use crate::{output, stdin};

const EXAMPLES: &str = "\
Examples:
  qyun send news 'hello, world'
  date | qyun send news                   all of stdin, the last newline included
  tail -f app.log | qyun send news --lines
  qyun send --binary pictures - < cat.jpg
  qyun send orders 'order 7' --key order-7    again and again, and it is published once
  qyun send --batch - <<'END'
  {\"channel\":\"news\",\"message\":\"hi\"}
  {\"channel\":\"pictures\",\"message\":\"/w==\",\"encoding\":\"base64\",\"key\":\"k\"}
  END";

/// Send a message to everyone who listens to a channel, or many messages at once.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The channel's name
    #[arg(required_unless_present = "batch")]
    name: Option<String>,
    /// The message; without it, or as '-', it is read from stdin
    message: Option<String>,
    /// Send each line of stdin as a message, as soon as it is read
    #[arg(long)]
    lines: bool,
    /// Send bytes; without it a message is UTF-8 text
    #[arg(long)]
    binary: bool,
    /// Publish it once under this key of 1 to 255 bytes, however often it is sent
    #[arg(long, conflicts_with = "lines")]
    key: Option<String>,
    /// What it is the latest value of, in a channel with overload=keep_latest
    #[arg(long, value_name = "KEY")]
    conflate: Option<String>,
    /// Wait until it is known how many subscribers it reached, and tell
    #[arg(long, conflicts_with = "lines")]
    result: bool,
    /// Send the messages of a file, or of stdin as '-', in one request: JSON objects or an array of them
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["name", "message", "lines", "binary", "key", "conflate"]
    )]
    batch: Option<String>,
    #[command(flatten)]
    pub remote: Remote,
}

impl Args {
    pub fn run(&self) -> Result<(), Failure> {
        let server = self.remote.http()?;
        if let Some(file) = &self.batch {
            return self.send_batch(&server, file);
        }
        let from_stdin = matches!(self.message.as_deref(), None | Some("-"));
        let mut sent = 0_u64;
        let mut report = None;
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
                report = self.send(&server, message.as_bytes())?;
                sent = 1;
            }
            (Some(_), false) => {
                return Err(Failure::usage("--lines reads stdin; give no MESSAGE with it"));
            }
            _ => {
                report = self.send(&server, &stdin::whole(std::io::stdin().lock())?)?;
                sent = 1;
            }
        }
        match (self.remote.json, report) {
            (true, report) => {
                let mut told = report.as_ref().map(members).unwrap_or_default();
                told.insert("status".into(), "success".into());
                told.insert("channel".into(), self.name().into());
                told.insert("messages".into(), sent.into());
                output::line(Value::from(told))
            }
            (false, Some(report)) if self.result => output::line(line(&report)),
            _ => Ok(()),
        }
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Sends one message; what became of it, if more than that was asked for.
    fn send(&self, server: &Http, message: &[u8]) -> Result<Option<Report>, Failure> {
        let kind = if self.binary { MessageKind::Binary } else { MessageKind::Text };
        if !self.binary && std::str::from_utf8(message).is_err() {
            return Err(Failure::usage("the message is not UTF-8; send bytes with --binary"));
        }
        let options = PublishOptions {
            key: self.key.as_deref().map(str::as_bytes),
            conflate: self.conflate.as_deref(),
            counts: self.result,
        };
        if options.key.is_none() && options.conflate.is_none() && !options.counts {
            server.send(self.name(), kind, message)?;
            return Ok(None);
        }
        Ok(Some(server.send_with(self.name(), kind, message, &options)?))
    }

    fn send_batch(&self, server: &Http, file: &str) -> Result<(), Failure> {
        let batch = match file {
            "-" => stdin::whole(std::io::stdin().lock())?,
            file => std::fs::read(file)
                .map_err(|error| Failure::failed(format!("cannot read '{file}': {error}")))?,
        };
        let reports = server.send_json(&batch, self.result)?;
        let all = reports.len();
        let failed = reports.iter().filter(|report| report.is_err()).count();
        if self.remote.json {
            let status = if failed == 0 { "success" } else { "error" };
            let results: Vec<_> = reports.iter().map(told).collect();
            output::line(
                json!({"status": status, "messages": all, "failed": failed, "results": results}),
            )?;
        } else if self.result {
            for report in &reports {
                match report {
                    Ok(report) => output::line(line(report))?,
                    Err(error) => output::line(error)?,
                }
            }
        }
        first_failure(reports).map_or(Ok(()), |(at, failure)| {
            Err(failure.context(format!("{failed} of {all} messages failed; message {at}")))
        })
    }
}

/// The number of the first message that failed, from 1, and why.
fn first_failure(reports: Reports) -> Option<(usize, Failure)> {
    let mut numbered = reports.into_iter().enumerate();
    numbered.find_map(|(at, report)| Some((at + 1, Failure::from(report.err()?))))
}

fn told(report: &qyun::Result<Report>) -> Value {
    match report {
        Ok(report) => members(report).into(),
        Err(error) => json!({"error": error.to_string()}),
    }
}

/// What became of a message, in JSON.
fn members(report: &Report) -> Map<String, Value> {
    let published = report.published;
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| members.insert(name.into(), value);
    add("epoch", published.position.epoch.into());
    add("offset", published.position.offset.into());
    add("subscribers", published.subscribers.into());
    add("duplicate", published.duplicate.into());
    if let Some(counts) = report.counts {
        add("reached", counts.reached.into());
        add("queued", counts.queued.into());
        add("dropped", counts.dropped.into());
    }
    members
}

/// The same for people.
fn line(report: &Report) -> String {
    let at = report.published.position.offset;
    let again = if report.published.duplicate { ", published before" } else { "" };
    let counts = report.counts.map(|counts| {
        format!(
            ": reached {}, queued {}, dropped {}",
            counts.reached, counts.queued, counts.dropped
        )
    });
    format!("offset {at}{again}{}", counts.unwrap_or_default())
}
