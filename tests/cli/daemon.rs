//! A server in the background: start, status, reload, stop.

use std::net::TcpStream;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::kit::{Folder, Ran, Running, Server, exchange, qyun, run, run_in};

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// A daemon in a folder of its own, killed when dropped.
struct Daemon {
    folder: Folder,
    pid_file: String,
    told: Value,
}

impl Daemon {
    #[track_caller]
    fn start(args: &[&str]) -> Self {
        Self::start_in(Folder::new(), args)
    }

    #[track_caller]
    fn start_in(folder: Folder, args: &[&str]) -> Self {
        let pid_file = folder.path("qyun.pid");
        let mut all = vec!["start", "--listen", "127.0.0.1:0", "--pid-file", &pid_file, "--json"];
        all.extend(args);
        let told = run(&all).ends_with(0).json();
        Self { folder, pid_file, told }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.told["pid"].as_i64().unwrap() as i32).unwrap()
    }

    fn host(&self) -> &str {
        self.told["address"].as_str().unwrap()
    }

    /// Runs a command about it.
    fn run(&self, args: &[&str]) -> Ran {
        let mut all = args.to_vec();
        all.extend(["--pid-file", &self.pid_file]);
        run(&all)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.run(&["status"]).code == 0 {
            let _ = kill_process(self.pid(), Signal::KILL);
        }
    }
}

#[test]
fn it_serves_when_start_returns_and_is_gone_when_stop_returns() {
    let daemon = Daemon::start(&[]);
    assert!(exchange(daemon.host(), HEALTH, "never").1.starts_with("HTTP/1.1 200"));
    assert_eq!(daemon.folder.read("qyun.pid").trim(), daemon.told["pid"].to_string());
    let stopped = daemon.run(&["stop"]).ends_with(0);
    assert_eq!(stopped.text(), format!("stopped process {}\n", daemon.told["pid"]));
    assert!(TcpStream::connect(daemon.host()).is_err());
    assert!(!daemon.folder.has("qyun.pid") && !daemon.folder.has("qyun.sock"));
}

#[test]
fn it_has_a_session_of_its_own_and_nothing_of_the_terminal() {
    let daemon = Daemon::start(&[]);
    let number = daemon.pid();
    assert_eq!(rustix::process::getsid(Some(number)).unwrap(), number);
    for descriptor in 0..3 {
        let path = format!("/proc/{}/fd/{descriptor}", number.as_raw_nonzero());
        assert_eq!(std::fs::read_link(path).unwrap(), Path::new("/dev/null"));
    }
    let folder = std::fs::read_link(format!("/proc/{}/cwd", number.as_raw_nonzero()));
    assert_eq!(folder.unwrap(), Path::new("/"));
}

#[test]
fn status_tells_what_it_is_and_does() {
    let daemon = Daemon::start(&["--create", "a", "--create", "b"]);
    let listener = Running::start(&["listen", "a", "--host", daemon.host()]);
    let mut listener = listener;
    listener.says("listening to");
    let status = daemon.run(&["status", "--json"]).ends_with(0).json();
    assert_eq!(status["running"], true);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["pid"], daemon.told["pid"]);
    assert_eq!(status["ports"]["http"], daemon.told["port"]);
    assert_eq!((&status["clients"], &status["subscribers"]), (&1.into(), &1.into()));
    assert_eq!((&status["users"], &status["groups"]), (&0.into(), &0.into()));
    assert_eq!(status["channels"], 2);
    assert!(status["memory_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(status["uptime_seconds"].as_f64().unwrap() > 0.0);
    assert!(status["cpu_seconds"].as_f64().is_some() && status["cpu_percent"].as_f64().is_some());
    let text = daemon.run(&["status"]).ends_with(0);
    for name in ["version", "cpu", "memory", "uptime", "ports", "clients", "users", "groups"] {
        assert!(text.text().lines().any(|line| line.starts_with(name)), "{name}: {}", text.text());
    }
}

#[test]
fn without_a_daemon() {
    let folder = Folder::new();
    let pid_file = folder.path("none.pid");
    let place = ["--pid-file", &*pid_file];
    let told = run(&[&["status"][..], &place].concat()).ends_with(3);
    assert_eq!(told.stderr, format!("qyun: not running ({pid_file})\n"));
    let told = run(&[&["status", "--json"][..], &place].concat()).ends_with(3);
    assert_eq!((&told.json()["running"], &*told.stderr), (&false.into(), ""));
    run(&[&["reload"][..], &place].concat()).ends_with(3);
    let told = run(&[&["stop"][..], &place].concat()).ends_with(0);
    assert_eq!(told.text(), format!("not running ({pid_file})\n"));
}

#[test]
fn a_second_one_is_refused_and_the_first_goes_on() {
    let daemon = Daemon::start(&[]);
    for command in ["start", "serve"] {
        let again = run(&[command, "--listen", "127.0.0.1:0", "--pid-file", &daemon.pid_file]);
        let again = again.ends_with(1);
        let told = format!("already running as process {}", daemon.told["pid"]);
        assert!(again.stderr.contains(&told), "{}", again.stderr);
    }
    daemon.run(&["status"]).ends_with(0);
}

#[test]
fn a_stale_pid_file_is_seen_as_what_it_is() {
    let mut daemon = Daemon::start(&[]);
    kill_process(daemon.pid(), Signal::KILL).unwrap();
    // The lock goes with the process.
    while daemon.run(&["status"]).code == 0 {}
    assert!(daemon.folder.has("qyun.pid") && daemon.folder.has("qyun.sock"));
    let told = daemon.run(&["status"]).ends_with(3);
    let stale = format!("the file was left by process {}", daemon.told["pid"]);
    assert!(told.stderr.contains(&stale), "{}", told.stderr);
    daemon.run(&["stop"]).ends_with(0);
    let args = ["start", "--listen", "127.0.0.1:0", "--json", "--pid-file", &daemon.pid_file];
    daemon.told = run(&args).ends_with(0).json();
    daemon.run(&["status"]).ends_with(0);
    daemon.run(&["stop"]).ends_with(0);
}

#[test]
fn a_number_that_belongs_to_another_process_is_not_signalled() {
    let folder = Folder::new();
    let pid_file = folder.write("qyun.pid", &format!("{}\n", std::process::id()));
    run(&["stop", "--pid-file", &pid_file]).ends_with(0);
    run(&["status", "--pid-file", &pid_file]).ends_with(3);
}

#[test]
fn what_keeps_it_from_listening_is_told_with_its_exit_code() {
    let daemon = Daemon::start(&[]);
    let folder = Folder::new();
    let pid_file = folder.path("other.pid");
    let start = |args: &[&str]| {
        let mut all = vec!["start", "--pid-file", &pid_file];
        all.extend(args);
        run(&all)
    };
    let ran = start(&["--listen", daemon.host()]).ends_with(3);
    assert!(ran.stderr.contains(daemon.host()) && ran.stderr.contains("in use"), "{}", ran.stderr);
    let ran = start(&["--shards", "65"]).ends_with(2);
    assert!(ran.stderr.contains("a number from 0 to 64"), "{}", ran.stderr);
    let log = folder.path("none/x.log");
    let ran = start(&["--listen", "127.0.0.1:0", "--log-file", &log]).ends_with(1);
    assert!(ran.stderr.contains("cannot log to"), "{}", ran.stderr);
    let ran = start(&["--listen", daemon.host(), "--json"]).ends_with(3);
    let told: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(told["error"], "connect");
    assert!(!folder.has("other.pid") && !folder.has("other.sock"));
}

#[test]
fn a_folder_that_does_not_exist_is_named() {
    let folder = Folder::new();
    let pid_file = folder.path("none/qyun.pid");
    let ran = run(&["start", "--listen", "127.0.0.1:0", "--pid-file", &pid_file]).ends_with(1);
    assert!(ran.stderr.contains(&pid_file), "{}", ran.stderr);
}

#[test]
fn without_a_name_the_pid_file_is_in_the_users_runtime_folder() {
    let folder = Folder::new();
    let runtime = folder.path(".");
    let environment = [("XDG_RUNTIME_DIR", &*runtime)];
    run_in(&environment, &["status"]).ends_with(3);
    run_in(&environment, &["start", "--listen", "127.0.0.1:0"]).ends_with(0);
    assert!(folder.has("qyun/qyun.pid") && folder.has("qyun/qyun.sock"));
    run_in(&environment, &["status"]).ends_with(0);
    run_in(&environment, &["stop"]).ends_with(0);
    assert!(!folder.has("qyun/qyun.pid"));
}

#[test]
fn the_file_can_name_the_pid_file() {
    let folder = Folder::new();
    let pid_file = folder.path("named.pid");
    let toml = format!("[server]\nlisten = \"127.0.0.1:0\"\n[daemon]\npid_file = \"{pid_file}\"\n");
    let file = folder.write("qyun.toml", &toml);
    run(&["start", "--config", &file]).ends_with(0);
    assert!(folder.has("named.pid"));
    run(&["status", "--config", &file]).ends_with(0);
    // A fault elsewhere does not hide it.
    folder.write("qyun.toml", &format!("{toml}[limits]\nqueue_bytes = 1\n"));
    let ran = run(&["reload", "--config", &file]).ends_with(2);
    assert!(ran.stderr.contains("qyun.toml:6: option 'queue_bytes'"), "{}", ran.stderr);
    run(&["stop", "--config", &file]).ends_with(0);
}

#[test]
fn relative_paths_begin_beside_the_file_or_where_start_was_called() {
    let folder = Folder::new();
    let toml = "[server]\nlisten = \"127.0.0.1:0\"\n[daemon]\npid_file = \"a.pid\"\n";
    let file = folder.write("qyun.toml", toml);
    run(&["start", "--config", &file, "--log-file", &folder.path("qyun.log")]).ends_with(0);
    assert!(folder.has("a.pid"));
    folder.write("qyun.toml", &format!("{toml}[log]\nlog_file = \"other.log\"\n"));
    run(&["reload", "--config", &file]).ends_with(0);
    assert!(!folder.has("other.log"), "a flag counts more than the file");
    let here = |args: &[&str]| {
        let mut command = qyun(args);
        command.current_dir(folder.path("."));
        command.output().unwrap().status.code()
    };
    assert_eq!(here(&["stop", "--config", "qyun.toml"]), Some(0));
    assert_eq!(here(&["start", "--listen", "127.0.0.1:0", "--pid-file", "b.pid"]), Some(0));
    assert!(folder.has("b.pid") && folder.has("b.sock"));
    assert_eq!(here(&["stop", "--pid-file", "b.pid"]), Some(0));
}

#[test]
fn a_reload_takes_the_log_to_another_place_and_filter() {
    let folder = Folder::new();
    let log = |filter: &str, name: &str| {
        let text = format!(
            "[log]\nlog_filter = \"{filter}\"\nlog_file = \"{name}\"\nlog_format = \"json\"\n"
        );
        folder.write("qyun.toml", &text)
    };
    let pid_file = folder.path("qyun.pid");
    let place = ["--pid-file", &*pid_file];
    let file = log("warn", "one.log");
    run(&[&["start", "--listen", "127.0.0.1:0", "--config", &file][..], &place].concat())
        .ends_with(0);
    assert_eq!(folder.read("one.log"), "");
    log("qyun=info", "two.log");
    let told = run(&[&["reload"][..], &place].concat()).ends_with(0);
    assert_eq!(told.text(), "reloaded; changed: log_file, log_filter\n");
    let two = folder.read("two.log");
    let record: Value = serde_json::from_str(two.trim_end()).unwrap();
    assert_eq!(record["message"], "configuration reloaded");
    assert_eq!(record["fields"]["changed"], "log_file, log_filter");
    // Moved away, as by a rotation: the next one writes a new file.
    std::fs::rename(folder.path("two.log"), folder.path("old.log")).unwrap();
    let told = run(&[&["reload", "--json"][..], &place].concat()).ends_with(0).json();
    assert_eq!((&told["changed"], &told["ok"]), (&Value::Array(Vec::new()), &true.into()));
    assert!(folder.has("two.log") && folder.read("old.log") == two);
    // A fault changes nothing, and is told here and in the log.
    log("qyun=loud", "three.log");
    let told = run(&[&["reload"][..], &place].concat()).ends_with(2);
    assert!(told.stderr.contains("qyun.toml:2: option 'log_filter'"), "{}", told.stderr);
    assert!(!folder.has("three.log"));
    let last = folder.read("two.log");
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "error");
    assert!(last["message"].as_str().unwrap().contains("qyun.toml:2: option 'log_filter'"));
    run(&[&["stop"][..], &place].concat()).ends_with(0);
}

#[test]
fn clients_users_and_ports_of_the_gateway_are_counted() {
    let daemon = Daemon::start(&["--grpc-listen", "127.0.0.1:0"]);
    let upgrade = |path: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let (stream, answer) = exchange(daemon.host(), &request, "\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        stream
    };
    let _clients = (upgrade("/"), upgrade("/join?uid=7"), upgrade("/join?uid=8"));
    let status = daemon.run(&["status", "--json"]).ends_with(0).json();
    assert_eq!((&status["clients"], &status["users"]), (&3.into(), &2.into()));
    assert!(status["ports"]["grpc"].as_u64().unwrap() > 0);
    let text = daemon.run(&["status"]).ends_with(0);
    assert!(text.text().contains("(grpc), ") && text.text().contains("(http)"), "{}", text.text());
}

#[test]
fn a_hangup_is_a_reload_and_does_not_end_it() {
    let folder = Folder::new();
    let file = folder.write("qyun.toml", "[limits]\nmax_channels = 1\n");
    let mut server = Server::with(&["--config", &file]);
    server.run(&["create", "a"]).ends_with(0);
    server.run(&["create", "b"]).ends_with(1);
    folder.write("qyun.toml", "[limits]\nmax_channels = 2\n[server]\nshards = 2\n");
    server.process.signal(Signal::HUP);
    server.process.says("configuration reloaded");
    server.run(&["create", "b"]).ends_with(0);
    folder.write("qyun.toml", "[limits]\nmax_channels = -2\n");
    server.process.signal(Signal::HUP);
    server.process.says("configuration not reloaded");
    server.run(&["create", "c"]).ends_with(1);
    server.process.signal(Signal::TERM);
    let (status, _) = server.process.end();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_reload_tells_what_changed_and_what_needs_a_restart() {
    let folder = Folder::new();
    let file = folder.write("qyun.toml", "");
    let daemon = Daemon::start_in(folder, &["--config", &file, "--queue-bytes", "5000"]);
    let toml = "[server]\nauto_create = true\nshards = 7\ncreate = [\"made\"]\n\
                [limits]\nqueue_bytes = 6000\nmax_channels = 3\n";
    daemon.folder.write("qyun.toml", toml);
    let told = daemon.run(&["reload"]).ends_with(0);
    // What a flag says, the file cannot change.
    assert_eq!(
        told.text(),
        "reloaded; changed: auto_create, create, max_channels\nneeds a restart: shards\n"
    );
    run(&["info", "made", "--host", daemon.host()]).ends_with(0);
    run(&["send", "other", "x", "--host", daemon.host()]).ends_with(0);
    let told = daemon.run(&["reload", "--json"]).ends_with(0).json();
    assert_eq!(told, serde_json::json!({ "ok": true, "changed": [], "needs_restart": ["shards"] }));
    // A line that is gone is the default again.
    daemon.folder.write("qyun.toml", "");
    let told = daemon.run(&["reload", "--json"]).ends_with(0).json();
    assert_eq!(told["changed"], serde_json::json!(["auto_create", "create", "max_channels"]));
    run(&["send", "third", "x", "--host", daemon.host()]).ends_with(4);
}

#[test]
fn stop_says_when_it_takes_too_long() {
    let daemon = Daemon::start(&["--create", "a", "--drain", "1h"]);
    let upgrade = "GET /channel/listen/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    // A client that will not answer the server's Close.
    let (client, _) = exchange(daemon.host(), upgrade, "\r\n\r\n");
    let ran = daemon.run(&["stop", "--timeout", "100ms"]).ends_with(6);
    assert!(ran.stderr.contains("has not gone in 100ms"), "{}", ran.stderr);
    assert_eq!(daemon.run(&["status", "--json"]).ends_with(0).json()["state"], "stopping");
    drop(client);
    daemon.run(&["stop"]).ends_with(0);
}

#[test]
fn the_control_socket_is_the_users_alone_and_bears_nonsense() {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    let daemon = Daemon::start(&[]);
    let path = daemon.folder.path("qyun.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    for nonsense in [&b""[..], b"colour\n", &[0xff; 10_000]] {
        let mut stream = UnixStream::connect(&path).unwrap();
        // It need not read all of it.
        let _ = stream.write_all(nonsense);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    daemon.run(&["status"]).ends_with(0);
}
