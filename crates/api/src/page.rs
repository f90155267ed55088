//! Lists: their parameters, their cursors and their envelope.

use axum::Json;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bharatmart_domain::{Cursor, CursorError, Money, Page, PageRequest, Position};
use chrono::{DateTime, Datelike};
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, SchemaFormat,
        schema::{Schema, Type},
    },
};

use crate::{
    error::ApiError,
    extract::{FromParams, Params},
};

/// `limit`, `offset` and `cursor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageParams {
    limit: i64,
    position: Position,
}

pub(crate) const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 100;

impl FromParams for PageParams {
    fn from_params(params: &mut Params) -> Self {
        let limit = limit(params);
        let about = "How many rows to leave out; not together with `cursor`.";
        let offset = offset(params, about);
        let cursor = params.optional::<OpaqueCursor>(
            "cursor",
            "`next_cursor` of the page before, with the same filters: quick at any depth.",
        );
        if offset.is_some() && cursor.is_some() {
            params.refuse("cursor", "must not be used together with offset");
        }
        Self {
            limit,
            position: match cursor {
                Some(OpaqueCursor(cursor)) => Position::After(cursor),
                None => Position::Offset(offset.unwrap_or(0)),
            },
        }
    }
}

fn limit(params: &mut Params) -> i64 {
    let about = "How many rows a page has; 50 if not given.";
    let limit = params.optional::<Number<1, MAX_LIMIT>>("limit", about);
    limit.map_or(DEFAULT_LIMIT, |limit| limit.0)
}

fn offset(params: &mut Params, about: &'static str) -> Option<i64> {
    let offset = params.optional::<Number<0, { i64::MAX }>>("offset", about);
    offset.map(|offset| offset.0)
}

/// What a list is sorted by, hence what a cursor's key must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SortedBy {
    Text,
    Price,
    Time,
}

impl SortedBy {
    /// Whether `key` is one of ours, so that a forged one never reaches the database.
    fn admits(self, key: &str) -> bool {
        match self {
            Self::Text => !key.contains('\0'),
            Self::Price => key.parse::<Money>().is_ok(),
            Self::Time => DateTime::parse_from_rfc3339(key)
                .is_ok_and(|time| (1..=9999).contains(&time.year())),
        }
    }
}

impl PageParams {
    /// The page that is asked of a list; its fingerprint is only made if there is a cursor to compare.
    pub(crate) fn of_list(
        self,
        fingerprint: impl FnOnce() -> u64,
        sorted_by: SortedBy,
    ) -> Result<PageRequest, ApiError> {
        if let Position::After(cursor) = &self.position {
            let refuse = |error: CursorError| ApiError::invalid("cursor", error.to_string());
            if cursor.filters != fingerprint() {
                return Err(refuse(CursorError::OtherFilters));
            }
            if !sorted_by.admits(&cursor.key) {
                return Err(refuse(CursorError::Malformed));
            }
        }
        Ok(PageRequest {
            limit: self.limit,
            position: self.position,
        })
    }
}

/// `limit` and `offset`, for a list whose pages are found by number alone, because it changes all the time.
pub(crate) struct OffsetParams(pub(crate) PageRequest);

impl FromParams for OffsetParams {
    fn from_params(params: &mut Params) -> Self {
        // Whoever sends one would get the first page again and again.
        if params.has("cursor") {
            params.refuse("cursor", "this list has no cursors; use offset");
        }
        Self(PageRequest {
            limit: limit(params),
            position: Position::Offset(offset(params, "How many rows to leave out.").unwrap_or(0)),
        })
    }
}

/// A whole number from `MIN` to `MAX`.
struct Number<const MIN: i64, const MAX: i64>(i64);

impl<const MIN: i64, const MAX: i64> std::str::FromStr for Number<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Self(number)),
            _ if MAX == i64::MAX => Err(format!("must be a whole number of at least {MIN}")),
            _ => Err(format!("must be a whole number from {MIN} to {MAX}")),
        }
    }
}

impl<const MIN: i64, const MAX: i64> PartialSchema for Number<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(MIN))
            .maximum(Some(MAX))
            .into()
    }
}

/// A cursor as clients see it.
struct OpaqueCursor(Cursor);

impl std::str::FromStr for OpaqueCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let json = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| CursorError::Malformed)?;
        serde_json::from_slice(&json)
            .map(Self)
            .map_err(|_| CursorError::Malformed)
    }
}

impl PartialSchema for OpaqueCursor {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).into()
    }
}

fn encode(cursor: &Cursor) -> Result<String, ApiError> {
    let json = serde_json::to_vec(cursor).map_err(|error| ApiError::Internal(error.into()))?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    data: Vec<T>,
    /// How many rows the filters match.
    count: i64,
    limit: i64,
    /// 0 if the page was asked for by cursor.
    offset: i64,
    /// For the next page; null on the last one.
    next_cursor: Option<String>,
}

impl<T: Serialize> List<T> {
    /// Whether there is no row on this page.
    pub(crate) const fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Wraps the page that was found for `request`. The offset of a page that was asked for by
    /// cursor is not known, and is told as 0.
    pub(crate) fn new(page: Page<T>, request: &PageRequest) -> Result<Self, ApiError> {
        let offset = match request.position {
            Position::Offset(offset) => offset,
            Position::After(_) => 0,
        };
        Ok(Self {
            data: page.rows,
            count: page.total,
            limit: request.limit,
            offset,
            next_cursor: page.next.as_ref().map(encode).transpose()?,
        })
    }

    /// [`List::new`] as an answer.
    pub(crate) fn respond(page: Page<T>, request: &PageRequest) -> Result<Json<Self>, ApiError> {
        Self::new(page, request).map(Json)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn read(query: &str) -> Result<PageParams, ApiError> {
        let mut params = Params::of(query);
        let page = PageParams::from_params(&mut params);
        params.finish(page)
    }

    fn cursor(key: &str) -> Cursor {
        Cursor {
            key: key.to_owned(),
            id: Uuid::nil(),
            filters: 7,
        }
    }

    #[test]
    fn without_parameters_it_is_the_first_fifty() {
        assert_eq!(
            read("").unwrap(),
            PageParams {
                limit: 50,
                position: Position::Offset(0)
            }
        );
        assert_eq!(
            read("limit=1&offset=9").unwrap(),
            PageParams {
                limit: 1,
                position: Position::Offset(9)
            }
        );
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_by_name() {
        let good = encode(&cursor("x")).unwrap();
        for (query, name) in [
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=-1", "limit"),
            ("limit=1.5", "limit"),
            ("limit=ten", "limit"),
            ("limit=", "limit"),
            ("limit=1&limit=2", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("offset=-1", "offset"),
            ("offset=", "offset"),
            ("cursor=", "cursor"),
            ("cursor=e30", "cursor"),
            ("cursor=%00", "cursor"),
            (&format!("offset=0&cursor={good}"), "cursor"),
        ] {
            match read(query) {
                Err(ApiError::Invalid { errors, .. }) => {
                    assert_eq!(errors[0].field, name, "{query}");
                }
                other => panic!("{query}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_cursor_comes_back_as_it_was_given_out() {
        let given = cursor("चाय & more");
        let page = read(&format!("cursor={}", encode(&given).unwrap())).unwrap();
        let request = page.clone().of_list(|| 7, SortedBy::Text).unwrap();
        assert_eq!(request.position, Position::After(given));
        assert!(
            page.clone().of_list(|| 8, SortedBy::Text).is_err(),
            "other filters"
        );
        assert!(page.of_list(|| 7, SortedBy::Price).is_err(), "another sort");
    }

    #[test]
    fn a_forged_key_is_refused_before_the_database_sees_it() {
        for (key, sorted_by) in [
            ("a\0b", SortedBy::Text),
            ("NaN", SortedBy::Price),
            ("-1", SortedBy::Price),
            ("yesterday", SortedBy::Time),
            ("0000-01-01T00:00:00+00:00", SortedBy::Time),
        ] {
            assert!(!sorted_by.admits(key), "{key:?}");
        }
        assert!(SortedBy::Time.admits("2026-01-01T00:00:00.123456+00:00"));
        assert!(SortedBy::Price.admits("4999.5"));
    }
}
