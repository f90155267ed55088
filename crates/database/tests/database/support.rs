//! What the tests share.

use std::collections::BTreeMap;

use bharatmart_config::{DatabaseConfig, Process, Source};
use bharatmart_database::{
    Connection, Database,
    products::{self, NewProduct, Product},
};
use bharatmart_domain::Money;
use bharatmart_test_support::TestDatabase;

/// The settings of a program to which only `DATABASE_URL` is given.
pub fn config(url: &str) -> DatabaseConfig {
    let source = Source::from_map(BTreeMap::from([("DATABASE_URL", url)]));
    DatabaseConfig::read(&source, Process::Api).expect("the settings are good")
}

/// The database at `url`, as the programs use it.
pub fn open(url: &str) -> Database {
    Database::connect(&config(url), "database-test").expect("the URL is good")
}

/// A connection to a database of the test's own. Keep both: the database goes with its value.
pub async fn connect() -> (TestDatabase, Connection) {
    let database = TestDatabase::create().await;
    let connection = open(database.url()).write().await;
    (database, connection.expect("the database answers"))
}

/// Adds a product of which there are ten.
pub async fn add(connection: &mut Connection, name: &str, category: &str) -> Product {
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
