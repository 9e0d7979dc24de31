//! Panics are logged, not printed: the library writes nothing to stderr.

use std::panic::{self, PanicHookInfo};
use std::sync::Once;

use super::guard;
use crate::thread;

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
    guard::entered() || thread::is_ours()
}

fn report(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    log::error!("thread '{}': {info}", thread.name().unwrap_or("?"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_the_library_is_known_whatever_its_name() {
        assert!(!is_ours());
        assert!(
            !std::thread::Builder::new()
                .name("qy-not".into())
                .spawn(is_ours)
                .unwrap()
                .join()
                .unwrap()
        );
        assert!(thread::spawn("any name", is_ours).unwrap().join().unwrap());
    }
}
