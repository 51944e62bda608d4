//! What a peer may say, it will: any message, at any time, with any number in it. A core that hears such
//! peers goes on, and keeps what it must never forget.

use std::{cell::Cell, time::Duration};

use proptest::{prelude::*, test_runner::TestRunner};
use raft_actor::{
    config::Config,
    core::{Effect, Input, LogReader},
    message::{
        AppendEntries, AppendEntriesReply, AppendOutcome, Message, ReadId, ReadIndex, ReadIndexReply,
        RequestVote, RequestVoteReply, TimeoutNow,
    },
    types::{
        Entries, Entry, HardState, LogId, LogIndex, LogState, LogWrite, NodeId, Payload, Role, Term, Time,
    },
};

use super::{
    cluster::{Disk, voters},
    one::{One, conflict, log},
};

/// Mostly near the beginning, where it can do harm; at times at the end of the numbers.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        12 => 0_u64..12,
        1 => (0_u64..3).prop_map(|below| u64::MAX - below),
        1 => Just(1 << 32),
        1 => any::<u64>(),
    ]
}

fn place() -> impl Strategy<Value = LogId> {
    (number(), number()).prop_map(|(term, index)| LogId::new(Term(term), LogIndex(index)))
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Payload::Command(bytes.into())),
        1 => Just(Payload::Noop),
        1 => (1_u64..5).prop_map(|count| Payload::Membership(Box::new(voters(count)))),
        // What cannot be built can still be sent.
        1 => Just(Payload::Membership(Box::default())),
    ]
}

/// Mostly a run that an honest leader could send; at times anything.
fn append() -> BoxedStrategy<AppendEntries> {
    let entries = proptest::collection::vec((0_u64..3, place(), payload()), 0..6);
    (number(), place(), entries, number(), number(), 0_u32..8)
        .prop_map(|(term, prev, parts, commit, round, wild)| {
            let mut last = prev;
            let entries = parts.into_iter().map(|(rise, anywhere, payload)| {
                let next = LogId::new(
                    Term(last.term.0.saturating_add(rise).min(term)),
                    LogIndex(last.index.0.saturating_add(1)),
                );
                last = if wild == 0 { anywhere } else { next };
                Entry::new(last, payload)
            });
            let entries = entries.collect::<Vec<_>>().into();
            AppendEntries {
                term: Term(term),
                prev_log_id: prev,
                entries,
                leader_commit: LogIndex(commit),
                round,
                held_index: LogIndex(0),
            }
        })
        .boxed()
}

fn message() -> BoxedStrategy<Message> {
    let outcome = prop_oneof![
        number().prop_map(|index| AppendOutcome::Matched { match_index: LogIndex(index) }),
        (place(), place()).prop_map(|(rejected, hint)| AppendOutcome::Conflict { rejected, hint }),
        Just(AppendOutcome::StaleTerm),
    ];
    prop_oneof![
        4 => append().prop_map(Message::AppendEntries),
        2 => (number(), number(), outcome).prop_map(|(term, round, outcome)| {
            Message::AppendEntriesReply(AppendEntriesReply { term: Term(term), round, outcome })
        }),
        2 => (number(), place(), any::<bool>(), any::<bool>()).prop_map(
            |(term, last_log_id, pre_vote, leadership_transfer)| {
                let term = Term(term);
                Message::RequestVote(RequestVote { term, last_log_id, pre_vote, leadership_transfer })
            }
        ),
        2 => (number(), any::<bool>(), any::<bool>()).prop_map(|(term, vote_granted, pre_vote)| {
            Message::RequestVoteReply(RequestVoteReply { term: Term(term), vote_granted, pre_vote })
        }),
        1 => number().prop_map(|term| Message::TimeoutNow(TimeoutNow { term: Term(term) })),
        1 => (number(), number()).prop_map(|(term, id)| {
            Message::ReadIndex(ReadIndex { term: Term(term), id: ReadId(id) })
        }),
        1 => (number(), number(), proptest::option::of(number())).prop_map(|(term, id, index)| {
            let read_index = index.map(LogIndex);
            Message::ReadIndexReply(ReadIndexReply { term: Term(term), id: ReadId(id), read_index })
        }),
    ]
    .boxed()
}

/// What happens to the node: mostly mail, else what its own world does.
#[derive(Clone, Debug)]
enum Event {
    Mail(u64, Message),
    /// The same, answering in the node's own term: what an honest peer's late or odd answer looks like.
    MailOfNow(u64, Message),
    /// What a leader of this or a later term could send: entries that follow on the node's own log, so far
    /// back.
    Fitting {
        later: u64,
        back: u64,
        count: u64,
        uncommitted: u64,
    },
    Flush,
    Wait(u64),
    Win,
    Own(Input),
}

fn event() -> BoxedStrategy<Event> {
    prop_oneof![
        6 => (0_u64..6, message()).prop_map(|(from, message)| Event::Mail(from, message)),
        6 => (2_u64..4, message()).prop_map(|(from, message)| Event::MailOfNow(from, message)),
        4 => (0_u64..2, 0_u64..3, 0_u64..4, 0_u64..4).prop_map(|(later, back, count, uncommitted)| {
            Event::Fitting { later, back, count, uncommitted }
        }),
        6 => Just(Event::Flush),
        2 => (0_u64..700).prop_map(Event::Wait),
        2 => Just(Event::Win),
        1 => Just(Event::Own(Input::Campaign)),
        1 => Just(Event::Own(Input::Propose { commands: vec!["one".into(), "two".into()] })),
        1 => number().prop_map(|id| Event::Own(Input::Read { id: ReadId(id) })),
        1 => proptest::option::of(1_u64..5).prop_map(|to| Event::Own(Input::Transfer { to: to.map(NodeId) })),
        1 => (1_u64..5).prop_map(|peer| Event::Own(Input::Unreachable { peer: NodeId(peer) })),
        1 => (1_u64..5).prop_map(|peer| Event::Own(Input::Gone { peer: NodeId(peer) })),
    ]
    .boxed()
}

fn set_term(message: &mut Message, now: Term) {
    match message {
        Message::RequestVote(message) => message.term = now,
        Message::RequestVoteReply(message) => message.term = now,
        Message::AppendEntries(message) => message.term = now,
        Message::AppendEntriesReply(message) => message.term = now,
        Message::TimeoutNow(message) => message.term = now,
        Message::ReadIndex(message) => message.term = now,
        Message::ReadIndexReply(message) => message.term = now,
        _ => {}
    }
}

/// The node under fire, its disk, and what must stay true of them.
struct Target {
    one: One,
    disk: Disk,
    writes: Vec<LogWrite>,
    /// The log as it will be.
    log: Disk,
    applied: u64,
    truncations: u64,
}

impl Target {
    fn new(terms: &[u64], config: Config, tail_max: usize) -> Target {
        let hard_state = HardState { term: Term(terms.last().copied().unwrap_or_default()), voted_for: None };
        let mut state = LogState::of(hard_state, log(terms));
        let skipped = state.tail.len().saturating_sub(tail_max);
        state.tail = state.tail.slice(skipped, state.tail.len());
        let disk = Disk { hard_state, entries: log(terms) };
        let one = One::recover(voters(3), state, config);
        Target { one, log: disk.clone(), disk, writes: Vec::new(), applied: 0, truncations: 0 }
    }

    /// The one panic that is meant: a leader that contradicts what is committed.
    fn is_contradiction(&self, input: &Input) -> bool {
        let Input::Receive { message: Message::AppendEntries(append), .. } = input else { return false };
        let raft = &self.one.raft;
        append.entries.iter().any(|entry| {
            entry.id.index <= raft.commit_index() && raft.term_at(entry.id.index) != Some(entry.id.term)
        })
    }

    fn input(&mut self, input: Input) -> bool {
        if self.is_contradiction(&input) {
            return false;
        }
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let before = self.one.raft.clone();
            let effects = self.one.input(input);
            for effect in effects {
                self.carry_out(effect, &mut inputs);
            }
            let raft = &self.one.raft;
            assert!(raft.term() >= before.term(), "a term never goes back");
            assert!(
                raft.term() > before.term()
                    || before.voted_for().is_none()
                    || raft.voted_for() == before.voted_for(),
                "a vote is never taken back"
            );
            assert!(raft.commit_index() >= before.commit_index(), "what is committed stays so");
            assert!(raft.commit_index() <= raft.last_log_id().index);
            assert!(raft.flushed_index() <= raft.last_log_id().index);
            assert!(raft.applied_index() <= raft.commit_index());
            assert!(raft.last_log_id().term <= raft.term());
            assert!(raft.deadline() > self.one.now, "no tick is due at once again");
        }
        true
    }

    fn carry_out(&mut self, effect: Effect, inputs: &mut Vec<Input>) {
        match effect {
            Effect::Write(write) => {
                self.truncations += u64::from(write.truncate_from.is_some());
                apply_write(&mut self.log, &write);
                self.writes.push(write);
            }
            Effect::ReadLog { reader, first, last, .. } => {
                let entries = self.log.entries[first.0 as usize - 1..last.0 as usize].to_vec();
                if reader == LogReader::Applier {
                    assert!(last.0 as usize <= self.disk.entries.len(), "only what is flushed is applied");
                }
                inputs.push(Input::LogRead { reader, entries: entries.into() });
            }
            Effect::Apply(entries) => {
                self.check_applied(&entries);
                inputs.push(Input::Applied { index: LogIndex(self.applied) });
            }
            Effect::Send { message: Message::RequestVoteReply(reply), .. }
                if reply.vote_granted && !reply.pre_vote =>
            {
                assert!(self.disk.hard_state.term >= reply.term, "a vote that is not flushed");
            }
            Effect::Send { message: Message::AppendEntriesReply(reply), .. } => {
                assert!(self.disk.hard_state.term >= reply.term, "a term that is not flushed");
                if let AppendOutcome::Matched { match_index } = reply.outcome {
                    assert!(match_index.0 as usize <= self.disk.entries.len(), "an ack that is not flushed");
                }
            }
            _ => {}
        }
    }

    fn check_applied(&mut self, entries: &Entries) {
        for entry in entries.iter() {
            assert_eq!(entry.id.index.0, self.applied + 1, "each index once, in order");
            self.applied += 1;
            assert_eq!(self.disk.entries[self.applied as usize - 1], *entry, "applied before it is flushed");
        }
    }

    fn flush(&mut self) {
        if self.writes.is_empty() {
            return;
        }
        let write = self.writes.remove(0);
        apply_write(&mut self.disk, &write);
        self.input(Input::Flushed { sequence: write.sequence });
    }

    /// Gives the node what it needs to lead.
    fn win(&mut self) {
        self.input(Input::Campaign);
        let Some(next) = self.one.raft.term().next() else { return };
        for (term, pre_vote) in [(next, true), (self.one.raft.term(), false)] {
            while !self.writes.is_empty() {
                self.flush();
            }
            let term = if pre_vote { term } else { self.one.raft.term() };
            let reply = RequestVoteReply { term, vote_granted: true, pre_vote };
            self.input(Input::Receive { from: NodeId(2), message: Message::RequestVoteReply(reply) });
        }
    }

    fn fitting(&self, later: u64, back: u64, count: u64, uncommitted: u64) -> Message {
        let raft = &self.one.raft;
        let term = Term(raft.term().0.saturating_add(later));
        let index = LogIndex(raft.last_log_id().index.0.saturating_sub(back));
        let before = raft.term_at(index).unwrap_or_default();
        let entries = (1..=count).map(|offset| {
            Entry::new(LogId::new(term, LogIndex(index.0 + offset)), Payload::Command("fits".into()))
        });
        Message::AppendEntries(AppendEntries {
            term,
            prev_log_id: LogId::new(before, index),
            entries: entries.collect::<Vec<_>>().into(),
            leader_commit: LogIndex((index.0 + count).saturating_sub(uncommitted)),
            round: 0,
            held_index: LogIndex(0),
        })
    }

    fn meet(&mut self, event: Event) -> bool {
        match event {
            Event::Mail(from, message) => self.input(Input::Receive { from: NodeId(from), message }),
            Event::MailOfNow(from, mut message) => {
                set_term(&mut message, self.one.raft.term());
                self.input(Input::Receive { from: NodeId(from), message })
            }
            Event::Fitting { later, back, count, uncommitted } => {
                let message = self.fitting(later, back, count, uncommitted);
                self.input(Input::Receive { from: NodeId(2), message })
            }
            Event::Flush => {
                self.flush();
                true
            }
            Event::Wait(milliseconds) => {
                self.one.now = Time(self.one.now.0 + Duration::from_millis(milliseconds).as_nanos() as u64);
                self.input(Input::Tick)
            }
            Event::Win => {
                self.win();
                true
            }
            Event::Own(input) => self.input(input),
        }
    }
}

fn apply_write(disk: &mut Disk, write: &LogWrite) {
    disk.hard_state = write.hard_state.unwrap_or(disk.hard_state);
    if let Some(from) = write.truncate_from {
        disk.entries.truncate(from.0 as usize - 1);
    }
    for entry in write.entries.iter() {
        assert_eq!(entry.id.index.0 as usize, disk.entries.len() + 1, "a hole in the log");
        disk.entries.push(entry.clone());
    }
}

/// What has really happened under fire.
#[derive(Debug, Default)]
struct Counts {
    leaders: Cell<u64>,
    commits: Cell<u64>,
    truncations: Cell<u64>,
}

fn count(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get() + more);
}

#[test]
fn no_messages_whatever_make_a_core_panic_or_forget() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    let terms = proptest::collection::vec(1_u64..4, 0..8);
    let events = proptest::collection::vec(event(), 1..60);
    let counts = Counts::default();
    let outcome = runner.run(&(terms, 0_usize..10, any::<bool>(), events), |given| {
        let (mut terms, tail_max, small, events) = given;
        terms.sort_unstable();
        let mut config = Config::default();
        if small {
            config.append_entries_max = 2;
            config.inflight_max = 1;
            config.cache_bytes_max = 0;
        }
        let mut target = Target::new(&terms, config, tail_max);
        for event in events {
            target.meet(event);
            count(&counts.leaders, u64::from(target.one.raft.role() == Role::Leader));
        }
        count(&counts.commits, target.applied);
        count(&counts.truncations, target.truncations);
        // What is left of it still works: it can be elected.
        if target.one.raft.term().0 < u64::MAX - 4 && target.one.raft.membership() == &voters(3) {
            target.one.now = target.one.now.after(Duration::from_secs(2));
            target.input(Input::Tick);
            target.win();
            prop_assert_eq!(target.one.raft.role(), Role::Leader);
        }
        Ok(())
    });
    outcome.expect("any messages are borne");
    println!("{counts:?}");
    let least = [&counts.leaders, &counts.commits, &counts.truncations].map(Cell::get).into_iter().min();
    assert!(least > Some(50), "too little has happened to mean anything: {counts:?}");
}

#[test]
fn a_refusal_at_the_end_of_the_numbers_changes_nothing() {
    let mut one = One::new(voters(3), 1, None, &[1, 1]);
    one.win();
    let term = one.raft.term().0;
    let end = LogId::new(Term(1), LogIndex(u64::MAX));
    one.receive(2, conflict(term, end, end));
    assert_eq!((one.raft.role(), one.raft.term().0), (Role::Leader, term));
}
