//! A request's body: JSON, whatever its content type says, as clients of etcd's gateway are used to.

use std::{future::Future, pin::Pin};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// The bytes of a body within the limit.
pub(super) struct Body(web::Bytes);

impl FromRequest for Body {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Body, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = web::Bytes::from_request(request, payload);
        Box::pin(async { Ok(Body(bytes.await?)) })
    }
}

impl Body {
    /// Reads it. No body at all means that every field is at its default.
    pub(super) fn decode<T: DeserializeOwned + Default>(&self) -> Result<T, ApiError> {
        if self.0.trim_ascii().is_empty() {
            return Ok(T::default());
        }
        serde_json::from_slice(&self.0)
            .map_err(|error| ApiError::invalid(format!("the body is not a valid request: {error}")))
    }
}
