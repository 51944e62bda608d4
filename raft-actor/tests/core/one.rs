//! One core on the bench: a test plays everybody else, the disk and the clock.

use std::time::Duration;

use raft_actor::{
    config::Config,
    core::{Effect, Effects, Input, Raft},
    membership::Membership,
    message::{AppendEntries, AppendEntriesReply, AppendOutcome, Message, RequestVote, RequestVoteReply},
    types::{Entry, HardState, LogId, LogIndex, LogState, NodeId, Payload, Role, Term, Time},
};

/// A node and the number of its last write.
pub(super) struct One {
    pub(super) raft: Raft,
    pub(super) now: Time,
    pub(super) written: u64,
}

/// Entry `index` of `term`; its command tells which it is.
pub(super) fn entry(term: u64, index: u64) -> Entry {
    let command = format!("{index}@{term}");
    Entry::new(LogId::new(Term(term), LogIndex(index)), Payload::Command(command.into()))
}

/// A log whose entries have these terms.
pub(super) fn log(terms: &[u64]) -> Vec<Entry> {
    terms.iter().zip(1..).map(|(term, index)| entry(*term, index)).collect()
}

/// `id(3, 7)` is the entry of term 3 at index 7.
pub(super) fn id(term: u64, index: u64) -> LogId {
    LogId::new(Term(term), LogIndex(index))
}

/// A leader's message: `terms` of the entries after `prev`.
pub(super) fn append(term: u64, prev: LogId, terms: &[u64], commit: u64) -> Message {
    let entries =
        terms.iter().zip(prev.index.0.saturating_add(1)..=u64::MAX).map(|(term, index)| entry(*term, index));
    Message::AppendEntries(AppendEntries {
        term: Term(term),
        prev_log_id: prev,
        entries: entries.collect::<Vec<_>>().into(),
        leader_commit: LogIndex(commit),
        round: 0,
        held_index: LogIndex(0),
    })
}

pub(super) fn request_vote(term: u64, last: LogId) -> Message {
    Message::RequestVote(RequestVote {
        term: Term(term),
        last_log_id: last,
        pre_vote: false,
        leadership_transfer: false,
    })
}

pub(super) fn pre_vote(term: u64, last: LogId) -> Message {
    Message::RequestVote(RequestVote {
        term: Term(term),
        last_log_id: last,
        pre_vote: true,
        leadership_transfer: false,
    })
}

pub(super) fn vote(term: u64, vote_granted: bool) -> Message {
    Message::RequestVoteReply(RequestVoteReply { term: Term(term), vote_granted, pre_vote: false })
}

pub(super) fn pre_vote_reply(term: u64, vote_granted: bool) -> Message {
    Message::RequestVoteReply(RequestVoteReply { term: Term(term), vote_granted, pre_vote: true })
}

pub(super) fn matched(term: u64, match_index: u64) -> Message {
    matched_in_round(term, match_index, 0)
}

pub(super) fn matched_in_round(term: u64, match_index: u64, round: u64) -> Message {
    let outcome = AppendOutcome::Matched { match_index: LogIndex(match_index) };
    Message::AppendEntriesReply(AppendEntriesReply { term: Term(term), round, outcome })
}

pub(super) fn conflict(term: u64, rejected: LogId, hint: LogId) -> Message {
    let outcome = AppendOutcome::Conflict { rejected, hint };
    Message::AppendEntriesReply(AppendEntriesReply { term: Term(term), round: 0, outcome })
}

/// What is sent, to whom.
pub(super) fn sends(effects: &[Effect]) -> Vec<(u64, Message)> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send { to, message } => Some((to.0, message.clone())),
        _ => None,
    });
    sent.collect()
}

/// The AppendEntries for one peer.
pub(super) fn appends(effects: &[Effect], peer: u64) -> Vec<AppendEntries> {
    let sent = sends(effects).into_iter().filter(|(to, _)| *to == peer);
    let appends = sent.filter_map(|(_, message)| match message {
        Message::AppendEntries(append) => Some(append),
        _ => None,
    });
    appends.collect()
}

/// The `match_index` of each acknowledgement.
pub(super) fn acks(effects: &[Effect]) -> Vec<u64> {
    let acks = sends(effects).into_iter().filter_map(|(_, message)| match message {
        Message::AppendEntriesReply(AppendEntriesReply {
            outcome: AppendOutcome::Matched { match_index },
            ..
        }) => Some(match_index.0),
        _ => None,
    });
    acks.collect()
}

/// Whether each vote that is answered is granted; pre-votes too.
pub(super) fn votes(effects: &[Effect]) -> Vec<bool> {
    let votes = sends(effects).into_iter().filter_map(|(_, message)| match message {
        Message::RequestVoteReply(reply) => Some(reply.vote_granted),
        _ => None,
    });
    votes.collect()
}

/// The terms of the requests for votes that go out, pre-votes marked.
pub(super) fn vote_requests(effects: &[Effect]) -> Vec<(u64, bool)> {
    let requests = sends(effects).into_iter().filter_map(|(_, message)| match message {
        Message::RequestVote(request) => Some((request.term.0, request.pre_vote)),
        _ => None,
    });
    requests.collect()
}

impl One {
    /// Node 1, with a log of these terms on its disk, among `members`.
    pub(super) fn new(members: Membership, term: u64, voted_for: Option<u64>, terms: &[u64]) -> One {
        let hard_state = HardState { term: Term(term), voted_for: voted_for.map(NodeId), fence: None };
        One::recover(members, LogState::of(hard_state, log(terms)), Config::default())
    }

    pub(super) fn recover(members: Membership, state: LogState, config: Config) -> One {
        let raft = Raft::new(NodeId(1), &config, 7, Time(1), state, members);
        One { raft, now: Time(1), written: 0 }
    }

    /// Steps, and flushes nothing.
    pub(super) fn input(&mut self, input: Input) -> Effects {
        let effects = self.raft.step(self.now, input);
        self.note(&effects);
        effects
    }

    fn note(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Write(write) = effect {
                self.written += 1;
                assert_eq!(write.sequence, self.written, "writes are numbered without gaps");
            }
        }
    }

    pub(super) fn receive(&mut self, from: u64, message: Message) -> Effects {
        self.input(Input::Receive { from: NodeId(from), message })
    }

    /// Everything written reaches the disk.
    pub(super) fn flush(&mut self) -> Effects {
        self.input(Input::Flushed { sequence: self.written })
    }

    /// Steps, and flushes.
    pub(super) fn receive_and_flush(&mut self, from: u64, message: Message) -> Effects {
        let mut effects = self.receive(from, message);
        effects.extend(self.flush());
        effects
    }

    pub(super) fn pass(&mut self, milliseconds: u64) -> Effects {
        self.now = self.now.after(Duration::from_millis(milliseconds));
        self.input(Input::Tick)
    }

    /// Wins the next term with the votes of nodes 2 and 3; its first entry is flushed.
    pub(super) fn win(&mut self) -> Effects {
        let term = self.raft.term().0 + 1;
        self.input(Input::Campaign);
        for voter in [2, 3] {
            self.receive(voter, pre_vote_reply(term, true));
        }
        self.flush();
        let mut effects = self.receive(2, vote(term, true));
        if self.raft.role() != Role::Leader {
            effects.extend(self.receive(3, vote(term, true)));
        }
        assert_eq!(self.raft.role(), Role::Leader);
        effects.extend(self.flush());
        effects
    }

    /// Where the log ends, and the commit index.
    pub(super) fn ends(&self) -> (LogId, u64) {
        (self.raft.last_log_id(), self.raft.commit_index().0)
    }
}
