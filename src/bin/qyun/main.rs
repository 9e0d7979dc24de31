//! The `qyun` command.
fn main() {}
