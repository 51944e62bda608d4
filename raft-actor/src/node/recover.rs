//! What a node finds on its disk when it starts: the newest snapshot, and the log that follows it.

use crate::{
    error::StartError,
    state_machine::StateMachine,
    storage::{LogStorage, SnapshotStorage, StorageError},
    types::{Entries, LogIndex, LogState, LogWrite, SnapshotMeta},
};

/// Restores the state machine from the newest snapshot, and makes the log begin where that allows.
pub(super) async fn recover<S: StateMachine>(
    log: &mut dyn LogStorage,
    snapshots: Option<&dyn SnapshotStorage>,
    state_machine: &mut S,
    is_witness: bool,
) -> Result<(LogState, Option<SnapshotMeta>), StartError> {
    let (mut state, newest) = look(log, snapshots, is_witness).await?;
    if let Some(snapshot) = &newest {
        follow(log, &mut state, snapshot).await?;
        if let Some(snapshots) = snapshots {
            let mut reader = snapshots.open(snapshot.id).await?;
            state_machine.restore(&mut *reader).map_err(StartError::Restore)?;
        }
    }
    Ok((state, newest))
}

/// What is there, if it can be trusted. Changes nothing.
pub(super) async fn look(
    log: &mut dyn LogStorage,
    snapshots: Option<&dyn SnapshotStorage>,
    is_witness: bool,
) -> Result<(LogState, Option<SnapshotMeta>), StorageError> {
    let state = log.recover().await?;
    refuse_a_forgotten_vote(&state)?;
    let newest = match snapshots {
        Some(snapshots) => snapshots.recover().await?,
        None => None,
    };
    let Some(snapshot) = newest else {
        if state.purged.index > LogIndex(0) {
            return refuse(format!(
                "the log begins after {}, and there is no snapshot of what came before; give the node the \
                 snapshots that belong to this log",
                state.purged
            ));
        }
        return Ok((state, None));
    };
    if snapshot.witness && !is_witness {
        return refuse(format!(
            "the snapshot of {} is a witness's, and holds no state: no full node and no cluster can be made \
             of it; start the node as a witness, or remove it and add it anew with an empty folder",
            snapshot.last
        ));
    }
    if state.is_new() {
        return refuse(format!(
            "there is a snapshot of {}, but the log is new: term and vote are lost; bring the log back, or \
             start as another node with an empty folder",
            snapshot.last
        ));
    }
    if state.purged.index > snapshot.last.index {
        return refuse(format!(
            "the log begins after {}, but the newest snapshot ends at {}; bring back the snapshots that \
             belong to this log",
            state.purged, snapshot.last
        ));
    }
    Ok((state, Some(snapshot)))
}

/// A crash may have come between a snapshot of the leader's and the log that it replaces (Raft Figure 13, 7).
pub(super) async fn follow(
    log: &mut dyn LogStorage,
    state: &mut LogState,
    snapshot: &SnapshotMeta,
) -> Result<(), StorageError> {
    let last = snapshot.last;
    let term = if last.index == state.purged.index {
        Some(state.purged.term)
    } else {
        let runs = state.terms.partition_point(|(first, _)| *first <= last.index);
        runs.checked_sub(1).map(|run| state.terms[run].1)
    };
    if last.index <= state.last.index && term == Some(last.term) {
        return Ok(());
    }
    if state.last.index > state.purged.index {
        let truncate_from = Some(state.purged.index.next());
        log.write(&[LogWrite { truncate_from, ..LogWrite::default() }]).await?;
    }
    log.purge(last).await?;
    state.purged = last;
    state.last = last;
    state.terms.clear();
    state.memberships.clear();
    state.tail = Entries::empty();
    refuse_a_forgotten_vote(state)
}

/// A term is on the disk before its first entry is. Where it is older, it is not the one that was there, and
/// the node could vote a second time in the terms between.
fn refuse_a_forgotten_vote(state: &LogState) -> Result<(), StorageError> {
    let (term, last) = (state.hard_state.term, state.last);
    if last.term <= term {
        return Ok(());
    }
    Err(StorageError::Refused(format!(
        "the log ends at {last}, but the vote beside it is of term {term}; \
         restore the whole storage, never a part of it"
    )))
}

fn refuse<T>(sentence: String) -> Result<T, StorageError> {
    Err(StorageError::Refused(sentence))
}
