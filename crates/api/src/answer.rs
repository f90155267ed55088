//! Answers to requests that make something.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use bharatmart_commerce::Answer;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, LOCATION},
};
use serde::Serialize;
use uuid::Uuid;

/// Says that the answer was given before.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 201 with what was made, now or by an earlier request under the same key; it lives below `path`.
pub(crate) fn created<T: Serialize>(
    path: &str,
    answer: Answer<T>,
    id: impl FnOnce(&T) -> Uuid,
) -> Response {
    let location = |id: Uuid| [(LOCATION, format!("{path}/{id}"))];
    match answer {
        Answer::Fresh(made) => {
            (StatusCode::CREATED, location(id(&made)), Json(made)).into_response()
        }
        Answer::Replayed { resource_id, body } => {
            let replayed = [
                (CONTENT_TYPE, JSON),
                (REPLAYED, HeaderValue::from_static("true")),
            ];
            (StatusCode::CREATED, location(resource_id), replayed, body).into_response()
        }
    }
}
