//! A network that is a call: each request is put to the receiving node at once, and its answer awaited.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, OnceLock},
};

use openraft::{
    OptionalSend, RaftNetworkFactory,
    alias::{SnapshotOf, VoteOf},
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{RPCOption, RaftNetworkV2},
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse},
};

use super::{Member, Types};

/// Finds every node by its id, once all have started.
#[derive(Clone)]
pub(super) struct Switchboard {
    members: Arc<OnceLock<BTreeMap<u64, Member>>>,
}

/// A line to one node.
pub(super) struct Line {
    to: u64,
    board: Switchboard,
}

impl Switchboard {
    pub(super) fn new(members: Arc<OnceLock<BTreeMap<u64, Member>>>) -> Switchboard {
        Switchboard { members }
    }
}

impl RaftNetworkFactory<Types> for Switchboard {
    type Network = Line;

    async fn new_client(&mut self, target: u64, (): &()) -> Line {
        Line { to: target, board: self.clone() }
    }
}

impl Line {
    fn member(&self) -> Result<&Member, Unreachable<Types>> {
        let found = self.board.members.get().and_then(|members| members.get(&self.to));
        found.ok_or_else(|| Unreachable::new(&io::Error::other("this node has not started")))
    }
}

fn refused(error: impl std::error::Error + 'static) -> Unreachable<Types> {
    Unreachable::new(&error)
}

impl RaftNetworkV2<Types> for Line {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Ok(self.member()?.append_entries(request).await.map_err(refused)?)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Ok(self.member()?.vote(request).await.map_err(refused)?)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, Vec<u8>>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Ok(self.member()?.install_full_snapshot(vote, snapshot).await.map_err(refused)?)
    }
}
