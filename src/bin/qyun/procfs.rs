//! What Linux tells of a process: CPU time and private memory.

use std::fs;

use crate::exit::Failure;

/// CPU seconds of a process since its start, user and system, all threads.
pub fn cpu_seconds(pid: u32) -> Result<f64, Failure> {
    let path = format!("/proc/{pid}/stat");
    let stat = read(&path)?;
    // The name in parentheses may hold anything; the numbers follow the last parenthesis. User and
    // system ticks are fields 14 and 15, and field 3 is the first one behind it.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>();
    let ticks = ticks.map_err(|error| Failure::failed(format!("{path}: {error}")))?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// CPU seconds of a process's threads of now, to the nanosecond, for differences over a short time
/// in which no thread ends. In ticks of [`cpu_seconds`] where the kernel does not tell.
pub fn thread_seconds(pid: u32) -> Result<f64, Failure> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return cpu_seconds(pid) };
    let mut total = 0_u64;
    for thread in threads.flatten() {
        let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        total += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or_default();
    }
    match total {
        0 => cpu_seconds(pid),
        ns => Ok(ns as f64 / 1e9),
    }
}

/// Memory of a process in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Resident, shared pages of files included.
    pub rss: u64,
    /// Anonymous: heap and stacks.
    pub anonymous: u64,
    /// Written by this process alone.
    pub private_dirty: u64,
}

impl Memory {
    pub fn of(pid: u32) -> Result<Self, Failure> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let rollup = read(&path)?;
        Self::parse(&rollup).ok_or_else(|| Failure::failed(format!("{path}: a line is missing")))
    }

    fn parse(rollup: &str) -> Option<Self> {
        let line = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            let kib = line.trim().strip_suffix("kB")?.trim_end();
            kib.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        Some(Self {
            rss: line("Rss:")?,
            anonymous: line("Anonymous:")?,
            private_dirty: line("Private_Dirty:")?,
        })
    }
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::failed(format!("{path}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_uses_time() {
        let pid = std::process::id();
        let memory = Memory::of(pid).unwrap();
        assert!(memory.rss >= memory.private_dirty && memory.private_dirty > 0);
        let before = cpu_seconds(pid).unwrap();
        while cpu_seconds(pid).unwrap() - before < 0.02 {}
        let before = thread_seconds(pid).unwrap();
        while thread_seconds(pid).unwrap() - before < 0.001 {}
    }

    #[test]
    fn lines_are_found_by_their_names() {
        let rollup = "Rss:   8 kB\nPss_Dirty: 1 kB\nPrivate_Dirty:    4 kB\nAnonymous:  2 kB\n";
        let memory = Memory { rss: 8192, anonymous: 2048, private_dirty: 4096 };
        assert_eq!(Memory::parse(rollup), Some(memory));
        assert_eq!(Memory::parse("Rss: 8 kB\n"), None);
    }
}
