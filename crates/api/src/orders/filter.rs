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
        };
        if let (Some(from), Some(to)) = (filter.from, filter.to)
            && to < from
        {
            params.refuse("to", "must not be before from");
        }
        filter
    }
}
