//! The options of a configuration: those of the server, and those of the command around it.

use qyun::options::OptionSpec;
use qyun::server::OPTIONS;

use super::suggest;

const DAY_MS: u64 = 86_400_000;

/// What the command does with a server.
pub const COMMAND: &[OptionSpec] = &[
    OptionSpec::text("create", "", "Channels to create.").within("server").list().live(),
    OptionSpec::integer(
        "drain_ms",
        0,
        DAY_MS,
        "30000",
        "How long to wait for clients to go when stopping.",
    )
    .within("server")
    .live(),
    OptionSpec::text(
        "log_filter",
        "warn,qyun=info",
        "What to log: levels, and MODULE=LEVEL, as in RUST_LOG.",
    )
    .within("log")
    .live(),
    OptionSpec::choice(
        "log_format",
        &["text", "json"],
        "text",
        "Lines for people, or one JSON object a line.",
    )
    .within("log")
    .live(),
    OptionSpec::text(
        "log_file",
        "",
        "File to append the log to, opened anew by a reload; empty is stderr, which a daemon does \
         not have.",
    )
    .within("log")
    .live(),
    OptionSpec::text(
        "pid_file",
        "",
        "File that holds the process's number while it runs, with the control socket beside it; \
         empty is none, and for a daemon a place of the user's.",
    )
    .within("daemon"),
];

/// Every option.
pub fn all() -> impl Iterator<Item = &'static OptionSpec> {
    OPTIONS.iter().chain(COMMAND)
}

/// The sections of a file, each with its options, in the order of the table.
pub fn sections() -> Vec<(&'static str, Vec<&'static OptionSpec>)> {
    let mut sections: Vec<(&str, Vec<&OptionSpec>)> = Vec::new();
    for spec in all() {
        match sections.iter_mut().find(|(name, _)| *name == spec.section) {
            Some((_, specs)) => specs.push(spec),
            None => sections.push((spec.section, vec![spec])),
        }
    }
    sections
}

/// The option of that name; the error says which might be meant.
pub fn find(key: &str) -> Result<&'static OptionSpec, String> {
    all().find(|spec| spec.key == key).ok_or_else(|| unknown(key, all().map(|spec| spec.key)))
}

/// That there is no option `key` among `keys`.
pub fn unknown<'a>(key: &str, keys: impl Iterator<Item = &'a str>) -> String {
    let keys: Vec<&str> = keys.collect();
    match suggest::nearest(key, keys.iter().copied()) {
        Some(near) => format!("no option '{key}'; did you mean '{near}'?"),
        None => format!("no option '{key}'; there are: {}", keys.join(", ")),
    }
}
