//! Very many of something.

use std::collections::BTreeMap;

use crate::kit::{KEY, Raw, masked};
use crate::stage::{Case, case, closed, with};

/// How often each outcome came.
fn tally(outcomes: impl IntoIterator<Item = String>) -> String {
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        *counts.entry(outcome).or_insert(0) += 1;
    }
    let words: Vec<_> = counts.iter().map(|(what, n)| format!("{n} × {what}")).collect();
    words.join(", ")
}

/// A connection from the `n`-th address of the loopback, that asks for its health.
fn visit(s: &crate::stage::Stage, n: u32) -> (Raw, String) {
    let [_, _, high, low] = n.to_be_bytes();
    let mut raw = Raw::connect_from([127, 1, high, low], s.address());
    raw.try_send("GET /health HTTP/1.1\r\nHost: t\r\n\r\n");
    let reply = raw.reply();
    (raw, reply)
}

pub const CASES: &[Case] = &[
    // One of the hundred is the witness.
    with(
        &[("max_connections", "100")],
        "300 connections from as many addresses, where 100 may be",
        "99 × 200 Serving, 201 × 503 Too many connections",
        |s| {
            let visits: Vec<_> = (1..=300).map(|n| visit(s, n)).collect();
            tally(visits.iter().map(|(_, reply)| reply.clone()))
        },
    ),
    with(
        &[("max_connections_per_ip", "10")],
        "300 connections from 3 addresses, where 10 of each may be",
        "30 × 200 Serving, 270 × 429 Too many connections from this address",
        |s| {
            let visits: Vec<_> = (0..300).map(|n| visit(s, 1 + n % 3)).collect();
            tally(visits.iter().map(|(_, reply)| reply.clone()))
        },
    ),
    with(
        &[("max_connections_per_ip", "10"), ("max_connections", "20")],
        "1,000 connections from one address that are all refused but 10: another address still finds room",
        "10 × 200 Serving, 990 × 429 Too many connections from this address; the other 200 Serving",
        |s| {
            let visits: Vec<_> = (0..1000).map(|_| visit(s, 1)).collect();
            let (_raw, other) = visit(s, 2);
            format!("{}; the other {other}", tally(visits.iter().map(|(_, reply)| reply.clone())))
        },
    ),
    with(
        &[("message_rate", "1"), ("message_burst", "10")],
        "1,000 requests at once, where 10 may be",
        "10 × 200 Message broadcasted, 11 × 429 Too many messages: this connection may send 1 a second, closed; 10 published",
        |s| {
            let mut raw = s.raw();
            raw.try_send("GET /channel/send/open/x HTTP/1.1\r\nHost: t\r\n\r\n".repeat(1000));
            let mut replies = Vec::new();
            while replies.last().map(String::as_str) != Some("no answer") {
                replies.push(raw.reply());
            }
            replies.pop();
            format!(
                "{}, closed; {} published",
                tally(replies),
                s.service().channel("open").unwrap().offset
            )
        },
    ),
    with(
        &[("message_rate", "1"), ("message_burst", "10")],
        "1,000 messages to send at once, where 10 may be, the upgrade among them",
        "3029 too many messages; 9 published",
        |s| {
            let got = s.socket("/channel/send/open", masked(0x81, b"x").repeat(1000));
            format!("{got}; {} published", s.service().channel("open").unwrap().offset)
        },
    ),
    with(
        &[("handshakes_per_second_per_ip", "5")],
        "100 handshakes from one address, where 5 a second may be: are all admitted?",
        "no: 429 beyond the rate",
        |s| {
            let raws: Vec<_> = (0..100)
                .map(|_| {
                    let mut raw = Raw::connect_from([127, 1, 0, 1], s.address());
                    let answer = raw.upgrade("/channel/listen/open", "");
                    (raw, answer.status)
                })
                .collect();
            let refused = raws.iter().filter(|(_, status)| *status == 429).count();
            let (first, rest) = (&raws[..5], &raws[5..]);
            assert!(
                first.iter().all(|(_, status)| *status == 101)
                    && rest.iter().all(|(_, status)| [101, 429].contains(status))
            );
            (if refused > 0 { "no: 429 beyond the rate" } else { "yes" }).into()
        },
    ),
    case("2,000 connections that are reset right away", "nothing is left of them", |s| {
        for _ in 0..2000 {
            let raw = s.raw();
            socket2::SockRef::from(&raw.stream)
                .set_linger(Some(std::time::Duration::ZERO))
                .unwrap();
        }
        "nothing is left of them".into()
    }),
    case("500 upgrades that are reset before the answer", "nothing is left of them", |s| {
        for _ in 0..500 {
            let mut raw = s.raw();
            raw.try_send(format!(
                "GET /channel/listen/open HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
            ));
            socket2::SockRef::from(&raw.stream)
                .set_linger(Some(std::time::Duration::ZERO))
                .unwrap();
        }
        "nothing is left of them".into()
    }),
    case("10,000 pipelined requests, answers read", "10000 × 200 Message broadcasted", |s| {
        let mut raw = s.raw();
        let mut writer = raw.stream.try_clone().unwrap();
        let write = std::thread::spawn(move || {
            let requests = "GET /channel/send/open/x HTTP/1.1\r\nHost: t\r\n\r\n".repeat(10_000);
            std::io::Write::write_all(&mut writer, requests.as_bytes()).unwrap();
        });
        let replies: Vec<_> = (0..10_000).map(|_| raw.reply()).collect();
        write.join().unwrap();
        tally(replies)
    }),
    case("100,000 pings, pongs read", "100000 pongs; goes on", |s| {
        let mut raw = Raw::websocket(s.address(), "/channel/listen/open");
        let mut writer = raw.stream.try_clone().unwrap();
        let write = std::thread::spawn(move || {
            let pings = masked(0x89, b"x").repeat(100_000);
            std::io::Write::write_all(&mut writer, &pings).unwrap();
        });
        let mut pongs = 0;
        while pongs < 100_000 && raw.frame().opcode == 10 {
            pongs += 1;
        }
        write.join().unwrap();
        format!("{pongs} pongs; {}", raw.outcome())
    }),
    case("a Close a thousand times", "1000; then the end", |s| {
        let mut raw = Raw::websocket(s.address(), "/channel/listen/open");
        raw.try_send(masked(0x88, b"\x03\xe8").repeat(1000));
        let frame = raw.frame();
        format!("{}; then {}", closed(&frame), if raw.ends() { "the end" } else { "more" })
    }),
    with(
        &[("auto_create", "true")],
        "10,000 channels by 10,000 requests, where 100 may be",
        "98 × 200 Message broadcasted, 9902 × 507 There are 100 channels, the limit; 100 channels",
        |s| {
            let mut raw = s.raw();
            let mut replies = Vec::new();
            for block in 0..100 {
                let requests: String = (0..100)
                    .map(|n| {
                        format!("GET /channel/send/x{block}-{n}/y HTTP/1.1\r\nHost: t\r\n\r\n")
                    })
                    .collect();
                raw.try_send(requests);
                replies.extend((0..100).map(|_| raw.reply()));
            }
            format!(
                "{}; {} channels",
                tally(replies.into_iter().map(|reply| reply.split(';').next().unwrap().to_owned())),
                s.service().channels().len()
            )
        },
    ),
];
