//! Endpoints: connections with a name, users, memberships, and everything that is sent to them.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use qyun::ErrorKind;
use qyun::hub::{Connection, Decision, Filter, Value};
use qyun::server::dialect::{Closure, EndpointOptions, Handler, Ticket, Upgrade, Verdict};
use qyun::server::{Server, Service};
use qyun::wire::websocket::Message;
use qyun::wire::{Dialect, MessageKind};

use crate::kit::{Frame, KEY, PATIENCE, Raw, server, until};

/// What a handler was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Opened(String),
    Message(String, MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Closing(String, bool),
    Closed(Closure),
}

/// Echoes; asks later about paths with `?later`, refuses `?refuse`, names `?id=…`.
pub struct Echo {
    told: mpsc::Sender<Told>,
    tickets: Mutex<Vec<Ticket>>,
    dialect: Dialect,
}

impl Echo {
    fn tell(&self, told: Told) {
        let _ = self.told.send(told);
    }
}

impl Handler for Echo {
    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn admit(&self, _: &Service, upgrade: &Upgrade<'_>) -> Verdict {
        match upgrade.query {
            "later" => Verdict::Later,
            "refuse" => {
                Verdict::Now(Decision::Refuse { status: 401, reason: "Who are you".into() })
            }
            query => match query.strip_prefix("id=") {
                Some(id) => Verdict::Now(Decision::Accept {
                    id: Some(id.into()),
                    user: Some(format!("user of {id}")),
                }),
                None => Verdict::ACCEPT,
            },
        }
    }

    fn decide(&self, _: &Arc<Service>, _: &Upgrade<'_>, ticket: Ticket) {
        self.tickets.lock().unwrap().push(ticket);
    }

    fn opened(
        &self,
        _: &Arc<Service>,
        connection: &Arc<Connection>,
        displaced: Option<Arc<Connection>>,
    ) {
        if let Some(displaced) = displaced {
            displaced.send(&Message::new(MessageKind::Text, b"displaced")).unwrap();
        }
        self.tell(Told::Opened(connection.id().to_string()));
    }

    fn message(
        &self,
        _: &Arc<Service>,
        connection: &Arc<Connection>,
        kind: MessageKind,
        data: &[u8],
    ) {
        self.tell(Told::Message(connection.id().to_string(), kind, data.to_vec()));
        connection.send(&Message::new(kind, data)).unwrap();
    }

    fn pinged(&self, _: &Arc<Connection>, data: &[u8]) {
        self.tell(Told::Ping(data.to_vec()));
    }

    fn ponged(&self, _: &Arc<Connection>) {
        self.tell(Told::Pong);
    }

    fn closing(&self, connection: &Arc<Connection>, closure: &Closure) {
        self.tell(Told::Closing(closure.reason.clone(), connection.user().is_some()));
    }

    fn closed(&self, service: &Arc<Service>, connection: &Arc<Connection>, closure: &Closure) {
        assert!(connection.user().is_none() && connection.channels().is_empty());
        assert!(
            !service.members("c").is_ok_and(|all| all.iter().any(|c| Arc::ptr_eq(c, connection)))
        );
        self.tell(Told::Closed(closure.clone()));
    }
}

fn endpoint(
    server: &Server,
    path: &str,
    options: &[(&str, &str)],
) -> (Arc<Echo>, mpsc::Receiver<Told>) {
    endpoint_of(server, path, options, Dialect::Host)
}

pub fn endpoint_of(
    server: &Server,
    path: &str,
    options: &[(&str, &str)],
    dialect: Dialect,
) -> (Arc<Echo>, mpsc::Receiver<Told>) {
    let (told, receiver) = mpsc::channel();
    let handler = Arc::new(Echo { told, tickets: Mutex::default(), dialect });
    let mut all = EndpointOptions::default();
    for (key, value) in options {
        all.set(key, value).unwrap();
    }
    server.service().add_endpoint(path, all, handler.clone()).unwrap();
    (handler, receiver)
}

fn next(told: &mpsc::Receiver<Told>) -> Told {
    told.recv_timeout(PATIENCE).unwrap()
}

pub fn opened(told: &mpsc::Receiver<Told>) -> String {
    match next(told) {
        Told::Opened(id) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_handler_is_told_of_everything_in_order() {
    let server = server(&[]);
    let (_, told) = endpoint(&server, "/echo", &[]);
    let mut raw = Raw::connect(server.local_addr());
    // Frames right behind the head belong to the connection.
    let mut bytes = format!(
        "GET /echo HTTP/1.1\r\nHost: t\r\nUser-Agent: me\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Protocol: a, b\r\n\r\n"
    )
    .into_bytes();
    bytes.extend(crate::kit::masked(0x81, b"early"));
    raw.send(bytes);
    let answer = raw.answer();
    assert_eq!((answer.status, answer.field("sec-websocket-protocol")), (101, Some("a")));
    let id = opened(&told);
    assert_eq!(id.len(), 36);
    assert_eq!(raw.message(), Frame::text("early"));
    assert_eq!(next(&told), Told::Message(id.clone(), MessageKind::Text, b"early".to_vec()));
    raw.send_frame(0x89, b"are you there");
    assert_eq!(raw.frame(), Frame { opcode: 10, payload: b"are you there".to_vec() });
    assert_eq!(next(&told), Told::Ping(b"are you there".to_vec()));
    raw.send_frame(0x8a, b"");
    assert_eq!(next(&told), Told::Pong);

    let connection = server.service().connection(&id).unwrap();
    let info = connection.info();
    assert_eq!((&*info.user_agent, &*info.path), ("me", "/echo"));
    assert_eq!(info.remote, raw.stream.local_addr().unwrap());
    assert_eq!((info.messages_in, info.messages_out), (1, 1));
    assert_eq!(connection.request().header("sec-websocket-protocol"), Some(&b"a, b"[..]));

    server.service().bind_user(&id, "ann").unwrap();
    raw.send_frame(0x88, &[&4001u16.to_be_bytes()[..], b"bye"].concat());
    assert_eq!(raw.message().close_code(), Some(4001));
    assert_eq!(next(&told), Told::Closing("bye".into(), true));
    let closure = Closure { code: 4001, reason: "bye".into(), by_peer: true };
    assert_eq!(next(&told), Told::Closed(closure));
    assert_eq!(server.service().connection(&id).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        connection.send(&Message::new(MessageKind::Text, b"")).unwrap_err().kind(),
        ErrorKind::Closed
    );
}

#[test]
fn a_handler_may_refuse_and_may_take_its_time() {
    let server = server(&[]);
    let (handler, told) = endpoint(&server, "/echo", &[]);
    let mut raw = Raw::connect(server.local_addr());
    let answer = raw.upgrade("/echo?refuse", "");
    assert_eq!((answer.status, answer.body.contains("Who are you")), (401, true));
    // The same connection may ask again.
    raw.send(format!(
        "GET /echo?later HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    ));
    raw.send(crate::kit::masked(0x81, b"while it waits"));
    until("the question is put", || handler.tickets.lock().unwrap().len() == 1);
    let ticket = handler.tickets.lock().unwrap().pop().unwrap();
    ticket.answer(Decision::Accept { id: Some("me".into()), user: Some("ann".into()) });
    assert_eq!(raw.answer().status, 101);
    assert_eq!(opened(&told), "me");
    assert_eq!(raw.message(), Frame::text("while it waits"));
    assert_eq!(server.service().user_connections("ann").len(), 1);

    // Nobody decides, or nobody can any more.
    let mut other = Raw::connect(server.local_addr());
    other.send(format!(
        "GET /echo?later HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    ));
    until("the question is put", || handler.tickets.lock().unwrap().len() == 1);
    handler.tickets.lock().unwrap().clear();
    assert_eq!(other.answer().status, 503);
    assert_eq!(other.get("/health").status, 200);
}

#[test]
fn a_path_is_an_endpoint_only_while_it_is_one() {
    let server = server(&[]);
    let service = server.service();
    let mut raw = Raw::connect(server.local_addr());
    assert_eq!(raw.upgrade("/echo", "").status, 404);
    let (_, told) = endpoint(&server, "/echo", &[]);
    assert_eq!(raw.get("/echo").status, 426);
    assert_eq!(raw.request("POST", "/echo", "", b"x").status, 404);
    assert_eq!(raw.request("PUT", "/echo", "", b"").status, 405);
    assert_eq!(raw.upgrade("/echo", "").status, 101);
    opened(&told);
    let (handler, _) = endpoint(&server, "/other", &[]);
    for bad in ["echo", "/channel/x", "/a?b"] {
        let error = service.add_endpoint(bad, EndpointOptions::default(), handler.clone());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad}");
    }
    let taken = service.add_endpoint("/echo", EndpointOptions::default(), handler);
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::Exists);
    service.remove_endpoint("/echo").unwrap();
    assert_eq!(raw.message().close_code(), Some(1001));
    assert_eq!(Raw::connect(server.local_addr()).upgrade("/echo", "").status, 404);
    assert_eq!(service.remove_endpoint("/echo").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn origins_and_the_number_of_connections_are_limited() {
    let server = server(&[("origins", "https://a.example")]);
    server.service().create_channel("c").unwrap();
    let limits = [("origins", "https://b.example"), ("max_connections", "1")];
    let (_, told) = endpoint(&server, "/echo", &limits);
    let address = server.local_addr();
    for (path, origin, status) in [
        ("/echo", "https://a.example", 403),
        ("/channel/listen/c", "https://b.example", 403),
        ("/channel/listen/c", "https://a.example", 101),
    ] {
        let answer = Raw::connect(address).upgrade(path, &format!("Origin: {origin}\r\n"));
        assert_eq!(answer.status, status, "{path} {origin}");
    }
    let mut first = Raw::connect(address);
    assert_eq!(first.upgrade("/echo", "Origin: https://b.example\r\n").status, 101);
    opened(&told);
    assert_eq!(Raw::connect(address).upgrade("/echo", "").status, 503);
    drop(first);
    assert!(matches!(next(&told), Told::Closing(..)));
    assert!(matches!(next(&told), Told::Closed(Closure { code: 1006, .. })));
    assert_eq!(Raw::connect(address).upgrade("/echo", "").status, 101);
}

#[test]
fn the_same_id_displaces_after_a_last_word() {
    let server = server(&[("shards", "2")]);
    let (_, told) = endpoint(&server, "/echo", &[]);
    let mut first = Raw::websocket(server.local_addr(), "/echo?id=7");
    assert_eq!(opened(&told), "7");
    let mut second = Raw::websocket(server.local_addr(), "/echo?id=7");
    assert_eq!(first.message(), Frame::text("displaced"));
    assert_eq!(first.message().close_code(), Some(3505));
    second.send_frame(0x81, b"mine");
    assert_eq!(second.message(), Frame::text("mine"));
    first.send_frame(0x88, &3505u16.to_be_bytes());
    drop(first);
    until("the first one is gone", || server.service().user_connections("user of 7").len() == 1);
    let service = server.service();
    service.send_to("7", MessageKind::Text, b"to the second").unwrap();
    assert_eq!(second.message(), Frame::text("to the second"));
    assert_eq!(service.connection_count(&Filter::default()), 1);
}

#[test]
fn messages_for_one_for_a_user_for_all_and_for_some() {
    let server = server(&[("shards", "2")]);
    let service = server.service();
    let (_, _told) = endpoint(&server, "/a", &[]);
    let (_, _told) = endpoint_of(&server, "/s", &[], Dialect::Session);
    let mut a: Vec<_> =
        (0..3).map(|n| Raw::websocket(server.local_addr(), &format!("/a?id={n}"))).collect();
    let mut session = Raw::websocket(server.local_addr(), "/s?id=s");
    until("all are there", || service.connection_count(&Filter::default()) == 4);
    service.bind_user("0", "ann").unwrap();
    service.bind_user("1", "ann").unwrap();
    service.bind_user("s", "ann").unwrap();
    assert_eq!(service.send_to_user("ann", MessageKind::Text, b"user").unwrap(), 3);
    assert_eq!(service.broadcast(Some("/a"), MessageKind::Text, b"path").unwrap(), 3);
    assert_eq!(service.broadcast(None, MessageKind::Binary, b"\xff").unwrap(), 4);
    let odd = |connection: &Arc<Connection>| &**connection.id() == "2";
    let filter = Filter::default();
    assert_eq!(service.send_where(&filter, MessageKind::Text, b"odd", odd).unwrap(), 1);
    service.send_to("2", MessageKind::Text, b"last").unwrap();
    for (n, raw) in a.iter_mut().enumerate() {
        if n < 2 {
            assert_eq!(raw.message(), Frame::text("user"));
        }
        assert_eq!(raw.message(), Frame::text("path"));
        assert_eq!(raw.message(), Frame { opcode: 2, payload: vec![0xff] });
    }
    assert_eq!(a[2].message(), Frame::text("odd"));
    assert_eq!(a[2].message(), Frame::text("last"));
    let note = |data: &str| Frame::text(&format!(r#"{{"type":"notification","data":{data}}}"#));
    assert_eq!(session.message(), note(r#"{"event":"message","message":"user"}"#));
    assert_eq!(
        session.message(),
        note(r#"{"event":"message","message":"/w==","encoding":"base64"}"#)
    );

    let filter = Filter { user: Some("ann".into()), path: Some("/a".into()), ..Filter::default() };
    let ids: Vec<_> = service.connections(&filter, None, 10).into_iter().map(|c| c.id).collect();
    assert_eq!(ids, ["0".into(), "1".into()]);
    let page = service.connections(&Filter::default(), Some("1"), 1);
    assert_eq!(page[0].id, "2".into());
    assert_eq!(service.users(None, 10).iter().map(|(_, n)| n).sum::<usize>(), 4);
    // A connection has one user at a time.
    service.bind_user("0", "bob").unwrap();
    assert_eq!(service.user_connections("ann").len(), 2);
    assert!(service.unbind_user("0").unwrap());
    assert!(!service.unbind_user("0").unwrap());
    assert!(service.user_connections("bob").is_empty());
    for error in [
        service.send_to("nobody", MessageKind::Text, b"").unwrap_err(),
        service.send_to_user("bob", MessageKind::Text, b"").map(drop).unwrap_err(),
        service.broadcast(Some("/nowhere"), MessageKind::Text, b"").map(drop).unwrap_err(),
        service.close_connection("nobody", 1000, "").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    let reserved = service.close_connection("1", 1006, "").unwrap_err();
    assert_eq!(reserved.kind(), ErrorKind::InvalidArgument);
    service.close_connection("1", 4000, "kicked").unwrap();
    assert_eq!(a[1].message().payload, [&4000u16.to_be_bytes()[..], b"kicked"].concat());
}

#[test]
fn a_member_gets_what_is_published_while_it_is_one() {
    let server = server(&[("shards", "2")]);
    let service = server.service();
    let (_, told) = endpoint(&server, "/a", &[]);
    let mut members: Vec<_> =
        (0..4).map(|n| Raw::websocket(server.local_addr(), &format!("/a?id={n}"))).collect();
    (0..4).for_each(|_| drop(opened(&told)));
    service.create_channel("c").unwrap();
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/c");
    service.publish("c", MessageKind::Text, b"before").unwrap();
    for n in 0..4 {
        assert!(service.join(&n.to_string(), "c").unwrap());
        assert!(!service.join(&n.to_string(), "c").unwrap());
    }
    assert_eq!(service.members("c").unwrap().len(), 4);
    let reached = service.publish("c", MessageKind::Text, b"all").unwrap().subscribers;
    assert_eq!(reached, 5);
    // What is sent to one comes in its order with what is published.
    service.send_to("0", MessageKind::Text, b"one").unwrap();
    service.publish("c", MessageKind::Text, b"two").unwrap();
    assert!(service.leave("0", "c").unwrap());
    assert!(!service.leave("0", "c").unwrap());
    service.publish("c", MessageKind::Text, b"three").unwrap();
    service.send_to("0", MessageKind::Text, b"end").unwrap();
    for text in ["all", "one", "two", "end"] {
        assert_eq!(members[0].message(), Frame::text(text));
    }
    for text in ["all", "two", "three"] {
        assert_eq!(members[1].message(), Frame::text(text));
    }
    assert_eq!(listener.message(), Frame::text("before"));
    assert_eq!(service.channel("c").unwrap().members, 3);
    assert_eq!(service.join("0", "none").unwrap_err().kind(), ErrorKind::ChannelNotFound);

    service.delete_channel("c").unwrap();
    assert!(service.connection("1").unwrap().channels().is_empty());
    service.send_to("1", MessageKind::Text, b"still there").unwrap();
    assert_eq!(members[1].message(), Frame::text("still there"));
    // The other shard learns of the deletion at its own time.
    until("nobody subscribes", || service.counters().subscribers == 0);
}

#[test]
fn a_batch_keeps_the_order_of_channels_and_of_what_is_sent_between() {
    let server = server(&[("shards", "1")]);
    let service = server.service();
    let (_, told) = endpoint(&server, "/a", &[]);
    let mut raw = Raw::websocket(server.local_addr(), "/a?id=1");
    opened(&told);
    let names: Vec<_> = (0..20).map(|n| format!("c{n}")).collect();
    for name in &names {
        service.create_channel(name).unwrap();
        service.join("1", name).unwrap();
    }
    // Without a pause, so that many of them are in one batch.
    for round in 0..200 {
        for name in &names {
            service.publish(name, MessageKind::Text, format!("{name} {round}").as_bytes()).unwrap();
        }
        service.send_to("1", MessageKind::Text, format!("sent {round}").as_bytes()).unwrap();
    }
    for round in 0..200 {
        for name in &names {
            assert_eq!(raw.message(), Frame::text(&format!("{name} {round}")));
        }
        assert_eq!(raw.message(), Frame::text(&format!("sent {round}")));
    }
}

#[test]
fn a_group_lives_as_long_as_its_members() {
    let server = server(&[("shards", "2")]);
    let service = server.service();
    let (_, told) = endpoint(&server, "/a", &[]);
    let mut first = Raw::websocket(server.local_addr(), "/a?id=1");
    let second = Raw::websocket(server.local_addr(), "/a?id=2");
    (0..2).for_each(|_| drop(opened(&told)));
    assert!(service.join_group("1", "g").unwrap());
    assert!(service.join_group("2", "g").unwrap());
    assert_eq!(service.group_count(), 1);
    assert_eq!(service.publish("g", MessageKind::Text, b"hi").unwrap().subscribers, 2);
    assert_eq!(first.message(), Frame::text("hi"));
    assert!(service.leave("1", "g").unwrap());
    drop(second);
    until("the last member is gone", || service.channel("g").is_err());
    assert_eq!(service.group_count(), 0);
    // A channel that somebody made stays.
    service.create_channel("c").unwrap();
    service.join_group("1", "c").unwrap();
    service.leave("1", "c").unwrap();
    assert!(service.channel("c").is_ok());
}

#[test]
fn joining_and_leaving_while_messages_fly_leaves_no_trace() {
    let server = server(&[("shards", "2")]);
    let service = Arc::clone(server.service());
    let (_, told) = endpoint(&server, "/a", &[]);
    let mut raws: Vec<_> =
        (0..4).map(|n| Raw::websocket(server.local_addr(), &format!("/a?id={n}"))).collect();
    (0..4).for_each(|_| drop(opened(&told)));
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let service = Arc::clone(&service);
            std::thread::spawn(move || {
                let id = n.to_string();
                for round in 0..500 {
                    assert!(service.join_group(&id, "g").unwrap());
                    // The publication finds at least its own publisher.
                    let text = format!("{id} {round}");
                    service.publish("g", MessageKind::Text, text.as_bytes()).unwrap();
                    assert!(service.leave(&id, "g").unwrap());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    for (n, raw) in raws.iter_mut().enumerate() {
        service.send_to(&n.to_string(), MessageKind::Text, b"end").unwrap();
        let (mut own, mut all) = (0, 0);
        loop {
            let text = String::from_utf8(raw.message().payload).unwrap();
            if text == "end" {
                break;
            }
            all += 1;
            if let Some(round) = text.strip_prefix(&format!("{n} ")) {
                assert_eq!(round, own.to_string());
                own += 1;
            }
        }
        assert_eq!(own, 500, "of {all}");
    }
    assert!(service.channel("g").is_err());
    assert_eq!(service.counters().subscribers, 0);
    assert_eq!(service.counters().channels, 0);
}

#[test]
fn pings_pongs_heartbeats_and_slow_readers() {
    let server = server(&[("queue_bytes", "65536")]);
    let service = server.service();
    let (_, told) =
        endpoint(&server, "/ping", &[("ping_interval_ms", "20"), ("pong_wait_ms", "40")]);
    let mut raw = Raw::websocket(server.local_addr(), "/ping");
    opened(&told);
    for _ in 0..3 {
        let ping = raw.frame();
        assert_eq!(ping.opcode, 9);
        raw.send_frame(0x8a, &ping.payload);
        assert_eq!(next(&told), Told::Pong);
    }
    loop {
        let frame = raw.frame();
        if frame.opcode != 9 {
            assert_eq!(frame.close_code(), Some(3012));
            break;
        }
    }
    assert_eq!(next(&told), Told::Closing("no pong".into(), false));
    next(&told);

    let mut options =
        EndpointOptions { heartbeat: Duration::from_millis(50), ..Default::default() };
    options.set("ping_interval_ms", "0").unwrap();
    let (sender, told) = mpsc::channel();
    let dialect = Dialect::Host;
    let handler = Arc::new(Echo { told: sender, tickets: Mutex::default(), dialect });
    service.add_endpoint("/beat", options, handler).unwrap();
    let mut raw = Raw::websocket(server.local_addr(), "/beat");
    let id = opened(&told);
    service.connection(&id).unwrap().beat();
    assert_eq!(raw.message().close_code(), Some(3013));

    let (_, told) = endpoint(&server, "/slow", &[("write_wait_ms", "50")]);
    let _raw = Raw::websocket(server.local_addr(), "/slow");
    let id = opened(&told);
    // More than sockets hold; the queue takes one message of any size.
    service.send_to(&id, MessageKind::Binary, &vec![0; 1 << 20]).unwrap();
    let bulk = vec![0; 16 << 20];
    service.connection(&id).unwrap().send(&Message::new(MessageKind::Binary, &bulk)).unwrap();
    let closing = next(&told);
    assert!(
        closing == Told::Closing("client takes nothing".into(), false)
            || closing == Told::Closing("reader is too slow".into(), false),
        "{closing:?}"
    );
}

#[test]
fn a_stop_tells_clients_and_handlers() {
    let server = server(&[]);
    let (_, told) = endpoint(&server, "/a", &[]);
    let mut raw = Raw::websocket(server.local_addr(), "/a?id=1");
    opened(&told);
    let client = std::thread::spawn(move || {
        let close = raw.message();
        raw.send_frame(0x88, &close.payload);
        close.close_code()
    });
    assert!(server.stop(PATIENCE));
    assert_eq!(client.join().unwrap(), Some(1000));
    assert_eq!(next(&told), Told::Closing("server is stopping".into(), true));
    assert!(matches!(next(&told), Told::Closed(_)));
    assert!(server.service().registry().is_empty());
}

#[test]
fn data_of_a_connection_is_changed_in_one_step() {
    let server = server(&[]);
    let (_, told) = endpoint(&server, "/a", &[]);
    let _raw = Raw::websocket(server.local_addr(), "/a?id=1");
    opened(&told);
    let connection = server.service().connection("1").unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let connection = Arc::clone(&connection);
            std::thread::spawn(move || {
                for _ in 0..1000 {
                    connection.increment("n", 2).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(connection.value("n"), Some(Value::Integer(8000)));
    assert_eq!(connection.set_value("s", Value::Bytes(b"x"[..].into())), None);
    assert_eq!(connection.increment("s", 1).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(connection.increment("n", i64::MAX).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(connection.remove_value("s"), Some(Value::Bytes(b"x"[..].into())));
    assert_eq!(connection.value("s"), None);
}
