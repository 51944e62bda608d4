//! From a proposal to its being applied: three bare cores, whose disks and state machines do at once what
//! they are asked for, and whose messages arrive in the order in which they were sent.

use std::collections::VecDeque;

use bytes::Bytes;
use raft_actor::{
    config::Config,
    core::{Effect, Effects, Input, Raft},
    membership::Membership,
    types::{LogIndex, LogState, NodeId, Role, Time},
};

use crate::path::check;

const NODES: u64 = 3;

struct Cores {
    rafts: Vec<Raft>,
    /// The place of the one that leads.
    leader: usize,
    /// What is to happen, and to whom.
    inputs: VecDeque<(usize, Input)>,
    effects: Effects,
    now: Time,
}

/// Proposes `times` batches of `batch` commands, each once the one before is committed.
pub(crate) fn run(times: u64, batch: u64) -> Result<(), String> {
    let mut cores = Cores::start()?;
    cores.elect()?;
    let command = Bytes::from_static(&[7; 128]);
    for _ in 0..times {
        let commands = vec![command.clone(); batch as usize];
        cores.inputs.push_back((cores.leader, Input::Propose { commands }));
        cores.settle()?;
    }
    // The first entry is the leader's own.
    let last = 1 + times * batch;
    for raft in &cores.rafts {
        check("the last entry", raft.last_log_id().index.0, last)?;
    }
    check("the leader's commit index", cores.rafts[cores.leader].commit_index().0, last)
}

impl Cores {
    fn start() -> Result<Cores, String> {
        let members = (1..=NODES).map(|id| (NodeId(id), format!("node {id}")));
        let members = Membership::new(members).map_err(|error| error.to_string())?;
        let new = |id| {
            let state = LogState::default();
            Raft::new(NodeId(id), &Config::default(), id, Time(1), state, members.clone())
        };
        let rafts = (1..=NODES).map(new).collect::<Vec<_>>();
        let places = 0..rafts.len();
        let leader = places.min_by_key(|place| rafts[*place].deadline()).unwrap_or_default();
        Ok(Cores { rafts, leader, inputs: VecDeque::new(), effects: Effects::new(), now: Time(1) })
    }

    /// One core's time is up before anybody else's. From here on no time passes.
    fn elect(&mut self) -> Result<(), String> {
        self.now = self.rafts[self.leader].deadline();
        self.inputs.push_back((self.leader, Input::Tick));
        self.settle()?;
        if self.rafts[self.leader].role() == Role::Leader {
            Ok(())
        } else {
            Err("nobody was elected".to_owned())
        }
    }

    /// Goes on until nothing is left to happen.
    fn settle(&mut self) -> Result<(), String> {
        while let Some((place, input)) = self.inputs.pop_front() {
            let raft = &mut self.rafts[place];
            raft.step_all(self.now, [input], &mut self.effects);
            let from = NodeId(place as u64 + 1);
            for effect in self.effects.drain(..) {
                let next = match effect {
                    Effect::Write(write) => (place, Input::Flushed { sequence: write.sequence }),
                    Effect::Send { to, message } => (to.0 as usize - 1, Input::Receive { from, message }),
                    Effect::Apply(entries) => {
                        let index = entries.last().map_or(LogIndex(0), |entry| entry.id.index);
                        (place, Input::Applied { index })
                    }
                    Effect::Proposed { .. } | Effect::RoleChanged { .. } | Effect::PeersChanged { .. } => {
                        continue;
                    }
                    other => return Err(format!("a core wants what nobody here does: {other:?}")),
                };
                self.inputs.push_back(next);
            }
        }
        Ok(())
    }
}
