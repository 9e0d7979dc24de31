//! `PacketClient` against a raw peer, and against the server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, OnceLock};
use std::time::Duration;

use qyun::ErrorKind;
use qyun::client::{PacketClient, PacketHappening, SocketOptions, SocketState};
use qyun::delivery::Mode;
use qyun::hub::Value;
use qyun::requests::{Outcome, Reply};
use qyun::wire::packet::{DISPLACED, Displaced, Identity, Packet};
use tungstenite::Message;

use crate::peer::{Link, Peer};
use crate::server::LONG;

const MINUTE: Duration = Duration::from_secs(60);

fn fast() -> SocketOptions {
    SocketOptions { reconnect_delay: Duration::from_millis(1), ..SocketOptions::default() }
}

fn who(uid: &str) -> Identity {
    Identity { uid: uid.into(), ..Identity::default() }
}

fn short(happening: &PacketHappening) -> String {
    match happening {
        PacketHappening::Established => "established".into(),
        PacketHappening::Closing { code, reason, will_reconnect } => {
            format!("closing {code} '{reason}' {will_reconnect}")
        }
        PacketHappening::Closed { code, reason, will_reconnect } => {
            format!("closed {code} '{reason}' {will_reconnect}")
        }
        PacketHappening::Pinged => "pinged".into(),
        PacketHappening::Ponged => "ponged".into(),
        PacketHappening::Displaced { old_ip, new_ip, ts } => format!(
            "displaced {} {} {ts}",
            String::from_utf8_lossy(old_ip),
            String::from_utf8_lossy(new_ip)
        ),
        PacketHappening::Failed { error, will_reconnect } => {
            format!("failed {:?} {will_reconnect}", error.kind())
        }
    }
}

/// A client whose events are told to the receiver.
fn observed(peer: &Peer, options: SocketOptions, mode: Mode) -> (PacketClient, Receiver<String>) {
    let client = PacketClient::open(&peer.address().to_string(), &who("u"), options).unwrap();
    let (tell, told) = channel();
    client.on_event(mode, move |happening| drop(tell.send(short(happening)))).unwrap();
    (client, told)
}

fn connected(peer: &Peer) -> (PacketClient, Receiver<String>, Link) {
    let (client, told) = observed(peer, fast(), Mode::Thread);
    client.connect(Duration::ZERO).unwrap();
    let link = peer.accept();
    client.connect(LONG).unwrap();
    assert_eq!(told.recv_timeout(LONG).unwrap(), "established");
    (client, told, link)
}

impl Link {
    fn send_packet(&mut self, protocol: u32, sn: u32, data: &[u8]) {
        self.send(Message::binary(Packet { protocol, sn, data }.encode().unwrap()));
    }

    fn read_packet(&mut self) -> (u32, u32, Vec<u8>) {
        match self.read() {
            Message::Binary(bytes) => {
                let packet = Packet::decode(&bytes, usize::MAX).unwrap();
                (packet.protocol, packet.sn, packet.data.to_vec())
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_url_says_who_it_is() {
    let peer = Peer::start();
    let identity = Identity {
        uid: "a b".into(),
        kind: 2,
        device: "D".into(),
        source: "青".into(),
        version: "1".into(),
        charset: "utf8".into(),
    };
    for (path, expected) in [("", "/join?"), ("/", "/join?"), ("/x?k=1", "/x?k=1&"), ("/y", "/y?")]
    {
        let client = PacketClient::open(&peer.url(path), &identity, fast()).unwrap();
        client.connect(Duration::ZERO).unwrap();
        let link = peer.accept();
        assert_eq!(link.path, format!("{expected}{}", identity.query()));
        assert_eq!(Identity::parse(link.path.split_once('?').unwrap().1).unwrap(), identity);
    }
    for bad in [who(""), who("a\nb")] {
        let error = PacketClient::open("localhost", &bad, fast()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn messages_and_requests_go_both_ways() {
    let peer = Peer::start();
    for mode in [Mode::Thread, Mode::Inline] {
        let (client, _told, mut link) = connected(&peer);
        let (tell, told) = channel();
        client
            .on_packet(7, mode, move |incoming| {
                tell.send((incoming.data.to_vec(), incoming.reply.is_some())).unwrap();
                if let Some(reply) = incoming.reply {
                    reply.send(8, &[incoming.data, b"!"].concat()).unwrap();
                    let again = reply.send(8, b"").unwrap_err();
                    assert_eq!(again.kind(), ErrorKind::InvalidArgument);
                }
            })
            .unwrap();
        client.send(3, b"hello").unwrap();
        assert_eq!(link.read_packet(), (3, 0, b"hello".to_vec()));
        link.send_packet(7, 0, b"one way");
        assert_eq!(told.recv_timeout(LONG).unwrap(), (b"one way".to_vec(), false));
        link.send_packet(7, 3, b"ask");
        assert_eq!(told.recv_timeout(LONG).unwrap(), (b"ask".to_vec(), true));
        assert_eq!(link.read_packet(), (8, 3, b"ask!".to_vec()));

        let (done, outcomes) = channel::<Outcome>();
        for number in 0..3_u8 {
            let done = done.clone();
            let complete = move |outcome| drop(done.send(outcome));
            client.request(9, &[number], MINUTE, mode, complete).unwrap();
        }
        let asked: Vec<_> = (0..3).map(|_| link.read_packet()).collect();
        assert_eq!(asked.iter().map(|packet| packet.1).collect::<Vec<_>>(), [2, 4, 6]);
        assert_eq!(client.counters().requests.in_flight, 3);
        for (protocol, sn, data) in asked.into_iter().rev() {
            link.send_packet(protocol + 1, sn, &data);
        }
        for number in [2, 1, 0] {
            let response = outcomes.recv_timeout(LONG).unwrap().unwrap();
            assert_eq!((response.protocol, &response.data[..]), (10, &[number][..]));
        }
        assert_eq!(client.counters().requests.in_flight, 0);
        // Not asked for, nothing registered, and a text: none of them does anything.
        link.send_packet(9, 2, b"late");
        link.send_packet(1, 0, b"nobody");
        link.send(Message::text("ignored"));
        link.send_packet(7, 0, b"then");
        assert_eq!(told.recv_timeout(LONG).unwrap().0, b"then");
        let counters = client.counters();
        assert_eq!((counters.received, counters.unhandled, counters.requests.late), (4, 1, 1));
        assert!(client.off_packet(7).unwrap() && !client.off_packet(7).unwrap());
    }
}

#[test]
fn a_callback_may_ask_the_server_and_wait() {
    let peer = Peer::start();
    let (client, _told, mut link) = connected(&peer);
    let (tell, told) = channel();
    {
        let own = client.clone();
        client
            .on_packet(1, Mode::Thread, move |incoming| {
                let response = own.request_and_wait(2, incoming.data, MINUTE).unwrap();
                tell.send(response.data).unwrap();
            })
            .unwrap();
    }
    for number in 0..10_u8 {
        link.send_packet(1, 0, &[number]);
    }
    for number in 0..10_u8 {
        let (protocol, sn, data) = link.read_packet();
        assert_eq!((protocol, &data[..]), (2, &[number][..]));
        link.send_packet(2, sn, &[number + 100]);
        assert_eq!(told.recv_timeout(LONG).unwrap()[..], [number + 100]);
    }
}

#[test]
fn a_callback_that_waits_is_answered_although_its_queue_is_full() {
    let peer = Peer::start();
    let options = SocketOptions { queue_messages: 4, ..fast() };
    let client = PacketClient::open(&peer.address().to_string(), &who("u"), options).unwrap();
    let (tell, told) = channel();
    {
        let own = client.clone();
        client
            .on_packet(1, Mode::Thread, move |_| {
                tell.send(own.request_and_wait(2, b"", MINUTE).is_ok()).unwrap();
            })
            .unwrap();
    }
    client.connect(Duration::ZERO).unwrap();
    let mut link = peer.accept();
    // The first is in the callback, the rest is more than the queue takes; then its answer.
    for _ in 0..10 {
        link.send_packet(1, 0, b"");
    }
    for _ in 0..10 {
        let (_, sn, _) = link.read_packet();
        link.send_packet(2, sn, b"");
        assert!(told.recv_timeout(LONG).unwrap());
    }
}

#[test]
fn an_inline_callback_may_not_wait() {
    let peer = Peer::start();
    let (client, _told, mut link) = connected(&peer);
    let (tell, told) = channel();
    {
        let own = client.clone();
        client
            .on_packet(1, Mode::Inline, move |_| {
                let asked = own.request_and_wait(2, b"", MINUTE).unwrap_err().kind();
                let closed = own.close_wait(LONG).unwrap_err().kind();
                tell.send((asked, closed)).unwrap();
            })
            .unwrap();
    }
    link.send_packet(1, 0, b"");
    let deadlock = ErrorKind::WouldDeadlock;
    assert_eq!(told.recv_timeout(LONG).unwrap(), (deadlock, deadlock));
}

#[test]
fn a_deadline_passes_and_a_late_response_is_dropped() {
    let peer = Peer::start();
    let (client, _told, mut link) = connected(&peer);
    let error = client.request_and_wait(5, b"x", Duration::from_millis(10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let (_, sn, _) = link.read_packet();
    link.send_packet(5, sn, b"late");
    let answered = std::thread::scope(|scope| {
        let asking = scope.spawn(|| client.request_and_wait(5, b"y", MINUTE));
        let (_, sn, _) = link.read_packet();
        link.send_packet(5, sn, b"now");
        asking.join().unwrap().unwrap()
    });
    assert_eq!(&answered.data[..], b"now");
    let requests = client.counters().requests;
    assert_eq!((requests.timed_out, requests.late, requests.in_flight), (1, 1, 0));
}

#[test]
fn a_loss_ends_requests_replies_and_values_and_the_next_connection_begins_anew() {
    let peer = Peer::start();
    let (client, told, mut link) = connected(&peer);
    let kept: Arc<OnceLock<Arc<Reply>>> = Arc::default();
    {
        let kept = kept.clone();
        client
            .on_packet(1, Mode::Thread, move |incoming| {
                kept.set(incoming.reply.unwrap().clone()).unwrap();
            })
            .unwrap();
    }
    client.set_value("k", Value::Integer(1)).unwrap();
    link.send_packet(1, 3, b"");
    kept.wait();
    let (done, outcome) = channel();
    client.request(2, b"", MINUTE, Mode::Thread, move |end| drop(done.send(end))).unwrap();
    assert_eq!(link.read_packet().1, 2);
    link.close(4000, "over");
    let ended = outcome.recv_timeout(LONG).unwrap().unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::Closed);
    assert!(ended.to_string().contains("over"), "{ended}");
    assert_eq!(told.recv_timeout(LONG).unwrap(), "closing 4000 'over' true");
    assert_eq!(told.recv_timeout(LONG).unwrap(), "closed 4000 'over' true");
    let mut link = peer.accept();
    assert_eq!(told.recv_timeout(LONG).unwrap(), "established");
    assert_eq!(client.value("k").unwrap(), None);
    // The reply belongs to the connection that is gone.
    assert_eq!(kept.wait().send(1, b"").unwrap_err().kind(), ErrorKind::Closed);
    client.request(2, b"", MINUTE, Mode::Thread, |_| {}).unwrap();
    assert_eq!(link.read_packet().1, 2);
    assert_eq!(client.counters().socket.reconnects, 1);
}

#[test]
fn the_displacement_notice_is_told_and_nothing_comes_back() {
    let peer = Peer::start();
    let (client, told, mut link) = connected(&peer);
    let notice = Displaced { old_ip: b"10.0.0.1", new_ip: b"10.0.0.2", ts: 77 };
    for _ in 0..2 {
        link.send_packet(DISPLACED, 0, &notice.encode());
    }
    link.close(1000, "displaced");
    assert_eq!(told.recv_timeout(LONG).unwrap(), "displaced 10.0.0.1 10.0.0.2 77");
    assert_eq!(told.recv_timeout(LONG).unwrap(), "closing 1000 'displaced' false");
    assert_eq!(told.recv_timeout(LONG).unwrap(), "closed 1000 'displaced' false");
    assert_eq!(client.state(), SocketState::Disconnected);
    // The program may still want to; then it comes back again.
    client.connect(Duration::ZERO).unwrap();
    peer.accept().kill();
    assert_eq!(told.recv_timeout(LONG).unwrap(), "established");
    assert!(told.recv_timeout(LONG).unwrap().ends_with("true"));
    drop(peer.accept());
}

#[test]
fn what_is_no_packet_or_too_large_closes_the_connection() {
    let peer = Peer::start();
    let (client, told, mut link) = connected(&peer);
    link.send(Message::binary(b"\xfe\xef\x08\0\0\0\x01\0\0\0\0\0\0".to_vec()));
    assert_eq!(link.read_close().0, 1002);
    assert!(told.recv_timeout(LONG).unwrap().starts_with("closing 1002"));
    assert!(told.recv_timeout(LONG).unwrap().starts_with("closed 1002"));
    let mut link = peer.accept();
    assert_eq!(told.recv_timeout(LONG).unwrap(), "established");
    link.send_packet(1, 0, &vec![0; 512 * 1024 - 13]);
    assert_eq!(link.read_close().0, 1009);
    let _link = peer.accept();
    client.connect(LONG).unwrap();
    let error = client.send(1, &vec![0; 512 * 1024 - 13]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let error = client.request_and_wait(1, &vec![0; 512 * 1024 - 13], MINUTE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(client.counters().requests.in_flight, 0);
}

#[test]
fn pings_and_pongs_are_told() {
    let peer = Peer::start();
    for mode in [Mode::Thread, Mode::Inline] {
        let (client, told) = observed(&peer, fast(), mode);
        client.connect(Duration::ZERO).unwrap();
        let mut link = peer.accept();
        assert_eq!(told.recv_timeout(LONG).unwrap(), "established");
        link.send(Message::Ping("".into()));
        link.send(Message::Pong("".into()));
        assert_eq!(told.recv_timeout(LONG).unwrap(), "pinged");
        assert_eq!(told.recv_timeout(LONG).unwrap(), "ponged");
        client.close_wait(LONG).unwrap();
        assert_eq!(told.recv_timeout(LONG).unwrap(), "closing 1000 '' false");
        assert_eq!(told.recv_timeout(LONG).unwrap(), "closed 1000 '' false");
        assert!(told.try_recv().is_err(), "an event after the last one");
    }
}

#[test]
fn many_signals_make_one_run_and_one_during_a_run_another() {
    let peer = Peer::start();
    let (client, _told, _link) = connected(&peer);
    assert_eq!(client.signal(1).unwrap_err().kind(), ErrorKind::NotFound);
    let (began, is_begun) = channel();
    let go = Arc::new(Barrier::new(2));
    {
        let go = go.clone();
        client
            .on_pull(1, move |channel| {
                began.send(channel).unwrap();
                go.wait();
            })
            .unwrap();
    }
    assert!(client.signal(1).unwrap());
    is_begun.recv_timeout(LONG).unwrap();
    let first: Vec<_> = (0..100).map(|_| client.signal(1).unwrap()).collect();
    assert_eq!(first.iter().filter(|first| **first).count(), 1);
    go.wait();
    is_begun.recv_timeout(LONG).unwrap();
    go.wait();
    let (tell, told) = channel();
    client.on_pull(2, move |channel| tell.send(channel).unwrap()).unwrap();
    client.signal(2).unwrap();
    told.recv_timeout(LONG).unwrap();
    assert!(is_begun.try_recv().is_err(), "a run too many");
}

#[test]
fn values_are_set_got_removed_and_incremented_by_many() {
    let peer = Peer::start();
    let (client, _told, _link) = connected(&peer);
    let bytes = Value::Bytes(b"v"[..].into());
    assert_eq!(client.set_value("k", bytes.clone()).unwrap(), None);
    assert_eq!(client.value("k").unwrap(), Some(bytes.clone()));
    assert_eq!(client.increment("k", 1).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(client.remove_value("k").unwrap(), Some(bytes));
    assert_eq!(client.remove_value("k").unwrap(), None);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    client.increment("n", 2).unwrap();
                }
            });
        }
    });
    assert_eq!(client.increment("n", -1).unwrap(), 7999);
}

/// Makes `count` requests from four threads, all under way at once; each end is counted by its kind.
fn flood(client: &PacketClient, count: usize, timeout: Duration) -> (Arc<AtomicUsize>, Ends) {
    let made = Arc::new(AtomicUsize::new(0));
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (made, tell, client) = (made.clone(), tell.clone(), client.clone());
            scope.spawn(move || {
                for number in 0..count / 4 {
                    let number = (thread * (count / 4) + number) as u32;
                    loop {
                        let tell = tell.clone();
                        let complete = move |outcome: Outcome| {
                            let data = outcome.map(|response| response.data.to_vec());
                            drop(tell.send((number, data.map_err(|error| error.kind()))));
                        };
                        match client.request(
                            1,
                            &number.to_le_bytes(),
                            timeout,
                            Mode::Thread,
                            complete,
                        ) {
                            Ok(()) => break,
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::QueueFull, "{error}");
                                std::thread::yield_now();
                            }
                        }
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    (made, told)
}

type End = (u32, Result<Vec<u8>, ErrorKind>);
type Ends = Receiver<End>;

/// Each request's end, exactly one.
fn ends(told: &Ends, count: usize) -> HashMap<u32, Result<Vec<u8>, ErrorKind>> {
    let mut ends = HashMap::new();
    while ends.len() < count {
        let (number, end) = told.recv_timeout(LONG).expect("a request is lost");
        assert!(ends.insert(number, end).is_none(), "request {number} ended twice");
    }
    assert!(told.try_recv().is_err(), "an end too many");
    ends
}

const MANY: usize = 100_000;

#[test]
fn a_hundred_thousand_requests_in_flight_are_all_answered() {
    let peer = Peer::start();
    let (client, _told, mut link) = connected(&peer);
    let answering = std::thread::spawn(move || {
        let asked: Vec<_> = (0..MANY).map(|_| link.read_packet()).collect();
        for (protocol, sn, data) in asked {
            let bytes = Packet { protocol, sn, data: &data }.encode().unwrap();
            link.socket.write(Message::binary(bytes)).unwrap();
        }
        link.socket.flush().unwrap();
        link
    });
    let (_, told) = flood(&client, MANY, MINUTE);
    for (number, end) in ends(&told, MANY) {
        assert_eq!(end.unwrap(), number.to_le_bytes());
    }
    drop(answering.join().unwrap());
    let requests = client.counters().requests;
    assert_eq!((requests.in_flight, requests.timed_out, requests.late), (0, 0, 0));
}

#[test]
fn a_hundred_thousand_requests_without_an_answer_all_time_out() {
    let peer = Peer::start();
    let (client, _told, mut link) = connected(&peer);
    let reading = std::thread::spawn(move || {
        let asked: Vec<_> = (0..MANY).map(|_| link.read_packet().1).collect();
        (link, asked)
    });
    let (_, told) = flood(&client, MANY, Duration::from_millis(200));
    for (_, end) in ends(&told, MANY) {
        assert_eq!(end, Err(ErrorKind::Timeout));
    }
    let requests = client.counters().requests;
    assert_eq!((requests.in_flight, requests.timed_out), (0, MANY as u64));
    // All of them answered too late, and dropped.
    let (mut link, asked) = reading.join().unwrap();
    for sn in asked {
        let bytes = Packet { protocol: 1, sn, data: b"" }.encode().unwrap();
        link.socket.write(Message::binary(bytes)).unwrap();
    }
    link.socket.flush().unwrap();
    client
        .on_packet(2, Mode::Thread, move |incoming| {
            incoming.reply.unwrap().send(2, b"").unwrap();
        })
        .unwrap();
    link.send_packet(2, 3, b"");
    assert_eq!(link.read_packet().1, 3);
    assert_eq!(client.counters().requests.late, MANY as u64);
}

#[test]
fn a_hundred_thousand_requests_end_with_their_connection() {
    let peer = Peer::start();
    let (client, _told, mut link) = connected(&peer);
    let reading = std::thread::spawn(move || {
        (0..MANY).for_each(|_| drop(link.read_packet()));
        link
    });
    let (_, told) = flood(&client, MANY, MINUTE);
    let link = reading.join().unwrap();
    client.close();
    for (_, end) in ends(&told, MANY) {
        assert_eq!(end, Err(ErrorKind::Closed));
    }
    client.close_wait(LONG).unwrap();
    assert_eq!(client.request_and_wait(1, b"", MINUTE).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(client.send(1, b"").unwrap_err().kind(), ErrorKind::Closed);
    drop(link);
}

/// Tells when it is dropped.
struct Canary(Sender<()>);

impl Canary {
    /// Makes a function own it.
    fn touch(&self) {}
}

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[test]
fn what_was_registered_is_dropped_when_replaced_and_at_the_end() {
    let peer = Peer::start();
    let (client, _told, link) = connected(&peer);
    let (dropped, drops) = channel();
    let canary = || Canary(dropped.clone());
    for _ in 0..2 {
        let canary = canary();
        client.on_packet(1, Mode::Thread, move |_| canary.touch()).unwrap();
    }
    drops.recv_timeout(LONG).unwrap();
    assert!(drops.try_recv().is_err());
    let own = canary();
    client.on_pull(1, move |_| own.touch()).unwrap();
    client.close_wait(LONG).unwrap();
    assert_eq!(drops.try_iter().count(), 2);
    let own = canary();
    client.on_packet(1, Mode::Thread, move |_| own.touch()).unwrap();
    assert_eq!(drops.try_iter().count(), 1);
    drop(link);
}
