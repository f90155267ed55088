//! Products and categories.

use axum::{Json, Router, extract::State, response::Response, routing::get};
use bharatmart_cache::{Change, Effect, Invalidations};
use bharatmart_database::{
    self as database, Database,
    products::{self, NewProduct, Product, ProductChanges, ProductFilter, ProductSort, SKU_TAKEN},
};
use bharatmart_domain::{Money, ProductId};
use http::{StatusCode, header::LOCATION};
use serde::Deserialize;

use crate::{
    cached::{CategoriesPage, IfNoneMatch, Pages, ProductPage, ProductsPage},
    consistency::Own,
    error::ApiError,
    extract::{AdminUser, Body, FromParams, Id, Params, ValidatedJson, ValidatedQuery},
    fields::{Flag, ImageUrl, Line, Nullable, Text, Whole, sent},
    page::{PageParams, SortedBy},
    state::AppState,
};

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/api/products", get(list_products).post(create_product))
        .route(
            "/api/products/{id}",
            get(read_product).put(update_product).delete(delete_product),
        )
        .route("/api/categories", get(list_categories))
}

type Name = Line<1, 200>;
type CategoryName = Line<1, 100>;
type Sku = Line<1, 64>;
type Description = Text<0, 10_000>;
/// Far enough from the column's end that returned goods still fit.
type Stock = Whole<0, 1_000_000_000>;

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
                    .optional_text("category")
                    .map(|name: CategoryName| name.into_string().to_ascii_lowercase()),
                search: params
                    .optional_text("search")
                    .map(|text: Line<1, 200>| text.into_string().to_ascii_lowercase()),
                min_price: params.optional("min_price"),
                max_price: params.optional("max_price"),
                in_stock: params.optional::<Flag>("in_stock").map(|flag| flag.0),
                sort: params.optional("sort").unwrap_or_default(),
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

async fn read_product(
    Own(pages): Own<Pages>,
    condition: IfNoneMatch,
    Id(id): Id<ProductId>,
) -> Result<Response, ApiError> {
    pages.answer(ProductPage(id), &condition).await
}

async fn list_categories(
    Own(pages): Own<Pages>,
    condition: IfNoneMatch,
) -> Result<Response, ApiError> {
    pages.answer(CategoriesPage, &condition).await
}

#[derive(Debug, Deserialize)]
struct CreateProduct {
    name: Name,
    price: Money,
    category: CategoryName,
    description: Option<Description>,
    stock_quantity: Option<Stock>,
    sku: Option<Sku>,
    image_url: Option<ImageUrl>,
}

impl Body for CreateProduct {
    const REQUIRED: &'static [&'static str] = &["name", "price", "category"];
}

async fn create_product(
    _: AdminUser,
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
    let mut connection = database.write().await?;
    let insert = async move {
        products::insert(&mut connection, &new)
            .await
            .map_err(sku_taken)
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
#[derive(Debug, Deserialize)]
struct UpdateProduct {
    #[serde(default, deserialize_with = "sent")]
    name: Option<Name>,
    #[serde(default, deserialize_with = "sent")]
    price: Option<Money>,
    #[serde(default, deserialize_with = "sent")]
    category: Option<CategoryName>,
    #[serde(default, deserialize_with = "sent")]
    description: Option<Nullable<Description>>,
    #[serde(default, deserialize_with = "sent")]
    stock_quantity: Option<Stock>,
    #[serde(default, deserialize_with = "sent")]
    sku: Option<Nullable<Sku>>,
    #[serde(default, deserialize_with = "sent")]
    image_url: Option<Nullable<ImageUrl>>,
}

impl Body for UpdateProduct {}

async fn update_product(
    _: AdminUser,
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
    let mut connection = database.write().await?;
    let update = async move {
        let product = products::update(&mut connection, id, &changes)
            .await
            .map_err(sku_taken)?;
        product.map(Json).ok_or(ApiError::NotFound("Product"))
    };
    changing(&invalidations, update, move |_| Change::Product(id)).await
}

async fn delete_product(
    _: AdminUser,
    Own(database): Own<Database>,
    State(invalidations): State<Invalidations>,
    Id(id): Id<ProductId>,
) -> Result<StatusCode, ApiError> {
    let mut connection = database.write().await?;
    let hide = async move {
        if products::hide(&mut connection, id).await? {
            Ok(StatusCode::NO_CONTENT)
        } else {
            Err(ApiError::NotFound("Product"))
        }
    };
    changing(&invalidations, hide, move |_| Change::Product(id)).await
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
            Err(error) if error.status().is_client_error() => Effect::Nothing,
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
