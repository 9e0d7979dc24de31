//! Options of channels: tables of the configuration file, and `qyun create --option`.

use qyun::hub::CHANNEL_OPTIONS;

use crate::kit::{Folder, Ran, Server, run};

const TABLES: &str = r#"
[server]
auto_create = true

# The order is the file's and not the alphabet's: the first that matches decides.
[namespaces."news.sport.*"]
history_size = 7

[namespaces."news.>"]
history_size = 100
history_ttl_ms = 60_000

[namespaces."*"]
auto_create = "false"
"#;
const TEXT: &str = "news.sport.*: history_size=7; news.>: history_size=100, history_ttl_ms=60000; \
                    *: auto_create=false";

fn shown(file: &str, args: &[&str]) -> serde_json::Value {
    let all = ["config", "show", "--json", "--config", file];
    run(&[&all, args].concat()).ends_with(0).json()["namespaces"].clone()
}

#[test]
fn namespaces_are_tables_of_the_file() {
    let folder = Folder::new();
    let file = folder.write("a.toml", TABLES);
    let namespaces = shown(&file, &[]);
    assert_eq!(namespaces["value"], TEXT);
    assert_eq!(namespaces["from"], "file, line 6");
    // What is shown is a file again.
    let again = run(&["config", "show", "--config", &file]).ends_with(0);
    assert!(again.text().contains("[namespaces.\"news.>\"]"), "{}", again.text());
    let again = folder.write("b.toml", again.text());
    assert_eq!(shown(&again, &[])["value"], TEXT);
    // A flag stands above the file, as for every option.
    let flag = shown(&file, &["--namespaces", "a: history_size=1"]);
    assert_eq!(flag["value"], "a: history_size=1");
    let file = folder.write("c.toml", "[channels]\nnamespaces = \"a: history_size=1\"\n");
    assert_eq!(shown(&file, &[])["value"], "a: history_size=1");
}

#[test]
fn the_default_file_tells_of_every_channel_option() {
    let text = run(&["config", "default"]).ends_with(0);
    let listed = run(&["options", "--channel"]).ends_with(0);
    for spec in CHANNEL_OPTIONS {
        assert!(text.text().contains(&format!("# {} = ", spec.key)), "{}", spec.key);
        assert!(text.text().contains(spec.help), "{}", spec.key);
        assert!(listed.text().contains(spec.help), "{}", spec.key);
    }
}

#[test]
fn a_fault_in_a_namespace_is_told_with_its_line() {
    let folder = Folder::new();
    let fault = |toml: &str| {
        let file = folder.write("bad.toml", toml);
        let ran: Ran = run(&["config", "check", &file]).ends_with(2);
        ran.stderr.trim_end().replace(&format!("qyun: {file}:"), "")
    };
    for (toml, told) in [
        (
            "[namespaces.\"a..b\"]\n",
            "1: 'a..b' is no pattern of channel names: a segment between dots is empty",
        ),
        (
            "[namespaces.a]\nhistory_size = -1\n",
            "2: option 'history_size' cannot be '-1': it takes a number from 0 to 1000000",
        ),
        (
            "[namespaces.a]\nhistory_sise = 1\n",
            "2: no option 'history_sise'; did you mean 'history_size'?",
        ),
        (
            "[namespaces.a]\nmax_channels = 5000\n",
            "2: option 'max_channels' is the server's and stands in [limits]",
        ),
        (
            "[namespaces.news.\">\"]\nhistory_size = 1\n",
            "1: no channel option '>'; a pattern with dots stands in quotes, as in \
             [namespaces.\"news.>\"]",
        ),
        (
            "[namespaces]\nhistory_size = 5\n",
            "2: 'history_size' is a pattern of names: its options stand in \
             [namespaces.\"history_size\"]",
        ),
        ("[namespaces.\"a;b\"]\n", "1: a namespace's pattern cannot be \"a;b\": it holds ';'"),
        (
            "[channels]\nnamespaces = \"a: history_size=1\"\n[namespaces.a]\n",
            "3: option 'namespaces' is given twice: as a text and as tables [namespaces.…]",
        ),
        ("[namespace.a]\n", "1: no section [namespace]; did you mean [namespaces]?"),
    ] {
        assert_eq!(fault(toml), told, "{toml}");
    }
}

#[test]
fn a_channel_has_its_namespaces_options_or_its_own() {
    let folder = Folder::new();
    let file = folder.write("a.toml", TABLES);
    let server = Server::with(&["--config", &file]);
    let option = |name: &str, key: &str| {
        server.run(&["info", name, "--json"]).ends_with(0).json()["channel"]["options"][key].clone()
    };
    server.run(&["send", "news.sport.ski", "x"]).ends_with(0);
    server.run(&["create", "news.a"]).ends_with(0);
    assert_eq!(option("news.sport.ski", "history_size"), 7);
    assert_eq!(option("news.a", "history_size"), 100);
    assert_eq!(option("news.a", "history_ttl_ms"), 60_000);
    // This one is not created by itself.
    server.run(&["send", "closed", "x"]).ends_with(4);
    let own = ["create", "news.b", "-o", "history_size=3", "--option", "empty_ttl_ms=90000"];
    server.run(&own).ends_with(0);
    server.run(&own).ends_with(5);
    assert_eq!(option("news.b", "history_size"), 3);
    assert_eq!(option("news.b", "history_ttl_ms"), 0);
    let info = server.run(&["info", "news.b"]).ends_with(0);
    let has = |words: [&str; 2]| info.text().lines().any(|line| line.split_whitespace().eq(words));
    assert!(has(["empty_ttl_ms", "90000"]), "{}", info.text());
    for (option, told) in [
        ("colour=red", "no option 'colour'"),
        ("history_size", "it takes KEY=VALUE"),
        ("history_size=x", "cannot be 'x'"),
    ] {
        let ran = server.run(&["create", "c", "--option", option]).ends_with(2);
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
    }
}

#[test]
fn a_server_with_a_token_wants_it_for_options() {
    let server = Server::with(&["--admin-token", "secret"]);
    let create =
        |token: &str| server.run(&["create", "a", "-o", "history_size=3", "--admin-token", token]);
    create("wrong").ends_with(1);
    create("").ends_with(1);
    create("secret").ends_with(0);
}
