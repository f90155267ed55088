//! Products and categories.

mod off_sale;

use axum::{Json, extract::State, response::Response};
use bharatmart_cache::{Change, Effect, Invalidations};
use bharatmart_commerce::{Action, difference, record};
use bharatmart_database::{
    self as database, Database,
    products::{self, NewProduct, Product, ProductChanges, ProductFilter, ProductSort, SKU_TAKEN},
};
use bharatmart_domain::{Money, ProductId};
use http::{StatusCode, header::LOCATION};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    cached::{Categories, CategoriesPage, IfNoneMatch, Pages, ProductPage, ProductsPage},
    consistency::Own,
    error::ApiError,
    extract::{AdminUser, Body, FromParams, Id, Params, ValidatedJson, ValidatedQuery},
    fields::{Flag, ImageUrl, Line, Nullable, Text, Whole, sent},
    page::{List, PageParams, SortedBy},
    state::AppState,
};

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(list_products, create_product))
        .routes(routes!(read_product, update_product, delete_product))
        .routes(routes!(off_sale::list_off_sale))
        .routes(routes!(off_sale::restore_product))
        .routes(routes!(list_categories))
}

pub(crate) type Name = Line<1, 200>;
pub(crate) type CategoryName = Line<1, 100>;
pub(crate) type Sku = Line<1, 64>;
pub(crate) type Description = Text<0, 10_000>;
/// Far enough from the column's end that returned goods still fit.
pub(crate) type Stock = Whole<0, 1_000_000_000>;

struct ListProducts {
    filter: ProductFilter,
    page: PageParams,
}

impl FromParams for ListProducts {
    fn from_params(params: &mut Params) -> Self {
        Self {
            filter: ProductFilter {
                // Neither is compared by its capitals. Beyond ASCII that is the database's business.
                category: params
                    .optional_text::<100>(
                        "category",
                        "Only this category's, whatever its ASCII capitals.",
                    )
                    .map(|name| name.to_ascii_lowercase()),
                search: params
                    .optional_text::<200>(
                        "search",
                        "Only those whose name, description or SKU contains this text.",
                    )
                    .map(|text| text.to_ascii_lowercase()),
                min_price: params.optional("min_price", "Only those that cost at least this."),
                max_price: params.optional("max_price", "Only those that cost at most this."),
                in_stock: params
                    .optional::<Flag>("in_stock", "Only those that are there, or that are not.")
                    .map(|flag| flag.0),
                sort: params
                    .optional("sort", "The order of the list; `name` if not given.")
                    .unwrap_or_default(),
            },
            page: PageParams::from_params(params),
        }
    }
}

const fn sorted_by(sort: ProductSort) -> SortedBy {
    match sort {
        ProductSort::Name | ProductSort::NameDescending => SortedBy::Text,
        ProductSort::Price | ProductSort::PriceDescending => SortedBy::Price,
        ProductSort::CreatedAt | ProductSort::CreatedAtDescending => SortedBy::Time,
    }
}

/// List products
#[utoipa::path(
    get,
    path = "/api/products",
    tag = "Products",
    params(ValidatedQuery<ListProducts>, IfNoneMatch),
    responses(
        (status = 200, description = "A page of products.", body = List<Product>),
        (status = 304, description = "The client has this page."),
    )
)]
async fn list_products(
    Own(pages): Own<Pages>,
    condition: IfNoneMatch,
    ValidatedQuery(ListProducts { filter, page }): ValidatedQuery<ListProducts>,
) -> Result<Response, ApiError> {
    let request = page.of_list(|| filter.fingerprint(), sorted_by(filter.sort))?;
    pages
        .answer(ProductsPage { filter, request }, &condition)
        .await
}

/// Read a product
#[utoipa::path(
    get,
    path = "/api/products/{id}",
    tag = "Products",
    params(Id<ProductId>, IfNoneMatch),
    responses(
        (status = 200, description = "The product.", body = Product),
        (status = 304, description = "The client has this body."),
        (status = 404, description = "There is no such product."),
    )
)]
async fn read_product(
    Own(pages): Own<Pages>,
    condition: IfNoneMatch,
    Id(id): Id<ProductId>,
) -> Result<Response, ApiError> {
    pages.answer(ProductPage(id), &condition).await
}

/// List the categories
#[utoipa::path(
    get,
    path = "/api/categories",
    tag = "Products",
    params(IfNoneMatch),
    responses(
        (status = 200, description = "Those that have something on sale, by name.", body = Categories),
        (status = 304, description = "The client has this body."),
    )
)]
async fn list_categories(
    Own(pages): Own<Pages>,
    condition: IfNoneMatch,
) -> Result<Response, ApiError> {
    pages.answer(CategoriesPage, &condition).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "name": "Darjeeling tea", "price": 499.5, "category": "Grocery", "stock_quantity": 40, "sku": "TEA-1" }))]
struct CreateProduct {
    #[schema(inline)]
    name: Name,
    price: Money,
    #[schema(inline)]
    category: CategoryName,
    #[schema(inline)]
    description: Option<Description>,
    #[schema(inline)]
    stock_quantity: Option<Stock>,
    #[schema(inline)]
    sku: Option<Sku>,
    #[schema(inline)]
    image_url: Option<ImageUrl>,
}

impl Body for CreateProduct {
    const REQUIRED: &'static [&'static str] = &["name", "price", "category"];
}

/// Add a product
#[utoipa::path(
    post,
    path = "/api/products",
    tag = "Products",
    security(("bearer" = ["admin"])),
    request_body = CreateProduct,
    responses(
        (status = 201, description = "The product.", body = Product, headers(
            ("Location" = String, description = "Where the product is."),
        )),
        (status = 409, description = "Another product has this SKU."),
    )
)]
async fn create_product(
    admin: AdminUser,
    Own(database): Own<Database>,
    State(invalidations): State<Invalidations>,
    ValidatedJson(body): ValidatedJson<CreateProduct>,
) -> Result<(StatusCode, [(http::HeaderName, String); 1], Json<Product>), ApiError> {
    let new = NewProduct {
        name: body.name.into_string(),
        description: body.description.map(Text::into_string),
        price: body.price,
        category: body.category.into_string(),
        image_url: body.image_url.map(ImageUrl::into_string),
        stock_quantity: body.stock_quantity.map_or(0, |stock| stock.0),
        sku: body.sku.map(Line::into_string),
    };
    let mut transaction = database.begin().await?;
    let insert = async move {
        let product = products::insert(&mut transaction, &new)
            .await
            .map_err(sku_taken)?;
        let action = action("product.create", product.id, difference(&(), &product));
        record(&mut transaction, &admin.origin, action).await?;
        transaction.commit().await?;
        Ok(product)
    };
    let product = changing(&invalidations, insert, |product| match product {
        Some(product) => Change::Product(product.id),
        // Its id is the database's choice.
        None => Change::Catalogue,
    })
    .await?;
    let location = format!("/api/products/{}", product.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(product)))
}

/// Fields that are not sent stay as they are; `null` clears those that may be empty.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "price": 449, "stock_quantity": 100 }))]
struct UpdateProduct {
    #[serde(default, deserialize_with = "sent")]
    #[schema(inline, nullable = false)]
    name: Option<Name>,
    #[serde(default, deserialize_with = "sent")]
    #[schema(nullable = false)]
    price: Option<Money>,
    #[serde(default, deserialize_with = "sent")]
    #[schema(inline, nullable = false)]
    category: Option<CategoryName>,
    #[serde(default, deserialize_with = "sent")]
    #[schema(inline, value_type = Option<Description>)]
    description: Option<Nullable<Description>>,
    #[serde(default, deserialize_with = "sent")]
    #[schema(inline, nullable = false)]
    stock_quantity: Option<Stock>,
    #[serde(default, deserialize_with = "sent")]
    #[schema(inline, value_type = Option<Sku>)]
    sku: Option<Nullable<Sku>>,
    #[serde(default, deserialize_with = "sent")]
    #[schema(inline, value_type = Option<ImageUrl>)]
    image_url: Option<Nullable<ImageUrl>>,
}

impl Body for UpdateProduct {}

/// Change a product
#[utoipa::path(
    put,
    path = "/api/products/{id}",
    tag = "Products",
    security(("bearer" = ["admin"])),
    params(Id<ProductId>),
    request_body = UpdateProduct,
    responses(
        (status = 200, description = "The product as it is now.", body = Product),
        (status = 404, description = "There is no such product."),
        (status = 409, description = "Another product has this SKU."),
    )
)]
async fn update_product(
    admin: AdminUser,
    Own(database): Own<Database>,
    State(invalidations): State<Invalidations>,
    Id(id): Id<ProductId>,
    ValidatedJson(body): ValidatedJson<UpdateProduct>,
) -> Result<Json<Product>, ApiError> {
    let changes = ProductChanges {
        name: body.name.map(Line::into_string),
        description: body.description.map(|text| text.0.map(Text::into_string)),
        price: body.price,
        category: body.category.map(Line::into_string),
        image_url: body.image_url.map(|url| url.0.map(ImageUrl::into_string)),
        stock_quantity: body.stock_quantity.map(|stock| stock.0),
        sku: body.sku.map(|sku| sku.0.map(Line::into_string)),
    };
    let mut transaction = database.begin().await?;
    let update = async move {
        let unknown = ApiError::NotFound("Product");
        let Some(before) = products::lock(&mut transaction, id).await? else {
            return Err(unknown);
        };
        let product = products::update(&mut transaction, id, &changes)
            .await
            .map_err(sku_taken)?
            .ok_or(unknown)?;
        let changes = difference(&before, &product);
        if changes != json!({}) {
            let action = action("product.update", id, changes);
            record(&mut transaction, &admin.origin, action).await?;
        }
        transaction.commit().await?;
        Ok(Json(product))
    };
    changing(&invalidations, update, move |_| Change::Product(id)).await
}

/// Take a product off sale
///
/// Orders that have it keep it.
#[utoipa::path(
    delete,
    path = "/api/products/{id}",
    tag = "Products",
    security(("bearer" = ["admin"])),
    params(Id<ProductId>),
    responses(
        (status = 204, description = "It is no longer sold."),
        (status = 404, description = "There is no such product."),
    )
)]
async fn delete_product(
    admin: AdminUser,
    Own(database): Own<Database>,
    State(invalidations): State<Invalidations>,
    Id(id): Id<ProductId>,
) -> Result<StatusCode, ApiError> {
    let mut transaction = database.begin().await?;
    let hide = async move {
        if !products::hide(&mut transaction, id).await? {
            return Err(ApiError::NotFound("Product"));
        }
        let action = action("product.delete", id, json!({}));
        record(&mut transaction, &admin.origin, action).await?;
        transaction.commit().await?;
        Ok(StatusCode::NO_CONTENT)
    };
    changing(&invalidations, hide, move |_| Change::Product(id)).await
}

fn action(name: &'static str, id: ProductId, changes: Value) -> Action {
    Action {
        name,
        resource_type: "product",
        resource_id: id.to_string(),
        changes,
    }
}

/// Does what changes a product, and sees to it that nothing from before is served afterwards. `change`
/// is told what came of it, if that is known.
async fn changing<T: Send + 'static>(
    invalidations: &Invalidations,
    write: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    change: impl FnOnce(Option<&T>) -> Change + Send + 'static,
) -> Result<T, ApiError> {
    invalidations
        .write(write, move |result| match result {
            Ok(result) => Effect::Committed(vec![change(Some(result))]),
            // Of these the second was refused before it got to the database.
            Err(error) if error.status().is_client_error() => Effect::Nothing,
            Err(ApiError::Overloaded) => Effect::Nothing,
            Err(_) => Effect::Unclear(vec![change(None)]),
        })
        .await
}

fn sku_taken(error: database::Error) -> ApiError {
    if error.is_constraint(SKU_TAKEN) {
        ApiError::Conflict {
            code: "sku_taken",
            message: "A product with this SKU already exists".to_owned(),
            field: Some("sku"),
        }
    } else {
        error.into()
    }
}
