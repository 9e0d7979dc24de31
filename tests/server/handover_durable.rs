//! Durable channels from one server to the next: what was acknowledged is there once, and nobody who
//! listens notices.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use qyun::ErrorKind;
use qyun::server::{PublishOptions, Server};
use qyun::wire::MessageKind;
use qyun::wire::handover::FORMAT;
use qyun::wire::stream::Op;

use crate::durable::{Folder, info, numbers, publish, texts};
use crate::handover::{READY, ask, hello, json, options, successor, text};
use crate::kit::{Frame, Raw, until};
use crate::stream::{message, reply, request, subscribe};

const LEVELS: &str =
    "m: durability=memory; o: durability=os; f: durability=fsync; p: history_size=9";

impl Folder {
    fn options<'a>(&'a self, namespaces: &'a str) -> [(&'a str, &'a str); 4] {
        let store = self.0.to_str().unwrap();
        let quiet = ("ping_interval_ms", "0");
        [("store", store), ("namespaces", namespaces), ("shards", "2"), quiet]
    }

    fn start(&self, namespaces: &str) -> Server {
        Server::start(options(&self.options(namespaces))).unwrap()
    }

    /// The server that comes after `old`.
    fn successor(&self, old: &Server) -> Server {
        successor(old, &self.options("")).0
    }
}

fn keyed(server: &Server, channel: &str) -> (u64, bool) {
    let options = PublishOptions { key: Some(b"key"), ..Default::default() };
    let kind = MessageKind::Text;
    let report = server.service().publish_with(channel, kind, b"once", options).unwrap();
    (report.published.position.offset, report.published.duplicate)
}

#[test]
fn durable_channels_go_on_where_they_were_at_every_level() {
    let folder = Folder::new();
    let mut server = folder.start(LEVELS);
    for name in ["m", "o", "f", "p"] {
        server.service().create_channel(name).unwrap();
        publish(&server, name, 1, 300);
    }
    let mut listeners: Vec<_> = ["m", "o", "f"]
        .iter()
        .map(|name| Raw::websocket(server.local_addr(), &format!("/channel/listen/{name}?meta=1")))
        .collect();
    listeners.iter_mut().for_each(|raw| assert_eq!(json(&raw.message())["offset"], 300));
    let mut last = 300;
    for round in 0..4 {
        let epochs = ["m", "o", "f", "p"].map(|name| info(&server, name).epoch);
        let keys = ["m", "o", "f"].map(|name| keyed(&server, name));
        last = if round == 0 { last + 1 } else { last };
        assert!(keys.iter().all(|key| *key == (301, round > 0)), "{keys:?}");
        let before = ["m", "o", "f"].map(|name| texts(&server, name));
        server = folder.successor(&server);
        assert_eq!(["m", "o", "f", "p"].map(|name| info(&server, name).epoch), epochs);
        assert_eq!(["m", "o", "f"].map(|name| texts(&server, name)), before);
        for (name, raw) in ["m", "o", "f"].iter().zip(&mut listeners) {
            text(&server, name, "next");
            if round == 0 {
                assert_eq!(json(&raw.message())["message"], "once");
            }
            let told = json(&raw.message());
            assert_eq!((&told["offset"], &told["message"]), (&(last + 1).into(), &"next".into()));
        }
        last += 1;
    }
    // A new channel has a number of its own, and all of it ends in peace.
    let config = server.service().channel("f").unwrap().options.unwrap();
    assert_eq!(config["durability"], "fsync");
    let before = ["m", "o", "f"].map(|name| (info(&server, name).epoch, texts(&server, name)));
    drop((listeners, server));
    let server = folder.start("");
    assert_eq!(
        ["m", "o", "f"].map(|name| (info(&server, name).epoch, texts(&server, name))),
        before
    );
    assert!(server.service().channel("p").is_err(), "it is not kept");
}

#[test]
fn who_reads_on_from_the_disk_goes_on_in_the_next_process() {
    let folder = Folder::new();
    let old = folder.start("c: durability=os, history_bytes=1000000000");
    old.service().create_channel("c").unwrap();
    let epoch = info(&old, "c").epoch;
    let body = "x".repeat(100_000);
    for n in 1..=200 {
        text(&old, "c", &format!("{n} {body}"));
    }
    // They are behind what memory has, and take nothing yet.
    let address = old.local_addr();
    let mut listener = Raw::websocket(address, &format!("/channel/listen/c?since={epoch}-3"));
    let mut stream = Raw::websocket(address, "/channel/stream");
    let since = qyun::wire::Position { epoch, offset: 5 };
    stream.send_frame(0x82, &request(1, "c", Op::Resume(since)));
    assert_eq!(reply(&stream.message()).1, 0);
    let mut session = Raw::websocket(address, "/ws");
    session.message();
    let payload = format!(r#"{{"channel":"c","since":{{"epoch":{epoch},"offset":7}}}}"#);
    assert_eq!(ask(&mut session, "subscribe", &payload)["data"]["recovered"], true);
    let new = folder.successor(&old);
    text(&new, "c", "last");
    for n in 4..=200 {
        assert_eq!(listener.message(), Frame::text(&format!("{n} {body}")));
    }
    assert_eq!(listener.message(), Frame::text("last"));
    for n in 6..=200 {
        assert_eq!(message(&stream.message()), (n, format!("{n} {body}").into_bytes()));
    }
    assert_eq!(message(&stream.message()), (201, b"last".to_vec()));
    for n in 8..=201 {
        assert_eq!(json(&session.message())["data"]["offset"], n);
    }
}

/// Publishers that wait for the disk, publishers that nobody tells, and listeners: through one
/// hand-over after the other.
#[test]
fn what_was_acknowledged_is_there_once_however_often_the_store_changes_hands() {
    const ROUNDS: usize = 12;
    const PIPELINED: u64 = 16;
    let folder = Folder::new();
    let unlimited = "history_bytes=1000000000, auto_create=true";
    let namespaces = format!("m: durability=memory, {unlimited}; f: durability=fsync, {unlimited}");
    let mut server = folder.start(&namespaces);
    let address = server.local_addr();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (stop, acknowledged) = (&stop, &acknowledged);
        let (mut listeners, mut totals) = (Vec::new(), Vec::new());
        for channel in ["f", "m"] {
            let mut raw = Raw::websocket(address, "/channel/stream");
            raw.send_frame(0x82, &subscribe(1, channel));
            reply(&raw.message());
            listeners.push(scope.spawn(move || {
                for n in 0.. {
                    let (offset, payload) = message(&raw.message());
                    assert_eq!(offset, n + 1);
                    if payload == b"end" {
                        return n;
                    }
                    assert_eq!(payload, n.to_string().into_bytes());
                }
                unreachable!()
            }));
            totals.push(scope.spawn(move || {
                let mut raw = Raw::connect(address);
                let mut n = 0;
                while !stop.load(SeqCst) {
                    // Several at a time, so that most wait for the one before them.
                    let requests: String = (n..n + PIPELINED)
                        .map(|n| {
                            format!("GET /channel/send/{channel}/{n} HTTP/1.1\r\nHost: t\r\n\r\n")
                        })
                        .collect();
                    raw.send(requests);
                    for _ in 0..PIPELINED {
                        assert_eq!(raw.answer().status, 200);
                        acknowledged.fetch_add(1, SeqCst);
                    }
                    n += PIPELINED;
                }
                assert_eq!(raw.get(&format!("/channel/send/{channel}/end")).status, 200);
                n
            }));
        }
        for _ in 0..ROUNDS {
            let before = acknowledged.load(SeqCst);
            until("some are published", || acknowledged.load(SeqCst) > before + 3 * PIPELINED);
            server = folder.successor(&server);
        }
        stop.store(true, SeqCst);
        for (channel, (listener, total)) in ["f", "m"].iter().zip(listeners.into_iter().zip(totals))
        {
            let total = total.join().unwrap();
            assert_eq!(listener.join().unwrap(), total);
            let kept: Vec<_> = (0..total).map(|n| n.to_string()).chain(["end".into()]).collect();
            assert_eq!(texts(&server, channel), kept);
        }
    });
}

/// What nobody is told of is not lost either: messages over a WebSocket that were read before.
#[test]
fn what_was_read_from_senders_is_kept() {
    let folder = Folder::new();
    let mut server = folder.start("f: durability=fsync, history_size=0, auto_create=true");
    let mut sender = Raw::websocket(server.local_addr(), "/channel/send/f");
    for round in 0..5 {
        for n in 1..=100 {
            sender.send_frame(0x81, (100 * round + n).to_string().as_bytes());
        }
        server = folder.successor(&server);
    }
    until("all of them are there", || info(&server, "f").offset == 500);
    assert_eq!(texts(&server, "f"), numbers(500));
}

#[test]
fn who_fails_to_take_a_store_over_leaves_the_old_one_publishing() {
    let folder = Folder::new();
    let old = folder.start("f: durability=fsync; m: durability=memory");
    for name in ["f", "m"] {
        old.service().create_channel(name).unwrap();
    }
    let epochs = ["f", "m"].map(|name| info(&old, name).epoch);
    let address = old.local_addr();
    let mut listener = Raw::websocket(address, "/channel/listen/f");
    let mut n = 0;
    let mut still_publishes = |what: &str| {
        n += 1;
        for name in ["f", "m"] {
            publish_number(&old, name, n);
        }
        assert_eq!(listener.message(), Frame::text(&n.to_string()), "{what}");
        assert_eq!(texts(&old, "f"), numbers(n), "{what}");
        n
    };
    // One that dies before it is ready, one that dies while it takes, and one that refuses.
    let refusal = [&[2, 0, 11, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0], &b"no!"[..]].concat();
    let attempts = [
        ("goes before it is ready", hello(FORMAT)),
        ("goes before it has all", [hello(FORMAT), READY.to_vec()].concat()),
        ("refuses", [hello(FORMAT), READY.to_vec(), refusal].concat()),
    ];
    for (what, said) in attempts {
        let (give, mut take) = UnixStream::pair().unwrap();
        take.write_all(&said).unwrap();
        take.shutdown(std::net::Shutdown::Write).unwrap();
        let dies = std::thread::spawn(move || drop(take.read_to_end(&mut Vec::new())));
        old.hand_over(give).unwrap_err();
        dies.join().unwrap();
        still_publishes(what);
    }
    // One that cannot open the store: what the catalogue lists is not there.
    let fails = |what: &str, next: &[(&str, &str)], kind| {
        let (give, take) = UnixStream::pair().unwrap();
        let next = options(next);
        std::thread::scope(|scope| {
            let taking = scope.spawn(|| Server::take_over(next, take).map(drop).unwrap_err());
            let told = old.hand_over(give).unwrap_err();
            let error = taking.join().unwrap();
            assert_eq!(error.kind(), kind, "{what}: {error}");
            assert!(error.to_string().contains("store"), "{what}: {error}");
            told.to_string()
        })
    };
    let aside = folder.0.join("aside");
    let segment = std::fs::read_dir(&folder.0)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "log"))
        .unwrap();
    std::fs::rename(&segment, &aside).unwrap();
    let told = fails("a file is missing", &folder.options(""), ErrorKind::Io);
    assert!(told.contains("the file is missing"), "{told}");
    std::fs::rename(&aside, &segment).unwrap();
    still_publishes("a file is missing");
    // Another store, or none.
    let told = fails("it has none", &[], ErrorKind::InvalidOption);
    assert!(told.contains("stop that one and start this"), "{told}");
    still_publishes("it has none");
    let other = Folder::new();
    drop(other.start(""));
    let told = fails("it has another", &other.options(""), ErrorKind::InvalidArgument);
    assert!(told.contains("the other process has another store open"), "{told}");
    let last = still_publishes("it has another");
    // With a successor that does what it should, it still works, and nothing was noted meanwhile.
    let new = folder.successor(&old);
    assert_eq!(["f", "m"].map(|name| info(&new, name).epoch), epochs);
    publish_number(&new, "f", last + 1);
    assert_eq!(listener.message(), Frame::text(&(last + 1).to_string()));
    drop((new, old, listener));
    let again = folder.start("");
    assert_eq!(["f", "m"].map(|name| info(&again, name).epoch), epochs);
    assert_eq!(texts(&again, "f"), numbers(last + 1));
    assert_eq!(texts(&again, "m"), numbers(last));
}

fn publish_number(server: &Server, channel: &str, n: u64) {
    let published = server.service().publish(channel, MessageKind::Text, n.to_string().as_bytes());
    assert_eq!(published.unwrap().position.offset, n);
}

#[test]
fn a_store_is_not_taken_from_a_server_that_has_none() {
    let folder = Folder::new();
    let old = Server::start(options(&[])).unwrap();
    let (give, take) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        let options = options(&folder.options(""));
        let taking = scope.spawn(|| Server::take_over(options, take).map(drop).unwrap_err());
        assert!(old.hand_over(give).is_err());
        let error = taking.join().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
        assert!(error.to_string().contains("stop that one and start this"), "{error}");
    });
    assert!(!folder.0.exists());
    assert_eq!(Raw::connect(old.local_addr()).get("/health").status, 200);
}
