//! From one process to the next without an end: how they find each other, and what is theirs beside
//! the server itself: the control socket, the pid file, and systemd's idea of who the service is.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use qyun::server::HandedOver;
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::serving::Serving;
use crate::systemd::State;

/// The flag of a process that the server itself has started: the way to it is stdin.
pub const FROM_STDIN: &str = "take-over-from-stdin";

/// How a process comes by what another one serves.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct Succession {
    /// Take over from the server that runs with this pid file: its address and all its connections,
    /// none of which is closed. Without one, this is an ordinary start
    #[arg(long)]
    take_over: bool,
    #[arg(long = FROM_STDIN, hide = true)]
    from_stdin: bool,
}

impl Succession {
    /// The way to the process to take over from, if there is one.
    pub fn predecessor(&self, pid_file: Option<&PathBuf>) -> Result<Option<UnixStream>, Failure> {
        if self.from_stdin {
            let stream = io::stdin().as_fd().try_clone_to_owned()?;
            let nowhere = std::fs::File::open("/dev/null")?;
            rustix::stdio::dup2_stdin(&nowhere).map_err(io::Error::from)?;
            return Ok(Some(stream.into()));
        }
        if !self.take_over {
            return Ok(None);
        }
        let Some(path) = pid_file else {
            let text = "--take-over finds the other process by its pid file: name it by --pid-file";
            return Err(Failure::usage(text));
        };
        match crate::daemon::pid_file::look(path)? {
            crate::daemon::pid_file::State::Running(_) => {
                crate::daemon::control::open_hand_over(path).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// A process that is to be the next.
#[derive(Debug)]
struct Successor {
    process: Child,
    stream: UnixStream,
}

impl Successor {
    /// Starts the program again as it was started, from where it was started: the same arguments, and
    /// the same file, which may be another program by now.
    fn spawn(serving: &Serving) -> io::Result<Self> {
        let (stream, theirs) = UnixStream::pair()?;
        let ours = [format!("--{FROM_STDIN}"), "--take-over".into()];
        let mut args: Vec<_> = std::env::args_os().skip(1).collect();
        args.retain(|arg| ours.iter().all(|own| arg != own.as_str()));
        let process = Command::new(program()?)
            .args(args)
            .arg(&ours[0])
            .current_dir(serving.folder())
            // It is for this process: the next one is the service itself.
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        Ok(Self { process, stream })
    }
}

/// The program's file. One that was replaced is known as deleted; what took its place has its name.
fn program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let name = path.to_string_lossy();
    Ok(name.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

/// Hands everything over to the process behind `stream`. When it succeeds, all that is left to do is
/// [`leave`].
pub fn hand_over(serving: &Serving, stream: UnixStream) -> Result<HandedOver, Failure> {
    let _alone = serving.transition()?;
    let handed_over = serving.server().hand_over(stream).map_err(Failure::from);
    match &handed_over {
        Ok(handed) => {
            serving.begin_leaving();
            log::info!(
                target: "qyun",
                "process {} serves now; {} connections waited for {:?}",
                handed.to, handed.connections, handed.pause
            );
            serving.notify(&State::Successor(handed.to));
        }
        Err(failure) => log::error!(target: "qyun", "not handed over: {}", failure.text),
    }
    handed_over
}

/// Starts a successor and hands everything over to it; tells what came of it.
pub fn restart(serving: &Serving) -> (Value, bool) {
    let failed = |text: String| (json!({ "ok": false, "message": text, "exit_code": 1 }), false);
    let Successor { mut process, stream } = match Successor::spawn(serving) {
        Ok(successor) => successor,
        Err(error) => return failed(format!("cannot start a process: {error}")),
    };
    match hand_over(serving, stream) {
        Ok(HandedOver { to, connections, pause }) => {
            let pause = pause.as_secs_f64() * 1000.0;
            let told = json!({
                "ok": true, "pid": to, "from": std::process::id(), "connections": connections,
                "pause_ms": pause,
            });
            (told, true)
        }
        Err(failure) => {
            // It ends by itself: it has nothing to serve.
            let _ = process.wait();
            failed(failure.text)
        }
    }
}

/// Ends this process, which has nothing any more: what stands in the file system for it is its
/// successor's.
pub fn leave() -> ! {
    log::logger().flush();
    std::process::exit(0)
}
