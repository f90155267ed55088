//! Lists with filters, a total, and pages by offset or cursor.

use bharatmart_domain::{Cursor, Page, PageRequest, Position};
use sha2::{Digest, Sha256};
use sqlx::{FromRow, Postgres, QueryBuilder, postgres::PgRow};
use uuid::Uuid;

use crate::{connection::Connection, error::Result};

/// The column that a list is sorted by; ties are broken by `id` in the same direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SortKey {
    column: &'static str,
    /// The column's SQL type, to cast a cursor's text to.
    sql_type: &'static str,
    descending: bool,
}

impl SortKey {
    pub(crate) const fn ascending(column: &'static str, sql_type: &'static str) -> Self {
        Self {
            column,
            sql_type,
            descending: false,
        }
    }

    pub(crate) const fn descending(column: &'static str, sql_type: &'static str) -> Self {
        Self {
            column,
            sql_type,
            descending: true,
        }
    }
}

/// What does not change from page to page.
pub(crate) struct Query {
    pub(crate) table: &'static str,
    pub(crate) columns: &'static str,
    pub(crate) sort: SortKey,
    pub(crate) fingerprint: u64,
    /// Whether the best plan depends on the values that are asked for. A statement that is kept is planned
    /// for all values alike after a few uses; one that is not costs another round trip.
    pub(crate) plan_each: bool,
}

/// Fetches a page. `filter` pushes ` AND …` conditions; `key` gives a row's sort value and id.
pub(crate) async fn fetch<T>(
    connection: &mut Connection,
    list: &Query,
    filter: impl Fn(&mut QueryBuilder<Postgres>),
    page: &PageRequest,
    key: impl Fn(&T) -> (String, Uuid),
) -> Result<Page<T>>
where
    T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let mut count = QueryBuilder::new("SELECT count(*) FROM ");
    count.push(list.table).push(" WHERE true");
    filter(&mut count);
    let total: i64 = count
        .build_query_scalar()
        .persistent(!list.plan_each)
        .fetch_one(&mut *connection)
        .await?;
    // Finding nothing may take as long as counting did.
    let skipped = match page.position {
        Position::Offset(offset) => offset,
        Position::After(_) => 0,
    };
    if total <= skipped {
        return Ok(Page {
            rows: Vec::new(),
            total,
            next: None,
        });
    }

    let mut query = QueryBuilder::new("SELECT ");
    query
        .push(list.columns)
        .push(" FROM ")
        .push(list.table)
        .push(" WHERE true");
    filter(&mut query);
    let SortKey {
        column,
        sql_type,
        descending,
    } = list.sort;
    let (comparison, direction) = if descending {
        ("<", " DESC")
    } else {
        (">", " ASC")
    };
    if let Position::After(cursor) = &page.position {
        query.push(format_args!(" AND ({column}, id) {comparison} ("));
        query
            .push_bind(cursor.key.clone())
            .push(format_args!("::text::{sql_type}, "));
        query.push_bind(cursor.id).push(")");
    }
    query.push(format_args!(
        " ORDER BY {column}{direction}, id{direction} LIMIT "
    ));
    query.push_bind(page.limit + 1);
    if let Position::Offset(offset) = page.position {
        query.push(" OFFSET ").push_bind(offset);
    }
    let rows: Vec<T> = query
        .build_query_as()
        .persistent(!list.plan_each)
        .fetch_all(connection)
        .await?;
    Ok(Page::from_rows(rows, page.limit, total, |row| {
        let (key, id) = key(row);
        Cursor {
            key,
            id,
            filters: list.fingerprint,
        }
    }))
}

/// A short digest of a list's sort and filters, stable from build to build.
pub(crate) fn fingerprint(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(8)
        .fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

/// A `LIKE` pattern for texts that contain `search`, whose own wildcards are taken literally.
pub(crate) fn contains_pattern(search: &str) -> String {
    let mut pattern = String::with_capacity(search.len() + 2);
    pattern.push('%');
    for character in search.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_of_a_search_are_taken_literally() {
        assert_eq!(contains_pattern("50%_\\"), "%50\\%\\_\\\\%");
    }
}
