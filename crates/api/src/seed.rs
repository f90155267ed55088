//! A shop that looks real.

use bharatmart_config::{AdminConfig, DatabaseConfig, Environment};
use bharatmart_database::{
    seed::{self, SeedProduct},
    users::{self, NewUser},
};
use bharatmart_domain::{Money, Role};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::tasks::{TaskResult, accounts, check_admin, connect};

/// The name of administrators who are made on the command line.
pub(crate) const ADMIN_NAME: &str = "BharatMart Admin";

const PRODUCTS: &str = include_str!("seed/products.json");

/// Customers for development, whose password anybody can read here.
const CUSTOMERS: [(&str, &str); 2] = [
    ("priya@example.in", "Priya Sharma"),
    ("arjun@example.in", "Arjun Nair"),
];
const CUSTOMER_PASSWORD: &str = "Customer@123";

#[derive(Debug, Deserialize)]
struct ProductLine {
    sku: String,
    name: String,
    category: String,
    price: Money,
    stock: i32,
    description: String,
}

fn products() -> Result<Vec<SeedProduct>, serde_json::Error> {
    let lines: Vec<ProductLine> = serde_json::from_str(PRODUCTS)?;
    let products = lines.into_iter().map(|line| SeedProduct {
        sku: line.sku,
        name: line.name,
        category: line.category,
        price: line.price,
        stock_quantity: line.stock,
        description: line.description,
    });
    Ok(products.collect())
}

/// Adds what is missing, in one transaction, and prints the logins.
pub(crate) async fn seed(
    config: &DatabaseConfig,
    admin: &AdminConfig,
    environment: Environment,
) -> TaskResult {
    if environment == Environment::Production {
        check_admin(admin)?;
    }
    let database = connect(config).await?;
    let accounts = accounts(&database);
    let products = products()?;
    let admin_email = admin.email.to_ascii_lowercase();
    let mut people = vec![(
        &*admin_email,
        ADMIN_NAME,
        admin.password.clone(),
        Role::Admin,
    )];
    if environment == Environment::Development {
        people.extend(CUSTOMERS.map(|(email, name)| {
            (
                email,
                name,
                SecretString::from(CUSTOMER_PASSWORD),
                Role::Customer,
            )
        }));
    }

    let mut transaction = database.begin().await?;
    let added = seed::add_products(&mut transaction, &products).await?;
    let mut logins = Vec::new();
    for (email, full_name, password, role) in people {
        let known = users::credentials(&mut transaction, email).await?.is_some();
        if !known {
            let password_hash = accounts.hash(&password).await?;
            let new = NewUser {
                email,
                full_name,
                password_hash: &password_hash,
                role,
            };
            seed::add_user(&mut transaction, &new).await?;
        }
        let password = match environment {
            // An operator knows the password that they have set, and logs outlive it.
            Environment::Production => String::new(),
            Environment::Development => format!(" / {}", password.expose_secret()),
        };
        let note = if known {
            " (was there already, unchanged)"
        } else {
            ""
        };
        logins.push(format!("  {role}: {email}{password}{note}"));
    }
    transaction.commit().await?;

    println!(
        "{added} of {} products added; the others were there already.",
        products.len()
    );
    println!("Logins:\n{}", logins.join("\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn the_shop_is_well_stocked() {
        let products = products().unwrap();
        let skus: BTreeSet<_> = products.iter().map(|product| &product.sku).collect();
        let mut categories = BTreeMap::<_, usize>::new();
        for product in &products {
            *categories.entry(&product.category).or_default() += 1;
            assert!(!product.name.is_empty() && product.name.chars().count() <= 200);
            assert!(!product.description.is_empty());
            assert!(
                product.price > Money::ZERO && product.stock_quantity > 0,
                "{}",
                product.name
            );
        }
        assert!(products.len() >= 60, "{}", products.len());
        assert_eq!(skus.len(), products.len(), "SKUs are unique");
        assert!(categories.len() >= 8, "{categories:?}");
        assert!(
            categories.values().all(|&count| count >= 4),
            "{categories:?}"
        );
    }
}
