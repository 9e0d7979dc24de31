//! The log: to stderr, as lines for people or as JSON, and changeable while it runs.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use env_logger::{Builder, Logger};
use log::kv::{self, VisitSource, VisitValue};
use log::{Log, Metadata, Record};
use serde_json::{Map, Value, json};

use crate::config::LogOptions;
use crate::exit::Failure;

/// The logger of the process. The lock is read once for a record that the level lets through.
struct Current(RwLock<Option<Logger>>);

static CURRENT: Current = Current(RwLock::new(None));

impl Log for Current {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let logger = self.0.read().unwrap_or_else(PoisonError::into_inner);
        logger.as_ref().is_some_and(|logger| logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        let logger = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(logger) = logger.as_ref() {
            logger.log(record);
        }
    }

    fn flush(&self) {}
}

/// Logs what `filter` lets through from now on, in place of what was logged before.
fn log_with(filter: &str, json: bool) {
    let mut builder = Builder::new();
    builder.parse_filters(filter);
    if json {
        builder.format(|out, record| {
            let line = json_line(&out.timestamp_millis(), record);
            writeln!(out, "{line}")
        });
    }
    let logger = builder.build();
    let level = logger.filter();
    *CURRENT.0.write().unwrap_or_else(PoisonError::into_inner) = Some(logger);
    // It fails when the logger is set already, which is as it should be.
    let _ = log::set_logger(&CURRENT);
    log::set_max_level(level);
}

/// The log of a command that is told nothing about it: RUST_LOG decides.
pub fn start(default: &str) {
    let filter = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    log_with(filter.as_deref().unwrap_or(default), false);
}

/// Logs as `options` say. A log file is opened anew, so that one that was moved away is let go, and
/// becomes the stderr of the process.
pub fn configure(options: &LogOptions) -> Result<(), Failure> {
    if let Some(path) = &options.file {
        redirect(path).map_err(|error| {
            Failure::failed(format!("cannot log to '{}': {error}", path.display()))
        })?;
    }
    log_with(&options.filter, options.json);
    Ok(())
}

fn redirect(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    Ok(rustix::stdio::dup2_stderr(&file)?)
}

/// A record as a JSON object: ts, level, target, message, and fields if it has some.
fn json_line(ts: &dyn Display, record: &Record<'_>) -> String {
    let text = |value: &dyn Display| json!(value.to_string());
    let mut line = format!(
        r#"{{"ts":{},"level":"{}","target":{},"message":{}"#,
        text(ts),
        record.level().as_str().to_ascii_lowercase(),
        text(&record.target()),
        text(record.args()),
    );
    let mut fields = Fields(Map::new());
    if record.key_values().visit(&mut fields).is_ok() && !fields.0.is_empty() {
        line += &format!(r#","fields":{}"#, Value::Object(fields.0));
    }
    line.push('}');
    line
}

/// Collects the fields of a record.
struct Fields(Map<String, Value>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let mut read = Field(Value::Null);
        value.visit(&mut read)?;
        self.0.insert(key.to_string(), read.0);
        Ok(())
    }
}

/// One value: numbers and booleans stay what they are, the rest becomes text.
struct Field(Value);

impl VisitValue<'_> for Field {
    fn visit_any(&mut self, value: kv::Value<'_>) -> Result<(), kv::Error> {
        self.0 = value.to_string().into();
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use log::Level;

    use super::*;

    fn line(message: std::fmt::Arguments<'_>, fields: &dyn kv::Source) -> Value {
        let record = Record::builder()
            .level(Level::Warn)
            .target("a::b")
            .args(message)
            .key_values(fields)
            .build();
        let line = json_line(&"now", &record);
        assert!(line.starts_with(r#"{"ts":"now","level":"warn","target":"a::b","message":"#));
        assert!(!line.contains('\n'), "{line}");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn any_text_is_one_line_of_json() {
        let text = "two\nlines, \"quotes\", \\ and 青云\u{0}";
        let line = line(format_args!("{text}"), &None::<(&str, u64)>);
        assert_eq!(line["message"], text);
        assert!(line.get("fields").is_none());
    }

    #[test]
    fn fields_keep_their_types() {
        let fields: [(&str, kv::Value<'_>); 4] =
            [("n", 7.into()), ("x", 1.5.into()), ("on", true.into()), ("text", "a\"b".into())];
        let line = line(format_args!("m"), &fields.as_slice());
        assert_eq!(line["fields"], json!({ "n": 7, "x": 1.5, "on": true, "text": "a\"b" }));
    }
}
