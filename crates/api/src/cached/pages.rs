//! What is cached: each page with its key, its body and how that is made, in one place.
//!
//! A page is made of its own fields and the database, and of nothing else: whoever asks is not known here,
//! so no body can depend on that. What may be in a body is what implements [`Public`].

use bharatmart_cache::{Key, Reach};
use bharatmart_database::{
    Connection,
    products::{self, Category, Product, ProductFilter, ProductSort},
};
use bharatmart_domain::{PageRequest, Position, ProductId};
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;

use crate::{
    error::ApiError,
    page::{DEFAULT_LIMIT, List},
};

/// What may be shown to anybody. Not for what belongs to a customer.
pub(crate) trait Public: Serialize + Send {
    /// What it is, for the answer that there is none.
    const NAME: &'static str;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool;
}

/// A body that is the same for everybody.
pub(crate) trait Page: Send + 'static {
    /// What its JSON is made of.
    type Shown: Public;
    /// What caches between the API and its clients may do with it: how many seconds it may be shown
    /// without asking again, and how many more while it is asked again (RFC 5861).
    const CACHE_CONTROL: &'static str;

    /// All fields, in one form for all their spellings.
    fn key(&self) -> Key;

    /// Reads it; `None` when there is no such thing.
    fn load(
        self,
        connection: &mut Connection,
    ) -> impl Future<Output = Result<Option<Self::Shown>, ApiError>> + Send;
}

/// A product.
pub(crate) struct ProductPage(pub(crate) ProductId);

impl Public for Product {
    const NAME: &'static str = "Product";

    fn is_empty(&self) -> bool {
        false
    }
}

impl Page for ProductPage {
    type Shown = Product;
    const CACHE_CONTROL: &'static str = "public, max-age=1, stale-while-revalidate=2";

    fn key(&self) -> Key {
        Key::product(self.0)
    }

    async fn load(self, connection: &mut Connection) -> Result<Option<Product>, ApiError> {
        Ok(products::find(connection, self.0).await?)
    }
}

/// A list of products.
#[derive(Debug)]
pub(crate) struct ProductsPage {
    pub(crate) filter: ProductFilter,
    pub(crate) request: PageRequest,
}

impl Public for List<Product> {
    const NAME: &'static str = "Products";

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

/// Pages of a list beyond this one are not shared: few leaf that far, and strangers could make any number.
const SHARED_PAGES: i64 = 20;

impl Page for ProductsPage {
    type Shown = List<Product>;
    const CACHE_CONTROL: &'static str = "public, max-age=5, stale-while-revalidate=30";

    fn key(&self) -> Key {
        Key::products(&self.query(), self.reach())
    }

    async fn load(self, connection: &mut Connection) -> Result<Option<List<Product>>, ApiError> {
        let Self { filter, request } = self;
        let found = products::list(connection, &filter, &request).await?;
        List::new(found, &request).map(Some)
    }
}

impl ProductsPage {
    /// The query in one spelling: what differs from the default, in the order of the alphabet, escaped.
    fn query(&self) -> String {
        // Taken apart, so that no new field is forgotten here.
        let Self {
            filter:
                ProductFilter {
                    category,
                    search,
                    min_price,
                    max_price,
                    in_stock,
                    sort,
                },
            request: PageRequest { limit, position },
        } = self;
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(category) = category {
            query.append_pair("category", category);
        }
        if let Position::After(cursor) = position {
            // Its fingerprint is that of the filters, which are here already.
            query.append_pair("cursor_id", &cursor.id.to_string());
            query.append_pair("cursor_key", &cursor.key);
        }
        if let Some(in_stock) = in_stock {
            query.append_pair("in_stock", if *in_stock { "true" } else { "false" });
        }
        if *limit != DEFAULT_LIMIT {
            query.append_pair("limit", &limit.to_string());
        }
        if let Some(price) = max_price {
            query.append_pair("max_price", &price.to_string());
        }
        if let Some(price) = min_price {
            query.append_pair("min_price", &price.to_string());
        }
        if let Position::Offset(offset @ 1..) = position {
            query.append_pair("offset", &offset.to_string());
        }
        if let Some(search) = search {
            query.append_pair("search", search);
        }
        if *sort != ProductSort::default() {
            query.append_pair("sort", sort.as_str());
        }
        query.finish()
    }

    /// What people leaf through is shared. What strangers can vary at will is not.
    fn reach(&self) -> Reach {
        let varied = self.filter.search.is_some()
            || self.filter.min_price.is_some()
            || self.filter.max_price.is_some();
        let limit = self.request.limit;
        match self.request.position {
            Position::Offset(offset)
                if !varied && offset % limit == 0 && offset / limit < SHARED_PAGES =>
            {
                Reach::Shared
            }
            Position::Offset(_) | Position::After(_) => Reach::Local,
        }
    }
}

/// The categories.
pub(crate) struct CategoriesPage;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CategoryList)]
pub(crate) struct Categories {
    data: Vec<Category>,
}

impl Public for Categories {
    const NAME: &'static str = "Categories";

    fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

impl Page for CategoriesPage {
    type Shown = Categories;
    const CACHE_CONTROL: &'static str = "public, max-age=5, stale-while-revalidate=30";

    fn key(&self) -> Key {
        Key::categories()
    }

    async fn load(self, connection: &mut Connection) -> Result<Option<Categories>, ApiError> {
        let data = products::categories(connection).await?;
        Ok(Some(Categories { data }))
    }
}

#[cfg(test)]
mod tests {
    use bharatmart_domain::{Cursor, Money};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    /// Short texts of what queries are made of, so that many come close to each other.
    fn text() -> impl Strategy<Value = Option<String>> {
        proptest::option::of("[ab&=%+ 0;]{1,3}|a&search=b|%26|किताब")
    }

    fn price() -> impl Strategy<Value = Option<Money>> {
        proptest::option::of((0_i64..3).prop_map(|rupees| rupees.to_string().parse().unwrap()))
    }

    fn sort() -> impl Strategy<Value = ProductSort> {
        prop_oneof![
            Just(ProductSort::Name),
            Just(ProductSort::NameDescending),
            Just(ProductSort::Price),
        ]
    }

    fn filter() -> impl Strategy<Value = ProductFilter> {
        let fields = (
            text(),
            text(),
            price(),
            price(),
            proptest::option::of(any::<bool>()),
            sort(),
        );
        fields.prop_map(
            |(category, search, min_price, max_price, in_stock, sort)| ProductFilter {
                category,
                search,
                min_price,
                max_price,
                in_stock,
                sort,
            },
        )
    }

    fn position() -> impl Strategy<Value = Position> {
        let cursor = |(key, id)| Cursor {
            key,
            id: Uuid::from_u128(id),
            filters: 0,
        };
        prop_oneof![
            (0_i64..2).prop_map(Position::Offset),
            ("[a&=]{0,2}", 0_u128..2).prop_map(move |words| Position::After(cursor(words))),
        ]
    }

    fn page() -> impl Strategy<Value = ProductsPage> {
        let limit = prop_oneof![Just(DEFAULT_LIMIT), Just(1)];
        (filter(), limit, position()).prop_map(|(filter, limit, position)| ProductsPage {
            filter,
            request: PageRequest { limit, position },
        })
    }

    /// The first page with some fields of the second.
    fn mix(one: &ProductsPage, other: &ProductsPage, take: [bool; 8]) -> ProductsPage {
        let of = |field: usize| if take[field] { other } else { one };
        ProductsPage {
            filter: ProductFilter {
                category: of(0).filter.category.clone(),
                search: of(1).filter.search.clone(),
                min_price: of(2).filter.min_price,
                max_price: of(3).filter.max_price,
                in_stock: of(4).filter.in_stock,
                sort: of(5).filter.sort,
            },
            request: PageRequest {
                limit: of(6).request.limit,
                position: of(7).request.position.clone(),
            },
        }
    }

    proptest! {
        #[test]
        fn two_pages_have_one_key_only_if_they_show_the_same(
            one in page(),
            other in page(),
            take in any::<[bool; 8]>(),
        ) {
            let mixed = mix(&one, &other, take);
            // All that makes a difference, each text between quotes.
            let same = format!("{one:?}") == format!("{mixed:?}");
            prop_assert_eq!(one.key() == mixed.key(), same);
        }

        /// All that follows the category, as if it were a part of the category's name.
        #[test]
        fn no_text_passes_for_other_parameters(mut page in page()) {
            page.filter.category = Some("a".to_owned());
            let query = page.query();
            if let Some(rest) = query.strip_prefix("category=a&") {
                let smuggled = ProductsPage {
                    filter: ProductFilter {
                        category: Some(format!("a&{rest}")),
                        ..ProductFilter::default()
                    },
                    request: PageRequest {
                        limit: DEFAULT_LIMIT,
                        position: Position::Offset(0),
                    },
                };
                prop_assert_ne!(page.key(), smuggled.key());
            }
        }
    }

    #[test]
    fn what_strangers_can_vary_at_will_is_not_shared() {
        let of = |filter: ProductFilter, limit, position| {
            let request = PageRequest { limit, position };
            ProductsPage { filter, request }.reach()
        };
        let all = ProductFilter::default;
        let toys = ProductFilter {
            category: Some("toys".to_owned()),
            in_stock: Some(true),
            sort: ProductSort::PriceDescending,
            ..all()
        };
        for shared in [
            of(all(), 50, Position::Offset(0)),
            of(toys, 20, Position::Offset(19 * 20)),
        ] {
            assert_eq!(shared, Reach::Shared);
        }
        let searched = ProductFilter {
            search: Some("kite".to_owned()),
            ..all()
        };
        let dear = ProductFilter {
            min_price: Some("10".parse().unwrap()),
            ..all()
        };
        let cheap = ProductFilter {
            max_price: Some("10".parse().unwrap()),
            ..all()
        };
        let cursor = Cursor {
            key: "a".to_owned(),
            id: Uuid::nil(),
            filters: 0,
        };
        for local in [
            of(searched, 50, Position::Offset(0)),
            of(dear, 50, Position::Offset(0)),
            of(cheap, 50, Position::Offset(0)),
            of(all(), 50, Position::Offset(1)),
            of(all(), 50, Position::Offset(20 * 50)),
            of(all(), 50, Position::After(cursor)),
        ] {
            assert_eq!(local, Reach::Local);
        }
    }
}
