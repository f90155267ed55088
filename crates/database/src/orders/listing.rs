//! Lists of orders.

use std::str::FromStr;

use bharatmart_domain::{OrderStatus, Page, PageRequest, UnknownName, UserId};
use chrono::{DateTime, Utc};
use sqlx::{Postgres, QueryBuilder};
use utoipa::{
    PartialSchema,
    openapi::{
        ObjectBuilder, RefOr,
        schema::{Schema, Type},
    },
};

use super::Order;
use crate::{
    connection::Connection,
    error::Result,
    list::{self, SortKey},
};

/// The order of a list of orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrderSort {
    /// Oldest first.
    CreatedAt,
    /// Newest first.
    #[default]
    CreatedAtDescending,
}

impl OrderSort {
    /// Every order, in order of declaration.
    pub const ALL: [Self; 2] = [Self::CreatedAt, Self::CreatedAtDescending];

    /// How a query names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreatedAt => "created_at",
            Self::CreatedAtDescending => "-created_at",
        }
    }

    const fn key(self) -> SortKey {
        match self {
            Self::CreatedAt => SortKey::ascending("created_at", "timestamptz"),
            Self::CreatedAtDescending => SortKey::descending("created_at", "timestamptz"),
        }
    }
}

impl PartialSchema for OrderSort {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(Self::ALL.map(Self::as_str)))
            .into()
    }
}

impl FromStr for OrderSort {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|sort| sort.as_str() == text);
        named.ok_or_else(|| UnknownName {
            allowed: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

/// Which orders a list or an export holds.
#[derive(Clone, Debug, Default)]
pub struct OrderFilter {
    /// Only this customer's.
    pub user_id: Option<UserId>,
    /// Only those that stand here.
    pub status: Option<OrderStatus>,
    /// Only those placed then or later.
    pub from: Option<DateTime<Utc>>,
    /// Only those placed before.
    pub to: Option<DateTime<Utc>>,
    /// Only those whose id ends in this, eight lower-case hexadecimal digits: what people read out to each other.
    pub number: Option<String>,
}

impl OrderFilter {
    pub(super) fn push(&self, query: &mut QueryBuilder<Postgres>) {
        if let Some(user) = self.user_id {
            query.push(" AND user_id = ").push_bind(user.0);
        }
        if let Some(status) = self.status {
            query.push(" AND status = ").push_bind(status.as_str());
        }
        if let Some(from) = self.from {
            query.push(" AND created_at >= ").push_bind(from);
        }
        if let Some(to) = self.to {
            query.push(" AND created_at < ").push_bind(to);
        }
        if let Some(number) = &self.number {
            // As in orders_number_idx.
            query
                .push(" AND right(id::text, 8) = ")
                .push_bind(number.clone());
        }
    }

    /// Tells the cursors of this filter in this order from those of others.
    #[must_use]
    pub fn fingerprint(&self, sort: OrderSort) -> u64 {
        let Self {
            user_id,
            status,
            from,
            to,
            number,
        } = self;
        // As releases wrote it that knew none of the others: while both serve, their cursors are for each other.
        let known = format!("ordersOrderFilter {{ user_id: {user_id:?}, status: {status:?} }}");
        let is_old =
            from.is_none() && to.is_none() && number.is_none() && sort == OrderSort::default();
        list::fingerprint(&if is_old {
            known
        } else {
            format!("{known}{from:?}{to:?}{number:?}{}", sort.as_str())
        })
    }
}

/// Lists orders.
#[tracing::instrument(name = "db.orders.list", skip_all)]
pub async fn list(
    connection: &mut Connection,
    filter: &OrderFilter,
    sort: OrderSort,
    page: &PageRequest,
) -> Result<Page<Order>> {
    list::fetch(
        connection,
        &list::Query {
            table: "orders",
            columns: "id, user_id, status, total_amount, shipping_address, payment_method, \
                      processed_at, created_at, updated_at",
            sort: sort.key(),
            fingerprint: filter.fingerprint(sort),
            // Nearly all have one status, and few have another; a range may be a day or all years; a number is of one.
            plan_each: filter.status.is_some()
                || filter.from.is_some()
                || filter.to.is_some()
                || filter.number.is_some(),
        },
        |query| filter.push(query),
        page,
        |order: &Order| (order.created_at.to_rfc3339(), order.id.0),
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_of_lists_that_there_always_were_are_those_of_earlier_releases() {
        let user = uuid::Uuid::nil();
        let filter = OrderFilter {
            user_id: Some(UserId(user)),
            status: Some(OrderStatus::Shipped),
            ..OrderFilter::default()
        };
        let newest_first = OrderSort::CreatedAtDescending;
        assert_eq!(
            filter.fingerprint(newest_first),
            list::fingerprint(
                "ordersOrderFilter { user_id: Some(UserId(00000000-0000-0000-0000-000000000000)), \
                 status: Some(Shipped) }"
            )
        );
        let of = |from, sort| {
            OrderFilter {
                from,
                ..filter.clone()
            }
            .fingerprint(sort)
        };
        let always = of(None, newest_first);
        assert_ne!(of(None, OrderSort::CreatedAt), always);
        assert_ne!(of(Some(DateTime::UNIX_EPOCH), newest_first), always);
        let numbered = OrderFilter {
            number: Some("6b9c678e".to_owned()),
            ..filter.clone()
        };
        assert_ne!(numbered.fingerprint(newest_first), always);
    }
}
