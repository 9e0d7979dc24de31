//! The `qyun` command as a user runs it: the built binary, its output and its exit codes.

mod bench;
mod calls;
mod general;
mod kit;
mod listen;
mod serve;
