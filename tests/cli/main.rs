//! The `qyun` command as a user runs it: the built binary, its output and its exit codes.
