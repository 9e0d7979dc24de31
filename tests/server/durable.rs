//! Durable channels: what was acknowledged is there after a restart, and nobody sees what is not
//! kept.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;

use qyun::ErrorKind;
use qyun::hub::{ChannelConfig, ChannelInfo, Extract, Published, Range};
use qyun::server::{BatchMessage, PublishOptions, Server, ServerOptions};
use qyun::wire::MessageKind;
use qyun::wire::stream::{Op, Packet, decode_packet};
use serde_json::Value;

use crate::kit::{Frame, Raw, server};
use crate::stream::{reply, request};

/// A folder for a store, which goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Relaxed);
        let path = format!("qyun-durable-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(path))
    }

    fn server(&self) -> Server {
        self.server_with("kept: durability=fsync, history_bytes=1000000000")
    }

    fn server_with(&self, namespaces: &str) -> Server {
        let store = self.0.to_str().unwrap();
        server(&[("store", store), ("namespaces", namespaces), ("shards", "2")])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn publish(server: &Server, channel: &str, from: u64, to: u64) {
    let (tell, told) = mpsc::channel();
    for n in from..=to {
        let tell = tell.clone();
        let done = Box::new(move |report: qyun::Result<qyun::server::Report>| {
            tell.send((n, report.unwrap().published.position.offset)).unwrap();
        });
        let text = n.to_string();
        let (kind, options) = (MessageKind::Text, PublishOptions::default());
        server.service().publish_then(channel, kind, text.as_bytes(), options, done).unwrap();
    }
    drop(tell);
    let told: Vec<_> = told.into_iter().collect();
    assert_eq!(told, (from..=to).map(|n| (n, n)).collect::<Vec<_>>(), "in order, each once");
}

pub fn info(server: &Server, channel: &str) -> ChannelInfo {
    server.service().channel(channel).unwrap()
}

const ALL: Range = Range { after: None, before: None, limit: 1000, backward: false };

fn history(server: &Server, channel: &str, range: Range) -> Extract {
    server.service().history(channel, &range).unwrap()
}

/// The texts of a whole history, page by page.
pub fn texts(server: &Server, channel: &str) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = history(server, channel, Range { after, ..ALL });
        for one in &page.publications {
            found.push(String::from_utf8(one.message.payload().to_vec()).unwrap());
        }
        after = page.publications.last().map(|one| one.offset);
        if !page.more {
            return found;
        }
    }
}

pub fn numbers(to: u64) -> Vec<String> {
    (1..=to).map(|n| n.to_string()).collect()
}

#[test]
fn a_durable_channel_is_there_again_with_all_of_it() {
    let folder = Folder::new();
    let namespaces =
        "m: durability=memory; o: durability=os; f: durability=fsync, overload=drop_oldest";
    let before: Vec<_> = {
        let server = folder.server_with(namespaces);
        let make = |name: &&str| {
            server.service().create_channel(name).unwrap();
            publish(&server, name, 1, 300);
            info(&server, name)
        };
        ["m", "o", "f"].iter().map(make).collect()
    };
    // The options of the channel hold, not those of its namespace now.
    let server = folder.server_with("");
    for info_before in &before {
        let info = info(&server, &info_before.name);
        assert_eq!(&info, info_before);
        assert_eq!(texts(&server, &info.name), numbers(300));
        let published = server.service().publish(&info.name, MessageKind::Text, b"301").unwrap();
        assert_eq!(published.position.offset, 301);
        assert_eq!(published.position.epoch, info.epoch);
    }
    assert_eq!(server.service().channels().len(), 3);
}

#[test]
fn every_way_to_publish_is_answered_when_it_is_kept_and_delivered_in_order() {
    let folder = Folder::new();
    let server = folder.server();
    server.service().create_channel("kept").unwrap();
    let epoch = info(&server, "kept").epoch;
    let address = server.local_addr();
    let mut listener = Raw::websocket(address, "/channel/listen/kept");

    let mut http = Raw::connect(address);
    let exact = http.get("/channel/send/kept/1");
    assert_eq!(
        (exact.status, &*exact.body),
        (200, r#"{"status":"success","message":"Message broadcasted"}"#)
    );
    let told = http.request("POST", "/channel/send/kept", "", b"2");
    let told: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!((told["epoch"].as_u64(), told["offset"].as_u64()), (Some(epoch), Some(2)));
    let told = http.request("POST", "/channel/send/kept?result=1", "", b"3");
    let told: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!((told["offset"].as_u64(), told["reached"].as_u64()), (Some(3), Some(1)));
    // Pipelined requests are answered in order, whichever channel they go to.
    server.service().create_channel("plain").unwrap();
    let both = ["/channel/send/kept/4", "/channel/send/plain/x", "/channel/info/kept"];
    let all: String =
        both.iter().map(|to| format!("GET {to} HTTP/1.1\r\nHost: t\r\n\r\n")).collect();
    http.send(all);
    assert_eq!((http.answer().status, http.answer().status), (200, 200));
    assert!(http.answer().body.contains(r#""offset":4"#));

    let mut stream = Raw::websocket(address, "/channel/stream");
    stream.send_frame(0x82, &request(7, "kept", Op::Publish(MessageKind::Text, b"5")));
    let (id, status, offset, _) = reply(&stream.message());
    assert_eq!((id, status, offset), (7, 0, 5));
    // Without an id, without a reply: the next one is that of the next request.
    stream.send_frame(0x82, &request(0, "kept", Op::Publish(MessageKind::Text, b"6")));
    stream.send_frame(0x82, &request(9, "kept", Op::Publish(MessageKind::Text, b"7")));
    assert_eq!(reply(&stream.message()).0, 9);

    let mut session = Raw::websocket(address, "/ws");
    let publish = r#"{"id":"a","type":"request","action":"publish","payload":{"channel":"kept","message":"8"}}"#;
    session.send_frame(0x81, publish.as_bytes());
    let answer = loop {
        let frame = session.message();
        if frame.payload.windows(8).any(|part| part == br#""id":"a""#) {
            break String::from_utf8(frame.payload).unwrap();
        }
    };
    assert!(answer.contains(r#""offset":8"#), "{answer}");

    let mut sender = Raw::websocket(address, "/channel/send/kept");
    sender.send_frame(0x81, b"9");
    for n in 1..=9 {
        assert_eq!(listener.message(), Frame::text(&n.to_string()));
    }
    let published = server.service().publish("kept", MessageKind::Text, b"10").unwrap();
    assert_eq!((published.position.offset, published.subscribers), (10, 1));
    assert_eq!(texts(&server, "kept"), numbers(10));
    assert_eq!(server.service().counters().published, 11);
}

#[test]
fn a_batch_is_answered_when_all_of_it_is_kept() {
    let folder = Folder::new();
    let server = folder.server();
    for channel in ["kept", "plain"] {
        server.service().create_channel(channel).unwrap();
    }
    let _listener = Raw::websocket(server.local_addr(), "/channel/listen/kept");
    let message = |channel, payload, key: Option<&'static str>, counts| BatchMessage {
        channel,
        kind: MessageKind::Text,
        payload,
        options: PublishOptions { key: key.map(str::as_bytes), counts, conflate: None },
    };
    let batch = [
        message("kept", b"1", Some("once"), true),
        message("plain", b"x", None, false),
        message("kept", b"1", Some("once"), true),
        message("none", b"x", None, false),
        message("kept", b"2", None, false),
    ];
    let reports = server.service().publish_batch(&batch).unwrap();
    let short = |report: &qyun::Result<qyun::server::Report>| {
        report.as_ref().ok().map(|report| {
            let Published { position, duplicate, .. } = report.published;
            (position.offset, duplicate, report.counts.map(|counts| counts.reached))
        })
    };
    assert_eq!(
        reports.iter().map(short).collect::<Vec<_>>(),
        [
            Some((1, false, Some(1))),
            Some((1, false, None)),
            Some((1, true, Some(0))),
            None,
            Some((2, false, None))
        ]
    );
    assert_eq!(texts(&server, "kept"), numbers(2));
}

#[test]
fn what_was_missed_is_read_from_the_disk_and_goes_over_to_what_is_live() {
    const BEFORE: u64 = 20_000;
    const AFTER: u64 = 10_000;
    let folder = Folder::new();
    let epoch = {
        let server = folder.server();
        server.service().create_channel("kept").unwrap();
        publish(&server, "kept", 1, BEFORE);
        info(&server, "kept").epoch
    };
    let server = folder.server();
    let address = server.local_addr();
    std::thread::scope(|scope| {
        scope.spawn(|| publish(&server, "kept", BEFORE + 1, BEFORE + AFTER));
        for since in [0, 1, BEFORE / 2, BEFORE - 1, BEFORE] {
            scope.spawn(move || {
                let mut raw = Raw::connect(address);
                let target = format!("/channel/listen/kept?since={epoch}-{since}");
                let answer = raw.upgrade(&target, "");
                assert_eq!(answer.field("qyun-recovered"), Some("true"), "{answer:?}");
                for n in since + 1..=BEFORE + AFTER {
                    assert_eq!(raw.message(), Frame::text(&n.to_string()), "since {since}");
                }
            });
        }
    });
    // Beyond what memory holds, forward and backward.
    assert_eq!(texts(&server, "kept"), numbers(BEFORE + AFTER));
    let page = history(&server, "kept", Range { after: Some(10), limit: 3, ..ALL });
    let offsets = |page: &Extract| page.publications.iter().map(|p| p.offset).collect::<Vec<_>>();
    assert_eq!((offsets(&page), page.more, page.first), (vec![11, 12, 13], true, 1));
    let page = history(&server, "kept", Range { before: Some(5), backward: true, ..ALL });
    assert_eq!((offsets(&page), page.more), (vec![4, 3, 2, 1], false));
    let page = history(&server, "kept", Range { backward: true, limit: 2, ..ALL });
    assert_eq!((offsets(&page), page.more), (vec![BEFORE + AFTER, BEFORE + AFTER - 1], true));
}

#[test]
fn what_is_not_kept_any_more_is_told() {
    let folder = Folder::new();
    let limited = "kept: durability=fsync, history_size=100";
    let epoch = {
        let server = folder.server_with(limited);
        server.service().create_channel("kept").unwrap();
        publish(&server, "kept", 1, 1000);
        info(&server, "kept").epoch
    };
    let server = folder.server_with(limited);
    assert_eq!(texts(&server, "kept"), numbers(1000)[900..]);
    let mut raw = Raw::connect(server.local_addr());
    let answer = raw.upgrade(&format!("/channel/listen/kept?since={epoch}-899"), "");
    assert_eq!(answer.field("qyun-recovered"), Some("false"));
    assert_eq!(answer.field("qyun-position"), Some(&*format!("{epoch}-1000")));
    let mut raw = Raw::connect(server.local_addr());
    let answer = raw.upgrade(&format!("/channel/listen/kept?since={epoch}-900"), "");
    assert_eq!(answer.field("qyun-recovered"), Some("true"));
    assert_eq!(raw.message(), Frame::text("901"));
}

#[test]
fn a_key_makes_one_publication_of_many_repeats_also_after_a_restart() {
    let folder = Folder::new();
    let keyed = |server: &Server, key: &str, text: &str| {
        let options = PublishOptions { key: Some(key.as_bytes()), ..PublishOptions::default() };
        let report =
            server.service().publish_with("kept", MessageKind::Text, text.as_bytes(), options);
        report.map(|report| (report.published.position.offset, report.published.duplicate))
    };
    {
        let server = folder.server();
        server.service().create_channel("kept").unwrap();
        let results: Vec<_> = std::thread::scope(|scope| {
            let one = || keyed(&server, "once", "1").unwrap();
            let all: Vec<_> = (0..64).map(|_| scope.spawn(one)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(results.iter().all(|(offset, _)| *offset == 1));
        assert_eq!(results.iter().filter(|(_, duplicate)| !duplicate).count(), 1);
        assert_eq!(keyed(&server, "once", "other").unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(keyed(&server, "again", "2").unwrap(), (2, false));
    }
    let server = folder.server();
    assert_eq!(keyed(&server, "once", "1").unwrap(), (1, true));
    assert_eq!(keyed(&server, "again", "2").unwrap(), (2, true));
    assert_eq!(keyed(&server, "once", "other").unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(keyed(&server, "new", "3").unwrap(), (3, false));
    assert_eq!(texts(&server, "kept"), numbers(3));
}

#[test]
fn a_deleted_channel_is_gone_from_the_disk() {
    let folder = Folder::new();
    let epoch;
    {
        let server = folder.server();
        server.service().create_channel("kept").unwrap();
        publish(&server, "kept", 1, 100);
        epoch = info(&server, "kept").epoch;
        server.service().delete_channel("kept").unwrap();
        let error = server.service().publish("kept", MessageKind::Text, b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ChannelNotFound);
    }
    {
        let server = folder.server();
        assert!(server.service().channels().is_empty());
        server.service().create_channel("kept").unwrap();
        assert_ne!(info(&server, "kept").epoch, epoch);
        publish(&server, "kept", 1, 3);
    }
    assert_eq!(texts(&folder.server(), "kept"), numbers(3));
}

#[test]
fn without_a_store_there_are_no_durable_channels() {
    let server = server(&[("namespaces", "kept: durability=os")]);
    let error = server.service().create_channel("kept").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.text().contains("durability=os") && error.text().contains("'store'"), "{error}");
    let mut config = ChannelConfig::default();
    config.set("durability", "fsync").unwrap();
    assert!(server.service().create_channel_with("x", config).is_err());
    server.service().create_channel("other").unwrap();
}

#[test]
fn a_store_belongs_to_one_server_at_a_time() {
    let folder = Folder::new();
    let first = folder.server();
    let mut options = ServerOptions::default();
    options.set("listen", "127.0.0.1:0").unwrap();
    options.set("store", folder.0.to_str().unwrap()).unwrap();
    let error = Server::start(options.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert!(error.text().contains("option 'store'"), "{error}");
    assert!(first.stop(Duration::ZERO));
    drop(Server::start(options).unwrap());
}

#[test]
fn a_server_that_stops_answers_those_who_wait_for_the_disk() {
    let folder = Folder::new();
    let server = folder.server();
    server.service().create_channel("kept").unwrap();
    let mut stream = Raw::websocket(server.local_addr(), "/channel/stream");
    for id in 1..=1000 {
        stream.send_frame(0x82, &request(id, "kept", Op::Publish(MessageKind::Text, b"x")));
    }
    // The first reply says that the server is at it.
    let mut acknowledged = vec![reply(&stream.message()).2];
    server.stop(Duration::from_secs(10));
    loop {
        let frame = stream.message();
        match decode_packet(&frame.payload) {
            Some(Packet::Reply(reply)) if frame.opcode == 2 && reply.status == 0 => {
                acknowledged.push(reply.position.offset);
            }
            _ => break,
        }
    }
    drop(server);
    assert_eq!(acknowledged, (1..=acknowledged.len() as u64).collect::<Vec<_>>());
    let server = folder.server();
    assert!(texts(&server, "kept").len() >= acknowledged.len());
}

#[test]
fn metrics_tell_what_the_store_does() {
    let folder = Folder::new();
    let server = folder.server();
    server.service().create_channel("kept").unwrap();
    publish(&server, "kept", 1, 100);
    let text = Raw::connect(server.local_addr()).get("/metrics").body;
    let value = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
    };
    assert_eq!(value("qyun_store_records_total"), 100);
    assert!(value("qyun_store_bytes_total") > 100 * 48);
    let (writes, syncs) = (value("qyun_store_writes_total"), value("qyun_store_syncs_total"));
    assert!((1..=100).contains(&writes) && (1..=100).contains(&syncs), "{writes}, {syncs}");
    assert_eq!((value("qyun_store_segments"), value("qyun_store_queued_bytes")), (1, 0));
    assert!(value("qyun_store_segment_bytes") >= value("qyun_store_bytes_total"));
    // Without a store there is nothing to tell of it.
    let without = crate::kit::server(&[]);
    let text = Raw::connect(without.local_addr()).get("/metrics").body;
    assert!(!text.contains("qyun_store"));
}
