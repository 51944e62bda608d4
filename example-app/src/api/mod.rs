//! The service's face: etcd's v3 JSON over HTTP/1.1, and a few answers of our own. It knows nothing of Raft's
//! insides: what it needs is written down in [`service::Service`].

pub mod admin;
mod body;
mod cluster;
mod consistency;
mod error;
pub mod events;
mod health;
mod keys;
mod members;
pub mod raft_status;
mod request;
mod response;
pub mod service;
mod session;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, web};
use raft_actor::client::session::SessionOutput;
use serde::Serialize;
use tokio::sync::Semaphore;

use self::{
    error::ApiError,
    raft_status::RaftStatus,
    response::Header,
    service::{Consistency, Identity, Service},
    session::InSession,
};
use crate::kv::{Answer, Command, Query};

/// The version of etcd whose API this is; clients look at it to learn what they may ask.
pub const API_VERSION: &str = "3.5.0";

/// The prefixes under which the same endpoints are found. etcd 3.5 has only the first two; old clients use
/// the last.
const PREFIXES: [&str; 3] = ["/v3", "/v3beta", "/v3alpha"];

/// What every handler shares.
pub struct Api {
    service: Arc<dyn Service>,
    identity: Identity,
    /// The highest term seen; answers to reads tell it until a command of a later term is applied.
    term: AtomicU64,
    /// Clients that listen to events.
    listeners: Arc<Semaphore>,
}

impl Api {
    /// The face of `service`.
    pub fn new(service: Arc<dyn Service>, identity: Identity) -> Api {
        Api {
            service,
            identity,
            term: AtomicU64::new(0),
            listeners: Arc::new(Semaphore::new(events::LISTENERS_MAX)),
        }
    }

    async fn write(&self, in_session: InSession, command: Command) -> Result<HttpResponse, ApiError> {
        self.serves_keys()?;
        command.check()?;
        match self.service.write(in_session.command(command)).await? {
            SessionOutput::Output(answer) => self.answer(answer).await,
            SessionOutput::Refused(refused) => Err(refused.into()),
            // The state machine answers each command with an output of its kind.
            _ => Err(ApiError::internal("a command was not answered with an output")),
        }
    }

    async fn read(&self, query: Query, consistency: Consistency) -> Result<HttpResponse, ApiError> {
        self.serves_keys()?;
        query.check()?;
        let answer = self.service.read(query, consistency).await??;
        self.answer(answer).await
    }

    /// A node without keys answers so that clients go on to the next.
    fn serves_keys(&self) -> Result<(), ApiError> {
        self.service.refusal().map_or(Ok(()), |why| Err(ApiError::unavailable(why)))
    }

    async fn answer(&self, answer: Answer) -> Result<HttpResponse, ApiError> {
        let reply = answer.result?;
        let mut header = self.header(answer.revision, answer.term);
        if header.raft_term == 0 {
            // No command has been applied since the cluster was born.
            header = self.header(answer.revision, self.service.status().await.term.0);
        }
        Ok(HttpResponse::Ok().content_type("application/json").body(response::body(header, &reply)))
    }

    /// What this node knows of itself.
    async fn raft_status(&self) -> RaftStatus {
        let status = self.service.status().await;
        RaftStatus::new(self.identity.cluster_id, self.revision().await, &status)
    }

    /// The revision of this node's own store.
    async fn revision(&self) -> i64 {
        self.service.summary().await.map_or(0, |summary| summary.revision)
    }

    fn header(&self, revision: i64, term: u64) -> Header {
        let raft_term = self.term.fetch_max(term, Ordering::Relaxed).max(term);
        let Identity { cluster_id, node_id, .. } = &self.identity;
        Header { cluster_id: cluster_id.0, member_id: node_id.0, revision, raft_term }
    }
}

/// Adds every endpoint. `body_bytes_max` bounds a request's body, in bytes.
pub fn routes(api: web::Data<Api>, body_bytes_max: usize) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        config.app_data(api).app_data(web::PayloadConfig::new(body_bytes_max));
        for prefix in PREFIXES {
            let scope = web::scope(prefix).configure(keys::routes).configure(cluster::routes);
            config.service(scope.configure(members::routes));
        }
        config
            .configure(health::routes)
            .configure(events::routes)
            .configure(admin::routes)
            .configure(members::admin_routes)
            .configure(session::routes)
            .default_service(web::to(|| async { ApiError::not_found().respond() }));
    }
}

impl ApiError {
    fn respond(&self) -> HttpResponse {
        actix_web::ResponseError::error_response(self)
    }
}

fn post<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path).route(web::post().to(handler)).default_service(web::to(wrong_method))
}

fn get<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path).route(web::get().to(handler)).default_service(web::to(wrong_method))
}

async fn wrong_method() -> HttpResponse {
    ApiError::method_not_allowed().respond()
}

fn json(answer: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(response::json(answer))
}
