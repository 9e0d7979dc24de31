//! Patterns and presence of a handle, against the real server.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};

use qyun::ErrorKind;
use qyun::client::{Attendee, Client, Delivery, EventKind, Subscription};
use qyun::server::{Server, ServerOptions};
use qyun::wire::{MessageKind, members, stream};

use crate::events::{Events, fast, inline, thread};
use crate::relay::Relay;
use crate::server::LONG;

const ROOMS: &str =
    "room.>: presence=true, auto_create=true, history_size=100; news.>: auto_create=true";

fn server(options: &[(&str, &str)]) -> Server {
    let mut all = ServerOptions::default();
    for (key, value) in [("listen", "127.0.0.1:0"), ("namespaces", ROOMS)].iter().chain(options) {
        all.set(key, value).unwrap();
    }
    Server::start(all).unwrap()
}

fn open(address: SocketAddr) -> Client {
    let mut options = fast();
    options.set("overflow", "block").unwrap();
    let client = Client::open(&address.to_string(), options).unwrap();
    client.wait_connected(LONG).unwrap();
    client
}

fn say(server: &Server, channel: &str, text: &str) {
    server.service().publish(channel, MessageKind::Text, text.as_bytes()).unwrap();
}

/// The next event is a message: its channel and text.
fn message(events: &Events) -> (String, String) {
    let event = events.next();
    let text = String::from_utf8_lossy(&event.data).into_owned();
    assert_eq!(event.kind, EventKind::Message, "{text}");
    assert!(event.attendee.is_none());
    (event.channel.to_string(), text)
}

/// The next event is somebody who came or went.
fn change(events: &Events) -> (EventKind, Attendee) {
    let event = events.next();
    let attendee = event.attendee.unwrap_or_else(|| panic!("{:?}", event.kind));
    assert_eq!(&*event.data, attendee.id.as_bytes());
    (event.kind, Attendee::clone(&attendee))
}

fn pair(channel: &str, text: &str) -> (String, String) {
    (channel.to_owned(), text.to_owned())
}

#[test]
fn a_pattern_brings_messages_with_their_channels_names() {
    let server = server(&[("auto_create", "true")]);
    say(&server, "news.a", "before");
    let client = open(server.local_addr());
    let (delivery, all) = thread();
    let everything = client.subscribe_pattern("news.>", delivery).unwrap();
    assert_eq!(everything.channel(), "news.>");
    let connected = all.next();
    assert_eq!((connected.kind, &*connected.channel), (EventKind::Connected, "news.>"));
    assert_eq!(connected.recovered, None);
    let (delivery, some) = inline();
    let segments = client.subscribe_pattern("news.*", delivery).unwrap();
    some.expect(EventKind::Connected);
    for (channel, text) in [("news.a", "1"), ("news.b", "2"), ("other", "3"), ("news.b.c", "4")] {
        say(&server, channel, text);
    }
    for expected in [pair("news.a", "1"), pair("news.b", "2"), pair("news.b.c", "4")] {
        assert_eq!(message(&all), expected);
    }
    assert_eq!([message(&some), message(&some)], [pair("news.a", "1"), pair("news.b", "2")]);
    // A deleted channel leaves them as they are.
    server.service().delete_channel("news.a").unwrap();
    say(&server, "news.a", "5");
    assert_eq!((message(&all), message(&some)), (pair("news.a", "5"), pair("news.a", "5")));
    everything.close();
    all.end();
    say(&server, "news.b", "6");
    assert_eq!(message(&some), pair("news.b", "6"));
    // One that comes again to a pattern that is live.
    let pulled = client.subscribe_pattern("news.*", Delivery::Pull).unwrap();
    assert_eq!(pulled.recv(LONG).unwrap().kind, EventKind::Connected);
    say(&server, "news.b", "7");
    assert_eq!(pulled.recv(LONG).unwrap().data, "7");
    drop((segments, pulled));
    client.close();
    some.message();
    some.end();
    let gone = client.subscribe_pattern("news.*", Delivery::Pull).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Closed);
}

#[test]
fn what_cannot_be_is_refused_and_the_callback_never_called() {
    let server = server(&[("session_patterns", "false"), ("auto_create", "true")]);
    let client = open(server.local_addr());
    for (pattern, kind) in [("a.>.b", ErrorKind::InvalidName), ("a.*", ErrorKind::Refused)] {
        let (delivery, events) = thread();
        assert_eq!(client.subscribe_pattern(pattern, delivery).unwrap_err().kind(), kind);
        events.never_called();
    }
    let (delivery, events) = thread();
    let error = client.subscribe_presence("plain", delivery).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ChannelNotFound);
    assert!(error.to_string().contains("option 'presence'"), "{error}");
    events.never_called();
}

/// Who is there, by the joins behind `Connected`.
fn begin(subscription: &Subscription, count: usize) -> BTreeSet<Box<str>> {
    assert_eq!(subscription.recv(LONG).unwrap().kind, EventKind::Connected);
    let mut there = BTreeSet::new();
    for _ in 0..count {
        let event = subscription.recv(LONG).unwrap();
        assert_eq!(event.kind, EventKind::Join);
        assert!(there.insert(event.attendee.unwrap().id.clone()));
    }
    there
}

#[test]
fn who_is_there_who_comes_and_who_goes_is_told_between_the_messages() {
    let server = server(&[("shards", "2")]);
    let client = open(server.local_addr());
    let (delivery, events) = thread();
    let _room = client.subscribe_presence("room.a", delivery).unwrap();
    events.expect(EventKind::Connected);
    let (kind, own) = change(&events);
    assert_eq!((kind, own.edge, &own.user), (EventKind::Join, true, &None));
    let other = open(server.local_addr());
    let theirs = other.subscribe_presence("room.a", Delivery::Pull).unwrap();
    let there = begin(&theirs, 2);
    let (kind, came) = change(&events);
    assert_eq!((kind, there), (EventKind::Join, BTreeSet::from([own.id.clone(), came.id.clone()])));
    // Another subscription of the handle is told from the beginning, and is no other member.
    let again = client.subscribe_presence("room.a", Delivery::Pull).unwrap();
    assert_eq!(begin(&again, 2).len(), 2);
    let page = client.presence("room.a", None, 1).unwrap();
    assert_eq!((page.members.len(), page.count, page.anonymous, page.more), (1, 2, 0, true));
    let rest = client.presence("room.a", Some(&page.members[0].id), 10).unwrap();
    assert_eq!((rest.members.len(), rest.more), (1, false));
    assert_eq!(client.presence("news.a", None, 1).unwrap_err().kind(), ErrorKind::ChannelNotFound);
    // Bound to a user, it goes as nobody's and comes as the user's.
    server.service().bind_user(&came.id, "ann").unwrap();
    let (left, joined) = (change(&events), change(&events));
    assert_eq!((left.0, left.1.user), (EventKind::Leave, None));
    assert_eq!((joined.0, joined.1.user.as_deref()), (EventKind::Join, Some("ann")));
    say(&server, "room.a", "hi");
    assert_eq!(message(&events), pair("room.a", "hi"));
    other.close();
    let (kind, went) = change(&events);
    assert_eq!((kind, went.id, went.edge), (EventKind::Leave, came.id, true));
    assert!(went.time_ms >= came.time_ms);
    // One that ends does not end the other.
    again.close();
    say(&server, "room.a", "still");
    assert_eq!(message(&events), pair("room.a", "still"));
    server.service().delete_channel("room.a").unwrap();
    events.end();
}

#[test]
fn an_abrupt_death_is_told_within_ping_and_pong_wait() {
    let server = server(&[("ping_interval_ms", "300"), ("pong_wait_ms", "1000")]);
    let client = open(server.local_addr());
    let (delivery, events) = thread();
    let _room = client.subscribe_presence("room.a", delivery).unwrap();
    events.expect(EventKind::Connected);
    change(&events);
    // One whose network is gone: nothing of it comes any more, not even an end.
    let silent = Silent::connect(server.local_addr());
    let (kind, came) = change(&events);
    assert_eq!(kind, EventKind::Join);
    let (kind, went) = change(&events);
    assert_eq!((kind, went.id), (EventKind::Leave, came.id));
    assert_eq!(client.presence("room.a", None, 10).unwrap().count, 1);
    drop(silent);
}

#[test]
fn joins_and_leaves_alternate_across_reconnections() {
    let server = server(&[]);
    let relay = Relay::to(server.local_addr());
    let client = open(relay.address);
    let stays = open(server.local_addr());
    let _stays = stays.subscribe_presence("room.a", Delivery::Pull).unwrap();
    let goes = open(server.local_addr());
    let _goes = goes.subscribe_presence("room.a", Delivery::Pull).unwrap();
    let (delivery, events) = thread();
    let _room = client.subscribe_presence("room.a", delivery).unwrap();
    events.expect(EventKind::Connected);
    let mut there: BTreeSet<_> = (0..3).map(|_| change(&events).1.id).collect();
    let (delivery, news) = thread();
    let _news = client.subscribe_pattern("news.*", delivery).unwrap();
    news.expect(EventKind::Connected);
    assert_eq!(relay.cut(), 2);
    goes.close();
    say(&server, "room.a", "missed");
    let mut live = false;
    loop {
        let event = events.next();
        match event.kind {
            EventKind::Error => {}
            EventKind::Connected => {
                assert_eq!(event.recovered, Some(true));
                live = true;
            }
            EventKind::Message => {
                assert_eq!(event.data, "missed");
                break;
            }
            EventKind::Join => {
                assert!(there.insert(event.attendee.unwrap().id.clone()), "joined twice");
            }
            EventKind::Leave => assert!(there.remove(&event.attendee.unwrap().id), "left twice"),
            EventKind::Closed => panic!("closed"),
        }
    }
    assert!(live);
    // What was told is what is there, once the last of the connections that were cut is known to be.
    let now = || -> BTreeSet<Box<str>> {
        let members = client.presence("room.a", None, 10).unwrap().members;
        members.into_iter().map(|one| one.id.into()).collect()
    };
    while there != now() {
        let (kind, who) = change(&events);
        match kind {
            EventKind::Join => assert!(there.insert(who.id), "joined twice"),
            _ => assert!(there.remove(&who.id), "left twice"),
        }
    }
    assert_eq!(there.len(), 2);
    // A pattern begins at the present, and says so.
    let connected = loop {
        let event = news.next();
        if event.kind != EventKind::Error {
            break event;
        }
    };
    assert_eq!((connected.kind, connected.recovered), (EventKind::Connected, Some(false)));
    say(&server, "news.x", "live");
    assert_eq!(message(&news), pair("news.x", "live"));
}

/// A member that subscribed and says nothing more.
struct Silent(#[allow(dead_code)] tungstenite::WebSocket<TcpStream>);

impl Silent {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        let url = format!("ws://{address}{}", members::PATH);
        let (mut socket, _) = tungstenite::client(url, stream).unwrap();
        let mut packet = Vec::new();
        let op = stream::Op::Subscribe;
        let request = stream::Request { id: 1, channel: "room.a", op };
        stream::encode_request(&mut packet, &request);
        socket.send(packet.into()).unwrap();
        Self(socket)
    }
}
