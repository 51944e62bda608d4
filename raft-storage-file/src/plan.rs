//! What a group of writes comes to: one hard state, one truncation, one run of entries. Checked before
//! anything is touched.

use raft_actor::{
    storage::StorageError,
    types::{Entries, HardState, LogId, LogIndex, LogWrite, Term},
};

use crate::{
    frame::{BODY_BYTES_MAX, DESCRIPTOR_BYTES},
    replay::Picture,
};

/// The net effect of a group.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) hard_state: Option<HardState>,
    pub(crate) truncate_from: Option<LogIndex>,
    pub(crate) runs: Vec<Entries>,
}

impl Plan {
    /// Goes through the writes in order, and refuses what breaks the contract.
    pub(crate) fn of(
        picture: &Picture,
        hard_state: HardState,
        writes: &[LogWrite],
    ) -> Result<Plan, StorageError> {
        let mut plan = Plan::default();
        let mut term = hard_state.term;
        let mut last = picture.last;
        for write in writes {
            if let Some(next) = write.hard_state {
                if next.term < term {
                    return refuse(format!(
                        "the hard state's term would go back from {term} to {}",
                        next.term
                    ));
                }
                term = next.term;
                plan.hard_state = Some(next);
            }
            if let Some(from) = write.truncate_from {
                if from <= picture.purged.index {
                    return refuse(format!("truncation from {from}, but {} is purged", picture.purged));
                }
                last = plan.truncate(picture, from, last);
            }
            if !write.entries.is_empty() {
                last = follow(last, term, &write.entries)?;
                plan.runs.push(write.entries.clone());
            }
        }
        let body = |run: &Entries| run.size_bytes() + (run.len() * (DESCRIPTOR_BYTES + 8)) as u64;
        let bytes: u64 = plan.runs.iter().map(body).sum();
        if bytes > BODY_BYTES_MAX {
            return refuse(format!("one write of {bytes} bytes; at most {BODY_BYTES_MAX} are possible"));
        }
        Ok(plan)
    }

    /// The last entry after the truncation.
    fn truncate(&mut self, picture: &Picture, from: LogIndex, last: LogId) -> LogId {
        if from > last.index {
            return last;
        }
        while self.runs.last().is_some_and(|run| run[0].id.index >= from) {
            self.runs.pop();
        }
        if let Some(run) = self.runs.last_mut() {
            let kept = (from.0 - run[0].id.index.0).min(run.len() as u64) as usize;
            *run = run.slice(0, kept);
            return run[kept - 1].id;
        }
        let start = self.truncate_from.unwrap_or(picture.last.index.next()).min(from);
        if start <= picture.last.index {
            self.truncate_from = Some(start);
        }
        let last = start.previous();
        LogId::new(picture.term_of(last).unwrap_or_default(), last)
    }
}

fn follow(mut last: LogId, term: Term, entries: &Entries) -> Result<LogId, StorageError> {
    for entry in entries.iter() {
        let id = entry.id;
        if Some(id.index.0) != last.index.0.checked_add(1) {
            return refuse(format!("entry {id} does not follow {last}"));
        }
        // Raft §5.3: terms never go down along a log, and Figure 2: no entry is of a term that is not
        // flushed.
        if id.term < last.term {
            return refuse(format!("entry {id} is of a lower term than the one before it, {last}"));
        }
        if id.term > term {
            return refuse(format!(
                "entry {id} is of a higher term than the hard state's, {term}; write that first"
            ));
        }
        last = id;
    }
    Ok(last)
}

fn refuse<T>(sentence: String) -> Result<T, StorageError> {
    Err(StorageError::Contract(sentence))
}
