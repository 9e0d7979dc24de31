//! What the process that holds the server uses: read from the system when somebody asks.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Beyond this many connections, a system that does not tell how many descriptors are open (Linux
/// before 6.2) is not made to list them: that would hold up the shard that asks.
const MAX_COUNTED: u64 = 10_000;

/// What the process uses. A value that the system does not tell is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Process {
    /// Processor time since the process started, in ms, of all threads, user and system.
    pub cpu_ms: u64,
    /// Memory in use.
    pub resident_bytes: Option<u64>,
    /// Address space in use.
    pub virtual_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open descriptors.
    pub open_fds: Option<u64>,
}

impl Process {
    /// The process now, when its server has this many connections. A few system calls; no lock.
    pub(super) fn now(connections: u64) -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = Duration::new(
            u64::try_from(cpu.tv_sec).unwrap_or_default(),
            u32::try_from(cpu.tv_nsec).unwrap_or_default(),
        );
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = |key| status_value(&status, key).map(|value| value * 1024);
        Self {
            cpu_ms: u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX),
            resident_bytes: kib("VmRSS"),
            virtual_bytes: kib("VmSize"),
            threads: status_value(&status, "Threads"),
            open_fds: open_fds(connections),
        }
    }
}

/// The number behind `key:` in `/proc/self/status`.
fn status_value(status: &str, key: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn open_fds(connections: u64) -> Option<u64> {
    // Since Linux 6.2 the folder's size is the answer; before, it is 0.
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 if connections > MAX_COUNTED => None,
        // Listing the folder opens a descriptor of its own.
        0 => Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_this_process_uses() {
        let process = Process::now(0);
        assert!(process.resident_bytes > Some(1 << 20), "{process:?}");
        assert!(process.virtual_bytes >= process.resident_bytes);
        assert!(process.threads >= Some(1));
        let fds = process.open_fds.unwrap();
        let listed = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        // Other tests of this process open and close theirs meanwhile.
        assert!(fds >= 3 && fds.abs_diff(listed) < 200, "{fds}, {listed}");
    }

    #[test]
    fn a_line_of_the_status_is_found_by_its_whole_key() {
        let status = "Name:\tqyun\nVmRSSx:\t9 kB\nVmRSS:\t   1234 kB\nThreads:\t7\n";
        assert_eq!(status_value(status, "VmRSS"), Some(1234));
        assert_eq!(status_value(status, "Threads"), Some(7));
        assert_eq!(status_value(status, "VmSize"), None);
    }
}
