//! A disk in memory that can lose its power, break, and be full.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::disk::{Disk, DiskFile};
use super::lock;

/// What was done to a file since it was synced.
#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Len(u64),
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    since: Vec<Change>,
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, new) => {
            let end = *at as usize + new.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at as usize..end].copy_from_slice(new);
        }
        Change::Len(len) => bytes.resize(*len as usize, 0),
    }
}

type Names = BTreeMap<String, Arc<Mutex<Content>>>;

#[derive(Default)]
struct State {
    names: Names,
    /// The names after each change since they were synced; the first is what was synced.
    steps: Vec<Names>,
    boot: u32,
    /// Operations until it breaks.
    fuse: Option<u64>,
    /// Bytes that may still be written.
    room: Option<u64>,
    sync_fails: bool,
}

/// A disk for tests. Clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct Simulated(Arc<Mutex<State>>);

impl Simulated {
    pub fn new() -> Self {
        let disk = Self::default();
        lock(&disk.0).steps.push(Names::new());
        disk
    }

    /// Everything fails after so many more operations; a write is cut short then.
    pub fn break_after(&self, operations: u64) {
        lock(&self.0).fuse = Some(operations);
    }

    /// Only so many bytes can be written from now on.
    pub fn limit(&self, bytes: Option<u64>) {
        lock(&self.0).room = bytes;
    }

    /// Syncing fails from now on.
    pub fn fail_syncs(&self, fails: bool) {
        lock(&self.0).sync_fails = fails;
    }

    /// Another disk with what this has at this moment: the process was killed.
    pub fn after_kill(&self) -> Self {
        let state = lock(&self.0);
        let copies: Names = state
            .names
            .iter()
            .map(|(name, content)| {
                let content = lock(content).clone();
                (name.clone(), Arc::new(Mutex::new(content)))
            })
            .collect();
        let steps = vec![copies.clone()];
        Self(Arc::new(Mutex::new(State {
            names: copies,
            steps,
            boot: state.boot,
            ..State::default()
        })))
    }

    /// Another disk with what was synced, and of the rest whatever chance leaves.
    pub fn after_power_cut(&self, chance: &mut fastrand::Rng) -> Self {
        let state = lock(&self.0);
        // Changes of names reach the disk in their order.
        let step = chance.usize(..state.steps.len());
        let names: Names = state.steps[step]
            .iter()
            .map(|(name, content)| {
                let content = lock(content);
                let mut bytes = content.synced.clone();
                for change in &content.since {
                    match (change, chance.u8(..4)) {
                        (_, 0) => {}
                        (Change::Write(at, new), 1) => {
                            // A part of it, from anywhere to anywhere.
                            let from = chance.usize(..=new.len());
                            let to = chance.usize(from..=new.len());
                            let part = Change::Write(at + from as u64, new[from..to].to_vec());
                            apply(&mut bytes, &part);
                        }
                        (change, _) => apply(&mut bytes, change),
                    }
                }
                let content = Content { now: bytes.clone(), synced: bytes, since: Vec::new() };
                (name.clone(), Arc::new(Mutex::new(content)))
            })
            .collect();
        let steps = vec![names.clone()];
        Self(Arc::new(Mutex::new(State { names, steps, boot: state.boot + 1, ..State::default() })))
    }

    /// The bytes of a file.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let content = Arc::clone(&lock(&self.0).names[name]);
        let content = lock(&content);
        content.now.clone()
    }

    /// Changes a file, durably.
    pub fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        let content = Content { now: bytes.clone(), synced: bytes, since: Vec::new() };
        lock(&self.0).names.insert(name.into(), Arc::new(Mutex::new(content)));
    }

    /// The names of files that end like this.
    pub fn files(&self, end: &str) -> Vec<String> {
        lock(&self.0).names.keys().filter(|name| name.ends_with(end)).cloned().collect()
    }

    /// Counts an operation; an error when the disk is broken. True: it breaks at this one.
    fn spend(&self) -> io::Result<bool> {
        let mut state = lock(&self.0);
        match &mut state.fuse {
            Some(0) => Err(io::Error::other("the disk is broken")),
            Some(left) => {
                *left -= 1;
                Ok(*left == 0)
            }
            None => Ok(false),
        }
    }

    fn changing_names(&self, change: impl FnOnce(&mut Names) -> io::Result<()>) -> io::Result<()> {
        self.spend()?;
        let mut state = lock(&self.0);
        change(&mut state.names)?;
        let names = state.names.clone();
        state.steps.push(names);
        Ok(())
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for Simulated {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let content = lock(&self.0).names.get(name).cloned().ok_or_else(missing)?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), content }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let content = Arc::new(Mutex::new(Content::default()));
        self.changing_names(|names| {
            names.insert(name.into(), Arc::clone(&content));
            Ok(())
        })?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), content }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.0).names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.changing_names(|names| {
            let content = names.remove(from).ok_or_else(missing)?;
            names.insert(to.into(), content);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.changing_names(|names| names.remove(name).map(drop).ok_or_else(missing))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.spend()?;
        let mut state = lock(&self.0);
        if state.sync_fails {
            return Err(io::Error::other("the disk does not sync"));
        }
        let names = state.names.clone();
        state.steps = vec![names];
        Ok(())
    }

    fn boot_id(&self) -> String {
        format!("boot {}", lock(&self.0).boot)
    }
}

struct SimulatedFile {
    disk: Simulated,
    content: Arc<Mutex<Content>>,
}

impl SimulatedFile {
    fn change(&self, change: Change) {
        let mut content = lock(&self.content);
        apply(&mut content.now, &change);
        content.since.push(change);
    }
}

impl DiskFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.content).now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let content = lock(&self.content);
        let rest = content.now.get(at as usize..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let breaks = self.disk.spend()?;
        let mut len = bytes.len();
        if breaks {
            len = fastrand::usize(..=len);
        }
        if let Some(room) = &mut lock(&self.disk.0).room {
            len = len.min(*room as usize);
            *room -= len as u64;
        }
        self.change(Change::Write(at, bytes[..len].to_vec()));
        match len == bytes.len() && !breaks {
            true => Ok(()),
            false => Err(io::Error::from(io::ErrorKind::StorageFull)),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.spend()?;
        self.change(Change::Len(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.spend()?;
        if lock(&self.disk.0).sync_fails {
            return Err(io::Error::other("the disk does not sync"));
        }
        let mut content = lock(&self.content);
        content.synced = content.now.clone();
        content.since.clear();
        Ok(())
    }
}
