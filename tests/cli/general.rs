//! Help, options, completions, usage.

use std::process::Stdio;

use crate::kit::{qyun, run};

#[test]
fn help_tells_the_exit_codes_and_every_option_of_a_server() {
    let help = run(&["--help"]).ends_with(0);
    for text in ["Exit codes:", "3 cannot connect or listen", "QYUN_HOST", "qyun bench"] {
        assert!(help.text().contains(text), "{text}");
    }
    let help = run(&["serve", "--help"]).ends_with(0);
    for spec in qyun::server::OPTIONS {
        let flag = format!("--{}", spec.key.replace('_', "-"));
        assert!(help.text().contains(&flag), "{flag}");
    }
}

#[test]
fn options_are_listed_as_the_library_knows_them() {
    for (args, table) in [
        (&["options", "--json"][..], qyun::server::OPTIONS),
        (&["options", "--client", "--json"], qyun::client::OPTIONS),
    ] {
        let listed = run(args).ends_with(0).json();
        let listed = listed.as_array().unwrap();
        assert_eq!(listed.len(), table.len());
        for (listed, spec) in listed.iter().zip(table) {
            assert_eq!(listed["key"], spec.key);
            assert_eq!(listed["type"], spec.kind.name());
            assert_eq!(listed["default"], spec.default);
            assert_eq!(listed["help"], spec.help);
        }
    }
    assert!(run(&["options"]).ends_with(0).text().contains("busy_poll_us=50"));
}

#[test]
fn wrong_usage_is_code_2_and_says_what_would_be_right() {
    for (args, told) in [
        (&["nothing"][..], "unrecognized subcommand"),
        (&["create"], "<NAME>"),
        (&["listen"], "<NAMES>"),
        (&["create", "x", "--host", "ftp://x"], "it takes HOST, HOST:PORT"),
        (&["create", "x", "--timeout", "soon"], "there are: ms, s"),
        (&["create", ""], "name is empty"),
        (&["create", "a\nb"], "control character"),
        (&["send", "x", "text", "--lines"], "--lines reads stdin"),
        (&["bench", "--size", "1"], "16 to"),
        (&["serve", "--set", "shards"], "KEY=VALUE"),
        (&["serve", "--set", "colour=red"], "there are: listen"),
        (&["serve", "--set", "shards=65"], "from 0 to 64"),
    ] {
        let ran = run(args).ends_with(2);
        assert!(ran.stderr.contains(told), "{args:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn failures_are_json_when_asked() {
    let ran = run(&["create", "", "--json"]).ends_with(2);
    let told: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(told["error"], "usage");
    assert_eq!(told["exit_code"], 2);
}

#[test]
fn there_are_completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]).ends_with(0);
        assert!(script.text().contains("completions"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let mut child = qyun(&["completions", "zsh"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
