//! The operations on files that the store needs, apart from the store, so that a test can cut the
//! power between any two of them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::{Error, ErrorKind, Result};

/// One folder of files. Names are plain file names.
pub(super) trait Disk: Send + Sync + 'static {
    /// Opens a file that exists, to read and write.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes an empty file, also in place of one that exists. Its name lasts from the next
    /// [`Disk::sync_names`] on.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Gives a file another name, in place of the file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; who has it open can still read it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renamings and removals survive a power cut.
    fn sync_names(&self) -> io::Result<()>;
    /// What changes when the machine is started again: what was written before and not synced may
    /// be lost then, and only then.
    fn boot_id(&self) -> String;
}

/// An open file. All of it can be used from several threads at once.
pub(super) trait DiskFile: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Reads at a position; fewer bytes than asked for at the end only.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of `bytes`. After an error any part of it may have been written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Cuts or extends it.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes what was written survive a power cut. After an error nobody knows what did.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the file system, held by this process alone.
pub(super) struct Folder {
    path: PathBuf,
    /// Locked until it is closed here and wherever it was given.
    lock: File,
}

const LOCK: &str = "lock";

/// How long the process that had the folder before, and ends, may take to let go of it.
const PATIENCE: Duration = Duration::from_secs(1);

impl Folder {
    /// The folder of another process, which has given its lock to this one: both have it then.
    /// Errors: `InvalidArgument` when that is the lock of another folder; `Exists`, `Io`.
    pub fn inherit(path: &Path, lock: OwnedFd) -> Result<Self> {
        let about = |error: io::Error| Error::from(error).context(path.display());
        let lock = File::from(lock);
        let (ours, theirs) =
            (fs::metadata(path.join(LOCK)).map_err(about)?, lock.metadata().map_err(about)?);
        if (ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino()) {
            let text = format!("{}: the other process has another store open", path.display());
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        Self::locked(path, lock, Duration::ZERO)
    }

    /// Its lock, to give to another process.
    pub fn claim(&self) -> io::Result<OwnedFd> {
        self.lock.as_fd().try_clone_to_owned()
    }

    /// Opens the folder, making it if it is not there, and locks it. Errors: `Exists` when another
    /// process has it, `Io`.
    pub fn open(path: &Path) -> Result<Self> {
        let about = |error: io::Error| Error::from(error).context(path.display());
        fs::create_dir_all(path).map_err(about)?;
        Self::open_existing(path)
    }

    /// The same for a folder that must be there.
    pub fn open_existing(path: &Path) -> Result<Self> {
        let about = |error: io::Error| Error::from(error).context(path.display());
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(about)?;
        Self::locked(path, lock, PATIENCE)
    }

    fn locked(path: &Path, lock: File, patience: Duration) -> Result<Self> {
        let begun = Instant::now();
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { path: path.into(), lock }),
                Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < patience => {
                    std::thread::sleep(PATIENCE / 100);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let text = format!("{}: another process has this store open", path.display());
                    return Err(Error::new(ErrorKind::Exists, text));
                }
                Err(error) => {
                    return Err(Error::from(io::Error::from(error)).context(path.display()));
                }
            }
        }
    }
}

impl Disk for Folder {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true);
        Ok(Arc::new(file.open(self.path.join(name))?))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is none of the store's.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn boot_id(&self) -> String {
        let read = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        // Without one, every opening counts as one after a new start of the machine.
        read.map_or_else(|_| uuid::Uuid::new_v4().to_string(), |text| text.trim().to_owned())
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..)
            && !rest.is_empty()
        {
            match FileExt::read_at(self, rest, at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Reads `len` bytes at `at`; an error of kind `UnexpectedEof` when the file is shorter.
pub(super) fn read_exact(file: &dyn DiskFile, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; len];
    match file.read_at(&mut buffer, at)? == len {
        true => Ok(buffer),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// How the names of files end that are not whole yet. Opening removes them.
pub(super) const DRAFT: &str = ".draft";

/// A file that is whole and synced, under a name that does not count yet.
pub(super) struct Draft<'a> {
    disk: &'a dyn Disk,
    name: &'a str,
    file: Arc<dyn DiskFile>,
}

impl<'a> Draft<'a> {
    pub fn write(disk: &'a dyn Disk, name: &'a str, bytes: &[u8]) -> io::Result<Self> {
        let file = disk.create(&format!("{name}{DRAFT}"))?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        Ok(Self { disk, name, file })
    }

    /// Gives it its name, in place of the file that has it. After an error nobody knows which of
    /// the two a power cut would leave.
    pub fn publish(self) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.rename(&format!("{}{DRAFT}", self.name), self.name)?;
        self.disk.sync_names()?;
        Ok(self.file)
    }
}
