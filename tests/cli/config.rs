//! The configuration: what counts more than what, what is wrong and where, and `qyun config`.

use qyun::options::OptionKind;
use qyun::server::OPTIONS;
use serde_json::Value;

use crate::kit::{Folder, Ran, qyun, run, run_in};

/// The value of `key` and where it came from, as `qyun config show` has them.
#[track_caller]
fn shown(environment: &[(&str, &str)], args: &[&str], key: &str) -> (String, String) {
    let mut all = vec!["config", "show", "--json"];
    all.extend(args);
    let shown = run_in(environment, &all).ends_with(0).json();
    let text = |name: &str| shown[key][name].as_str().unwrap_or("nothing").to_owned();
    (text("value"), text("from"))
}

fn pair(value: &str, origin: &str) -> (String, String) {
    (value.into(), origin.into())
}

#[test]
fn a_flag_counts_more_than_the_environment_that_more_than_the_file_that_more_than_the_default() {
    let folder = Folder::new();
    let file = folder.write("a.toml", "[limits]\n# a comment\nqueue_bytes = 2_000\n");
    let key = "queue_bytes";
    assert_eq!(shown(&[], &[], key), pair("1048576", "default"));
    assert_eq!(shown(&[], &["--config", &file], key), pair("2000", "file, line 3"));
    let environment = [("QYUN_CONFIG", &*file)];
    assert_eq!(shown(&environment, &[], key), pair("2000", "file, line 3"));
    let environment = [("QYUN_QUEUE_BYTES", "3000"), ("QYUN_CONFIG", &file)];
    assert_eq!(shown(&environment, &[], key), pair("3000", "environment, QYUN_QUEUE_BYTES"));
    let flag = ["--queue-bytes", "4000"];
    assert_eq!(shown(&environment, &flag, key), pair("4000", "flag, --queue-bytes"));
    let set = ["--set", "queue_bytes=5000"];
    assert_eq!(shown(&environment, &set, key), pair("5000", "flag, --set queue_bytes=5000"));
    let both = ["--queue-bytes", "4000", "--set", "queue_bytes=5000"];
    assert_eq!(shown(&environment, &both, key), pair("4000", "flag, --queue-bytes"));
}

#[test]
fn every_option_is_a_key_a_variable_and_a_flag() {
    let folder = Folder::new();
    for spec in OPTIONS {
        let other = match spec.kind {
            OptionKind::Integer { max, .. } => max.to_string(),
            OptionKind::Boolean => (spec.default == "false").to_string(),
            OptionKind::Choice(words) => words[1].to_string(),
            OptionKind::Text if spec.key == "listen" => "[::1]:9".into(),
            OptionKind::Text if ["trusted_proxies", "grpc_allow"].contains(&spec.key) => {
                "10.0.0.0/8".into()
            }
            OptionKind::Text if spec.key == "namespaces" => "news.>: history_size=9".into(),
            OptionKind::Text => "/other".into(),
        };
        let key = spec.key;
        let told = if spec.secret { "(hidden)" } else { &*other };
        let quote =
            if matches!(spec.kind, OptionKind::Text | OptionKind::Choice(_)) { "\"" } else { "" };
        let toml = format!("[{}]\n{key} = {quote}{other}{quote}\n", spec.section);
        let file = folder.write("one.toml", &toml);
        assert_eq!(shown(&[], &["--config", &file], key), pair(told, "file, line 2"));
        let variable = format!("QYUN_{}", key.to_uppercase());
        let origin = format!("environment, {variable}");
        assert_eq!(shown(&[(&variable, &other)], &[], key), pair(told, &origin));
        let flag = format!("--{}", key.replace('_', "-"));
        let argument = format!("{flag}={other}");
        assert_eq!(shown(&[], &[&argument], key), pair(told, &format!("flag, {flag}")));
    }
}

#[test]
fn the_names_that_others_use_count_below_our_own() {
    let address = ("WEBSOCKET_ADDR", "127.0.0.1:1");
    assert_eq!(
        shown(&[address], &[], "listen"),
        pair("127.0.0.1:1", "environment, WEBSOCKET_ADDR")
    );
    let both = [address, ("QYUN_LISTEN", "127.0.0.1:2")];
    assert_eq!(shown(&both, &[], "listen"), pair("127.0.0.1:2", "environment, QYUN_LISTEN"));
    let flag = ["--listen", "127.0.0.1:3"];
    assert_eq!(shown(&both, &flag, "listen"), pair("127.0.0.1:3", "flag, --listen"));
    let filter = [("RUST_LOG", "debug")];
    assert_eq!(shown(&filter, &[], "log_filter"), pair("debug", "environment, RUST_LOG"));
    assert_eq!(shown(&[("RUST_LOG", "")], &[], "log_filter").1, "default");
    assert_eq!(shown(&filter, &["--log", "off"], "log_filter").0, "off");
}

#[test]
fn flags_of_their_own_kind() {
    assert_eq!(shown(&[], &["--auto-create"], "auto_create").0, "true");
    assert_eq!(shown(&[], &["--auto-create=no"], "auto_create").0, "false");
    assert_eq!(shown(&[], &["--drain", "2m"], "drain_ms").0, "120000");
    assert_eq!(shown(&[], &["--create", "a", "--create", "b"], "create").0, "a,b");
    let folder = Folder::new();
    let file = folder.write("a.toml", "[server]\ncreate = [\"a\", \"青云\"]\n");
    assert_eq!(shown(&[], &["--config", &file], "create").0, "a,青云");
}

#[test]
fn the_default_file_is_whole_and_is_the_defaults() {
    let folder = Folder::new();
    let written = run(&["config", "default"]).ends_with(0);
    let file = folder.write("default.toml", written.text());
    let told = run(&["config", "check", &file]).ends_with(0);
    assert!(told.text().contains(": ok, "), "{}", told.text());
    let defaults = run(&["config", "show", "--json"]).json();
    let read = run(&["config", "show", "--json", "--config", &file]).json();
    let (defaults, read) = (defaults.as_object().unwrap(), read.as_object().unwrap());
    assert_eq!(defaults.len(), read.len());
    for (key, default) in defaults {
        assert_eq!(read[key]["value"], default["value"], "{key}");
        assert!(read[key]["from"].as_str().unwrap().starts_with("file, line "), "{key}");
    }
    for spec in OPTIONS {
        assert_eq!(defaults[spec.key]["value"], spec.default, "{}", spec.key);
        assert!(written.text().contains(spec.help), "{}", spec.key);
    }
}

#[test]
fn what_is_shown_is_a_file_again() {
    let folder = Folder::new();
    let args = ["--queue-bytes", "5000", "--create", "a", "--listen", "[::1]:9", "--auto-create"];
    let mut all = vec!["config", "show"];
    all.extend(args);
    let file = folder.write("shown.toml", run(&all).ends_with(0).text());
    assert_eq!(shown(&[], &["--config", &file], "listen").0, "[::1]:9");
    assert_eq!(shown(&[], &["--config", &file], "create").0, "a");
    all.push("--changed");
    let changed = run(&all).ends_with(0);
    assert_eq!(changed.text().lines().filter(|line| line.contains(" = ")).count(), 4);
    assert!(changed.text().contains("queue_bytes = 5000  # flag, --queue-bytes"));
}

/// Checks a file that has a fault; gives what was told, without the path.
#[track_caller]
fn fault(folder: &Folder, toml: &str) -> String {
    let file = folder.write("bad.toml", toml);
    let ran = run(&["config", "check", &file]).ends_with(2);
    assert!(ran.stdout.is_empty());
    ran.stderr.trim_end().replace(&format!("qyun: {file}:"), "")
}

#[test]
fn a_fault_is_told_with_its_line_key_value_and_what_would_be_accepted() {
    let folder = Folder::new();
    for (toml, told) in [
        (
            "[limits]\n\nqueue_bytes = 10",
            "3: option 'queue_bytes' cannot be '10': it takes a number from 1024 to 1073741824",
        ),
        (
            "[limits]\nqueue_bytes = -1",
            "2: option 'queue_bytes' cannot be '-1': it takes a number from 1024 to 1073741824",
        ),
        (
            "[limits]\nqueue_bytes = 99999999999999999999999999999999999999999999",
            "2: option 'queue_bytes' cannot be '99999999999999999999999999999999999999999999': it \
             takes a number from 1024 to 1073741824",
        ),
        (
            "[limits]\nqueue_bytes = \"5000\"",
            "2: option 'queue_bytes' cannot be \"5000\", a string: it takes a number from 1024 to \
             1073741824",
        ),
        (
            "[server]\nauto_create = 1",
            "2: option 'auto_create' cannot be 1, an integer: it takes true or false",
        ),
        (
            "[server]\nlisten = 8000",
            "2: option 'listen' cannot be 8000, an integer: it takes text, in quotes",
        ),
        (
            "[server]\nlisten = [\"a:1\", \"b:2\"]",
            "2: option 'listen' cannot be […], an array: it takes text, in quotes",
        ),
        (
            "[server]\nlisten = \"8000\"",
            "2: option 'listen' cannot be '8000': it takes HOST:PORT, as in 127.0.0.1:8000, with a \
             port from 0 to 65535",
        ),
        (
            "[server]\ncreate = [\"a\", 3]",
            "2: option 'create' cannot hold 3: it takes strings without a comma",
        ),
        (
            "[log]\nlog_format = \"xml\"",
            "2: option 'log_format' cannot be 'xml': it takes one of text, json",
        ),
        (
            "[log]\nlog_filter = \"qyun=loud\"",
            "2: option 'log_filter' cannot be 'qyun=loud': error parsing logger filter: invalid \
             logging spec 'loud'; it takes levels (off, error, warn, info, debug, trace) and \
             MODULE=LEVEL, separated by commas",
        ),
        ("[limits]\nquue_bytes = 1", "2: no option 'quue_bytes'; did you mean 'queue_bytes'?"),
        ("[timeouts]\nqueue_bytes = 5000", "2: option 'queue_bytes' stands in [limits]"),
        ("queue_bytes = 5000", "1: option 'queue_bytes' stands in [limits]"),
        (
            "[log]\ncolour = 1",
            "2: no option 'colour'; in [log] are: log_filter, log_format, log_file",
        ),
        ("\n[limts]\n", "2: no section [limts]; did you mean [limits]?"),
        ("[limits]\nqueue_bytes 5000", "2: not TOML: key with no value, expected `=`"),
        ("[limits]\nqueue_bytes = 5000\nqueue_bytes = 5000", "3: not TOML: duplicate key"),
    ] {
        assert_eq!(fault(&folder, toml), told, "{toml}");
    }
    let told = fault(&folder, "[colours]\nred = 1");
    assert!(
        told.starts_with("1: no section [colours]; there are: [server], [channels], "),
        "{told}"
    );
}

#[test]
fn all_faults_are_told_at_once_in_order() {
    let folder = Folder::new();
    let file = folder.write("bad.toml", "[server]\nshards = 65\n[limits]\nqueue_bytes = 1\n");
    let environment = [("QYUN_PONG_WAIT_MS", "soon")];
    let ran = run_in(&environment, &["serve", "--config", &file, "--max-channels", "x"]);
    let ran = ran.ends_with(2);
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert_eq!(
        lines,
        [
            &*format!(
                "qyun: {file}:2: option 'shards' cannot be '65': it takes a number from 0 to 64"
            ),
            &*format!(
                "qyun: {file}:4: option 'queue_bytes' cannot be '1': it takes a number from 1024 to \
                 1073741824"
            ),
            "qyun: environment, QYUN_PONG_WAIT_MS: option 'pong_wait_ms' cannot be 'soon': it takes a \
             number from 1 to 86400000",
            "qyun: --max-channels: option 'max_channels' cannot be 'x': it takes a number from 0 to \
             4294967295",
        ]
    );
    let told = run_in(&environment, &["config", "check", &file, "--json"]).ends_with(2);
    let told = told.json();
    assert_eq!(told["ok"], false);
    let errors = told["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 3);
    assert_eq!(errors[1]["line"], 4);
    assert_eq!(errors[1]["key"], "queue_bytes");
    assert_eq!(errors[1]["file"], file);
    assert_eq!((&errors[2]["file"], &errors[2]["line"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = Folder::new();
    for (name, told) in [("none.toml", "cannot read it: No such file"), (".", "cannot read it: ")] {
        let file = folder.path(name);
        let ran = run(&["serve", "--config", &file]).ends_with(2);
        assert!(ran.stderr.contains(&format!("{}: {told}", file)), "{ran:?}");
    }
    let file = folder.path("latin1.toml");
    std::fs::write(&file, b"[log]\nlog_file = \"\xe9\"").unwrap();
    let ran = run(&["config", "check", &file]).ends_with(2);
    assert!(ran.stderr.contains("it is not UTF-8 at byte 18"), "{ran:?}");
}

#[test]
fn a_variable_that_is_nearly_an_option_is_doubted() {
    let ran = run_in(&[("QYUN_QUUE_BYTES", "5000")], &["config", "check"]).ends_with(0);
    assert!(ran.stderr.contains("is QYUN_QUEUE_BYTES meant?"), "{ran:?}");
    let ran = run_in(&[("QYUN_HOST", "x"), ("QYUN_COLOUR", "red")], &["config", "check"]);
    assert_eq!(ran.ends_with(0).stderr, "");
}

#[test]
fn a_variable_that_is_no_text_is_a_fault() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = qyun(&["config", "check"]);
    command.env("QYUN_LISTEN", std::ffi::OsStr::from_bytes(b"\xff:1"));
    let output = command.output().unwrap();
    let ran = Ran {
        code: output.status.code().unwrap(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(ran.ends_with(2).stderr.contains("which is not UTF-8"));
}
