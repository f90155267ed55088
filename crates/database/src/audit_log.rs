//! What administrators have done. The table takes no changes, and gives rows away only when they are old.

use bharatmart_domain::{Page, PageRequest, UserId};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Postgres, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    connection::Connection,
    error::Result,
    list::{self, SortKey},
};

/// Something that was done.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEntry {
    /// Who did it; `None` for somebody at the command line.
    pub actor_id: Option<UserId>,
    /// What was done, such as `product.update`.
    pub action: &'static str,
    /// What kind of thing it was done to.
    pub resource_type: &'static str,
    /// Which one.
    pub resource_id: String,
    /// An object: of each field that is another one now, `from` and `to`. Never a secret.
    pub changes: serde_json::Value,
    /// The request that asked for it.
    pub request_id: Option<String>,
    /// Where that came from.
    pub client_address: Option<String>,
}

/// Something that was done, as it was written down.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema, sqlx::FromRow)]
#[schema(as = AuditEntry)]
pub struct Entry {
    /// The entry.
    pub id: Uuid,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Who did it; `None` for somebody at the command line.
    pub actor_id: Option<UserId>,
    /// What was done, such as `product.update`.
    pub action: String,
    /// What kind of thing it was done to.
    pub resource_type: String,
    /// Which one.
    pub resource_id: String,
    /// Of each field that is another one now, `from` and `to`.
    #[schema(value_type = Object)]
    pub changes: serde_json::Value,
    /// The request that asked for it.
    pub request_id: Option<String>,
    /// Where that came from.
    pub client_address: Option<String>,
}

/// Which entries; `None` is all.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Those of this person.
    pub actor_id: Option<UserId>,
    /// Those of this action.
    pub action: Option<String>,
    /// Those about this kind of thing.
    pub resource_type: Option<String>,
    /// Those about this one.
    pub resource_id: Option<String>,
}

impl AuditFilter {
    /// Tells this list's cursors from those of others.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        list::fingerprint(&format!("audit {self:?}"))
    }

    fn push(&self, query: &mut QueryBuilder<Postgres>) {
        if let Some(actor) = self.actor_id {
            query.push(" AND actor_id = ").push_bind(actor.0);
        }
        for (column, value) in [
            ("action", &self.action),
            ("resource_type", &self.resource_type),
            ("resource_id", &self.resource_id),
        ] {
            if let Some(value) = value {
                query
                    .push(format_args!(" AND {column} = "))
                    .push_bind(value.clone());
            }
        }
    }
}

/// Writes an entry.
#[tracing::instrument(name = "db.audit_log.insert", skip_all)]
pub async fn insert(connection: &mut Connection, entry: &NewEntry) -> Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO audit_log (
            actor_id, action, resource_type, resource_id, changes, request_id, client_address
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        "#,
        entry.actor_id.map(|actor| actor.0),
        entry.action,
        entry.resource_type,
        entry.resource_id,
        entry.changes,
        entry.request_id,
        entry.client_address,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Lists entries, newest first.
#[tracing::instrument(name = "db.audit_log.list", skip_all)]
pub async fn list(
    connection: &mut Connection,
    filter: &AuditFilter,
    page: &PageRequest,
) -> Result<Page<Entry>> {
    list::fetch(
        connection,
        &list::Query {
            table: "audit_log",
            columns: "id, created_at, actor_id, action, resource_type, resource_id, changes, request_id, \
                      client_address",
            sort: SortKey::descending("created_at", "timestamptz"),
            fingerprint: filter.fingerprint(),
            plan_each: true,
        },
        |query| filter.push(query),
        page,
        |entry: &Entry| (entry.created_at.to_rfc3339(), entry.id),
    )
    .await
}

/// Deletes up to `limit` entries from before `before`, which must be as long ago as the table demands; how many.
#[tracing::instrument(name = "db.audit_log.delete_before", skip_all)]
pub async fn delete_before(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let done = sqlx::query!(
        r#"
        DELETE FROM audit_log
        WHERE id IN (
            SELECT id
            FROM audit_log
            WHERE created_at < $1
            ORDER BY created_at
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        "#,
        before,
        limit,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
