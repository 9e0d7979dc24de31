//! What a run is asked to do: the arguments, checked against each other.

use std::time::Duration;

use qyun::wire::packet;

use super::payload;
use super::wire::Wire;
use crate::duration;
use crate::exit::Failure;

/// How messages travel to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    /// Pipelined `GET /channel/send/…` on kept-alive connections
    Http,
    /// Pipelined `POST /channel/send/NAME` with the message as the body
    Post,
    /// One WebSocket `/channel/send/NAME` per channel
    Ws,
    /// As the dialect itself does it, when it is a broker's
    #[value(skip)]
    Broker,
}

/// What is spoken with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Speech {
    /// `/channel/…`, as --publish says
    Channel,
    /// JSON requests and notifications at `/ws`
    Session,
    /// The protocol of a NATS server
    Nats,
    /// MQTT 3.1.1, quality of service 0
    Mqtt,
}

const EXAMPLES: &str = "\
Examples:
  qyun bench                                      1,000 subscribers, 64 messages in flight
  qyun bench --subscribers 1 --window 1           ping-pong
  qyun bench --subscribers 1000 --rate 50         open loop, 50 messages a second
  qyun bench --channels 1000 --window 1 --publishers 8
  qyun bench --subscribers 0 --publishers 8       publish only
  qyun bench --dialect session                    1,000 sessions, publishing by JSON requests
  qyun bench --idle 10000 --server-pid $(pidof qyun)
  qyun bench --handshakes
  qyun bench --packets 1000 --pipeline 1          requests to a program that echoes packets
  qyun bench --dialect nats --host localhost:4222 the same load on another system
  qyun bench --rate 50 --size 1024 --compress

Every subscriber checks every byte of every message: sequence, order, content. Exit code 1 tells of
any loss, doubling, disorder or corruption. A latency is the time from sending a message, or with
--rate from when it should have been sent, until its last subscriber has it. The generator is one
thread; keep it and the server on cores of their own.";

/// Put a server under load, check what it delivers, and measure.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The server: HOST:PORT or an http:// URL
    #[arg(long, env = "QYUN_HOST", default_value = "localhost:8000", value_name = "HOST")]
    pub host: String,
    /// Subscribers in all, spread evenly over the channels; 0 publishes only
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub subscribers: usize,
    /// Channels
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub channels: usize,
    /// Bytes of each message
    #[arg(long, default_value_t = 128, value_name = "BYTES")]
    pub size: usize,
    /// Messages of each channel that are sent and not yet received by all of its subscribers
    #[arg(long, default_value_t = 64, value_name = "N", conflicts_with = "rate")]
    pub window: usize,
    /// Messages a second over all channels, on schedule whatever the server does
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,
    /// How long to measure
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = duration::parse)]
    pub duration: Duration,
    /// How long to run before measuring
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = duration::parse)]
    pub warmup: Duration,
    /// How messages are sent; by default http
    #[arg(long, value_enum)]
    pub publish: Option<Via>,
    /// What subscribers and publishers speak
    #[arg(long, value_enum, default_value = "channel")]
    pub dialect: Speech,
    /// Connections that send by HTTP; the messages of one channel travel on one of them
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub publishers: usize,
    /// Requests in flight on each publishing connection when there are no subscribers, and on each
    /// connection of `--packets`
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub pipeline: usize,
    /// Connect N listeners that receive nothing, and tell what each costs the server
    #[arg(long, value_name = "N", conflicts_with_all = ["rate", "handshakes"])]
    pub idle: Option<usize>,
    /// Open and drop WebSockets, as many a second as possible
    #[arg(long, conflicts_with = "rate")]
    pub handshakes: bool,
    /// Make requests of the packet dialect on N connections, `--pipeline` at a time on each; the
    /// server's program must answer protocol id 1 with what it is sent
    #[arg(long, value_name = "N", conflicts_with_all = ["rate", "handshakes", "idle"])]
    pub packets: Option<usize>,
    /// Handshakes at a time
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub concurrency: usize,
    /// The server's process, to measure its CPU time and memory
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Subscribers that compress (permessage-deflate); the messages are then made of words
    #[arg(long, conflicts_with_all = ["idle", "handshakes", "packets"])]
    pub compress: bool,
    /// Poll without sleeping
    #[arg(long)]
    pub spin: bool,
    /// How long the server may make no progress
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// When messages are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As soon as fewer than this many of the channel are in flight.
    Window(usize),
    /// This many a second over all channels, on schedule.
    Rate(f64),
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    Fanout(Pace),
    PublishOnly,
    Idle(usize),
    Handshakes,
    Packets(usize),
    /// With this many messages, or requests on each connection, in flight.
    Session(usize),
}

/// A consistent run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub mode: Mode,
    pub subscribers: usize,
    pub channels: usize,
    pub size: usize,
    pub duration: Duration,
    pub warmup: Duration,
    pub via: Via,
    /// What subscribers and publishers speak.
    pub wire: Wire,
    pub publishers: usize,
    pub pipeline: usize,
    pub concurrency: usize,
    pub server_pid: Option<u32>,
    pub compress: bool,
    pub spin: bool,
    pub timeout: Duration,
}

/// The largest message that travels in a URL by default.
const MAX_URL_MESSAGE: usize = 64 << 10;
/// The most data of a packet by default.
const MAX_PACKET_DATA: usize = packet::DEFAULT_MAX_BYTES - packet::HEADER;
/// The most memory that the expected frames of a run may take.
const MAX_EXPECTED: usize = 4 << 30;
/// Messages that may be behind schedule in an open loop before sending waits.
pub const MAX_BEHIND: usize = 4096;

impl Plan {
    /// Checks the arguments.
    pub fn new(args: &Args) -> Result<Self, Failure> {
        let wire = match args.dialect {
            Speech::Channel | Speech::Session => Wire::WebSocket,
            Speech::Nats => Wire::Nats,
            Speech::Mqtt => Wire::Mqtt,
        };
        let alone = args.rate.is_some() || args.idle.is_some() || args.handshakes;
        if args.dialect == Speech::Session && alone {
            return refuse("--dialect session does not go with --rate, --idle and --handshakes");
        }
        if args.dialect != Speech::Channel && (args.packets.is_some() || args.publish.is_some()) {
            return refuse("--packets and --publish go with --dialect channel only");
        }
        if wire != Wire::WebSocket && args.compress {
            return refuse("--compress is for WebSockets");
        }
        let mode = match (args.idle, args.handshakes, args.subscribers, args.rate) {
            _ if args.packets.is_some() => Mode::Packets(args.packets.unwrap_or_default()),
            (.., 0, _) if args.dialect == Speech::Session => Mode::Session(args.pipeline),
            _ if args.dialect == Speech::Session => Mode::Session(args.window),
            (Some(idle), ..) => Mode::Idle(idle),
            (_, true, ..) => Mode::Handshakes,
            (_, _, 0, None) => Mode::PublishOnly,
            (_, _, 0, Some(_)) => return refuse("--rate needs subscribers that tell the latency"),
            (.., Some(rate)) => Mode::Fanout(Pace::Rate(rate)),
            (.., None) => Mode::Fanout(Pace::Window(args.window)),
        };
        let plan = Self {
            mode,
            subscribers: args.subscribers,
            channels: args.channels,
            size: args.size,
            duration: args.duration,
            warmup: args.warmup,
            via: match wire {
                Wire::WebSocket => args.publish.unwrap_or(Via::Http),
                Wire::Nats | Wire::Mqtt => Via::Broker,
            },
            wire,
            publishers: args.publishers,
            pipeline: args.pipeline,
            concurrency: args.concurrency,
            server_pid: args.server_pid,
            compress: args.compress,
            spin: args.spin,
            timeout: args.timeout,
        };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), Failure> {
        let at_least_one = [
            ("--channels", self.channels),
            ("--publishers", self.publishers),
            ("--pipeline", self.pipeline),
            ("--concurrency", self.concurrency),
        ];
        if let Some((name, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return refuse(&format!("{name} cannot be 0"));
        }
        if self.channels > payload::MAX_CHANNELS {
            return refuse(&format!("--channels goes up to {}", payload::MAX_CHANNELS));
        }
        if !(payload::MIN..=payload::MAX).contains(&self.size) {
            let (min, max) = (payload::MIN, payload::MAX);
            return refuse(&format!("--size {}: it takes {min} to {max} bytes", self.size));
        }
        let in_urls = self.via == Via::Http && !matches!(self.mode, Mode::Packets(_));
        if in_urls && self.size > MAX_URL_MESSAGE {
            return refuse(
                "a message over 65536 bytes does not fit a URL: use --publish post, or ws",
            );
        }
        if self.duration.is_zero() {
            return refuse("--duration cannot be 0");
        }
        match self.mode {
            Mode::Fanout(pace) => self.check_fanout(pace),
            Mode::PublishOnly if matches!(self.via, Via::Ws | Via::Broker) => {
                refuse("what is sent so is not answered: without subscribers nothing is counted")
            }
            Mode::PublishOnly if self.compress => refuse("--compress needs subscribers"),
            Mode::Idle(0) => refuse("--idle cannot be 0"),
            Mode::Packets(0) => refuse("--packets cannot be 0"),
            Mode::Packets(_) if self.size > MAX_PACKET_DATA => {
                refuse(&format!("--packets takes --size up to {MAX_PACKET_DATA}"))
            }

            Mode::Session(0) => refuse("--window cannot be 0"),
            Mode::Session(_) if self.channels > 1 => refuse("--dialect session takes one channel"),
            Mode::Session(_) if self.subscribers > 0 && self.publishers > 1 => {
                refuse("with subscribers, --dialect session takes one publisher")
            }
            _ => Ok(()),
        }
    }

    fn check_fanout(&self, pace: Pace) -> Result<(), Failure> {
        if self.subscribers < self.channels {
            return refuse("each channel needs a subscriber: --subscribers is below --channels");
        }
        if self.via != Via::Ws && self.publishers > self.channels {
            return refuse(
                "more --publishers than --channels: the messages of one channel have an order \
                 only on one connection",
            );
        }
        match pace {
            Pace::Window(0) => return refuse("--window cannot be 0"),
            Pace::Rate(rate) if !(rate > 0.0 && rate <= 1e8) => {
                return refuse("--rate takes more than 0 and at most 100000000 messages a second");
            }
            _ => {}
        }
        let expected = self.in_flight().saturating_mul(self.size).saturating_mul(self.channels);
        if expected > MAX_EXPECTED {
            let what = format!("{expected} bytes in flight; at most {MAX_EXPECTED} can be checked");
            return refuse(&what);
        }
        Ok(())
    }

    /// Messages of one channel that may be in flight.
    pub fn in_flight(&self) -> usize {
        match self.mode {
            Mode::Fanout(Pace::Window(window)) => window,
            _ => (MAX_BEHIND / self.channels).max(4),
        }
    }

    /// The publisher that sends the messages of `channel`.
    pub fn publisher_of(&self, channel: usize) -> usize {
        match self.via {
            Via::Http | Via::Post | Via::Broker => channel % self.publishers,
            Via::Ws => channel,
        }
    }

    /// File descriptors that the run needs.
    pub fn descriptors(&self) -> u64 {
        let connections = match self.mode {
            Mode::Fanout(_) => {
                self.subscribers + if self.via == Via::Ws { self.channels } else { self.publishers }
            }
            Mode::PublishOnly => self.publishers,
            Mode::Idle(idle) => idle,
            Mode::Handshakes => self.concurrency,
            Mode::Packets(connections) => connections,
            Mode::Session(_) => self.subscribers + self.publishers,
        };
        connections as u64 + 64
    }
}

fn refuse<T>(why: &str) -> Result<T, Failure> {
    Err(Failure::usage(why))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn plan(line: &str) -> Result<Plan, Failure> {
        let words = std::iter::once("bench").chain(line.split_ascii_whitespace());
        Plan::new(&Line::try_parse_from(words).map_err(|e| Failure::usage(e.to_string()))?.args)
    }

    #[test]
    fn the_mode_follows_from_the_arguments() {
        for (line, mode) in [
            ("", Mode::Fanout(Pace::Window(64))),
            ("--rate 50", Mode::Fanout(Pace::Rate(50.0))),
            ("--subscribers 0 --publishers 8", Mode::PublishOnly),
            ("--idle 10", Mode::Idle(10)),
            ("--handshakes", Mode::Handshakes),
            ("--packets 3", Mode::Packets(3)),
            ("--dialect nats --rate 5", Mode::Fanout(Pace::Rate(5.0))),
            ("--dialect mqtt --idle 3", Mode::Idle(3)),
            ("--dialect session", Mode::Session(64)),
            ("--dialect session --subscribers 0 --publishers 8", Mode::Session(16)),
        ] {
            assert_eq!(plan(line).unwrap().mode, mode, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_checked_is_refused() {
        for line in [
            "--subscribers 1 --channels 2",
            "--publishers 2",
            "--size 5",
            "--size 70000",
            "--window 0",
            "--rate 0",
            "--rate nan",
            "--rate 5 --window 3",
            "--subscribers 0 --publish ws",
            "--subscribers 0 --rate 1",
            "--subscribers 0 --compress",
            "--idle 5 --compress",
            "--duration 0",
            "--idle 0",
            "--packets 0",
            "--packets 1 --rate 5",
            "--window 1000000000",
            "--dialect session --channels 2",
            "--dialect session --publishers 2",
            "--dialect session --window 0",
            "--dialect session --rate 5",
            "--dialect session --publish post",
            "--dialect nats --publish ws",
            "--dialect nats --compress",
            "--dialect mqtt --subscribers 0",
            "--size 70000 --publish http",
            "--packets 1 --dialect mqtt",
        ] {
            assert!(plan(line).is_err(), "{line}");
        }
    }
}
