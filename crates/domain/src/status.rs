//! Closed sets of names, and which status may follow which.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr,
        schema::{Schema, Type},
    },
};

/// A name outside its closed set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {allowed}")]
pub struct UnknownName {
    /// The names that exist, separated by commas.
    pub allowed: String,
}

/// A change of status that the state machine forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot go from {from} to {to}")]
pub struct IllegalTransition<S: fmt::Display + fmt::Debug> {
    /// The status it has.
    pub from: S,
    /// The status that was asked for.
    pub to: S,
}

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "text"))]
        pub enum $name {
            $(
                $(#[$variant_doc])*
                #[serde(rename = $text)]
                #[cfg_attr(feature = "sqlx", sqlx(rename = $text))]
                $variant,
            )+
        }

        impl $name {
            /// Every member, in order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in JSON and SQL.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        // The derived one would not see names that come through this macro.
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .enum_values(Some(Self::ALL.iter().map(|name| name.as_str())))
                    .into()
            }
        }

        impl ToSchema for $name {}

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownName { allowed: [$($text),+].join(", ") }),
                }
            }
        }
    };
}

names! {
    /// Who somebody is to the shop.
    Role {
        /// Buys.
        Customer => "customer",
        /// Runs the shop.
        Admin => "admin",
    }
}

names! {
    /// Where an order stands.
    OrderStatus {
        /// Placed and reserved, not yet paid.
        Pending => "pending",
        /// Paid, or to be paid on delivery; being packed.
        Processing => "processing",
        /// Handed to the carrier.
        Shipped => "shipped",
        /// Received.
        Delivered => "delivered",
        /// Given up; its stock is back.
        Cancelled => "cancelled",
        /// The last attempt to pay was declined; may be retried.
        PaymentFailed => "payment_failed",
    }
}

names! {
    /// Where a payment stands.
    PaymentStatus {
        /// Waiting for the gateway.
        Pending => "pending",
        /// Charged.
        Completed => "completed",
        /// Declined, or given up before it was charged.
        Failed => "failed",
        /// Charged and given back.
        Refunded => "refunded",
    }
}

names! {
    /// How a customer pays.
    PaymentMethod {
        /// A credit card.
        CreditCard => "credit_card",
        /// A debit card.
        DebitCard => "debit_card",
        /// Unified Payments Interface.
        Upi => "upi",
        /// A bank's own page.
        NetBanking => "net_banking",
        /// A `PayPal` account.
        Paypal => "paypal",
        /// Cash to the carrier: no payment is taken beforehand.
        CashOnDelivery => "cash_on_delivery",
    }
}

names! {
    /// The mails that the shop sends; at most one of each kind an order.
    MailKind {
        /// The order was accepted.
        OrderConfirmation => "order_confirmation",
        /// The payment was taken.
        PaymentSuccess => "payment_success",
        /// The payment was declined.
        PaymentFailed => "payment_failed",
        /// The order is on its way.
        OrderShipped => "order_shipped",
        /// The order was cancelled.
        OrderCancelled => "order_cancelled",
    }
}

names! {
    /// The mails that people get about their account.
    AccountMailKind {
        /// Asks for a proof that the mailbox is theirs.
        VerifyEmail => "verify_email",
        /// Lets them choose a new password.
        ResetPassword => "reset_password",
        /// Says that they have.
        PasswordChanged => "password_changed",
    }
}

names! {
    /// The reports that those who run the shop get; at most one of each kind a day.
    ReportKind {
        /// Products run out.
        LowStock => "low_stock",
    }
}

impl PaymentMethod {
    /// Whether the money is taken before the goods leave.
    #[must_use]
    pub const fn is_prepaid(self) -> bool {
        !matches!(self, Self::CashOnDelivery)
    }
}

impl OrderStatus {
    /// The statuses that may follow this one.
    #[must_use]
    pub const fn successors(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::Processing, Self::PaymentFailed, Self::Cancelled],
            Self::PaymentFailed => &[Self::Pending, Self::Cancelled],
            Self::Processing => &[Self::Shipped, Self::Cancelled],
            Self::Shipped => &[Self::Delivered],
            Self::Delivered | Self::Cancelled => &[],
        }
    }

    /// `to`, when it may follow this status.
    pub fn transition(self, to: Self) -> Result<Self, IllegalTransition<Self>> {
        if self.successors().contains(&to) {
            Ok(to)
        } else {
            Err(IllegalTransition { from: self, to })
        }
    }

    /// Whether none may follow.
    #[must_use]
    pub const fn is_final(self) -> bool {
        self.successors().is_empty()
    }

    /// Whether a payment may be started.
    #[must_use]
    pub const fn is_payable(self) -> bool {
        matches!(self, Self::Pending | Self::PaymentFailed)
    }
}

impl PaymentStatus {
    /// The statuses that may follow this one.
    #[must_use]
    pub const fn successors(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::Completed, Self::Failed],
            Self::Completed => &[Self::Refunded],
            Self::Failed | Self::Refunded => &[],
        }
    }

    /// `to`, when it may follow this status.
    pub fn transition(self, to: Self) -> Result<Self, IllegalTransition<Self>> {
        if self.successors().contains(&to) {
            Ok(to)
        } else {
            Err(IllegalTransition { from: self, to })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_order_statuses_is_legal_or_refused() {
        let legal = [
            "pending>processing",
            "pending>payment_failed",
            "pending>cancelled",
            "payment_failed>pending",
            "payment_failed>cancelled",
            "processing>shipped",
            "processing>cancelled",
            "shipped>delivered",
        ];
        for &from in OrderStatus::ALL {
            for &to in OrderStatus::ALL {
                let expected = legal.contains(&format!("{from}>{to}").as_str());
                assert_eq!(from.transition(to).is_ok(), expected, "{from} to {to}");
            }
        }
    }

    #[test]
    fn every_pair_of_payment_statuses_is_legal_or_refused() {
        let legal = ["pending>completed", "pending>failed", "completed>refunded"];
        for &from in PaymentStatus::ALL {
            for &to in PaymentStatus::ALL {
                let expected = legal.contains(&format!("{from}>{to}").as_str());
                assert_eq!(from.transition(to).is_ok(), expected, "{from} to {to}");
            }
        }
    }

    #[test]
    fn names_are_read_back_and_others_are_refused_with_what_is_allowed() {
        for status in OrderStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
            assert_eq!(
                serde_json::to_string(status).unwrap(),
                format!("\"{status}\"")
            );
        }
        let error = "shiped".parse::<OrderStatus>().unwrap_err().to_string();
        assert!(
            error.contains("shipped") && error.contains("cancelled"),
            "{error}"
        );
    }
}
