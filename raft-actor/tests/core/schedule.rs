//! Random schedules: messages lost, doubled and reordered, nodes crashed with writes unflushed, networks
//! parted. The cluster checks Raft Figure 3 after every step (see `cluster.rs`); this drives it, and counts
//! what has happened.

use std::time::Duration;

use fastrand::Rng;
use raft_actor::{
    config::Config,
    core::Input,
    membership::{Membership, MembershipChange},
    message::ReadId,
    types::{LogIndex, NodeId, Role, Term},
};

use super::cluster::{Cluster, voters};

const SEEDS: u64 = 320;
const STEPS: usize = 700;

#[derive(Debug, Default)]
pub(crate) struct Counts {
    elections: u64,
    commits: usize,
    crashes: usize,
    damaged: usize,
    partitions: usize,
    doubled: usize,
    lost: usize,
    reads: usize,
    transfers: usize,
    changes: usize,
    changes_begun: usize,
    joint: usize,
    leaders_removed: usize,
}

impl Counts {
    fn add(&mut self, others: &Counts) {
        self.elections += others.elections;
        self.commits += others.commits;
        self.crashes += others.crashes;
        self.damaged += others.damaged;
        self.partitions += others.partitions;
        self.doubled += others.doubled;
        self.lost += others.lost;
        self.reads += others.reads;
        self.transfers += others.transfers;
        self.changes += others.changes;
        self.changes_begun += others.changes_begun;
        self.joint += others.joint;
        self.leaders_removed += others.leaders_removed;
    }
}

fn config(random: &mut Rng) -> Config {
    let mut config = Config::default();
    config.append_entries_max = random.u64(1..8);
    config.inflight_max = random.u64(1..5);
    config.cache_bytes_max = random.u64(0..400);
    config.promotion_lag_max = random.u64(0..10);
    config.lease_reads = random.bool();
    config
}

struct Run {
    cluster: Cluster,
    random: Rng,
    /// Nodes that there are, members or not.
    size: u64,
    /// Whether members come and go.
    changes: bool,
    /// Whether they have priorities, and some are witnesses.
    standing: bool,
    sequence: u64,
    counts: Counts,
}

impl Run {
    fn any(&mut self) -> u64 {
        self.random.u64(1..=self.size)
    }

    fn step(&mut self) {
        let id = self.any();
        match self.random.u32(0..100) {
            0..40 => self.deliver(),
            40..68 => self.cluster.flush_one(NodeId(id)),
            68..80 => self.tick(),
            80 if self.changes => self.change(),
            // With fewer faults, or no node would catch up before the next one.
            90..94 if self.changes && self.random.u32(0..4) > 0 => self.cluster.heal(),
            80..90 => self.client(),
            90 => self.crash(id),
            91..93 => {
                if self.cluster.nodes[&NodeId(id)].raft.is_none() {
                    self.damage(id);
                    self.cluster.restart(id);
                }
            }
            93 => {
                let other = self.any();
                if other != id {
                    self.cluster.cut(id, other);
                    self.counts.partitions += 1;
                }
            }
            94 => self.cluster.heal(),
            95 => self.cluster.input(id, Input::Campaign),
            96 => {
                let peer = NodeId(self.any());
                self.cluster.input(id, Input::Unreachable { peer });
                if self.random.bool() {
                    self.cluster.input(id, Input::Gone { peer });
                }
            }
            97 => {
                if let Some(leader) = self.cluster.leader() {
                    self.counts.transfers += 1;
                    self.cluster.input(leader.0, Input::Transfer { to: None });
                }
            }
            98 if self.changes => self.change(),
            _ => self.read(id),
        }
    }

    /// Asks the leader for other members: up to three of them at once, most of it sensible.
    fn change(&mut self) {
        let Some(leader) = self.cluster.leader() else { return };
        let membership = self.cluster.raft(leader.0).membership().clone();
        let mut change = MembershipChange::new();
        for _ in 0..[1, 1, 1, 2, 3][self.random.usize(0..5)] {
            let node = NodeId(self.any());
            change = match (membership.voters().contains(&node), self.random.u32(0..4)) {
                _ if !membership.contains(node) && self.standing && self.random.bool() => {
                    change.add_witness(node, format!("node-{node}"))
                }
                (_, 3) if self.standing => change.set_priority(node, self.random.u8(1..4)),
                _ if !membership.contains(node) => change.add_learner(node, format!("node-{node}")),
                (false, 0) | (true, 1) => change.remove(node),
                (true, 2) => change.demote(node),
                (_, 3) => change.set_address(node, self.random.u32(0..9).to_string()),
                _ => change.promote(node),
            };
        }
        self.sequence += 1;
        self.counts.changes += 1;
        let target = membership.changed_by(&change);
        let last = self.cluster.raft(leader.0).membership_log_id();
        self.cluster.change(leader.0, self.sequence, change);
        if self.cluster.raft(leader.0).membership_log_id() != last {
            self.counts.changes_begun += 1;
            self.counts.joint += usize::from(self.cluster.raft(leader.0).membership().is_joint());
            let is_removed = target.is_ok_and(|target| !target.voters().contains(&leader));
            self.counts.leaders_removed += usize::from(is_removed);
        }
    }

    fn deliver(&mut self) {
        let waiting = self.cluster.wire.len();
        if waiting == 0 {
            return;
        }
        // Mostly in order, at times not.
        let place = if self.random.u32(0..4) == 0 { self.random.usize(0..waiting) } else { 0 };
        match self.random.u32(0..20) {
            0 => {
                self.cluster.wire.remove(place);
                self.counts.lost += 1;
            }
            1 => {
                let twin = self.cluster.wire[place].clone();
                self.cluster.wire.push(twin);
                self.counts.doubled += 1;
                self.cluster.deliver(place);
            }
            _ => self.cluster.deliver(place),
        }
    }

    fn tick(&mut self) {
        if self.random.bool() {
            self.cluster.now = self.cluster.now.after(Duration::from_millis(self.random.u64(1..20)));
        }
        if let Some((due, id)) = self.cluster.next_deadline() {
            self.cluster.now = self.cluster.now.max(due);
            self.cluster.inputs(id, vec![Input::Tick]);
        }
    }

    /// A few commands, often as one batch, to any node: most refuse.
    fn client(&mut self) {
        let id =
            self.cluster.leader().filter(|_| self.random.u32(0..5) > 0).map_or_else(|| self.any(), |it| it.0);
        let inputs = (0..self.random.u32(1..4)).map(|_| {
            self.sequence += 1;
            Input::Propose { commands: vec![self.sequence.to_string().into()] }
        });
        let inputs = inputs.collect();
        self.cluster.inputs(NodeId(id), inputs);
    }

    fn read(&mut self, id: u64) {
        self.sequence += 1;
        let read = ReadId(self.sequence);
        let by_lease = self.sequence.is_multiple_of(2);
        let input = if by_lease { Input::LeaseRead { id: read } } else { Input::Read { id: read } };
        self.cluster.input(id, input);
    }

    /// At times a disk has lost a part of its log meanwhile. One at a time: without a majority that remembers
    /// everything nobody would be elected any more, which the cluster does not outlive.
    fn damage(&mut self, id: u64) {
        let fenced = self.cluster.nodes.values().any(|node| node.disk.hard_state.fence.is_some());
        let entries = self.cluster.nodes[&NodeId(id)].disk.entries.len() as u64;
        if !self.changes && self.size >= 3 && !fenced && entries > 0 && self.random.u32(0..4) > 0 {
            self.cluster.damage(id, LogIndex(self.random.u64(1..=entries)));
            self.counts.damaged += 1;
        }
    }

    fn crash(&mut self, id: u64) {
        if self.cluster.nodes[&NodeId(id)].raft.is_some() {
            self.cluster.crash(id);
            self.counts.crashes += 1;
        }
    }

    /// When all is well again, the cluster goes on, and everyone gets everything.
    fn recover(&mut self) {
        self.cluster.heal();
        for id in 1..=self.size {
            if self.cluster.nodes[&NodeId(id)].raft.is_none() {
                self.damage(id);
                self.cluster.restart(id);
            }
        }
        self.cluster.settle();
        // Disks were slower than many election timeouts; the waits that were drawn by that have to pass.
        self.cluster.pass(Duration::from_secs(20));
        let leader = self.cluster.leader().expect("a healed cluster has a leader").0;
        let before = self.cluster.committed.len();
        self.cluster.propose(leader, "last");
        self.cluster.settle();
        self.cluster.pass(Duration::from_millis(500));
        let committed = self.cluster.committed.len();
        assert_eq!(committed, before + 1, "the last command is committed");
        let membership = self.cluster.raft(leader).membership().clone();
        assert!(!membership.is_witness(NodeId(leader)), "a witness leads for a moment only");
        assert!(!membership.is_joint(), "no change is left half made");
        for node in membership.nodes() {
            let applied = self.cluster.nodes[&node].applied.len();
            assert_eq!(applied, committed, "every member applies everything: node {node}");
            assert_eq!(*self.cluster.raft(node.0).membership(), membership, "node {node}");
        }
    }
}

/// Voters with priorities above 0, most often one of them a witness.
fn standing_voters(size: u64, random: &mut Rng) -> Membership {
    let priority = |all: Membership, node| {
        all.with_priority(NodeId(node), random.u8(1..4)).expect("a member that may lead")
    };
    let members = (1..=size).fold(voters(size), priority);
    let witness = NodeId(random.u64(1..=size));
    members.clone().with_witness(witness).unwrap_or(members)
}

/// Runs one schedule, with as many nodes that may join, and changes of members where there are any.
pub(crate) fn run_one(seed: u64, steps: usize, joining: u64) -> Counts {
    run_one_of(seed, steps, joining, false)
}

/// The same; where they are `standing`, members have priorities, and some are witnesses.
fn run_one_of(seed: u64, steps: usize, joining: u64, standing: bool) -> Counts {
    let mut random = Rng::with_seed(seed);
    let size = [1, 2, 3, 3, 3, 4, 5, 5][random.usize(0..8)];
    let config = config(&mut random);
    let members = if standing { standing_voters(size, &mut random) } else { voters(size) };
    let mut cluster = Cluster::with(members, config, seed);
    cluster.tail_max = random.usize(0..6);
    (1..=joining).for_each(|number| cluster.join(size + number));
    let size = size + joining;
    let changes = joining > 0;
    let (sequence, counts) = Default::default();
    let mut run = Run { cluster, random, size, changes, standing, sequence, counts };
    for _ in 0..steps {
        run.step();
    }
    run.recover();
    let terms = run.cluster.nodes.values().filter_map(|node| node.raft.as_ref()).map(|raft| raft.term());
    run.counts.elections = terms.max().unwrap_or(Term(0)).0;
    run.counts.commits = run.cluster.committed.len();
    run.counts.reads = run.cluster.reads_served;
    let leaders = run.cluster.nodes.values().filter_map(|node| node.raft.as_ref());
    assert_eq!(leaders.filter(|raft| raft.role() == Role::Leader).count(), 1, "seed {seed}");
    run.counts
}

/// Runs so many schedules, with nodes that may join and changes of members where `joining` is more than none.
fn run(seeds: u64, steps: usize, joining: u64, standing: bool) -> Counts {
    let mut total = Counts::default();
    for seed in 0..seeds {
        total.add(&run_one_of(seed, steps, joining, standing));
    }
    println!("{seeds} seeds of {steps} steps: {total:?}");
    total
}

#[test]
fn no_random_schedule_breaks_the_five_properties_of_figure_3() {
    let seeds = crate::seeds(SEEDS);
    let total = run(seeds, STEPS, 0, false);
    assert!(total.elections > seeds * 2, "vacuous: {total:?}");
    assert!(total.commits as u64 > seeds * 20, "vacuous: {total:?}");
    assert!(total.crashes as u64 > seeds * 2, "vacuous: {total:?}");
    assert!(total.damaged as u64 > seeds / 4, "vacuous: {total:?}");
    assert!(total.partitions as u64 > seeds, "vacuous: {total:?}");
    assert!(total.doubled > 1000 && total.lost > 1000 && total.transfers > 200, "vacuous: {total:?}");
    assert!(total.reads as u64 > seeds, "vacuous: {total:?}");
}

#[test]
fn no_random_schedule_breaks_them_while_members_come_and_go() {
    let total = run(crate::seeds(420), 2000, 2, false);
    assert!(total.commits > 5000 && total.crashes > 500 && total.partitions > 500, "vacuous: {total:?}");
    assert!(total.changes_begun > 400 && total.joint > 60, "vacuous: {total:?}");
    assert!(total.leaders_removed > 20 && total.reads > 100, "vacuous: {total:?}");
}

#[test]
fn no_random_schedule_breaks_them_where_members_have_priorities_and_some_are_witnesses() {
    let total = run(crate::seeds(160), STEPS, 0, true);
    assert!(total.commits > 1000 && total.crashes > 200 && total.partitions > 100, "vacuous: {total:?}");
    let total = run(crate::seeds(120), 2000, 2, true);
    assert!(total.commits > 1000 && total.crashes > 200 && total.partitions > 100, "vacuous: {total:?}");
    assert!(total.changes_begun > 100 && total.joint > 20, "vacuous: {total:?}");
}
