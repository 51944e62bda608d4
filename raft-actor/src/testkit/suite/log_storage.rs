//! What every [`LogStorage`] must do, line by line of its contract.
//!
//! [`check`] runs all of it. `fresh` makes a new, empty storage's opener; the opener opens that same
//! storage, again and again, after the one that was open has been dropped. `block_on` is how your runtime
//! waits for a future.
//!
//! ```
//! use raft_actor::testkit::{memory::MemoryLog, suite::log_storage};
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! log_storage::check(
//!     || {
//!         let log = MemoryLog::new();
//!         async move || log.clone()
//!     },
//!     |future| runtime.block_on(future),
//! );
//! ```

use std::{future::Future, pin::Pin};

use bytes::Bytes;

use crate::{
    membership::Membership,
    storage::{LogStorage, StorageError},
    types::{Entries, Entry, HardState, LogId, LogIndex, LogState, LogWrite, NodeId, Payload, Term},
};

/// A future that need not be sent to another thread.
pub type LocalFuture<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Holds a storage against the whole contract. Panics where it is broken, with the line's name printed
/// before.
pub fn check<L, Open>(fresh: impl Fn() -> Open, block_on: impl Fn(LocalFuture<'_>))
where
    L: LogStorage,
    Open: AsyncFnMut() -> L,
{
    macro_rules! lines {
        ($($line:ident),* $(,)?) => {
            $(
                println!("log storage: {}", stringify!($line));
                block_on(Box::pin(async { $line(&mut fresh()).await }));
            )*
        };
    }
    lines![
        a_new_storage_is_empty,
        what_was_written_is_recovered,
        hard_state_and_entries_go_in_one_write,
        a_group_is_done_in_order,
        truncation_comes_before_appending,
        truncation_alone_forgets,
        an_empty_write_changes_nothing,
        a_gap_is_refused_and_nothing_changed,
        a_read_keeps_its_bounds,
        a_read_stops_at_bytes_max_after_at_least_one,
        a_read_of_what_is_not_there_is_an_error,
        a_purge_keeps_the_term_of_its_last,
        a_purge_beyond_the_last_moves_the_log,
        terms_and_memberships_follow_truncation_and_purge,
        big_payloads_come_back_whole,
        a_thousand_small_writes_come_back,
    ];
    for seed in 0..10 {
        println!("log storage: random_writes_agree_with_a_model, seed {seed}");
        block_on(Box::pin(async { random_writes_agree_with_a_model(&mut fresh(), seed).await }));
    }
}

async fn open<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) -> (L, LogState) {
    let mut log = reopen().await;
    let state = log.recover().await.expect("what was closed in good order opens");
    (log, state)
}

/// Closes the storage, opens it again, and holds what it says against the model.
async fn reopened<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L, log: L, model: &Model) -> L {
    drop(log);
    let (mut log, state) = open(reopen).await;
    model.check(&mut log, &state).await;
    log
}

/// Writes to both.
async fn write<L: LogStorage>(log: &mut L, model: &mut Model, writes: &[LogWrite]) {
    log.write(writes).await.expect("a write that keeps the contract is done");
    for write in writes {
        model.write(write);
    }
}

/// A command at `index` of `term`; its bytes say where it belongs.
fn command(index: u64, term: u64) -> Entry {
    let payload = Payload::Command(Bytes::from(format!("command {index} of term {term}")));
    Entry::new(LogId::new(Term(term), LogIndex(index)), payload)
}

fn commands(from: u64, to: u64, term: u64) -> Vec<Entry> {
    (from..=to).map(|index| command(index, term)).collect()
}

fn membership(index: u64, term: u64, nodes: u64) -> Entry {
    let members = (1..=nodes).map(|node| (NodeId(node), format!("host-{node}:1")));
    let membership = Membership::new(members).expect("the nodes are numbered from 1, each once");
    Entry::new(LogId::new(Term(term), LogIndex(index)), Payload::Membership(Box::new(membership)))
}

fn term_and_vote(term: u64, vote: Option<u64>) -> LogWrite {
    let hard_state = Some(HardState { term: Term(term), voted_for: vote.map(NodeId) });
    LogWrite { hard_state, ..LogWrite::default() }
}

fn append(entries: Vec<Entry>) -> LogWrite {
    LogWrite { entries: entries.into(), ..LogWrite::default() }
}

fn truncate(from: u64, entries: Vec<Entry>) -> LogWrite {
    LogWrite { truncate_from: Some(LogIndex(from)), ..append(entries) }
}

/// What a storage must hold, kept in the simplest way.
#[derive(Clone, Debug, Default)]
struct Model {
    hard_state: HardState,
    purged: LogId,
    entries: Vec<Entry>,
}

impl Model {
    fn last(&self) -> LogId {
        self.entries.last().map_or(self.purged, |entry| entry.id)
    }

    fn write(&mut self, write: &LogWrite) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(from) = write.truncate_from {
            self.entries.retain(|entry| entry.id.index < from);
        }
        self.entries.extend(write.entries.iter().cloned());
    }

    fn purge(&mut self, through: LogId) {
        self.purged = through;
        self.entries.retain(|entry| entry.id.index > through.index);
    }

    async fn check<L: LogStorage>(&self, log: &mut L, state: &LogState) {
        let mut expected =
            LogState { hard_state: self.hard_state, purged: self.purged, ..LogState::default() };
        expected.last = self.purged;
        for entry in &self.entries {
            expected.note(entry);
        }
        assert!(self.entries.ends_with(&state.tail), "the tail is not the newest entries: {:?}", state.tail);
        assert_eq!(LogState { tail: Entries::empty(), incarnation: 0, ..state.clone() }, expected);
        if let (Some(first), Some(last)) = (self.entries.first(), self.entries.last()) {
            let all = log.read(first.id.index, last.id.index, u64::MAX).await.expect("all of it can be read");
            assert_eq!(*all, *self.entries);
        }
    }
}

/// `recover` of a storage in which nothing was written; who it is, it tells for ever.
pub async fn a_new_storage_is_empty<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) {
    let (log, state) = open(reopen).await;
    let incarnation = state.incarnation;
    assert_eq!(state, LogState { incarnation, ..LogState::default() });
    assert!(state.is_new());
    drop(reopened(reopen, log, &Model::default()).await);
    assert_eq!(open(reopen).await.1.incarnation, incarnation, "the incarnation has changed");
}

/// Every completed write is there after each reopening: hard state, every kind of entry, truncation, purge.
pub async fn what_was_written_is_recovered<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    let noop = Entry::new(LogId::new(Term(1), LogIndex(2)), Payload::Noop);
    let steps = [
        term_and_vote(1, Some(3)),
        append(vec![membership(1, 1, 3), noop]),
        append(commands(3, 9, 1)),
        term_and_vote(2, None),
        truncate(6, commands(6, 7, 2)),
        term_and_vote(2, Some(u64::MAX)),
        append(vec![membership(8, 2, 5)]),
    ];
    for step in steps {
        write(&mut log, &mut model, &[step]).await;
        log = reopened(reopen, log, &model).await;
    }
    log.purge(LogId::new(Term(1), LogIndex(4))).await.expect("what is there can be purged");
    model.purge(LogId::new(Term(1), LogIndex(4)));
    let log = reopened(reopen, log, &model).await;
    reopened(reopen, log, &model).await;
}

/// One write may carry both.
pub async fn hard_state_and_entries_go_in_one_write<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    let both = LogWrite { entries: commands(1, 3, 7).into(), ..term_and_vote(7, Some(2)) };
    write(&mut log, &mut model, &[both]).await;
    reopened(reopen, log, &model).await;
}

/// Several writes in one call, of which later ones truncate what earlier ones appended.
pub async fn a_group_is_done_in_order<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    let group = [
        term_and_vote(1, None),
        append(commands(1, 5, 1)),
        append(commands(6, 8, 1)),
        term_and_vote(2, Some(1)),
        truncate(7, commands(7, 9, 2)),
        truncate(4, vec![]),
        append(commands(4, 6, 2)),
        truncate(20, vec![]),
    ];
    write(&mut log, &mut model, &group).await;
    let mut log = reopened(reopen, log, &model).await;
    let again = [append(commands(7, 9, 2)), truncate(2, commands(2, 3, 2)), truncate(3, commands(3, 5, 2))];
    write(&mut log, &mut model, &again).await;
    reopened(reopen, log, &model).await;
}

/// Raft §5.3: a conflicting suffix goes, and what replaces it comes, in one write.
pub async fn truncation_comes_before_appending<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    write(&mut log, &mut model, &[term_and_vote(1, None), append(commands(1, 10, 1))]).await;
    write(&mut log, &mut model, &[term_and_vote(2, None), truncate(1, commands(1, 3, 2))]).await;
    write(&mut log, &mut model, &[truncate(4, commands(4, 5, 2))]).await;
    reopened(reopen, log, &model).await;
}

/// A write that only truncates.
pub async fn truncation_alone_forgets<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    write(&mut log, &mut model, &[term_and_vote(1, None), append(commands(1, 10, 1))]).await;
    write(&mut log, &mut model, &[truncate(5, vec![])]).await;
    let mut log = reopened(reopen, log, &model).await;
    write(&mut log, &mut model, &[truncate(1, vec![])]).await;
    let mut log = reopened(reopen, log, &model).await;
    write(&mut log, &mut model, &[append(commands(1, 2, 1))]).await;
    reopened(reopen, log, &model).await;
}

/// No writes at all, and a write of nothing.
pub async fn an_empty_write_changes_nothing<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    write(&mut log, &mut model, &[]).await;
    write(&mut log, &mut model, &[LogWrite::default(), LogWrite::default()]).await;
    let mut log = reopened(reopen, log, &model).await;
    write(&mut log, &mut model, &[term_and_vote(1, None), append(commands(1, 2, 1))]).await;
    write(&mut log, &mut model, &[LogWrite::default()]).await;
    reopened(reopen, log, &model).await;
}

/// Entries that do not follow, before or within a group: refused, and all is as before.
pub async fn a_gap_is_refused_and_nothing_changed<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    write(&mut log, &mut model, &[term_and_vote(1, None), append(commands(1, 5, 1))]).await;
    let gaps = [
        vec![append(commands(7, 8, 1))],
        vec![append(commands(5, 6, 1))],
        vec![term_and_vote(9, Some(9)), append(commands(6, 7, 1)), append(commands(9, 9, 1))],
        vec![truncate(3, commands(4, 5, 1))],
        vec![append(vec![command(6, 1), command(8, 1)])],
        vec![truncate(0, vec![])],
    ];
    for gap in gaps {
        let refused = log.write(&gap).await;
        assert!(matches!(refused, Err(StorageError::Contract(_))), "{gap:?} gave {refused:?}");
        log = reopened(reopen, log, &model).await;
    }
    write(&mut log, &mut model, &[append(commands(6, 6, 1))]).await;
    reopened(reopen, log, &model).await;
}

/// From `first` to `last`, both included, wherever the writes' borders are.
pub async fn a_read_keeps_its_bounds<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    write(&mut log, &mut model, &[term_and_vote(1, None)]).await;
    for (from, to) in [(1, 1), (2, 4), (5, 12), (13, 13), (14, 20)] {
        write(&mut log, &mut model, &[append(commands(from, to, 1))]).await;
    }
    for round in 0..2 {
        for first in 1..=20 {
            for last in first..=20 {
                let read = log.read(LogIndex(first), LogIndex(last), u64::MAX).await.expect("it is there");
                assert_eq!(*read, *commands(first, last, 1), "{first} to {last} in round {round}");
            }
        }
        log = reopened(reopen, log, &model).await;
    }
}

/// The limit counts each entry's `size_bytes`; the first entry always comes.
pub async fn a_read_stops_at_bytes_max_after_at_least_one<L: LogStorage>(
    reopen: &mut impl AsyncFnMut() -> L,
) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    write(&mut log, &mut model, &[term_and_vote(1, None), append(commands(1, 5, 1))]).await;
    write(&mut log, &mut model, &[append(commands(6, 9, 1))]).await;
    let all: Entries = commands(1, 9, 1).into();
    let mut bytes = 0;
    for count in 1..=9_usize {
        bytes += all[count - 1].size_bytes();
        for (bytes_max, expected) in [(bytes, count), (bytes - 1, (count - 1).max(1))] {
            let read = log.read(LogIndex(1), LogIndex(9), bytes_max).await.expect("it is there");
            assert_eq!(*read, all[..expected], "with {bytes_max} bytes");
        }
    }
    let read = log.read(LogIndex(3), LogIndex(9), 0).await.expect("one entry always comes");
    assert_eq!(*read, all[2..3]);
}

/// An error, not an empty answer, for what was purged, truncated, or never written.
pub async fn a_read_of_what_is_not_there_is_an_error<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    assert!(log.read(LogIndex(1), LogIndex(1), 100).await.is_err(), "a new log holds no entry 1");
    drop(log);
    let (mut log, _) = open(reopen).await;
    write(&mut log, &mut model, &[term_and_vote(1, None), append(commands(1, 9, 1)), truncate(8, vec![])])
        .await;
    log.purge(LogId::new(Term(1), LogIndex(3))).await.expect("what is there can be purged");
    model.purge(LogId::new(Term(1), LogIndex(3)));
    for (first, last) in [(0, 5), (1, 5), (3, 5), (8, 8), (4, 8), (5, 4), (9, 12), (u64::MAX, u64::MAX)] {
        let read = log.read(LogIndex(first), LogIndex(last), u64::MAX).await;
        assert!(read.is_err(), "{first} to {last} gave {read:?}");
        log = reopened(reopen, log, &model).await;
    }
}

/// `recover` reports what was purged, with its term; appending goes on after it.
pub async fn a_purge_keeps_the_term_of_its_last<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    write(&mut log, &mut model, &[term_and_vote(2, Some(1)), append(commands(1, 5, 1))]).await;
    write(&mut log, &mut model, &[append(commands(6, 10, 2))]).await;
    for (index, term) in [(3, 1), (5, 1), (7, 2), (10, 2)] {
        let through = LogId::new(Term(term), LogIndex(index));
        log.purge(through).await.expect("what is there can be purged");
        log.purge(through).await.expect("purging again does nothing");
        log.purge(LogId::new(Term(1), LogIndex(1))).await.expect("what is purged already stays so");
        model.purge(through);
        log = reopened(reopen, log, &model).await;
    }
    assert_eq!(model.last(), LogId::new(Term(2), LogIndex(10)));
    write(&mut log, &mut model, &[append(commands(11, 12, 2))]).await;
    reopened(reopen, log, &model).await;
}

/// A snapshot from elsewhere may lie beyond all that is held: the log is then empty and goes on after it.
pub async fn a_purge_beyond_the_last_moves_the_log<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    write(&mut log, &mut model, &[term_and_vote(4, None), append(commands(1, 5, 1))]).await;
    let through = LogId::new(Term(3), LogIndex(100));
    log.purge(through).await.expect("a purge may go beyond the last");
    model.purge(through);
    let mut log = reopened(reopen, log, &model).await;
    write(&mut log, &mut model, &[append(commands(101, 103, 4))]).await;
    reopened(reopen, log, &model).await;
}

/// What `recover` says of terms and members is true of what is left.
pub async fn terms_and_memberships_follow_truncation_and_purge<L: LogStorage>(
    reopen: &mut impl AsyncFnMut() -> L,
) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    let mut entries = vec![membership(1, 1, 1)];
    entries.extend(commands(2, 4, 1));
    entries.push(membership(5, 2, 3));
    entries.extend(commands(6, 8, 4));
    entries.push(membership(9, 4, 5));
    write(&mut log, &mut model, &[term_and_vote(4, None), append(entries)]).await;
    let mut log = reopened(reopen, log, &model).await;
    write(&mut log, &mut model, &[term_and_vote(5, None), truncate(8, commands(8, 9, 5))]).await;
    let mut log = reopened(reopen, log, &model).await;
    write(&mut log, &mut model, &[truncate(5, vec![membership(5, 5, 2)])]).await;
    let mut log = reopened(reopen, log, &model).await;
    for index in [2, 4, 5] {
        let id = model.entries.iter().find(|entry| entry.id.index == LogIndex(index)).map(|entry| entry.id);
        let id = id.expect("the model holds it");
        log.purge(id).await.expect("what is there can be purged");
        model.purge(id);
        log = reopened(reopen, log, &model).await;
    }
    write(&mut log, &mut model, &[append(commands(6, 6, 5))]).await;
    reopened(reopen, log, &model).await;
}

/// From one byte to several MiB, of zeros too.
pub async fn big_payloads_come_back_whole<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    write(&mut log, &mut model, &[term_and_vote(1, None)]).await;
    let sizes = [0, 1, 7, 8, 511, 512, 4095, 4096, 65_536, 1 << 20, 3 << 20];
    for (number, size) in sizes.into_iter().enumerate() {
        for (half, byte) in [(1, 0), (2, 0xa5)] {
            let id = LogId::new(Term(1), LogIndex(number as u64 * 2 + half));
            let entry = Entry::new(id, Payload::Command(Bytes::from(vec![byte; size])));
            write(&mut log, &mut model, &[append(vec![entry])]).await;
        }
    }
    let log = reopened(reopen, log, &model).await;
    reopened(reopen, log, &model).await;
}

/// One entry a write.
pub async fn a_thousand_small_writes_come_back<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L) {
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    write(&mut log, &mut model, &[term_and_vote(1, None)]).await;
    for index in 1..=1000 {
        write(&mut log, &mut model, &[append(commands(index, index, 1))]).await;
    }
    reopened(reopen, log, &model).await;
}

/// Random groups of writes, purges, reads and reopenings, the same for the same seed.
pub async fn random_writes_agree_with_a_model<L: LogStorage>(reopen: &mut impl AsyncFnMut() -> L, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model = Model::default();
    let (mut log, _) = open(reopen).await;
    for _ in 0..60 {
        match random.u32(0..10) {
            0..7 => {
                let mut ahead = model.clone();
                let mut group = Vec::new();
                for _ in 0..random.usize(1..5) {
                    let write = random_write(&mut random, &ahead);
                    ahead.write(&write);
                    group.push(write);
                }
                write(&mut log, &mut model, &group).await;
            }
            7 if !model.entries.is_empty() => {
                let through = model.entries[random.usize(0..model.entries.len())].id;
                log.purge(through).await.expect("what is there can be purged");
                model.purge(through);
            }
            8 if !model.entries.is_empty() => {
                let from = random.usize(0..model.entries.len());
                let to = random.usize(from..model.entries.len());
                let (first, last) = (model.entries[from].id.index, model.entries[to].id.index);
                let read = log.read(first, last, random.u64(0..2000)).await.expect("it is there");
                assert!(!read.is_empty() && *read == model.entries[from..from + read.len()]);
            }
            _ => log = reopened(reopen, log, &model).await,
        }
    }
    reopened(reopen, log, &model).await;
}

fn random_write(random: &mut fastrand::Rng, model: &Model) -> LogWrite {
    let mut write = LogWrite::default();
    if random.u32(0..4) == 0 || model.hard_state.term == Term(0) {
        let term =
            Term(model.hard_state.term.0 + random.u64(0..3).max(u64::from(model.hard_state.term.0 == 0)));
        write.hard_state =
            Some(HardState { term, voted_for: random.bool().then_some(NodeId(random.u64(1..6))) });
    }
    let term = write.hard_state.map_or(model.hard_state.term, |hard_state| hard_state.term);
    let mut last = model.last();
    if random.u32(0..4) == 0 {
        let from = LogIndex(random.u64(model.purged.index.0 + 1..=last.index.0 + 2));
        write.truncate_from = Some(from);
        let kept = model.entries.iter().rev().find(|entry| entry.id.index < from);
        last = kept.map_or(model.purged, |entry| entry.id);
    }
    let mut entries = Vec::new();
    for _ in 0..random.usize(0..8) {
        let at = Term(random.u64(last.term.0.max(1)..=term.0.max(last.term.0)));
        last = LogId::new(at, last.index.next());
        entries.push(match random.u32(0..10) {
            0 => membership(last.index.0, at.0, random.u64(1..6)),
            1 => Entry::new(last, Payload::Noop),
            2 => Entry::new(last, Payload::Command(Bytes::from(vec![0; random.usize(0..6000)]))),
            _ => command(last.index.0, at.0),
        });
    }
    write.entries = entries.into();
    write
}
