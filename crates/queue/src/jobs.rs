//! What can be asked of a worker.
//!
//! A payload is camelCase JSON. Fields that a worker does not know are ignored, so that older and
//! newer producers can share a queue.

use bharatmart_database::outbox::NewJob;
use bharatmart_domain::{
    AccountMailKind, MailKind, Money, OrderId, PaymentId, PaymentMethod, ProductId, ReportKind,
    UserId,
};
use bharatmart_telemetry::trace;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::name::QueueName;

/// A piece of work for a worker.
///
/// There is no way to give a job a priority: those that have one wait in a set of their own, and what
/// scales the workers counts only the list of those without.
pub trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// Its name within the queue.
    const NAME: &'static str;
    /// The queue it goes to.
    const QUEUE: QueueName;
}

/// A job that something makes necessary. The others come by the clock: [`crate::SCHEDULES`].
pub trait OutboxJob: Job {
    /// The same for the same work, so that adding twice is adding once; no `:`, not all digits.
    fn job_id(&self) -> String;

    /// The outbox row of a job that may start at once; an error when the payload has no JSON form.
    fn to_outbox(&self) -> Result<NewJob, serde_json::Error> {
        Ok(NewJob {
            queue: Self::QUEUE.as_str(),
            job_name: Self::NAME,
            job_id: self.job_id(),
            payload: serde_json::to_value(self)?,
            run_at: None,
            trace_parent: trace::current().map(|context| context.to_string()),
        })
    }

    /// The outbox row of a job that may start at `run_at`; an error when the payload has no JSON form.
    fn to_outbox_at(&self, run_at: DateTime<Utc>) -> Result<NewJob, serde_json::Error> {
        Ok(NewJob {
            run_at: Some(run_at),
            ..self.to_outbox()?
        })
    }
}

/// Confirms an order that was just placed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessOrder {
    /// The order.
    pub order_id: OrderId,
    /// The customer.
    pub user_id: UserId,
    /// The sum of its lines.
    pub total_amount: Money,
    /// Its lines.
    pub items: Vec<OrderLine>,
}

/// One product of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderLine {
    /// The product.
    pub product_id: ProductId,
    /// How many.
    pub quantity: u32,
    /// The price of one.
    pub price: Money,
}

/// Cancels an order that has not been paid for by now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentDeadline {
    /// The order.
    pub order_id: OrderId,
}

/// Sends a mail about an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendEmail {
    /// The address.
    pub to: String,
    /// The subject line.
    pub subject: String,
    /// The text.
    pub body: String,
    /// What the mail says; an order gets one of each kind.
    #[serde(rename = "type")]
    pub kind: MailKind,
    /// The order.
    pub order_id: OrderId,
}

/// Charges a payment at the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChargePayment {
    /// The order.
    pub order_id: OrderId,
    /// The payment.
    pub payment_id: PaymentId,
    /// How much.
    pub amount: Money,
    /// How.
    pub payment_method: PaymentMethod,
    /// The customer.
    pub user_id: UserId,
}

/// Gives the money of a payment back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundPayment {
    /// The payment.
    pub payment_id: PaymentId,
    /// The order.
    pub order_id: OrderId,
}

/// Sends a report to somebody who runs the shop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendReport {
    /// The address.
    pub to: String,
    /// The subject line.
    pub subject: String,
    /// The text.
    pub body: String,
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ReportKind,
    /// The day it is of; there is one of each kind a day.
    pub day: NaiveDate,
    /// Who it is for.
    pub user_id: UserId,
}

/// Sends a mail about an account. What it says is not here: the mail may carry a secret, and others read queues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendAccountMail {
    /// The row that knows to whom.
    pub mail_id: Uuid,
    /// What it says.
    #[serde(rename = "type")]
    pub kind: AccountMailKind,
}

/// Does what jobs of orders have left undone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReconcileOrders {}

/// Does what jobs of payments have left undone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReconcilePayments {}

/// Has mails sent whose jobs were lost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReconcileMails {}

/// Deletes what nobody will ask for any more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CleanUp {}

/// Writes to the administrators which products run out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportLowStock {}

impl Job for ProcessOrder {
    const NAME: &'static str = "process-order";
    const QUEUE: QueueName = QueueName::OrderProcessing;
}

impl OutboxJob for ProcessOrder {
    fn job_id(&self) -> String {
        format!("order-{}", self.order_id)
    }
}

impl Job for PaymentDeadline {
    const NAME: &'static str = "payment-deadline";
    const QUEUE: QueueName = QueueName::OrderProcessing;
}

impl OutboxJob for PaymentDeadline {
    fn job_id(&self) -> String {
        format!("payment-deadline-{}", self.order_id)
    }
}

impl Job for SendEmail {
    const NAME: &'static str = "send-email";
    const QUEUE: QueueName = QueueName::EmailNotifications;
}

impl OutboxJob for SendEmail {
    fn job_id(&self) -> String {
        format!("email-{}-{}", self.order_id, self.kind)
    }
}

impl Job for SendAccountMail {
    const NAME: &'static str = "send-account-mail";
    const QUEUE: QueueName = QueueName::EmailNotifications;
}

impl OutboxJob for SendAccountMail {
    fn job_id(&self) -> String {
        format!("account-mail-{}", self.mail_id)
    }
}

impl Job for SendReport {
    const NAME: &'static str = "send-report";
    const QUEUE: QueueName = QueueName::EmailNotifications;
}

impl OutboxJob for SendReport {
    fn job_id(&self) -> String {
        format!("report-{}-{}-{}", self.kind, self.day, self.user_id)
    }
}

impl Job for ChargePayment {
    const NAME: &'static str = "charge-payment";
    const QUEUE: QueueName = QueueName::PaymentProcessing;
}

impl OutboxJob for ChargePayment {
    fn job_id(&self) -> String {
        format!("payment-{}", self.payment_id)
    }
}

impl Job for RefundPayment {
    const NAME: &'static str = "refund-payment";
    const QUEUE: QueueName = QueueName::PaymentProcessing;
}

impl OutboxJob for RefundPayment {
    fn job_id(&self) -> String {
        format!("refund-{}", self.payment_id)
    }
}

impl Job for ReconcileOrders {
    const NAME: &'static str = "reconcile-orders";
    const QUEUE: QueueName = QueueName::OrderProcessing;
}

impl Job for ReconcilePayments {
    const NAME: &'static str = "reconcile-payments";
    const QUEUE: QueueName = QueueName::PaymentProcessing;
}

impl Job for ReconcileMails {
    const NAME: &'static str = "reconcile-mails";
    const QUEUE: QueueName = QueueName::EmailNotifications;
}

impl Job for CleanUp {
    const NAME: &'static str = "clean-up";
    const QUEUE: QueueName = QueueName::OrderProcessing;
}

impl Job for ReportLowStock {
    const NAME: &'static str = "report-low-stock";
    const QUEUE: QueueName = QueueName::OrderProcessing;
}

/// The names of a queue's jobs, in alphabetical order: those that a worker must have handlers for.
#[must_use]
pub const fn all_job_names(queue: QueueName) -> &'static [&'static str] {
    match queue {
        QueueName::OrderProcessing => &[
            CleanUp::NAME,
            PaymentDeadline::NAME,
            ProcessOrder::NAME,
            ReconcileOrders::NAME,
            ReportLowStock::NAME,
        ],
        QueueName::EmailNotifications => &[
            ReconcileMails::NAME,
            SendAccountMail::NAME,
            SendEmail::NAME,
            SendReport::NAME,
        ],
        QueueName::PaymentProcessing => &[
            ChargePayment::NAME,
            ReconcilePayments::NAME,
            RefundPayment::NAME,
        ],
    }
}

/// Why an id cannot be a job's; `None` when it can.
///
/// BullMQ builds keys with `:`, keeps whole numbers for ids that it makes itself, and takes an empty id
/// for none.
pub(crate) fn id_defect(job_id: &str) -> Option<&'static str> {
    let digits = job_id.strip_prefix('-').unwrap_or(job_id);
    if digits.is_empty() {
        Some("the job id is empty")
    } else if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Some("the job id is a number")
    } else if job_id.contains(':') {
        Some("the job id contains ':'")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ORDER: &str = "018f3a5e-0000-7000-8000-000000000001";

    fn id<T: std::str::FromStr>(text: &str) -> T
    where
        T::Err: std::fmt::Debug,
    {
        text.parse().unwrap()
    }

    #[test]
    fn payloads_are_those_of_the_contract() {
        let order = ProcessOrder {
            order_id: id(ORDER),
            user_id: id(ORDER),
            total_amount: "99.5".parse().unwrap(),
            items: vec![OrderLine {
                product_id: id(ORDER),
                quantity: 2,
                price: "49.75".parse().unwrap(),
            }],
        };
        let row = order.to_outbox().unwrap();
        assert_eq!(
            (row.queue, row.job_name),
            ("order-processing", "process-order")
        );
        assert_eq!(row.job_id, format!("order-{ORDER}"));
        assert_eq!(
            row.payload,
            json!({
                "orderId": ORDER,
                "userId": ORDER,
                "totalAmount": 99.5,
                "items": [{"productId": ORDER, "quantity": 2, "price": 49.75}],
            })
        );
        let mail = SendEmail {
            to: "a@example.com".into(),
            subject: "s".into(),
            body: "b".into(),
            kind: MailKind::OrderShipped,
            order_id: id(ORDER),
        };
        let row = mail.to_outbox().unwrap();
        assert_eq!(row.job_id, format!("email-{ORDER}-order_shipped"));
        assert_eq!(
            row.payload,
            json!({
                "to": "a@example.com",
                "subject": "s",
                "body": "b",
                "type": "order_shipped",
                "orderId": ORDER,
            })
        );
    }

    #[test]
    fn a_delayed_job_carries_its_time() {
        let run_at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let row = PaymentDeadline {
            order_id: id(ORDER),
        }
        .to_outbox_at(run_at)
        .unwrap();
        assert_eq!(row.run_at, Some(run_at));
        assert_eq!(row.job_id, format!("payment-deadline-{ORDER}"));
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let refund: RefundPayment = serde_json::from_value(json!({
            "paymentId": ORDER,
            "orderId": ORDER,
            "version": 7,
        }))
        .unwrap();
        assert_eq!(refund.job_id(), format!("refund-{ORDER}"));
    }

    #[test]
    fn ids_that_bullmq_would_refuse_are_named() {
        for bad in ["", "-", "0", "42", "-7", "a:b", "a:b:c"] {
            assert!(id_defect(bad).is_some(), "{bad:?}");
        }
        for good in ["order-1", "4x", "4-2", "-x"] {
            assert_eq!(id_defect(good), None, "{good:?}");
        }
    }

    proptest! {
        #[test]
        fn every_job_id_is_one_that_bullmq_accepts(bytes in any::<u128>(), kind in 0..MailKind::ALL.len()) {
            let uuid = uuid::Uuid::from_u128(bytes);
            let (order_id, payment_id) = (OrderId(uuid), PaymentId(uuid));
            let ids = [
                PaymentDeadline { order_id }.job_id(),
                ProcessOrder { order_id, user_id: UserId(uuid), total_amount: Money::ZERO, items: vec![] }.job_id(),
                RefundPayment { payment_id, order_id }.job_id(),
                SendAccountMail { mail_id: uuid, kind: AccountMailKind::VerifyEmail }.job_id(),
                SendEmail {
                    to: String::new(),
                    subject: String::new(),
                    body: String::new(),
                    kind: MailKind::ALL[kind],
                    order_id,
                }
                .job_id(),
                SendReport {
                    to: String::new(),
                    subject: String::new(),
                    body: String::new(),
                    kind: ReportKind::LowStock,
                    day: NaiveDate::from_ymd_opt(2026, 11, 28).unwrap(),
                    user_id: UserId(uuid),
                }
                .job_id(),
            ];
            for id in ids {
                prop_assert_eq!(id_defect(&id), None, "{}", id);
            }
        }
    }
}
