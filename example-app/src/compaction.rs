//! Compaction that nobody has to ask for: the leader has the store forget all but the newest revisions, again
//! and again.

use std::time::Duration;

use raft_actor::{
    client::session::{SessionCommand, SessionOutput},
    error::{ReadError, WriteError},
    types::Role,
};

use crate::{
    api::service::Service,
    kv::{Answer, Command, Compact},
};

/// Every `interval`, where this node leads, has all nodes forget what was before the last `kept` revisions.
/// Returns when the node has stopped.
pub async fn keep(service: impl Service, kept: i64, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let summary = match service.summary().await {
            Ok(summary) => summary,
            Err(ReadError::Stopped) => return,
            Err(_) => continue,
        };
        let revision = summary.revision.saturating_sub(kept);
        let is_due = revision > 0 && Some(revision) > summary.compacted;
        if !is_due || service.status().await.role != Role::Leader {
            continue;
        }
        match service.write(SessionCommand::Plain(Command::Compact(Compact { revision }))).await {
            Ok(SessionOutput::Output(Answer { result: Ok(_), .. })) => {
                tracing::info!(revision, "compacted: earlier revisions are forgotten");
            }
            // A client has had more forgotten meanwhile.
            Ok(_) => {}
            Err(WriteError::Stopped) => return,
            // Somebody leads, now or soon, and will do it the next time.
            Err(error) => tracing::warn!(revision, %error, "not compacted, as far as is known"),
        }
    }
}
