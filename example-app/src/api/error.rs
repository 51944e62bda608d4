//! What a client is told instead of an answer: etcd's HTTP status, gRPC code and words.

use std::fmt;

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use raft_actor::{
    error::{ReadError, SessionError, WriteError},
    membership::{ChangeError, MembershipError, TransferError},
};
use serde::Serialize;

use super::response;
use crate::kv::{Refusal, Unreadable};

/// An error on its way to a client.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    /// gRPC's number for the kind of error.
    code: u8,
    words: String,
}

impl ApiError {
    fn new(status: StatusCode, code: u8, words: impl Into<String>) -> ApiError {
        ApiError { status, code, words: words.into() }
    }

    /// The request makes no sense.
    pub(super) fn invalid(words: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, 3, words)
    }

    /// The body is over the limit.
    pub(super) fn too_large() -> ApiError {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, 3, "etcdserver: request is too large")
    }

    /// There is nothing here.
    pub(super) fn not_found() -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, 5, "Not Found")
    }

    /// There is something here, but not for this method.
    pub(super) fn method_not_allowed() -> ApiError {
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, 12, "Method Not Allowed")
    }

    /// This node does not do that.
    pub(super) fn unsupported(words: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_IMPLEMENTED, 12, words)
    }

    /// Not now, or not any more.
    pub(super) fn unavailable(words: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, 14, words)
    }

    /// A bug of ours, or a disk that fails.
    pub(super) fn internal(words: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, 13, words)
    }

    fn no_leader() -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, 14, "etcdserver: no leader")
    }

    fn overloaded() -> ApiError {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, 8, "etcdserver: too many requests")
    }

    fn timed_out() -> ApiError {
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, 4, "etcdserver: request timed out")
    }

    pub(super) fn member_not_found() -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, 5, "etcdserver: member not found")
    }

    pub(super) fn bad_member_urls() -> ApiError {
        ApiError::invalid("etcdserver: given member URLs are invalid")
    }

    pub(super) fn peer_urls_exist() -> ApiError {
        ApiError::precondition("etcdserver: Peer URLs already exists")
    }

    pub(super) fn not_a_learner() -> ApiError {
        ApiError::precondition("etcdserver: can only promote a learner member")
    }

    /// The cluster is not such that this could be done.
    fn precondition(words: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, 9, words)
    }

    /// The same kind of error in other words.
    pub(super) fn in_words(mut self, words: String) -> ApiError {
        self.words = words;
        self
    }

    fn stopped() -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, 14, "etcdserver: server stopped")
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        let (status, code) = match refusal {
            Refusal::LeaseNotFound => (StatusCode::NOT_FOUND, 5),
            Refusal::FutureRevision | Refusal::Compacted => (StatusCode::BAD_REQUEST, 11),
            Refusal::EmptyKey
            | Refusal::ValueProvided
            | Refusal::LeaseProvided
            | Refusal::KeyNotFound
            | Refusal::DuplicateKey
            | Refusal::TooManyOperations => (StatusCode::BAD_REQUEST, 3),
        };
        ApiError::new(status, code, refusal.to_string())
    }
}

impl From<Unreadable> for ApiError {
    fn from(error: Unreadable) -> ApiError {
        ApiError::internal(error.to_string())
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> ApiError {
        match error {
            WriteError::NotLeader { .. } => ApiError::no_leader(),
            WriteError::Overloaded => ApiError::overloaded(),
            WriteError::TooLarge { .. } => ApiError::invalid("etcdserver: request is too large"),
            WriteError::Stopped => ApiError::stopped(),
            // Unknown, and whatever a later version may add: the outcome is not known.
            _ => ApiError::timed_out(),
        }
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> ApiError {
        let (status, code, words) = match error {
            SessionError::SessionExpired => (StatusCode::NOT_FOUND, 5, "etcdserver: session not found"),
            SessionError::Forgotten => {
                (StatusCode::BAD_REQUEST, 11, "etcdserver: sequence is too old, its answer is forgotten")
            }
            _ => (StatusCode::TOO_MANY_REQUESTS, 8, "etcdserver: sequence is too far ahead of the awaited"),
        };
        ApiError::new(status, code, words)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> ApiError {
        match error {
            ReadError::NotLeader { .. } => ApiError::no_leader(),
            ReadError::Overloaded => ApiError::overloaded(),
            ReadError::Stopped => ApiError::stopped(),
            _ => ApiError::timed_out(),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> ApiError {
        match error {
            ChangeError::NotLeader { .. } => ApiError::no_leader(),
            ChangeError::NotReady | ChangeError::UnderWay => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, 14, format!("etcdserver: {error}"))
            }
            ChangeError::Invalid(MembershipError::NotAMember(_)) => ApiError::member_not_found(),
            ChangeError::Invalid(MembershipError::AlreadyAMember(_)) => {
                ApiError::precondition("etcdserver: member ID already exist")
            }
            ChangeError::Lagging { .. } | ChangeError::Silent { .. } => ApiError::precondition(
                "etcdserver: can only promote a learner member which is in sync with leader",
            ),
            ChangeError::NoQuorum { .. } | ChangeError::Invalid(MembershipError::NoVoters) => {
                ApiError::precondition(
                    "etcdserver: re-configuration failed due to not enough started members",
                )
            }
            ChangeError::Invalid(error) => ApiError::invalid(format!("etcdserver: {error}")),
            ChangeError::Stopped => ApiError::stopped(),
            // Unknown, and whatever a later version may add: the outcome is not known.
            _ => ApiError::timed_out(),
        }
    }
}

impl From<TransferError> for ApiError {
    fn from(error: TransferError) -> ApiError {
        match error {
            TransferError::NotLeader { .. } => ApiError::precondition(format!("etcdserver: {error}")),
            TransferError::LeadsAlready(_)
            | TransferError::NotAVoter(_)
            | TransferError::Witness(_)
            | TransferError::NeverStands(_) => {
                ApiError::precondition(format!("etcdserver: bad leader transferee: {error}"))
            }
            TransferError::Stopped => ApiError::stopped(),
            // Nobody answers, or the successor did not take over in time.
            _ => ApiError::unavailable(format!("etcdserver: leadership was not transferred: {error}")),
        }
    }
}

impl From<actix_web::Error> for ApiError {
    /// A body that could not be read.
    fn from(error: actix_web::Error) -> ApiError {
        match error.as_response_error().status_code() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(),
            _ => ApiError::invalid(error.to_string()),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        #[derive(Serialize)]
        struct ErrorJson<'a> {
            // Older clients read `error`, newer ones `message`.
            error: &'a str,
            code: u8,
            message: &'a str,
        }
        let body = ErrorJson { error: &self.words, code: self.code, message: &self.words };
        HttpResponse::build(self.status).content_type("application/json").body(response::json(&body))
    }
}
