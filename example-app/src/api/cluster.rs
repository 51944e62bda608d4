//! /v3/cluster/member/list, /v3/maintenance/status and /v3/maintenance/transfer-leadership.

use actix_web::{HttpResponse, web};
use raft_actor::{status::Status, types::NodeId};
use serde::{Deserialize, Serialize};

use super::{
    API_VERSION, Api, body::Body, error::ApiError, json, response::Header, wire, wire::is_default,
    wire::write_number,
};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(super::post("/cluster/member/list", member_list))
        .service(super::post("/maintenance/transfer-leadership", transfer_leadership))
        .service(super::post("/maintenance/status", status));
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MemberListBody {
    #[serde(deserialize_with = "wire::nullable")]
    linearizable: Option<bool>,
}

#[derive(Serialize)]
struct MemberListJson {
    header: Header,
    members: Vec<MemberJson>,
}

#[derive(Serialize)]
pub(super) struct MemberJson {
    #[serde(rename = "ID", serialize_with = "write_number")]
    id: u64,
    name: String,
    #[serde(rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(rename = "isLearner", skip_serializing_if = "is_default")]
    is_learner: bool,
    #[serde(rename = "isWitness", skip_serializing_if = "is_default")]
    is_witness: bool,
    /// Left out where it is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
}

async fn member_list(api: web::Data<Api>, body: Body) -> Result<HttpResponse, ApiError> {
    let request: MemberListBody = body.decode()?;
    if request.linearizable.unwrap_or(true) {
        api.service.barrier().await?;
    }
    let status = api.service.status().await;
    let summary = api.service.summary().await?;
    let members = status.membership.nodes().map(|node| member(&api, &status, node)).collect();
    Ok(json(&MemberListJson { header: api.header(summary.revision, status.term.0), members }))
}

pub(super) fn member(api: &Api, status: &Status, node: NodeId) -> MemberJson {
    let peer = status.membership.address(node).unwrap_or_default();
    let client = api.identity.client_addresses.get(&node).map_or(peer, String::as_str);
    MemberJson {
        id: node.0,
        name: format!("node{node}"),
        peer_urls: vec![format!("http://{peer}")],
        client_urls: vec![format!("http://{client}")],
        is_learner: status.membership.learners().contains(&node),
        is_witness: status.membership.is_witness(node),
        priority: status.membership.priorities().get(&node).copied(),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TransferBody {
    /// 0, which is not etcd's: whoever is furthest ahead.
    #[serde(rename = "targetID", alias = "target_id", deserialize_with = "wire::number")]
    target: i64,
}

#[derive(Serialize)]
struct HeaderJson {
    header: Header,
}

/// As etcd's, it is the leader's to do.
async fn transfer_leadership(api: web::Data<Api>, body: Body) -> Result<HttpResponse, ApiError> {
    let request: TransferBody = body.decode()?;
    let to = match u64::try_from(request.target) {
        Ok(0) => None,
        Ok(id) => Some(NodeId(id)),
        Err(_) => return Err(ApiError::invalid("etcdserver: targetID must not be negative")),
    };
    api.service.transfer_leadership(to).await?;
    let term = api.service.status().await.term.0;
    Ok(json(&HeaderJson { header: api.header(api.revision().await, term) }))
}

#[derive(Serialize)]
struct StatusJson {
    header: Header,
    version: &'static str,
    #[serde(rename = "dbSize", serialize_with = "write_number", skip_serializing_if = "is_default")]
    db_size: u64,
    #[serde(serialize_with = "write_number", skip_serializing_if = "is_default")]
    leader: u64,
    #[serde(rename = "raftIndex", serialize_with = "write_number", skip_serializing_if = "is_default")]
    raft_index: u64,
    #[serde(rename = "raftTerm", serialize_with = "write_number", skip_serializing_if = "is_default")]
    raft_term: u64,
    #[serde(
        rename = "raftAppliedIndex",
        serialize_with = "write_number",
        skip_serializing_if = "is_default"
    )]
    raft_applied_index: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
    #[serde(rename = "dbSizeInUse", serialize_with = "write_number", skip_serializing_if = "is_default")]
    db_size_in_use: u64,
    #[serde(rename = "isLearner", skip_serializing_if = "is_default")]
    is_learner: bool,
}

async fn status(api: web::Data<Api>, body: Body) -> Result<HttpResponse, ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct StatusBody {}

    let StatusBody {} = body.decode()?;
    let status = api.service.status().await;
    let summary = api.service.summary().await?;
    let mut errors: Vec<String> = status.failure.iter().cloned().collect();
    if status.leader.is_none() {
        errors.push("etcdserver: no leader".to_owned());
    }
    Ok(json(&StatusJson {
        header: api.header(summary.revision, status.term.0),
        version: API_VERSION,
        db_size: summary.size_bytes,
        leader: status.leader.map_or(0, |leader| leader.0),
        raft_index: status.commit_index.0,
        raft_term: status.term.0,
        raft_applied_index: status.applied_index.0,
        errors,
        db_size_in_use: summary.live_bytes,
        is_learner: status.membership.learners().contains(&status.id),
    }))
}
