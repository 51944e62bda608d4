//! Who runs: ours and openraft, each in the arrangements that are worth trying.

use crate::{
    course::{Plan, Sample, Void},
    ours, rival,
};

/// How often a run is taken again that was disturbed.
const DISTURBED_MAX: u64 = 10;

/// One system in one arrangement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contestant {
    OursOnActix,
    OursOnTokio,
    OpenraftOnOneThread,
    OpenraftOnTwoWorkers,
    OpenraftClientsApart,
}

impl Contestant {
    pub(crate) const ALL: [Contestant; 5] = [
        Contestant::OursOnActix,
        Contestant::OursOnTokio,
        Contestant::OpenraftOnOneThread,
        Contestant::OpenraftOnTwoWorkers,
        Contestant::OpenraftClientsApart,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Contestant::OursOnActix => "raft-actor, actix, 1 arbiter",
            Contestant::OursOnTokio => "raft-actor, tokio, 1 thread",
            Contestant::OpenraftOnOneThread => "openraft, tokio, 1 thread",
            Contestant::OpenraftOnTwoWorkers => "openraft, tokio, 2 workers",
            Contestant::OpenraftClientsApart => "openraft, 2 workers and 1 for clients",
        }
    }

    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Contestant::OursOnActix | Contestant::OursOnTokio)
    }

    /// Runs the course once. A run that was disturbed is taken again, a few times; says how many were.
    pub(crate) fn run(self, plan: Plan) -> Result<(Sample, u64), String> {
        let mut disturbed = 0;
        loop {
            match self.try_run(plan) {
                Ok(sample) => return Ok((sample, disturbed)),
                Err(Void::Disturbed(reason)) if disturbed < DISTURBED_MAX => {
                    disturbed += 1;
                    eprintln!("{}, {} clients: void, taken again: {reason}", self.name(), plan.clients);
                }
                Err(Void::Disturbed(reason) | Void::Wrong(reason)) => return Err(reason),
            }
        }
    }

    fn try_run(self, plan: Plan) -> Result<Sample, Void> {
        match self {
            Contestant::OursOnActix => ours::run(ours::Host::Actix, plan),
            Contestant::OursOnTokio => ours::run(ours::Host::Tokio, plan),
            Contestant::OpenraftOnOneThread => rival::run(rival::Host::OneThread, plan),
            Contestant::OpenraftOnTwoWorkers => rival::run(rival::Host::TwoWorkers, plan),
            Contestant::OpenraftClientsApart => rival::run(rival::Host::ClientsApart, plan),
        }
    }
}
