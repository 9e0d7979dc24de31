//! What belongs to the whole process: its threads, descriptors, memory and limits.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).unwrap();
    assert!(
        limit.maximum.is_none_or(|most| most >= 4096),
        "4096 open files are needed; the hard limit (ulimit -Hn) is {:?}",
        limit.maximum
    );
}

/// Open descriptors.
pub fn descriptors() -> usize {
    // One of them is the directory that is being read.
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// Threads whose name begins with `prefix`.
pub fn threads(prefix: &str) -> usize {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        // A thread may end between the listing and the look at it.
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.starts_with(prefix))
        .count()
}

/// Bytes of heap and stacks that are resident.
pub fn memory() -> usize {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<usize>().unwrap() << 10
}
