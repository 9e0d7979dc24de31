//! One attempt: a server, somebody who is served by it, and the attacker's tools.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use qyun::server::{Server, Service};
use qyun::wire::MessageKind;

use crate::kit::{Frame, PATIENCE, Raw, masked, server};

/// What is tried and what it gets.
pub struct Case {
    pub tried: &'static str,
    pub got: &'static str,
    pub options: &'static [(&'static str, &'static str)],
    pub run: fn(&Stage) -> String,
}

/// With the usual options.
pub const fn case(tried: &'static str, got: &'static str, run: fn(&Stage) -> String) -> Case {
    Case { tried, got, options: &[], run }
}

/// With others besides.
pub const fn with(
    options: &'static [(&'static str, &'static str)],
    tried: &'static str,
    got: &'static str,
    run: fn(&Stage) -> String,
) -> Case {
    Case { tried, got, options, run }
}

/// Small limits, so that what exceeds them is small, and times in which every attempt finishes.
const OPTIONS: &[(&str, &str)] = &[
    ("shards", "2"),
    ("max_message_bytes", "65536"),
    ("max_url_message_bytes", "1000"),
    ("max_header_bytes", "4096"),
    ("queue_bytes", "65536"),
    ("max_channels", "100"),
    ("max_subscriptions", "20"),
    ("packet_max_bytes", "4096"),
    ("ping_interval_ms", "0"),
];

/// Memory that may be another behind an attempt: pages that the allocator has not given back, and
/// other tests' of this process.
const SLACK: usize = 32 << 20;

pub struct Stage {
    pub server: Server,
    /// Problems that the attempt has found besides its answer.
    problems: RefCell<Vec<String>>,
}

impl Case {
    /// What the attempt got, and what is wrong besides.
    pub fn play(&self) -> (String, Vec<String>) {
        let stage = Stage {
            server: server(&[OPTIONS, self.options].concat()),
            problems: RefCell::default(),
        };
        let service = stage.service();
        for name in ["test", "open"] {
            service.create_channel(name).unwrap();
        }
        // Events need no pongs, whatever the limits of the attempt.
        let mut witness = Raw::connect(stage.address());
        witness.send(
            "GET /channel/listen/test HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n",
        );
        assert!(witness.head().starts_with("HTTP/1.1 200"));
        let before = memory();
        let got = catch_unwind(AssertUnwindSafe(|| (self.run)(&stage))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            format!("the attempt itself failed: {}", text.chars().take(300).collect::<String>())
        });
        stage.check(&mut witness, before);
        let problems = stage.problems.take();
        (got, problems)
    }
}

impl Stage {
    pub fn service(&self) -> &Service {
        self.server.service()
    }

    pub fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    fn problem(&self, what: impl Into<String>) {
        self.problems.borrow_mut().push(what.into());
    }

    fn check(&self, witness: &mut Raw, before: usize) {
        let service = self.service();
        // Who was there gets what is published now, and nothing that the attacker was refused.
        service.publish("test", MessageKind::Text, b"still here").unwrap();
        let event = loop {
            let event = witness.event();
            if event.contains("data: ") {
                break event;
            }
        };
        if !event.ends_with("\ndata: still here\n\n") {
            self.problem(format!("the witness got {event:?}"));
        }
        // Who comes now is served, unless the attempt was to keep new ones out by a rate or place.
        let mut last = String::new();
        let served = self.becomes(|| {
            let mut raw = Raw::connect_from([127, 9, 9, 9], self.address());
            raw.send("GET /health HTTP/1.1\r\nHost: t\r\n\r\n");
            last = raw.reply();
            last.starts_with("200")
        });
        if !served {
            self.problem(format!("another client got {last}"));
        }
        if !self.becomes(|| service.counters().connections == 1) {
            self.problem(format!("{} connections are left", service.counters().connections));
        }
        let counters = service.counters();
        if (counters.subscribers, counters.queued_bytes) != (1, 0) {
            self.problem(format!("left behind: {counters:?}"));
        }
        let grown = memory().saturating_sub(before);
        if grown > SLACK {
            self.problem(format!("memory grew by {grown} bytes"));
        }
    }

    /// Waits until the condition holds; false if it never does.
    pub fn becomes(&self, mut condition: impl FnMut() -> bool) -> bool {
        let start = std::time::Instant::now();
        while !condition() {
            if start.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        true
    }

    pub fn raw(&self) -> Raw {
        Raw::connect(self.address())
    }

    /// What is not to be taken for a request: its answer, and whether the connection goes on.
    /// Another request stands right behind it, which must not be executed.
    pub fn refused(&self, request: impl AsRef<[u8]>) -> String {
        const SMUGGLED: &[u8] = b"GET /channel/send/test/smuggled HTTP/1.1\r\nHost: t\r\n\r\n";
        let mut raw = self.raw();
        raw.try_send([request.as_ref(), SMUGGLED].concat());
        raw.reply_and_end()
    }

    /// The answer to a request, and whether the connection goes on.
    pub fn answered(&self, request: impl AsRef<[u8]>) -> String {
        let mut raw = self.raw();
        raw.try_send(request);
        raw.reply_and_end()
    }

    /// The answer to a GET.
    pub fn get(&self, target: &str) -> String {
        self.answered(format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n"))
    }

    /// Sends `bytes` over and over without reading until the server has enough, and tells how it
    /// ended: with whole frames in front of the Close, and no more queued than may be.
    pub fn flood(&self, raw: &mut Raw, bytes: &[u8]) -> String {
        let mut most = 0;
        let slow = self.becomes(|| {
            raw.try_send(bytes);
            let counters = self.service().counters();
            most = counters.queued_bytes.max(most);
            counters.closed_slow > 0
        });
        let mut frames = 0;
        let end = loop {
            match raw.frame_or_end() {
                None => break "cut".into(),
                Some(frame) if frame.opcode == 8 => break closed(&frame),
                Some(_) => frames += 1,
            }
        };
        // A frame that was begun, and the Close, come on top.
        if !slow || most > 2 * 65_536 || frames == 0 {
            self.problem(format!("{most} bytes were queued; {frames} frames"));
        }
        end
    }

    /// What a WebSocket gets for these bytes.
    pub fn socket(&self, path: &str, bytes: impl AsRef<[u8]>) -> String {
        let mut raw = Raw::websocket(self.address(), path);
        raw.try_send(bytes);
        raw.outcome()
    }
}

impl Raw {
    /// Sends what the server still takes.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Status and message of an answer, or that there is none.
    pub fn reply(&mut self) -> String {
        if self.ends() {
            return "no answer".into();
        }
        let answer = self.answer();
        let message = answer.body.split(r#""message":""#).nth(1).unwrap_or_default();
        let message = message.split(r#"""#).next().unwrap_or_default();
        format!("{} {message}", answer.status).trim().to_owned()
    }

    /// The same, and whether the connection goes on.
    pub fn reply_and_end(&mut self) -> String {
        let reply = self.reply();
        if reply == "no answer" {
            return "closed without an answer".into();
        }
        self.try_send("GET /health HTTP/1.1\r\nHost: t\r\n\r\n");
        match self.reply().as_str() {
            "no answer" => format!("{reply}; closed"),
            "200 Serving" => format!("{reply}; goes on"),
            other => format!("{reply}; then {other}"),
        }
    }

    /// How a WebSocket ends, or that it goes on.
    pub fn outcome(&mut self) -> String {
        // What a handler decides about the bytes may come behind the first pong.
        let mut pings = 3;
        self.try_send(masked(0x89, b"are you there?"));
        let mut messages = Vec::new();
        let end = loop {
            match self.frame_or_end() {
                None => break "cut".into(),
                Some(frame) if frame.opcode == 8 => break closed(&frame),
                Some(Frame { opcode: 10, payload }) if payload == b"are you there?" => {
                    pings -= 1;
                    if pings == 0 {
                        break "goes on".into();
                    }
                    self.try_send(masked(0x89, b"are you there?"));
                }
                Some(frame) if frame.opcode < 8 => messages.push(frame),
                Some(_) => {}
            }
        };
        match messages.len() {
            0 => end,
            n => format!("{n} answers; {end}"),
        }
    }

    pub fn frame_or_end(&mut self) -> Option<Frame> {
        if self.ends() { None } else { Some(self.frame()) }
    }

    /// Whether there is nothing more to read. Waits for either.
    pub fn ends(&mut self) -> bool {
        if self.has_ahead() {
            return false;
        }
        match self.stream.peek(&mut [0]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
            Err(error) => panic!("neither bytes nor the end came: {error}"),
        }
    }

    /// Reads and forgets what comes until the end.
    pub fn drain(&mut self) {
        let mut buffer = [0; 65536];
        while matches!(self.stream.read(&mut buffer), Ok(n) if n > 0) {}
    }
}

/// A Close in words.
pub fn closed(frame: &Frame) -> String {
    let code = frame.close_code().unwrap_or_default();
    let reason = String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default());
    format!("{code} {reason}").trim().to_owned()
}

/// Bytes of heap and stacks that are resident.
fn memory() -> usize {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<usize>().unwrap() << 10
}
