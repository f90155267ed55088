//! What the tests share.

use bharatmart_database::products::{self, NewProduct, Product};
use bharatmart_domain::Money;
use bharatmart_test_support::TestDatabase;
use sqlx::{PgConnection, Postgres, pool::PoolConnection};

/// A connection to a database of the test's own. Keep both: the database goes with its value.
pub async fn connect() -> (TestDatabase, PoolConnection<Postgres>) {
    let database = TestDatabase::create().await;
    let connection = database
        .pool()
        .await
        .acquire()
        .await
        .expect("a new pool has a connection");
    (database, connection)
}

/// Adds a product of which there are ten.
pub async fn add(connection: &mut PgConnection, name: &str, category: &str) -> Product {
    let new = NewProduct {
        name: name.to_owned(),
        description: None,
        price: Money::from_paise(4_999).expect("a price"),
        category: category.to_owned(),
        image_url: None,
        stock_quantity: 10,
        sku: None,
    };
    products::insert(connection, &new)
        .await
        .expect("the product is added")
}
