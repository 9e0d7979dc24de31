//! Panics are logged, not printed: the library writes nothing to stderr.

use std::panic::{self, PanicHookInfo};
use std::sync::Once;
use std::thread;

use super::guard;

/// What the names of the library's own threads begin with, unless an option names them.
const THREADS: &str = "qy-";

/// Puts a hook in front of the present one. It keeps to the panics of exports and of the library's
/// threads, because other Rust code of the process may share the standard library's copy.
pub(super) fn install_hook() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let next = panic::take_hook();
        panic::set_hook(Box::new(move |info| match is_ours() {
            true => report(info),
            false => next(info),
        }));
    });
}

fn is_ours() -> bool {
    guard::entered() || thread::current().name().is_some_and(|name| name.starts_with(THREADS))
}

fn report(info: &PanicHookInfo<'_>) {
    let thread = thread::current();
    log::error!("thread '{}': {info}", thread.name().unwrap_or("?"));
}
