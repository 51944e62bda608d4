//! /v3/kv/: put, range, deleterange, txn and compaction.

use actix_web::{HttpResponse, web};

use super::{Api, body::Body, consistency::Wanted, error::ApiError, request, session::InSession};
use crate::kv::{Command, Query, Txn};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(super::post("/kv/put", put))
        .service(super::post("/kv/range", range))
        .service(super::post("/kv/deleterange", delete_range))
        .service(super::post("/kv/txn", txn))
        .service(super::post("/kv/compaction", compaction));
}

async fn put(api: web::Data<Api>, session: InSession, body: Body) -> Result<HttpResponse, ApiError> {
    let put: request::PutBody = body.decode()?;
    api.write(session, Command::Put(put.into())).await
}

async fn delete_range(api: web::Data<Api>, session: InSession, body: Body) -> Result<HttpResponse, ApiError> {
    let delete: request::DeleteRangeBody = body.decode()?;
    api.write(session, Command::DeleteRange(delete.into())).await
}

async fn range(api: web::Data<Api>, wanted: Wanted, body: Body) -> Result<HttpResponse, ApiError> {
    let range: crate::kv::Range = body.decode::<request::RangeBody>()?.into();
    let consistency = wanted.or_serializable(range.serializable);
    api.read(Query::Range(range), consistency).await
}

async fn txn(
    api: web::Data<Api>,
    session: InSession,
    wanted: Wanted,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let txn = Txn::try_from(body.decode::<request::TxnBody>()?)?;
    if txn.only_reads() {
        let consistency = wanted.or_serializable(txn.is_serializable());
        return api.read(Query::Txn(txn), consistency).await;
    }
    api.write(session, Command::Txn(txn)).await
}

/// Answers once old versions are gone, on the node that answers, whatever `physical` says.
async fn compaction(api: web::Data<Api>, session: InSession, body: Body) -> Result<HttpResponse, ApiError> {
    let compact: request::CompactionBody = body.decode()?;
    api.write(session, Command::Compact(compact.into())).await
}
