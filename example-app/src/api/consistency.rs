//! The header `Raft-Consistency` of a read: how sure its answer must be. Without it a read is linearizable,
//! or local where its body says `serializable`, as in etcd.

use std::{
    future::{Ready, ready},
    time::Duration,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload};

use super::{error::ApiError, service::Consistency};

const HEADER: &str = "Raft-Consistency";

/// What the header asks for, if it is there.
pub(super) struct Wanted(Option<Consistency>);

impl Wanted {
    /// The header decides; without one, the body.
    pub(super) fn or_serializable(self, serializable: bool) -> Consistency {
        let by_body = if serializable { Consistency::Local } else { Consistency::Linearizable };
        self.0.unwrap_or(by_body)
    }
}

impl FromRequest for Wanted {
    type Error = ApiError;
    type Future = Ready<Result<Wanted, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(value) = request.headers().get(HEADER) else { return ready(Ok(Wanted(None))) };
        let wanted = value.to_str().ok().and_then(|text| parse(text.trim()));
        ready(wanted.map(|wanted| Wanted(Some(wanted))).ok_or_else(|| {
            let words = "must be linearizable, lease, local, or within= and a number of milliseconds";
            ApiError::invalid(format!("{HEADER} {words}"))
        }))
    }
}

fn parse(text: &str) -> Option<Consistency> {
    match text {
        "linearizable" => Some(Consistency::Linearizable),
        "lease" => Some(Consistency::Lease),
        "local" => Some(Consistency::Local),
        _ => {
            let milliseconds = text.strip_prefix("within=")?.parse().ok()?;
            Some(Consistency::Within(Duration::from_millis(milliseconds)))
        }
    }
}
