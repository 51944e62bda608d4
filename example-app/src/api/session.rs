//! Exactly once over HTTP: POST /raft/session opens a session, and the headers `Raft-Session` and
//! `Raft-Sequence` on any write have it applied once, however often it is sent.
//!
//! `Raft-Lowest-Awaited` tells which answers the client is done with. Where it is left out, the newest 1,024
//! sequences count as awaited.

use std::{
    future::{Ready, ready},
    str::FromStr,
};

use actix_web::{FromRequest, HttpRequest, HttpResponse, dev::Payload, web};
use raft_actor::client::session::{Limits, SessionCommand, SessionId, SessionOutput};
use serde::Serialize;

use super::{Api, error::ApiError, json, wire::write_number};
use crate::kv::Command;

const SESSION: &str = "Raft-Session";
const SEQUENCE: &str = "Raft-Sequence";
const LOWEST_AWAITED: &str = "Raft-Lowest-Awaited";

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(super::post("/raft/session", open));
}

#[derive(Serialize)]
struct SessionJson {
    #[serde(serialize_with = "write_number")]
    session: u64,
}

async fn open(api: web::Data<Api>) -> Result<HttpResponse, ApiError> {
    api.serves_keys()?;
    match api.service.write(SessionCommand::Open(Limits::default())).await? {
        SessionOutput::Opened(session) => Ok(json(&SessionJson { session: session.0 })),
        // The state machine answers each command with an output of its kind.
        _ => Err(ApiError::internal("a session was not answered with a session")),
    }
}

/// The session that a write belongs to, if it names one.
pub(super) struct InSession(Option<Numbers>);

struct Numbers {
    session: SessionId,
    sequence: u64,
    lowest_awaited: u64,
}

impl InSession {
    pub(super) fn command(self, command: Command) -> SessionCommand<Command> {
        match self.0 {
            None => SessionCommand::Plain(command),
            Some(Numbers { session, sequence, lowest_awaited }) => {
                SessionCommand::InSession { session, sequence, lowest_awaited, command }
            }
        }
    }
}

impl FromRequest for InSession {
    type Error = ApiError;
    type Future = Ready<Result<InSession, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(numbers(request).map(InSession))
    }
}

fn numbers(request: &HttpRequest) -> Result<Option<Numbers>, ApiError> {
    let (session, sequence) = (number(request, SESSION)?, number(request, SEQUENCE)?);
    let lowest_awaited: Option<u64> = number(request, LOWEST_AWAITED)?;
    let (session, sequence): (u64, u64) = match (session, sequence, lowest_awaited) {
        (Some(session), Some(sequence), _) => (session, sequence),
        (None, None, None) => return Ok(None),
        _ => {
            let words = format!("the headers {SESSION} and {SEQUENCE} belong together: send both or none");
            return Err(ApiError::invalid(words));
        }
    };
    if sequence == 0 {
        return Err(ApiError::invalid(format!("{SEQUENCE} counts from 1")));
    }
    let newest = Limits::default().answers_max - 1;
    let lowest_awaited = lowest_awaited.unwrap_or_else(|| sequence.saturating_sub(newest));
    if lowest_awaited > sequence {
        return Err(ApiError::invalid(format!("{LOWEST_AWAITED} is at most {SEQUENCE}: it is awaited too")));
    }
    Ok(Some(Numbers { session: SessionId(session), sequence, lowest_awaited }))
}

fn number<T: FromStr>(request: &HttpRequest, name: &str) -> Result<Option<T>, ApiError> {
    let Some(value) = request.headers().get(name) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or_else(|| ApiError::invalid(format!("{name} must be one whole number from 0 on")))
}
