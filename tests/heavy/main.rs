//! The server under load: a thousand subscribers, ten thousand connections, a minute of everything
//! at once. What is checked is order, completeness, bounds and what is left afterwards, never
//! speed.
//!
//! The tests run one after another, because they count what belongs to the whole process. They
//! raise the soft limit of open files themselves; the hard one must be 4,096 or more
//! (`ulimit -Hn`). `QYUN_SOAK_SECONDS` sets how long the soak lasts, 60 by default;
//! `QYUN_KILL_ROUNDS` how often a server is killed, 20 by default, and `QYUN_KILL_BIN` which `qyun`.

#![allow(missing_docs)]

mod churn;
mod daemon;
mod deflate;
mod fanout;
mod hostile;
mod kill;
mod kit;
mod numbers;
mod overload;
mod process;
#[allow(dead_code)]
#[path = "../server/kit.rs"]
mod raw;
mod registry;
mod reload;
mod restart;
mod slow;
mod soak;
mod start_stop;
mod swarm;
