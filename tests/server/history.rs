//! History, and subscribers that get what they missed.

use qyun::hub::Range;
use qyun::server::Server;
use qyun::wire::websocket::Message;
use qyun::wire::{MessageKind, Position};
use serde_json::{Value, json};

use crate::kit::{Raw, server, until};

const KEEP: (&str, &str) = ("namespaces", "kept: history_size=10000; few: history_size=3");

fn publish(server: &Server, channel: &str, from: u64, to: u64) {
    for n in from..=to {
        let text = n.to_string();
        server.service().publish(channel, MessageKind::Text, text.as_bytes()).unwrap();
    }
}

fn kept(options: &[(&str, &str)]) -> (Server, u64) {
    let server = server(&[options, &[KEEP]].concat());
    server.service().create_channel("kept").unwrap();
    let epoch = server.service().channel("kept").unwrap().epoch;
    (server, epoch)
}

fn texts(raw: &mut Raw, count: usize) -> Vec<u64> {
    let next = |_| String::from_utf8(raw.message().payload).unwrap().parse().unwrap();
    (0..count).map(next).collect()
}

#[test]
fn a_page_of_history_is_read_over_http() {
    let (server, epoch) = kept(&[]);
    server.service().publish("kept", MessageKind::Binary, b"\xff").unwrap();
    publish(&server, "kept", 2, 5);
    let mut raw = Raw::connect(server.local_addr());
    let mut page = |query: &str| -> Value {
        let answer = raw.get(&format!("/channel/history/kept{query}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    };
    let all = page("");
    assert_eq!(
        (all["epoch"].as_u64(), all["offset"].as_u64(), all["first"].as_u64()),
        (Some(epoch), Some(5), Some(1))
    );
    assert_eq!(all["more"], false);
    let first = &all["publications"][0];
    assert_eq!((&first["message"], &first["encoding"]), (&json!("/w=="), &json!("base64")));
    assert!(first["time_ms"].as_u64().unwrap() > 1_600_000_000_000);
    let offsets = |page: &Value| -> Vec<u64> {
        let publications = page["publications"].as_array().unwrap();
        publications.iter().map(|one| one["offset"].as_u64().unwrap()).collect()
    };
    let some = page("?after=1&limit=2");
    assert_eq!((offsets(&some), &some["more"]), (vec![2, 3], &json!(true)));
    assert_eq!(offsets(&page("?reverse=1&before=5&limit=3")), [4, 3, 2]);
    assert_eq!(offsets(&page("?after=18446744073709551615")), [0; 0]);
    for (target, status) in [
        ("/channel/history/kept?limit=0", 400),
        ("/channel/history/kept?limit=1001", 400),
        ("/channel/history/kept?after=-1", 400),
        ("/channel/history/kept?reverse=2", 400),
        ("/channel/history/none", 404),
    ] {
        assert_eq!(raw.get(target).status, status, "{target}");
    }
}

#[test]
fn a_channel_without_history_has_an_empty_one() {
    let server = server(&[]);
    server.service().create_channel("plain").unwrap();
    publish(&server, "plain", 1, 3);
    let range = Range { after: None, before: None, limit: 9, backward: false };
    let extract = server.service().history("plain", &range).unwrap();
    assert_eq!((extract.publications.len(), extract.first, extract.position.offset), (0, 4, 3));
}

#[test]
fn a_listener_gets_what_it_missed_then_what_comes() {
    let (server, epoch) = kept(&[]);
    publish(&server, "kept", 1, 10);
    let mut raw = Raw::connect(server.local_addr());
    let answer = raw.upgrade(&format!("/channel/listen/kept?since={epoch}-4"), "");
    assert_eq!(answer.field("qyun-position"), Some(&*format!("{epoch}-4")));
    assert_eq!(answer.field("qyun-recovered"), Some("true"));
    publish(&server, "kept", 11, 12);
    assert_eq!(texts(&mut raw, 8), (5..=12).collect::<Vec<_>>());
    drop(raw);
    until("it is gone", || server.service().channel("kept").unwrap().subscribers == 0);
}

#[test]
fn who_cannot_be_given_all_is_told_so_and_starts_at_the_present() {
    let (server, epoch) = kept(&[]);
    server.service().create_channel("few").unwrap();
    let few = server.service().channel("few").unwrap().epoch;
    publish(&server, "few", 1, 10);
    for (since, recovered) in [
        (format!("{few}-6"), false),
        (format!("{few}-7"), true),
        (format!("{few}-10"), true),
        (format!("{few}-11"), false),
        (format!("{epoch}-10"), false),
        ("0-0".into(), false),
    ] {
        let mut raw = Raw::connect(server.local_addr());
        let answer = raw.upgrade(&format!("/channel/listen/few?since={since}"), "");
        assert_eq!(answer.field("qyun-recovered"), Some(&*recovered.to_string()), "{since}");
        let position = if recovered { since.clone() } else { format!("{few}-10") };
        assert_eq!(answer.field("qyun-position"), Some(&*position));
    }
    let mut raw = Raw::connect(server.local_addr());
    raw.upgrade(&format!("/channel/listen/few?since={few}-6"), "");
    publish(&server, "few", 11, 11);
    assert_eq!(texts(&mut raw, 1), [11]);
    for bad in ["x", "1", "1-", "-1", "+1-1", "1-2-3", "99999999999999999999-1"] {
        let mut raw = Raw::connect(server.local_addr());
        let answer = raw.upgrade(&format!("/channel/listen/few?since={bad}"), "");
        assert_eq!(answer.status, 400, "{bad}");
    }
}

#[test]
fn positions_come_with_the_messages_when_asked_for() {
    let (server, epoch) = kept(&[]);
    publish(&server, "kept", 1, 1);
    let mut plain = Raw::connect(server.local_addr());
    assert_eq!(plain.upgrade("/channel/listen/kept", "").field("qyun-position"), None);
    let by_query = Raw::websocket(server.local_addr(), "/channel/listen/kept?meta=1");
    let mut by_protocol = Raw::connect(server.local_addr());
    by_protocol.upgrade("/channel/listen/kept", "Sec-WebSocket-Protocol: qyun.meta\r\n");
    let mut since = Raw::connect(server.local_addr());
    since.upgrade(&format!("/channel/listen/kept?meta=1&since={epoch}-0"), "");
    publish(&server, "kept", 2, 2);
    let json = |raw: &mut Raw| serde_json::from_slice::<Value>(&raw.message().payload).unwrap();
    for mut raw in [by_query, by_protocol] {
        let subscribed =
            json!({ "event": "subscribed", "channel": "kept", "epoch": epoch, "offset": 1 });
        assert_eq!(json(&mut raw), subscribed);
        let message = json!({ "event": "message", "message": "2", "epoch": epoch, "offset": 2 });
        assert_eq!(json(&mut raw), message);
    }
    let first = json(&mut since);
    assert_eq!((&first["recovered"], &first["offset"]), (&json!(true), &json!(0)));
    assert_eq!([json(&mut since)["offset"].clone(), json(&mut since)["offset"].clone()], [1, 2]);
    assert_eq!(texts(&mut plain, 1), [2]);
}

#[test]
fn an_event_source_goes_on_where_it_was() {
    let (server, epoch) = kept(&[]);
    publish(&server, "kept", 1, 3);
    let open = |target: &str, more: &str| {
        let mut raw = Raw::connect(server.local_addr());
        let accept = "Accept: text/event-stream\r\n";
        raw.send(format!("GET {target} HTTP/1.1\r\nHost: t\r\n{accept}{more}\r\n"));
        assert!(raw.head().starts_with("HTTP/1.1 200 "));
        raw
    };
    let mut fresh = open("/channel/listen/kept", "");
    assert_eq!(fresh.event(), format!("id: {epoch}-3\n\n"));
    let mut back = open("/channel/listen/kept", &format!("Last-Event-ID: {epoch}-1\r\n"));
    assert_eq!(back.event(), format!("id: {epoch}-1\n\n"));
    assert_eq!(back.event(), format!("id: {epoch}-2\ndata: 2\n\n"));
    assert_eq!(back.event(), format!("id: {epoch}-3\ndata: 3\n\n"));
    let mut by_query = open(&format!("/channel/listen/kept?since={epoch}-2"), "");
    assert_eq!(by_query.event(), format!("id: {epoch}-2\n\n"));
    assert_eq!(by_query.event(), format!("id: {epoch}-3\ndata: 3\n\n"));
    let mut lost = open("/channel/listen/kept", "Last-Event-ID: something else\r\n");
    let told = format!(
        "id: {epoch}-3\nevent: recovery\ndata: {{\"recovered\":false,\"epoch\":{epoch},\"offset\":3}}\n\n"
    );
    assert_eq!(lost.event(), told);
    publish(&server, "kept", 4, 4);
    for raw in [&mut fresh, &mut back, &mut by_query, &mut lost] {
        assert_eq!(raw.event(), format!("id: {epoch}-4\ndata: 4\n\n"));
    }
}

#[test]
fn a_session_recovers_and_reads_history() {
    let (server, epoch) = kept(&[]);
    publish(&server, "kept", 1, 5);
    let mut raw = Raw::websocket(server.local_addr(), "/ws");
    raw.message();
    let mut ask = |action: &str, payload: Value| -> Value {
        let request = json!({ "id": 1, "type": "request", "action": action, "payload": payload });
        raw.send_frame(0x81, request.to_string().as_bytes());
        serde_json::from_slice(&raw.message().payload).unwrap()
    };
    let since = json!({ "channel": "kept", "since": { "epoch": epoch, "offset": 3 } });
    let answer = ask("subscribe", since.clone());
    let data = json!({ "channel": "kept", "epoch": epoch, "offset": 3, "recovered": true });
    assert_eq!(answer["data"], data);
    let mut next = || -> (Value, Value) {
        let told: Value = serde_json::from_slice(&raw.message().payload).unwrap();
        (told["data"]["message"].clone(), told["data"]["offset"].clone())
    };
    assert_eq!(next(), (json!("4"), json!(4)));
    assert_eq!(next(), (json!("5"), json!(5)));
    publish(&server, "kept", 6, 6);
    assert_eq!(next(), (json!("6"), json!(6)));
    let mut ask = |action: &str, payload: Value| -> Value {
        let request = json!({ "id": 1, "type": "request", "action": action, "payload": payload });
        raw.send_frame(0x81, request.to_string().as_bytes());
        serde_json::from_slice(&raw.message().payload).unwrap()
    };
    assert_eq!(ask("subscribe", since)["data"]["recovered"], false, "it is subscribed already");
    let page = ask("history", json!({ "channel": "kept", "limit": 2, "reverse": true }));
    let data = &page["data"];
    assert_eq!((&data["channel"], &data["more"]), (&json!("kept"), &json!(true)));
    assert_eq!(data["publications"][1]["offset"], 5);
    let refused = ask("history", json!({ "channel": "kept", "limit": 1001 }));
    assert_eq!(refused["error"]["code"], "invalid_payload");
    drop(raw);
    until("it is gone", || server.service().channel("kept").unwrap().subscribers == 0);
}

/// A reader that takes nothing for a while: what it missed is more than its queue may hold.
#[test]
fn what_was_missed_may_be_more_than_a_queue_holds() {
    // The sockets answer no pings while they are not read.
    let options = [("queue_bytes", "4096"), ("shards", "1"), ("ping_interval_ms", "0")];
    let (server, epoch) = kept(&options);
    let body = "x".repeat(10_000);
    for n in 1..=900 {
        let text = format!("{n} {body}");
        server.service().publish("kept", MessageKind::Text, text.as_bytes()).unwrap();
    }
    let mut raws: Vec<_> = [0, 450, 899]
        .into_iter()
        .map(|from| {
            let mut raw = Raw::connect(server.local_addr());
            let answer = raw.upgrade(&format!("/channel/listen/kept?since={epoch}-{from}"), "");
            assert_eq!(answer.field("qyun-recovered"), Some("true"));
            (from, raw)
        })
        .collect();
    let bound = server.service().counters().queued_bytes;
    assert!(bound < 3 * (128 << 10), "a page each at most waits: {bound}");
    for (from, raw) in &mut raws {
        for n in *from + 1..=900 {
            let text = String::from_utf8(raw.message().payload).unwrap();
            assert_eq!(text.split(' ').next(), Some(&*n.to_string()));
        }
    }
    until("they are subscribers", || server.service().channel("kept").unwrap().subscribers == 3);
}

#[test]
fn who_falls_behind_the_history_is_closed_and_then_told() {
    let server = server(&[("namespaces", ">: history_size=50"), ("shards", "1")]);
    let service = server.service();
    service.create_channel("c").unwrap();
    let epoch = service.channel("c").unwrap().epoch;
    let body = "x".repeat(1_000_000);
    for n in 1..=50 {
        let text = format!("{n} {body}");
        service.publish("c", MessageKind::Text, text.as_bytes()).unwrap();
    }
    // The bound of history_bytes leaves some of them.
    let range = Range { after: None, before: None, limit: 1, backward: false };
    let first = service.history("c", &range).unwrap().first;
    let mut raw = Raw::connect(server.local_addr());
    let answer = raw.upgrade(&format!("/channel/listen/c?since={epoch}-{}", first - 1), "");
    assert_eq!(answer.field("qyun-recovered"), Some("true"));
    // It takes nothing, and what it was to get is let go of.
    for n in 51..=150 {
        service.publish("c", MessageKind::Text, n.to_string().as_bytes()).unwrap();
    }
    let mut last = first - 1;
    let code = loop {
        let frame = raw.frame();
        match frame.close_code() {
            Some(code) => break code,
            None => {
                let text = String::from_utf8(frame.payload).unwrap();
                let n: u64 = text.split(' ').next().unwrap().parse().unwrap();
                assert_eq!(n, last + 1, "up to the end in order");
                last = n;
            }
        }
    };
    assert_eq!(code, 3008);
    let mut raw = Raw::connect(server.local_addr());
    let answer = raw.upgrade(&format!("/channel/listen/c?since={epoch}-{last}"), "");
    assert_eq!(answer.field("qyun-recovered"), Some("false"));
    assert_eq!(answer.field("qyun-position"), Some(&*format!("{epoch}-150")));
}

/// Everybody comes at another moment while publishers run at full speed.
#[test]
fn subscribing_while_messages_arrive_leaves_no_gap_and_no_double() {
    const LAST: u64 = 6000;
    let (server, epoch) = kept(&[("shards", "2")]);
    std::thread::scope(|scope| {
        scope.spawn(|| publish(&server, "kept", 1, LAST));
        for reader in 0..8u64 {
            let server = &server;
            scope.spawn(move || {
                let mut at = 0;
                while at < LAST {
                    let mut raw = Raw::connect(server.local_addr());
                    let target = format!("/channel/listen/kept?since={epoch}-{at}");
                    let answer = raw.upgrade(&target, "");
                    assert_eq!(answer.field("qyun-recovered"), Some("true"));
                    for _ in 0..(200 + reader * 131).min(LAST - at) {
                        let text = String::from_utf8(raw.message().payload).unwrap();
                        at += 1;
                        assert_eq!(text, at.to_string());
                    }
                }
            });
        }
    });
}

#[test]
fn deleting_a_channel_ends_those_who_catch_up() {
    let (server, epoch) = kept(&[("shards", "1"), ("queue_bytes", "4096")]);
    let body = "x".repeat(1 << 20);
    (0..12).for_each(|_| {
        server.service().publish("kept", MessageKind::Text, body.as_bytes()).unwrap();
    });
    let mut raw = Raw::connect(server.local_addr());
    raw.upgrade(&format!("/channel/listen/kept?since={epoch}-0"), "");
    raw.message();
    server.service().delete_channel("kept").unwrap();
    let code = loop {
        if let Some(code) = raw.frame().close_code() {
            break code;
        }
    };
    assert_eq!(code, 3504);
}

#[test]
fn a_stream_connection_resumes() {
    use qyun::wire::stream::{Op, Packet, Request, decode_packet, encode_request};
    let (server, epoch) = kept(&[]);
    publish(&server, "kept", 1, 5);
    let mut raw = Raw::websocket(server.local_addr(), "/channel/stream");
    let resume = |raw: &mut Raw, offset| {
        let op = Op::Resume(Position { epoch, offset });
        let mut request = Vec::new();
        encode_request(&mut request, &Request { id: 1, channel: "kept", op });
        raw.send_frame(0x82, &request);
        let frame = raw.message();
        match decode_packet(&frame.payload) {
            Some(Packet::Reply(reply)) => (reply.recovered, reply.position.offset),
            other => panic!("{other:?}"),
        }
    };
    let offset = |raw: &mut Raw| match decode_packet(&raw.message().payload) {
        Some(Packet::Message { offset, .. }) => offset,
        other => panic!("{other:?}"),
    };
    assert_eq!(resume(&mut raw, 3), (true, 3));
    assert_eq!((offset(&mut raw), offset(&mut raw)), (4, 5));
    publish(&server, "kept", 6, 6);
    assert_eq!(offset(&mut raw), 6);
    assert_eq!(resume(&mut raw, 6), (true, 6), "again, where it is");
    assert_eq!(resume(&mut raw, 2), (false, 6), "again, where it was: it has got the rest");
    let mut other = Raw::websocket(server.local_addr(), "/channel/stream");
    assert_eq!(resume(&mut other, 7), (false, 6));
    publish(&server, "kept", 7, 7);
    assert_eq!((offset(&mut raw), offset(&mut other)), (7, 7));
}

#[test]
fn a_member_that_leaves_while_it_catches_up_leaves_no_trace() {
    let (server, _) = kept(&[("shards", "1")]);
    let service = server.service();
    publish(&server, "kept", 1, 50);
    let mut raws: Vec<_> = (0..3).map(|_| Raw::websocket(server.local_addr(), "/")).collect();
    let ids: Vec<_> =
        raws.iter_mut().map(|raw| String::from_utf8(raw.message().payload).unwrap()).collect();
    std::thread::scope(|scope| {
        for id in &ids {
            scope.spawn(|| {
                let connection = service.connection(id).unwrap();
                service.join(id, "kept").unwrap();
                let channel = connection.channels().pop().unwrap();
                assert!(connection.leave(&channel));
                let since = Some(Position { epoch: channel.epoch(), offset: 48 });
                for _ in 0..3000 {
                    let tell = |_: &_| Message::new(MessageKind::Text, b"joined");
                    assert!(connection.join_telling(&channel, since, tell).unwrap());
                    assert!(connection.leave(&channel));
                }
            });
        }
    });
    service.publish("kept", MessageKind::Text, b"to nobody").unwrap();
    for (raw, id) in raws.iter_mut().zip(&ids) {
        service.send_to(id, MessageKind::Text, b"end").unwrap();
        loop {
            match &*raw.message().payload {
                b"end" => break,
                other => assert_ne!(other, b"to nobody", "it is a member still"),
            }
        }
    }
    assert_eq!(service.channel("kept").unwrap().subscribers, 0);
}
