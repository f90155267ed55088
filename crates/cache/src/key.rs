//! The name of every cached body, and what each of them shows.
//!
//! A key says nothing of who asks, so no body may depend on that.

use bharatmart_domain::ProductId;

/// What a body shows, hence which changes outdate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// One product with its stock, which may lag no change.
    Product(ProductId),
    /// Products with their stock, which may lag a change of stock by [`crate::LISTED_STOCK_LAG`].
    Products,
    /// The catalogue without stock.
    Catalogue,
}

/// How far a body may travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Into the shared tier.
    Shared,
    /// No further than this process: there are too many bodies of its kind, and strangers choose which.
    Local,
}

/// The name of one body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub(crate) name: String,
    pub(crate) shows: Shows,
    pub(crate) reach: Reach,
}

// The version in a name is raised when the body under it changes its shape: old and new processes run
// side by side during a deployment, and must not read each other's bodies.
const PRODUCT: &str = "product:v2:";
const PRODUCTS: &str = "products:v2:";
const CATEGORIES: &str = "categories:v2";

impl Key {
    /// A product's page.
    #[must_use]
    pub fn product(id: ProductId) -> Self {
        Self {
            name: product_page(id),
            shows: Shows::Product(id),
            reach: Reach::Shared,
        }
    }

    /// A list of products; `query` is one text for all spellings of a query.
    #[must_use]
    pub fn products(query: &str, reach: Reach) -> Self {
        Self {
            name: [PRODUCTS, query].concat(),
            shows: Shows::Products,
            reach,
        }
    }

    /// The categories.
    #[must_use]
    pub fn categories() -> Self {
        Self {
            name: CATEGORIES.to_owned(),
            shows: Shows::Catalogue,
            reach: Reach::Shared,
        }
    }
}

/// The name of a product's page.
pub(crate) fn product_page(id: ProductId) -> String {
    let mut name = String::with_capacity(PRODUCT.len() + uuid::fmt::Hyphenated::LENGTH);
    name.push_str(PRODUCT);
    name.push_str(
        id.0.hyphenated()
            .encode_lower(&mut uuid::Uuid::encode_buffer()),
    );
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_versioned_and_those_of_different_bodies_differ() {
        let id = ProductId(uuid::Uuid::from_u128(0xab));
        let page = Key::product(id);
        assert_eq!(page.name, "product:v2:00000000-0000-0000-0000-0000000000ab");
        assert_eq!(page.shows, Shows::Product(id));
        let list = Key::products("category=Tea", Reach::Local);
        assert_eq!(list.name, "products:v2:category=Tea");
        assert_eq!((list.shows, list.reach), (Shows::Products, Reach::Local));
        let categories = Key::categories();
        assert_eq!(categories.name, "categories:v2");
        assert_eq!(categories.shows, Shows::Catalogue);
        // Whatever the query is, a list's name is none of the others.
        for query in ["", ":", "v1", &page.name] {
            let name = Key::products(query, Reach::Shared).name;
            assert!(name != page.name && name != categories.name);
        }
    }
}
