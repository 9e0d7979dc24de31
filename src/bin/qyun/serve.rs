//! `qyun serve`, and the process behind `qyun start`: a server until a signal comes.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::config::{Config, Flags, Sources};
use crate::daemon::control::{self, Control};
use crate::daemon::pid_file::{self, PidFile};
use crate::exit::Failure;
use crate::serving::Serving;
use crate::systemd::State;
use crate::{daemon, limits, log_output, output, systemd};

/// Serve until SIGINT or SIGTERM.
///
/// The first signal stops accepting, sends what is queued, closes every client and waits for them
/// up to --drain; a second one stops at once. With --config, SIGHUP reads the file again.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  qyun serve
  qyun serve --config qyun.toml
  qyun serve --listen 0.0.0.0:8000 --create news --create sport
  qyun serve --auto-create --queue-bytes 4194304 --log debug
  qyun serve --listen 127.0.0.1:0 --json    any free port, told on stdout")]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Tell the address as a JSON object
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// Starts, tells where, and returns when the server has stopped.
    pub fn run(&self) -> Result<(), Failure> {
        let sources = self.flags.sources();
        let config = sources.load()?;
        let pid_file = config.pid_file.clone();
        let process = Process::start(sources, config, pid_file)?;
        process.announce(self.json)?;
        process.run()
    }
}

/// The process behind `qyun start`. It tells on stdout, in JSON, that it listens or why it does
/// not, and by then has nothing left of what it inherited.
pub fn run_as_daemon(args: &daemon::start::Args) -> Result<(), Failure> {
    let mut starter = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let nowhere = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere).map_err(io::Error::from)?;
    let started = become_daemon(&args.flags, &nowhere);
    let told = match &started {
        Ok(process) => process.listening(),
        Err(failure) => json!({
            "event": "failed", "message": failure.text, "exit_code": failure.exit as u8,
        }),
    };
    writeln!(starter, "{told}")?;
    drop((starter, nowhere));
    started.map_err(|failure| Failure::new(failure.exit, ""))?.run()
}

fn become_daemon(flags: &Flags, nowhere: &File) -> Result<Process, Failure> {
    // A session of its own, so that the end of the terminal is not this process's.
    match rustix::process::setsid() {
        // Whoever leads a group has its session already.
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(io::Error::from(error).into()),
    }
    let sources = flags.sources();
    let config = sources.load()?;
    let pid_file = match &config.pid_file {
        Some(path) => path.clone(),
        None => {
            let path = pid_file::default_path()?;
            pid_file::make_default_folder(&path)?;
            path
        }
    };
    let has_log = config.log.file.is_some();
    let process = Process::start(sources, config, Some(pid_file))?;
    // Until here, `qyun start` would have shown what a panic says.
    if !has_log {
        rustix::stdio::dup2_stderr(nowhere).map_err(io::Error::from)?;
    }
    // The folder it was started in is not to be held. All paths are absolute by now.
    std::env::set_current_dir("/")?;
    Ok(process)
}

/// Tells systemd twice in each `period` that the server lives, as long as all its shards go round.
fn watch(serving: &Weak<Serving>, period: Duration) {
    let half = period / 2;
    while let Some(serving) = serving.upgrade() {
        match serving.server().is_responsive(half) {
            true => serving.notify(&State::Alive),
            false => log::error!(target: "qyun", "a shard has done nothing for {half:?}"),
        }
        drop(serving);
        std::thread::sleep(half);
    }
}

/// A process that serves. What stands in the file system for it goes when this is dropped.
struct Process {
    signals: Signals,
    serving: Arc<Serving>,
    /// Before the pid file: the socket goes while the process is known to run.
    _control: Option<Control>,
    _pid_file: Option<PidFile>,
}

impl Process {
    fn start(sources: Sources, config: Config, pid_file: Option<PathBuf>) -> Result<Self, Failure> {
        log_output::configure(&config.log)?;
        for doubt in sources.doubts() {
            log::warn!(target: "qyun", "{doubt}");
        }
        let held = pid_file.as_deref().map(PidFile::take).transpose()?;
        limits::raise_open_files(u64::MAX);
        // Before the server starts: from then on a signal means a graceful stop. SIGHUP keeps its
        // ordinary meaning where there is nothing to read again.
        let mut watched = vec![SIGINT, SIGTERM];
        if sources.file.is_some() || held.is_some() {
            watched.push(SIGHUP);
        }
        let listeners = systemd::listeners()?;
        let signals = Signals::new(watched)?;
        let serving = Arc::new(Serving::start(sources, config, listeners)?);
        let control = pid_file.map(|path| {
            let serving = Arc::clone(&serving);
            Control::open(control::path(&path), move |question| serving.answer(question))
        });
        let control = control.transpose()?;
        if let Some(period) = systemd::watchdog() {
            let serving = Arc::downgrade(&serving);
            let thread = std::thread::Builder::new().name("qy-watchdog".into());
            thread.spawn(move || watch(&serving, period))?;
        }
        serving.notify_ready();
        Ok(Self { signals, serving, _control: control, _pid_file: held })
    }

    /// That it listens, and where.
    fn listening(&self) -> Value {
        let address = self.serving.server().local_addr();
        json!({
            "event": "listening", "version": env!("CARGO_PKG_VERSION"),
            "address": address.to_string(), "port": address.port(),
            "url": format!("http://{address}"), "shards": self.serving.shards(),
            "grpc": self.serving.server().grpc_addr().map(|address| address.to_string()),
            "pid": std::process::id(),
        })
    }

    fn announce(&self, as_json: bool) -> Result<(), Failure> {
        if as_json {
            return output::line(self.listening());
        }
        let (address, shards) = (self.serving.server().local_addr(), self.serving.shards());
        let (version, plural) = (env!("CARGO_PKG_VERSION"), if shards == 1 { "" } else { "s" });
        let grpc = match self.serving.server().grpc_addr() {
            Some(address) => format!(", gRPC on {address}"),
            None => String::new(),
        };
        output::line(format_args!(
            "Qyun {version} listening on http://{address}{grpc} ({shards} shard{plural})"
        ))
    }

    /// Serves until a signal ends it.
    fn run(mut self) -> Result<(), Failure> {
        for signal in self.signals.forever() {
            if signal != SIGHUP {
                break;
            }
            // What came of it is in the log.
            let _: Value = self.serving.reload();
        }
        self.drain()
    }

    /// Stops the server, waiting for its clients up to the deadline or until another signal comes.
    fn drain(self) -> Result<(), Failure> {
        let deadline: Duration = self.serving.begin_stop();
        log::info!(target: "qyun", "stopping; waiting up to {deadline:?} for clients to go");
        let handle = self.signals.handle();
        let mut signals = self.signals;
        let watch = std::thread::Builder::new().name("qy-signals".into()).spawn(move || {
            if signals.forever().any(|signal| signal != SIGHUP) {
                let text = "a second signal: stopped without waiting for clients";
                let failure = Failure::failed(text);
                let _ = failure.report(false);
                std::process::exit(failure.exit as i32);
            }
        })?;
        match self.serving.server().stop(deadline) {
            true => log::info!(target: "qyun", "stopped"),
            false => {
                log::warn!(target: "qyun", "stopped; some clients were cut off after {deadline:?}");
            }
        }
        handle.close();
        let _ = watch.join();
        Ok(())
    }
}
