//! The pid file: the number of the process that runs, and a lock that lasts as long as it does.
//!
//! The lock, and not the file, says whether the process runs: the kernel lets go of it however the
//! process ends, so a file that was left behind harms nobody. It is a record lock, because of such
//! the kernel tells who holds it, and one can ask without taking it. Its one trap is that closing
//! any descriptor of the file lets go of it: this process opens the file once.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{Flock, FlockOffsetType, FlockType, Pid, fcntl_getlk, geteuid};

use crate::exit::Failure;

/// How long a process that has handed everything over may take to end.
const SUCCESSION: Duration = Duration::from_secs(10);

/// What a pid file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is none.
    Absent,
    /// Nobody holds it; the number that stands in it.
    Stale(u32),
    /// The process that holds it.
    Running(u32),
}

/// A pid file that this process holds. Dropping it removes the file.
#[derive(Debug)]
pub struct PidFile {
    /// Open for as long as the lock shall last.
    _file: File,
    path: PathBuf,
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("pid file '{}': {error}", path.display()))
}

impl PidFile {
    /// Makes the file this process's own. Another process that runs holds it: a failure.
    pub fn take(path: &Path) -> Result<Self, Failure> {
        Self::take_within(path, Duration::ZERO)
    }

    /// The same, once the process that holds it has ended, which it is about to.
    pub fn inherit(path: &Path) -> Result<Self, Failure> {
        Self::take_within(path, SUCCESSION)
    }

    fn take_within(path: &Path, patience: Duration) -> Result<Self, Failure> {
        let end = Instant::now() + patience;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(path)
                .map_err(|error| failure(path, &error))?;
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => {
                    let Some(pid) = holder(&file) else { continue };
                    if Instant::now() < end {
                        std::thread::sleep(Duration::from_millis(1));
                        continue;
                    }
                    let path = path.display();
                    let text = format!("already running as process {pid} (pid file '{path}')");
                    return Err(Failure::failed(text));
                }
                Err(error) => return Err(failure(path, &error.into())),
            }
            // The process that had it before may have removed it in between: then this is a file
            // that nobody else will find.
            let same = |found: &std::fs::Metadata, mine: &std::fs::Metadata| {
                (found.dev(), found.ino()) == (mine.dev(), mine.ino())
            };
            match (std::fs::metadata(path), file.metadata()) {
                (Ok(found), Ok(mine)) if same(&found, &mine) => {}
                _ => continue,
            }
            write(&file).map_err(|error| failure(path, &error))?;
            return Ok(Self { _file: file, path: path.into() });
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn write(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

/// Who holds the lock.
fn holder(file: &File) -> Option<Pid> {
    let question = Flock {
        start: 0,
        length: 0,
        pid: None,
        typ: FlockType::ReadLock,
        offset_type: FlockOffsetType::Set,
    };
    fcntl_getlk(file, &question).ok().flatten()?.pid
}

/// Whether the process of the pid file runs.
pub fn look(path: &Path) -> Result<State, Failure> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Absent),
        Err(error) => return Err(failure(path, &error)),
    };
    if let Some(pid) = holder(&file) {
        return Ok(State::Running(pid.as_raw_nonzero().get().unsigned_abs()));
    }
    let mut text = String::new();
    let _ = (&mut file).take(32).read_to_string(&mut text);
    Ok(State::Stale(text.trim().parse().unwrap_or(0)))
}

/// Where a daemon's pid file is when nothing says where: in a folder of the user's own.
pub fn default_path() -> Result<PathBuf, Failure> {
    let root = geteuid().is_root();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let folder = match runtime.filter(|folder| folder.is_absolute() && folder.is_dir()) {
        Some(folder) => folder.join("qyun"),
        None if root && Path::new("/run").is_dir() => PathBuf::from("/run/qyun"),
        None => std::env::temp_dir().join(format!("qyun-{}", geteuid().as_raw())),
    };
    Ok(folder.join("qyun.pid"))
}

/// Makes the folder of [`default_path`], which nobody else may write to.
pub fn make_default_folder(path: &Path) -> Result<(), Failure> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let refuse = |why: String| {
        let folder = folder.display();
        Failure::failed(format!("folder '{folder}' of the pid file: {why}; name one by --pid-file"))
    };
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(refuse(error.to_string()));
        }
        _ => {}
    }
    let found = std::fs::symlink_metadata(folder).map_err(|error| refuse(error.to_string()))?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(refuse("it is not this user's alone".into()));
    }
    Ok(())
}
