//! `qyun serve`: a server until a signal comes.

use std::time::Duration;

use qyun::server::{OPTIONS, Server, ServerOptions};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Failure;
use crate::{duration, limits, output, settings};

/// Serve channels until SIGINT or SIGTERM.
///
/// The first signal stops accepting, sends what is queued, closes every client and waits for them
/// up to --drain; a second one stops at once.
#[derive(clap::Args)]
#[command(after_long_help = long_help())]
pub struct Args {
    /// Address to listen on, HOST:PORT; port 0 takes any free one
    #[arg(long, env = "QYUN_LISTEN", value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Threads that own sockets; 0 is one per core
    #[arg(long, value_name = "N")]
    shards: Option<u64>,
    /// Create this channel at the start; may be given again
    #[arg(long, value_name = "NAME")]
    create: Vec<String>,
    /// Create a channel when it is first sent or listened to
    #[arg(long)]
    auto_create: bool,
    /// Set any other option; may be given again ('qyun options' lists them)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How long to wait for clients to go when stopping
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = duration::parse)]
    drain: Duration,
    /// What to log to stderr, in place of RUST_LOG [default: warn,qyun=info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Tell the address as a JSON object
    #[arg(long)]
    pub json: bool,
}

fn long_help() -> String {
    format!(
        "Options for --set, with their defaults:\n{}
Examples:
  qyun serve
  qyun serve --listen 0.0.0.0:8000 --create news --create sport
  qyun serve --auto-create --set queue_bytes=4194304 --log debug
  qyun serve --listen 127.0.0.1:0 --json    any free port, told on stdout",
        settings::text(OPTIONS)
    )
}

impl Args {
    /// Starts, tells where, and returns when the server has stopped.
    pub fn run(&self) -> Result<(), Failure> {
        let options = self.options()?;
        limits::raise_open_files(u64::MAX);
        let shards = match options.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            shards => shards,
        };
        // Before the server starts: from then on a signal means a graceful stop.
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let listen = options.listen.clone();
        let server = Server::start(options)
            .map_err(|error| Failure::from(error.context(format!("listening on {listen}"))))?;
        for name in &self.create {
            server.service().create_channel(name).map_err(|error| {
                Failure::from(error.context(format!("creating channel '{name}'")))
            })?;
        }
        self.announce(&server, shards)?;
        signals.forever().next();
        drain(&server, self.drain, signals)
    }

    fn options(&self) -> Result<ServerOptions, Failure> {
        let mut options = ServerOptions::default();
        for pair in &self.set {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Failure::usage(format!("--set '{pair}': it takes KEY=VALUE, like shards=2"))
            })?;
            options.set(key, value)?;
        }
        if let Some(listen) = &self.listen {
            options.set("listen", listen)?;
        }
        if let Some(shards) = self.shards {
            options.set("shards", &shards.to_string())?;
        }
        if self.auto_create {
            options.set("auto_create", "true")?;
        }
        Ok(options)
    }

    fn announce(&self, server: &Server, shards: usize) -> Result<(), Failure> {
        let (version, address) = (env!("CARGO_PKG_VERSION"), server.local_addr());
        match self.json {
            true => output::line(json!({
                "event": "listening", "version": version, "address": address.to_string(),
                "port": address.port(), "url": format!("http://{address}"), "shards": shards,
                "pid": std::process::id(),
            })),
            false => {
                let plural = if shards == 1 { "" } else { "s" };
                output::line(format_args!(
                    "Qyun {version} listening on http://{address} ({shards} shard{plural})"
                ))
            }
        }
    }
}

/// Stops `server`, waiting for its clients up to `deadline` or until another signal comes.
fn drain(server: &Server, deadline: Duration, mut signals: Signals) -> Result<(), Failure> {
    log::info!("stopping; waiting up to {deadline:?} for clients to go");
    let handle = signals.handle();
    let watch = std::thread::Builder::new().name("qy-signals".into()).spawn(move || {
        if signals.forever().next().is_some() {
            let failure = Failure::failed("a second signal: stopped without waiting for clients");
            let _ = failure.report(false);
            std::process::exit(failure.exit as i32);
        }
    })?;
    match server.stop(deadline) {
        true => log::info!("stopped"),
        false => log::warn!("stopped; some clients were cut off after {deadline:?}"),
    }
    handle.close();
    let _ = watch.join();
    Ok(())
}
