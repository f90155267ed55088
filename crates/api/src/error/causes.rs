//! What the layers below say, as refusals.

use std::time::Duration;

use bharatmart_commerce::{
    AccountError, ChangeOrderError, ChangePaymentError, CheckoutError, KeyError, SignatureError,
    StartPaymentError, WebhookError,
};
use bharatmart_database as database;
use bharatmart_queue::QueueError;

use super::{ApiError, FieldError, KEY_IN_USE};

impl From<database::Error> for ApiError {
    fn from(error: database::Error) -> Self {
        if matches!(error, database::Error::Busy) {
            Self::Overloaded
        } else if error.is_transient() {
            Self::Unavailable {
                what: "the database",
                retry_after: database::Error::RETRY_AFTER,
                source: error.into(),
            }
        } else {
            Self::Internal(error.into())
        }
    }
}

impl From<SignatureError> for ApiError {
    fn from(error: SignatureError) -> Self {
        Self::BadWebhook(error.to_string())
    }
}

impl From<WebhookError> for ApiError {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Malformed(_) => Self::BadWebhook(error.to_string()),
            WebhookError::Database(error) => error.into(),
        }
    }
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        Self::Unavailable {
            what: "the queue",
            retry_after: Duration::from_secs(5),
            source: error.into(),
        }
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::EmailTaken => Self::Conflict {
                code: "email_taken",
                message: "An account with this email already exists".to_owned(),
                field: Some("email"),
            },
            AccountError::BadCredentials => Self::Unauthenticated("Invalid email or password"),
            AccountError::TooManyAttempts { retry_after } => Self::TooManyAttempts { retry_after },
            AccountError::WeakPassword(weak) => Self::invalid("password", weak.to_string()),
            AccountError::BadMailedToken => Self::invalid(
                "token",
                "must be the one of the latest mail, before it ends, and not used yet; ask for a new mail",
            ),
            AccountError::BadToken => Self::Unauthenticated("Invalid or expired refresh token"),
            AccountError::LastAdmin => Self::Conflict {
                code: "last_admin",
                message: "The last administrator cannot be removed".to_owned(),
                field: None,
            },
            AccountError::Overloaded => Self::Overloaded,
            AccountError::Database(error) => error.into(),
            error @ AccountError::Hash(_) => Self::Internal(error.into()),
        }
    }
}

impl From<CheckoutError> for ApiError {
    fn from(error: CheckoutError) -> Self {
        match error {
            CheckoutError::UnknownProducts(products) => {
                let names: Vec<_> = products.iter().map(ToString::to_string).collect();
                Self::Unprocessable {
                    code: "unknown_product",
                    message: format!("Unknown products: {}", names.join(", ")),
                    errors: names
                        .iter()
                        .map(|id| FieldError::new("items", format!("there is no product {id}")))
                        .collect(),
                }
            }
            CheckoutError::OutOfStock(shortages) => Self::OutOfStock(shortages),
            CheckoutError::PriceChanged(total) => Self::Conflict {
                code: "price_changed",
                message: format!("The order costs {total} now, which is more than max_total"),
                field: Some("max_total"),
            },
            CheckoutError::TooLarge => Self::Unprocessable {
                code: "order_too_large",
                message: "The order is too large".to_owned(),
                errors: vec![FieldError::new("items", "cost more than an order can hold")],
            },
            CheckoutError::UnknownUser => Self::Unprocessable {
                code: "unknown_user",
                message: "Unknown user".to_owned(),
                errors: vec![FieldError::new("user_id", "there is no such user")],
            },
            CheckoutError::Key(error) => error.into(),
            CheckoutError::Database(error) => error.into(),
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Mismatch => Self::Unprocessable {
                code: "idempotency_key_reused",
                message: "This Idempotency-Key was used for another request".to_owned(),
                errors: vec![FieldError::new(
                    "Idempotency-Key",
                    "must be a new one for each request that is not a repetition",
                )],
            },
            KeyError::InFlight => Self::Conflict {
                code: KEY_IN_USE,
                message: "A request with this Idempotency-Key is still being processed".to_owned(),
                field: Some("Idempotency-Key"),
            },
            KeyError::Database(error) => error.into(),
        }
    }
}

impl From<ChangeOrderError> for ApiError {
    fn from(error: ChangeOrderError) -> Self {
        match error {
            ChangeOrderError::NotFound => Self::NotFound("Order"),
            ChangeOrderError::Forbidden => Self::Forbidden("Insufficient permissions"),
            ChangeOrderError::Illegal(illegal) => Self::Conflict {
                code: "illegal_transition",
                message: format!("The order {illegal}"),
                field: Some("status"),
            },
            ChangeOrderError::Database(error) => error.into(),
        }
    }
}

impl From<StartPaymentError> for ApiError {
    fn from(error: StartPaymentError) -> Self {
        match error {
            StartPaymentError::NotFound => Self::NotFound("Order"),
            StartPaymentError::NotPayable(message) => Self::Conflict {
                code: "not_payable",
                message,
                field: None,
            },
            StartPaymentError::AmountDiffers { expected } => Self::Unprocessable {
                code: "amount_differs",
                message: "The amount differs from the order's total".to_owned(),
                errors: vec![FieldError::new("amount", format!("must be {expected}"))],
            },
            StartPaymentError::BadToken(message) => Self::invalid("payment_token", message),
            StartPaymentError::Key(error) => error.into(),
            StartPaymentError::Database(error) => error.into(),
        }
    }
}

impl From<ChangePaymentError> for ApiError {
    fn from(error: ChangePaymentError) -> Self {
        match error {
            ChangePaymentError::NotFound => Self::NotFound("Payment"),
            ChangePaymentError::Illegal(illegal) => Self::Conflict {
                code: "illegal_transition",
                message: format!("The payment {illegal}"),
                field: Some("status"),
            },
            ChangePaymentError::Gateway(error) => Self::Unavailable {
                what: "the payment gateway",
                retry_after: Duration::from_secs(10),
                source: error.into(),
            },
            ChangePaymentError::Database(error) => error.into(),
        }
    }
}
