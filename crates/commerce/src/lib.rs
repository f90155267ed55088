//! The business of the shop, over a database, a queue and a payment gateway.
//!
//! API and workers call the same functions. A change of state is one transaction, and the jobs and
//! mails that it makes necessary are outbox rows of that transaction. Whoever changes an order or one
//! of its payments locks the order first.

mod account_mails;
mod accounts;
mod actor;
mod audit;
mod cancellation;
mod checkout;
mod clean_up;
mod gateway;
mod idempotency;
mod imports;
mod mails;
mod orders;
mod passwords;
mod payments;
mod reconciliation;
mod reports;
mod settlement;
mod shop;
mod signature;
mod tokens;
mod webhooks;

pub use account_mails::{account_letter, link_lifetime};
pub use accounts::{AccountError, Accounts, Newcomer, SignedIn, admit, change_address, join};
pub use actor::Actor;
pub use audit::{Action, Origin, difference, record};
pub use bharatmart_database::sandbox_gateway::{Charge, ChargeStatus};
pub use checkout::{Checkout, CheckoutError, place_order};
pub use clean_up::{Cleaned, clean_up};
pub use gateway::{Gateway, GatewayError, HttpGateway, SandboxGateway};
pub use idempotency::{Answer, IdempotencyKey, KeyError};
pub use imports::{ImportError, Imported, import_products};
pub use mails::html_body;
pub use orders::{
    ChangeOrderError, OrderDetails, change_order_status, expire_order, order_details, process_order,
};
pub use passwords::{WeakPassword, check_password};
pub use payments::{
    ChangePaymentError, SettleError, StartPayment, StartPaymentError, change_payment_status,
    charge_payment, refund_payment, start_payment, wait_for_outcome,
};
pub use reconciliation::{reconcile_mails, reconcile_orders, reconcile_payments};
pub use reports::report_low_stock;
pub use shop::Shop;
pub use signature::{SignatureError, SignedHeaders, sign, verify};
pub use tokens::{random_token, token_digest};
pub use webhooks::{Event, Received, WebhookError, receive_event};
