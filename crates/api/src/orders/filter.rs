//! Which orders are asked for, by a list and by an export alike.

use std::str::FromStr;

use bharatmart_database::orders::OrderFilter;
use chrono::{DateTime, Utc};
use utoipa::{
    PartialSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, schema::Type},
};

use crate::extract::{FromParams, Params};

/// A point in time as a parameter.
struct Time(DateTime<Utc>);

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        DateTime::parse_from_rfc3339(text)
            .map(|time| Self(time.to_utc()))
            .map_err(|_| "must be an RFC 3339 time such as 2026-01-31T18:30:00Z")
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

/// The end of an order's id as a parameter, with the `#` and the capitals that the pages show it in, or without.
struct Number(String);

impl Number {
    const DIGITS: usize = 8;
}

impl FromStr for Number {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('#').unwrap_or(text);
        if digits.len() == Self::DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(digits.to_ascii_lowercase()))
        } else {
            Err("must be the last 8 hexadecimal digits of an order's id, such as 6B9C678E")
        }
    }
}

impl PartialSchema for Number {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^#?[0-9A-Fa-f]{8}$"))
            .into()
    }
}

impl FromParams for OrderFilter {
    fn from_params(params: &mut Params) -> Self {
        let filter = Self {
            user_id: params.optional(
                "user_id",
                "Only this user's; an administrator may ask for anybody's.",
            ),
            status: params.optional("status", "Only those in this status."),
            from: params
                .optional("from", "Only those placed then or later.")
                .map(|Time(time)| time),
            to: params
                .optional("to", "Only those placed before.")
                .map(|Time(time)| time),
            number: params
                .optional(
                    "number",
                    "Only those whose id ends in these eight hexadecimal digits: the number that a customer sees.",
                )
                .map(|Number(digits)| digits),
        };
        if let (Some(from), Some(to)) = (filter.from, filter.to)
            && to < from
        {
            params.refuse("to", "must not be before from");
        }
        filter
    }
}
