//! What the fuzz targets need of the server's inside, and a server without sockets. Only with the
//! feature `fuzzing`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::answer::{Answer, Dates};
use super::call::{Call, Outcome, Plan};
use super::dialect::{Closure, Endpoint, Upgrade, Verdict, install};
use super::promise::Promise;
use super::query::Query;
use super::{ServerOptions, Service, admin, remote};
use crate::Result;
use crate::hub::{Connection, Decision, Home, Hub, Inbox, Item, Origin, Told};
use crate::wire::http::{Body, Head, Parsed, RequestHead, parse};
use crate::wire::{MessageKind, close};

/// The values that a query has for `key`: as text, and as a listing's limit.
pub fn query(query: &str, key: &str) -> (Option<String>, Option<usize>) {
    let query = Query(query);
    (query.text(key), query.limit(100, 1000).ok())
}

/// Who is behind `peer` if the proxies in `trusted` are believed.
pub fn client_behind(trusted: &str, peer: SocketAddr, head: &[u8]) -> Result<SocketAddr> {
    let trusted = remote::networks("trusted_proxies", trusted)?;
    Ok(remote::client(&trusted, peer, &RequestHead::new(head)))
}

#[cfg(feature = "grpc")]
pub use super::grpc::arguments as grpc_arguments;

/// Where every client is.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);

/// A server without sockets: its operations, its dialects, and one shard's inbox.
pub struct Desk {
    service: Arc<Service>,
    inbox: Arc<Inbox>,
    /// The members that the shard has in its lists, by channel.
    places: RefCell<BTreeMap<u64, BTreeSet<u64>>>,
}

/// A connection that has no socket.
pub struct Guest {
    endpoint: Arc<Endpoint>,
    /// The connection.
    pub connection: Arc<Connection>,
}

impl Desk {
    /// A server with these options.
    pub fn new(options: ServerOptions) -> Result<Self> {
        let inbox = Arc::new(Inbox::new(options.inbox_bytes, Box::new(|| {})));
        let hub = Hub::new(vec![Arc::clone(&inbox)], options.max_channels);
        let service = Arc::new(Service::new(hub, options, 1));
        install(&service)?;
        Ok(Self { service, inbox, places: RefCell::default() })
    }

    /// Its operations.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Executes the request that `input` begins with, as a shard does, and gives its answer; `None`
    /// when it is no whole request, or becomes something else than an answer.
    pub fn request(&self, input: &[u8]) -> Option<Vec<u8>> {
        let (head, size) = match parse(input) {
            Parsed::Head(head, size) => (head, size),
            Parsed::Refused(refusal) => return Some(self.written(&Answer::refusal(refusal), true)),
            Parsed::Partial => return None,
        };
        let call = match Plan::of(&head) {
            Plan::SendInPath { name, message } => Call::send_in_path(name, message),
            Plan::Admin => admin::call(&self.service, &head, Some(PEER)),
            Plan::Call(call) => call,
            Plan::Upgrade { .. } | Plan::Events { .. } | Plan::Elsewhere => return None,
        };
        let body = self.body(&head, input.get(size..)?)?;
        let promise = || Promise::new(Arc::clone(&self.inbox), 0, 1);
        let answer = match call.execute(&self.service, &body, promise) {
            Outcome::Now(answer) => answer,
            Outcome::Later => self.late()?,
        };
        Some(self.written(&answer, head.method != "HEAD"))
    }

    fn body(&self, head: &Head<'_>, mut input: &[u8]) -> Option<Vec<u8>> {
        let limit = self.service.options().max_message_bytes;
        let mut body = Body::new(head.framing, limit).ok()?;
        body.read(&mut input).ok()?.then(|| body.into_data())
    }

    /// The answer that comes once everything that waits has been looked at; none may be forgotten.
    fn late(&self) -> Option<Answer> {
        drop(self.told());
        let answer = self.told().into_iter().find_map(|item| match item {
            Item::Answer(late) => match late.answer {
                Told::Json(status, body) => Some(Answer::of_json(status, body)),
                _ => None,
            },
            _ => None,
        });
        assert!(answer.is_some(), "a request is never answered");
        answer
    }

    fn written(&self, answer: &Answer, whole: bool) -> Vec<u8> {
        let mut out = Vec::new();
        answer.write(&mut out, &Dates::default(), true, !whole);
        out
    }

    /// Lets a client in at `path`, as a shard does with its upgrade; `None` when it is refused, or
    /// when the path leads nowhere.
    pub fn connect(&self, path: &str, query: &str) -> Option<Guest> {
        let endpoint = self.service.endpoint(path)?;
        let head = format!("GET {path}?{query} HTTP/1.1\r\nhost: h\r\n\r\n");
        let request = RequestHead::new(head.as_bytes());
        let upgrade = Upgrade { path, query, remote: PEER, request: &request };
        let verdict = endpoint.handler.admit(&self.service, &upgrade);
        let Verdict::Now(Decision::Accept { id, user }) = verdict else { return None };
        let registry = self.service.registry();
        let serial = registry.new_serial();
        let origin = Origin {
            id: id.unwrap_or_else(|| format!("guest-{serial}")).into(),
            dialect: endpoint.handler.dialect(),
            path: Arc::clone(&endpoint.path),
            remote: PEER,
            request,
            deflates: false,
        };
        let home = Home { inbox: Arc::clone(&self.inbox), shard: 0, token: serial as u32 };
        let connection = Arc::new(Connection::new(serial, origin, home));
        let displaced = registry.insert(&connection);
        if let Some(user) = user.filter(|user| !user.is_empty()) {
            registry.bind(&connection, &user).ok()?;
        }
        endpoint.handler.opened(&self.service, &connection, displaced);
        Some(Guest { endpoint, connection })
    }

    /// A message of a client.
    pub fn message(&self, from: &Guest, kind: MessageKind, data: &[u8]) {
        from.endpoint.handler.message(&self.service, &from.connection, kind, data);
    }

    /// A client goes.
    pub fn disconnect(&self, guest: &Guest) {
        let closure = Closure { code: close::NORMAL, reason: String::new(), by_peer: true };
        let Guest { endpoint, connection } = guest;
        if endpoint.handler.ends_later(&self.service, connection, &closure) {
            return;
        }
        endpoint.handler.closing(connection, &closure);
        self.service.forget(connection);
        endpoint.handler.closed(&self.service, connection, &closure);
    }

    /// What the shard is told next. Members come and go as on a shard, but for their sockets.
    pub fn told(&self) -> Vec<Item> {
        let mut items = Vec::new();
        self.inbox.take(&mut items);
        let mut places = self.places.borrow_mut();
        for item in &items {
            match item {
                Item::Join { connection, channel, since: _ } => {
                    let members = places.entry(channel.id()).or_default();
                    match connection.is_closed() {
                        false => {
                            members.insert(connection.serial());
                            channel.member_joined(0);
                        }
                        true => channel.member_missed(0, members.is_empty()),
                    }
                }
                Item::Leave { connection, channel } => {
                    if let Some(members) = places.get_mut(&channel.id())
                        && members.remove(&connection.serial())
                    {
                        channel.unsubscribe(0, members.is_empty());
                    }
                }
                Item::Deleted(channel) => {
                    let members = places.remove(&channel.id()).unwrap_or_default();
                    for left in (0..members.len()).rev() {
                        channel.unsubscribe(0, left == 0);
                    }
                }
                _ => {}
            }
        }
        items
    }
}
