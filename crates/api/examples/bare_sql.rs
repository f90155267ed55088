//! What `cargo xtask bench reads` compares the API with: axum and sqlx answering one route with a product
//! from the database, with the statement, the settings and the runtime of the API and nothing around it.

use std::{error::Error, process::ExitCode};

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use bharatmart_config::{ApiConfig, ConfigError, Process};
use bharatmart_database::products::Product;
use bharatmart_domain::{Money, ProductId};
use http::StatusCode;
use secrecy::ExposeSecret;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    let config = bharatmart_config::parse(clap::Command::new("bare_sql"), Process::Api)
        .and_then(|parsed| ApiConfig::read(&parsed.source));
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(ConfigError::EXIT_CODE);
        }
    };
    match serve(&config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: &ApiConfig) -> Result<(), Box<dyn Error>> {
    let [url] = config.database.primary.as_slice() else {
        return Err("one database is all it knows".into());
    };
    let pool = PgPoolOptions::new()
        .max_connections(config.database.pool_size)
        // Neither does the API try a connection that was just in use.
        .test_before_acquire(false)
        .connect(url.url.expose_secret())
        .await?;
    let shop = Router::new()
        .route("/api/products/{id}", get(read_product))
        .with_state(pool);
    let health = Router::new().route("/api/health/ready", get(async || ()));
    let http = TcpListener::bind((config.http.host, config.http.port)).await?;
    let probes = TcpListener::bind((config.process.host, config.process.metrics_port)).await?;
    tokio::try_join!(
        axum::serve(http, shop).into_future(),
        axum::serve(probes, health).into_future()
    )?;
    Ok(())
}

async fn read_product(
    State(pool): State<PgPool>,
    Path(id): Path<ProductId>,
) -> Result<Json<Product>, StatusCode> {
    let product = sqlx::query_as!(
        Product,
        r#"
        SELECT
            id AS "id: ProductId",
            name,
            description,
            price AS "price: Money",
            category,
            image_url,
            is_active,
            stock_quantity,
            sku,
            created_at,
            updated_at
        FROM products
        WHERE id = $1 AND is_active
        "#,
        id.0,
    )
    .fetch_optional(&pool)
    .await
    .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    product.map(Json).ok_or(StatusCode::NOT_FOUND)
}
