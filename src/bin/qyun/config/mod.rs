//! The configuration of `qyun serve`: one table of options, and four places that a value can come
//! from. A flag stands above the environment, that above the file, and that above the default.

mod command;
mod fault;
mod file;
mod flags;
mod namespaces;
mod print;
mod suggest;
mod table;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qyun::options::{OptionSpec, OptionValue};
use qyun::server::ServerOptions;

pub use command::Args;
pub use fault::{Fault, Place};
pub use flags::Flags;
pub use table::all;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// A line of the file.
    File(usize),
    /// A variable.
    Environment(String),
    /// An argument.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(line) => write!(f, "file, line {line}"),
            Self::Environment(name) => write!(f, "environment, {name}"),
            Self::Flag(flag) => write!(f, "flag, {flag}"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As [`ServerOptions::set`] takes it.
    pub value: String,
    pub origin: Origin,
}

/// A value that was given and not looked at yet.
#[derive(Debug, Clone)]
pub struct Given {
    pub key: String,
    pub value: String,
    /// How it was given: `--queue-bytes`, `--set`.
    pub flag: String,
}

/// Everything that decides a configuration. It is kept, so that the file can be read again.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Absolute.
    pub file: Option<PathBuf>,
    /// Where relative paths of flags and variables begin; those of the file begin beside it.
    folder: PathBuf,
    /// The variables that can matter, as they were at the start.
    pub environment: BTreeMap<String, OsString>,
    /// In the order in which they were given; the last of one key counts.
    pub flags: Vec<Given>,
}

/// How the log is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    pub filter: String,
    pub json: bool,
    /// Where to; `None` is stderr.
    pub file: Option<PathBuf>,
}

/// A whole configuration: every value fits its option.
#[derive(Debug, Clone)]
pub struct Config {
    /// By key, every option there is.
    pub settings: BTreeMap<&'static str, Setting>,
    pub server: ServerOptions,
    pub log: LogOptions,
    /// Channels to create.
    pub create: Vec<String>,
    /// How long to wait for clients when stopping.
    pub drain: Duration,
    /// Where the process tells its number; `None` is nowhere, or the default place for a daemon.
    pub pid_file: Option<PathBuf>,
}

/// Further names of a key in the environment, below its own. Empty ones count as not set.
const OTHER_NAMES: &[(&str, &str)] = &[("WEBSOCKET_ADDR", "listen"), ("RUST_LOG", "log_filter")];

/// Variables that begin with `QYUN_` and are no option.
const NO_OPTIONS: &[&str] = &["QYUN_HOST", "QYUN_CONFIG", "QYUN_LIBRARY"];

/// The variable of an option.
pub fn variable(key: &str) -> String {
    format!("QYUN_{}", key.to_ascii_uppercase())
}

impl Setting {
    /// The value as it may be shown.
    pub fn shown(&self, spec: &OptionSpec) -> &str {
        match spec.secret && !self.value.is_empty() {
            true => "(hidden)",
            false => &self.value,
        }
    }
}

impl Sources {
    /// The environment of this process, and `QYUN_CONFIG` where no file is named.
    pub fn new(file: Option<PathBuf>, flags: Vec<Given>) -> Self {
        let ours = |name: &str| {
            name.starts_with("QYUN_") || OTHER_NAMES.iter().any(|(other, _)| *other == name)
        };
        let environment: BTreeMap<_, _> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| ours(name))
            .collect();
        let named = environment.get("QYUN_CONFIG").filter(|path| !path.is_empty());
        let file = file.or_else(|| named.map(PathBuf::from));
        // Without a working folder, there are no relative paths.
        let folder = std::env::current_dir().unwrap_or_default();
        Self { file: file.map(|file| folder.join(file)), folder, environment, flags }
    }

    /// Where relative paths of flags and variables begin.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads the file and puts everything together. The faults of all places, or the configuration.
    pub fn load(&self) -> Result<Config, Vec<Fault>> {
        let (settings, faults) = self.read();
        match faults.is_empty() {
            true => Ok(Config::new(self, settings)),
            false => Err(faults),
        }
    }

    /// The pid file, however wrong the rest may be.
    pub fn pid_file(&self) -> Option<PathBuf> {
        self.path(self.read().0.get("pid_file")?)
    }

    /// The path that `setting` is; none if it is empty.
    fn path(&self, setting: &Setting) -> Option<PathBuf> {
        let folder = match (&setting.origin, &self.file) {
            (Origin::File(_), Some(file)) => file.parent()?,
            _ => &self.folder,
        };
        (!setting.value.is_empty()).then(|| folder.join(&setting.value))
    }

    /// What is certainly not meant: variables that are nearly the name of an option.
    pub fn doubts(&self) -> Vec<String> {
        let keys: Vec<String> = table::all().map(|spec| variable(spec.key)).collect();
        let unknown = |name: &&String| {
            name.starts_with("QYUN_")
                && !NO_OPTIONS.contains(&name.as_str())
                && !keys.contains(name)
        };
        let doubt = |name: &String| {
            let near = suggest::nearest(name, keys.iter().map(String::as_str))?;
            Some(format!("the environment's {name} is no option; is {near} meant?"))
        };
        self.environment.keys().filter(unknown).filter_map(doubt).collect()
    }

    fn read(&self) -> (BTreeMap<&'static str, Setting>, Vec<Fault>) {
        let mut settings: BTreeMap<_, _> = table::all()
            .map(|spec| (spec.key, Setting { value: spec.default.into(), origin: Origin::Default }))
            .collect();
        let mut faults = Vec::new();
        if let Some(path) = &self.file {
            file::read(path, &mut settings, &mut faults);
        }
        self.read_environment(&mut settings, &mut faults);
        for Given { key, value, flag } in &self.flags {
            let place = Place::Flag(flag.clone());
            let set = table::find(key).and_then(|spec| Ok((spec, check(spec, value)?)));
            match set {
                Ok((spec, value)) => {
                    let origin = Origin::Flag(flag.clone());
                    settings.insert(spec.key, Setting { value, origin });
                }
                Err(text) => faults.push(Fault::new(place, key, text)),
            }
        }
        (settings, faults)
    }

    fn read_environment(
        &self,
        settings: &mut BTreeMap<&'static str, Setting>,
        faults: &mut Vec<Fault>,
    ) {
        for spec in table::all() {
            let own = variable(spec.key);
            let others = OTHER_NAMES.iter().filter(|(_, key)| *key == spec.key);
            let others = others.filter_map(|(name, _)| {
                self.environment.get_key_value(*name).filter(|(_, value)| !value.is_empty())
            });
            let own = self.environment.get_key_value(&own);
            let Some((name, value)) = own.into_iter().chain(others).next() else { continue };
            let read = match value.to_str() {
                Some(value) => check(spec, value),
                None => Err(spec.refuse(format_args!("{value:?}, which is not UTF-8")).to_string()),
            };
            match read {
                Ok(value) => {
                    let origin = Origin::Environment(name.clone());
                    settings.insert(spec.key, Setting { value, origin });
                }
                Err(text) => {
                    faults.push(Fault::new(Place::Environment(name.clone()), spec.key, text));
                }
            }
        }
    }
}

/// The value as it is kept, if the option takes it.
fn check(spec: &OptionSpec, value: &str) -> Result<String, String> {
    let read = spec.parse(value).map_err(|error| error.to_string())?;
    let refuse =
        |accepted: String| Err(format!("option '{}' cannot be '{value}': {accepted}", spec.key));
    match spec.key {
        "listen" if !is_host_and_port(value) => {
            refuse("it takes HOST:PORT, as in 127.0.0.1:8000, with a port from 0 to 65535".into())
        }
        "thread_name" if value.contains('\0') => refuse("it cannot hold a NUL".into()),
        "log_filter" => match env_filter::Builder::new().try_parse(value) {
            Ok(_) => Ok(value.into()),
            Err(error) => refuse(format!(
                "{error}; it takes levels (off, error, warn, info, debug, trace) and MODULE=LEVEL, \
                 separated by commas"
            )),
        },
        "create" => {
            for name in items(value) {
                qyun::wire::name::validate(name)
                    .map_err(|error| format!("option 'create' cannot hold '{name}': {error}"))?;
            }
            Ok(value.into())
        }
        // The server may refuse more than the kind of the option tells.
        key if of_server(key) => ServerOptions::default()
            .set(key, value)
            .map(|()| plain(read))
            .map_err(|error| error.to_string()),
        _ => Ok(plain(read)),
    }
}

fn of_server(key: &str) -> bool {
    qyun::server::OPTIONS.iter().any(|spec| spec.key == key)
}

/// A value as text, always the same for the same.
fn plain(value: OptionValue<'_>) -> String {
    match value {
        OptionValue::Integer(number) => number.to_string(),
        OptionValue::Boolean(on) => on.to_string(),
        OptionValue::Text(text) => text.into(),
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// The values of a list.
pub fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

impl Config {
    /// `settings`, made of `sources`, has every key, with a value that fits.
    pub fn new(sources: &Sources, settings: BTreeMap<&'static str, Setting>) -> Self {
        let value = |key: &str| settings.get(key).map_or("", |setting| setting.value.as_str());
        let path = |key: &str| sources.path(settings.get(key)?);
        let mut server = ServerOptions::default();
        for spec in qyun::server::OPTIONS {
            let set = server.set(spec.key, value(spec.key));
            debug_assert!(set.is_ok(), "{set:?}");
        }
        Self {
            server,
            log: LogOptions {
                filter: value("log_filter").into(),
                json: value("log_format") == "json",
                file: path("log_file"),
            },
            create: items(value("create")).map(String::from).collect(),
            drain: Duration::from_millis(value("drain_ms").parse().unwrap_or_default()),
            pid_file: path("pid_file"),
            settings,
        }
    }
}
