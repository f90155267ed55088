//! Lists in pages.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where a page starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// After this many rows.
    Offset(i64),
    /// After the row that a cursor names; as fast at any depth.
    After(Cursor),
}

/// What a caller asks of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The most rows to return, 1 to 100.
    pub limit: i64,
    /// Where to start.
    pub position: Position,
}

/// The last row of a page: the value it was sorted by, and its id to break ties.
///
/// `filters` is a fingerprint of the list that the cursor belongs to; a cursor is refused by any
/// other list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The value of the sort column, as text.
    #[serde(rename = "k")]
    pub key: String,
    /// The row's id.
    #[serde(rename = "i")]
    pub id: Uuid,
    /// A fingerprint of sort and filters.
    #[serde(rename = "f")]
    pub filters: u64,
}

/// Why a cursor is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// It was not made by this shop.
    #[error("is not a cursor that this API gave out")]
    Malformed,
    /// It was made for another sort or other filters.
    #[error("belongs to other filters; repeat those of the page that it came from")]
    OtherFilters,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// All rows that match, whatever the page.
    pub total: i64,
    /// Where the next page starts; `None` at the end.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Makes a page of up to `limit + 1` rows: the extra row only proves that there is a next page.
    pub fn from_rows(
        mut rows: Vec<T>,
        limit: i64,
        total: i64,
        cursor: impl FnOnce(&T) -> Cursor,
    ) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(cursor) } else { None };
        Self { rows, total, next }
    }
}
