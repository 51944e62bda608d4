//! A log that has lost entries which it had acknowledged, and how it is repaired from its peers.
//!
//! Commit rests on this: every majority that elects a leader has a node in common with every majority that
//! has acknowledged an entry, and that node denies its vote to a log without it (Raft §5.4.3). A node that
//! has forgotten what it acknowledged would not deny it. So it is *fenced*: [`HardState::fence`] says the
//! last term, F, in which it can have acknowledged what it has lost, and until the fence is lifted the node
//! votes for nobody, consents to no pre-vote and does not stand, nor for a leader that hands over to it. Term
//! and vote themselves must be whole: nobody else knows what this node has promised.
//!
//! *When it is lifted:* as soon as the log holds, on the disk, an entry of a term later than F. Nobody needs
//! to know what was lost. The leader of that term was elected while this node was fenced, so by a majority
//! without it; that majority has a node with a whole log in common with each that has acknowledged an entry
//! in a term up to F, this node's lost acknowledgements counted. So that leader's log holds all that was
//! committed in those terms, or can still be; and what stands in this node's log before that leader's entry
//! is that leader's log. An entry of a snapshot of the leader's does as well.
//!
//! *Why the term is raised:* a leader of term F would count what it remembers of this node, and might lead on
//! for ever, so that no entry of a later term would come. [`HardState::fenced`] therefore puts the node one
//! term further: such a leader learns of that from the first answer and stands down, once, and whoever leads
//! next has asked this node anew how far its log goes. So match indexes never fall within a term, as ever.
//!
//! *What it may still do:* all else. What it has flushed since then counts for commit, for it is there. Its
//! answers to rounds of heartbeats count for reads, leases and check-quorum: they say which term it is in,
//! which it knows, and that it elects nobody else meanwhile, which is true of a fenced node above all.
//!
//! A majority of fenced voters elects nobody, and no fence is lifted without a leader. That is meant: what
//! they have lost may be lost for good, and only an operator can accept that ([`crate::node::Survivor`]).

use super::{Effect, Raft};
use crate::mutants::{Mutant, is_on};

impl Raft {
    /// Whether this node may have forgotten what it has acknowledged.
    pub(super) fn is_fenced(&self) -> bool {
        self.hard_state.fence.is_some() && !is_on(Mutant::VotesWhileItIsFenced)
    }

    /// Lifts the fence as soon as that is safe; the disk is told with the next write, which this makes due.
    pub(super) fn lift_fence(&mut self) {
        let Some(fence) = self.hard_state.fence else { return };
        // Terms never fall along a log: no entry of a later term stands before the last that is flushed.
        if self.log.term_at(self.log.flushed()).is_some_and(|term| term > fence) {
            self.hard_state.fence = None;
            self.hard_state_changed = true;
            self.output.events.push(Effect::FenceLifted { fence });
        }
    }
}
