//! Products from a CSV file, all of them or none.

mod file;

use std::time::Duration;

use axum::{
    Json,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request},
};
use bharatmart_commerce::{self as commerce, ImportError, Imported, Shop};
use http::{HeaderMap, Method, StatusCode, header::CONTENT_TYPE};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    consistency::Own, error::ApiError, extract::AdminUser, router::discard, state::AppState,
};
use file::{Errors, File};

const PATH: &str = "/api/products/import";
/// The longest file, in bytes.
pub(crate) const MAX_BODY: usize = 16 * 1024 * 1024;
/// How long an import may take, if other requests may not take as long.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(2);

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(import_products))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// Whether a request may be larger and take longer than others.
pub(crate) fn is_import(request: &Request) -> bool {
    request.method() == Method::POST && request.uri().path() == PATH
}

/// Import products
///
/// From CSV (RFC 4180): up to 16 MiB and 100,000 products, all of them or none. The first line names the columns: `sku`,
/// `name`, `price`, `category`, and if wanted `description`, `stock_quantity`, `image_url`. A product whose `sku` is known
/// is changed, another added.
#[utoipa::path(
    post,
    path = "/api/products/import",
    tag = "Products",
    security(("bearer" = ["admin"])),
    request_body(content = String, content_type = "text/csv", example = "sku,name,price,category,stock_quantity\r\nTEA-1,Darjeeling tea,499.5,Grocery,40\r\n"),
    responses(
        (status = 200, description = "How many products there were of each kind.", body = Imported),
        (status = 400, description = "Lines of the file are wrong, and each of them is named. Nothing was imported."),
        (status = 409, description = "One of the products was added meanwhile. Nothing was imported; it can be sent again."),
        (status = 422, description = "Products are no longer sold, and each of them is named. Nothing was imported."),
    )
)]
async fn import_products(
    admin: Result<AdminUser, ApiError>,
    Own(shop): Own<Shop>,
    request: Request,
) -> Result<Json<Imported>, ApiError> {
    let origin = match admin {
        Ok(admin) => admin.origin,
        Err(error) => {
            // Else whoever still sends does not get to see the answer.
            discard(request).await;
            return Err(error);
        }
    };
    let body = read(request).await?;
    // Held as a whole, since it is bounded: the parser wants all of it at hand, and a thread that may be kept busy.
    let file = tokio::task::spawn_blocking(move || File::parse(&body))
        .await
        .map_err(|error| ApiError::Internal(error.into()))??;
    let File {
        lines,
        columns,
        numbers,
    } = file;
    let imported = commerce::import_products(&shop, origin, lines, columns).await;
    imported.map(Json).map_err(|error| match error {
        ImportError::NotSold(skus) => {
            let mut errors = Errors::default();
            let mut places: Vec<_> = skus.iter().filter_map(|sku| numbers.get(sku)).collect();
            places.sort_unstable();
            for number in places {
                let message = "is that of a product that is no longer sold";
                errors.add(*number, Some("sku"), message);
            }
            ApiError::Unprocessable {
                code: "no_longer_sold",
                message: "Nothing was imported: the file names products that are no longer sold"
                    .to_owned(),
                errors: errors.into_fields(),
            }
        }
        ImportError::AddedMeanwhile => ApiError::Conflict {
            code: "sku_taken",
            message: "Nothing was imported: a product with one of the SKUs was added meanwhile. Send the file again"
                .to_owned(),
            field: None,
        },
        ImportError::Database(error) => error.into(),
    })
}

async fn read(request: Request) -> Result<Bytes, ApiError> {
    if !is_csv(request.headers()) {
        discard(request).await;
        return Err(ApiError::UnsupportedMediaType("text/csv"));
    }
    Bytes::from_request(request, &())
        .await
        .map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::BodyTooLarge(MAX_BODY)
            } else {
                ApiError::MalformedBody("The body could not be read".to_owned())
            }
        })
}

/// Whether a body is declared as `text/csv` (RFC 7111), whatever its parameters.
fn is_csv(headers: &HeaderMap) -> bool {
    let declared = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = declared.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("text/csv"))
}
