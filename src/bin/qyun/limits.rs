//! The limit of open files: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one unless it allows `needed` already. What
/// cannot be had is told in the log.
pub fn raise_open_files(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("the limit of open files cannot be raised: {error}");
    } else if needed != u64::MAX && limit.maximum.is_some_and(|maximum| maximum < needed) {
        log::warn!("{needed} open files are needed, and the hard limit is lower (ulimit -Hn)");
    }
}
