//! The configuration file: TOML with a table for each section.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use qyun::options::{OptionKind, OptionSpec};
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::{Fault, Origin, Place, Setting, check, namespaces, suggest, table};

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

type Settings = BTreeMap<&'static str, Setting>;

/// Reads the file over `settings`. What is wrong with it is added to `faults`, and the rest is read
/// all the same.
pub fn read(path: &Path, settings: &mut Settings, faults: &mut Vec<Fault>) {
    match contents(path) {
        Ok(text) => File { path, text: &text, settings, faults }.read(),
        Err(text) => faults.push(Fault::new(Place::File(path.into(), None), "", text)),
    }
}

fn contents(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot read it: {error}"))?;
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read it: {error}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it has more than {MAX_BYTES} bytes"));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("it is not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
    settings: &'a mut Settings,
    faults: &'a mut Vec<Fault>,
}

impl<'a> File<'a> {
    fn read(mut self) {
        let text = self.text;
        let (document, errors) = DeTable::parse_recoverable(text);
        let is_toml = errors.is_empty();
        for error in errors {
            self.fault(error.span(), "", format!("not TOML: {}", error.message()));
        }
        let before = self.faults.len();
        for (name, value) in document.get_ref() {
            match value.get_ref() {
                DeValue::Table(tables) if name.get_ref() == namespaces::KEY => {
                    self.namespaces(name.span(), tables);
                }
                DeValue::Table(entries) => self.section(name, entries),
                _ => self.stray(name),
            }
        }
        if !is_toml {
            // Whatever else seems to be wrong may come of that.
            self.faults.truncate(before);
        }
        let line = |fault: &Fault| match fault.place {
            Place::File(_, line) => line,
            _ => None,
        };
        self.faults.sort_by_key(line);
    }

    fn line(&self, span: Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn fault(&mut self, span: Option<Range<usize>>, key: &str, text: String) {
        let line = span.map(|span| self.line(span));
        self.faults.push(Fault::new(Place::File(self.path.into(), line), key, text));
    }

    /// A key that stands in no section.
    fn stray(&mut self, name: &Spanned<DeString<'_>>) {
        let key = name.get_ref();
        let text = match table::find(key) {
            Ok(spec) => format!("option '{key}' stands in [{}]", spec.section),
            Err(unknown) => unknown,
        };
        self.fault(Some(name.span()), key, text);
    }

    fn section(&mut self, name: &Spanned<DeString<'_>>, entries: &DeTable<'_>) {
        let section = name.get_ref();
        let sections = table::sections();
        let Some((_, specs)) = sections.iter().find(|(known, _)| known == section) else {
            let names = || sections.iter().map(|(name, _)| *name).chain([namespaces::KEY]);
            let text = match suggest::nearest(section, names()) {
                Some(near) => format!("no section [{section}]; did you mean [{near}]?"),
                None => {
                    let names: Vec<_> = names().collect();
                    format!("no section [{section}]; there are: [{}]", names.join("], ["))
                }
            };
            return self.fault(Some(name.span()), "", text);
        };
        for (name, value) in entries {
            let key = name.get_ref();
            match specs.iter().find(|spec| spec.key == key) {
                Some(spec) => self.entry(spec, name.span(), value),
                None => {
                    let text = match table::find(key) {
                        Ok(spec) => format!("option '{key}' stands in [{}]", spec.section),
                        // Nothing like it anywhere: this section's keys are the likelier ones.
                        Err(_) if !table::all().any(|spec| near(key, spec)) => {
                            let keys = specs.iter().map(|spec| spec.key);
                            let keys: Vec<_> = keys.collect();
                            format!("no option '{key}'; in [{section}] are: {}", keys.join(", "))
                        }
                        Err(unknown) => unknown,
                    };
                    self.fault(Some(name.span()), key, text);
                }
            }
        }
    }

    /// The tables of namespaces, which are the same option as the text of that name.
    fn namespaces(&mut self, span: Range<usize>, tables: &DeTable<'_>) {
        // The parser gives sections in the order of their names: the text was read before, if the
        // file has it, and an empty one says nothing.
        let text = match namespaces::read(tables) {
            Ok(text) => text,
            Err(wrong) => {
                for (span, key, text) in wrong {
                    self.fault(Some(span), &key, text);
                }
                return;
            }
        };
        let first = tables.keys().map(|name| name.span().start).min();
        let span = first.map_or(span, |start| start..start);
        let origin = Origin::File(self.line(span.clone()));
        let Some(setting) = self.settings.get_mut(namespaces::KEY) else { return };
        if matches!(setting.origin, Origin::File(_)) && !setting.value.is_empty() {
            let text = format!(
                "option '{0}' is given twice: as a text and as tables [{0}.…]",
                namespaces::KEY
            );
            return self.fault(Some(span), namespaces::KEY, text);
        }
        *setting = Setting { value: text, origin };
    }

    fn entry(&mut self, spec: &OptionSpec, span: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let read = plain(spec, value.get_ref()).and_then(|value| check(spec, &value));
        match read {
            Ok(value) => {
                let origin = Origin::File(self.line(span));
                // The key of the table, which outlives the file.
                if let Some(setting) = self.settings.get_mut(spec.key) {
                    *setting = Setting { value, origin };
                }
            }
            Err(text) => self.fault(Some(span), spec.key, text),
        }
    }
}

fn near(key: &str, spec: &OptionSpec) -> bool {
    suggest::nearest(key, std::iter::once(spec.key)).is_some()
}

/// The value as text, if it has the type that the option takes.
pub fn plain(spec: &OptionSpec, value: &DeValue<'_>) -> Result<String, String> {
    match (spec.kind, value) {
        (OptionKind::Integer { .. }, DeValue::Integer(number)) => {
            i128::from_str_radix(number.as_str(), number.radix())
                .map(|number| number.to_string())
                .map_err(|_| spec.refuse(format_args!("'{number}'")).to_string())
        }
        (OptionKind::Boolean, DeValue::Boolean(on)) => Ok(on.to_string()),
        (OptionKind::Text, DeValue::Array(array)) if spec.list => list(spec, array),
        (OptionKind::Text | OptionKind::Choice(_), DeValue::String(text)) => Ok(text.to_string()),
        (_, other) => {
            let quotes = match spec.kind {
                OptionKind::Text | OptionKind::Choice(_) => ", in quotes",
                _ => "",
            };
            let (shown, kind) = (shown(other), other.type_str());
            let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
            let refused = spec.refuse(format_args!("{shown}, {article} {kind}"));
            Err(format!("{refused}{quotes}"))
        }
    }
}

fn list(spec: &OptionSpec, array: &DeArray<'_>) -> Result<String, String> {
    let mut items = Vec::new();
    for item in array.iter() {
        match item.get_ref() {
            DeValue::String(text) if !text.contains(',') => items.push(text.to_string()),
            other => {
                let (key, shown) = (spec.key, shown(other));
                return Err(format!(
                    "option '{key}' cannot hold {shown}: it takes strings without a comma"
                ));
            }
        }
    }
    Ok(items.join(","))
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(on) => on.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(_) => "[…]".into(),
        DeValue::Table(_) => "{…}".into(),
    }
}
