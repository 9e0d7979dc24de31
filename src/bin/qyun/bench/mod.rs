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
mod payload;
mod plan;
mod procfs;
mod publish_only;
mod publisher;
mod report;
mod stream;
mod target;
mod upgrade;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use plan::Args;

use crate::exit::Failure;
use crate::remote::Base;
use plan::{Mode, Plan};
use target::Target;

impl Args {
    pub fn run(&self) -> Result<(), Failure> {
        let plan = Plan::new(self)?;
        raise_descriptor_limit(plan.descriptors());
        let target = Target::find(&Base::parse(&self.host)?, plan.timeout)?;
        target.create_channels(plan.channels)?;
        let report = match plan.mode {
            Mode::Fanout(pace) => fanout::run(&target, &plan, pace),
            Mode::PublishOnly => publish_only::run(&target, &plan),
            Mode::Idle(idle) => connections::idle(&target, &plan, idle),
            Mode::Handshakes => connections::handshakes(&target, &plan),
        };
        target.delete_channels(plan.channels);
        report?.print(self.json)
    }
}

/// Raises the soft limit of open files to the hard one when the run needs more.
fn raise_descriptor_limit(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("the limit of open files stays below the {needed} needed: {error}");
    } else if limit.maximum.is_some_and(|maximum| maximum < needed) {
        log::warn!("the limit of open files cannot be raised to the {needed} needed");
    }
}
