//! `qyun restart` in the middle of things: the connections and the messages of thousands go from one
//! process to the next. `QYUN_RESTART_LISTENERS` and `QYUN_RESTART_RATE` (messages a second, each to
//! a hundredth of the listeners) set how many; 5000 and 400 are 20,000 deliveries a second.

use std::sync::mpsc::Receiver;

use serde_json::Value;

use crate::daemon::{Daemon, Folder};
use crate::kit::alone;
use crate::numbers::{CHANNELS, Load};
use crate::raw::{PATIENCE, Raw};

const RESTARTS: usize = 4;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn load() -> Load {
    Load {
        listeners: setting("QYUN_RESTART_LISTENERS", 500),
        rate: setting("QYUN_RESTART_RATE", 400),
        seconds: 5,
        milestones: RESTARTS,
    }
}

/// Restarts at each milestone, and connects meanwhile.
fn restart_often(
    folder: &Folder,
    server: &mut Daemon,
    connections: usize,
    milestones: &Receiver<()>,
) {
    for _ in 0..RESTARTS {
        milestones.recv_timeout(PATIENCE).unwrap();
        let told = folder.ask("restart");
        assert_eq!(told["from"], server.pid, "each comes in place of the one before");
        assert!(told["connections"].as_u64().unwrap() as usize >= connections, "{told}");
        server.pid = told["pid"].as_u64().unwrap();
        let pause = told["pause_ms"].as_f64().unwrap();
        println!("{connections} connections changed hands, after a pause of {pause:.1} ms");
        assert_eq!(Raw::connect(server.address).get("/health").status, 200);
    }
}

#[test]
fn restarting_under_load_closes_nobody_and_loses_doubles_or_reorders_nothing() {
    let _alone = alone();
    let (load, folder) = (load(), Folder::new());
    let mut server = Daemon::start(&folder, &[]);
    let address = server.address;
    load.put_on(address, |milestones| {
        restart_often(&folder, &mut server, load.listeners, milestones);
    });
}

/// What a channel has on disk.
fn kept(server: &Daemon, channel: usize) -> Vec<usize> {
    let target = format!("/channel/history/c{channel}?limit=1000");
    let page: Value =
        serde_json::from_str(&Raw::connect(server.address).get(&target).body).unwrap();
    let publications = page["publications"].as_array().unwrap();
    let numbers = publications.iter().map(|one| one["message"].as_str().unwrap().parse().unwrap());
    numbers.collect()
}

/// Every number is acknowledged when the disk has it, wherever that is.
#[test]
fn restarting_with_durable_channels_keeps_all_that_was_acknowledged_once_and_in_order() {
    let _alone = alone();
    let folder = Folder::new();
    // One after the other, each with a sync of its own.
    let load = Load { rate: load().rate.min(100), ..load() };
    let store = folder.path("store");
    let namespaces = "*: durability=fsync, history_bytes=1000000000";
    let args = ["--store", &store, "--namespaces", namespaces];
    let mut server = Daemon::start(&folder, &args);
    let address = server.address;
    load.put_on(address, |milestones| {
        restart_often(&folder, &mut server, load.listeners, milestones);
    });
    let check = |server: &Daemon| {
        for channel in 0..CHANNELS {
            let all: Vec<_> = (channel..load.total()).step_by(CHANNELS).collect();
            assert_eq!(kept(server, channel), all, "channel {channel}");
        }
    };
    check(&server);
    // And on the disk, when the last process has been killed.
    drop(server);
    check(&Daemon::start(&folder, &args));
}
