//! Mails about an account, and the tokens that their links carry, of which only digests are kept.

use bharatmart_domain::{AccountMailKind, UserId};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{connection::Connection, error::Result};

/// A mail that is to be sent, and to whom.
#[derive(Clone, Debug)]
pub struct AccountMail {
    /// Whose account it is about.
    pub user_id: UserId,
    /// The address.
    pub email: String,
    /// The name.
    pub full_name: String,
    /// What it says.
    pub kind: AccountMailKind,
    /// Whether it is not sent yet, nor needed no more.
    pub is_open: bool,
}

/// Records that a mail is to be sent; its id.
#[tracing::instrument(name = "db.account_mails.announce", skip_all, fields(user.id = %user))]
pub async fn announce(
    connection: &mut Connection,
    user: UserId,
    kind: AccountMailKind,
) -> Result<Uuid> {
    let id = sqlx::query_scalar!(
        "INSERT INTO account_mails (user_id, kind) VALUES ($1, $2) RETURNING id",
        user.0,
        kind.as_str(),
    )
    .fetch_one(connection)
    .await?;
    Ok(id)
}

/// Ends every mail of the kind to `user`: what is not sent is not needed, and no link is good.
#[tracing::instrument(name = "db.account_mails.end_all", skip_all, fields(user.id = %user))]
pub async fn end_all(
    connection: &mut Connection,
    user: UserId,
    kind: AccountMailKind,
) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE account_mails
        SET ended_at = now()
        WHERE user_id = $1 AND kind = $2 AND ended_at IS NULL
        "#,
        user.0,
        kind.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// When the mails of the kind to `user` were announced, those after `since`, the oldest first.
#[tracing::instrument(name = "db.account_mails.since", skip_all, fields(user.id = %user))]
pub async fn since(
    connection: &mut Connection,
    user: UserId,
    kind: AccountMailKind,
    since: DateTime<Utc>,
) -> Result<Vec<DateTime<Utc>>> {
    let times = sqlx::query_scalar!(
        r#"
        SELECT created_at
        FROM account_mails
        WHERE user_id = $1 AND kind = $2 AND created_at > $3
        ORDER BY created_at
        "#,
        user.0,
        kind.as_str(),
        since,
    )
    .fetch_all(connection)
    .await?;
    Ok(times)
}

/// Reads a mail; `None` when there is none.
#[tracing::instrument(name = "db.account_mails.find", skip_all)]
pub async fn find(connection: &mut Connection, id: Uuid) -> Result<Option<AccountMail>> {
    let mail = sqlx::query_as!(
        AccountMail,
        r#"
        SELECT
            account_mails.user_id AS "user_id: UserId",
            users.email,
            users.full_name,
            account_mails.kind AS "kind: AccountMailKind",
            account_mails.sent_at IS NULL AND account_mails.ended_at IS NULL AND users.is_active AS "is_open!"
        FROM account_mails
        JOIN users ON users.id = account_mails.user_id
        WHERE account_mails.id = $1
        "#,
        id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(mail)
}

/// Records that a mail is being sent, and from when to when which token is good; false when that is recorded already,
/// or the mail not needed any more.
#[tracing::instrument(name = "db.account_mails.mark_sent", skip_all)]
pub async fn mark_sent(
    connection: &mut Connection,
    id: Uuid,
    now: DateTime<Utc>,
    token: Option<(&[u8], DateTime<Utc>)>,
) -> Result<bool> {
    let done = sqlx::query!(
        r#"
        UPDATE account_mails
        SET sent_at = $2, token_hash = $3, expires_at = $4
        WHERE id = $1 AND sent_at IS NULL AND ended_at IS NULL
        "#,
        id,
        now,
        token.map(|(digest, _)| digest),
        token.map(|(_, expires_at)| expires_at),
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes [`mark_sent`] back: nobody has got the mail, nor its token.
#[tracing::instrument(name = "db.account_mails.mark_unsent", skip_all)]
pub async fn mark_unsent(connection: &mut Connection, id: Uuid) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE account_mails
        SET sent_at = NULL, token_hash = NULL, expires_at = NULL
        WHERE id = $1
        "#,
        id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whom a token that is good at `now` was sent to, if they may sign in.
#[tracing::instrument(name = "db.account_mails.holder", skip_all)]
pub async fn holder(
    connection: &mut Connection,
    kind: AccountMailKind,
    digest: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<UserId>> {
    let user = sqlx::query_scalar!(
        r#"
        SELECT users.id AS "id: UserId"
        FROM account_mails
        JOIN users ON users.id = account_mails.user_id
        WHERE account_mails.token_hash = $1
            AND account_mails.kind = $2
            AND account_mails.ended_at IS NULL
            AND account_mails.expires_at > $3
            AND users.is_active
        "#,
        digest,
        kind.as_str(),
        now,
    )
    .fetch_optional(connection)
    .await?;
    Ok(user)
}

/// Ends a token that is good at `now`; whom it was sent to. Of any number at a time one gets an answer.
#[tracing::instrument(name = "db.account_mails.spend", skip_all)]
pub async fn spend(
    connection: &mut Connection,
    kind: AccountMailKind,
    digest: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<UserId>> {
    let user = sqlx::query_scalar!(
        r#"
        UPDATE account_mails
        SET ended_at = $3
        WHERE token_hash = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > $3
        RETURNING user_id AS "user_id: UserId"
        "#,
        digest,
        kind.as_str(),
        now,
    )
    .fetch_optional(connection)
    .await?;
    Ok(user)
}

/// Deletes up to `limit` mails that were announced before `before`; how many.
#[tracing::instrument(name = "db.account_mails.delete_before", skip_all)]
pub async fn delete_before(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let done = sqlx::query!(
        r#"
        DELETE FROM account_mails
        WHERE id IN (
            SELECT id
            FROM account_mails
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
