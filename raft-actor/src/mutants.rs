//! Bugs that Raft implementations really had, and some that ours could have, each of which can be put back by
//! name: if no test notices, the tests have a hole.
//!
//! Each stands in the code as one condition, [`is_on`], at the branch of the rule that it breaks. Without the
//! feature `mutants` that is the constant `false`, and nothing of it is left. With it, `with` turns one on
//! for as long as a closure runs, on this thread and on those that it starts through [`inherited`], and
//! `put_back_everywhere` does so for all of a process.
//!
//! The numbers are those of the table in the book, on the page "How we test".

use std::{fmt, str::FromStr};

/// Makes the list of all mutants from the enum, so that none can be left out.
macro_rules! mutants {
    ($($(#[$about:meta])* $name:ident,)*) => {
        /// A bug that can be put back.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Mutant { $($(#[$about])* $name,)* }

        impl Mutant {
            /// Every mutant, in the order of their numbers.
            pub const ALL: &[Mutant] = &[$(Mutant::$name,)*];
        }
    };
}

mutants! {
    /// 1. A new leader changes the members before an entry of its own term is committed, and in one step: two
    /// configurations that grew from the same one can both be committed (raft-dev, 2015; atomix/copycat#23).
    /// Here a change goes through a joint configuration, which is safe without the wait, so the mutant leaves
    /// out both.
    ChangesMembersAtOnce,
    /// 2. Entries of earlier terms are committed by counting copies, as in Figure 8 (logcabin#44,
    /// PySyncObj#169, canonical/raft#336).
    CommitsEarlierTermsByCounting,
    /// 3. Votes and terms are told before they are on the disk (hashicorp/raft#661).
    SpeaksBeforeItsVoteIsFlushed,
    /// 4. A candidate that steps down within its term forgets that it has voted (redpanda#19, akka-raft#56,
    /// CCF#5891, camunda#5356, nebula#2405).
    ForgetsItsVoteWhenItStepsDown,
    /// 5. A vote that was given in an earlier term counts in this one (xraft#27, little-raft#44,
    ///    akka-raft#50). One that comes twice cannot count twice here: the tally is by node.
    CountsVotesOfEarlierTerms,
    /// 6. Whatever a voter answers counts as its vote (openraft#1220, databend#16175).
    TakesAnyReplyForAVote,
    /// 7. The longer log passes for the newer one (openraft#1722).
    ComparesLogsByLength,
    /// 8. The commit index is picked from match indexes that nobody has sorted (openraft#1802, redisraft#13,
    /// CCF#3837).
    PicksTheQuorumFromAnUnsortedList,
    /// 9. A stale AppendEntries truncates entries that are there and match (raftos#26, CCF#5991,
    /// akka-entity-replication#152, willemt/raft#118).
    TruncatesWithoutAConflict,
    /// 10. A follower commits as far as the leader says, beyond what the message has verified (copycat#265,
    /// CCF#8172).
    CommitsBeyondWhatWasVerified,
    /// 11. A hint in a refusal is taken for what the peer's log has in common (CCF#5325, PySyncObj#167,
    /// raftos#25).
    TakesAHintForAMatch,
    /// 12. Entries are acknowledged before the acknowledging node has flushed them (tikv#994,
    /// yugabyte-db#32875, nats-server#7564, etcd#14370).
    AcksBeforeTheFlush,
    /// 13. A node goes on after its log could not be written (canonical/raft#320). The bug was to use index
    ///     and term of the failed write again for other entries, which our core cannot; the nearest is a node
    ///     that forgets the failed write and lives on.
    GoesOnAfterAFailedWrite,
    /// 14. A flush that fails is taken for one that succeeded (cockroach#37102, raft-engine#131, rostam#94).
    SwallowsFlushErrors,
    /// 15. A new file's folder is not flushed, so its name may be gone after a power cut (etcd#6368).
    LeavesTheFolderUnflushed,
    /// 16. Whatever cannot be read at the log's end passes for a torn write, and is cut (FAST'18,
    /// pebble#453, proton#1229).
    TakesDamageForATornTail,
    /// 17. A snapshot of the leader's replaces a log that is ahead of it (camunda#6092, etcd#1763,
    ///     NuRaft#407, hashicorp/raft#248).
    InstallsSnapshotsOverNewerLogs,
    /// 18. A restore adds to what is there, and does not replace it (jgroups-raft#301). The application's
    ///     state is the application's; the part of it that is ours are the sessions.
    RestoresSessionsOnTopOfOthers,
    /// 19. The applied index that is stored is not that of the stored state (etcd#13766, etcd#14685).
    StoresAnAppliedIndexThatLags,
    /// 20. A read index is given out before an entry of the leader's own term is committed (etcd#7331,
    /// redisraft#22, adjoint-io/raft#41).
    ReadsBeforeItsTermHasCommitted,
    /// 21. A leader reads by its lease while it hands over (openraft#1747).
    ReadsByLeaseWhileHandingOver,
    /// 22. A leader of an earlier term gets no answer, and a node stuck in a later one is never heard again
    /// (etcd#8243, raft-rs#84, canonical/raft#279).
    IgnoresLeadersOfEarlierTerms,
    /// 23. Who hears its leader answers candidates all the same, so a removed or half-connected node unseats
    /// leader after leader (logcabin#56, hashicorp/raft#524, floyd#25).
    AnswersCandidatesBesideALeader,
    /// 24. The members stay as they were when the entry that made them is truncated (canonical/raft#250,
    /// camunda#57393, openraft#1808).
    KeepsMembersThatWereTruncated,
    /// 25. A node that does not know of its promotion yet denies its vote (raft-rs#57, etcd#10998).
    DeniesVotesAsALearner,
    /// 26. The log store reports a write before it is done.
    ReportsWritesBeforeTheFlush,
    /// 27. A write that ends late vouches for entries that have come to stand in the place of its own.
    CountsOverwrittenEntriesAsFlushed,
    /// 28. A leader that is deposed tells its clients that their writes were not done, and the next one may
    /// commit them.
    RefusesWritesThatMayBeCommitted,
    /// 29. Writes that another node has carried here are taken as often as the network delivers them.
    TakesCarriedWritesTwice,
    /// 30. A read is served once it has its read index, before the state machine has got there.
    ReadsBeforeItHasApplied,
    /// 31. A snapshot is reported before it is on the disk, and the log is purged on the strength of it.
    ReportsSnapshotsBeforeTheyAreDurable,
    /// 32. The sessions and their answers are not part of a snapshot.
    LeavesSessionsOutOfSnapshots,
    /// 33. A chunk of a snapshot is not held against its checksum.
    BelievesDamagedChunks,
    /// 34. A segment is removed before the purge that allows it is on the disk.
    RemovesSegmentsBeforeThePurge,
    /// 35. A log's entries are written before the term that they came with.
    WritesEntriesBeforeTheirTerm,
    /// 36. A voter that lost its disk, and with it its vote and what it had acknowledged, is believed under
    ///     its id as before.
    BelievesWhoLostItsDisk,
    /// 37. Nodes of a cluster that was founded apart, under the same ids, are believed.
    BelievesNodesOfAnotherCluster,
    /// 38. A witness lets go of entries that a full voter still needs, and has no state to send in their
    ///     place.
    PurgesAsAWitnessWhatOthersNeed,
    /// 39. A node that has lost a part of its log votes, and stands for election, as if the log had never
    ///     been longer (FAST'18).
    VotesWhileItIsFenced,
}

impl Mutant {
    /// Its number in the book's table, from 1 on.
    pub fn number(self) -> usize {
        self as usize + 1
    }

    /// Whether it is a bug of `raft-storage-file`, and only its tests can find it.
    pub fn is_of_storage(self) -> bool {
        use Mutant::{
            BelievesDamagedChunks, LeavesTheFolderUnflushed, RemovesSegmentsBeforeThePurge,
            SwallowsFlushErrors, TakesDamageForATornTail, WritesEntriesBeforeTheirTerm,
        };
        matches!(
            self,
            SwallowsFlushErrors
                | LeavesTheFolderUnflushed
                | TakesDamageForATornTail
                | BelievesDamagedChunks
                | RemovesSegmentsBeforeThePurge
                | WritesEntriesBeforeTheirTerm
        )
    }
}

/// The name: the variant's words, in small letters, with `-` between them.
impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        f.pad(&name)
    }
}

/// There is no mutant of that name. What to do: use a name of [`Mutant::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no mutant called `{0}`; the book's page \"How we test\" lists them")]
pub struct NoSuchMutant(String);

impl FromStr for Mutant {
    type Err = NoSuchMutant;

    fn from_str(name: &str) -> Result<Mutant, NoSuchMutant> {
        let known = Mutant::ALL.iter().copied().find(|mutant| mutant.to_string() == name);
        known.ok_or_else(|| NoSuchMutant(name.to_owned()))
    }
}

/// Whether this bug is put back now. Constantly not, without the feature `mutants`.
#[cfg(not(feature = "mutants"))]
pub const fn is_on(_: Mutant) -> bool {
    false
}

/// The same work, for another thread. Without the feature `mutants` there is nothing that it could inherit.
#[cfg(not(feature = "mutants"))]
pub fn inherited<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    work
}

#[cfg(feature = "mutants")]
pub use switch::{inherited, is_on, put_back_everywhere, with};

#[cfg(feature = "mutants")]
mod switch {
    use std::{cell::Cell, sync::OnceLock};

    use super::Mutant;

    static EVERYWHERE: OnceLock<Mutant> = OnceLock::new();

    thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether this bug is put back now, on this thread.
    pub fn is_on(mutant: Mutant) -> bool {
        ON.get() == Some(mutant) || EVERYWHERE.get() == Some(&mutant)
    }

    /// Puts this bug back on all threads of this process, for good: for a process that is a node with a bug.
    ///
    /// # Panics
    ///
    /// Where another one was put back before.
    pub fn put_back_everywhere(mutant: Mutant) {
        assert_eq!(*EVERYWHERE.get_or_init(|| mutant), mutant, "a process has one bug at a time");
    }

    /// Turns back what was turned, also where the work panics.
    struct Before(Option<Mutant>);

    impl Drop for Before {
        fn drop(&mut self) {
            ON.set(self.0);
        }
    }

    /// Does `work` with this bug put back.
    pub fn with<T>(mutant: Mutant, work: impl FnOnce() -> T) -> T {
        run(Some(mutant), work)
    }

    fn run<T>(mutant: Option<Mutant>, work: impl FnOnce() -> T) -> T {
        let _before = Before(ON.replace(mutant));
        work()
    }

    /// The same work, for another thread: there it finds the bug put back that is put back here.
    pub fn inherited<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
        let mutant = ON.get();
        move || run(mutant, work)
    }
}
