//! Plain HTTP requests: which operation a head asks for, and its execution.

use serde_json::json;

use super::answer::{Answer, Target, Wishes};
use super::batch::{self, Batch};
use super::dialect::presence::There;
use super::promise::Promise;
use super::query::Query;
use super::service::{BatchDone, Done, MAX_HISTORY_PAGE, PublishOptions, Report};
use super::{ServerOptions, Service, admin, metrics, page};
use crate::hub::{Range, Rank, Survey};
use crate::wire::http::{Framing, Handshake, Head, Route, route};
use crate::wire::websocket::Message;
use crate::wire::{MessageKind, Position, meta, percent};

/// What to do with a request.
pub(super) enum Plan<'a> {
    /// The hot one: send a message that stands in the path.
    SendInPath { name: &'a str, message: &'a str },
    /// Become a WebSocket.
    Upgrade { target: Target<'a>, handshake: Handshake<'a> },
    /// Become a stream of server-sent events; the name is still percent-encoded.
    Events { name: &'a str, since: Option<Position> },
    /// Look for an endpoint at the path.
    Elsewhere,
    /// An operation of the admin API, if the peer may ask for one.
    Admin,
    /// Execute a call once the body, if there is one, is read.
    Call(Call),
}

/// An operation that waits for its body.
#[derive(Debug)]
pub(super) enum Call {
    Create(String),
    Publish(String, MessageKind, Asked),
    PublishText(String, String, Asked),
    /// Many messages, and whether their counts are wanted.
    Batch(bool),
    Delete(String),
    Info(String),
    History(String, Range),
    Presence {
        name: String,
        after: Option<String>,
        limit: usize,
    },
    List {
        prefix: String,
        after: Option<String>,
        limit: usize,
    },
    Health,
    Ready,
    Metrics,
    /// A file of the page.
    Page(&'static page::File),
    Admin(admin::Operation),
    /// The slowest connections.
    Top(Rank, usize),
    /// The answer is known already; the body, if any, is read and ignored.
    Refuse(Answer),
}

/// What is asked for beside a publication.
#[derive(Debug, Default)]
pub(super) struct Asked {
    key: Option<Vec<u8>>,
    conflate: Option<String>,
    counts: bool,
}

/// How a request is answered.
pub(super) enum Outcome {
    /// At once.
    Now(Answer),
    /// By the promise that was asked for.
    Later,
}

/// Channels in one page of a listing, unless asked for.
const PAGE: usize = 1000;
const MAX_PAGE: usize = 10_000;
/// Members in one page of those who are in a channel, unless asked for.
const PRESENCE: usize = 100;
const MAX_PRESENCE: usize = 1000;
/// Publications in one page of a history, unless asked for.
const HISTORY: usize = 100;

impl Head<'_> {
    pub(super) fn has_no_body(&self) -> bool {
        self.framing == Framing::Length(0)
    }
}

impl<'a> Plan<'a> {
    /// What `head` asks for.
    pub(super) fn of(head: &Head<'a>) -> Self {
        let target = match route(head.path) {
            Route::SendInPath(name, message)
                if head.method == "GET" && head.query.is_empty() && !head.has_key =>
            {
                return Self::SendInPath { name, message };
            }
            Route::Listen(name)
                if head.method == "GET" && head.accepts_events && head.handshake.is_none() =>
            {
                return match Wishes::of(head) {
                    Ok(Wishes { since, .. }) => Self::Events { name, since },
                    Err(answer) => Self::Call(Call::Refuse(answer)),
                };
            }
            Route::Listen(name) => {
                let protocol = head.handshake.and_then(|handshake| handshake.protocol);
                match Wishes::of(head) {
                    Ok(Wishes { since, metas }) => {
                        let metas = metas || protocol == Some(meta::PROTOCOL);
                        Target::Listen(name, Wishes { since, metas })
                    }
                    Err(answer) => return Self::Call(Call::Refuse(answer)),
                }
            }
            Route::Send(name) if head.method != "POST" => Target::Send(name),
            // A channel may be called "stream", too.
            Route::Stream if head.method != "DELETE" => Target::Stream,
            // Nobody's path, unless an endpoint has it. What has a body is nobody's.
            Route::Unknown if head.has_no_body() => return Self::Elsewhere,
            Route::Admin(_) => return Self::Admin,
            // A WebSocket is not the page.
            Route::Page(_) if head.handshake.is_some() => return Self::Elsewhere,
            _ => return Self::Call(Call::of(head).unwrap_or_else(Call::Refuse)),
        };
        match (head.handshake, head.method) {
            (Some(handshake), _) => Self::Upgrade { target, handshake },
            (None, "GET") => Self::Call(Call::Refuse(Answer::upgrade_required())),
            (None, _) => {
                let allow = match target {
                    Target::Send(_) => "allow: GET, POST\r\n",
                    _ => "allow: GET\r\n",
                };
                Self::Call(Call::Refuse(Answer::method_not_allowed(allow)))
            }
        }
    }
}

impl Call {
    fn of(head: &Head<'_>) -> std::result::Result<Self, Answer> {
        let name = |segment: &str| match percent::decode(segment) {
            Ok(name) => Ok(name.into_owned()),
            Err(error) => Err(Answer::error(&error)),
        };
        match (head.method, route(head.path)) {
            (_, Route::Unknown | Route::Admin(_)) => Err(Answer::failure(404, "Not found")),
            ("GET" | "POST", Route::Create(segment)) => Ok(Self::Create(name(segment)?)),
            (_, Route::Create(_)) => Err(Answer::method_not_allowed("allow: GET, POST\r\n")),
            ("POST", Route::Send(segment)) => {
                Ok(Self::Publish(name(segment)?, kind_of(head), Asked::of(head)?))
            }
            ("GET", Route::SendInPath(segment, message)) => {
                Ok(Self::PublishText(name(segment)?, name(message)?, Asked::of(head)?))
            }
            ("POST", Route::Batch) => Ok(Self::Batch(Query(head.query).flag("result")?)),
            (_, Route::Batch) => Err(Answer::method_not_allowed("allow: POST\r\n")),
            ("DELETE", Route::Channel(segment)) => Ok(Self::Delete(name(segment)?)),
            ("DELETE", Route::Stream) => Ok(Self::Delete("stream".into())),
            (_, Route::Channel(_)) => Err(Answer::method_not_allowed("allow: DELETE\r\n")),
            ("GET" | "HEAD", Route::Info(segment)) => Ok(Self::Info(name(segment)?)),
            ("GET" | "HEAD", Route::Presence(segment)) => {
                let query = Query(head.query);
                Ok(Self::Presence {
                    name: name(segment)?,
                    after: query.text("after"),
                    limit: query.limit(PRESENCE, MAX_PRESENCE)?,
                })
            }
            ("GET" | "HEAD", Route::History(segment)) => {
                Self::history(name(segment)?, Query(head.query))
            }
            ("GET" | "HEAD", Route::Channels) => Self::list(head.query),
            ("GET" | "HEAD", Route::Health) => Ok(Self::Health),
            ("GET" | "HEAD", Route::Ready) => Ok(Self::Ready),
            ("GET" | "HEAD", Route::Metrics) => Ok(Self::Metrics),
            (method, Route::Page(path)) => match page::find(path) {
                Some(file) if method == "GET" || method == "HEAD" => Ok(Self::Page(file)),
                Some(_) => Err(Answer::method_not_allowed("allow: GET, HEAD\r\n")),
                None => Err(Answer::failure(404, "Not found")),
            },
            (_, Route::SendInPath(..)) => Err(Answer::method_not_allowed("allow: GET\r\n")),
            _ => Err(Answer::method_not_allowed("allow: GET, HEAD\r\n")),
        }
    }

    /// How long the body may be.
    pub(super) fn max_body(&self, options: &ServerOptions) -> usize {
        match self {
            Self::Batch(_) => options.max_batch_bytes,
            _ => options.max_message_bytes,
        }
    }

    /// A message in the path of a request that, oddly, has a body as well.
    pub(super) fn send_in_path(name: &str, message: &str) -> Self {
        let decode = |segment: &str| percent::decode(segment).map(|text| text.into_owned());
        match (decode(name), decode(message)) {
            (Ok(name), Ok(message)) => Self::PublishText(name, message, Asked::default()),
            (Err(error), _) | (_, Err(error)) => Self::Refuse(Answer::error(&error)),
        }
    }

    /// A page of a channel's history.
    fn history(name: String, query: Query<'_>) -> std::result::Result<Self, Answer> {
        let backward = match query.parsed::<u8>("reverse", "0 or 1")? {
            None | Some(0) => false,
            Some(1) => true,
            Some(_) => return Err(query.refuse("reverse", "0 or 1")),
        };
        let range = Range {
            after: query.parsed("after", "an offset")?,
            before: query.parsed("before", "an offset")?,
            limit: query.limit(HISTORY, MAX_HISTORY_PAGE)?,
            backward,
        };
        Ok(Self::History(name, range))
    }

    /// A page of the channels.
    pub(super) fn list(query: &str) -> std::result::Result<Self, Answer> {
        let query = Query(query);
        Ok(Self::List {
            prefix: query.text("prefix").unwrap_or_default(),
            after: query.text("after"),
            limit: query.limit(PAGE, MAX_PAGE)?,
        })
    }

    /// Does it. `body` is what came behind the head; `promise` makes the right to answer later, and
    /// is called only if that is used.
    pub(super) fn execute(
        self,
        service: &Service,
        body: &[u8],
        promise: impl FnOnce() -> Promise,
    ) -> Outcome {
        let answer = match self {
            Self::Publish(name, kind, asked) => {
                return publish(service, &name, (kind, body), &asked, promise, Answer::published);
            }
            Self::PublishText(name, text, asked) => {
                let text = (MessageKind::Text, text.as_bytes());
                // What the contract of a GET says, to the letter.
                let plain = |report: crate::Result<Report>| match report {
                    Ok(_) => Answer::broadcasted(),
                    Err(error) => Answer::error(&error),
                };
                let answer = if asked.is_nothing() { plain } else { Answer::published };
                return publish(service, &name, text, &asked, promise, answer);
            }
            Self::Top(rank, limit) => {
                let promise = promise();
                service.hub().survey(&Survey::new(rank, limit, move |slow| {
                    let message = format!("{} connections", slow.len());
                    promise.answer(Answer::success(&message, json!({ "connections": slow })));
                }));
                return Outcome::Later;
            }
            Self::Batch(counts) => return publish_batch(service, body, counts, promise),
            other => other.answer(service, body),
        };
        Outcome::Now(answer)
    }

    /// Does what is answered at once.
    fn answer(self, service: &Service, body: &[u8]) -> Answer {
        let answer = match self {
            Self::Refuse(answer) => return answer,
            Self::Create(name) => service
                .create_channel(&name)
                .map(|()| Answer::success(&format!("Channel '{name}' created"), json!(null))),
            Self::Delete(name) => service
                .delete_channel(&name)
                .map(|()| Answer::success(&format!("Channel '{name}' deleted"), json!(null))),
            Self::Publish(..) | Self::PublishText(..) | Self::Batch(_) | Self::Top(..) => {
                return Answer::broadcasted();
            }
            Self::Info(name) => service
                .channel(&name)
                .map(|info| Answer::success("Channel found", json!({ "channel": info }))),
            Self::Presence { name, after, limit } => {
                service.presence(&name, after.as_deref(), limit).map(|there| {
                    let message = format!("{} members", there.members.len());
                    Answer::fresh(&message, json!(There::of(&there)))
                })
            }
            Self::History(name, range) => {
                service.history(&name, &range).map(|extract| Answer::history(&extract))
            }
            Self::List { prefix, after, limit } => {
                let channels = service.page(&prefix, after.as_deref(), limit);
                let total = service.hub().len();
                let more = json!({ "channels": channels, "total": total });
                Ok(Answer::success(&format!("{} channels", channels.len()), more))
            }
            Self::Health => {
                Ok(Answer::success("Serving", json!({ "version": env!("CARGO_PKG_VERSION") })))
            }
            Self::Ready => Ok(match service.readiness() {
                Ok(()) => Answer::success("Ready", json!(null)),
                Err(why) => Answer::failure(503, why),
            }),
            Self::Metrics => Ok(Answer::metrics(metrics::exposition(service))),
            Self::Page(file) => Ok(match service.options().page {
                true => Answer::file(file),
                false => Answer::failure(404, "Not found"),
            }),
            Self::Admin(operation) => operation.execute(service, body),
        };
        answer.unwrap_or_else(|error| Answer::error(&error))
    }
}

/// Publishes as a shard must: without waiting for room.
fn publish(
    service: &Service,
    name: &str,
    (kind, data): (MessageKind, &[u8]),
    asked: &Asked,
    promise: impl FnOnce() -> Promise,
    answer: fn(crate::Result<Report>) -> Answer,
) -> Outcome {
    let found = service.check(kind, data).and_then(|()| service.find(name));
    let channel = match found {
        Ok(channel) => channel,
        Err(error) => return Outcome::Now(Answer::error(&error)),
    };
    let options = PublishOptions {
        key: asked.key.as_deref(),
        conflate: asked.conflate.as_deref(),
        counts: asked.counts,
    };
    let later = || -> Done {
        let promise = promise();
        Box::new(move |report| promise.answer(answer(report)))
    };
    match service.publish_asking(&channel, &Message::new(kind, data), options, later) {
        Some(report) => Outcome::Now(answer(report)),
        None => Outcome::Later,
    }
}

/// The same for many messages.
fn publish_batch(
    service: &Service,
    body: &[u8],
    counts: bool,
    promise: impl FnOnce() -> Promise,
) -> Outcome {
    let batch = match Batch::read(body, service.max_batch()) {
        Ok(batch) => batch,
        Err(error) => return Outcome::Now(Answer::error(&error)),
    };
    let later = || -> BatchDone {
        let promise = promise();
        Box::new(move |reports| promise.answer(batch::answer(&reports)))
    };
    match service.publish_batch_asking(&batch.messages(counts), later) {
        Some(reports) => Outcome::Now(batch::answer(&reports)),
        None => Outcome::Later,
    }
}

impl Asked {
    fn is_nothing(&self) -> bool {
        self.key.is_none() && self.conflate.is_none() && !self.counts
    }

    pub(super) fn of(head: &Head<'_>) -> std::result::Result<Self, Answer> {
        let query = Query(head.query);
        let mut fields = head.fields("idempotency-key");
        let key = fields.next().map(<[u8]>::to_vec);
        if fields.next().is_some() {
            return Err(Answer::failure(400, "Idempotency-Key is repeated"));
        }
        Ok(Self {
            key: key.or_else(|| query.bytes("key")),
            conflate: query.text("conflate"),
            counts: query.flag("result")?,
        })
    }
}

/// A body is text unless it says that it is arbitrary bytes.
pub(super) fn kind_of(head: &Head<'_>) -> MessageKind {
    let media_type = head.content_type.split(';').next().unwrap_or_default().trim();
    match media_type.eq_ignore_ascii_case("application/octet-stream") {
        true => MessageKind::Binary,
        false => MessageKind::Text,
    }
}
