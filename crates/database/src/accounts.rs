//! Sign-ins: families of refresh tokens, of which only digests are kept.

use bharatmart_domain::{Role, UserId};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{connection::Connection, error::Result};

/// Starts a family for `user`; its id.
#[tracing::instrument(name = "db.accounts.start_family", skip_all, fields(user.id = %user))]
pub async fn start_family(connection: &mut Connection, user: UserId) -> Result<Uuid> {
    let id = sqlx::query_scalar!(
        "INSERT INTO refresh_families (user_id) VALUES ($1) RETURNING id",
        user.0
    )
    .fetch_one(connection)
    .await?;
    Ok(id)
}

/// Adds a token to a family.
#[tracing::instrument(name = "db.accounts.add_token", skip_all)]
pub async fn add_token(
    connection: &mut Connection,
    family: Uuid,
    digest: &[u8],
    expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO refresh_tokens (token_hash, family_id, expires_at) VALUES ($1, $2, $3)",
        digest,
        family,
        expires_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A refresh token under lock.
#[derive(Clone, Debug)]
pub struct RefreshToken {
    /// Its family.
    pub family_id: Uuid,
    /// Whose it is.
    pub user_id: UserId,
    /// Whether the user may sign in.
    pub user_is_active: bool,
    /// Whether it was used before.
    pub spent: bool,
    /// Whether its family was revoked.
    pub revoked: bool,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

/// Reads a token and locks it until the transaction ends.
#[tracing::instrument(name = "db.accounts.lock_token", skip_all)]
pub async fn lock_token(
    connection: &mut Connection,
    digest: &[u8],
) -> Result<Option<RefreshToken>> {
    let token = sqlx::query_as!(
        RefreshToken,
        r#"
        SELECT
            refresh_tokens.family_id,
            refresh_families.user_id AS "user_id: UserId",
            users.is_active AS user_is_active,
            refresh_tokens.spent_at IS NOT NULL AS "spent!",
            refresh_families.revoked_at IS NOT NULL AS "revoked!",
            refresh_tokens.expires_at
        FROM refresh_tokens
        JOIN refresh_families ON refresh_families.id = refresh_tokens.family_id
        JOIN users ON users.id = refresh_families.user_id
        WHERE refresh_tokens.token_hash = $1
        FOR UPDATE OF refresh_tokens
        "#,
        digest,
    )
    .fetch_optional(connection)
    .await?;
    Ok(token)
}

/// Marks a token as used.
#[tracing::instrument(name = "db.accounts.spend_token", skip_all)]
pub async fn spend_token(connection: &mut Connection, digest: &[u8]) -> Result<()> {
    sqlx::query!(
        "UPDATE refresh_tokens SET spent_at = now() WHERE token_hash = $1",
        digest
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Revokes a family.
#[tracing::instrument(name = "db.accounts.revoke_family", skip_all)]
pub async fn revoke_family(connection: &mut Connection, family: Uuid) -> Result<()> {
    sqlx::query!(
        "UPDATE refresh_families SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1",
        family,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Revokes every family of `user`.
#[tracing::instrument(name = "db.accounts.revoke_user", skip_all, fields(user.id = %user))]
pub async fn revoke_user(connection: &mut Connection, user: UserId) -> Result<()> {
    sqlx::query!(
        "UPDATE refresh_families SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL",
        user.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What an access token may count on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who its user is to the shop now.
    pub role: Role,
    /// Whether the family is not revoked and the user may sign in.
    pub stands: bool,
}

/// Reads what became of a sign-in; `None` when it is long over.
#[tracing::instrument(name = "db.accounts.session", skip_all)]
pub async fn session(connection: &mut Connection, family: Uuid) -> Result<Option<Session>> {
    let session = sqlx::query_as!(
        Session,
        r#"
        SELECT
            users.role AS "role: Role",
            users.is_active AND refresh_families.revoked_at IS NULL AS "stands!"
        FROM refresh_families
        JOIN users ON users.id = refresh_families.user_id
        WHERE refresh_families.id = $1
        "#,
        family,
    )
    .fetch_optional(connection)
    .await?;
    Ok(session)
}

/// Deletes up to `limit` tokens that ended before `now`, and up to `limit` families that have none
/// left; how many rows. A family that is being refreshed is passed over.
#[tracing::instrument(name = "db.accounts.delete_expired", skip_all)]
pub async fn delete_expired(
    connection: &mut Connection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let tokens = sqlx::query!(
        r#"
        DELETE FROM refresh_tokens
        WHERE token_hash IN (
            SELECT token_hash
            FROM refresh_tokens
            WHERE expires_at < $1
            ORDER BY expires_at
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        "#,
        now,
        limit,
    )
    .execute(&mut *connection)
    .await?;
    let families = sqlx::query!(
        r#"
        DELETE FROM refresh_families
        WHERE id IN (
            SELECT id
            FROM refresh_families
            WHERE created_at < $1::timestamptz - interval '1 hour' AND NOT EXISTS (
                SELECT FROM refresh_tokens WHERE family_id = refresh_families.id
            )
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        "#,
        now,
        limit,
    )
    .execute(connection)
    .await?;
    Ok(tokens.rows_affected() + families.rows_affected())
}
