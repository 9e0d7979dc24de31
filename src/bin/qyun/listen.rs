//! `qyun listen`: prints what is published on channels.

use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crossbeam_channel::{Receiver, Sender, bounded};
use qyun::client::{Client, Delivery, Event, EventKind};
use qyun::hub::Range;
use qyun::wire::{MessageKind, Position};
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::remote::Remote;
use crate::{duration, output};

/// Events that may wait for stdout; then the connection is not read until there is room.
const WAITING: usize = 1024;

const EXAMPLES: &str = "\
Examples:
  qyun listen news                        each message as a line
  qyun listen news sport                  each line begins with the channel and a tab
  qyun listen news --json | jq .data      messages with newlines or bytes arrive whole
  qyun listen news --count 1 --for 10s    exit code 6 when none came in 10 seconds
  qyun listen news --all                  what the channel has kept, then what comes
  qyun listen news --meta                 each line begins with the message's position and a tab
  qyun listen news --since 1700000000000000-41

'qyun: listening …' on stderr says that from then on every message is seen. A lost connection is
restored, and what was missed meanwhile is printed if the channel has kept it; otherwise stderr
says where it goes on.";

/// Print what is published on channels.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The channels' names
    #[arg(required = true)]
    names: Vec<String>,
    /// Begin behind this position, EPOCH-OFFSET; of one channel
    #[arg(long, value_name = "POSITION", value_parser = position)]
    since: Option<Position>,
    /// Begin with the oldest message that is kept
    #[arg(long, conflicts_with = "since")]
    all: bool,
    /// Begin each line with the message's position and a tab
    #[arg(long, conflicts_with_all = ["json", "raw"])]
    meta: bool,
    /// Tell in JSON of connections made and lost as well
    #[arg(long, requires = "json")]
    events: bool,
    /// Set an option of the connection; see 'qyun options --client'
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = option)]
    options: Vec<(String, String)>,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so long
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    limit: Option<Duration>,
    /// Print the messages' bytes and nothing between them
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Say nothing on stderr but failures
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    pub remote: Remote,
}

/// What the printing thread is told.
enum Told {
    Event(Event),
    /// Whoever read stdout has gone.
    ReaderGone,
}

impl Args {
    pub fn run(&self) -> Result<(), Failure> {
        if self.since.is_some() && self.names.len() > 1 {
            let text = "--since is a position in one channel; listen to one, or use --all";
            return Err(Failure::new(Exit::Usage, text));
        }
        let (tell, told) = bounded(WAITING);
        let client = self.open()?;
        // Dropping a subscription ends it.
        let mut subscriptions = Vec::with_capacity(self.names.len());
        for name in &self.names {
            let tell = tell.clone();
            let deliver = move |event: &Event| {
                // Refused only when the printing has ended, and the process is about to.
                let _ = tell.send(Told::Event(event.clone()));
            };
            let deliver = Delivery::Thread(Box::new(deliver));
            subscriptions.push(match self.begin(&client, name)? {
                None => client.subscribe(name, deliver)?,
                Some(since) => client.subscribe_since(name, since, deliver)?,
            });
        }
        if !self.quiet {
            let (names, host) = (self.names.join(", "), &self.remote.host);
            let _ = writeln!(std::io::stderr(), "qyun: listening to {names} on {host}");
        }
        watch_reader(tell);
        let end = self.print(&told);
        client.close();
        drop(subscriptions);
        end
    }

    /// Behind which position to begin; `None` is the present one.
    fn begin(&self, client: &Client, name: &str) -> Result<Option<Position>, Failure> {
        if !self.all {
            return Ok(self.since);
        }
        let range = Range { after: None, before: None, limit: 1, backward: true };
        let history = client.history(name, &range)?;
        let offset = history.first.saturating_sub(1);
        Ok(Some(Position { epoch: history.position.epoch, offset }))
    }

    fn open(&self) -> Result<Client, Failure> {
        let mut options = self.remote.options()?;
        // A slow stdout holds the connection; what it cannot take is the server's to judge.
        options.set("overflow", "block")?;
        for (key, value) in &self.options {
            options.set(key, value)?;
        }
        let client = Client::open(&self.remote.host, options)?;
        client.wait_connected(self.remote.timeout).map_err(|error| {
            // A connection refused again and again is told as such, not as a timeout.
            Failure::from(client.last_error().unwrap_or(error))
        })?;
        Ok(client)
    }

    fn print(&self, told: &Receiver<Told>) -> Result<(), Failure> {
        let mut out = BufWriter::with_capacity(64 << 10, std::io::stdout());
        let deadline = self.limit.map(|limit| Instant::now() + limit);
        let mut left = self.count;
        let mut open = self.names.len();
        loop {
            if told.is_empty() {
                out.flush().map_err(|error| output::failure(&error))?;
            }
            let event = match (next(told, deadline), left) {
                (Some(Told::Event(event)), _) => event,
                (Some(Told::ReaderGone), _) => return Err(Failure::new(Exit::Quiet, "")),
                (None, None) => return Ok(()),
                (None, Some(left)) => {
                    let limit = self.limit.unwrap_or_default();
                    let text = format!("{left} messages did not come within {limit:?}");
                    return Err(Failure::new(Exit::Timeout, text));
                }
            };
            if self.events && event.kind != EventKind::Message {
                writeln!(out, "{}", notice(&event)).map_err(|error| output::failure(&error))?;
            }
            match event.kind {
                EventKind::Message => {
                    self.write(&mut out, &event).map_err(|error| output::failure(&error))?;
                    left = left.map(|left| left - 1);
                    if left == Some(0) {
                        return out.flush().map_err(|error| output::failure(&error));
                    }
                }
                EventKind::Connected if event.recovered == Some(false) => {
                    let text = String::from_utf8_lossy(&event.data);
                    log::warn!("'{}': {text}", event.channel);
                }
                EventKind::Connected => log::info!("listening to '{}'", event.channel),
                EventKind::Error => {
                    log::warn!("'{}': {}", event.channel, String::from_utf8_lossy(&event.data));
                }
                // Nobody asked who is there.
                EventKind::Join | EventKind::Leave => {}
                EventKind::Closed => {
                    let reason = String::from_utf8_lossy(&event.data);
                    let text = format!("channel '{}' closed: {reason}", event.channel);
                    open -= 1;
                    if open == 0 {
                        out.flush().map_err(|error| output::failure(&error))?;
                        return Err(Failure::failed(text));
                    }
                    log::warn!("{text}");
                }
            }
        }
    }

    fn write(&self, out: &mut impl Write, event: &Event) -> std::io::Result<()> {
        if self.raw {
            return out.write_all(&event.data);
        }
        if self.remote.json {
            return writeln!(out, "{}", as_json(event));
        }
        if self.names.len() > 1 {
            write!(out, "{}\t", event.channel)?;
        }
        if self.meta {
            write!(out, "{}\t", event.position)?;
        }
        out.write_all(&event.data)?;
        out.write_all(b"\n")
    }
}

fn as_json(event: &Event) -> serde_json::Value {
    let mut object = data(event.message_kind == MessageKind::Text, &event.data);
    object["channel"] = (&*event.channel).into();
    object["offset"] = event.position.offset.into();
    object["epoch"] = event.position.epoch.into();
    object
}

/// What is told besides messages: `event`, and of a connection `epoch`, `offset` and `recovered`.
fn notice(event: &Event) -> serde_json::Value {
    let text = String::from_utf8_lossy(&event.data);
    match event.kind {
        EventKind::Connected => json!({
            "event": "connected",
            "channel": &*event.channel,
            "epoch": event.position.epoch,
            "offset": event.position.offset,
            "recovered": event.recovered,
        }),
        EventKind::Closed => json!({ "event": "closed", "channel": &*event.channel, "text": text }),
        _ => json!({ "event": "error", "channel": &*event.channel, "text": text }),
    }
}

/// Reads an option of the connection.
fn option(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it takes KEY=VALUE")?;
    Ok((key.into(), value.into()))
}

/// A message as an object: `data`, or `data_base64` for what is not text.
pub fn data(is_text: bool, data: &[u8]) -> serde_json::Value {
    match std::str::from_utf8(data) {
        Ok(text) if is_text => json!({ "data": text }),
        _ => json!({ "data_base64": BASE64_STANDARD.encode(data) }),
    }
}

/// Reads a position.
pub fn position(text: &str) -> Result<Position, String> {
    text.parse()
        .map_err(|_| "it takes EPOCH-OFFSET, two numbers, such as 1700000000000000-41".into())
}

/// What is told next; `None` at the deadline.
fn next(told: &Receiver<Told>, deadline: Option<Instant>) -> Option<Told> {
    match deadline {
        // The reader's watcher keeps a sender for as long as the process lives.
        None => told.recv().ok(),
        Some(deadline) => told.recv_deadline(deadline).ok(),
    }
}

/// Tells when the other end of stdout's pipe is closed, so that `qyun listen | head -1` ends
/// without waiting for another message. The thread lives as long as the process.
fn watch_reader(tell: Sender<Told>) {
    let watch = move || {
        use rustix::event::{PollFd, PollFlags, poll};
        let stdout = std::io::stdout();
        let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
        loop {
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(1..) if fds[0].revents().contains(PollFlags::ERR) => {
                    let _ = tell.send(Told::ReaderGone);
                    return;
                }
                // Not something that can be watched; the sender stays, so that `next` can wait.
                _ => loop {
                    std::thread::park();
                },
            }
        }
    };
    let thread = std::thread::Builder::new().name("qy-stdout".into());
    if let Err(error) = thread.spawn(watch) {
        log::warn!("a closed stdout is noticed only at the next message: {error}");
    }
}
