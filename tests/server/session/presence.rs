//! Who comes to a channel and who goes, as clients and the program are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use qyun::hub::{Change, PresenceEvent};
use qyun::server::Server;
use qyun::wire::MessageKind;
use serde_json::{Value, json};

use super::Session;
use crate::kit::{PATIENCE, Raw, server, until};

const ROOMS: (&str, &str) = ("namespaces", "room.>: presence=true, auto_create=true");

fn rooms(options: &[(&str, &str)]) -> Server {
    server(&[&[ROOMS], options].concat())
}

fn ids(there: &Value) -> BTreeSet<String> {
    let members = there["members"].as_array().unwrap();
    members.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// Cuts a connection with a reset, as a process that dies does.
fn reset(session: Session) {
    socket2::SockRef::from(&session.raw.stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_subscriber_is_told_who_is_there_and_then_who_comes_and_goes() {
    let server = rooms(&[("shards", "2")]);
    let service = server.service();
    let mut first = Session::connect(server.local_addr());
    let mut watcher = Session::connect(server.local_addr());
    first.ask("subscribe", &json!({ "channel": "room.a" }));
    let answer = watcher.ask("subscribe", &json!({ "channel": "room.a", "presence": true }));
    let there = &answer["presence"];
    assert_eq!(ids(there), BTreeSet::from([first.id.clone(), watcher.id.clone()]));
    assert_eq!((&there["count"], &there["next"]), (&json!(2), &Value::Null));
    let mut third = Session::connect(server.local_addr());
    third.ask("subscribe", &json!({ "channel": "room.a" }));
    let told = watcher.notified();
    let mut expected = json!({
        "event": "join", "channel": "room.a", "id": third.id, "user": null, "first": true,
        "epoch": answer["epoch"], "offset": 0, "time_ms": told["time_ms"],
    });
    assert_eq!(told, expected);
    assert!(told["time_ms"].as_u64().unwrap() > 1_700_000_000_000);
    // Its place is between the messages.
    service.publish("room.a", MessageKind::Text, b"1").unwrap();
    third.ask_behind_a_message("unsubscribe", &json!({ "channel": "room.a" }));
    service.publish("room.a", MessageKind::Text, b"2").unwrap();
    assert_eq!(watcher.notified()["message"], "1");
    let told = watcher.notified();
    expected["event"] = json!("leave");
    expected["offset"] = json!(1);
    expected["last"] = json!(true);
    expected["time_ms"] = told["time_ms"].clone();
    expected.as_object_mut().unwrap().remove("first");
    assert_eq!(told, expected);
    assert_eq!(watcher.notified()["message"], "2");
    // Who did not ask is told of messages alone.
    assert_eq!(first.notified()["message"], "1");
    assert_eq!(first.notified()["message"], "2");
    // It may stop, and begin again.
    watcher.ask("subscribe", &json!({ "channel": "room.a", "presence": false }));
    third.ask("subscribe", &json!({ "channel": "room.a" }));
    let answer = watcher.ask("subscribe", &json!({ "channel": "room.a", "presence": true }));
    assert_eq!(answer["presence"]["count"], 3);
    drop(third);
    assert_eq!(watcher.notified()["event"], "leave");
    service.delete_channel("room.a").unwrap();
    assert_eq!(watcher.notified()["event"], "channel_deleted");
}

#[test]
fn the_list_is_for_sessions_and_for_http() {
    let server = rooms(&[("session_listing", "false"), ("auto_create", "true")]);
    let mut sessions: Vec<_> = (0..5).map(|_| Session::connect(server.local_addr())).collect();
    for session in &mut sessions {
        session.ask("subscribe", &json!({ "channel": "room.a" }));
    }
    let _anonymous = Raw::websocket(server.local_addr(), "/channel/listen/room.a");
    let all: BTreeSet<_> = sessions.iter().map(|session| session.id.clone()).collect();
    let asker = &mut sessions[0];
    let (mut seen, mut after) = (BTreeSet::new(), Value::Null);
    loop {
        let page = json!({ "channel": "room.a", "limit": 2, "after": after });
        let answer = asker.ask("presence", &page);
        assert_eq!((&answer["count"], &answer["anonymous"]), (&json!(5), &json!(1)));
        assert_eq!((&answer["channel"], &answer["offset"]), (&json!("room.a"), &json!(0)));
        seen.extend(ids(&answer));
        after = answer["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(seen, all);
    let mut http = Raw::connect(server.local_addr());
    let mut page = |target: &str, status: u16| -> Value {
        let answer = http.get(target);
        assert_eq!(answer.status, status, "{target} {answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    };
    let first = page("/channel/presence/room.a?limit=3", 200);
    let next = first["next"].as_str().unwrap();
    let rest = page(&format!("/channel/presence/room.a?after={next}"), 200);
    assert_eq!(&ids(&first) | &ids(&rest), all);
    assert_eq!((&rest["next"], &rest["anonymous"]), (&Value::Null, &json!(1)));
    page("/channel/presence/none", 404);
    page("/channel/presence/room.a?limit=0", 400);
    // A channel without the option tells nothing, and its list is a matter of `session_listing`.
    server.service().create_channel("plain").unwrap();
    let told = page("/channel/presence/plain", 404);
    assert!(told["message"].as_str().unwrap().contains("option 'presence'"), "{told}");
    let plain = json!({ "channel": "plain", "presence": true });
    assert_eq!(sessions[0].refused("subscribe", &plain), "unsupported");
    assert_eq!(sessions[0].refused("presence", &json!({ "channel": "plain" })), "forbidden");
    let pattern = json!({ "pattern": "room.*", "presence": true });
    assert_eq!(sessions[0].refused("subscribe", &pattern), "invalid_payload");
}

#[test]
fn users_come_with_their_first_connection_and_go_with_their_last() {
    let server = rooms(&[]);
    let service = server.service();
    let mut watcher = Session::connect(server.local_addr());
    watcher.ask("subscribe", &json!({ "channel": "room.a", "presence": true }));
    let mut told = || {
        let told = watcher.notified();
        let edge = told.get("first").or(told.get("last")).unwrap().as_bool().unwrap();
        (told["event"].as_str().unwrap().to_owned(), told["user"].clone(), edge)
    };
    let event = |name: &str, user: &str, edge| (name.to_owned(), json!(user), edge);
    let mut two: Vec<_> = (0..2).map(|_| Session::connect(server.local_addr())).collect();
    for session in &mut two {
        service.bind_user(&session.id, "ann").unwrap();
        session.ask("subscribe", &json!({ "channel": "room.a" }));
    }
    assert_eq!(told(), event("join", "ann", true));
    assert_eq!(told(), event("join", "ann", false));
    // Another user: the one went and the other came, at one place.
    service.bind_user(&two[1].id, "bob").unwrap();
    assert_eq!(told(), event("leave", "ann", false));
    assert_eq!(told(), event("join", "bob", true));
    two.clear();
    let mut last = [told(), told()];
    last.sort_by_key(|(_, user, _)| user.to_string());
    assert_eq!(last, [event("leave", "ann", true), event("leave", "bob", true)]);
}

/// A peer that is cut, and one that falls silent and never answers a ping: each is gone within the
/// ping interval and the pong wait, and is told once.
#[test]
fn whoever_dies_without_a_word_leaves() {
    let times = [("ping_interval_ms", "100"), ("pong_wait_ms", "100")];
    let server = rooms(&[("shards", "2"), times[0], times[1]]);
    let mut watcher = Session::connect(server.local_addr());
    let answer = watcher.ask("subscribe", &json!({ "channel": "room.a", "presence": true }));
    assert_eq!(answer["presence"]["count"], 1);
    // The watcher answers pings while it waits.
    let mut heard = move || loop {
        let frame = watcher.raw.frame();
        match frame.opcode {
            9 => watcher.raw.send_frame(0x8a, &frame.payload),
            _ => break serde_json::from_slice::<Value>(&frame.payload).unwrap()["data"].clone(),
        }
    };
    let mut cut = Session::connect(server.local_addr());
    cut.ask("subscribe", &json!({ "channel": "room.a" }));
    let id = json!(cut.id);
    assert_eq!((&heard()["event"], "cut"), (&json!("join"), "cut"));
    reset(cut);
    let told = heard();
    assert_eq!((&told["event"], &told["id"]), (&json!("leave"), &id));
    let mut silent = Session::connect(server.local_addr());
    silent.ask("subscribe", &json!({ "channel": "room.a" }));
    assert_eq!(heard()["event"], "join");
    let told = heard();
    assert_eq!((&told["event"], &told["id"]), (&json!("leave"), &json!(silent.id)));
    let there = server.service().presence("room.a", None, 10).unwrap();
    assert_eq!(there.count, 1);
}

/// Clients come, go, are cut and fall silent at random under a stream of messages. Watchers that
/// begin at any moment know at the end exactly who is there, were told one leave for each join, and
/// got everything in the channel's order.
#[test]
fn what_is_told_is_exact_under_random_kills() {
    const CLIENTS: usize = 12;
    const ROUNDS: usize = 25;
    let server = rooms(&[("shards", "4"), ("queue_bytes", "67108864")]);
    let service = server.service();
    let program = Arc::new(Mutex::new(BTreeMap::<String, i64>::new()));
    let counts = Arc::clone(&program);
    service.on_presence(Some(Arc::new(move |event: &Arc<PresenceEvent>| {
        let by = if event.change == Change::Join { 1 } else { -1 };
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(event.id.to_string()).or_default();
        *count += by;
        assert!((0..=1).contains(count), "{event:?}");
    })));
    // One who stays, so that the channel and its position do.
    let mut anchor = Session::connect(server.local_addr());
    anchor.ask("subscribe", &json!({ "channel": "room.a" }));
    let address = server.local_addr();
    let mut watchers = Vec::new();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(client as u64);
                    for _ in 0..ROUNDS {
                        let mut session = Session::connect(address);
                        let subscribe = json!({
                            "id": 1, "type": "request", "action": "subscribe",
                            "payload": { "channel": "room.a" },
                        });
                        session.say(&subscribe.to_string());
                        if random.bool() {
                            session.hear();
                        }
                        match random.u8(..3) {
                            0 => reset(session),
                            1 => session.raw.send_frame(0x88, &1000_u16.to_be_bytes()),
                            _ => drop(session),
                        }
                    }
                })
            })
            .collect();
        let publisher = scope.spawn(|| {
            for i in 0..500 {
                service.publish("room.a", MessageKind::Text, i.to_string().as_bytes()).unwrap();
                std::thread::yield_now();
            }
        });
        for _ in 0..6 {
            let mut watcher = Session::connect(address);
            let request = json!({ "channel": "room.a", "presence": true });
            let answer = watcher.ask("subscribe", &request);
            watchers.push((watcher, answer));
        }
        clients.into_iter().for_each(|client| client.join().unwrap());
        publisher.join().unwrap();
    });
    // All who came are gone, but those who stay.
    let staying: BTreeSet<String> =
        watchers.iter().map(|(watcher, _)| watcher.id.clone()).chain([anchor.id.clone()]).collect();
    until("everybody is gone", || {
        service.presence("room.a", None, 1000).unwrap().count == staying.len()
    });
    let end = service.publish("room.a", MessageKind::Text, b"end").unwrap().position.offset;
    for (watcher, answer) in &mut watchers {
        let mut there = ids(&answer["presence"]);
        assert!(there.contains(&watcher.id));
        let mut offset = answer["offset"].as_u64().unwrap();
        while offset < end {
            let told = watcher.notified();
            let id = told["id"].as_str().unwrap_or_default().to_owned();
            match told["event"].as_str().unwrap() {
                "join" => assert!(there.insert(id), "joined twice"),
                "leave" => assert!(there.remove(&id), "left twice"),
                "message" => offset += 1,
                other => panic!("{other}"),
            }
            // Its place is behind the message whose offset it tells.
            assert_eq!(told["offset"], offset);
        }
        assert_eq!(there, staying);
    }
    until("the program is told of the last", || {
        let counts = program.lock().unwrap();
        let there = counts.iter().filter(|(_, count)| **count == 1).map(|(id, _)| id.clone());
        there.collect::<BTreeSet<_>>() == staying
    });
}

#[test]
fn the_program_is_told_in_order_and_not_on_a_shard() {
    let server = rooms(&[("shards", "2")]);
    let service = server.service();
    let (sender, events) = mpsc::channel();
    service.on_presence(Some(Arc::new(move |event: &Arc<PresenceEvent>| {
        let thread = std::thread::current().name().unwrap().to_owned();
        sender.send((thread, PresenceEvent::clone(event))).unwrap();
    })));
    let mut session = Session::connect(server.local_addr());
    for _ in 0..20 {
        session.ask("subscribe", &json!({ "channel": "room.a" }));
        session.ask("unsubscribe", &json!({ "channel": "room.a" }));
    }
    for at in 0..40 {
        let (thread, event) = events.recv_timeout(PATIENCE).unwrap();
        assert!(thread.contains("deliver"), "{thread}");
        let expected = if at % 2 == 0 { Change::Join } else { Change::Leave };
        assert_eq!((event.change, &*event.channel, &*event.id), (expected, "room.a", &*session.id));
    }
    // The end of a channel is the leave of all.
    session.ask("subscribe", &json!({ "channel": "room.a" }));
    service.delete_channel("room.a").unwrap();
    for expected in [Change::Join, Change::Leave] {
        assert_eq!(events.recv_timeout(PATIENCE).unwrap().1.change, expected);
    }
    service.on_presence(None);
    assert_eq!(session.notified()["event"], "channel_deleted");
    session.ask("subscribe", &json!({ "channel": "room.a" }));
    assert!(events.try_recv().is_err());
}
