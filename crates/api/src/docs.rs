//! The OpenAPI document, and a page on which to read and try it.

use std::sync::{Arc, LazyLock};

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::SchemaType},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerFile};

use crate::{error::ApiError, openapi};

const DOCUMENT: &str = "/api/openapi.json";

/// Our own, since that of Swagger UI refers to its files relative to a folder.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>BharatMart API</title>
<link rel="icon" type="image/png" href="/api/docs/favicon-32x32.png">
<link rel="stylesheet" href="/api/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/api/docs/swagger-ui-bundle.js"></script>
<script src="/api/docs/swagger-ui-standalone-preset.js"></script>
<script src="/api/docs/swagger-initializer.js"></script>
</body>
</html>
"#;

/// What the page may load. It draws with styles of its own, and its icons are `data:` URLs.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);
const FOR_A_WHILE: HeaderValue = HeaderValue::from_static("public, max-age=300");

pub(crate) fn router() -> OpenApiRouter {
    OpenApiRouter::default()
        .routes(routes!(read_document))
        .routes(routes!(show_page))
        .routes(routes!(read_file))
}

/// Read this document
#[utoipa::path(
    get,
    path = "/api/openapi.json",
    tag = "System",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object))
)]
async fn read_document() -> Response {
    static JSON: LazyLock<Bytes> = LazyLock::new(|| openapi::document().to_string().into());
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, FOR_A_WHILE),
    ];
    (headers, JSON.clone()).into_response()
}

/// Read and try the API in a browser
#[utoipa::path(
    get,
    path = "/api/docs",
    tag = "System",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html"))
)]
async fn show_page() -> Response {
    let headers = [
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, FOR_A_WHILE),
    ];
    (headers, PAGE).into_response()
}

/// Bytes of any kind: in OpenAPI 3.1 a schema that says nothing.
struct OctetStream;

impl PartialSchema for OctetStream {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .into()
    }
}

impl ToSchema for OctetStream {}

/// Read a file of that page
#[utoipa::path(
    get,
    path = "/api/docs/{file}",
    tag = "System",
    params(("file" = String, Path, description = "Its name.")),
    responses(
        (status = 200, description = "The file.", body = OctetStream, content_type = "*/*"),
        (status = 404, description = "There is no such file."),
    )
)]
async fn read_file(Path(name): Path<String>) -> Result<Response, ApiError> {
    static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
        let config = Config::from(DOCUMENT);
        Arc::new(config.persist_authorization(false).try_it_out_enabled(true))
    });
    let file = utoipa_swagger_ui::serve(&name, CONFIG.clone());
    let SwaggerFile {
        bytes,
        content_type,
        gzpipped,
        ..
    } = file
        .map_err(|error| ApiError::Internal(error.to_string().into()))?
        .ok_or(ApiError::NotFound("File"))?;
    let content_type =
        HeaderValue::from_str(&content_type).map_err(|error| ApiError::Internal(error.into()))?;
    let headers = [(CONTENT_TYPE, content_type), (CACHE_CONTROL, FOR_A_WHILE)];
    let encoding = gzpipped.then(|| [(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
    let mut response = (headers, bytes.into_owned()).into_response();
    response
        .headers_mut()
        .extend(encoding.into_iter().flatten());
    Ok(response)
}
