//! A server that runs and its configuration: what it tells of itself, and how it takes a new one.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qyun::ErrorKind;
use qyun::server::{Listeners, Server, TakenOver};
use serde_json::{Value, json};

use crate::config::{self, Config, Setting, Sources};
use crate::daemon::control::{self, Reply};
use crate::exit::Failure;
use crate::log_output;
use crate::procfs;
use crate::succession;
use crate::systemd::{Notifier, State};

/// What runs.
pub struct Serving {
    server: Server,
    shards: usize,
    sources: Sources,
    config: Mutex<Config>,
    started: Instant,
    stopping: AtomicBool,
    systemd: Option<Notifier>,
    taken_over: Option<TakenOver>,
    /// Held by whoever brings this process to its end, in one way or the other.
    transition: Mutex<()>,
}

/// What a reload did.
struct Reloaded {
    changed: Vec<&'static str>,
    needs_restart: Vec<&'static str>,
}

impl Serving {
    /// Starts in place of `predecessor`, or on `listeners`, or where the configuration says.
    pub fn start(
        sources: Sources,
        config: Config,
        listeners: Listeners,
        predecessor: Option<UnixStream>,
    ) -> Result<Self, Failure> {
        let shards = match config.server.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            shards => shards,
        };
        let listen = &config.server.listen;
        let (server, taken_over) = match predecessor {
            Some(stream) => {
                let (server, taken_over) = Server::take_over(config.server.clone(), stream)
                    .map_err(|error| Failure::from(error.context("taking over")))?;
                (server, Some(taken_over))
            }
            None => {
                let server = Server::start_on(config.server.clone(), listeners);
                let context = |error: qyun::Error| error.context(format!("listening on {listen}"));
                (server.map_err(|error| Failure::from(context(error)))?, None)
            }
        };
        for name in &config.create {
            match create(&server, name) {
                // It has connections already, which are not to end for this.
                Err(failure) if taken_over.is_some() => {
                    log::error!(target: "qyun", "{}", failure.text);
                }
                created => created?,
            }
        }
        Ok(Self {
            server,
            shards,
            sources,
            config: Mutex::new(config),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            systemd: Notifier::of_environment(),
            taken_over,
            transition: Mutex::default(),
        })
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Tells systemd, if that runs this process.
    pub fn notify(&self, state: &State<'_>) {
        if let Some(systemd) = &self.systemd {
            systemd.tell(state);
        }
    }

    /// Tells systemd that it serves, and where.
    pub fn notify_ready(&self) {
        if self.systemd.is_some() {
            let address = self.server.local_addr();
            self.notify(&State::Ready(&format!("listening on http://{address}")));
        }
    }

    fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has taken over, if it came in place of another process.
    pub fn taken_over(&self) -> Option<&TakenOver> {
        self.taken_over.as_ref()
    }

    /// Where the process was started.
    pub fn folder(&self) -> &Path {
        self.sources.folder()
    }

    /// The right to hand everything over; a failure when it stops.
    pub fn transition(&self) -> Result<MutexGuard<'_, ()>, Failure> {
        let guard = self.transition.lock().unwrap_or_else(PoisonError::into_inner);
        match self.stopping.load(Relaxed) {
            true => Err(Failure::failed("the server is stopping")),
            false => Ok(guard),
        }
    }

    /// It has handed everything over: it stops without a word.
    pub fn begin_leaving(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Tells that it stops from now on; gives how long it may wait for its clients. Waits while it
    /// hands over.
    pub fn begin_stop(&self) -> Duration {
        let _alone = self.transition.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stopping.load(Relaxed) {
            // Everything is another's by now.
            crate::succession::leave();
        }
        self.stopping.store(true, Relaxed);
        self.notify(&State::Stopping);
        self.config().drain
    }

    /// What the control socket is asked.
    pub fn answer(&self, question: &str, stream: &UnixStream) -> Reply {
        let leave = || Box::new(|| -> () { succession::leave() }) as Box<dyn FnOnce()>;
        Reply::Told(match question {
            "status" => self.status(),
            "reload" => self.reload(),
            "restart" => match succession::restart(self) {
                (told, true) => return Reply::ToldThen(told, leave()),
                (told, false) => told,
            },
            control::HAND_OVER => {
                let stream = stream.try_clone().map_err(Failure::from);
                let done = stream.and_then(|stream| succession::hand_over(self, stream));
                // What went wrong was told over the socket, and in the log.
                return Reply::Then(done.is_ok().then(leave));
            }
            _ => json!({ "message": format!("no question '{}'", question.escape_debug()) }),
        })
    }

    fn status(&self) -> Value {
        let address = self.server.local_addr();
        let counters = self.server.service().counters();
        let mut ports = json!({ "http": address.port() });
        if let Some(grpc) = self.server.grpc_addr() {
            ports["grpc"] = json!(grpc.port());
        }
        let uptime = self.started.elapsed().as_secs_f64();
        // Nothing of a process without /proc.
        let cpu = procfs::cpu_seconds(std::process::id()).ok();
        let memory = procfs::Memory::of(std::process::id()).ok();
        let config = self.sources.file.as_ref().map(|path| path.to_string_lossy());
        json!({
            "running": true,
            "state": if self.stopping.load(Relaxed) { "stopping" } else { "running" },
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": uptime,
            "cpu_seconds": cpu,
            "cpu_percent": cpu.map(|cpu| 100.0 * cpu / uptime.max(0.001)),
            "memory_bytes": memory.map(|memory| memory.rss),
            "address": address.to_string(),
            "ports": ports,
            "clients": counters.connections,
            "users": self.server.service().user_count(),
            "groups": self.server.service().group_count(),
            "channels": counters.channels,
            "subscribers": counters.subscribers,
            "config": config,
            "taken_over_from": self.taken_over.as_ref().map(|taken| taken.from),
        })
    }

    /// Reads the configuration again, and tells what came of it; the log does, too.
    pub fn reload(&self) -> Value {
        self.notify(&State::Reloading);
        let told = self.reload_quietly();
        // With the configuration that it had, if there was a fault.
        self.notify_ready();
        told
    }

    fn reload_quietly(&self) -> Value {
        match self.take_over() {
            Ok(Reloaded { changed, needs_restart }) => {
                let (now, later) = (changed.join(", "), needs_restart.join(", "));
                log::info!(
                    target: "qyun", changed = now.as_str(), needs_restart = later.as_str();
                    "configuration reloaded"
                );
                json!({ "ok": true, "changed": changed, "needs_restart": needs_restart })
            }
            Err(failure) => {
                log::error!(target: "qyun", "configuration not reloaded: {}", failure.text);
                let code = failure.exit as u8;
                json!({ "ok": false, "message": failure.text, "exit_code": code })
            }
        }
    }

    /// Takes over what the sources say now: all that can change, or nothing if there is a fault.
    fn take_over(&self) -> Result<Reloaded, Failure> {
        if self.stopping.load(Relaxed) {
            return Err(Failure::failed("the server is stopping"));
        }
        let mut config = self.config();
        let mut new = self.sources.load()?;
        let needs_restart = self.keep_fixed(&config.settings, &mut new);
        let changed: Vec<_> = new
            .settings
            .iter()
            .filter(|(key, new)| {
                config.settings.get(**key).is_some_and(|old| old.value != new.value)
            })
            .map(|(key, _)| *key)
            .collect();
        // What can fail comes first: a log file that cannot be opened.
        log_output::configure(&new.log)?;
        let taken = self.server.reload(&new.server)?;
        // What cannot change was put back.
        debug_assert!(taken.needs_restart.is_empty(), "{taken:?}");
        *config = new;
        for name in &config.create {
            create(&self.server, name).map_err(|failure| failure.context("reloaded, but"))?;
        }
        Ok(Reloaded { changed, needs_restart })
    }

    /// Puts the values of `old` back that cannot change while the server runs; gives their keys.
    fn keep_fixed(
        &self,
        old: &BTreeMap<&'static str, Setting>,
        new: &mut Config,
    ) -> Vec<&'static str> {
        let mut fixed = Vec::new();
        let mut settings = new.settings.clone();
        for spec in config::all().filter(|spec| !spec.live) {
            if let (Some(old), Some(setting)) = (old.get(spec.key), settings.get_mut(spec.key))
                && old.value != setting.value
            {
                *setting = old.clone();
                fixed.push(spec.key);
            }
        }
        *new = Config::new(&self.sources, settings);
        fixed
    }
}

/// Creates a channel that may be there already.
fn create(server: &Server, name: &str) -> Result<(), Failure> {
    match server.service().create_channel(name) {
        Err(error) if error.kind() != ErrorKind::ChannelExists => {
            Err(error.context(format!("creating channel '{name}'")).into())
        }
        _ => Ok(()),
    }
}
