//! Giving an order's stock back.

use bharatmart_database::{
    orders::{self, NewOrder, Placement},
    products,
    users::{self, NewUser},
};
use bharatmart_domain::{OrderId, Role};

use crate::support::{add, connect};

#[tokio::test]
async fn a_restock_names_the_products_that_it_changed_and_a_second_one_names_none() {
    let (_database, mut connection) = connect().await;
    let user = NewUser {
        email: "priya@example.com",
        full_name: "Priya",
        password_hash: "none",
        role: Role::Customer,
    };
    let user = users::insert(&mut connection, &user)
        .await
        .expect("the customer is added");
    let mut ordered = Vec::new();
    for name in ["Kite", "Mojari", "Tea"] {
        ordered.push(add(&mut connection, name, "Bazaar").await.id);
    }
    let other = add(&mut connection, "Not ordered", "Bazaar").await.id;
    ordered.sort();
    let order = NewOrder {
        id: OrderId::generate(),
        user_id: user.id,
        shipping_address: "1 MG Road, Bengaluru".to_owned(),
        payment_method: None,
        lines: ordered.iter().map(|&product| (product, 4)).collect(),
        max_total: None,
        trace_parent: None,
    };
    let id = order.id;
    let placement = orders::place(&mut connection, order)
        .await
        .expect("the database answers");
    assert!(matches!(placement, Placement::Placed(_)), "{placement:?}");
    // Off sale, its stock comes back all the same.
    let hidden = ordered[1];
    assert!(
        products::hide(&mut connection, hidden)
            .await
            .expect("it was on sale")
    );

    let first = orders::restock(&mut connection, id, "test").await;
    assert_eq!(first.expect("the database answers"), ordered);
    let second = orders::restock(&mut connection, id, "test").await;
    assert_eq!(second.expect("the database answers"), []);
    let unknown = orders::restock(&mut connection, OrderId::generate(), "test").await;
    assert_eq!(unknown.expect("the database answers"), []);

    for product in [ordered[0], ordered[2], other] {
        let product = products::find(&mut connection, product)
            .await
            .expect("the database answers")
            .expect("it is on sale");
        assert_eq!(product.stock_quantity, 10, "{}", product.name);
    }
}
