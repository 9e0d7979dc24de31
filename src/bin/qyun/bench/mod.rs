//! `qyun bench`: a load generator that checks what it receives.
//!
//! It speaks to the server with sockets of its own, not through the client library: one thread, one
//! epoll loop, so that it can check more deliveries than a server on one core can make. What the
//! messages say is in [`payload`], what a subscriber must receive in [`stream`], the judgement in
//! [`checker`], the loop in [`fanout`].

mod answers;
mod checker;
mod clock;
mod connections;
mod dial;
mod fanout;
mod frame;
mod latency;
mod outbox;
mod pace;
mod packets;
mod payload;
mod plan;
mod publish_only;
mod publisher;
mod report;
mod session;
mod stream;
mod target;
mod unpack;
mod upgrade;
mod wire;

pub use plan::Args;

use qyun::client::Host;

use crate::exit::Failure;
use crate::limits;
use plan::{Mode, Plan};
use target::Target;

impl Args {
    pub fn run(&self) -> Result<(), Failure> {
        let plan = Plan::new(self)?;
        limits::raise_open_files(plan.descriptors());
        let target = Target::find(&Host::parse(&self.host)?, &plan)?;
        target.create_channels(plan.channels)?;
        let report = match plan.mode {
            Mode::Fanout(pace) => fanout::run(&target, &plan, pace),
            Mode::PublishOnly => publish_only::run(&target, &plan),
            Mode::Idle(idle) => connections::idle(&target, &plan, idle),
            Mode::Session(window) => session::run(&target, &plan, window),
            Mode::Handshakes => connections::handshakes(&target, &plan),
            Mode::Packets(connections) => packets::run(&target, &plan, connections),
        };
        target.delete_channels(plan.channels);
        report?.print(self.json)
    }
}
