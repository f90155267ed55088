//! The one body of every 4xx and 5xx: problem details (RFC 9457), with the `error` sentence that
//! older clients read.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bharatmart_database::orders::Shortage;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::FieldError;

/// A problem, less what only the outermost layer knows of the request.
///
/// As a response it has no body yet: it travels in the extensions, and [`Problem::write`] puts the
/// body in.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    error: String,
    detail: Option<String>,
    errors: Vec<FieldError>,
    shortages: Vec<Shortage>,
}

/// Why a request was refused (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem, example = json!({
    "type": "about:blank", "title": "Not Found", "status": 404, "detail": "Product not found",
    "instance": "/api/products/0193a5f0-7c1e-7d3a-9b1a-4f2f6f1c2d3e", "code": "not_found",
    "request_id": "0193a5f0-7c1e-7d3a-9b1a-4f2f6f1c2d3f", "error": "Product not found",
}))]
pub(crate) struct ProblemBody<'a> {
    r#type: &'static str,
    title: &'static str,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    detail: &'a str,
    /// The path of the request.
    instance: &'a str,
    /// For programs to tell problems apart by, such as `out_of_stock`.
    code: &'static str,
    /// To quote when asking about it.
    request_id: &'a str,
    /// What is wrong, in a sentence.
    error: &'a str,
    /// What is wrong with which field or parameter.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// Of which products too little is left.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    shortages: &'a [Shortage],
}

impl Problem {
    pub(crate) const fn new(status: StatusCode, code: &'static str, error: String) -> Self {
        Self {
            status,
            code,
            error,
            detail: None,
            errors: Vec::new(),
            shortages: Vec::new(),
        }
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(crate) fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    pub(crate) fn with_shortages(mut self, shortages: Vec<Shortage>) -> Self {
        self.shortages = shortages;
        self
    }

    /// The word that programs tell errors apart by.
    pub(crate) const fn code(&self) -> &'static str {
        self.code
    }

    /// Puts the body into `response`, which was made from this problem.
    pub(crate) fn write(&self, response: &mut Response, instance: &str, request_id: &str) {
        let body = ProblemBody {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: self.detail.as_deref().unwrap_or(&self.error),
            instance,
            code: self.code,
            request_id,
            error: &self.error,
            errors: &self.errors,
            shortages: &self.shortages,
        };
        match serde_json::to_vec(&body) {
            Ok(json) => {
                let media_type = HeaderValue::from_static("application/problem+json");
                response.headers_mut().insert(CONTENT_TYPE, media_type);
                *response.body_mut() = Body::from(json);
            }
            Err(error) => tracing::error!(%error, "a problem could not be written"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
