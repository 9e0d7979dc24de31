//! What a hostile peer may try, and what each attempt gets. Every case has a server of its own, and
//! behind every one the others are still served, nothing that was refused was broadcast, nobody is
//! left, and memory is where it was. `docs/HOSTILE.md` is the table of them:
//! `QYUN_WRITE=1 cargo test --test hostile` writes it anew,
//! and `QYUN_ONLY=text` plays those that say so.

#![allow(missing_docs)]

mod batch;
#[cfg(feature = "grpc")]
#[allow(dead_code)]
#[path = "../server/caller.rs"]
mod caller;
mod compression;
mod floods;
mod frames;
#[cfg(feature = "grpc")]
mod grpc;
mod history;
mod http;
#[allow(dead_code)]
#[path = "../server/kit.rs"]
mod kit;
mod members;
mod names;
mod options;
mod packet;
mod presence;
mod requests;
mod session;
mod slow;
mod stage;
mod stream;

use std::fmt::Write;

use stage::Case;

/// The tables by what they are about.
fn areas() -> Vec<(&'static str, &'static [Case])> {
    vec![
        ("Request heads", http::CASES),
        ("Request bodies and other requests", requests::CASES),
        ("Names and messages in URLs", names::CASES),
        ("WebSocket frames", frames::CASES),
        ("Compressed messages", compression::CASES),
        ("The stream protocol", stream::CASES),
        ("Batches", batch::CASES),
        ("Channels with options", options::CASES),
        ("The session dialect", session::CASES),
        ("Histories, positions, keys and patterns", history::CASES),
        ("Who is there", presence::CASES),
        ("The stream protocol of connections with a name", members::CASES),
        ("The packet dialect and the gateway's clients", packet::CASES),
        #[cfg(feature = "grpc")]
        ("gRPC", grpc::CASES),
        ("Slowness", slow::CASES),
        ("Floods", floods::CASES),
    ]
}

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/HOSTILE.md");

const PREFACE: &str = "# What was tried, and what it got

Each line is an attempt that [a test](../tests/hostile/main.rs) makes against a server over a real
socket, and what came of it; the test compares. Behind every attempt it also looks whether a client
that was connected before gets the next message and nothing else, whether another one is served, whether
everything of the attacker is gone, and whether the memory of the process is within 32 MiB of where it was.
The attempts of *Slowness* and some others shorten the limits that they are about. This page is made of the
test's tables, and the test fails when it differs.

The limits themselves are in [the protocol's page](PROTOCOL.md#limits-and-their-answers).
";

fn document() -> String {
    let mut out = PREFACE.to_owned();
    let mut count = 0;
    for (area, cases) in areas() {
        write!(out, "\n## {area}\n\n| tried | got |\n|---|---|\n").unwrap();
        for case in cases {
            let cell = |text: &str| text.replace('|', "\\|");
            writeln!(out, "| {} | {} |", cell(case.tried), cell(case.got)).unwrap();
            count += 1;
        }
    }
    writeln!(out, "\n{count} attempts.").unwrap();
    out
}

#[test]
fn every_attempt_gets_its_answer_and_nobody_else_notices() {
    let mut faults = Vec::new();
    let only = std::env::var("QYUN_ONLY").unwrap_or_default();
    for (area, cases) in areas() {
        for case in cases.iter().filter(|case| area.contains(&only) || case.tried.contains(&only)) {
            let start = std::time::Instant::now();
            let (got, problems) = case.play();
            if std::env::var_os("QYUN_PRINT").is_some() {
                println!("{area}\t{}\t{got}\t{} ms", case.tried, start.elapsed().as_millis());
            }
            if got != case.got {
                faults.push(format!("{area}: {}\n  got   {got}\n  wants {}", case.tried, case.got));
            }
            faults.extend(problems.iter().map(|what| format!("{area}: {}: {what}", case.tried)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
#[cfg(feature = "grpc")]
fn the_document_is_the_table() {
    let document = document();
    if std::env::var_os("QYUN_WRITE").is_some() {
        std::fs::write(DOCUMENT, &document).unwrap();
    }
    let written = std::fs::read_to_string(DOCUMENT).unwrap_or_default();
    assert!(written == document, "docs/HOSTILE.md is another: write it with QYUN_WRITE=1");
}
