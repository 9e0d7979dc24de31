//! The server: shards that own sockets, and the operations that every face of it shares.

mod admin;
mod answer;
mod batch;
mod call;
pub mod dialect;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg_attr(not(feature = "grpc"), path = "grpc_absent.rs")]
mod grpc;
mod handover;
mod history;
mod limits;
mod listen;
mod metrics;
mod options;
mod page;
mod process;
mod promise;
mod query;
mod remote;
pub mod rpc;
mod service;
mod shard;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

pub use handover::{HandedOver, TakenOver};
pub use listen::Listeners;
pub use options::{OPTIONS, Secret, ServerOptions};
pub use process::Process;
pub use service::{
    BatchDone, BatchMessage, Done, MAX_HISTORY_PAGE, PresenceCallback, PublishOptions, Report,
    Reports, Service, Stats,
};

use crate::hub::{Hub, Inbox};
use crate::store::{self, Store};
use crate::sync::thread::JoinHandle;
use crate::{Error, ErrorKind, Result, thread};
use grpc::Grpc;
use shard::{Control, Parts, Shard};

/// The most shards that a server can have.
const MAX_SHARDS: usize = 64;

/// A running server. Dropping it stops it without a drain.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    service: Arc<Service>,
    control: Arc<Control>,
    wakers: Vec<Arc<mio::Waker>>,
    /// What was asked for last, where the service's options say what it came to.
    asked: Mutex<ServerOptions>,
    /// Empty once the server is stopped. Whoever stops it holds the lock while it joins, so that
    /// everyone who stops it returns when it is stopped.
    threads: Mutex<Vec<JoinHandle<()>>>,
    grpc: Mutex<Option<Arc<Grpc>>>,
}

impl Server {
    /// Binds, starts the shards, and returns once connections are accepted.
    ///
    /// Errors: `InvalidArgument` and `AddressInUse` for an address, `InvalidOption` for a thread
    /// name with a NUL and for `grpc_listen` in a library without gRPC, `Exists` when another process
    /// has the `store` open, `Io` when the system refuses sockets or threads, or the store is
    /// damaged.
    pub fn start(options: ServerOptions) -> Result<Self> {
        Self::start_on(options, Listeners::default())
    }

    /// The same on sockets that listen already. What waits at them was not refused, and is served.
    ///
    /// Errors: those of [`Server::start`]; `Io` also for a socket that has no address of IP.
    pub fn start_on(options: ServerOptions, listeners: Listeners) -> Result<Self> {
        let foundation = Foundation::lay(options)?;
        foundation.open_store()?;
        let service = Arc::clone(&foundation.service);
        let options = service.options();
        let (address, sockets) = match listeners.http.first() {
            Some(first) => (first.local_addr()?, listeners.http),
            None => listen::bind(&options.listen, options.shards)?,
        };
        let hands = listen::deal(&sockets, options.shards)?;
        // Each shard has its own descriptors.
        drop(sockets);
        dialect::install(&service)?;
        let grpc = Grpc::start(&service, listeners.grpc)?;
        let (mut server, parts) = foundation.build();
        server.address = address;
        server.grpc = Mutex::new(grpc.map(Arc::new));
        for (parts, listeners) in parts.into_iter().zip(hands) {
            // A failure on the way drops the server, which stops the shards that run already.
            let mut shard = Shard::new(parts);
            shard.listen(listeners)?;
            server.spawn(shard, || true)?;
        }
        log::info!(target: "qyun::server", "listening on {address}");
        Ok(server)
    }

    /// Runs a shard on a thread of its own, unless `may_run` says there, first, that it is not to
    /// be.
    fn spawn(&self, shard: Shard, may_run: impl FnOnce() -> bool + Send + 'static) -> Result<()> {
        let name = format!("{}-{}", self.service.options().thread_name, shard.id());
        // However the thread ends, publishers must not wait for it.
        let closing = Closing(Arc::clone(shard.inbox()));
        let thread = thread::spawn(&name, move || {
            let _closing = closing;
            thread::never_waits();
            if may_run() {
                shard.run();
            }
        })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// The same for a shard that begins when something is sent, and never does when the sender is
    /// dropped instead.
    fn spawn_waiting(&self, shard: Shard) -> Result<mpsc::Sender<()>> {
        let (gate, opened) = mpsc::channel();
        self.spawn(shard, move || opened.recv().is_ok())?;
        Ok(gate)
    }

    fn grpc(&self) -> Option<Arc<Grpc>> {
        self.grpc.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The address it listens on, with the real port when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The address of its gRPC, if it has that.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc().map(|grpc| grpc.local_addr())
    }

    /// The operations on its channels.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Takes `options` over as far as they can change while the server runs: those that
    /// [`OPTIONS`] calls live. No connection is dropped. A lower limit holds for what comes from
    /// now on; a time limit for what begins from now on, and pings follow the new interval at once.
    ///
    /// From any thread. When it returns, every shard keeps to the new options; it waits for that up
    /// to a second, and not at all on a thread that must not wait.
    ///
    /// Errors: `InvalidOption` for a value out of its range, and then nothing changes; `Closed`
    /// once the server is stopped.
    pub fn reload(&self, options: &ServerOptions) -> Result<Reload> {
        if self.service.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the server is stopped"));
        }
        let reload = self.apply(options)?;
        self.wake();
        if !thread::must_not_wait() {
            self.control.wait_until_followed(Duration::from_secs(1));
        }
        Ok(reload)
    }

    /// Whether every shard goes round: each is woken and has up to `patience` to tell. On a thread
    /// that must not wait, and while the server stops, it is taken to be so.
    pub fn is_responsive(&self, patience: Duration) -> bool {
        if thread::must_not_wait() || self.service.is_closed() {
            return true;
        }
        self.control.request_follow(self.wakers.len());
        self.wake();
        self.control.wait_until_followed(patience)
    }

    fn apply(&self, options: &ServerOptions) -> Result<Reload> {
        let mut reload = Reload::default();
        // Held to the end: of two reloads at a time, one comes after the other.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next_asked = asked.clone();
        let mut next = ServerOptions::clone(&self.service.options());
        for spec in OPTIONS {
            let value = options.get(spec.key)?;
            // Asked for as before, or what that came to: 0 shards are one per core.
            if value == asked.get(spec.key)? || value == next.get(spec.key)? {
                continue;
            }
            if spec.live {
                next.set(spec.key, &value)?;
                next_asked.set(spec.key, &value)?;
                reload.changed.push(spec.key);
            } else {
                reload.needs_restart.push(spec.key);
            }
        }
        *asked = next_asked;
        self.service.set_options(next);
        dialect::follow(&self.service);
        self.control.request_follow(self.wakers.len());
        Ok(reload)
    }

    fn wake(&self) {
        for waker in &self.wakers {
            // The only way it can fail is a descriptor that is no longer open.
            let _ = waker.wake();
        }
    }

    /// Stops accepting, sends what is queued and a Close to every client, waits up to `drain` for
    /// them to go, closes the rest and joins every thread. True if all went by themselves. Calling
    /// it again, or from several threads, is harmless: all return when the server is stopped.
    ///
    /// On a delivery thread it waits for all but the callback that calls it. In an inline callback
    /// it only asks, and returns false: it would wait for itself.
    pub fn stop(&self, drain: Duration) -> bool {
        self.service.close();
        self.control.request_stop(drain);
        self.wake();
        let grpc = self.grpc();
        if let Some(grpc) = &grpc {
            grpc.request_stop(drain);
        }
        if thread::must_not_wait() {
            return false;
        }
        let calls_done = grpc.is_none_or(|grpc| grpc.join());
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                log::error!(target: "qyun::server", "a shard panicked");
            }
        }
        drop(threads);
        // Whoever waits for a commit hears of it before the program's threads end.
        self.service.hub().close_store();
        // The callbacks have been told of every end.
        self.service.delivery().stop();
        self.service.packets().stop();
        self.service.rpc().stop();
        self.service.on_presence(None);
        self.service.forget_endpoints();
        calls_done && self.control.was_clean()
    }
}

/// What a server is made of, as far as it does not depend on its sockets.
struct Foundation {
    service: Arc<Service>,
    control: Arc<Control>,
    asked: ServerOptions,
    polls: Vec<(mio::Poll, Arc<mio::Waker>)>,
    inboxes: Vec<Arc<Inbox>>,
}

impl Foundation {
    fn lay(mut options: ServerOptions) -> Result<Self> {
        if options.thread_name.contains('\0') {
            let message = "option 'thread_name' cannot hold a NUL";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let asked = options.clone();
        options.shards = match options.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            shards => shards,
        }
        .min(MAX_SHARDS);
        let mut polls = Vec::new();
        let mut inboxes = Vec::new();
        for _ in 0..options.shards {
            let (poll, waker) =
                shard::poll().map_err(|error| Error::from(error).context("poll"))?;
            let waker = Arc::new(waker);
            let wake = Arc::clone(&waker);
            // The only way a wake-up can fail is a descriptor that is no longer open.
            let wake = move || drop(wake.wake());
            inboxes.push(Arc::new(Inbox::new(options.inbox_bytes, Box::new(wake))));
            polls.push((poll, waker));
        }
        let hub = Hub::new(inboxes.clone(), options.max_channels);
        let shards = options.shards;
        let service = Arc::new(Service::new(hub, options, shards));
        Ok(Self { service, control: Arc::new(Control::new()), asked, polls, inboxes })
    }

    /// Opens the store, if the options name one.
    fn open_store(&self) -> Result<()> {
        let options = self.service.options();
        if options.store.is_empty() {
            return Ok(());
        }
        let store = Store::open(Path::new(&options.store), store::Options::default());
        let store = store.map_err(|error| error.context("option 'store'"))?;
        self.service.hub().open_store(Arc::new(store))
    }

    /// The server, which has no thread and no socket yet, and its shards' parts.
    fn build(self) -> (Server, Vec<Parts>) {
        let server = Server {
            address: SocketAddr::from(([0; 4], 0)),
            service: Arc::clone(&self.service),
            control: Arc::clone(&self.control),
            wakers: self.polls.iter().map(|(_, waker)| Arc::clone(waker)).collect(),
            asked: Mutex::new(self.asked),
            threads: Mutex::default(),
            grpc: Mutex::default(),
        };
        let parts = self.polls.into_iter().zip(self.inboxes).enumerate();
        let parts = parts.map(|(id, ((poll, _), inbox))| {
            let (service, control) = (Arc::clone(&self.service), Arc::clone(&self.control));
            Parts { id, service, inbox, control, poll }
        });
        (server, parts.collect())
    }
}

/// What a [`Server::reload`] came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reload {
    /// The keys of the options that are others now.
    pub changed: Vec<&'static str>,
    /// The keys of the options that were asked to be others and stay as they are: they need a
    /// restart.
    pub needs_restart: Vec<&'static str>,
}

/// Closes an inbox when it is dropped.
struct Closing(Arc<Inbox>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}
