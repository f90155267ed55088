//! Products that were taken off sale, for administrators. Never from the cache, whose pages anybody may see.

use axum::{Json, extract::State};
use bharatmart_cache::{Change, Invalidations};
use bharatmart_commerce::record;
use bharatmart_database::{
    Database, Freshness,
    products::{self, OffSaleFilter, Product},
};
use bharatmart_domain::ProductId;
use serde_json::json;

use super::{action, changing};
use crate::{
    consistency::Own,
    error::ApiError,
    extract::{AdminUser, FromParams, Id, Params, ValidatedQuery},
    page::{List, PageParams, SortedBy},
};

pub(super) struct ListOffSale {
    filter: OffSaleFilter,
    page: PageParams,
}

impl FromParams for ListOffSale {
    fn from_params(params: &mut Params) -> Self {
        let about = "Only those whose name, description or SKU contains this text.";
        Self {
            filter: OffSaleFilter {
                search: params.optional_text::<200>("search", about),
            },
            page: PageParams::from_params(params),
        }
    }
}

/// List what was taken off sale
#[utoipa::path(
    get,
    path = "/api/products/off-sale",
    tag = "Products",
    security(("bearer" = ["admin"])),
    params(ValidatedQuery<ListOffSale>),
    responses((status = 200, description = "A page of products that are not sold, by name.", body = List<Product>))
)]
pub(super) async fn list_off_sale(
    _: AdminUser,
    Own(database): Own<Database>,
    ValidatedQuery(ListOffSale { filter, page }): ValidatedQuery<ListOffSale>,
) -> Result<Json<List<Product>>, ApiError> {
    let request = page.of_list(|| filter.fingerprint(), SortedBy::Text)?;
    let mut connection = database.read(Freshness::OwnWrites).await?;
    let found = products::list_off_sale(&mut connection, &filter, &request).await?;
    List::respond(found, &request)
}

/// Put a product back on sale
///
/// As it was when it was taken off. One that is on sale stays as it is.
#[utoipa::path(
    post,
    path = "/api/products/{id}/restore",
    tag = "Products",
    security(("bearer" = ["admin"])),
    params(Id<ProductId>),
    responses(
        (status = 200, description = "The product, which is sold again.", body = Product),
        (status = 404, description = "There is no such product."),
    )
)]
pub(super) async fn restore_product(
    admin: AdminUser,
    Own(database): Own<Database>,
    State(invalidations): State<Invalidations>,
    Id(id): Id<ProductId>,
) -> Result<Json<Product>, ApiError> {
    let mut transaction = database.begin().await?;
    let restore = async move {
        let Some(product) = products::restore(&mut transaction, id).await? else {
            let on_sale = products::find(&mut transaction, id).await?;
            return on_sale.map(Json).ok_or(ApiError::NotFound("Product"));
        };
        let action = action("product.restore", id, json!({}));
        record(&mut transaction, &admin.origin, action).await?;
        transaction.commit().await?;
        Ok(Json(product))
    };
    changing(&invalidations, restore, move |_| Change::Product(id)).await
}
