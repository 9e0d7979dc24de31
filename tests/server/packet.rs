//! The packet dialect over raw sockets: every row of its table, written from the table.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use qyun::ErrorKind;
use qyun::delivery::Mode;
use qyun::hub::{Connection, Value};
use qyun::requests::{Outcome, Reply};
use qyun::server::Server;
use qyun::server::dialect::packet::{Happening, Incoming, Packets};

use crate::kit::{PATIENCE, Raw, server, until};

const LONG: Duration = Duration::from_secs(600);

/// A packet's bytes.
fn packet(protocol: u32, sn: u32, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0xfe, 0xef];
    out.extend_from_slice(&(data.len() as u32 + 8).to_le_bytes());
    out.extend_from_slice(&protocol.to_le_bytes());
    out.extend_from_slice(&sn.to_le_bytes());
    out.extend_from_slice(data);
    out
}

/// A client of the dialect.
struct Client(Raw);

impl Client {
    fn join(address: SocketAddr, query: &str) -> Self {
        Self(Raw::websocket(address, &format!("/join?{query}")))
    }

    fn send(&mut self, protocol: u32, sn: u32, data: &[u8]) {
        self.0.send_frame(0x82, &packet(protocol, sn, data));
    }

    /// The next packet: protocol id, sn, data.
    fn receive(&mut self) -> (u32, u32, Vec<u8>) {
        let frame = self.0.message();
        assert_eq!(frame.opcode, 2, "{frame:?}");
        let bytes = frame.payload;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(bytes[..2], [0xfe, 0xef]);
        assert_eq!(word(2) as usize, bytes.len() - 6);
        (word(6), word(10), bytes[14..].to_vec())
    }

    /// The Close that comes next: its code and its reason.
    fn closed(&mut self) -> (u16, String) {
        let frame = self.0.message();
        let code = frame.close_code().unwrap_or_else(|| panic!("no Close: {frame:?}"));
        (code, String::from_utf8_lossy(&frame.payload[2..]).into_owned())
    }
}

fn packets(server: &Server) -> &Arc<Packets> {
    server.service().packets()
}

fn connection(server: &Server, id: &str) -> Arc<Connection> {
    server.service().connection(id).unwrap()
}

/// Registers a handler that hands on what it is called with.
fn collect(
    server: &Server,
    protocol: u32,
    mode: Mode,
) -> Receiver<(String, Vec<u8>, Option<Arc<Reply>>)> {
    let (tell, told) = channel();
    let handler = move |incoming: &Incoming<'_>| {
        let id = incoming.connection.id().to_string();
        tell.send((id, incoming.data.to_vec(), incoming.reply.cloned())).unwrap();
    };
    packets(server).on_packet(protocol, mode, handler);
    told
}

fn next<T>(told: &Receiver<T>) -> T {
    told.recv_timeout(PATIENCE).expect("nothing came")
}

fn tell<T>(to: &Sender<T>) -> impl FnOnce(T) + Send + 'static
where
    T: Send + 'static,
{
    let to = to.clone();
    move |value| to.send(value).unwrap()
}

#[test]
fn a_connection_is_known_by_its_id_and_its_user() {
    let server = server(&[]);
    let address = server.local_addr();
    for (query, id, user) in [
        ("uid=100", "100-0--", "100"),
        ("uid=7&type=2&device=D&source=web&version=3&charset=utf8", "7-2-D-web", "7"),
        ("uid=%E9%9D%92%E4%BA%91&device=a%26b", "青云-0-a&b-", "青云"),
    ] {
        let _client = Client::join(address, query);
        let connection = connection(&server, id);
        assert_eq!(connection.user().as_deref(), Some(user));
        let identity = Packets::identity(&connection).unwrap();
        assert_eq!((identity.id().as_str(), identity.uid.as_str()), (id, user));
    }
    let whole = "uid=7&type=2&device=D&source=web&version=3&charset=utf8";
    let _client = Client::join(address, whole);
    let identity = Packets::identity(&connection(&server, "7-2-D-web")).unwrap();
    assert_eq!((identity.version.as_str(), identity.charset.as_str()), ("3", "utf8"));
}

#[test]
fn without_a_uid_and_with_a_type_that_is_no_number_the_upgrade_is_400() {
    let server = server(&[]);
    for query in ["", "?", "?uid=", "?device=1", "?uid=1&type=x", "?uid=%ff", "?uid=a%0Ab"] {
        let mut raw = Raw::connect(server.local_addr());
        let answer = raw.upgrade(&format!("/join{query}"), "");
        assert_eq!(answer.status, 400, "{query} {answer:?}");
        assert!(answer.body.contains("\"status\":\"error\""), "{}", answer.body);
    }
    assert_eq!(server.service().registry().len(), 0);
}

#[test]
fn the_protocol_id_chooses_the_handler_in_both_modes() {
    let server = server(&[]);
    for (protocol, mode) in [(1, Mode::Thread), (u32::MAX, Mode::Inline)] {
        let told = collect(&server, protocol, mode);
        let mut client = Client::join(server.local_addr(), "uid=1");
        client.send(protocol ^ 6, 0, b"to nobody");
        client.send(protocol, 0, b"one");
        client.send(protocol, 0, b"");
        let (id, data, reply) = next(&told);
        assert_eq!((id.as_str(), &*data), ("1-0--", &b"one"[..]));
        assert!(reply.is_none(), "a one-way message wants no answer");
        assert_eq!(next(&told).1, b"");
        drop(client);
        until("it is gone", || server.service().registry().is_empty());
    }
    assert_eq!(
        (packets(&server).counters().received, packets(&server).counters().unhandled),
        (6, 2)
    );
}

#[test]
fn requests_are_answered_in_any_order_from_any_thread() {
    let server = server(&[]);
    let told = collect(&server, 5, Mode::Thread);
    let mut client = Client::join(server.local_addr(), "uid=1");
    for (sn, data) in [(2, "a"), (4, "b"), (6, "c")] {
        client.send(5, sn, data.as_bytes());
    }
    let mut replies: Vec<_> = (0..3).map(|_| next(&told)).collect();
    assert!(replies.iter().map(|(_, data, _)| data).eq([b"a", b"b", b"c"]));
    let third = replies.pop().unwrap().2.unwrap();
    third.send(third.protocol(), b"C").unwrap();
    assert_eq!(client.receive(), (5, 6, b"C".to_vec()));
    let second = replies.pop().unwrap().2.unwrap();
    // An answer may have a protocol id of its own.
    let other = std::thread::spawn(move || second.send(500, b"B").map(|()| second));
    assert_eq!(client.receive(), (500, 4, b"B".to_vec()));
    let second = other.join().unwrap().unwrap();
    assert_eq!(second.send(500, b"B").unwrap_err().kind(), ErrorKind::InvalidArgument);
    // The first one is never answered; the client's time limit is the client's affair.
    drop(replies);
    client.send(5, 8, b"d");
    assert_eq!(next(&told).1, b"d");
}

#[test]
fn an_inline_handler_answers_at_once() {
    let server = server(&[]);
    packets(&server).on_packet(9, Mode::Inline, |incoming| {
        if let Some(reply) = incoming.reply {
            reply.send(incoming.protocol, incoming.data).unwrap();
        }
    });
    let mut client = Client::join(server.local_addr(), "uid=1");
    for sn in (2..2000).step_by(2) {
        client.send(9, sn, &sn.to_be_bytes());
    }
    for sn in (2u32..2000).step_by(2) {
        assert_eq!(client.receive(), (9, sn, sn.to_be_bytes().to_vec()));
    }
}

#[test]
fn the_server_asks_with_odd_numbers_and_matches_the_answers() {
    let server = server(&[]);
    let mut client = Client::join(server.local_addr(), "uid=1");
    let target = connection(&server, "1-0--");
    let (to, told) = channel::<(u8, Outcome)>();
    for number in 0..3u8 {
        let to = to.clone();
        let complete = move |outcome| to.send((number, outcome)).unwrap();
        packets(&server).request(&target, 30, &[number], LONG, Mode::Thread, complete).unwrap();
    }
    let asked: Vec<_> = (0..3).map(|_| client.receive()).collect();
    assert_eq!(asked, [(30, 3, vec![0]), (30, 5, vec![1]), (30, 7, vec![2])]);
    client.send(31, 5, b"second");
    client.send(30, 3, b"first");
    let (number, outcome) = next(&told);
    let response = outcome.unwrap();
    assert_eq!((number, response.protocol, &*response.data), (1, 31, &b"second"[..]));
    assert_eq!(next(&told).0, 0);
    // One that nobody asked for, twice the same, and the number that is never used.
    client.send(30, 5, b"again");
    client.send(30, 99, b"what?");
    client.send(30, 1, b"what?");
    until("they are counted", || packets(&server).counters().requests.late == 3);
    assert_eq!(packets(&server).counters().requests.in_flight, 1);
    drop(client);
    let (number, outcome) = next(&told);
    assert_eq!((number, outcome.unwrap_err().kind()), (2, ErrorKind::Closed));
    // Who is told of the end finds the connection closed.
    assert_eq!(packets(&server).send(&target, 1, b"").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(packets(&server).signal(&target, 1).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_request_fails_at_its_deadline_and_its_late_answer_is_dropped() {
    let server = server(&[]);
    let mut client = Client::join(server.local_addr(), "uid=1");
    let target = connection(&server, "1-0--");
    let failed = packets(&server)
        .request_and_wait(&target, 30, b"?", Duration::from_millis(20))
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Timeout);
    let (_, sn, _) = client.receive();
    client.send(30, sn, b"late");
    until("it is counted", || packets(&server).counters().requests.late == 1);
    let counted = packets(&server).counters().requests;
    assert_eq!((counted.timed_out, counted.in_flight), (1, 0));
}

#[test]
fn a_handler_may_ask_the_client_that_asked_and_wait() {
    for threads in ["1", "3"] {
        let server = server(&[("delivery_threads", threads)]);
        let packets = Arc::clone(packets(&server));
        let inside = Arc::clone(&packets);
        packets.on_packet(40, Mode::Thread, move |incoming| {
            let answer = inside.request_and_wait(incoming.connection, 41, b"more?", LONG).unwrap();
            incoming.reply.unwrap().send(40, &answer.data).unwrap();
        });
        let mut client = Client::join(server.local_addr(), "uid=1");
        client.send(40, 2, b"go");
        let (protocol, sn, data) = client.receive();
        assert_eq!((protocol, sn, &*data), (41, 3, &b"more?"[..]));
        client.send(41, sn, b"more!");
        assert_eq!(client.receive(), (40, 2, b"more!".to_vec()));
    }
}

#[test]
fn waiting_is_refused_inline() {
    let server = server(&[]);
    let inside = Arc::clone(packets(&server));
    let (to, told) = channel();
    packets(&server).on_packet(40, Mode::Inline, move |incoming| {
        to.send(inside.request_and_wait(incoming.connection, 41, b"", LONG)).unwrap();
    });
    let mut client = Client::join(server.local_addr(), "uid=1");
    client.send(40, 0, b"");
    assert_eq!(next(&told).unwrap_err().kind(), ErrorKind::WouldDeadlock);
}

#[test]
fn a_second_connection_with_the_same_id_displaces_the_first() {
    let server = server(&[]);
    let told = collect(&server, 1, Mode::Thread);
    let mut first = Client::join(server.local_addr(), "uid=1&device=d");
    let old = connection(&server, "1-0-d-");
    let mut other = Client::join(server.local_addr(), "uid=1&device=e");
    let before = std::time::SystemTime::now();
    let mut second = Client::join(server.local_addr(), "uid=1&device=d");
    let (protocol, sn, data) = first.receive();
    assert_eq!((protocol, sn), (2_147_483_647, 0));
    // { bytes old_ip = 1; bytes new_ip = 2; int64 ts = 3; }
    let (addresses, ts) = data.split_at(23);
    assert_eq!(addresses, b"\x0a\x09127.0.0.1\x12\x09127.0.0.1\x18");
    let ts = ts.iter().rev().fold(0u64, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
    let ts = std::time::UNIX_EPOCH + Duration::from_nanos(ts);
    assert!(ts >= before && ts <= std::time::SystemTime::now(), "{ts:?}");
    assert_eq!(first.closed().0, 3505);
    first.0.send_frame(0x88, b"\x03\xe8");
    assert!(first.0.is_closed());

    second.send(1, 0, b"hello");
    let (id, data, _) = next(&told);
    assert_eq!((id.as_str(), &*data), ("1-0-d-", &b"hello"[..]));
    until("the first is gone", || old.is_closed());
    let new = connection(&server, "1-0-d-");
    assert_ne!(new.serial(), old.serial());
    packets(&server).send(&new, 2, b"to the second").unwrap();
    assert_eq!(second.receive(), (2, 0, b"to the second".to_vec()));
    assert_eq!(packets(&server).send(&old, 2, b"").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(server.service().user_connections("1").len(), 2);
    packets(&server).send(&connection(&server, "1-0-e-"), 2, b"untouched").unwrap();
    assert_eq!(other.receive().2, b"untouched");
    assert_eq!(packets(&server).counters().displaced, 1);
}

#[test]
fn a_larger_packet_and_a_malformed_one_close_the_connection() {
    let server = server(&[("packet_max_bytes", "1000")]);
    let told = collect(&server, 1, Mode::Thread);
    let limit = 1000 - 14;
    let mut client = Client::join(server.local_addr(), "uid=1");
    client.send(1, 0, &vec![b'x'; limit]);
    assert_eq!(next(&told).1.len(), limit);
    client.send(1, 0, &vec![b'x'; limit + 1]);
    assert_eq!(client.closed().0, 1009);

    let good = packet(1, 0, b"data");
    let mut wrong_mark = good.clone();
    wrong_mark[1] = 0xfe;
    let mut too_long = good.clone();
    too_long[2] += 1;
    let mut too_short = good.clone();
    too_short[2] -= 1;
    for bytes in [&good[..13], b"", b"\xfe\xef", &wrong_mark, &too_long, &too_short] {
        let mut client = Client::join(server.local_addr(), "uid=2");
        // What comes behind it is not looked at.
        client.0.send_frame(0x82, bytes);
        client.send(1, 0, b"behind");
        assert_eq!(client.closed(), (1002, "not a packet".into()), "{bytes:?}");
    }
    assert!(told.try_recv().is_err());
    assert_eq!(packets(&server).counters().refused, 6);
}

#[test]
fn the_default_limit_is_512_kib() {
    let server = server(&[]);
    let told = collect(&server, 1, Mode::Thread);
    let mut client = Client::join(server.local_addr(), "uid=1");
    let limit = 512 * 1024 - 14;
    client.send(1, 0, &vec![b'x'; limit]);
    assert_eq!(next(&told).1.len(), limit);
    let target = connection(&server, "1-0--");
    packets(&server).send(&target, 2, &vec![b'y'; limit]).unwrap();
    assert_eq!(client.receive().2.len(), limit);
    let refused = packets(&server).send(&target, 2, &vec![b'y'; limit + 1]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooLarge);
    client.0.send_frame(0x82, &vec![0; limit + 15]);
    assert_eq!(client.closed().0, 1009);
}

#[test]
fn a_packet_may_come_in_fragments() {
    let server = server(&[]);
    let told = collect(&server, 1, Mode::Thread);
    let mut client = Client::join(server.local_addr(), "uid=1");
    let bytes = packet(1, 0, b"in pieces");
    client.0.send_frame(0x02, &bytes[..3]);
    client.0.send_frame(0x00, b"");
    client.0.send_frame(0x89, b"ping between");
    client.0.send_frame(0x80, &bytes[3..]);
    assert_eq!(next(&told).1, b"in pieces");
    assert_eq!(client.0.message().opcode, 10);
}

#[test]
fn text_is_ignored() {
    let server = server(&[]);
    let told = collect(&server, 1, Mode::Thread);
    let mut client = Client::join(server.local_addr(), "uid=1");
    client.0.send_frame(0x81, b"text");
    client.0.send_frame(0x81, &packet(1, 0, b"").iter().map(|b| b & 0x7f).collect::<Vec<_>>());
    client.send(1, 0, b"binary");
    assert_eq!(next(&told).1, b"binary");
    assert_eq!(packets(&server).counters().received, 1);
}

#[test]
fn the_life_of_a_connection_is_told_in_order() {
    for mode in [Mode::Thread, Mode::Inline] {
        let server = server(&[]);
        let (to, told) = channel();
        packets(&server).on_event(mode, move |connection, happening| {
            let state = (connection.user().is_some(), connection.is_closed());
            to.send((connection.id().to_string(), happening.clone(), state)).unwrap();
        });
        let mut client = Client::join(server.local_addr(), "uid=1");
        let expect = |expected: Happening| {
            let (id, happening, state) = next(&told);
            assert_eq!((id.as_str(), &happening), ("1-0--", &expected));
            state
        };
        assert_eq!(expect(Happening::Established), (true, false));
        client.0.send_frame(0x89, b"p");
        expect(Happening::Pinged);
        client.0.send_frame(0x8a, b"");
        expect(Happening::Ponged);
        client.0.send_frame(0x88, b"\x0f\xa1bye");
        for which in ["closing", "closed"] {
            let (_, happening, (bound, _)) = next(&told);
            let closure = match (which, happening) {
                ("closing", Happening::Closing(closure)) => closure,
                ("closed", Happening::Closed(closure)) => closure,
                other => panic!("{other:?}"),
            };
            assert_eq!(
                (closure.code, closure.reason.as_str(), closure.by_peer),
                (4001, "bye", true)
            );
            assert_eq!(bound, which == "closing", "closing is told while it is registered");
        }
        assert!(packets(&server).off_event());
        let _client = Client::join(server.local_addr(), "uid=2");
        assert!(told.try_recv().is_err());
    }
}

#[test]
fn a_connection_has_data_that_any_thread_may_change() {
    let server = server(&[]);
    let _client = Client::join(server.local_addr(), "uid=1");
    let target = connection(&server, "1-0--");
    assert_eq!(target.value("name"), None);
    target.set_value("name", Value::Bytes(b"qy"[..].into()));
    assert_eq!(target.value("name"), Some(Value::Bytes(b"qy"[..].into())));
    assert_eq!(target.increment("name", 1).unwrap_err().kind(), ErrorKind::InvalidArgument);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    target.increment("count", 2).unwrap();
                }
            });
        }
    });
    assert_eq!(target.value("count"), Some(Value::Integer(8000)));
    assert!(target.remove_value("name").is_some());
    assert_eq!(target.value("name"), None);
}

#[test]
fn many_pull_signals_before_the_run_make_one_run() {
    let server = server(&[("delivery_threads", "1")]);
    let _client = Client::join(server.local_addr(), "uid=1");
    let target = connection(&server, "1-0--");
    let (to, told) = channel();
    let (open, opened) = channel::<()>();
    let opened = Mutex::new(opened);
    for pull in [1, 2] {
        let to = to.clone();
        packets(&server).on_pull(pull, move |connection, pull| {
            to.send((connection.id().to_string(), pull)).unwrap();
        });
    }
    packets(&server).on_packet(1, Mode::Thread, move |_| {
        let _ = opened.lock().unwrap().recv();
    });
    let unknown = packets(&server).signal(&target, 3).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    // The one thread is busy: nothing runs yet.
    let mut client = Client::join(server.local_addr(), "uid=2");
    client.send(1, 0, b"hold");
    until("it is held", || packets(&server).counters().received == 1);
    assert!(packets(&server).signal(&target, 1).unwrap());
    for _ in 0..1000 {
        assert!(!packets(&server).signal(&target, 1).unwrap());
    }
    assert!(packets(&server).signal(&target, 2).unwrap());
    drop(open);
    assert_eq!(next(&told), ("1-0--".into(), 1));
    assert_eq!(next(&told), ("1-0--".into(), 2));
    assert!(told.try_recv().is_err(), "a thousand signals are one run");
    assert!(packets(&server).signal(&target, 1).unwrap(), "a signal after the run makes another");
    assert_eq!(next(&told).1, 1);
}

#[test]
fn a_signal_during_the_run_makes_another_run() {
    let server = server(&[]);
    let _client = Client::join(server.local_addr(), "uid=1");
    let target = connection(&server, "1-0--");
    let (to, told) = channel();
    let inside = Arc::clone(packets(&server));
    packets(&server).on_pull(1, move |connection, pull| {
        let again = inside.signal(connection, pull).unwrap();
        let _ = to.send(again);
        if connection.increment("runs", 1).unwrap() == 3 {
            inside.off_pull(pull);
        }
    });
    packets(&server).signal(&target, 1).unwrap();
    for _ in 0..3 {
        assert!(next(&told));
    }
}

#[test]
fn the_packets_of_a_connection_are_handled_in_order_and_a_slow_one_delays_no_other() {
    let server = server(&[("delivery_threads", "2")]);
    let (to, told) = channel();
    let (open, opened) = channel::<()>();
    let opened = Mutex::new(opened);
    packets(&server).on_packet(1, Mode::Thread, move |incoming| {
        if incoming.data == b"slow" {
            let _ = opened.lock().unwrap().recv();
        }
        to.send((incoming.connection.id().to_string(), incoming.data.to_vec())).unwrap();
    });
    let mut slow = Client::join(server.local_addr(), "uid=slow");
    let mut fast = Client::join(server.local_addr(), "uid=fast");
    slow.send(1, 0, b"slow");
    slow.send(1, 0, b"behind");
    until("both wait", || packets(&server).counters().received == 2);
    for number in 0..100u8 {
        fast.send(1, 0, &[number]);
    }
    for number in 0..100u8 {
        assert_eq!(next(&told), ("fast-0--".into(), vec![number]));
    }
    drop(open);
    assert_eq!(next(&told).1, b"slow");
    assert_eq!(next(&told).1, b"behind");
}

#[test]
fn what_waits_for_slow_handlers_is_bounded_and_nothing_is_lost() {
    let server = server(&[("delivery_threads", "1"), ("delivery_bytes", "65536")]);
    let (to, told) = channel();
    let (open, opened) = channel::<()>();
    let opened = Mutex::new(opened);
    packets(&server).on_packet(1, Mode::Thread, move |incoming| {
        let _ = opened.lock().unwrap().recv();
        to.send(incoming.data.len()).unwrap();
    });
    let mut client = Client::join(server.local_addr(), "uid=1");
    // Far more than the bound and the sockets' buffers together.
    const COUNT: usize = 400;
    const SIZE: usize = 100_000;
    let writer = std::thread::spawn(move || {
        for _ in 0..COUNT {
            client.send(1, 0, &vec![b'x'; SIZE]);
        }
        client
    });
    until("the bound is reached", || server.service().delivery().is_busy());
    let before = packets(&server).counters().received;
    assert!(before < COUNT as u64, "all {before} packets were read although nothing was handled");
    drop(open);
    for _ in 0..COUNT {
        assert_eq!(next(&told), SIZE);
    }
    let _client = writer.join().unwrap();
    until("nothing waits", || !server.service().delivery().is_busy());
}

#[test]
fn who_is_not_read_because_handlers_are_busy_is_not_taken_for_dead() {
    let server = server(&[
        ("shards", "1"),
        ("delivery_threads", "1"),
        ("delivery_bytes", "1000"),
        ("ping_interval_ms", "40"),
        ("pong_wait_ms", "500"),
    ]);
    server.service().create_channel("clock").unwrap();
    let (to, told) = channel();
    let (open, opened) = channel::<()>();
    let opened = Mutex::new(opened);
    packets(&server).on_packet(1, Mode::Thread, move |incoming| {
        let _ = opened.lock().unwrap().recv();
        to.send(incoming.data.len()).unwrap();
    });
    let mut client = Client::join(server.local_addr(), "uid=1");
    client.send(1, 0, &[0; 2000]);
    until("the handlers are busy", || server.service().delivery().is_busy());
    // It answers the pings, and nobody reads that.
    client.0.send_frame(0x8a, b"");
    client.send(1, 0, b"waits");
    // Who says nothing at all is closed, twice over: so long it went on.
    for _ in 0..2 {
        let mut silent = Raw::websocket(server.local_addr(), "/channel/listen/clock");
        assert_eq!(silent.message().close_code(), Some(3012));
    }
    drop(open);
    assert_eq!((next(&told), next(&told)), (2000, 5));
    let target = connection(&server, "1-0--");
    packets(&server).send(&target, 2, b"still there").unwrap();
    assert_eq!(client.receive().2, b"still there");
}

#[test]
fn a_callback_may_stop_the_server() {
    for (mode, waits) in [(Mode::Thread, true), (Mode::Inline, false)] {
        let server = Arc::new(server(&[]));
        let inside = Arc::downgrade(&server);
        let (to, told) = channel();
        packets(&server).on_packet(1, mode, move |_| {
            let server = inside.upgrade().unwrap();
            server.stop(Duration::ZERO);
            // What it waited for is gone, unless that is this very thread.
            to.send(server.service().registry().is_empty()).unwrap();
        });
        let mut client = Client::join(server.local_addr(), "uid=1");
        client.send(1, 0, b"");
        assert_eq!(next(&told), waits, "{mode:?}");
        server.stop(Duration::ZERO);
        assert!(server.service().registry().is_empty());
    }
}

#[test]
fn stopping_tells_every_connection_and_ends_every_request() {
    let server = server(&[]);
    let (to, told) = channel();
    packets(&server).on_event(Mode::Thread, move |_, happening| {
        if let Happening::Closed(closure) = happening {
            to.send(closure.code).unwrap();
        }
    });
    let clients: Vec<_> =
        (0..20).map(|n| Client::join(server.local_addr(), &format!("uid={n}"))).collect();
    let (ended, ends) = channel();
    for n in 0..20 {
        let target = connection(&server, &format!("{n}-0--"));
        packets(&server).request(&target, 1, b"", LONG, Mode::Thread, tell(&ended)).unwrap();
    }
    server.stop(Duration::ZERO);
    // Everything was told before the stop returned.
    assert_eq!(told.try_iter().count(), 20);
    let kinds: Vec<_> = ends.try_iter().map(|end: Outcome| end.unwrap_err().kind()).collect();
    assert_eq!(kinds, [ErrorKind::Closed; 20]);
    assert_eq!(packets(&server).counters().requests.in_flight, 0);
    drop(clients);
}

#[test]
fn a_thousand_connections_ask_and_are_asked() {
    let server = server(&[("shards", "2"), ("delivery_threads", "2")]);
    let inside = Arc::clone(packets(&server));
    let (to, told) = channel();
    packets(&server).on_packet(1, Mode::Thread, move |incoming| {
        incoming.reply.unwrap().send(1, incoming.data).unwrap();
        let complete = tell(&to);
        inside.request(incoming.connection, 2, b"and you?", LONG, Mode::Thread, complete).unwrap();
    });
    let mut clients: Vec<_> =
        (0..1000).map(|n| Client::join(server.local_addr(), &format!("uid={n}"))).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(1, 2, n.to_string().as_bytes());
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.receive(), (1, 2, n.to_string().into_bytes()));
        let (protocol, sn, _) = client.receive();
        client.send(protocol, sn, b"fine");
    }
    for _ in 0..1000 {
        let outcome: Outcome = next(&told);
        assert_eq!(&*outcome.unwrap().data, b"fine");
    }
    assert_eq!(packets(&server).counters().requests.in_flight, 0);
}

#[test]
fn operations_on_connections_reach_it_as_packets_with_protocol_id_0() {
    let server = server(&[]);
    let mut client = Client::join(server.local_addr(), "uid=1");
    server.service().create_channel("news").unwrap();
    let kind = qyun::wire::MessageKind::Text;
    server.service().send_to("1-0--", kind, b"direct").unwrap();
    assert_eq!(client.receive(), (0, 0, b"direct".to_vec()));
    server.service().send_to_user("1", kind, b"user").unwrap();
    assert_eq!(client.receive(), (0, 0, b"user".to_vec()));
    server.service().join("1-0--", "news").unwrap();
    server.service().publish("news", kind, b"channel").unwrap();
    assert_eq!(client.receive(), (0, 0, b"channel".to_vec()));
    server.service().broadcast(Some("/join"), kind, b"all").unwrap();
    assert_eq!(client.receive(), (0, 0, b"all".to_vec()));
}

#[test]
fn the_path_is_an_option_and_may_be_off() {
    let server = crate::kit::server(&[("packet_path", "/packets")]);
    assert_eq!(Raw::connect(server.local_addr()).upgrade("/join?uid=1", "").status, 404);
    Raw::websocket(server.local_addr(), "/packets?uid=1");
    let server = crate::kit::server(&[("packet_path", "")]);
    assert_eq!(Raw::connect(server.local_addr()).upgrade("/join?uid=1", "").status, 404);
}

/// Half of the clients answer every request, half answer none until it is too late, while all of
/// them are under way.
#[test]
fn of_100_000_requests_under_way_on_the_wire_each_ends_once() {
    const CLIENTS: usize = 20;
    const EACH: usize = 5_000;
    let server = server(&[("shards", "2"), ("delivery_threads", "2")]);
    let mut clients: Vec<_> =
        (0..CLIENTS).map(|n| Client::join(server.local_addr(), &format!("uid={n}"))).collect();
    let (to, told) = channel::<(usize, Outcome)>();
    for n in 0..CLIENTS {
        let target = connection(&server, &format!("{n}-0--"));
        let timeout = if n % 2 == 0 { LONG } else { Duration::from_secs(4) };
        for at in 0..EACH {
            let to = to.clone();
            let number = n * EACH + at;
            let complete = move |outcome| to.send((number, outcome)).unwrap();
            let data = (number as u32).to_be_bytes();
            packets(&server).request(&target, 1, &data, timeout, Mode::Thread, complete).unwrap();
        }
    }
    drop(to);
    assert!(packets(&server).counters().requests.in_flight > (CLIENTS * EACH / 2) as u64);
    let mut asked = vec![Vec::new(); CLIENTS];
    for (client, asked) in clients.iter_mut().zip(&mut asked) {
        for _ in 0..EACH {
            asked.push(client.receive());
        }
    }
    for (client, asked) in clients.iter_mut().zip(&asked).step_by(2) {
        for (protocol, sn, data) in asked {
            client.send(*protocol, *sn, data);
        }
    }
    let mut ends = vec![0; CLIENTS * EACH];
    // Every completion is dropped once it has run: then this ends.
    for (number, outcome) in told {
        ends[number] += 1;
        match number / EACH % 2 {
            0 => assert_eq!(&*outcome.unwrap().data, (number as u32).to_be_bytes()),
            _ => assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout),
        }
    }
    assert!(ends.iter().all(|times| *times == 1));
    for (client, asked) in clients.iter_mut().zip(&asked).skip(1).step_by(2) {
        for (protocol, sn, data) in asked {
            client.send(*protocol, *sn, data);
        }
    }
    let late = (CLIENTS / 2 * EACH) as u64;
    until("late answers are counted", || packets(&server).counters().requests.late == late);
    let counted = packets(&server).counters().requests;
    assert_eq!((counted.in_flight, counted.timed_out), (0, late));
    drop(clients);
    until("nobody is left", || server.service().registry().is_empty());
    assert_eq!(server.service().delivery().jobs(), 0);
}

#[test]
fn after_1_000_connections_came_and_went_nothing_of_them_is_left() {
    let server = server(&[]);
    let inside = Arc::clone(packets(&server));
    packets(&server).on_packet(1, Mode::Thread, move |incoming| {
        inside.request(incoming.connection, 2, b"", LONG, Mode::Thread, |_| ()).unwrap();
        incoming.reply.unwrap().send(1, b"").unwrap();
    });
    let mut gone = Vec::new();
    for round in 0..10 {
        let mut clients: Vec<_> = (0..100)
            .map(|n| Client::join(server.local_addr(), &format!("uid={}&device={round}", n % 50)))
            .collect();
        for (n, client) in clients.iter_mut().enumerate().skip(50) {
            client.send(1, 2, b"");
            gone.push(Arc::downgrade(&connection(&server, &format!("{}-0-{round}-", n % 50))));
            assert_eq!(client.receive().0, 2);
        }
    }
    until("the registry is empty", || server.service().registry().is_empty());
    assert_eq!(server.service().registry().users(), 0);
    assert_eq!(packets(&server).counters().displaced, 500);
    until("the requests ended", || packets(&server).counters().requests.in_flight == 0);
    until("the connections are freed", || gone.iter().all(|one| one.strong_count() == 0));
}
