//! What a shop does: place an order, take a payment, release stock.
//!
//! Everything here is used by the API and by the workers alike. A change of state is one
//! transaction, and the jobs and mails that it makes necessary are outbox rows of that transaction.
//! Whoever changes an order or one of its payments locks the order first.

mod accounts;
mod checkout;
mod gateway;
mod mails;
mod orders;
mod payments;
mod shop;

pub use accounts::{AccountError, Accounts, SignedIn};
pub use checkout::{Checkout, CheckoutError, place_order};
pub use gateway::{Gateway, GatewayUnavailable, SandboxGateway};
pub use mails::{html_body, message_id};
pub use orders::{
    Actor, ChangeOrderError, OrderDetails, change_order_status, expire_order, order_details,
    process_order,
};
pub use payments::{
    ChangePaymentError, SettleError, StartPayment, StartPaymentError, change_payment_status,
    charge_payment, refund_payment, start_payment, wait_for_outcome,
};
pub use shop::Shop;
