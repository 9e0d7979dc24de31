//! Namespaces as tables of the configuration file, `[namespaces."news.>"]`, and as the text that
//! the option `namespaces` is everywhere else.

use std::ops::Range;

use qyun::hub::{CHANNEL_OPTIONS, ChannelConfig, Namespaces, Pattern};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::plain;
use super::{print, table};

/// The option's key, and the section's name.
pub const KEY: &str = "namespaces";

/// A fault: where, the key it is about, and what it is.
pub type Wrong = (Range<usize>, String, String);

/// The text of the tables, in the order in which they stand in the file, or all that is wrong with
/// them.
pub fn read(tables: &DeTable<'_>) -> Result<String, Vec<Wrong>> {
    // The parser sorts keys; the first pattern that matches decides, so the file's order counts.
    let mut entries: Vec<_> = tables.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    let mut wrong = Vec::new();
    let mut parts = Vec::new();
    for (name, value) in entries {
        let pattern = name.get_ref();
        let checked = match Pattern::parse(pattern) {
            Err(error) => Err(error.to_string()),
            Ok(_) if pattern.contains(';') => {
                Err(format!("a namespace's pattern cannot be {pattern:?}: it holds ';'"))
            }
            Ok(_) => Ok(()),
        };
        if let Err(text) = checked {
            wrong.push((name.span(), pattern.to_string(), text));
        }
        match value.get_ref() {
            DeValue::Table(options) => {
                let options = options_of(options, &mut wrong);
                parts.push(format!("{pattern}: {}", options.join(", ")));
            }
            _ => {
                let text = format!(
                    "'{pattern}' is a pattern of names: its options stand in [namespaces.\"{pattern}\"]"
                );
                wrong.push((name.span(), pattern.to_string(), text));
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(parts.join("; ")),
        false => Err(wrong),
    }
}

fn options_of(options: &DeTable<'_>, wrong: &mut Vec<Wrong>) -> Vec<String> {
    let mut entries: Vec<_> = options.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    let mut texts = Vec::new();
    for (name, value) in entries {
        let key = name.get_ref();
        match option(key, value) {
            Ok(text) => texts.push(text),
            Err(text) => wrong.push((name.span(), key.to_string(), text)),
        }
    }
    texts
}

fn option(key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    let Some(spec) = CHANNEL_OPTIONS.iter().find(|spec| spec.key == key) else {
        if let DeValue::Table(_) = value.get_ref() {
            return Err(format!(
                "no channel option '{key}'; a pattern with dots stands in quotes, as in \
                 [namespaces.\"news.>\"]"
            ));
        }
        return Err(match table::find(key) {
            Ok(spec) => format!("option '{key}' is the server's and stands in [{}]", spec.section),
            Err(_) => table::unknown(key, CHANNEL_OPTIONS.iter().map(|spec| spec.key)),
        });
    };
    let value = plain(spec, value.get_ref())?;
    spec.parse(&value).map_err(|error| error.to_string())?;
    Ok(format!("{key}={value}"))
}

/// The tables of a text that was checked, with `comment` behind each heading.
pub fn tables(text: &str, comment: &str) -> String {
    let Ok(namespaces) = Namespaces::parse(text) else { return String::new() };
    let mut tables = String::new();
    for (pattern, config) in namespaces.iter() {
        let gap = if tables.is_empty() { "" } else { "\n" };
        tables += &format!("{gap}[{KEY}.{}]  # {comment}\n", print::quoted(pattern.as_str()));
        for (key, literal) in set_in(config) {
            tables += &format!("{key} = {literal}\n");
        }
    }
    tables
}

/// The options that are not at their defaults, as TOML.
fn set_in(config: &ChannelConfig) -> impl Iterator<Item = (&'static str, String)> {
    CHANNEL_OPTIONS.iter().filter_map(|spec| {
        let value = config.get(spec.key).ok()?;
        (value != spec.default).then(|| (spec.key, print::literal(spec, &value)))
    })
}

/// What a file can say, as comments: every option of a channel at its default.
pub fn example() -> String {
    let mut text = String::from(
        "\n# Options of channels by their names, in place of the text above. A pattern is the name's\n\
         # segments between dots: '*' is one, '>' at the end one or more. The first pattern that\n\
         # matches decides, for channels that are created from then on.\n\
         # [namespaces.\"news.>\"]\n",
    );
    for spec in CHANNEL_OPTIONS {
        text += &format!("# {}{}\n", spec.help, print::taken(spec));
        text += &format!("# {} = {}\n", spec.key, print::literal(spec, spec.default));
    }
    text
}
