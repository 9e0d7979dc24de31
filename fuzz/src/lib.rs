//! What each fuzz target checks. A target is a function of bytes that panics when something that must
//! hold does not; `fuzz_targets/` gives them to libFuzzer.

pub mod cuts;
pub mod durable;
pub mod http;
pub mod messages;
pub mod names;
pub mod operations;
pub mod packets;
pub mod requests;
pub mod settings;
pub mod socket;
pub mod texts;
pub mod websocket;

// The command's reading of its configuration, which is in no library.
#[path = "../../src/bin/qyun/config/mod.rs"]
#[allow(dead_code, unused_imports)]
mod config;
#[path = "../../src/bin/qyun/duration.rs"]
#[allow(dead_code)]
mod duration;
#[path = "../../src/bin/qyun/exit.rs"]
#[allow(dead_code)]
mod exit;
#[path = "../../src/bin/qyun/output.rs"]
#[allow(dead_code)]
mod output;
