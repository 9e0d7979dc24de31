//! `qyun serve` in a process of its own, with a pid file and the commands that talk to it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::raw::{PATIENCE, until};

/// A folder that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    /// Of tests, one runs at a time, so that one name is enough.
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("qyun-heavy-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().into()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        self.path(name)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qyun"));
        command.arg(name).arg("--json").args(["--pid-file", &self.path("qyun.pid")]);
        command
    }

    /// Runs a command for the server that has its pid file here.
    pub fn run(&self, name: &str) -> Output {
        self.command(name).output().unwrap()
    }

    /// The same for an answer. While a process has just come in place of another, its control socket
    /// may not be there.
    pub fn ask(&self, question: &str) -> Value {
        let start = Instant::now();
        loop {
            let output = self.run(question);
            if output.status.success() {
                return serde_json::from_slice(&output.stdout).unwrap();
            }
            assert!(start.elapsed() < PATIENCE, "{question}: {output:?}");
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The server, and whoever comes after it, each the child of the one before; killed when dropped.
pub struct Daemon {
    first: Child,
    pub pid: u64,
    pub address: SocketAddr,
}

impl Daemon {
    /// With two shards, and without pings: silence means that nothing is coming.
    pub fn start(folder: &Folder, args: &[&str]) -> Self {
        let mut first = folder
            .command("serve")
            .args(["--listen", "127.0.0.1:0", "--shards", "2", "--log", "warn"])
            .args(["--ping-interval-ms", "0"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(first.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let address = told["address"].as_str().unwrap().parse().unwrap();
        Self { first, pid: told["pid"].as_u64().unwrap(), address }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_raw(self.pid as i32).unwrap(), Signal::KILL);
        // It may be nobody's child any more, and what it has locked is free when it has ended.
        until("the last process has ended", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
            stat.map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X "))
        });
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}
