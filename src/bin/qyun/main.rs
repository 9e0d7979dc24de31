//! The `qyun` command: a server, the calls of a client, and a load generator that checks what it
//! receives.

mod bench;
mod channels;
mod config;
mod daemon;
mod duration;
mod exit;
mod history;
mod limits;
mod listen;
mod log_output;
mod output;
mod procfs;
mod remote;
mod send;
mod serve;
mod serving;
mod settings;
mod stdin;
mod store;
mod succession;
mod systemd;
mod top;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use exit::Failure;

const EXAMPLES: &str = "\
Examples:
  qyun serve                              serve on 127.0.0.1:8000
  qyun start --config qyun.toml           serve in the background
  qyun create news                        create the channel 'news'
  qyun listen news                        print what is published on it
  qyun send news 'hello, world'           publish
  qyun history news                       print what it has kept
  tail -f app.log | qyun send news --lines
  qyun bench --subscribers 1000           measure and check the server

Exit codes:
  0 done             1 failed or refused    2 wrong usage      3 cannot connect or listen
  4 no such channel  5 it exists already    6 timed out

Environment:
  QYUN_HOST       the server that the commands talk to (like --host)
  QYUN_CONFIG     the configuration file of a server (like --config)
  QYUN_<OPTION>   an option of a server, for example QYUN_LISTEN (like --listen)
  WEBSOCKET_ADDR  where a server listens, unless QYUN_LISTEN says
  RUST_LOG        what is logged, for example 'warn' or 'qyun=debug'";

/// Channels over WebSocket and HTTP: everyone who listens to a channel gets every message sent to
/// it, in one order.
#[derive(Parser)]
#[command(name = "qyun", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Start(daemon::start::Args),
    Stop(daemon::stop::Args),
    Status(daemon::status::Args),
    Reload(daemon::reload::Args),
    Restart(daemon::restart::Args),
    Config(config::Args),
    #[command(name = daemon::start::CHILD, hide = true)]
    DaemonChild(daemon::start::Args),
    Create(channels::Create),
    Delete(channels::Delete),
    Send(send::Args),
    Listen(listen::Args),
    History(history::Args),
    Channels(channels::List),
    Info(channels::Info),
    Top(top::Args),
    Bench(bench::Args),
    Store(store::Args),
    Options(settings::Args),
    Completions(Completions),
}

/// Print a completion script for a shell.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  qyun completions bash > /etc/bash_completion.d/qyun")]
struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "qyun", &mut script);
        output::write_all(&script)
    }
}

impl Command {
    /// Whether failures are told as JSON too.
    fn json(&self) -> bool {
        match self {
            Self::Serve(args) => args.json,
            Self::Start(args) | Self::DaemonChild(args) => args.json,
            Self::Stop(args) => args.place.json,
            Self::Status(args) => args.place.json,
            Self::Reload(args) => args.place.json,
            Self::Restart(args) => args.place.json,
            Self::Config(args) => args.json(),
            Self::Create(args) => args.remote.json,
            Self::Delete(args) => args.remote.json,
            Self::Send(args) => args.remote.json,
            Self::Listen(args) => args.remote.json,
            Self::History(args) => args.remote.json,
            Self::Channels(args) => args.remote.json,
            Self::Info(args) => args.remote.json,
            Self::Top(args) => args.remote.json,
            Self::Bench(args) => args.json,
            Self::Store(args) => args.json(),
            Self::Options(args) => args.json,
            Self::Completions(_) => false,
        }
    }

    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Serve(args) => args.run(),
            Self::Start(args) => args.run(),
            Self::DaemonChild(args) => serve::run_as_daemon(&args),
            Self::Stop(args) => args.run(),
            Self::Status(args) => args.run(),
            Self::Reload(args) => args.run(),
            Self::Restart(args) => args.run(),
            Self::Config(args) => args.run(),
            Self::Create(args) => args.run(),
            Self::Delete(args) => args.run(),
            Self::Send(args) => args.run(),
            Self::Listen(args) => args.run(),
            Self::History(args) => args.run(),
            Self::Channels(args) => args.run(),
            Self::Info(args) => args.run(),
            Self::Top(args) => args.run(),
            Self::Bench(args) => args.run(),
            Self::Store(args) => args.run(),
            Self::Options(args) => args.run(),
            Self::Completions(args) => args.run(),
        }
    }
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // A server configures its log itself.
    if !matches!(command, Command::Serve(_) | Command::DaemonChild(_)) {
        log_output::start("warn");
    }
    let json = command.json();
    match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
