//! The shards' side of the packet dialect.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::peer::Peer;
use super::{Happening, Incoming, OnEvent, Packets, Registration, closed};
use crate::delivery::Mode;
use crate::hub::{Connection, Decision};
use crate::requests::Reply;
use crate::server::Service;
use crate::server::dialect::{Closure, Handler, Upgrade, Verdict};
use crate::wire::packet::{DISPLACED, Displaced, Fault, Identity, Meaning, Packet, Side};
use crate::wire::{self, MessageKind, close};

/// What the shards know of [`Packets`].
#[derive(Debug)]
pub struct Dialect(pub Arc<Packets>);

impl Handler for Dialect {
    fn dialect(&self) -> wire::Dialect {
        wire::Dialect::Packet
    }

    fn admit(&self, _service: &Service, upgrade: &Upgrade<'_>) -> Verdict {
        Verdict::Now(match Identity::parse(upgrade.query) {
            Ok(identity) => Decision::Accept { id: Some(identity.id()), user: Some(identity.uid) },
            Err(error) => Decision::Refuse { status: 400, reason: error.to_string() },
        })
    }

    fn opened(
        &self,
        _service: &Arc<Service>,
        connection: &Arc<Connection>,
        displaced: Option<Arc<Connection>>,
    ) {
        let packets = &self.0;
        if let Some(old) = displaced {
            packets.counts.displaced.fetch_add(1, Relaxed);
            displace(packets, &old, connection);
        }
        self.tell(connection, || Happening::Established);
    }

    fn message(
        &self,
        _service: &Arc<Service>,
        connection: &Arc<Connection>,
        kind: MessageKind,
        data: &[u8],
    ) {
        let Ok(peer) = self.0.any_peer(connection) else { return };
        if kind == MessageKind::Text || peer.faulty.load(Relaxed) {
            return;
        }
        let packet = match Packet::decode(data, self.0.max_bytes) {
            Ok(packet) => packet,
            Err(fault) => {
                peer.faulty.store(true, Relaxed);
                self.0.counts.refused.fetch_add(1, Relaxed);
                let (code, reason) = match fault {
                    Fault::TooLarge => (close::TOO_BIG, "packet over the limit"),
                    Fault::Malformed => (close::PROTOCOL_ERROR, "not a packet"),
                };
                return connection.close(code, reason);
            }
        };
        match Side::Server.meaning(packet.sn) {
            Meaning::Response => {
                let data = || Bytes::copy_from_slice(packet.data);
                peer.requests(&self.0.clock).answered(packet.sn, packet.protocol, data);
            }
            Meaning::OneWay | Meaning::Request => self.dispatch(peer, connection, &packet),
        }
    }

    fn pinged(&self, connection: &Arc<Connection>, _data: &[u8]) {
        self.tell(connection, || Happening::Pinged);
    }

    fn ponged(&self, connection: &Arc<Connection>) {
        self.tell(connection, || Happening::Ponged);
    }

    fn ends_later(
        &self,
        service: &Arc<Service>,
        connection: &Arc<Connection>,
        closure: &Closure,
    ) -> bool {
        let Ok(peer) = self.0.any_peer(connection) else { return false };
        // Before the requests end, so that who is told of one finds the connection closed.
        peer.ended.store(true, SeqCst);
        peer.requests(&self.0.clock).close(closed());
        let Some(Registration { mode: Mode::Thread, function }) = self.observer() else {
            return false;
        };
        let (service, connection) = (Arc::clone(service), Arc::clone(connection));
        let closure = closure.clone();
        peer.lane.push(0, move || {
            let closing = Happening::Closing(closure.clone());
            let told = catch_unwind(AssertUnwindSafe(|| function(&connection, &closing)));
            service.forget(&connection);
            match told {
                Ok(()) => function(&connection, &Happening::Closed(closure)),
                Err(panic) => resume_unwind(panic),
            }
        })
    }

    fn closing(&self, connection: &Arc<Connection>, closure: &Closure) {
        self.tell(connection, || Happening::Closing(closure.clone()));
    }

    fn closed(&self, _service: &Arc<Service>, connection: &Arc<Connection>, closure: &Closure) {
        self.tell(connection, || Happening::Closed(closure.clone()));
    }

    fn is_busy(&self) -> bool {
        self.0.delivery.is_busy()
    }
}

impl Dialect {
    /// Hands a message or request to what is registered for its protocol id.
    fn dispatch(&self, peer: &Peer, connection: &Arc<Connection>, packet: &Packet<'_>) {
        let packets = &self.0;
        packets.counts.received.fetch_add(1, Relaxed);
        let handlers = packets.handlers.read().unwrap_or_else(PoisonError::into_inner);
        let Some(registration) = handlers.get(&packet.protocol).cloned() else {
            packets.counts.unhandled.fetch_add(1, Relaxed);
            return;
        };
        drop(handlers);
        let protocol = packet.protocol;
        let reply = (packet.sn != 0).then(|| Arc::new(reply(packets, connection, packet)));
        match registration.mode {
            Mode::Inline => call(|| {
                let reply = reply.as_ref();
                (registration.function)(&Incoming {
                    connection,
                    protocol,
                    data: packet.data,
                    reply,
                });
            }),
            Mode::Thread => {
                let data = Bytes::copy_from_slice(packet.data);
                let connection = Arc::clone(connection);
                peer.lane.push(data.len(), move || {
                    let (connection, reply) = (&connection, reply.as_ref());
                    (registration.function)(&Incoming { connection, protocol, data: &data, reply });
                });
            }
        }
    }

    fn observer(&self) -> Option<Registration<OnEvent>> {
        self.0.observer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells the observer, if there is one.
    fn tell(&self, connection: &Arc<Connection>, what: impl FnOnce() -> Happening) {
        let Some(registration) = self.observer() else { return };
        let what = what();
        match (registration.mode, self.0.any_peer(connection)) {
            (Mode::Thread, Ok(peer)) => {
                let connection = Arc::clone(connection);
                peer.lane.push(0, move || (registration.function)(&connection, &what));
            }
            _ => call(|| (registration.function)(connection, &what)),
        }
    }
}

fn reply(packets: &Arc<Packets>, connection: &Arc<Connection>, packet: &Packet<'_>) -> Reply {
    let (packets, connection) = (Arc::clone(packets), Arc::clone(connection));
    let sn = packet.sn;
    let send =
        move |protocol, data: &[u8]| packets.write(&connection, &Packet { protocol, sn, data });
    Reply::new(packet.protocol, send)
}

/// Tells `old` that `new` has come in its place; the shard closes it then. It may be gone by now.
fn displace(packets: &Packets, old: &Arc<Connection>, new: &Arc<Connection>) {
    let ip = |connection: &Connection| connection.remote().ip().to_canonical().to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (old_ip, new_ip) = (ip(old), ip(new));
    let notice = Displaced {
        old_ip: old_ip.as_bytes(),
        new_ip: new_ip.as_bytes(),
        ts: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
    };
    let _ = packets.write(old, &Packet { protocol: DISPLACED, sn: 0, data: &notice.encode() });
}

/// Calls a program's function on the shard's thread, which must survive it.
fn call(function: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(function)).is_err() {
        log::error!(target: "qyun::server", "an inline callback of the packet dialect panicked");
    }
}
