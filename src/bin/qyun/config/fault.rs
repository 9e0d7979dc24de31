//! What is wrong with a configuration, and where it stands.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::exit::Failure;

/// Where a fault stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, or the file as a whole.
    File(PathBuf, Option<usize>),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment, {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub place: Place,
    /// The key, or `""` where it is not about one.
    pub key: String,
    pub text: String,
}

impl Fault {
    pub fn new(place: Place, key: &str, text: impl Into<String>) -> Self {
        Self { place, key: key.into(), text: text.into() }
    }

    pub fn json(&self) -> Value {
        let (file, line) = match &self.place {
            Place::File(path, line) => (Some(path.to_string_lossy()), *line),
            _ => (None, None),
        };
        let key = (!self.key.is_empty()).then_some(&self.key);
        json!({
            "place": self.place.to_string(), "file": file, "line": line, "key": key,
            "message": self.text,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// All of them as one failure, a line each.
impl From<Vec<Fault>> for Failure {
    fn from(faults: Vec<Fault>) -> Self {
        let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
        Self::usage(lines.join("\nqyun: "))
    }
}
