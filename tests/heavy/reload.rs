//! `qyun reload` in the middle of things: a thousand listeners, ten thousand messages a second.

use std::process::Output;
use std::sync::mpsc::Receiver;

use serde_json::Value;

use crate::daemon::{Daemon, Folder};
use crate::kit::alone;
use crate::numbers::Load;
use crate::raw::{PATIENCE, Raw};

const RELOADS: usize = 8;
const LOAD: Load = Load { listeners: 1000, rate: 10_000, seconds: 4, milestones: RELOADS };

/// Writes the configuration file; gives its path.
fn write(folder: &Folder, max_message_bytes: usize) -> String {
    folder.write("qyun.toml", &format!("[limits]\nmax_message_bytes = {max_message_bytes}\n"))
}

/// Writes it anew and has it read.
fn reload(folder: &Folder, max_message_bytes: usize) -> Output {
    write(folder, max_message_bytes);
    folder.run("reload")
}

/// The status of a message of 2,000 bytes.
fn post(server: &Daemon) -> u16 {
    Raw::connect(server.address).request("POST", "/channel/send/probe", "", &[b'x'; 2000]).status
}

/// Has the server reload at each milestone, and looks whether the new limit is in force.
fn reload_often(folder: &Folder, server: &Daemon, milestones: &Receiver<()>) {
    for round in 0..RELOADS {
        milestones.recv_timeout(PATIENCE).unwrap();
        let (limit, status) = if round % 2 == 0 { (1000, 413) } else { (3000, 200) };
        let output = reload(folder, limit);
        assert!(output.status.success(), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["changed"], serde_json::json!(["max_message_bytes"]));
        assert_eq!(post(server), status, "with max_message_bytes = {limit}");
    }
    let output = reload(folder, 0);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be '0'"), "{output:?}");
    assert_eq!(post(server), 200, "a bad file changes nothing");
}

#[test]
fn reloading_under_load_drops_nobody_and_loses_nothing() {
    let _alone = alone();
    let folder = Folder::new();
    let server = Daemon::start(&folder, &["--config", &write(&folder, 3000)]);
    assert_eq!(Raw::connect(server.address).get("/channel/create/probe").status, 200);
    LOAD.put_on(server.address, |milestones| reload_often(&folder, &server, milestones));
}
