//! Changes of members under way: who waits for the outcome of which.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::{
    membership::ChangeError,
    types::{LogId, NodeId, Time},
};

/// What a change comes to: the entry that the new members come from, or why there is none.
pub(crate) type ChangeOutcome = Result<LogId, ChangeError>;

/// Who is to be told the outcome of a change.
pub(crate) enum Asker {
    /// A caller of this node's handle.
    Local(oneshot::Sender<ChangeOutcome>),
    /// Another node, which gave the change this number.
    Remote { node: NodeId, id: u64 },
}

/// See the module.
pub(crate) struct Changes {
    next_id: u64,
    asked: BTreeMap<u64, (Asker, Time)>,
    /// The newest change that each other node has carried here.
    newest: BTreeMap<NodeId, u64>,
}

impl Changes {
    /// `run` tells this run's changes from those of the node's other runs.
    pub(crate) fn new(run: u32) -> Changes {
        Changes { next_id: u64::from(run) << 32, asked: BTreeMap::new(), newest: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Remembers who asks, and gives the change a number.
    pub(crate) fn ask(&mut self, asker: Asker, deadline: Time) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.asked.insert(id, (asker, deadline));
        id
    }

    /// Whether what another node carries here has not come before: a network that repeats itself must not
    /// have a change made twice.
    pub(crate) fn is_new(&mut self, node: NodeId, id: u64) -> bool {
        let newest = self.newest.insert(node, id);
        let is_old = newest.is_some_and(|newest| newest >> 32 == id >> 32 && id <= newest);
        if let Some(newest) = newest.filter(|_| is_old) {
            self.newest.insert(node, newest);
        }
        !is_old
    }

    /// Who waits for the outcome of a change, if anybody still does. Told once.
    pub(crate) fn settled(&mut self, id: u64) -> Option<Asker> {
        self.asked.remove(&id).map(|(asker, _)| asker)
    }

    /// Those that have waited too long.
    pub(crate) fn expired(&mut self, now: Time) -> Vec<Asker> {
        let late = self.asked.extract_if(.., |_, (_, deadline)| *deadline <= now);
        late.map(|(_, (asker, _))| asker).collect()
    }
}
