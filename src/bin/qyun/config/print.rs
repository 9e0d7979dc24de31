//! A configuration as a file.

use qyun::options::{OptionKind, OptionSpec};

use super::{items, namespaces, table, variable};

/// A file with every option at its default, and what each does.
pub fn default_file() -> String {
    let mut text = String::from(
        "# The configuration of 'qyun serve' and 'qyun start', which take it as --config FILE or as\n\
         # QYUN_CONFIG. What stands here are the defaults; a line can be left out.\n\
         #\n\
         # Each option is also a variable, QYUN_ and its name in capitals, and a flag, -- and its name\n\
         # with '-' for '_'. A flag counts more than the environment, that more than this file.\n\
         # 'qyun reload' reads this file again; an option that says \"restart\" needs one. Relative\n\
         # paths begin beside this file.\n",
    );
    for (section, specs) in table::sections() {
        text += &format!("\n[{section}]\n");
        for spec in specs {
            let restart = if spec.live { "" } else { " (restart)" };
            text += &format!("# {}{}{restart}\n", spec.help, taken(spec));
            text += &format!("{} = {}\n", spec.key, literal(spec, spec.default));
        }
    }
    text + &namespaces::example()
}

/// What an option takes, where its kind does not say it.
pub fn taken(spec: &OptionSpec) -> String {
    match spec.kind {
        OptionKind::Integer { min, max } => format!(" Takes {min} to {max}."),
        OptionKind::Choice(words) => format!(" Takes {}.", words.join(", ")),
        OptionKind::Text if spec.list => " Takes a list, [\"a\", \"b\"].".into(),
        OptionKind::Text | OptionKind::Boolean => String::new(),
    }
}

/// `value` as TOML.
pub fn literal(spec: &OptionSpec, value: &str) -> String {
    match spec.kind {
        OptionKind::Integer { .. } | OptionKind::Boolean => value.into(),
        OptionKind::Text if spec.list => {
            let items: Vec<String> = items(value).map(quoted).collect();
            format!("[{}]", items.join(", "))
        }
        OptionKind::Text | OptionKind::Choice(_) => quoted(value),
    }
}

/// A basic string of TOML: what JSON writes is one, but for DEL.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// What a help text says of an option beside what it does.
pub fn hint(spec: &OptionSpec) -> String {
    let default = match spec.default {
        "" => String::new(),
        default => format!("default: {default}, "),
    };
    format!("[{default}env: {}]", variable(spec.key))
}
