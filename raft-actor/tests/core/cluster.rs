//! A cluster of cores in memory. It carries their effects out with no will of its own: a test decides what
//! is flushed, what is delivered, what is lost and who crashes. Every message and every write is checked on
//! its way.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::one::log;
use bytes::Bytes;
use raft_actor::{
    config::Config,
    core::{Effect, Effects, Input, Raft},
    membership::{Membership, MembershipChange},
    message::{Message, ReadId},
    testkit::invariants::{Held, Invariants, Sight, Violation, lost_behind_fence},
    types::{Entry, HardState, LogId, LogIndex, LogState, LogWrite, NodeId, Role, Term, Time},
};

/// A message on the wire.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) message: Message,
}

/// What a node's disk holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    pub(super) entries: Vec<Entry>,
}

impl Disk {
    fn write(&mut self, write: &LogWrite) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(from) = write.truncate_from {
            self.entries.truncate(from.0 as usize - 1);
        }
        if let Some(first) = write.entries.first() {
            assert_eq!(first.id.index.0 as usize, self.entries.len() + 1, "a write leaves a gap");
        }
        self.entries.extend(write.entries.iter().cloned());
    }

    pub(super) fn id_at(&self, index: LogIndex) -> Option<LogId> {
        whole(&self.entries).id_at(index)
    }
}

/// Nothing is compacted here: logs begin at index 1.
fn whole(entries: &[Entry]) -> Held<'_> {
    Held { purged: LogId::ZERO, entries }
}

/// A node: its core while it runs, its disk always.
pub(super) struct Node {
    pub(super) raft: Option<Raft>,
    pub(super) disk: Disk,
    /// What the log will be once all writes are flushed.
    pub(super) log: Disk,
    pub(super) unflushed: VecDeque<LogWrite>,
    /// What the state machine has seen in this run.
    pub(super) applied: Vec<Entry>,
    /// Effects for the node's clients, in order.
    pub(super) told: Vec<Effect>,
    reads: BTreeMap<ReadId, usize>,
}

/// A disk with a log of these terms.
pub(super) fn disk(term: u64, terms: &[u64]) -> Disk {
    Disk { hard_state: HardState { term: Term(term), voted_for: None, fence: None }, entries: log(terms) }
}

/// All nodes, the wire between them, and the record of what must stay true.
pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) wire: Vec<Mail>,
    pub(super) now: Time,
    pub(super) config: Config,
    cut: BTreeSet<(NodeId, NodeId)>,
    base: Membership,
    /// Nodes that were not there at first: they know of no members until the log tells.
    joined: BTreeSet<NodeId>,
    /// How many recovered entries a restarted core is given at once.
    pub(super) tail_max: usize,
    starts: u64,
    invariants: Invariants,
    /// In order: each committed entry, and the term in which that was first known.
    pub(super) committed: Vec<(LogId, Term)>,
    pub(super) reads_served: usize,
}

/// Nodes 1 to `count` as voters.
pub(super) fn voters(count: u64) -> Membership {
    Membership::new((1..=count).map(|id| (NodeId(id), format!("node-{id}")))).expect("a valid membership")
}

#[track_caller]
fn hold(invariant: Result<(), Violation>) {
    if let Err(violation) = invariant {
        panic!("{violation}");
    }
}

impl Cluster {
    pub(super) fn new(count: u64) -> Cluster {
        Cluster::with(voters(count), Config::default(), 0)
    }

    pub(super) fn with(base: Membership, config: Config, seed: u64) -> Cluster {
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            wire: Vec::new(),
            now: Time(1),
            config,
            cut: BTreeSet::new(),
            base: base.clone(),
            joined: BTreeSet::new(),
            tail_max: usize::MAX,
            starts: seed.wrapping_mul(1000),
            invariants: Invariants::default(),
            committed: Vec::new(),
            reads_served: 0,
        };
        for id in base.nodes() {
            cluster.place(id, Disk::default());
        }
        cluster
    }

    /// Starts node `id` on what its disk holds.
    pub(super) fn place(&mut self, id: NodeId, disk: Disk) {
        hold(self.invariants.start(id, disk.hard_state, whole(&[])));
        self.starts += 1;
        let mut state = LogState::of(disk.hard_state, disk.entries.clone());
        let skipped = state.tail.len().saturating_sub(self.tail_max);
        state.tail = state.tail.slice(skipped, state.tail.len());
        for (place, entry) in disk.entries.iter().enumerate() {
            let before = place.checked_sub(1).map_or(LogId::ZERO, |place| disk.entries[place].id);
            hold(self.invariants.write(before, std::slice::from_ref(entry)));
        }
        let base = if self.joined.contains(&id) { Membership::default() } else { self.base.clone() };
        let raft = Raft::new(id, &self.config, self.starts, self.now, state, base);
        let node = Node {
            raft: Some(raft),
            log: disk.clone(),
            disk,
            unflushed: VecDeque::new(),
            applied: Vec::new(),
            told: Vec::new(),
            reads: BTreeMap::new(),
        };
        self.nodes.insert(id, node);
    }

    /// A new node starts, with nothing on its disk, and waits to be added.
    pub(super) fn join(&mut self, id: u64) {
        self.joined.insert(NodeId(id));
        self.place(NodeId(id), Disk::default());
    }

    pub(super) fn raft(&self, id: u64) -> &Raft {
        self.nodes[&NodeId(id)].raft.as_ref().expect("the node runs")
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of the cluster")
    }

    pub(super) fn input(&mut self, id: u64, input: Input) {
        self.inputs(NodeId(id), vec![input]);
    }

    /// Gives a node a batch, and carries out what it wants done.
    pub(super) fn inputs(&mut self, id: NodeId, inputs: Vec<Input>) {
        let committed = self.committed.len();
        let now = self.now;
        let node = self.node(id);
        let Some(raft) = &mut node.raft else { return };
        for input in &inputs {
            match input {
                Input::Read { id } | Input::LeaseRead { id } => drop(node.reads.insert(*id, committed)),
                // May be stale: the test that asks knows by how much.
                Input::ReadWithin { id, .. } => drop(node.reads.insert(*id, 0)),
                _ => {}
            }
        }
        let mut effects = Effects::new();
        raft.step_all(now, inputs, &mut effects);
        let deadline = raft.deadline();
        assert!(deadline > now, "node {id}: the next tick is due at {deadline}, not after {now}");
        let mut replies = Vec::new();
        for effect in effects {
            self.carry_out(id, effect, &mut replies);
        }
        self.check(id);
        if !replies.is_empty() {
            self.inputs(id, replies);
        }
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect, replies: &mut Vec<Input>) {
        match effect {
            Effect::Write(write) => self.take_write(id, write),
            Effect::Send { to, message } => {
                let node = &self.nodes[&id];
                let flushed = LogIndex(node.disk.entries.len() as u64);
                hold(self.invariants.say(id, to, node.disk.hard_state, flushed, &message));
                if !self.cut.contains(&(id, to)) {
                    self.wire.push(Mail { from: id, to, message });
                }
            }
            Effect::ReadLog { reader, first, last, bytes_max } => {
                assert!(first <= last && bytes_max > 0);
                let log = &self.nodes[&id].log.entries;
                let end = last.0.min(first.0 + 2) as usize;
                let entries = log[first.0 as usize - 1..end].to_vec().into();
                replies.push(Input::LogRead { reader, entries });
            }
            Effect::Apply(entries) => {
                let committed = self.committed.len();
                let node = self.node(id);
                let last = entries[entries.len() - 1].id.index;
                assert!(last.0 as usize <= committed.max(node.applied.len() + entries.len()));
                node.applied.extend(entries.iter().cloned());
                replies.push(Input::Applied { index: last });
            }
            Effect::ReadReady { ids, read_index } => {
                self.reads_served += ids.len();
                let node = self.node(id);
                for read in ids {
                    let at_least = node.reads[&read];
                    assert!(read_index.0 as usize >= at_least, "node {id}: {read:?} is stale");
                    node.told.push(Effect::ReadReady { ids: vec![read], read_index });
                }
            }
            effect => self.node(id).told.push(effect),
        }
    }

    fn take_write(&mut self, id: NodeId, write: LogWrite) {
        let node = self.node(id);
        node.log.write(&write);
        node.unflushed.push_back(write.clone());
        let start = node.log.entries.len() - write.entries.len();
        let before = node.log.id_at(LogIndex(start as u64)).unwrap_or(LogId::ZERO);
        hold(self.invariants.write(before, &write.entries));
    }

    /// Raft Figure 3 and our own promises, after every step of a node.
    fn check(&mut self, id: NodeId) {
        let node = &self.nodes[&id];
        let Some(raft) = &node.raft else { return };
        let (log, disk) = (whole(&node.log.entries), whole(&node.disk.entries));
        let applied = whole(&node.applied);
        let sight = Sight { raft, log: &log, disk: &disk, applied: &applied, unchanged: LogIndex(0) };
        let on_disk = |node: NodeId, entry: LogId| {
            self.nodes.get(&node).is_some_and(|node| {
                let has = node.disk.id_at(entry.index) == Some(entry);
                has || lost_behind_fence(node.disk.hard_state, entry)
            })
        };
        hold(self.invariants.check(sight, on_disk));
        let committed = self.invariants.committed();
        self.committed.extend_from_slice(&committed[self.committed.len()..]);
    }

    /// The oldest write of a node reaches its disk.
    pub(super) fn flush_one(&mut self, id: NodeId) {
        let node = self.node(id);
        if node.raft.is_none() {
            return;
        }
        if let Some(write) = node.unflushed.pop_front() {
            node.disk.write(&write);
            self.inputs(id, vec![Input::Flushed { sequence: write.sequence }]);
        }
    }

    pub(super) fn flush(&mut self, id: u64) {
        while !self.nodes[&NodeId(id)].unflushed.is_empty() {
            self.flush_one(NodeId(id));
        }
    }

    /// Delivers one message of the wire.
    pub(super) fn deliver(&mut self, place: usize) {
        let mail = self.wire.remove(place);
        if !self.cut.contains(&(mail.from, mail.to)) && self.nodes.contains_key(&mail.to) {
            self.inputs(mail.to, vec![Input::Receive { from: mail.from, message: mail.message }]);
        }
    }

    /// Flushes and delivers, in order, until nothing is left to do.
    pub(super) fn settle(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for _ in 0..100_000 {
            for id in &ids {
                self.flush_one(*id);
            }
            let is_flushed = self.nodes.values().all(|node| node.unflushed.is_empty() || node.raft.is_none());
            if self.wire.is_empty() {
                if is_flushed {
                    return;
                }
                continue;
            }
            self.deliver(0);
        }
        panic!("the cluster does not come to rest");
    }

    /// Lets time pass; every tick comes when it is due.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some((due, id)) = self.next_deadline().filter(|(due, _)| *due <= end) {
            self.now = self.now.max(due);
            self.inputs(id, vec![Input::Tick]);
            self.settle();
        }
        self.now = end;
    }

    pub(super) fn next_deadline(&self) -> Option<(Time, NodeId)> {
        let running = self.nodes.iter().filter_map(|(id, node)| Some((node.raft.as_ref()?.deadline(), *id)));
        running.min()
    }

    /// The log of a node that is down is damaged from `from` on, and repaired.
    pub(super) fn damage(&mut self, id: u64, from: LogIndex) {
        let node = self.node(NodeId(id));
        node.disk.entries.truncate(from.previous().0 as usize);
        node.disk.hard_state = node.disk.hard_state.fenced().expect("terms that do not end");
    }

    /// Node `id` campaigns and wins.
    pub(super) fn elect(&mut self, id: u64) {
        self.input(id, Input::Campaign);
        self.settle();
        assert_eq!(self.raft(id).role(), Role::Leader);
    }

    pub(super) fn propose(&mut self, id: u64, command: &str) {
        self.input(id, Input::Propose { commands: vec![Bytes::from(command.to_owned())] });
    }

    /// Asks a node to change the members; the answer is told under `number`.
    pub(super) fn change(&mut self, id: u64, number: u64, change: MembershipChange) {
        self.input(id, Input::ChangeMembership { id: number, change });
    }

    /// The leader of the highest term.
    pub(super) fn leader(&self) -> Option<NodeId> {
        let running = self.nodes.values().filter_map(|node| node.raft.as_ref());
        let leaders = running.filter(|raft| raft.role() == Role::Leader);
        leaders.max_by_key(|raft| raft.term()).map(Raft::id)
    }

    /// Cuts the links between two nodes, both ways.
    pub(super) fn cut(&mut self, one: u64, other: u64) {
        self.cut.insert((NodeId(one), NodeId(other)));
        self.cut.insert((NodeId(other), NodeId(one)));
    }

    pub(super) fn isolate(&mut self, id: u64) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().filter(|other| other.0 != id).collect();
        for other in ids {
            self.cut(id, other.0);
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    /// The node stops at once; what was not flushed is lost.
    pub(super) fn crash(&mut self, id: u64) {
        let node = self.node(NodeId(id));
        node.raft = None;
        node.unflushed.clear();
        node.log = node.disk.clone();
        self.wire.retain(|mail| mail.to.0 != id);
    }

    pub(super) fn restart(&mut self, id: u64) {
        let disk = self.nodes[&NodeId(id)].disk.clone();
        self.place(NodeId(id), disk);
    }

    pub(super) fn told(&mut self, id: u64) -> Vec<Effect> {
        std::mem::take(&mut self.node(NodeId(id)).told)
    }
}
