//! Every filter and every order that the lists offer.

use super::plan::Fault;

const SORTS: [&str; 6] = [
    "name",
    "-name",
    "price",
    "-price",
    "created_at",
    "-created_at",
];

/// A list that is asked for.
#[derive(Debug)]
pub struct Case {
    pub table: &'static str,
    /// Behind `/api/`.
    route: &'static str,
    parameters: String,
    /// Whether the best plan depends on the values.
    pub varies: bool,
    /// Why it may read all of the table.
    scans: Option<&'static str>,
    /// Why it may sort more than a page.
    sorts: Option<&'static str>,
}

const MUCH: &str = "to count more than a tenth of a table an index is not much shorter";
const BY_STOCK: &str = "no index may hold stock_quantity, which every checkout changes";
const NO_TRIGRAM: &str = "a text without three letters in a row has no trigram";
const SEARCH_ORDER: &str = "an index of trigrams has no order";
const RANGE_ORDER: &str = "an index that finds a range is in the order of the range";
const TWO_INDEXES: &str = "two indexes together find few rows, in no order";
const OF_RESELLER: &str = "85,000 orders are joined with all payments at once";
const BY_CUSTOMER: &str = "a customer's payments are found through the orders, in no order";

impl Case {
    /// The list of all that is in the table, which has its name.
    fn new(table: &'static str, parameters: impl Into<String>) -> Self {
        Self::at(table, table, parameters)
    }

    fn at(table: &'static str, route: &'static str, parameters: impl Into<String>) -> Self {
        Self {
            table,
            route,
            parameters: parameters.into(),
            varies: false,
            scans: None,
            sorts: None,
        }
    }

    const fn varies(mut self) -> Self {
        self.varies = true;
        self
    }

    const fn may_scan(mut self, reason: &'static str) -> Self {
        self.scans = Some(reason);
        self
    }

    const fn may_sort(mut self, reason: &'static str) -> Self {
        self.sorts = Some(reason);
        self
    }

    /// Where it is, with a query to which more can be added.
    pub fn path(&self) -> String {
        format!("/api/{}?{}", self.route, self.parameters)
    }

    /// Why that is no fault here.
    pub const fn excuses(&self, fault: &Fault) -> Option<&'static str> {
        match fault {
            Fault::Scan(_) => self.scans,
            Fault::Count(_) => Some(MUCH),
            Fault::Sort(_) => self.sorts,
            Fault::Generic => None,
        }
    }
}

// md5('user1')::uuid and so on, as the data makes them.
/// A reseller, with 85,000 orders.
const RESELLER: &str = "24c9e15e-52af-c47c-225b-757e7bee1f9d";
/// A good customer, with 300.
const CUSTOMER: &str = "e1d3b2fc-3a15-d9a9-e6e0-b0b2a0800c8e";
/// A thousandth of the time in which the orders were placed, and two fifths.
const A_DAY: &str = "&from=2024-01-01T00:00:00Z&to=2024-01-02T00:00:00Z";
const MONTHS: &str = "&from=2023-06-01T00:00:00Z&to=2024-05-01T00:00:00Z";
/// An order that was paid for.
const ORDER: &str = "a7eef9d1-6d6a-e9a6-252d-c7392bb06beb";

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for sort in SORTS {
        products(sort, &mut cases);
    }
    off_sale(&mut cases);
    orders(&mut cases);
    payments(&mut cases);
    users(&mut cases);
    cases
}

fn products(sort: &str, cases: &mut Vec<Case>) {
    let case = |filter: &str| Case::new("products", format!("sort={sort}{filter}"));
    cases.push(case(""));
    // A quarter of all products, and a two-hundredth.
    for category in ["Category%200", "Category%2059"] {
        cases.push(case(&format!("&category={category}")).varies());
    }
    cases.push(case("&in_stock=true").may_scan(BY_STOCK));
    cases.push(
        case("&in_stock=false")
            .may_scan(BY_STOCK)
            .may_sort(BY_STOCK),
    );
    let both = case("&category=Category%2059&in_stock=false").varies();
    cases.push(both.may_sort(BY_STOCK));
    // Rare, common, with wildcards that are text.
    for search in ["amrit%20kettle%2077", "kettle", "100%25", "oak_veneer"] {
        cases.push(
            case(&format!("&search={search}"))
                .varies()
                .may_sort(SEARCH_ORDER),
        );
    }
    // One that many products hold, and one that none holds.
    for search in ["te", "qz"] {
        cases.push(
            case(&format!("&search={search}"))
                .varies()
                .may_scan(NO_TRIGRAM)
                .may_sort(NO_TRIGRAM),
        );
    }
    let by_price = sort.ends_with("price");
    for range in [
        "&min_price=100&max_price=900",
        "&min_price=40000",
        "&category=Category%200&min_price=40000",
        "&category=Category%2059&max_price=30",
    ] {
        let ranged = case(range).varies();
        cases.push(if by_price {
            ranged
        } else {
            ranged.may_sort(RANGE_ORDER)
        });
    }
}

fn off_sale(cases: &mut Vec<Case>) {
    let case = |filter: &str| Case::at("products", "products/off-sale", filter);
    cases.push(case(""));
    for search in ["amrit%20kettle%2077", "kettle"] {
        cases.push(
            case(&format!("search={search}"))
                .varies()
                .may_sort(SEARCH_ORDER),
        );
    }
    // None of the products off sale is looked at unless it is one of those.
    cases.push(case("search=te").varies());
}

fn orders(cases: &mut Vec<Case>) {
    let case = |filter: &str| Case::new("orders", filter.trim_start_matches('&'));
    cases.push(case(""));
    for status in ["delivered", "cancelled", "pending"] {
        cases.push(case(&format!("&status={status}")).varies());
    }
    for sort in ["created_at", "-created_at"] {
        cases.push(case(&format!("&sort={sort}")));
        for range in [A_DAY, MONTHS] {
            let ranged = |filter: &str| case(&format!("&sort={sort}{range}{filter}")).varies();
            cases.push(ranged(""));
            cases.push(ranged("&status=delivered"));
            cases.push(ranged("&status=pending"));
            cases.push(ranged(&format!("&user_id={CUSTOMER}")));
        }
    }
    for number in [&ORDER[28..], "00000000"] {
        cases.push(case(&format!("&number={number}")).varies());
    }
    for user in [RESELLER, CUSTOMER] {
        cases.push(case(&format!("&user_id={user}")));
        for status in ["delivered", "pending"] {
            let both = case(&format!("&user_id={user}&status={status}"));
            cases.push(both.varies().may_sort(TWO_INDEXES));
        }
    }
}

fn payments(cases: &mut Vec<Case>) {
    let case = |filter: &str| Case::new("payments", filter.trim_start_matches('&'));
    cases.push(case(""));
    for status in ["completed", "failed", "pending"] {
        cases.push(case(&format!("&status={status}")).varies());
    }
    cases.push(case(&format!("&order_id={ORDER}")));
    for filter in ["", "&status=completed"] {
        let of = |user: &str| case(&format!("&user_id={user}{filter}")).may_sort(BY_CUSTOMER);
        cases.push(of(CUSTOMER));
        cases.push(of(RESELLER).may_scan(OF_RESELLER));
    }
}

fn users(cases: &mut Vec<Case>) {
    cases.push(Case::new("users", ""));
    // One, a twentieth, everybody.
    for search in ["customer77777@", "tomer%201234", "example.in"] {
        let case = Case::new("users", format!("search={search}")).varies();
        cases.push(case.may_sort(SEARCH_ORDER));
    }
    for search in ["te", "qz"] {
        let case = Case::new("users", format!("search={search}")).varies();
        cases.push(case.may_scan(NO_TRIGRAM).may_sort(NO_TRIGRAM));
    }
}
