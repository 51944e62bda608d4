//! What an operator asks of one node: POST /raft/admin/snapshot.

use actix_web::{HttpResponse, web};
use raft_actor::{
    error::SnapshotError,
    types::{LogIndex, NodeId, Term},
};
use serde::{Deserialize, Serialize};

use super::{Api, error::ApiError, json};

/// A snapshot that a node has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotTaken {
    /// The node.
    pub node_id: NodeId,
    /// The last entry that it covers.
    pub index: LogIndex,
    /// Of which term.
    pub term: Term,
    /// The bytes of the store in it.
    pub size_bytes: u64,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(super::post("/raft/admin/snapshot", snapshot));
}

async fn snapshot(api: web::Data<Api>) -> Result<HttpResponse, ApiError> {
    let snapshot = api.service.snapshot().await?;
    Ok(json(&SnapshotTaken {
        node_id: api.identity.node_id,
        index: snapshot.last.index,
        term: snapshot.last.term,
        size_bytes: snapshot.size_bytes,
    }))
}

impl From<SnapshotError> for ApiError {
    fn from(error: SnapshotError) -> ApiError {
        match error {
            SnapshotError::Unsupported => ApiError::unsupported(error.to_string()),
            _ => ApiError::unavailable(error.to_string()),
        }
    }
}
