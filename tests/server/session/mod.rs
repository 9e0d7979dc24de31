//! The session dialect: JSON requests and notifications, as bytes on a socket.

mod presence;
mod rpc;
mod wildcards;

use std::net::SocketAddr;

use qyun::ErrorKind;
use qyun::hub::Filter;
use qyun::server::Server;
use qyun::wire::MessageKind;
use serde_json::{Value, json};

use crate::kit::{Frame, Raw, server, until};

/// A client that has read its first notification.
struct Session {
    raw: Raw,
    id: String,
}

impl Session {
    fn connect(address: SocketAddr) -> Self {
        let mut raw = Raw::websocket(address, "/ws");
        let first = text(raw.message());
        let start = r#"{"type":"notification","data":{"event":"connected","connection_id":""#;
        let id = first.strip_prefix(start).unwrap().strip_suffix(r#""}}"#).unwrap().to_owned();
        assert!(uuid_like(&id), "{id}");
        Self { raw, id }
    }

    fn say(&mut self, request: &str) {
        self.raw.send_frame(0x81, request.as_bytes());
    }

    fn hear(&mut self) -> String {
        text(self.raw.message())
    }

    /// The answer to a request as it was written.
    fn raw(&mut self, request: &str) -> String {
        self.say(request);
        self.hear()
    }

    fn request(&mut self, action: &str, payload: &Value) -> Value {
        let request = json!({ "id": 1, "type": "request", "action": action, "payload": payload });
        let answer: Value = serde_json::from_str(&self.raw(&request.to_string())).unwrap();
        assert_eq!(answer["id"], 1, "{answer}");
        answer
    }

    fn ask(&mut self, action: &str, payload: &Value) -> Value {
        let answer = self.request(action, payload);
        assert_eq!(answer["type"], "response", "{answer}");
        answer["data"].clone()
    }

    /// The same where one message of a channel comes first.
    fn ask_behind_a_message(&mut self, action: &str, payload: &Value) {
        let request = json!({ "id": 1, "type": "request", "action": action, "payload": payload });
        self.say(&request.to_string());
        assert_eq!(self.notified()["event"], "message");
        let answer: Value = serde_json::from_str(&self.hear()).unwrap();
        assert_eq!(answer["type"], "response", "{answer}");
    }

    fn refused(&mut self, action: &str, payload: &Value) -> String {
        let answer = self.request(action, payload);
        assert_eq!(answer["type"], "error", "{answer}");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
        answer["error"]["code"].as_str().unwrap().to_owned()
    }

    fn notified(&mut self) -> Value {
        let told: Value = serde_json::from_str(&self.hear()).unwrap();
        assert_eq!(told["type"], "notification", "{told}");
        told["data"].clone()
    }
}

fn text(frame: Frame) -> String {
    assert_eq!(frame.opcode, 1, "{frame:?}");
    String::from_utf8(frame.payload).unwrap()
}

fn uuid_like(id: &str) -> bool {
    id.len() == 36
        && id.char_indices().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit() && !c.is_ascii_uppercase(),
        })
}

fn two_shards() -> Server {
    server(&[("shards", "2")])
}

#[test]
fn the_documented_actions_to_the_byte() {
    let server = two_shards();
    let mut a = Session::connect(server.local_addr());
    let mut b = Session::connect(server.local_addr());
    assert_ne!(a.id, b.id);
    assert_eq!(
        a.raw(r#"{"id":"msg-123","type":"request","action":"echo","payload":{"message":"Hello"}}"#),
        r#"{"id":"msg-123","type":"response","data":{"echo":"Hello"}}"#
    );
    // Whatever is echoed, it comes back as it was written.
    for message in
        ["null", "1.50", r#""\u9752\n云""#, r#"{"a": [1, {}]}"#, "12345678901234567890123"]
    {
        let request = format!(
            r#"{{"type":"request","id":7,"payload":{{"message":{message}}},"action":"echo"}}"#
        );
        assert_eq!(
            a.raw(&request),
            format!(r#"{{"id":7,"type":"response","data":{{"echo":{message}}}}}"#)
        );
    }
    assert_eq!(
        b.raw(r#"{"id":"n","type":"request","action":"get_connections"}"#),
        r#"{"id":"n","type":"response","data":{"count":2}}"#
    );
    // The sender is one of those who are told.
    b.say(r#"{"id":"b","type":"request","action":"broadcast","payload":{"message":"hi"}}"#);
    let expected = format!(
        r#"{{"type":"notification","data":{{"event":"broadcast","message":"hi","from":"{}"}}}}"#,
        b.id
    );
    assert_eq!(b.hear(), expected);
    assert_eq!(b.hear(), r#"{"id":"b","type":"response","data":{"recipients":2}}"#);
    assert_eq!(a.hear(), expected);
    assert_eq!(a.ask("ping", &json!({})), json!({}));
}

#[test]
fn a_fault_is_answered_and_the_connection_stays() {
    let server = server(&[]);
    let mut session = Session::connect(server.local_addr());
    for (message, id, code) in [
        ("{", Value::Null, "parse_error"),
        ("hello", Value::Null, "parse_error"),
        ("", Value::Null, "parse_error"),
        ("[]", Value::Null, "invalid_request"),
        (r#"{"id":[],"type":"request","action":"ping"}"#, Value::Null, "invalid_request"),
        (r#"{"id":"i"}"#, json!("i"), "invalid_request"),
        (r#"{"id":5,"type":"event","action":"ping"}"#, json!(5), "invalid_request"),
        (r#"{"id":5,"type":"request","action":"dance"}"#, json!(5), "unknown_action"),
        (r#"{"id":5,"type":"request","action":"echo"}"#, json!(5), "invalid_payload"),
        (r#"{"id":5,"type":"request","action":"echo","payload":[]}"#, json!(5), "invalid_payload"),
        (r#"{"type":"request","action":"dance"}"#, Value::Null, "unknown_action"),
    ] {
        let answer = session.raw(message);
        let parsed: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(parsed["type"], "error", "{answer}");
        assert_eq!((&parsed["id"], &parsed["error"]["code"]), (&id, &json!(code)), "{answer}");
        // Without an id, not with none; and the members in their order.
        assert_eq!(parsed.get("id").is_some(), !id.is_null(), "{answer}");
        let start = match &id {
            Value::Null => format!(r#"{{"type":"error","error":{{"code":"{code}","message":""#),
            id => format!(r#"{{"id":{id},"type":"error","error":{{"code":"{code}","message":""#),
        };
        assert!(answer.starts_with(&start), "{answer}");
    }
    session.raw.send_frame(0x82, br#"{"id":1,"type":"request","action":"ping"}"#);
    let answer = session.hear();
    assert!(answer.starts_with(r#"{"type":"error","error":{"code":"unsupported""#), "{answer}");
    assert_eq!(session.ask("ping", &json!({})), json!({}));
    // What is no text at all is the WebSocket's to refuse.
    session.raw.send_frame(0x81, b"\xff");
    assert_eq!(session.raw.message().close_code(), Some(1007));
}

#[test]
fn subscriptions_begin_behind_the_position_that_they_tell() {
    let server = two_shards();
    let service = server.service();
    service.create_channel("c").unwrap();
    service.publish("c", MessageKind::Text, b"before").unwrap();
    let epoch = service.channel("c").unwrap().epoch;
    let mut session = Session::connect(server.local_addr());
    assert_eq!(
        session.raw(r#"{"id":1,"type":"request","action":"subscribe","payload":{"channel":"c"}}"#),
        format!(
            r#"{{"id":1,"type":"response","data":{{"channel":"c","epoch":{epoch},"offset":1}}}}"#
        )
    );
    service.publish("c", MessageKind::Text, "a\"\n云".as_bytes()).unwrap();
    assert_eq!(
        session.hear(),
        format!(
            r#"{{"type":"notification","data":{{"event":"message","channel":"c","message":"a\"\n云","epoch":{epoch},"offset":2}}}}"#
        )
    );
    service.publish("c", MessageKind::Binary, b"\xfe\xff").unwrap();
    assert_eq!(
        session.notified(),
        json!({ "event": "message", "channel": "c", "message": "/v8=", "encoding": "base64",
                "epoch": epoch, "offset": 3 })
    );
    // Again is harmless, and tells the position now.
    assert_eq!(
        session.ask("subscribe", &json!({ "channel": "c" })),
        json!({ "channel": "c", "epoch": epoch, "offset": 3 })
    );
    let payload = json!({ "channel": "c" });
    assert_eq!(session.ask("unsubscribe", &payload), json!({ "channel": "c" }));
    service.publish("c", MessageKind::Text, b"not for it").unwrap();
    assert_eq!(session.refused("unsubscribe", &payload), "not_subscribed");
    assert_eq!(session.refused("subscribe", &json!({ "channel": "none" })), "channel_not_found");
    assert_eq!(session.refused("subscribe", &json!({ "channel": "" })), "invalid_name");
    assert_eq!(session.refused("subscribe", &json!({})), "invalid_payload");

    session.ask("subscribe", &payload);
    service.publish("c", MessageKind::Text, b"last").unwrap();
    service.delete_channel("c").unwrap();
    assert_eq!(session.notified()["message"], "last");
    assert_eq!(session.notified(), json!({ "event": "channel_deleted", "channel": "c" }));
    assert_eq!(session.refused("unsubscribe", &payload), "not_subscribed");
    assert_eq!(service.counters().subscribers, 0);
}

#[test]
fn what_is_published_while_others_subscribe_is_told_exactly_once() {
    let server = two_shards();
    let service = server.service();
    service.create_channel("c").unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                service.publish("c", MessageKind::Text, b"x").unwrap();
                std::thread::yield_now();
            }
        });
        // A publisher that outlives a failed assertion would hide it.
        struct Stop<'a>(&'a std::sync::atomic::AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let _stop = Stop(&stop);
        for _ in 0..4 {
            let mut session = Session::connect(server.local_addr());
            for _ in 0..25 {
                // The response comes first, and the next message is the next one.
                let begins = session.ask("subscribe", &json!({ "channel": "c" }));
                let mut offset = begins["offset"].as_u64().unwrap();
                for _ in 0..3 {
                    let told = session.notified();
                    assert_eq!(told["offset"].as_u64().unwrap(), offset + 1);
                    offset += 1;
                }
                session.say(
                    r#"{"id":2,"type":"request","action":"unsubscribe","payload":{"channel":"c"}}"#,
                );
                loop {
                    let told: Value = serde_json::from_str(&session.hear()).unwrap();
                    if told["type"] == "response" {
                        break;
                    }
                    assert_eq!(told["data"]["offset"].as_u64().unwrap(), offset + 1);
                    offset += 1;
                }
            }
        }
    });
}

#[test]
fn messages_are_published_as_text_and_as_bytes() {
    let server = server(&[("shards", "2"), ("max_message_bytes", "100")]);
    let mut session = Session::connect(server.local_addr());
    let mut other = Session::connect(server.local_addr());
    assert_eq!(session.ask("create", &json!({ "channel": "青" })), json!({ "channel": "青" }));
    assert_eq!(session.refused("create", &json!({ "channel": "青" })), "channel_exists");
    assert_eq!(session.refused("create", &json!({ "channel": "a\u{1}" })), "invalid_name");
    let mut listener = Raw::websocket(server.local_addr(), "/channel/listen/%E9%9D%92");
    let epoch = other.ask("subscribe", &json!({ "channel": "青" }))["epoch"].clone();
    let published = |offset: u64| json!({ "epoch": epoch, "offset": offset, "subscribers": 2 });
    let send = |session: &mut Session, message: &str, encoding: Option<&str>| {
        let mut payload = json!({ "channel": "青", "message": message });
        if let Some(encoding) = encoding {
            payload["encoding"] = json!(encoding);
        }
        session.request("publish", &payload)
    };
    assert_eq!(send(&mut session, "a\n云", None)["data"], published(1));
    assert_eq!(send(&mut session, "text", Some("text"))["data"], published(2));
    assert_eq!(send(&mut session, "/v8=", Some("base64"))["data"], published(3));
    assert_eq!(listener.message(), Frame::text("a\n云"));
    assert_eq!(listener.message(), Frame::text("text"));
    assert_eq!(listener.message(), Frame { opcode: 2, payload: vec![0xfe, 0xff] });
    assert_eq!(other.notified()["message"], "a\n云");
    assert_eq!(other.notified()["message"], "text");
    assert_eq!(other.notified()["encoding"], "base64");

    let most = "x".repeat(100);
    assert_eq!(send(&mut session, &most, None)["data"], published(4));
    for (message, encoding, code) in [
        (&*"x".repeat(101), None, "too_large"),
        ("?", Some("base64"), "invalid_payload"),
        ("", Some("hex"), "invalid_payload"),
    ] {
        let answer = send(&mut session, message, encoding);
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
    for payload in [json!({ "channel": "青" }), json!({ "channel": "青", "message": 5 })] {
        assert_eq!(session.refused("publish", &payload), "invalid_payload");
    }
    let nowhere = json!({ "channel": "none", "message": "" });
    assert_eq!(session.refused("publish", &nowhere), "channel_not_found");
    assert_eq!(session.ask("delete", &json!({ "channel": "青" })), json!({ "channel": "青" }));
    assert_eq!(session.refused("delete", &json!({ "channel": "青" })), "channel_not_found");
    // A request beyond what any message needs.
    session.say(&"x".repeat(8192));
    assert_eq!(session.raw.message().close_code(), Some(1009));
}

#[test]
fn auto_create_is_for_sessions_too() {
    let server = server(&[("auto_create", "true")]);
    let mut session = Session::connect(server.local_addr());
    assert_eq!(session.ask("subscribe", &json!({ "channel": "new" }))["offset"], 0);
    // A publisher's own notification precedes its response.
    session.say(
        r#"{"id":1,"type":"request","action":"publish","payload":{"channel":"new","message":"m"}}"#,
    );
    assert_eq!(session.notified()["message"], "m");
    assert!(session.hear().ends_with(r#","offset":1,"subscribers":1}}"#));
}

#[test]
fn the_number_of_subscriptions_is_limited() {
    let server = server(&[("max_subscriptions", "2")]);
    for name in ["a", "b", "c"] {
        server.service().create_channel(name).unwrap();
    }
    let mut session = Session::connect(server.local_addr());
    session.ask("subscribe", &json!({ "channel": "a" }));
    session.ask("subscribe", &json!({ "channel": "b" }));
    assert_eq!(session.refused("subscribe", &json!({ "channel": "c" })), "limit_exceeded");
    session.ask("subscribe", &json!({ "channel": "b" }));
    session.ask("unsubscribe", &json!({ "channel": "a" }));
    session.ask("subscribe", &json!({ "channel": "c" }));
}

#[test]
fn pipelined_requests_are_answered_in_order_however_many() {
    let server = server(&[("shards", "2"), ("queue_bytes", "65536")]);
    let service = server.service();
    service.create_channel("c").unwrap();
    let mut session = Session::connect(server.local_addr());
    session.ask("subscribe", &json!({ "channel": "c" }));
    // Far more answers than the queue holds, all asked for before the first is read.
    let text = "x".repeat(2000);
    let rounds = 4000;
    let mut sender = session.raw.stream.try_clone().unwrap();
    let bytes: Vec<u8> = (0..rounds)
        .flat_map(|n| {
            let echo = format!(
                r#"{{"id":{n},"type":"request","action":"echo","payload":{{"message":"{text}"}}}}"#
            );
            let publish = format!(
                r#"{{"id":"p{n}","type":"request","action":"publish","payload":{{"channel":"c","message":"{n}"}}}}"#
            );
            [echo, publish]
        })
        .flat_map(|request| crate::kit::masked(0x81, request.as_bytes()))
        .collect();
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        sender.write_all(&bytes).unwrap();
    });
    for n in 0..rounds {
        let mut told = [false; 2];
        // Echo and publication in order, the message before the publication's response.
        let echo = format!(r#"{{"id":{n},"type":"response","data":{{"echo":"{text}"}}}}"#);
        for _ in 0..3 {
            let heard = session.hear();
            if heard == echo {
                told[0] = true;
            } else if heard.starts_with(r#"{"type":"notification""#) {
                assert!(heard.contains(&format!(r#""message":"{n}""#)), "{n}: {heard}");
                told[1] = true;
            } else {
                assert!(heard.starts_with(&format!(r#"{{"id":"p{n}","#)), "{n}: {heard}");
                assert_eq!(told, [true; 2], "{n}");
            }
        }
    }
    writer.join().unwrap();
    assert_eq!(service.counters().closed_slow, 0);
}

#[test]
fn who_is_there_is_told_in_parts_and_no_more_than_that() {
    let server = two_shards();
    let service = server.service();
    service.create_channel("c").unwrap();
    let mut sessions: Vec<_> = (0..5).map(|_| Session::connect(server.local_addr())).collect();
    let _listener = Raw::websocket(server.local_addr(), "/channel/listen/c");
    service.bind_user(&sessions[0].id, "ann").unwrap();
    service.bind_user(&sessions[3].id, "ann").unwrap();
    let mut ids: Vec<_> = sessions.iter().map(|session| session.id.clone()).collect();
    for session in &mut sessions {
        session.ask("subscribe", &json!({ "channel": "c" }));
    }
    let me = &mut sessions[0];

    let mut present = Vec::new();
    let mut payload = json!({ "channel": "c", "limit": 2 });
    for _ in 0..3 {
        let part = me.ask("presence", &payload);
        assert_eq!(
            (&part["channel"], &part["count"], &part["anonymous"]),
            (&json!("c"), &json!(5), &json!(1))
        );
        for member in part["members"].as_array().unwrap() {
            let keys: Vec<_> = member.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["connected_ms", "id", "user"]);
            present.push((member["id"].clone(), member["user"].clone()));
        }
        payload["after"] = part["next"].clone();
    }
    assert_eq!(payload["after"], Value::Null);
    let user = |n| if n == 0 || n == 3 { json!("ann") } else { Value::Null };
    let expected: Vec<_> = ids.iter().enumerate().map(|(n, id)| (json!(id), user(n))).collect();
    assert_eq!(present, expected);

    let anns = [ids[0].clone(), ids[3].clone()];
    ids.sort();
    let mut listed = Vec::new();
    let mut payload = json!({ "limit": 3 });
    loop {
        let part = me.ask("connections", &payload);
        let connections = part["connections"].as_array().unwrap();
        listed.extend(connections.iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        if part["next"].is_null() {
            break;
        }
        payload["after"] = part["next"].clone();
    }
    assert_eq!(listed, ids);
    let part = me.ask("connections", &json!({ "user": "ann" }));
    let of_ann: Vec<_> =
        part["connections"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(of_ann.len(), 2);
    assert!(anns.iter().all(|id| of_ann.contains(&json!(id))));
    let nobody = me.ask("connections", &json!({ "user": "bob" }));
    assert_eq!(nobody, json!({ "connections": [], "next": null }));
    for (action, payload, code) in [
        ("presence", json!({ "channel": "none" }), "channel_not_found"),
        ("presence", json!({}), "invalid_payload"),
        ("presence", json!({ "channel": "c", "after": "x" }), "invalid_payload"),
        ("presence", json!({ "channel": "c", "limit": 0 }), "invalid_payload"),
        ("connections", json!({ "limit": 1001 }), "invalid_payload"),
    ] {
        assert_eq!(me.refused(action, &payload), code, "{action} {payload}");
    }
}

#[test]
fn a_server_may_keep_its_clients_to_itself() {
    let server = server(&[("session_listing", "false")]);
    server.service().create_channel("c").unwrap();
    let mut session = Session::connect(server.local_addr());
    assert_eq!(session.refused("connections", &json!({})), "forbidden");
    assert_eq!(session.refused("presence", &json!({ "channel": "c" })), "forbidden");
    assert_eq!(session.ask("get_connections", &json!({})), json!({ "count": 1 }));
}

#[test]
fn the_first_message_is_first_whatever_is_sent_meanwhile() {
    let server = two_shards();
    let service = server.service();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                service.broadcast(Some("/ws"), MessageKind::Text, b"noise").unwrap();
                let filter = Filter::default();
                service.send_where(&filter, MessageKind::Text, b"more", |_| true).unwrap();
            }
        });
        struct Stop<'a>(&'a std::sync::atomic::AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let _stop = Stop(&stop);
        // `connect` asserts it.
        (0..50).for_each(|_| drop(Session::connect(server.local_addr())));
    });
}

#[test]
fn the_path_is_an_option() {
    let moved = server(&[("session_path", "/live")]);
    assert_eq!(Raw::connect(moved.local_addr()).upgrade("/ws", "").status, 404);
    let mut raw = Raw::websocket(moved.local_addr(), "/live");
    assert!(text(raw.message()).contains("connected"));
    let off = server(&[("session_path", "")]);
    assert_eq!(Raw::connect(off.local_addr()).upgrade("/ws", "").status, 404);
}

#[test]
fn an_end_leaves_no_trace() {
    let server = two_shards();
    let service = server.service();
    service.create_channel("c").unwrap();
    for _ in 0..20 {
        let mut session = Session::connect(server.local_addr());
        session.ask("subscribe", &json!({ "channel": "c" }));
    }
    until("all are gone", || service.registry().is_empty());
    until("nobody subscribes", || service.counters().subscribers == 0);
    assert_eq!(service.channel("c").unwrap().members, 0);
    assert_eq!(service.connection("x").unwrap_err().kind(), ErrorKind::NotFound);
}
