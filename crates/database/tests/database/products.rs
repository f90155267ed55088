//! Lists of products and their categories.

use bharatmart_database::{
    Connection,
    products::{self, Category, Product, ProductFilter},
};
use bharatmart_domain::{Money, Page, PageRequest, Position};
use bharatmart_test_support::TestDatabase;

use crate::support::{add, connect, open};

/// Letters of which Rust's idea of lower case differs from a database's, or those of databases from
/// one another; and letters without a case.
const DIFFICULT: [&str; 9] = [
    "İstanbul",
    "ıspanak",
    "Straẞe",
    "ΟΔΟΣ",
    "οδος",
    "273 \u{212a}",
    "Épicerie",
    "किताबें",
    "હસ્તકલા Arts",
];

async fn list(connection: &mut Connection, filter: &ProductFilter) -> Vec<String> {
    let page = page(connection, filter, Position::Offset(0), 100).await;
    page.rows.into_iter().map(|product| product.name).collect()
}

async fn page(
    connection: &mut Connection,
    filter: &ProductFilter,
    position: Position,
    limit: i64,
) -> Page<Product> {
    let page = PageRequest { limit, position };
    products::list(connection, filter, &page)
        .await
        .expect("the products are listed")
}

fn category(name: &str) -> ProductFilter {
    ProductFilter {
        category: Some(name.to_owned()),
        ..ProductFilter::default()
    }
}

fn search(text: &str) -> ProductFilter {
    ProductFilter {
        search: Some(text.to_owned()),
        ..ProductFilter::default()
    }
}

#[tokio::test]
async fn a_category_is_found_whatever_its_ascii_capitals() {
    let (_database, mut connection) = connect().await;
    for (name, category) in [
        ("Atlas", "Books"),
        ("Bible", "books"),
        ("Comic", "किताबें Books"),
        ("Dosa", "Épicerie"),
        ("Earrings", "Booksellers"),
    ] {
        add(&mut connection, name, category).await;
    }
    for (asked, names) in [
        ("Books", vec!["Atlas", "Bible"]),
        ("books", vec!["Atlas", "Bible"]),
        ("BOOKS", vec!["Atlas", "Bible"]),
        ("किताबें Books", vec!["Comic"]),
        ("किताबें bOOKS", vec!["Comic"]),
        ("किताबें", vec![]),
        ("Épicerie", vec!["Dosa"]),
        ("ÉPICERIE", vec!["Dosa"]),
        // Only A to Z are one letter with a to z.
        ("épicerie", vec![]),
        ("%", vec![]),
    ] {
        let found = list(&mut connection, &category(asked)).await;
        assert_eq!(found, names, "{asked}");
    }
}

#[tokio::test]
async fn a_category_of_difficult_letters_is_found_by_its_own_name() {
    let (_database, mut connection) = connect().await;
    for name in DIFFICULT {
        add(&mut connection, name, name).await;
    }
    for name in DIFFICULT {
        assert_eq!(list(&mut connection, &category(name)).await, [name]);
    }
}

#[tokio::test]
async fn a_list_goes_on_under_another_spelling_of_its_category() {
    let (_database, mut connection) = connect().await;
    for name in ["Atlas", "Bible", "Comic"] {
        add(&mut connection, name, "Books").await;
    }
    let first = page(&mut connection, &category("Books"), Position::Offset(0), 2).await;
    let next = first.next.expect("there is more");
    let other = category("bOOKS");
    assert_eq!(next.filters, other.fingerprint());
    let second = page(&mut connection, &other, Position::After(next), 2).await;
    let names: Vec<_> = second.rows.iter().map(|product| &*product.name).collect();
    assert_eq!((names, second.total), (vec!["Comic"], 3));
}

#[tokio::test]
async fn a_categorys_count_is_that_of_its_list() {
    let (_database, mut connection) = connect().await;
    for (name, category) in [
        ("Atlas", "books"),
        ("Bible", "Books"),
        ("Comic", "BOOKS"),
        ("Dosa", "Épicerie"),
        ("Earrings", "किताबें"),
        ("Flute", "arts"),
    ] {
        add(&mut connection, name, category).await;
    }
    let hidden = add(&mut connection, "Gone", "Books").await.id;
    assert!(
        products::hide(&mut connection, hidden)
            .await
            .expect("it was on sale")
    );
    let categories = products::categories(&mut connection)
        .await
        .expect("the categories are listed");
    for Category {
        category: name,
        count,
    } in &categories
    {
        let listed = list(&mut connection, &category(name)).await;
        assert_eq!(i64::try_from(listed.len()), Ok(*count), "{name}");
    }
    let mut counts: Vec<_> = categories
        .iter()
        .map(|found| (&*found.category, found.count))
        .collect();
    counts.sort_unstable();
    assert_eq!(
        counts,
        [("BOOKS", 3), ("arts", 1), ("Épicerie", 1), ("किताबें", 1)]
    );
}

#[tokio::test]
async fn the_indexes_on_categories_serve_their_lists() {
    let test = TestDatabase::create().await;
    let database = open(test.url());
    let mut transaction = database.begin().await.expect("a transaction begins");
    for statement in [
        "INSERT INTO products (name, price, category)
        SELECT 'Product ' || number, 1, 'Category ' || number % 50
        FROM generate_series(1, 5000) AS number",
        "ANALYZE products",
    ] {
        sqlx::query(statement)
            .execute(&mut *transaction)
            .await
            .expect("the server does as it is told");
    }
    transaction.commit().await.expect("it is kept");

    let mut transaction = database.begin().await.expect("a transaction begins");
    let found = list(&mut transaction, &category("CATEGORY 7")).await;
    assert_eq!(found.len(), 100);
    // What this transaction has used, by the server's own count.
    let scans: i64 = sqlx::query_scalar(
        "SELECT sum(pg_stat_get_xact_numscans(oid))::bigint
        FROM pg_class
        WHERE relname LIKE 'products_category%' AND relkind = 'i'",
    )
    .fetch_one(&mut *transaction)
    .await
    .expect("the server counts");
    assert_eq!(scans, 2, "the count and the page");
}

#[tokio::test]
async fn a_search_does_not_see_ascii_capitals() {
    let (_database, mut connection) = connect().await;
    for name in ["Masala CHAI मसाला चाय", "chai Filter छन्नी", "Kite पतंग"]
    {
        add(&mut connection, name, "Bazaar").await;
    }
    for (text, names) in [
        ("chai", vec!["Masala CHAI मसाला चाय", "chai Filter छन्नी"]),
        ("CHAI मसाला", vec!["Masala CHAI मसाला चाय"]),
        ("KITE पतंग", vec!["Kite पतंग"]),
        ("पतंग", vec!["Kite पतंग"]),
        ("पत", vec!["Kite पतंग"]),
        ("पैतंग", vec![]),
    ] {
        for spelling in [
            text.to_owned(),
            text.to_ascii_lowercase(),
            text.to_ascii_uppercase(),
        ] {
            let found = list(&mut connection, &search(&spelling)).await;
            assert_eq!(found, names, "{spelling}");
        }
    }
}

#[tokio::test]
async fn a_search_in_ascii_small_letters_finds_difficult_letters_as_before() {
    let (_database, mut connection) = connect().await;
    for name in DIFFICULT {
        add(&mut connection, name, "Bazaar").await;
    }
    for text in DIFFICULT {
        let found = list(&mut connection, &search(text)).await;
        assert!(found.contains(&text.to_owned()), "{text}: {found:?}");
        let small = list(&mut connection, &search(&text.to_ascii_lowercase())).await;
        assert_eq!(small, found, "{text}");
    }
}

#[tokio::test]
async fn searches_and_price_ranges_are_planned_for_their_own_values() {
    let (_database, mut connection) = connect().await;
    add(&mut connection, "Kite", "Toys").await;
    let price = Money::from_paise(100).expect("a price");
    let ranged = ProductFilter {
        min_price: Some(price),
        ..ProductFilter::default()
    };
    for filter in [search("kite"), ranged] {
        assert_eq!(list(&mut connection, &filter).await, ["Kite"]);
    }
    // A statement that is kept gets one plan for all values after a few uses. With a plan made for any text,
    // a search of two letters would walk the whole index of trigrams.
    let kept: Vec<String> = sqlx::query_scalar(
        "SELECT statement FROM pg_prepared_statements
        WHERE statement LIKE 'SELECT % FROM products WHERE true %'
            AND statement NOT LIKE '%pg_prepared_statements%'",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the server tells");
    assert_eq!(kept, [""; 0]);
}

#[tokio::test]
async fn a_page_beyond_the_end_is_empty_and_tells_the_count() {
    let (_database, mut connection) = connect().await;
    for name in ["Atlas", "Bible", "Comic"] {
        add(&mut connection, name, "Books").await;
    }
    for (offset, names) in [(2, vec!["Comic"]), (3, vec![]), (i64::MAX, vec![])] {
        let filter = category("Books");
        let page = page(&mut connection, &filter, Position::Offset(offset), 2).await;
        let found: Vec<_> = page.rows.iter().map(|product| &*product.name).collect();
        assert_eq!((found, page.total), (names, 3), "{offset}");
        assert_eq!(page.next, None, "{offset}");
    }
}
