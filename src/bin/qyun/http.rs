//! Single HTTP requests to a server, with what their answers mean for the exit code.

use std::sync::Arc;

use serde_json::Value;
use ureq::http::{Method, Request};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Timeout};

use qyun::wire::{name, percent};

use crate::exit::{Exit, Failure};
use crate::remote::{Base, Remote};

/// The longest answer that is read.
const MAX_ANSWER: u64 = 256 << 20;

/// A server, on a connection that is kept between requests.
pub struct Server {
    agent: Agent,
    base: Base,
    remote: Remote,
}

/// What a message is called in `content-type`.
pub const TEXT: &str = "text/plain; charset=utf-8";
pub const BINARY: &str = "application/octet-stream";

impl Server {
    /// Nothing is connected before the first request.
    pub fn new(remote: &Remote) -> Result<Self, Failure> {
        let base = remote.base()?;
        let mut config = Agent::config_builder()
            .timeout_global(Some(remote.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("qyun/", env!("CARGO_PKG_VERSION")));
        if base.tls {
            config = config.tls_config(tls());
        }
        Ok(Self { agent: config.build().into(), base, remote: remote.clone() })
    }

    /// `GET path`.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.request(Method::GET, path, TEXT, &[])
    }

    /// `DELETE path`.
    pub fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.request(Method::DELETE, path, TEXT, &[])
    }

    /// `POST path` with a body.
    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Value, Failure> {
        self.request(Method::POST, path, content_type, body)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Value, Failure> {
        let builder = Request::builder().method(&method).uri(format!("{}{path}", self.base));
        let answer = match method {
            Method::POST => {
                let request = builder.header("content-type", content_type).body(body);
                self.agent.run(request.map_err(|error| Failure::usage(error.to_string()))?)
            }
            _ => {
                let request = builder.body(());
                self.agent.run(request.map_err(|error| Failure::usage(error.to_string()))?)
            }
        };
        let mut answer = answer.map_err(|error| self.failure(error))?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        let body = body.map_err(|error| self.failure(error))?;
        let json = serde_json::from_slice::<Value>(&body);
        match (status, json) {
            (200, Ok(json)) => Ok(json),
            (200, Err(_)) => {
                Err(Failure::failed(format!("{}{path}: the answer is not JSON", self.base)))
            }
            (status, json) => Err(self.refusal(status, &json.unwrap_or_default())),
        }
    }

    /// An answer other than success.
    fn refusal(&self, status: u16, answer: &Value) -> Failure {
        let text = answer.get("message").and_then(Value::as_str).unwrap_or_default();
        let exit = match status {
            404 => Exit::NotFound,
            400 if text == "Channel already exists" => Exit::Exists,
            408 | 504 => Exit::Timeout,
            _ => Exit::Failed,
        };
        let text = if text.is_empty() { "no reason given" } else { text };
        Failure::new(exit, format!("{}: {text} (HTTP {status})", self.base))
    }

    /// No answer.
    fn failure(&self, error: ureq::Error) -> Failure {
        use std::io::ErrorKind::TimedOut;
        let base = &self.base;
        match error {
            // An address that drops packets is as unreachable as one that refuses them.
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => Failure::new(
                Exit::Connect,
                format!("cannot connect to {base} within {:?}", self.remote.timeout),
            ),
            ureq::Error::Timeout(_) => Failure::new(
                Exit::Timeout,
                format!("{base} did not answer within {:?}", self.remote.timeout),
            ),
            ureq::Error::Io(error) if error.kind() == TimedOut => Failure::new(
                Exit::Timeout,
                format!("{base} did not answer within {:?}", self.remote.timeout),
            ),
            ureq::Error::Io(error) => {
                Failure::new(Exit::Connect, format!("cannot connect to {base}: {error}"))
            }
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
                Failure::new(Exit::Connect, format!("cannot connect to {base}: {error}"))
            }
            error => Failure::failed(format!("{base}: {error}")),
        }
    }
}

/// A channel's path below `prefix`, or why the name cannot be one.
pub fn channel_path(prefix: &str, channel: &str) -> Result<String, Failure> {
    name::validate(channel)?;
    if matches!(channel, "." | "..") {
        let text = format!("channel name '{channel}' cannot be sent in a URL path");
        return Err(Failure::usage(text));
    }
    Ok(format!("{prefix}{}", percent::encode(channel)))
}

/// TLS that trusts what the system trusts.
fn tls() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::warn!("a trusted certificate of the system cannot be read: {error}");
    }
    let roots = found.certs.iter().map(|der| Certificate::from_der(der).to_owned());
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots.collect())))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}
