//! What a machine asks to learn whether the node is well, and our own GET /raft/status.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::{API_VERSION, Api, error::ApiError, json};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(super::get("/version", version))
        .service(super::get("/health", health))
        .service(super::get("/livez", livez))
        .service(super::get("/readyz", readyz))
        .service(super::get("/raft/status", raft_status));
}

async fn version() -> HttpResponse {
    #[derive(Serialize)]
    struct VersionJson {
        etcdserver: &'static str,
        etcdcluster: &'static str,
        raft_actor: &'static str,
    }
    let raft_actor = env!("CARGO_PKG_VERSION");
    json(&VersionJson { etcdserver: API_VERSION, etcdcluster: API_VERSION, raft_actor })
}

/// Whether a read that must see everything gets through.
async fn health(api: web::Data<Api>) -> HttpResponse {
    #[derive(Serialize)]
    struct HealthJson {
        health: &'static str,
        reason: String,
    }
    match api.service.barrier().await {
        Ok(()) => json(&HealthJson { health: "true", reason: String::new() }),
        Err(error) => {
            let reason = HealthJson { health: "false", reason: ApiError::from(error).to_string() };
            HttpResponse::ServiceUnavailable()
                .content_type("application/json")
                .body(super::response::json(&reason))
        }
    }
}

/// Whether the process does its work at all: restart it where not.
async fn livez(api: web::Data<Api>) -> HttpResponse {
    match api.service.status().await.failure {
        None => HttpResponse::Ok().body("ok\n"),
        Some(reason) => HttpResponse::ServiceUnavailable().body(format!("failed: {reason}\n")),
    }
}

/// Whether clients should be sent here.
async fn readyz(api: web::Data<Api>) -> HttpResponse {
    let is_served = match api.serves_keys() {
        Ok(()) => api.service.barrier().await.map_err(ApiError::from),
        refused => refused,
    };
    match is_served {
        Ok(()) => HttpResponse::Ok().body("ok\n"),
        Err(error) => HttpResponse::ServiceUnavailable().body(format!("not ready: {error}\n")),
    }
}

async fn raft_status(api: web::Data<Api>) -> HttpResponse {
    json(&api.raft_status().await)
}
