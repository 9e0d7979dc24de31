//! The binary under test, as a finished run or as a process that goes on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The binary with `args`, independent of the environment it is tested in.
pub fn qyun(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qyun"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("QYUN_") || ["WEBSOCKET_ADDR", "RUST_LOG"].contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    command
}

/// A run that has ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that it ended with `code`.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// Runs to the end with these variables.
pub fn run_in(environment: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = qyun(args);
    command.envs(environment.iter().copied());
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A folder of a test's own, which goes with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Relaxed);
        let path = std::env::temp_dir().join(format!("qyun-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().into()
    }

    /// Writes a file; gives its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        self.path(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs to the end.
pub fn run(args: &[&str]) -> Ran {
    run_with_input(args, b"")
}

/// Runs to the end with `input` on stdin.
pub fn run_with_input(args: &[&str], input: &[u8]) -> Ran {
    let mut child = qyun(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // On a thread: the command may write before it has read everything, or read nothing at all.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A process that goes on; killed when dropped.
pub struct Running {
    child: Child,
    pub stdout: Option<BufReader<ChildStdout>>,
    pub stderr: BufReader<ChildStderr>,
}

impl Running {
    pub fn start(args: &[&str]) -> Self {
        let mut child = qyun(args).spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// The next line of stdout, without its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line.trim_end_matches('\n').into()
    }

    /// Waits for a line of stderr that holds `text`.
    #[track_caller]
    pub fn says(&mut self, text: &str) {
        let mut all = String::new();
        while !all.contains(text) {
            let read = self.stderr.read_line(&mut all).unwrap();
            assert_ne!(read, 0, "stderr ended without '{text}': {all}");
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; gives the rest of stderr too.
    pub fn end(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server on a free port.
pub struct Server {
    pub process: Running,
    pub host: String,
}

impl Server {
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(args: &[&str]) -> Self {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0", "--shards", "1", "--json"];
        all.extend(args);
        let mut process = Running::start(&all);
        let line = process.line();
        let told: Value = serde_json::from_str(&line).unwrap_or_else(|error| {
            let mut stderr = String::new();
            let _ = process.stderr.read_to_string(&mut stderr);
            panic!("{error}: {line:?} {stderr}")
        });
        let host = told["address"].as_str().unwrap().to_owned();
        Self { process, host }
    }

    /// Runs a command against it.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with_input(args, b"")
    }

    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut all = args.to_vec();
        all.extend(["--host", &self.host]);
        run_with_input(&all, input)
    }

    /// `qyun listen` with `args`, once it listens.
    pub fn listen(&self, args: &[&str]) -> Running {
        let mut all = vec!["listen", "--host", &self.host];
        all.extend(args);
        let mut listener = Running::start(&all);
        listener.says("listening to");
        listener
    }
}

/// A host that refuses connections.
pub fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A host that accepts connections and never answers, for as long as the value lives.
pub fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    (listener, host)
}

/// Sends `request` and gives all that comes back until the server closes or `until` has come.
pub fn exchange(host: &str, request: &str, until: &str) -> (TcpStream, String) {
    let address: SocketAddr = host.parse().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0; 1];
    while !answer.ends_with(until.as_bytes()) && stream.read(&mut byte).unwrap() == 1 {
        answer.push(byte[0]);
    }
    (stream, String::from_utf8_lossy(&answer).into_owned())
}
