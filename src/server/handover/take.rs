//! The new process's part.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::give::since;
use super::link::{self, Frame, Incoming, Outgoing};
use super::{PAUSE, PREPARATION, TakenOver, kind};
use crate::hub::Channel;
use crate::server::shard::{Known, Shard};
use crate::server::{Foundation, Server, ServerOptions, Service, dialect, listen};
use crate::store::{self, Heir, Store};
use crate::wire::MessageKind;
use crate::wire::handover::{FORMAT, Reader, Writer};
use crate::wire::websocket::Message;
use crate::{Error, ErrorKind, Result};

/// What came so far.
struct Taken {
    /// Who gets the store, until it is there.
    heir: Option<Heir>,
    store: Option<Arc<Store>>,
    shards: Vec<Shard>,
    known: Known,
    /// Whose history comes.
    channel: Option<Arc<Channel>>,
    /// Publications that wait for subscribers.
    held: Vec<(Arc<Channel>, Message)>,
    listeners: Vec<TcpListener>,
    grpc: Option<TcpListener>,
    connections: usize,
}

impl Server {
    /// Starts a server with `options` in place of the one whose process is at the other end of
    /// `stream` and calls [`Server::hand_over`]: on its listening sockets, with its connections and
    /// channels. Nobody is refused or closed meanwhile.
    ///
    /// When it fails, the other process serves on. Where it listens is taken over, too: `listen` and
    /// `grpc_listen` count only for what the other process does not have. The `store` must be the
    /// other one's, or none if that has none.
    ///
    /// Blocks for up to 40 s. Errors: those of [`Server::start`]; `InvalidOption` for another `store`;
    /// `Refused` with the other one's reason; `Protocol`, `Timeout` and `Io` when they do not understand each other.
    pub fn take_over(options: ServerOptions, stream: UnixStream) -> Result<(Self, TakenOver)> {
        let (mut from, to) = link::open(stream, PREPARATION)?;
        let taken = Self::take(options, &mut from, &to);
        if let Err(error) = &taken {
            let mut out = Writer::default();
            out.text(&error.to_string());
            // The other one finds out as well when this socket closes.
            let _ = to.send(kind::REFUSED, &out.take(), &[]);
        }
        taken
    }

    fn take(
        options: ServerOptions,
        from: &mut Incoming,
        to: &Outgoing,
    ) -> Result<(Self, TakenOver)> {
        let (other, claim) = agree(from, to)?;
        let heir = heir(&options.store, claim)?;
        let foundation = Foundation::lay(options)?;
        to.send(kind::READY, &[], &[])?;
        // The other one ends its calls before it pauses.
        from.allow(PAUSE + PAUSE);
        let hub = expect(from, kind::HUB)?;
        let mut input = Reader::new(&hub.payload);
        let service = Arc::clone(&foundation.service);
        let restored =
            service.hub().take_over(&mut input).zip(service.registry().take_over(&mut input));
        restored.ok_or_else(|| broken(kind::HUB))?;
        // After the numbers of channels: those of the endpoints are new.
        dialect::install(&service)?;
        let (mut server, parts) = foundation.build();
        let mut taken = Taken {
            heir,
            store: None,
            shards: parts.into_iter().map(Shard::new).collect(),
            known: Known::default(),
            channel: None,
            held: Vec::new(),
            listeners: Vec::new(),
            grpc: None,
            connections: 0,
        };
        let end = loop {
            let frame = from.receive()?;
            if frame.kind == kind::END {
                break frame;
            }
            taken.frame(&service, frame)?;
        };
        let mut input = Reader::new(&end.payload);
        let told = input.size().zip(input.u64()).zip(input.u64());
        let ((connections, seconds), nanos) = told.ok_or_else(|| broken(kind::END))?;
        if connections != taken.connections {
            let text =
                format!("{connections} connections were sent and {} came", taken.connections);
            return Err(Error::new(ErrorKind::Protocol, text));
        }
        let Taken { store, mut shards, held, listeners, grpc, .. } = taken;
        // Behind the subscribers that they wait for.
        held.iter().for_each(|(channel, message)| service.hold_for_ever(channel, message));
        let first = listeners.first().ok_or_else(|| broken(kind::SHARD))?;
        server.address = first.local_addr()?;
        let hands = listen::deal(&listeners, shards.len())?;
        for (shard, hand) in shards.iter_mut().zip(hands) {
            shard.listen(hand)?;
        }
        let gates = shards.into_iter().map(|shard| server.spawn_waiting(shard));
        let gates = gates.collect::<Result<Vec<_>>>()?;
        to.send(kind::TAKEN, &[], &[])?;
        // From here on this process serves, whatever comes. The gates' threads wait for this alone.
        store.iter().for_each(|store| store.begin());
        for gate in gates {
            let _ = gate.send(());
        }
        let pause = since(seconds, nanos);
        server.start_calls(grpc.filter(|_| !service.options().grpc_listen.is_empty()));
        let channels = service.hub().len();
        log::info!(
            target: "qyun::server",
            "serving {connections} connections and {channels} channels of process {other} on {}, \
             after a pause of {pause:?}",
            server.address
        );
        Ok((server, TakenOver { from: other, connections, channels, pause }))
    }
}

/// Both sides say who they are; gives the other one's process, and the lock of its store.
fn agree(from: &mut Incoming, to: &Outgoing) -> Result<(u32, Option<OwnedFd>)> {
    let mut out = Writer::default();
    out.u32(FORMAT);
    out.u32(std::process::id());
    to.send(kind::HELLO, &out.take(), &[])?;
    let offer = expect(from, kind::OFFER)?;
    let mut input = Reader::new(&offer.payload);
    match input.u32().zip(input.u32()) {
        Some((FORMAT, process)) => Ok((process, offer.descriptors.into_iter().next())),
        _ => Err(broken(kind::OFFER)),
    }
}

/// Who gets the other one's store: the `option` must name that folder.
fn heir(option: &str, claim: Option<OwnedFd>) -> Result<Option<Heir>> {
    let differs = |text: &str| {
        let text = format!("option 'store' is '{option}', and the other process {text}");
        Error::new(ErrorKind::InvalidOption, text)
    };
    match (option, claim) {
        ("", None) => Ok(None),
        ("", Some(_)) => Err(differs("has one: stop that one and start this")),
        (_, None) => Err(differs("has none: stop that one and start this")),
        (folder, Some(claim)) => {
            let heir = Heir::new(Path::new(folder), claim);
            heir.map(Some).map_err(|error| error.context("option 'store'"))
        }
    }
}

/// The next frame, if it is of that kind.
fn expect(from: &mut Incoming, kind: u8) -> Result<Frame> {
    let frame = from.receive()?;
    match frame.kind {
        other if other == kind => Ok(frame),
        kind::REFUSED => {
            let why = Reader::new(&frame.payload).text().unwrap_or_default();
            Err(Error::new(ErrorKind::Refused, why))
        }
        other => {
            let text = format!("frame {other} came where {kind} was expected");
            Err(Error::new(ErrorKind::Protocol, text))
        }
    }
}

fn broken(kind: u8) -> Error {
    Error::new(ErrorKind::Protocol, format!("frame {kind} of the hand-over makes no sense"))
}

impl Taken {
    fn frame(&mut self, service: &Service, frame: Frame) -> Result<()> {
        let kind = frame.kind;
        let mut input = Reader::new(&frame.payload);
        let understood = match kind {
            kind::LOGS => self.heir.as_mut().and_then(|heir| heir.add(&mut input)),
            kind::STORE => self.take_store(service, &mut input)?,
            kind::CHANNEL => service.hub().take_over_channel(&mut input).map(|channel| {
                self.known.channels.insert(channel.id(), Arc::clone(&channel));
                self.channel = Some(channel);
            }),
            kind::HISTORY => {
                self.channel.as_ref().and_then(|channel| channel.take_over_history(&mut input))
            }
            kind::HELD => {
                let channel = input.u64().and_then(|number| self.known.channels.get(&number));
                let message = input.flag().zip(input.bytes()).map(|(binary, payload)| {
                    let kind = if binary { MessageKind::Binary } else { MessageKind::Text };
                    Message::new(kind, payload)
                });
                channel.zip(message).map(|(channel, message)| {
                    self.held.push((Arc::clone(channel), message));
                })
            }
            kind::GRPC => {
                self.grpc = frame.descriptors.into_iter().next().map(TcpListener::from);
                Some(())
            }
            kind::SHARD => {
                self.known.buffers.clear();
                self.listeners.extend(frame.descriptors.into_iter().map(TcpListener::from));
                Some(())
            }
            kind::BUFFER => input.u64().zip(input.bytes()).map(|(number, bytes)| {
                self.known.buffers.insert(number, Bytes::copy_from_slice(bytes));
            }),
            kind::CONNECTIONS => {
                for socket in frame.descriptors {
                    let at = self.connections % self.shards.len().max(1);
                    let shard = self.shards.get_mut(at).ok_or_else(|| broken(kind))?;
                    let taken = shard.take_over(&mut input, socket, &self.known);
                    taken.ok_or_else(|| broken(kind))??;
                    self.connections += 1;
                }
                Some(())
            }
            _ => None,
        };
        match understood {
            Some(()) if input.is_at_end() => Ok(()),
            _ => Err(broken(kind)),
        }
    }

    fn take_store(&mut self, service: &Service, input: &mut Reader<'_>) -> Result<Option<()>> {
        let heir = self.heir.take();
        let store = heir.and_then(|heir| heir.take(input, store::Options::default()));
        let Some(store) = store else { return Ok(None) };
        let store = Arc::new(store.map_err(|error| error.context("option 'store'"))?);
        service.hub().keep_in(Arc::clone(&store));
        self.store = Some(store);
        Ok(Some(()))
    }
}
