//! The stream protocol of connections with a name: patterns, and who is there.

use std::collections::BTreeSet;
use std::time::Duration;

use qyun::server::Server;
use qyun::wire::members::{self, Call, Notice, decode_notice, encode_call};
use qyun::wire::stream::{Op, Packet, Publication, Reply, Request, decode_packet};
use qyun::wire::{MessageKind, Position};
use serde_json::Value;

use crate::kit::{Raw, server, until};
use crate::stream;

const ROOMS: (&str, &str) =
    ("namespaces", "room.>: presence=true, auto_create=true, history_size=100");

/// A connection with a name.
struct Member {
    raw: Raw,
    id: String,
    asked: u32,
}

/// What a notice says, with what it borrows.
#[derive(Debug, PartialEq, Eq, Clone)]
enum Told {
    /// A channel's number, epoch and offset, and its name.
    Entered(u64, Position, String),
    /// Whether it went, an id, its user, whether that one is there no more or just came, an offset.
    Presence(bool, String, Option<String>, bool, u64),
    Beyond(String),
    /// A channel's number, an offset and the message.
    Message(u64, u64, Vec<u8>),
    Gone(u64),
}

impl Member {
    fn connect(server: &Server) -> Self {
        let mut raw = Raw::websocket(server.local_addr(), members::PATH);
        let id = match decode_notice(&raw.message().payload) {
            Some(Notice::Welcome(id)) => id.to_owned(),
            other => panic!("{other:?}"),
        };
        Self { raw, id, asked: 0 }
    }

    fn say(&mut self, call: &Call<'_>) {
        let mut packet = Vec::new();
        encode_call(&mut packet, call);
        self.raw.send_frame(0x82, &packet);
    }

    /// The reply to a call, which comes next: its status, number, position, and what else it says.
    fn ask(&mut self, make: impl FnOnce(u32) -> Call<'static>) -> (Reply<'static>, String) {
        self.asked += 1;
        let id = self.asked;
        self.say(&make(id));
        let frame = self.raw.message();
        match decode_packet(&frame.payload) {
            Some(Packet::Reply(reply)) => {
                assert_eq!(reply.id, id);
                let text = reply.there.unwrap_or(reply.error).to_owned();
                let Reply { status, channel, position, recovered, duplicate, counts, .. } = reply;
                let there = reply.there.map(|_| "");
                let kept = Reply {
                    id,
                    status,
                    channel,
                    position,
                    recovered,
                    duplicate,
                    counts,
                    subscribers: reply.subscribers,
                    there,
                    error: "",
                };
                (kept, text)
            }
            other => panic!("{other:?} {frame:?}"),
        }
    }

    fn plain(&mut self, channel: &'static str, op: Op<'static>) -> (Reply<'static>, String) {
        self.ask(|id| Call::Plain(Request { id, channel, op }))
    }

    fn pattern(&mut self, pattern: &'static str) -> (Reply<'static>, String) {
        self.ask(|id| Call::Pattern { id, pattern })
    }

    fn watch(&mut self, channel: &'static str) -> (Reply<'static>, Value) {
        let (reply, text) = self.ask(|id| Call::Watch { id, channel, since: None });
        assert_eq!((reply.status, reply.there), (0, Some("")), "{text}");
        (reply, serde_json::from_str(&text).unwrap())
    }

    fn told(&mut self) -> Told {
        let frame = self.raw.message();
        assert_eq!(frame.opcode, 2, "{frame:?}");
        match decode_packet(&frame.payload) {
            Some(Packet::Message { channel, offset, payload, .. }) => {
                return Told::Message(channel, offset, payload.to_vec());
            }
            Some(Packet::Gone { channel }) => return Told::Gone(channel),
            Some(Packet::Reply(reply)) => panic!("{reply:?}"),
            None => {}
        }
        match decode_notice(&frame.payload) {
            Some(Notice::Entered { channel, position, name }) => {
                Told::Entered(channel, position, name.to_owned())
            }
            Some(Notice::Presence(told)) => {
                assert!(told.time_ms > 1_700_000_000_000);
                let user = told.user.map(str::to_owned);
                Told::Presence(told.went, told.id.to_owned(), user, told.edge, told.offset)
            }
            Some(Notice::Beyond(name)) => Told::Beyond(name.to_owned()),
            other => panic!("{other:?} {frame:?}"),
        }
    }

    fn message(&mut self) -> (u64, u64, Vec<u8>) {
        match self.told() {
            Told::Message(channel, offset, payload) => (channel, offset, payload),
            other => panic!("{other:?}"),
        }
    }
}

fn ids(there: &Value) -> BTreeSet<String> {
    let members = there["members"].as_array().unwrap();
    members.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

fn say(server: &Server, channel: &str, text: &str) {
    server.service().publish(channel, MessageKind::Text, text.as_bytes()).unwrap();
}

#[test]
fn a_pattern_brings_each_matching_channel_by_its_name() {
    let server = server(&[("shards", "2")]);
    let service = server.service();
    for name in ["news.a", "news.b", "other"] {
        service.create_channel(name).unwrap();
    }
    say(&server, "news.a", "before");
    let mut member = Member::connect(&server);
    let (named, _) = member.plain("news.b", Op::Subscribe);
    let (reply, _) = member.pattern("news.*");
    assert_eq!((reply.status, reply.channel, reply.position.offset), (0, 0, 2));
    // One that another subscription brings is told of as well.
    let (first, second) = (member.told(), member.told());
    let Told::Entered(a, position, name) = first else { panic!("{first:?}") };
    assert_eq!((position.offset, &*name), (1, "news.a"));
    assert_eq!(second, Told::Entered(named.channel, named.position, "news.b".into()));
    // A later one is told of before its first message, which follows the position.
    service.create_channel("news.c").unwrap();
    say(&server, "news.c", "1");
    let told = member.told();
    let Told::Entered(c, position, name) = told else { panic!("{told:?}") };
    assert_eq!((position.offset, &*name), (0, "news.c"));
    assert_eq!(position.epoch, service.channel("news.c").unwrap().epoch);
    assert_eq!(member.message(), (c, 1, b"1".to_vec()));
    say(&server, "news.a", "2");
    say(&server, "other", "not for it");
    // It comes once, though its name and the pattern bring it.
    say(&server, "news.b", "3");
    assert_eq!(member.message(), (a, 2, b"2".to_vec()));
    assert_eq!(member.message(), (named.channel, 1, b"3".to_vec()));
    let end = |id| Call::NoPattern { id, pattern: "news.*" };
    assert_eq!(member.ask(end).0.status, 0);
    for name in ["news.a", "news.c", "news.b"] {
        say(&server, name, "4");
    }
    assert_eq!(member.message(), (named.channel, 2, b"4".to_vec()));
    assert_eq!(member.ask(end).0.status, 404);
    service.delete_channel("news.b").unwrap();
    assert_eq!(member.told(), Told::Gone(named.channel));
    drop(member);
    until("it is gone", || service.counters().subscribers == 0);
}

#[test]
fn patterns_have_limits_and_can_be_switched_off() {
    let quiet = server(&[("session_patterns", "false")]);
    assert_eq!(Member::connect(&quiet).pattern("a.*").0.status, 403);
    let server = server(&[("max_subscriptions", "3"), ("auto_create", "true")]);
    let mut member = Member::connect(&server);
    let (reply, text) = member.pattern("a.>.b");
    assert_eq!(reply.status, 400, "{text}");
    assert_eq!(member.pattern("a.*").0.status, 0);
    assert_eq!(member.plain("x", Op::Subscribe).0.status, 0);
    say(&server, "a.1", "1");
    assert!(matches!(member.told(), Told::Entered(.., name) if name == "a.1"));
    assert_eq!(member.message().2, b"1");
    say(&server, "a.2", "2");
    assert_eq!(member.told(), Told::Beyond("a.2".into()));
    assert_eq!(member.plain("y", Op::Subscribe).0.status, 507);
    assert_eq!(member.pattern("b.*").0.status, 507);
}

#[test]
fn a_watcher_is_told_who_is_there_and_who_comes_and_goes_whatever_they_speak() {
    let server = server(&[("shards", "2"), ROOMS]);
    let service = server.service();
    let mut member = Member::connect(&server);
    assert_eq!(member.plain("room.a", Op::Subscribe).0.status, 0);
    let mut watcher = Member::connect(&server);
    let (reply, there) = watcher.watch("room.a");
    assert_eq!(ids(&there), BTreeSet::from([member.id.clone(), watcher.id.clone()]));
    assert_eq!(
        (reply.position.offset, &there["count"], &there["next"]),
        (0, &2.into(), &Value::Null)
    );
    let mut third = Member::connect(&server);
    service.bind_user(&third.id, "ann").unwrap();
    third.plain("room.a", Op::Subscribe);
    let ann = Some("ann".to_owned());
    assert_eq!(watcher.told(), Told::Presence(false, third.id.clone(), ann.clone(), true, 0));
    say(&server, "room.a", "1");
    assert_eq!(watcher.message(), (reply.channel, 1, b"1".to_vec()));
    // Its death is known at once, and stands between the messages.
    socket2::SockRef::from(&third.raw.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(third.raw);
    assert_eq!(watcher.told(), Told::Presence(true, third.id.clone(), ann, true, 1));
    // A session is told of members, and they of sessions.
    let mut session = Raw::websocket(server.local_addr(), "/ws");
    session.message();
    let subscribe =
        r#"{"type":"request","action":"subscribe","payload":{"channel":"room.a","presence":true}}"#;
    session.send_frame(0x81, subscribe.as_bytes());
    let answer: Value = serde_json::from_slice(&session.message().payload).unwrap();
    assert_eq!(ids(&answer["data"]["presence"]).len(), 3);
    assert!(matches!(watcher.told(), Told::Presence(false, ..)));
    drop(member);
    assert!(matches!(watcher.told(), Told::Presence(true, ..)));
    let left: Value = serde_json::from_slice(&session.message().payload).unwrap();
    assert_eq!((&left["data"]["event"], &left["data"]["offset"]), (&"leave".into(), &1.into()));
    service.delete_channel("room.a").unwrap();
    assert_eq!(watcher.told(), Told::Gone(reply.channel));
}

#[test]
fn one_that_falls_silent_leaves_within_ping_and_pong_wait() {
    let options = [("ping_interval_ms", "300"), ("pong_wait_ms", "1000"), ROOMS];
    let server = server(&options);
    let mut silent = Member::connect(&server);
    silent.plain("room.a", Op::Subscribe);
    let mut watcher = Member::connect(&server);
    watcher.watch("room.a");
    // It keeps its socket open and says nothing more; the watcher answers its pings.
    let told = loop {
        let frame = watcher.raw.frame();
        match frame.opcode {
            9 => watcher.raw.send_frame(0x8a, &frame.payload),
            _ => break frame,
        }
    };
    match decode_notice(&told.payload) {
        Some(Notice::Presence(told)) => assert_eq!((told.went, told.id), (true, &*silent.id)),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.service().presence("room.a", None, 10).unwrap().count, 1);
}

#[test]
fn the_list_comes_in_pages_and_only_where_there_is_one() {
    let server = server(&[ROOMS]);
    let mut all: Vec<_> = (0..5).map(|_| Member::connect(&server)).collect();
    for member in &mut all {
        member.plain("room.a", Op::Subscribe);
    }
    let mut expected: Vec<_> = all.iter().map(|member| member.id.clone()).collect();
    expected.sort();
    let asker = &mut all[0];
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        asker.say(&Call::Attendance {
            id: 9,
            channel: "room.a",
            limit: 2,
            after: after.as_deref(),
        });
        let frame = asker.raw.message();
        let Some(Packet::Reply(reply)) = decode_packet(&frame.payload) else { panic!("{frame:?}") };
        let there: Value = serde_json::from_str(reply.there.unwrap()).unwrap();
        assert_eq!((reply.id, reply.status, &there["count"]), (9, 0, &5.into()));
        seen.extend(there["members"].as_array().unwrap().iter().map(|one| one["id"].clone()));
        after = there["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected);
    for (channel, limit, status) in [("room.a", 0, 400), ("room.a", 1001, 400), ("none", 1, 404)] {
        let call = |id| Call::Attendance { id, channel, limit, after: None };
        assert_eq!(asker.ask(call).0.status, status);
    }
    server.service().create_channel("plain").unwrap();
    let (reply, text) = asker.ask(|id| Call::Watch { id, channel: "plain", since: None });
    assert_eq!((reply.status, reply.there), (404, None));
    assert!(text.contains("option 'presence'"), "{text}");
}

#[test]
fn a_watch_recovers_what_was_missed() {
    let server = server(&[ROOMS]);
    let mut member = Member::connect(&server);
    let (reply, _) = member.watch("room.a");
    drop(member);
    say(&server, "room.a", "missed");
    let mut again = Member::connect(&server);
    let since = Some(reply.position);
    let (resumed, _) = again.ask(|id| Call::Watch { id, channel: "room.a", since });
    assert_eq!((resumed.recovered, resumed.position), (true, reply.position));
    assert_eq!(again.message(), (resumed.channel, 1, b"missed".to_vec()));
}

#[test]
fn it_publishes_with_all_options() {
    let server = server(&[("auto_create", "true"), ("shards", "1")]);
    let mut member = Member::connect(&server);
    member.plain("a", Op::Subscribe);
    let epoch = server.service().channel("a").unwrap().epoch;
    member.say(&Call::Plain(Request {
        id: 77,
        channel: "a",
        op: Op::Publish(MessageKind::Binary, b"\xff"),
    }));
    assert_eq!(member.message().2, b"\xff");
    let frame = member.raw.message();
    let Some(Packet::Reply(reply)) = decode_packet(&frame.payload) else { panic!("{frame:?}") };
    assert_eq!((reply.id, reply.position), (77, Position { epoch, offset: 1 }));
    let keyed = Publication {
        kind: MessageKind::Text,
        data: b"once",
        key: Some(b"k"),
        conflate: Some("c"),
        counts: true,
        subscribers: true,
    };
    for duplicate in [false, true] {
        let op = Op::PublishWith(keyed);
        member.say(&Call::Plain(Request { id: 78, channel: "b", op }));
        let frame = member.raw.message();
        let Some(Packet::Reply(reply)) = decode_packet(&frame.payload) else { panic!("{frame:?}") };
        assert_eq!((reply.status, reply.duplicate, reply.position.offset), (0, duplicate, 1));
        assert_eq!((reply.counts.unwrap().reached, reply.subscribers), (0, Some(0)));
    }
    // What is sent to it alone has no channel.
    server.service().send_to(&member.id, MessageKind::Text, b"you").unwrap();
    assert_eq!(member.message(), (0, 0, b"you".to_vec()));
}

#[test]
fn what_is_no_request_closes_the_connection() {
    let server = server(&[("max_message_bytes", "1000")]);
    for packet in
        [&b"\x09\0\0\0\0\0\0\0"[..], b"\x05\0\x02\0\0\0\0\0a", b"\x07\0\0\0\0\0\0\0x", b""]
    {
        let mut member = Member::connect(&server);
        member.raw.send_frame(0x82, packet);
        assert_eq!(member.raw.message().close_code(), Some(1002), "{packet:?}");
    }
    let mut member = Member::connect(&server);
    member.raw.send_frame(0x81, b"text");
    assert_eq!(member.raw.message().close_code(), Some(1002));
    let mut member = Member::connect(&server);
    let packet = stream::request(1, "a", Op::Publish(MessageKind::Binary, &[7; 1001]));
    member.raw.send_frame(0x82, &packet);
    let frame = member.raw.message();
    let Some(Packet::Reply(reply)) = decode_packet(&frame.payload) else { panic!("{frame:?}") };
    assert_eq!((reply.id, reply.status), (1, 413));
    // An anonymous connection of the stream protocol has none of this.
    let mut raw = Raw::websocket(server.local_addr(), "/channel/stream");
    raw.send_frame(0x82, b"\x05\0\x01\0\x01\0\0\0a");
    assert_eq!(raw.message().close_code(), Some(1002));
}
