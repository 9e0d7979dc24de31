//! The server that a command talks to.

use std::time::Duration;

use qyun::client::{ClientOptions, Http};

use crate::duration;
use crate::exit::Failure;

/// What every command that talks to a server takes.
#[derive(clap::Args, Debug, Clone)]
pub struct Remote {
    /// The server: HOST:PORT, or an http:// or https:// URL
    #[arg(long, env = "QYUN_HOST", default_value = "localhost:8000", value_name = "HOST")]
    pub host: String,
    /// How long to wait for the server
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

impl Remote {
    /// What a client is told: the time limit.
    pub fn options(&self) -> Result<ClientOptions, Failure> {
        let timeout = self.timeout.as_millis().max(1).to_string();
        let mut options = ClientOptions::default();
        options.set("connect_timeout_ms", &timeout)?;
        options.set("request_timeout_ms", &timeout)?;
        Ok(options)
    }

    /// Calls to the server. Nothing is connected before the first of them.
    pub fn http(&self) -> Result<Http, Failure> {
        Ok(Http::new(&self.host, &self.options()?)?)
    }
}
