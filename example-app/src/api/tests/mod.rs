//! The wire rules, each a sentence, against a single copy in memory.

mod answers;
mod consistency;
mod members;
mod refusals;
mod sessions;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use actix_web::{App, http::StatusCode, test, web};
use async_trait::async_trait;
use raft_actor::{
    client::session::{SessionCommand, SessionOutput},
    error::{ReadError, WriteError},
    membership::{ChangeError, MembershipChange, TransferError},
    state_machine::StateMachine,
    status::Status,
    types::{ClusterId, LogId, LogIndex, NodeId, Term},
};
use serde_json::{Value, json};

use super::{
    Api, routes,
    service::{Consistency, Identity, Service},
};
use crate::kv::{Answer, Command, Kv, Query, Summary, Unreadable, machine::Store};

/// One copy, which leads itself; or one that refuses everything in a given way.
#[derive(Default)]
struct Single {
    store: Mutex<(Store, u64)>,
    write_error: Option<WriteError>,
    read_error: Option<ReadError>,
    change_error: Option<ChangeError>,
    transfer_error: Option<TransferError>,
    /// To whom it was asked to hand over.
    transfers: Mutex<Vec<Option<NodeId>>>,
    /// The changes of members that it was asked for.
    changes: Mutex<Vec<MembershipChange>>,
    promoted: Mutex<Vec<NodeId>>,
    /// What the last read asked for.
    asked: Mutex<Option<Consistency>>,
}

impl Single {
    fn with<T>(&self, work: impl FnOnce(&Kv) -> T) -> T {
        work(self.store.lock().unwrap_or_else(PoisonError::into_inner).0.machine())
    }
}

#[async_trait]
impl Service for Single {
    async fn write(&self, command: SessionCommand<Command>) -> Result<SessionOutput<Answer>, WriteError> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.1 += 1;
        let id = LogId::new(Term(3), LogIndex(store.1));
        let output = store.0.apply(id, command);
        self.write_error.clone().map_or(Ok(output), Err)
    }

    async fn read(
        &self,
        query: Query,
        consistency: Consistency,
    ) -> Result<Result<Answer, Unreadable>, ReadError> {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(consistency);
        let answer = self.with(|kv| kv.query(&query));
        let failure = self.read_error.clone().filter(|_| consistency != Consistency::Local);
        failure.map_or(Ok(answer), Err)
    }

    async fn summary(&self) -> Result<Summary, ReadError> {
        Ok(self.with(|kv| kv.summary()))
    }

    async fn change_members(&self, change: MembershipChange) -> Result<(), ChangeError> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.push(change);
        self.change_error.clone().map_or(Ok(()), Err)
    }

    async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<(), TransferError> {
        self.transfers.lock().unwrap_or_else(PoisonError::into_inner).push(to);
        self.transfer_error.clone().map_or(Ok(()), Err)
    }

    fn promote_when_ready(&self, node: NodeId) {
        let mut promoted = self.promoted.lock().unwrap_or_else(PoisonError::into_inner);
        promoted.push(node);
    }

    async fn status(&self) -> Status {
        let log_id = json!({ "term": 3, "index": 12 });
        let status = json!({
            "id": 1, "role": "leader", "term": 3, "voted_for": 1, "fence": null, "leader": 1,
            "first_index": 1, "last_log_id": log_id,
            "flushed_index": 12, "commit_index": 12, "applied_index": 11,
            "membership": {
                "voters": [1, 2], "outgoing": [], "learners": [3], "witnesses": [3], "priorities": { "3": 7 },
                "addresses": { "1": "127.0.0.1:2379", "2": "127.0.0.1:2389", "3": "127.0.0.1:2399" },
                "incarnations": {}, "genesis": 0, "changed": false,
            },
            "membership_log_id": log_id, "transfer": null, "election_in": null, "failure": null,
            "peers": {
                "2": {
                    "next_index": 13, "match_index": 12, "state": "replicate", "inflight": 0, "lag": 0,
                    "last_contact": { "secs": 0, "nanos": 7_000_000 },
                },
            },
        });
        serde_json::from_value(status).expect("it is a status")
    }
}

/// Sends a body to a path; answers with the status and the JSON that came.
async fn send_to(service: &Arc<Single>, path: &str, body: impl Into<String>) -> (StatusCode, Value) {
    send_with(service, path, &[], body).await
}

/// The same, with headers.
async fn send_with(
    service: &Arc<Single>,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<String>,
) -> (StatusCode, Value) {
    let client_addresses = BTreeMap::from([(NodeId(2), "127.0.0.1:1234".to_owned())]);
    let identity = Identity { cluster_id: ClusterId(77), node_id: NodeId(1), client_addresses };
    let service: Arc<dyn Service> = service.clone();
    let api = web::Data::new(Api::new(service, identity));
    let app = test::init_service(App::new().configure(routes(api, 1024))).await;
    let request = match body.into() {
        none if none == "GET" => test::TestRequest::get().uri(path),
        body => test::TestRequest::post().uri(path).set_payload(body),
    };
    let request = headers.iter().fold(request, |request, header| request.insert_header(*header));
    let response = test::call_service(&app, request.to_request()).await;
    let status = response.status();
    let body = test::read_body(response).await;
    let text = String::from_utf8_lossy(&body).into_owned();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn post(service: &Arc<Single>, path: &str, body: Value) -> Value {
    let (status, answer) = send_to(service, path, body.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}
