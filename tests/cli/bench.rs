//! `qyun bench`, briefly: that it runs, counts and finds what is wrong. How fast is not tested.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use tungstenite::handshake::derive_accept_key;

use crate::kit::{Server, refusing, run};

const SHORT: [&str; 5] = ["--json", "--duration", "300ms", "--warmup", "50ms"];

fn bench(server: &Server, args: &[&str]) -> serde_json::Value {
    let mut all = vec!["bench"];
    all.extend(args);
    all.extend(SHORT);
    server.run(&all).ends_with(0).json()
}

#[test]
fn every_way_of_publishing_is_delivered_and_checked() {
    let server = Server::start();
    for args in [
        &["--subscribers", "20"][..],
        &["--subscribers", "1", "--window", "1"],
        &["--subscribers", "30", "--channels", "10", "--publishers", "3"],
        &["--subscribers", "20", "--channels", "2", "--publish", "ws", "--size", "1000"],
        &["--subscribers", "20", "--publish", "post", "--size", "100000", "--window", "4"],
        &["--subscribers", "20", "--size", "16"],
        &["--subscribers", "20", "--rate", "500"],
        &["--subscribers", "5", "--size", "65536", "--window", "4"],
        &["--subscribers", "5", "--spin"],
        &["--subscribers", "20", "--compress", "--size", "1000", "--window", "8"],
    ] {
        let report = bench(&server, args);
        assert_eq!(report["clean"], true, "{args:?}");
        let [subscribers, channels, sent, delivered] =
            ["subscribers", "channels", "sent_in_all", "delivered_in_all"]
                .map(|key| report[key].as_u64().unwrap());
        assert!(sent > 0, "{args:?}: {report}");
        assert_eq!(delivered, sent * subscribers / channels, "{args:?}: {report}");
    }
    let channels = server.run(&["channels", "--json"]).ends_with(0);
    assert!(!channels.text().contains("bench-"), "its channels are left: {}", channels.text());
}

#[test]
fn sessions_publish_and_are_checked() {
    let server = Server::start();
    let report = bench(&server, &["--dialect", "session", "--subscribers", "20"]);
    let [answered, delivered] =
        ["answered_in_all", "delivered_in_all"].map(|key| report[key].as_u64().unwrap());
    assert!(answered > 0 && delivered > 0, "{report}");
    assert!(report["latency_us"]["count"].as_u64().unwrap() > 0, "{report}");
    let publishers = ["--dialect", "session", "--subscribers", "0", "--publishers", "2"];
    let report = bench(&server, &publishers);
    assert!(report["answered_in_all"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["delivered_in_all"], 0, "{report}");
}

#[test]
fn an_open_loop_sends_all_that_is_due_and_measures_it() {
    let server = Server::start();
    let report = bench(&server, &["--subscribers", "2", "--rate", "1000"]);
    assert_eq!(report["sent_in_all"], 350, "in 50 ms of warm-up and 300 ms: {report}");
    assert_eq!(report["latency_us"]["count"], 300, "the warm-up is not measured: {report}");
    assert!(report["latency_us"]["p50"].as_f64().unwrap() > 0.0, "{report}");
}

#[test]
fn what_compressing_subscribers_receive_is_counted_as_it_came() {
    let server = Server::start();
    let report = bench(&server, &["--subscribers", "5", "--compress", "--size", "2000"]);
    let [bytes, deliveries] =
        ["bytes_received", "deliveries"].map(|key| report[key].as_u64().unwrap());
    assert!(deliveries > 0 && bytes > 0 && bytes < deliveries * 1200, "{report}");
}

#[test]
fn publishing_connections_and_idle_listeners_are_measured() {
    let server = Server::start();
    let report = bench(&server, &["--subscribers", "0", "--publishers", "2"]);
    assert!(report["answered_in_all"].as_u64().unwrap() > 0, "{report}");
    let report = bench(&server, &["--handshakes", "--concurrency", "4"]);
    assert!(report["handshakes_in_all"].as_u64().unwrap() > 0, "{report}");
    let pid = std::process::id().to_string();
    let report = bench(&server, &["--idle", "50", "--server-pid", &pid]);
    assert_eq!(report["connections"], 50);
    assert!(report["private_dirty_bytes_each"].is_number(), "{report}");
}

#[test]
fn no_server_is_code_3() {
    run(&["bench", "--host", &refusing()]).ends_with(3);
}

/// A server that delivers to one subscriber what `deliver` makes of each message.
fn faulty(deliver: fn(u64, &[u8]) -> Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let subscriber = Arc::new(Mutex::new(None::<TcpStream>));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), subscriber) = (stream, subscriber.clone()) else { return };
            std::thread::spawn(move || answer(stream, &subscriber, deliver));
        }
    });
    host
}

fn answer(
    mut stream: TcpStream,
    subscriber: &Mutex<Option<TcpStream>>,
    deliver: fn(u64, &[u8]) -> Vec<Vec<u8>>,
) {
    let mut sent = 0;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = bytes.drain(..end + 4).collect();
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap();
            if let Some(key) = head.split("Sec-WebSocket-Key: ").nth(1) {
                let accept = derive_accept_key(key.lines().next().unwrap().as_bytes());
                let upgraded = format!("HTTP/1.1 101 X\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
                *subscriber.lock().unwrap() = Some(stream.try_clone().unwrap());
                stream.write_all(upgraded.as_bytes()).unwrap();
                continue;
            }
            if path.starts_with("/channel/send/") {
                let message = path.rsplit('/').next().unwrap().as_bytes();
                let mut subscriber = subscriber.lock().unwrap();
                for message in deliver(sent, message) {
                    let frame = [&[0x81, message.len() as u8][..], &message].concat();
                    let _ = subscriber.as_mut().unwrap().write_all(&frame);
                }
                sent += 1;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        }
        match stream.read(&mut buffer) {
            Ok(read @ 1..) => bytes.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
}

#[test]
fn a_server_that_loses_doubles_swaps_or_changes_messages_is_found_out() {
    let good: fn(u64, &[u8]) -> Vec<Vec<u8>> = |_, message| vec![message.to_vec()];
    let loses: fn(u64, &[u8]) -> Vec<Vec<u8>> =
        |n, message| if n == 10 { vec![] } else { vec![message.to_vec()] };
    let doubles: fn(u64, &[u8]) -> Vec<Vec<u8>> =
        |n, message| vec![message.to_vec(); if n == 10 { 2 } else { 1 }];
    let changes: fn(u64, &[u8]) -> Vec<Vec<u8>> = |n, message| {
        let mut message = message.to_vec();
        message[30] ^= u8::from(n == 10);
        vec![message]
    };
    let swaps: fn(u64, &[u8]) -> Vec<Vec<u8>> = |n, message| match n {
        10 => vec![],
        11 => {
            // Message 10 again: its number, and the letter before.
            let mut before = message.to_vec();
            before[11] -= 1;
            before[20..].iter_mut().for_each(|letter| *letter -= 1);
            vec![message.to_vec(), before]
        }
        _ => vec![message.to_vec()],
    };
    for (deliver, fault) in [
        (good, None),
        (loses, Some("lost")),
        (doubles, Some("duplicated")),
        (swaps, Some("out_of_order")),
        (changes, Some("corrupted")),
    ] {
        let host = faulty(deliver);
        let mut args = vec!["bench", "--host", &host, "--subscribers", "1", "--size", "64"];
        args.extend(["--window", "4"]);
        args.extend(SHORT);
        let ran = run(&args);
        let code = i32::from(fault.is_some());
        let report = ran.ends_with(code).json();
        assert_eq!(report["clean"], fault.is_none());
        for key in ["lost", "duplicated", "out_of_order", "corrupted"] {
            assert_eq!(report[key], u64::from(fault == Some(key)), "{key} with {fault:?}");
        }
    }
}

/// A broker that speaks as much of NATS as one subject with subscribers needs.
fn nats() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let subscribers = Arc::new(Mutex::new(Vec::<TcpStream>::new()));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), subscribers) = (stream, subscribers.clone()) else { return };
            std::thread::spawn(move || relay(stream, &subscribers));
        }
    });
    host
}

fn relay(mut stream: TcpStream, subscribers: &Mutex<Vec<TcpStream>>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    stream.write_all(b"INFO {}\r\n").ok()?;
    let mut line = String::new();
    while {
        line.clear();
        lines.read_line(&mut line).ok()?
    } > 0
    {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["SUB", _, "1"] => subscribers.lock().unwrap().push(stream.try_clone().ok()?),
            ["PING"] => stream.write_all(b"PONG\r\nPING\r\n").ok()?,
            ["PUB", subject, size] => {
                let mut body = vec![0; size.parse::<usize>().ok()? + 2];
                lines.read_exact(&mut body).ok()?;
                let message = [format!("MSG {subject} 1 {size}\r\n").as_bytes(), &body].concat();
                for subscriber in subscribers.lock().unwrap().iter_mut() {
                    subscriber.write_all(&message).ok()?;
                }
            }
            ["CONNECT", _] | ["PONG"] => {}
            _ => return None,
        }
    }
    None
}

#[test]
fn another_systems_protocol_is_checked_by_the_same_rules() {
    let host = nats();
    let mut args = vec!["bench", "--host", &host, "--dialect", "nats"];
    args.extend(["--subscribers", "5", "--window", "4"]);
    args.extend(SHORT);
    let report = run(&args).ends_with(0).json();
    let [sent, delivered] =
        ["sent_in_all", "delivered_in_all"].map(|key| report[key].as_u64().unwrap());
    assert!(sent > 0, "{report}");
    assert_eq!(delivered, sent * 5, "{report}");
}

/// A program whose server answers packets with protocol id 1 with what `answer` makes of their data.
fn packet_server(answer: fn(&[u8]) -> Vec<u8>) -> qyun::server::Server {
    let mut options = qyun::server::ServerOptions::default();
    options.set("listen", "127.0.0.1:0").unwrap();
    let server = qyun::server::Server::start(options).unwrap();
    server.service().packets().on_packet(1, qyun::delivery::Mode::Thread, move |incoming| {
        if let Some(reply) = incoming.reply {
            let _ = reply.send(incoming.protocol, &answer(incoming.data));
        }
    });
    server
}

#[test]
fn packet_requests_are_counted_and_every_answer_is_checked() {
    let echo = packet_server(<[u8]>::to_vec);
    let host = echo.local_addr().to_string();
    for args in [
        &["--packets", "1", "--pipeline", "64"][..],
        &["--packets", "20", "--pipeline", "1", "--size", "70000"],
    ] {
        let mut all = vec!["bench", "--host", &host];
        all.extend(args);
        all.extend(SHORT);
        let report = run(&all).ends_with(0).json();
        assert_eq!(report["clean"], true, "{report}");
        assert!(report["requests"].as_u64().unwrap() > 0, "{report}");
    }

    let liar = packet_server(|data| data.iter().map(|byte| byte ^ 1).collect());
    let host = liar.local_addr().to_string();
    let mut all = vec!["bench", "--host", &host, "--packets", "1"];
    all.extend(SHORT);
    let found = run(&all).ends_with(1);
    assert!(found.stderr.contains("with something else than it was sent"), "{found:?}");

    let silent = packet_server(<[u8]>::to_vec);
    silent.service().packets().off_packet(1);
    let host = silent.local_addr().to_string();
    let mut all = vec!["bench", "--host", &host, "--packets", "1", "--timeout", "100ms"];
    all.extend(SHORT);
    assert!(run(&all).ends_with(6).stderr.contains("echo packets"), "the advice is told");
}
