//! /v3/cluster/member/add, promote, remove and update in etcd's words, and our own /raft/admin.
//!
//! etcd makes a member's id up; here a node's id is in its folder, so it may be given (`ID`), and is
//! otherwise the lowest above all members'. Start the new node with that id and with `--join`. A node never
//! votes before it has caught up: one that is added as a voter is promoted by itself as soon as it has.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use raft_actor::{
    membership::{ChangeError, MembershipChange},
    status::Status,
    types::NodeId,
};
use serde::{Deserialize, Serialize};

use super::{
    Api,
    body::Body,
    cluster::{MemberJson, member},
    error::ApiError,
    json,
    raft_status::MembershipView,
    response::Header,
    wire,
};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(super::post("/cluster/member/add", add))
        .service(super::post("/cluster/member/promote", promote))
        .service(super::post("/cluster/member/remove", remove))
        .service(super::post("/cluster/member/update", update));
}

pub(super) fn admin_routes(config: &mut web::ServiceConfig) {
    config
        .service(super::post("/raft/admin/membership", admin_membership))
        .service(super::post("/raft/admin/learner", admin_learner))
        .service(super::post("/raft/admin/promote", admin_promote))
        .service(super::post("/raft/admin/remove", admin_remove));
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MemberBody {
    #[serde(rename = "ID", deserialize_with = "wire::number")]
    id: i64,
    #[serde(rename = "peerURLs", alias = "peer_urls", deserialize_with = "wire::nullable")]
    peer_urls: Vec<String>,
    #[serde(rename = "isLearner", alias = "is_learner", deserialize_with = "wire::nullable")]
    is_learner: bool,
    /// Not etcd's: the node is a witness.
    #[serde(rename = "isWitness", alias = "is_witness", deserialize_with = "wire::nullable")]
    is_witness: bool,
}

impl MemberBody {
    fn node(&self) -> Result<NodeId, ApiError> {
        u64::try_from(self.id).map(NodeId).map_err(|_| ApiError::member_not_found())
    }

    /// The one address: etcd's members may have several, ours have one.
    fn address(&self) -> Result<String, ApiError> {
        let [url] = &self.peer_urls[..] else { return Err(ApiError::bad_member_urls()) };
        let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        if is_address(address) { Ok(address.to_owned()) } else { Err(ApiError::bad_member_urls()) }
    }
}

fn is_address(text: &str) -> bool {
    let parts = text.rsplit_once(':');
    parts.is_some_and(|(host, port)| {
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
        !host.is_empty() && host.chars().all(is_host) && port.parse::<u16>().is_ok()
    })
}

#[derive(Serialize)]
struct MembersJson {
    header: Header,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<MemberJson>,
    members: Vec<MemberJson>,
}

async fn add(api: web::Data<Api>, body: Body) -> Result<HttpResponse, ApiError> {
    let request: MemberBody = body.decode()?;
    let address = request.address()?;
    let members = api.members_now().await?.membership;
    if members.addresses().values().any(|taken| *taken == address) {
        return Err(ApiError::peer_urls_exist());
    }
    let node = match request.node()? {
        NodeId(0) => NodeId(members.nodes().last().map_or(1, |last| last.0.saturating_add(1))),
        node => node,
    };
    let change = MembershipChange::new();
    let change = match request.is_witness {
        true => change.add_witness(node, address),
        false => change.add_learner(node, address),
    };
    api.service.change_members(change).await?;
    if !request.is_learner {
        api.service.promote_when_ready(node);
    }
    api.tell_members(Some(node)).await
}

async fn promote(api: web::Data<Api>, body: Body) -> Result<HttpResponse, ApiError> {
    let node = body.decode::<MemberBody>()?.node()?;
    if api.members_now().await?.membership.voters().contains(&node) {
        return Err(ApiError::not_a_learner());
    }
    api.service.change_members(MembershipChange::new().promote(node)).await?;
    api.tell_members(None).await
}

async fn remove(api: web::Data<Api>, body: Body) -> Result<HttpResponse, ApiError> {
    let node = body.decode::<MemberBody>()?.node()?;
    api.service.change_members(MembershipChange::new().remove(node)).await?;
    api.tell_members(None).await
}

async fn update(api: web::Data<Api>, body: Body) -> Result<HttpResponse, ApiError> {
    let request: MemberBody = body.decode()?;
    let (node, address) = (request.node()?, request.address()?);
    let members = api.members_now().await?.membership;
    if members.addresses().iter().any(|(member, taken)| *taken == address && *member != node) {
        return Err(ApiError::peer_urls_exist());
    }
    api.service.change_members(MembershipChange::new().set_address(node, address)).await?;
    api.tell_members(None).await
}

impl Api {
    /// This node's status, with everything in it that was answered anywhere before; as it is on a node that
    /// is no member, which nobody can tell more.
    async fn members_now(&self) -> Result<Status, ApiError> {
        let status = self.service.status().await;
        if !status.membership.contains(status.id) {
            return Ok(status);
        }
        self.service.barrier().await?;
        Ok(self.service.status().await)
    }

    /// The same once a change is made: where it cannot be seen from here, what can be is told.
    async fn members_after_change(&self) -> Status {
        match self.members_now().await {
            Ok(status) => status,
            Err(_) => self.service.status().await,
        }
    }

    async fn tell_members(&self, added: Option<NodeId>) -> Result<HttpResponse, ApiError> {
        let status = self.members_after_change().await;
        let summary = self.service.summary().await?;
        let members = status.membership.nodes().map(|node| member(self, &status, node)).collect();
        let header = self.header(summary.revision, status.term.0);
        let member = added.map(|node| member(self, &status, node));
        Ok(json(&MembersJson { header, member, members }))
    }

    async fn admin(&self, change: MembershipChange) -> Result<HttpResponse, ApiError> {
        #[derive(Serialize)]
        struct ChangedJson {
            membership: MembershipView,
        }
        let in_full = |error: ChangeError| {
            let words = error.to_string();
            ApiError::from(error).in_words(words)
        };
        self.service.change_members(change).await.map_err(in_full)?;
        let status = self.members_after_change().await;
        Ok(json(&ChangedJson { membership: MembershipView::new(&status) }))
    }
}

/// Everything that is to change, as one change.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ChangeBody {
    /// New nodes, with their addresses.
    learners: BTreeMap<u64, String>,
    /// The same for witnesses.
    witnesses: BTreeMap<u64, String>,
    promote: Vec<u64>,
    demote: Vec<u64>,
    remove: Vec<u64>,
    /// Members that move, with their new addresses.
    addresses: BTreeMap<u64, String>,
    /// Members whose priority for election changes.
    priorities: BTreeMap<u64, u8>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NodeBody {
    node: u64,
    address: String,
}

fn checked(address: String) -> Result<String, ApiError> {
    if is_address(&address) {
        return Ok(address);
    }
    Err(ApiError::invalid(format!("{address:?} is not of the form host:port")))
}

async fn admin_membership(api: web::Data<Api>, body: Body) -> Result<HttpResponse, ApiError> {
    let request: ChangeBody = body.decode()?;
    let mut change = MembershipChange::new();
    for (node, address) in request.learners {
        change = change.add_learner(NodeId(node), checked(address)?);
    }
    for (node, address) in request.witnesses {
        change = change.add_witness(NodeId(node), checked(address)?);
    }
    for (node, priority) in request.priorities {
        change = change.set_priority(NodeId(node), priority);
    }
    for (node, address) in request.addresses {
        change = change.set_address(NodeId(node), checked(address)?);
    }
    change = request.promote.into_iter().fold(change, |change, node| change.promote(NodeId(node)));
    change = request.demote.into_iter().fold(change, |change, node| change.demote(NodeId(node)));
    change = request.remove.into_iter().fold(change, |change, node| change.remove(NodeId(node)));
    api.admin(change).await
}

async fn admin_learner(api: web::Data<Api>, body: Body) -> Result<HttpResponse, ApiError> {
    let NodeBody { node, address } = body.decode()?;
    api.admin(MembershipChange::new().add_learner(NodeId(node), checked(address)?)).await
}

async fn admin_promote(api: web::Data<Api>, body: Body) -> Result<HttpResponse, ApiError> {
    let NodeBody { node, .. } = body.decode()?;
    api.admin(MembershipChange::new().promote(NodeId(node))).await
}

async fn admin_remove(api: web::Data<Api>, body: Body) -> Result<HttpResponse, ApiError> {
    let NodeBody { node, .. } = body.decode()?;
    api.admin(MembershipChange::new().remove(NodeId(node))).await
}
