//! The audit log: what administrators do, written in the transaction that does it.

use bharatmart_database::{
    self as database, Connection,
    audit_log::{self, NewEntry},
    orders::{LockedOrder, Order},
    payments::Payment,
};
use bharatmart_domain::{OrderStatus, PaymentStatus, UserId};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Who does something, and in which request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Who; `None` for somebody at the command line.
    pub actor_id: Option<UserId>,
    /// The request's id.
    pub request_id: Option<String>,
    /// The client's address.
    pub client_address: Option<String>,
}

/// What is done to what.
#[derive(Clone, Debug)]
pub struct Action {
    /// Such as `product.update`.
    pub name: &'static str,
    /// The kind of thing that it is done to.
    pub resource_type: &'static str,
    /// Which one.
    pub resource_id: String,
    /// What is another one afterwards: [`difference`]. Never a secret.
    pub changes: Value,
}

impl Action {
    /// A payment gets another status.
    pub(crate) fn payment_status(payment: &Payment, to: PaymentStatus) -> Self {
        Self {
            name: "payment.status",
            resource_type: "payment",
            resource_id: payment.id.to_string(),
            changes: json!({ "status": { "from": payment.status, "to": to } }),
        }
    }

    /// Somebody places an order for another one. Where it goes is personal.
    pub(crate) fn order_created(order: &Order) -> Self {
        Self {
            name: "order.create",
            resource_type: "order",
            resource_id: order.id.to_string(),
            changes: json!({
                "user_id": { "from": null, "to": order.user_id },
                "total_amount": { "from": null, "to": order.total_amount },
            }),
        }
    }

    /// An order gets another status.
    pub(crate) fn order_status(order: &LockedOrder, to: OrderStatus) -> Self {
        Self {
            name: "order.status",
            resource_type: "order",
            resource_id: order.id.to_string(),
            changes: json!({ "status": { "from": order.status, "to": to } }),
        }
    }

    /// Something happens to a user.
    pub(crate) fn of_user(name: &'static str, id: UserId, changes: Value) -> Self {
        Self {
            name,
            resource_type: "user",
            resource_id: id.to_string(),
            changes,
        }
    }
}

impl Origin {
    /// The entry that says that `action` comes from here.
    pub(crate) fn entry(&self, action: Action) -> NewEntry {
        NewEntry {
            actor_id: self.actor_id,
            action: action.name,
            resource_type: action.resource_type,
            resource_id: action.resource_id,
            changes: action.changes,
            request_id: self.request_id.clone(),
            client_address: self.client_address.clone(),
        }
    }
}

/// Writes `action` down; to be called in its transaction.
pub async fn record(
    connection: &mut Connection,
    origin: &Origin,
    action: Action,
) -> Result<(), database::Error> {
    audit_log::insert(connection, &origin.entry(action)).await
}

/// What became another one: of each such field, `from` and `to`. Either may be `()`, for nothing.
///
/// The times of rows are left out, since each entry has its own.
pub fn difference(before: &impl Serialize, after: &impl Serialize) -> Value {
    let (before, after) = (fields(before), fields(after));
    let names = before.keys().chain(after.keys());
    let changed = names
        .filter(|name| !["created_at", "updated_at"].contains(&name.as_str()))
        .filter_map(|name| {
            let of = |fields: &Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
            let (from, to) = (of(&before), of(&after));
            (from != to).then(|| (name.clone(), json!({ "from": from, "to": to })))
        });
    Value::Object(changed.collect())
}

/// [`difference`] of two people. What the log, which forgets nothing, has no need to know of them is only named.
pub(crate) fn difference_of_people(before: &impl Serialize, after: &impl Serialize) -> Value {
    const PERSONAL: [&str; 4] = ["email", "full_name", "phone", "address"];
    let mut changes = difference(before, after);
    for name in PERSONAL {
        if let Some(change) = changes.get_mut(name) {
            *change = json!({ "changed": true });
        }
    }
    changes
}

fn fields(of: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(of) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_another_one_is_told() {
        let before = json!({ "price": 20, "name": "Kite", "updated_at": 1, "sku": null });
        let after = json!({ "price": 25, "name": "Kite", "updated_at": 2, "sku": "K" });
        assert_eq!(
            difference(&before, &after),
            json!({ "price": { "from": 20, "to": 25 }, "sku": { "from": null, "to": "K" } })
        );
        assert_eq!(difference(&before, &before), json!({}));
        assert_eq!(
            difference(&(), &json!({ "name": "Kite" })),
            json!({ "name": { "from": null, "to": "Kite" } })
        );
    }

    #[test]
    fn of_people_nothing_personal_is_kept() {
        let before = json!({ "role": "customer", "phone": "1", "full_name": "Priya" });
        let after = json!({ "role": "admin", "phone": null, "full_name": "Priya" });
        assert_eq!(
            difference_of_people(&before, &after),
            json!({ "role": { "from": "customer", "to": "admin" }, "phone": { "changed": true } })
        );
    }
}
