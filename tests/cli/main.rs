//! The `qyun` command as a user runs it: the built binary, its output and its exit codes.

mod bench;
mod calls;
mod config;
mod daemon;
mod general;
mod history;
mod kit;
mod listen;
mod log_format;
mod namespaces;
mod restart;
mod serve;
mod store;
mod systemd;
