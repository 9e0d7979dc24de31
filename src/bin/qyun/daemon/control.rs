//! The control socket beside the pid file: one line asks, one line of JSON answers. Who may open
//! the socket may ask: it is the user's alone.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::umask;
use serde_json::Value;

use crate::exit::{Exit, Failure};

/// The longest question.
const MAX_QUESTION: usize = 256;
/// The longest answer.
const MAX_ANSWER: u64 = 1 << 20;
/// How long the process waits for whoever asks, one after the other.
const PATIENCE: Duration = Duration::from_secs(1);

/// The socket that belongs to a pid file.
pub fn path(pid_file: &Path) -> PathBuf {
    pid_file.with_extension("sock")
}

/// What is asked by a process that wants to take over; from then on the socket is the way to it.
pub const HAND_OVER: &str = "hand over";

/// The end of this process, once the answer is written.
type Then = Box<dyn FnOnce()>;

/// What comes of a question.
pub enum Reply {
    Told(Value),
    ToldThen(Value, Then),
    /// The socket was used for something else.
    Then(Option<Then>),
}

/// The process's end. Dropping it removes the socket.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
}

impl Control {
    /// Answers from now on, on a thread of its own. The pid file must be held: whatever is at
    /// `path` is then left from a process that has gone.
    pub fn open(
        path: PathBuf,
        answer: impl Fn(&str, &UnixStream) -> Reply + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let failure = |error: io::Error| {
            Failure::failed(format!("control socket '{}': {error}", path.display()))
        };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failure(error)),
            _ => {}
        }
        // The mask is the process's: this is called before there is another thread that makes files.
        let before = umask(Mode::from_raw_mode(0o077));
        let bound = UnixListener::bind(&path);
        umask(before);
        let listener = bound.map_err(failure)?;
        let answer = Arc::new(answer);
        let thread = std::thread::Builder::new().name("qy-control".into());
        thread
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    // Whoever asks and does not listen has no answer.
                    let _ = reply(&stream, &*answer);
                }
            })
            .map_err(failure)?;
        Ok(Self { path })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn reply(mut stream: &UnixStream, answer: &dyn Fn(&str, &UnixStream) -> Reply) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let question = read_question(stream)?;
    let (told, then) = match answer(question.trim(), stream) {
        Reply::Told(value) => (Some(value), None),
        Reply::ToldThen(value, then) => (Some(value), Some(then)),
        Reply::Then(then) => (None, then),
    };
    // Who does not listen changes nothing about what comes next.
    let written = told.map_or(Ok(()), |told| stream.write_all(format!("{told}\n").as_bytes()));
    if let Some(then) = then {
        then();
    }
    written
}

/// A line, and nothing of what comes behind it: that may be somebody else's to read.
fn read_question(mut stream: &UnixStream) -> io::Result<String> {
    let mut question = Vec::new();
    let mut byte = [0];
    while question.len() < MAX_QUESTION && stream.read(&mut byte)? == 1 && byte != *b"\n" {
        question.extend_from_slice(&byte);
    }
    Ok(String::from_utf8_lossy(&question).into_owned())
}

/// Opens a way to the process whose pid file it is, over which it hands over what it serves.
pub fn open_hand_over(pid_file: &Path) -> Result<UnixStream, Failure> {
    let path = path(pid_file);
    let open = || {
        let mut stream = UnixStream::connect(&path)?;
        stream.write_all(format!("{HAND_OVER}\n").as_bytes())?;
        Ok(stream)
    };
    open().map_err(|error: io::Error| {
        Failure::new(Exit::Connect, format!("control socket '{}': {error}", path.display()))
    })
}

/// Asks the process whose pid file it is.
pub fn ask(pid_file: &Path, question: &str, patience: Duration) -> Result<Value, Failure> {
    let path = path(pid_file);
    let failure = |error: io::Error| {
        let exit = match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Exit::Timeout,
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Exit::Connect,
            _ => Exit::Failed,
        };
        let why = match exit {
            Exit::Timeout => format!("no answer in {patience:?}"),
            _ => error.to_string(),
        };
        Failure::new(exit, format!("control socket '{}': {why}", path.display()))
    };
    let exchange = || {
        let mut stream = UnixStream::connect(&path)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.write_all(format!("{question}\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(failure)?;
    serde_json::from_slice(&answer).map_err(|error| {
        let text = format!("control socket '{}': no answer: {error}", path.display());
        Failure::failed(text)
    })
}
