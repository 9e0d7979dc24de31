//! The log: what is told, and as what.

use rustix::process::Signal;
use serde_json::Value;

use crate::kit::{Folder, Server};

/// The records of a log in JSON.
#[track_caller]
fn records(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect()
}

#[test]
fn json_is_one_object_a_line() {
    let server = Server::with(&["--log-format", "json"]);
    server.process.signal(Signal::TERM);
    let (status, log) = server.process.end();
    assert_eq!(status.code(), Some(0));
    let records = records(&log);
    for record in &records {
        let ts = record["ts"].as_str().unwrap();
        assert!(ts.starts_with("20") && ts.ends_with('Z') && ts.contains('T'), "{ts}");
        assert_eq!(record["level"], "info");
        assert!(record["target"].as_str().unwrap().starts_with("qyun"), "{record}");
    }
    let messages: Vec<_> =
        records.iter().map(|record| record["message"].as_str().unwrap()).collect();
    assert!(messages[0].starts_with("listening on "), "{messages:?}");
    assert_eq!(messages.last(), Some(&"stopped"));
}

#[test]
fn text_is_for_people() {
    let server = Server::start();
    server.process.signal(Signal::TERM);
    let (_, log) = server.process.end();
    assert!(log.lines().all(|line| line.starts_with('[') && line.contains(" INFO ")), "{log}");
}

#[test]
fn a_file_takes_the_log_in_place_of_stderr() {
    let folder = Folder::new();
    let file = folder.write("qyun.log", "before\n");
    let server = Server::with(&["--log-file", &file, "--log", "qyun=info"]);
    server.process.signal(Signal::TERM);
    let (_, log) = server.process.end();
    assert_eq!(log, "");
    let log = folder.read("qyun.log");
    assert!(log.starts_with("before\n") && log.contains("listening on"), "{log}");
}

#[test]
fn a_log_file_that_cannot_be_opened_is_named() {
    let folder = Folder::new();
    let file = folder.path("none/qyun.log");
    let ran = crate::kit::run(&["serve", "--listen", "127.0.0.1:0", "--log-file", &file]);
    assert!(ran.ends_with(1).stderr.contains(&format!("cannot log to '{file}'")));
}
