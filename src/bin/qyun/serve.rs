//! `qyun serve`, and the process behind `qyun start`: a server until a signal comes.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::config::{Config, Flags, Sources};
use crate::daemon::control::{self, Control};
use crate::daemon::pid_file::{self, PidFile};
use crate::exit::Failure;
use crate::serving::Serving;
use crate::succession::{self, Succession};
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
    #[command(flatten)]
    succession: Succession,
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
        let process = Process::start(sources, config, pid_file, &self.succession)?;
        process.essential(process.announce(self.json))?;
        process.run()
    }
}

/// The process behind `qyun start`. It tells on stdout, in JSON, that it listens or why it does
/// not, and by then has nothing left of what it inherited.
pub fn run_as_daemon(args: &daemon::start::Args) -> Result<(), Failure> {
    let mut starter = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let nowhere = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere).map_err(io::Error::from)?;
    let started = become_daemon(args, &nowhere);
    let told = match &started {
        Ok(process) => process.listening(),
        Err(failure) => json!({
            "event": "failed", "message": failure.text, "exit_code": failure.exit as u8,
        }),
    };
    let told = writeln!(starter, "{told}").map_err(Failure::from);
    drop((starter, nowhere));
    let process = started.map_err(|failure| Failure::new(failure.exit, ""))?;
    process.essential(told)?;
    process.run()
}

fn become_daemon(args: &daemon::start::Args, nowhere: &File) -> Result<Process, Failure> {
    // A session of its own, so that the end of the terminal is not this process's.
    match rustix::process::setsid() {
        // Whoever leads a group has its session already.
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(io::Error::from(error).into()),
    }
    let sources = args.flags.sources();
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
    let process = Process::start(sources, config, Some(pid_file), &args.succession)?;
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
    fn start(
        sources: Sources,
        config: Config,
        pid_file: Option<PathBuf>,
        succession: &Succession,
    ) -> Result<Self, Failure> {
        log_output::configure(&config.log)?;
        for doubt in sources.doubts() {
            log::warn!(target: "qyun", "{doubt}");
        }
        let predecessor = succession.predecessor(pid_file.as_ref())?;
        let succeeds = predecessor.is_some();
        let mut held = None;
        if let Some(path) = pid_file.as_deref().filter(|_| !succeeds) {
            held = Some(PidFile::take(path)?);
        }
        limits::raise_open_files(u64::MAX);
        // Before the server starts: from then on a signal means a graceful stop. SIGHUP keeps its
        // ordinary meaning where there is nothing to read again.
        let mut watched = vec![SIGINT, SIGTERM, SIGUSR2];
        if sources.file.is_some() || pid_file.is_some() {
            watched.push(SIGHUP);
        }
        let listeners = systemd::listeners()?;
        let signals = Signals::new(watched)?;
        let serving = Arc::new(Serving::start(sources, config, listeners, predecessor)?);
        let mut process = Self { signals, serving, _control: None, _pid_file: held };
        process.essential(process.watch_over())?;
        if let Some(path) = pid_file {
            if succeeds {
                process._pid_file = process.essential(PidFile::inherit(&path))?;
            }
            process._control = process.essential(process.open_control(&path))?;
        }
        process.serving.notify_ready();
        Ok(process)
    }

    fn open_control(&self, pid_file: &Path) -> Result<Control, Failure> {
        let serving = Arc::clone(&self.serving);
        let answer = move |question: &str, stream: &UnixStream| serving.answer(question, stream);
        Control::open(control::path(pid_file), answer)
    }

    /// Begins to tell systemd that it lives, if that wants to know.
    fn watch_over(&self) -> Result<(), Failure> {
        let Some(period) = systemd::watchdog() else { return Ok(()) };
        let serving = Arc::downgrade(&self.serving);
        let thread = std::thread::Builder::new().name("qy-watchdog".into());
        thread.spawn(move || watch(&serving, period))?;
        Ok(())
    }

    /// What is needed around a server. One that has connections already, because it took them over,
    /// does without: then a failure is told in the log alone.
    fn essential<T>(&self, done: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(failure) if self.serving.taken_over().is_some() => {
                // One without a text is that nobody reads what is told on stdout.
                if !failure.text.is_empty() {
                    log::error!(target: "qyun", "serving all the same: {}", failure.text);
                }
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
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
            "taken_over": self.serving.taken_over().map(|taken| json!({
                "from": taken.from, "connections": taken.connections,
                "pause_ms": taken.pause.as_secs_f64() * 1000.0,
            })),
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
            // What came of it is in the log.
            match signal {
                SIGHUP => drop(self.serving.reload()),
                SIGUSR2 => {
                    if let (_, true) = succession::restart(&self.serving) {
                        succession::leave();
                    }
                }
                _ => break,
            }
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
            if signals.forever().any(|signal| signal != SIGHUP && signal != SIGUSR2) {
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
