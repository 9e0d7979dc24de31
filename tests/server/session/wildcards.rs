//! Subscriptions to patterns of names.

use std::collections::BTreeMap;

use qyun::wire::MessageKind;
use serde_json::json;

use super::Session;
use crate::kit::server;

#[test]
fn a_pattern_brings_the_messages_of_channels_that_are_there_and_of_new_ones() {
    let server = server(&[("shards", "2")]);
    let service = server.service();
    let publish =
        |name: &str, text: &str| service.publish(name, MessageKind::Text, text.as_bytes()).unwrap();
    for name in ["news", "news.sport", "news.sport.ski", "other"] {
        service.create_channel(name).unwrap();
    }
    let mut one = Session::connect(server.local_addr());
    let answer = one.ask("subscribe", &json!({ "pattern": "news.*" }));
    assert_eq!(answer, json!({ "pattern": "news.*", "channels": 1 }));
    let mut all = Session::connect(server.local_addr());
    let answer = all.ask("subscribe", &json!({ "pattern": "news.>" }));
    assert_eq!(answer, json!({ "pattern": "news.>", "channels": 2 }));
    for name in ["news", "news.sport", "news.sport.ski", "other"] {
        publish(name, "old");
    }
    service.create_channel("news.late").unwrap();
    let position = publish("news.late", "first").position;
    let told = one.notified();
    assert_eq!((&told["channel"], &told["message"]), (&json!("news.sport"), &json!("old")));
    let told = one.notified();
    let expected = json!({
        "event": "message", "channel": "news.late", "message": "first",
        "epoch": position.epoch, "offset": 1,
    });
    assert_eq!(told, expected);
    let mut heard: Vec<_> = (0..3).map(|_| all.notified()["channel"].to_string()).collect();
    heard.sort();
    assert_eq!(heard, [r#""news.late""#, r#""news.sport""#, r#""news.sport.ski""#]);
    // Its deletion ends a channel's part, and its successor's begins.
    service.delete_channel("news.late").unwrap();
    let gone = json!({ "event": "channel_deleted", "channel": "news.late" });
    assert_eq!(one.notified(), gone);
    service.create_channel("news.late").unwrap();
    publish("news.late", "again");
    assert_eq!(one.notified()["message"], "again");
    assert_eq!(
        one.ask("unsubscribe", &json!({ "pattern": "news.*" })),
        json!({ "pattern": "news.*" })
    );
    publish("news.late", "unheard");
    assert_eq!(one.refused("unsubscribe", &json!({ "pattern": "news.*" })), "not_subscribed");
}

#[test]
fn one_message_comes_once_however_many_subscriptions_bring_it() {
    let server = server(&[("auto_create", "true")]);
    let service = server.service();
    let publish = |text: &str| service.publish("a.b", MessageKind::Text, text.as_bytes()).unwrap();
    let mut client = Session::connect(server.local_addr());
    client.ask("subscribe", &json!({ "pattern": "a.*" }));
    client.ask("subscribe", &json!({ "channel": "a.b" }));
    client.ask("subscribe", &json!({ "pattern": "*.b" }));
    publish("1");
    assert_eq!(client.notified()["message"], "1");
    // The name goes, the patterns stay; one pattern goes, the other stays.
    client.ask("unsubscribe", &json!({ "channel": "a.b" }));
    assert_eq!(client.refused("unsubscribe", &json!({ "channel": "a.b" })), "not_subscribed");
    publish("2");
    assert_eq!(client.notified()["message"], "2");
    client.ask("unsubscribe", &json!({ "pattern": "a.*" }));
    publish("3");
    assert_eq!(client.notified()["message"], "3");
    // Both patterns gone, and the name is there.
    client.ask("subscribe", &json!({ "channel": "a.b" }));
    client.ask("unsubscribe", &json!({ "pattern": "*.b" }));
    publish("4");
    assert_eq!(client.notified()["message"], "4");
    client.ask("unsubscribe", &json!({ "channel": "a.b" }));
    publish("5");
    client.ask("ping", &json!({}));
    assert_eq!(service.channel("a.b").unwrap().members, 0);
}

#[test]
fn what_a_pattern_may_be() {
    let open = server(&[]);
    let mut client = Session::connect(open.local_addr());
    for (payload, code) in [
        (json!({}), "invalid_payload"),
        (json!({ "channel": "a", "pattern": "a" }), "invalid_payload"),
        (json!({ "pattern": 5 }), "invalid_payload"),
        (json!({ "pattern": "a.*", "since": { "epoch": 1, "offset": 1 } }), "invalid_payload"),
        (json!({ "pattern": "a..b" }), "invalid_name"),
        (json!({ "pattern": ">.b" }), "invalid_name"),
        (json!({ "pattern": "a.".repeat(40) + "b" }), "invalid_name"),
    ] {
        assert_eq!(client.refused("subscribe", &payload), code, "{payload}");
    }
    let closed = server(&[("session_patterns", "false")]);
    let mut client = Session::connect(closed.local_addr());
    assert_eq!(client.refused("subscribe", &json!({ "pattern": "a.*" })), "forbidden");
}

#[test]
fn a_channel_beyond_the_limit_is_told_by_its_name() {
    let server = server(&[("max_subscriptions", "3"), ("auto_create", "true")]);
    let service = server.service();
    let mut client = Session::connect(server.local_addr());
    client.ask("subscribe", &json!({ "pattern": "a.*" }));
    for name in ["a.1", "a.2", "a.3"] {
        service.publish(name, MessageKind::Text, b"x").unwrap();
    }
    let mut told: Vec<_> = (0..3).map(|_| client.notified()).collect();
    told.sort_by_key(|told| told["channel"].to_string());
    assert_eq!(told[2], json!({ "event": "pattern_limit", "channel": "a.3" }));
    assert_eq!(client.refused("subscribe", &json!({ "channel": "a.3" })), "limit_exceeded");
    assert_eq!(client.refused("subscribe", &json!({ "pattern": "b.*" })), "limit_exceeded");
}

/// Many threads create and publish while patterns come and go: every client that has the pattern
/// gets every message of every new channel, in order.
#[test]
fn every_message_of_channels_that_come_and_go_reaches_those_who_have_the_pattern() {
    const THREADS: usize = 4;
    const ROUNDS: u64 = 40;
    let server = server(&[("shards", "4"), ("auto_create", "true")]);
    let mut clients: Vec<_> = (0..8).map(|_| Session::connect(server.local_addr())).collect();
    for client in &mut clients {
        client.ask("subscribe", &json!({ "pattern": "run.>" }));
    }
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let service = server.service();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let name = format!("run.{thread}.{}", round % 3);
                    for message in 0..3 {
                        let text = format!("{round}-{message}");
                        service.publish(&name, MessageKind::Text, text.as_bytes()).unwrap();
                    }
                    service.delete_channel(&name).unwrap();
                }
            });
        }
    });
    for client in &mut clients {
        let mut heard: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut ends = 0;
        while ends < THREADS as u64 * ROUNDS {
            let told = client.notified();
            let name = told["channel"].as_str().unwrap();
            let thread = name.split('.').nth(1).unwrap().to_owned();
            match told["event"].as_str() {
                Some("message") => {
                    let text = told["message"].as_str().unwrap().to_owned();
                    assert_eq!(
                        text.split_once('-').unwrap().1,
                        (told["offset"].as_u64().unwrap() - 1).to_string()
                    );
                    heard.entry(thread).or_default().push(text);
                }
                Some("channel_deleted") => ends += 1,
                other => panic!("{other:?}"),
            }
        }
        let expected: Vec<String> =
            (0..ROUNDS).flat_map(|round| (0..3).map(move |m| format!("{round}-{m}"))).collect();
        assert_eq!(heard.len(), THREADS);
        for texts in heard.values_mut() {
            // One channel's messages are in order; channels that follow each other need not be.
            texts.sort_by_key(|text| text.split_once('-').unwrap().0.parse::<u64>().unwrap());
            assert_eq!(*texts, expected);
        }
    }
}
