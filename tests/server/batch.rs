//! Many messages to many channels in one request.

use std::sync::{Arc, Barrier};

use qyun::server::{BatchMessage, PublishOptions, Reports};
use qyun::wire::MessageKind;
use serde_json::{Value, json};

use crate::kit::{Answer, Frame, Raw, server};

fn body(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

fn publish(raw: &mut Raw, target: &str, text: &str) -> Answer {
    raw.request("POST", target, "Content-Type: application/json\r\n", text.as_bytes())
}

#[test]
fn a_batch_reaches_its_channels_and_tells_what_became_of_each_message() {
    let server = server(&[("shards", "2"), ("max_message_bytes", "100")]);
    for name in ["a", "b"] {
        server.service().create_channel(name).unwrap();
    }
    let address = server.local_addr();
    let mut listeners =
        ["a", "b"].map(|name| Raw::websocket(address, &format!("/channel/listen/{name}")));
    let mut http = Raw::connect(address);
    let batch = json!([
        { "channel": "a", "message": "a1" },
        { "channel": "none", "message": "lost" },
        { "channel": "b", "message": "Ymlu", "encoding": "base64", "key": "k" },
        { "channel": "a", "message": "a\n2" },
        { "channel": "a", "message": "x".repeat(101) },
        { "channel": "b", "message": "Ymlu", "encoding": "base64", "key": "k" },
        { "channel": "b", "message": "other", "key": "k" },
        { "channel": "a", "message": "a3" },
    ]);
    let answer = publish(&mut http, "/channels/publish", &batch.to_string());
    let told = body(&answer);
    let start =
        r#"{"status":"success","message":"5 of 8 messages broadcasted","failed":3,"results":["#;
    assert!(answer.body.starts_with(start), "{answer:?}");
    let results = told["results"].as_array().unwrap();
    let offsets: Vec<_> = results.iter().map(|result| result["offset"].as_u64()).collect();
    assert_eq!(offsets, [Some(1), None, Some(1), Some(2), None, Some(1), None, Some(3)]);
    let refused: Vec<_> =
        results.iter().filter_map(|result| result["error"]["status"].as_u64()).collect();
    assert_eq!(refused, [404, 413, 409]);
    assert_eq!((&results[5]["duplicate"], results[2].get("duplicate")), (&true.into(), None));
    assert_eq!(results[0]["subscribers"], 1);
    for text in ["a1", "a\n2", "a3"] {
        assert_eq!(listeners[0].message(), Frame::text(text));
    }
    assert_eq!(listeners[1].message(), Frame { opcode: 2, payload: b"bin".to_vec() });

    // One behind the other, as lines; and with counts.
    let lines =
        "{\"channel\":\"a\",\"message\":\"a4\"}\n{\"channel\":\"b\",\"message\":\"b2\"}\r\n";
    let told = body(&publish(&mut http, "/channels/publish?result=1", lines));
    for result in told["results"].as_array().unwrap() {
        assert_eq!((&result["reached"], &result["dropped"]), (&1.into(), &0.into()), "{result}");
    }
    assert_eq!(listeners[0].message(), Frame::text("a4"));
    assert_eq!(listeners[1].message(), Frame::text("b2"));
    let told = body(&publish(&mut http, "/channels/publish?result=1", "[]"));
    assert_eq!((&told["results"], &told["failed"]), (&json!([]), &0.into()));
    assert_eq!(server.service().counters().published, 6);
}

#[test]
fn a_batch_that_cannot_be_read_publishes_nothing() {
    let server = server(&[("max_batch_messages", "2"), ("max_batch_bytes", "1024")]);
    server.service().create_channel("c").unwrap();
    let one = r#"{"channel":"c","message":"m"}"#;
    for (text, status) in [
        (format!("[{one},{one},{one}]"), 413),
        (format!("{one}\n{one}\n{one}\n"), 413),
        (format!("[{one},"), 400),
        (format!("[{one},{{\"channel\":\"c\"}}]"), 400),
        (format!("{one}\n{{"), 400),
        (format!("[{one},{{\"channel\":\"c\",\"message\":\"*\",\"encoding\":\"base64\"}}]"), 400),
        (r#""text""#.into(), 400),
        (format!("[{one},{{\"channel\":\"c\",\"message\":\"{}\"}}]", "x".repeat(1000)), 413),
    ] {
        let mut http = Raw::connect(server.local_addr());
        let answer = publish(&mut http, "/channels/publish", &text);
        assert_eq!(answer.status, status, "{text}: {answer:?}");
    }
    let mut http = Raw::connect(server.local_addr());
    assert_eq!(http.get("/channels/publish").status, 405);
    assert_eq!(server.service().channel("c").unwrap().offset, 0);
}

#[test]
fn a_session_publishes_a_batch() {
    let server = server(&[("max_batch_messages", "3")]);
    server.service().create_channel("c").unwrap();
    let mut raw = Raw::websocket(server.local_addr(), "/ws");
    raw.message();
    let mut ask = |payload: Value| {
        let request =
            json!({ "id": 7, "type": "request", "action": "publish_batch", "payload": payload });
        raw.send_frame(0x81, request.to_string().as_bytes());
        let answer: Value = serde_json::from_slice(&raw.message().payload).unwrap();
        assert_eq!(answer["id"], 7);
        answer
    };
    let message = |channel, text| json!({ "channel": channel, "message": text });
    let messages = json!([message("c", "1"), message("none", "2"), message("c", "3")]);
    for (result, offset) in [(false, 1), (true, 3)] {
        let answer = ask(json!({ "messages": messages, "result": result }));
        let data = &answer["data"];
        assert_eq!(data["failed"], 1, "{answer}");
        assert_eq!(data["results"][0]["offset"], offset);
        assert_eq!(data["results"][0].get("reached").is_some(), result);
        assert_eq!(data["results"][1]["error"]["code"], "channel_not_found");
        assert_eq!(data["results"][2]["offset"], offset + 1);
    }
    let many: Vec<_> = (0..4).map(|_| message("c", "x")).collect();
    assert_eq!(ask(json!({ "messages": many }))["error"]["code"], "too_large");
    assert_eq!(ask(json!({ "messages": 5 }))["error"]["code"], "invalid_payload");
    assert_eq!(server.service().channel("c").unwrap().offset, 4);
}

#[test]
fn the_messages_of_a_batch_stand_together_in_each_channel() {
    const PUBLISHERS: usize = 4;
    const BATCHES: usize = 50;
    let server = server(&[("shards", "2")]);
    for name in ["a", "b"] {
        server.service().create_channel(name).unwrap();
    }
    let mut listeners = ["a", "b"]
        .map(|name| Raw::websocket(server.local_addr(), &format!("/channel/listen/{name}")));
    let start = Arc::new(Barrier::new(PUBLISHERS));
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let (service, start) = (Arc::clone(server.service()), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                for batch in 0..BATCHES {
                    let texts: Vec<_> =
                        (0..6).map(|at| format!("{publisher}.{batch}.{}", at / 2)).collect();
                    let messages: Vec<_> = texts
                        .iter()
                        .enumerate()
                        .map(|(at, text)| BatchMessage {
                            channel: ["a", "b"][at % 2],
                            kind: MessageKind::Text,
                            payload: text.as_bytes(),
                            options: PublishOptions {
                                counts: batch.is_multiple_of(2),
                                ..PublishOptions::default()
                            },
                        })
                        .collect();
                    let reports: Reports = service.publish_batch(&messages).unwrap();
                    for report in reports {
                        let report = report.unwrap();
                        assert_eq!(report.counts.is_some(), batch.is_multiple_of(2));
                        assert!(report.counts.is_none_or(|counts| counts.reached == 1));
                    }
                }
            })
        })
        .collect();
    for listener in &mut listeners {
        for _ in 0..PUBLISHERS * BATCHES {
            let next = |listener: &mut Raw| String::from_utf8(listener.message().payload).unwrap();
            let first = next(listener);
            let stem = first.strip_suffix(".0").unwrap_or_else(|| panic!("{first}"));
            for at in 1..3 {
                assert_eq!(next(listener), format!("{stem}.{at}"));
            }
        }
    }
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
}
