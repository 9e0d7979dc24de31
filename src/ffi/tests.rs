//! Tests of the layer as a whole: every export goes through the guard, and the guard holds.

use std::ffi::{CStr, c_char, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, ptr, thread};

use super::guard::{guard, guard_anywhere, guard_value};
use super::*;

/// Statements that may stand before the guard: they set outputs, or take ownership of `user_data`
/// so that its drop function runs whatever the guard decides. None can panic.
const PROLOGUE: &[&str] = &[
    "let user_data = UserData::new(user_data, drop);",
    "unsafe { clear(out) };",
    "unsafe { clear(needed) };",
    "unsafe { preset(out, -1) };",
    "unsafe { structs::clear(out) };",
    "unsafe { structs::clear_all(results, count) };",
    "unsafe { error::clear_out(buf, cap, needed) };",
];

/// The source of every exported function, with its file: documentation, signature, body.
fn exports() -> Vec<(String, String)> {
    let mut exports = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ffi");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tests.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let attribute = concat!("#[unsafe(no_", "mangle)]\n");
        assert_eq!(
            source.matches(concat!("no_", "mangle")).count(),
            source.matches(attribute).count(),
            "{path:?} exports in a way that this test does not see"
        );
        for (at, _) in source.match_indices(attribute) {
            let docs = source[..at].rfind("\n\n").unwrap_or(0);
            let end = at + source[at..].find("\n}\n").unwrap();
            exports.push((path.display().to_string(), source[docs..end].to_owned()));
        }
    }
    exports
}

fn name(export: &str) -> &str {
    let at = export.find("extern \"C\" fn ").unwrap() + 14;
    &export[at..at + export[at..].find('(').unwrap()]
}

#[test]
fn every_export_is_one_call_of_the_guard() {
    let exports = exports();
    assert!(exports.len() > 40, "only {} exports found", exports.len());
    for (path, export) in &exports {
        let name = name(export);
        let body = &export[export.find(" {\n").unwrap() + 3..];
        // rustfmt indents the statements of a function by four: the guard's first and last line.
        let statements: Vec<_> = body
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
            .filter(|line| !line.starts_with([' ', '/']) && !PROLOGUE.contains(line))
            .collect();
        let guarded = statements.first().is_some_and(|first| {
            first.starts_with(&format!("guard(\"{name}\", ||"))
                || first.starts_with(&format!("guard_anywhere(\"{name}\", ||"))
                || first.starts_with("guard_value(")
        });
        let closed = matches!(statements.get(1), None | Some(&"})" | &"});"));
        assert!(guarded && closed && statements.len() <= 2, "{path}: {name}: {statements:#?}");
    }
}

#[test]
fn every_export_documents_threads_blocking_and_callbacks() {
    for (path, export) in exports() {
        let docs: Vec<_> = export.lines().filter_map(|line| line.strip_prefix("/// ")).collect();
        let docs = docs.join(" ");
        let fails = export.contains("-> qy_status {") && !export.contains("qy_status_");
        for word in ["Threads: ", "Blocks: ", "In callbacks: "] {
            assert!(docs.contains(word), "{path}: {} does not say '{word}'", name(&export));
        }
        assert!(!fails || docs.contains("Errors: "), "{path}: {}: no errors", name(&export));
    }
}

/// The text that `qy_last_error` gives this thread.
fn last_error() -> String {
    let mut buffer = [0_u8; 512];
    // SAFETY: the buffer has as many bytes.
    let status =
        unsafe { qy_last_error(buffer.as_mut_ptr().cast(), buffer.len(), ptr::null_mut()) };
    assert_eq!(status, QY_OK);
    CStr::from_bytes_until_nul(&buffer).unwrap().to_str().unwrap().to_owned()
}

fn new_options() -> *mut qy_options {
    let mut options = ptr::null_mut();
    // SAFETY: a valid output.
    assert_eq!(unsafe { qy_options_new(QY_OPTIONS_SERVER, &mut options) }, QY_OK);
    options
}

fn set(options: *mut qy_options, key: &CStr, value: &CStr) -> qy_status {
    // SAFETY: a live object and C strings.
    unsafe { qy_options_set(options, key.as_ptr(), value.as_ptr()) }
}

#[test]
fn a_panic_becomes_a_status_and_leaves_other_objects_alive() {
    let options = new_options();
    assert_eq!(guard("qy_test", || panic!("planted {}", 1)), QY_ERR_PANIC);
    assert_eq!(last_error(), "qy_test panicked: planted 1; this is a defect of the library");
    assert_eq!(guard_anywhere("qy_test", || panic!("planted")), QY_ERR_PANIC);
    assert_eq!(guard("qy_test", || std::panic::panic_any(7_u8)), QY_ERR_PANIC);
    assert!(last_error().contains("a value that is no text"));
    assert_eq!(guard_value(5, || panic!("planted")), 5);
    assert!(!guard::entered());

    assert_eq!(set(options, c"shards", c"2"), QY_OK);
    // SAFETY: a live object that nothing else uses.
    unsafe { qy_options_free(options) };
}

#[test]
fn a_panic_under_the_lock_of_an_object_leaves_it_usable() {
    let options = new_options();
    let status = guard("qy_test", || {
        // SAFETY: a live object.
        unsafe { guard::on_object(options, "options", |options| options.poison()) }
    });
    assert_eq!(status, QY_ERR_PANIC);
    assert_eq!(set(options, c"shards", c"2"), QY_OK);
    // SAFETY: a live object that nothing else uses.
    unsafe { qy_options_free(options) };
}

#[test]
fn a_failure_names_function_and_parameter() {
    // SAFETY: NULL is what the test is about.
    let status = unsafe { qy_options_set(ptr::null_mut(), c"shards".as_ptr(), ptr::null()) };
    assert_eq!(status, QY_ERR_INVALID_ARGUMENT);
    assert_eq!(last_error(), "qy_options_set: 'options' is NULL");
    let options = new_options();
    assert_eq!(set(options, c"shards", c"\xff"), QY_ERR_INVALID_UTF8);
    assert_eq!(last_error(), "qy_options_set: 'value' is not UTF-8 at byte 0");
    assert_eq!(set(options, c"shards", c"65"), QY_ERR_INVALID_OPTION);
    assert_eq!(last_error(), "option 'shards' cannot be '65': it takes a number from 0 to 64");
    assert_eq!(set(options, c"shards", c"1"), QY_OK);
    assert!(last_error().contains("'shards'"), "a success must leave the text as it is");
    // SAFETY: a live object that nothing else uses.
    unsafe { qy_options_free(options) };
}

unsafe extern "C" fn count(user_data: *mut c_void) {
    // SAFETY: the tests pass a counter that outlives the registration.
    unsafe { &*user_data.cast::<AtomicU32>() }.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn on_log(
    _: i32,
    _: *const c_char,
    _: usize,
    message: *const c_char,
    len: usize,
    user_data: *mut c_void,
) {
    // SAFETY: the library passes `len` bytes.
    let message = unsafe { std::slice::from_raw_parts(message.cast::<u8>(), len) };
    if message != b"planted record" {
        return;
    }
    // SAFETY: a counter, as above.
    unsafe { &*user_data.cast::<AtomicU32>() }.fetch_add(100, Ordering::SeqCst);
    let mut options = ptr::null_mut();
    // SAFETY: a valid output.
    let status = unsafe { qy_options_new(QY_OPTIONS_SERVER, &mut options) };
    assert_eq!(status, QY_ERR_WOULD_DEADLOCK);
    ::log::error!("planted record"); // of its own: not reported
}

#[test]
fn a_log_callback_is_narrow_replaceable_and_dropped_once() {
    let calls = AtomicU32::new(0);
    let user_data: *mut c_void = ptr::from_ref(&calls).cast_mut().cast();
    // SAFETY: the counter outlives the registration, which ends below.
    let set =
        |level, callback| unsafe { qy_set_log_callback(level, callback, user_data, Some(count)) };
    assert_eq!(set(QY_LOG_INFO, Some(on_log)), QY_OK);
    ::log::info!("planted record");
    ::log::debug!("planted record");
    assert_eq!(calls.load(Ordering::SeqCst), 100);
    assert_eq!(set(QY_LOG_INFO, Some(on_log)), QY_OK);
    // Another test's thread may be writing a record just now: the last call drops.
    let comes_to = |expected| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while calls.load(Ordering::SeqCst) != expected && Instant::now() < deadline {
            thread::yield_now();
        }
        assert_eq!(calls.load(Ordering::SeqCst), expected);
    };
    // The replaced one is dropped.
    comes_to(101);
    assert_eq!(set(9, Some(on_log)), QY_ERR_INVALID_ARGUMENT);
    assert_eq!(calls.load(Ordering::SeqCst), 102, "a failed registration is dropped");
    assert_eq!(set(0, None), QY_OK);
    // The removed one, and the user data that came with the removal.
    comes_to(104);
    ::log::error!("planted record");
    assert_eq!(calls.load(Ordering::SeqCst), 104);
}

#[test]
fn the_numbers_of_the_statuses_are_those_of_the_golden_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/native/golden/status.txt");
    let golden = fs::read_to_string(path).unwrap();
    let now: Vec<_> = status::STATUSES
        .iter()
        .map(|(number, name, _)| format!("{} {number}", name.to_str().unwrap()))
        .collect();
    assert_eq!(golden.lines().collect::<Vec<_>>(), now);
}

#[test]
fn a_status_has_a_name_and_a_text_and_an_unknown_one_too() {
    let text = |pointer: *const c_char| {
        // SAFETY: static C strings.
        unsafe { CStr::from_ptr(pointer) }.to_str().unwrap()
    };
    assert_eq!(text(qy_status_name(QY_ERR_TIMEOUT)), "QY_ERR_TIMEOUT");
    assert_eq!(text(qy_status_text(QY_ERR_TIMEOUT)), "it did not happen in time");
    assert_eq!(text(qy_status_name(1)), "QY_UNKNOWN");
    assert_eq!(text(qy_status_name(i32::MIN)), "QY_UNKNOWN");
    assert_eq!(text(qy_status_text(-1000)), "unknown status");
}
