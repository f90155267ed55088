//! Customers and administrators.

use bharatmart_domain::{Page, PageRequest, Role, UserId};
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

/// A user as others may see them: no password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
pub struct User {
    /// The user.
    pub id: UserId,
    /// Their e-mail address.
    pub email: String,
    /// Their name.
    pub full_name: String,
    /// Their postal address.
    pub address: Option<String>,
    /// Their telephone number.
    pub phone: Option<String>,
    /// Who they are to the shop.
    pub role: Role,
    /// Whether they may sign in.
    pub is_active: bool,
    /// When they have shown that the mailbox is theirs.
    pub email_verified_at: Option<DateTime<Utc>>,
    /// When they signed up.
    pub created_at: DateTime<Utc>,
    /// When they last changed.
    pub updated_at: DateTime<Utc>,
}

/// The constraint that keeps two users from sharing an e-mail address.
pub const EMAIL_TAKEN: &str = "users_email_key";

/// A user to be added.
#[derive(Clone, Debug)]
pub struct NewUser<'a> {
    /// Their e-mail address.
    pub email: &'a str,
    /// Their name.
    pub full_name: &'a str,
    /// A PHC string.
    pub password_hash: &'a str,
    /// Who they are to the shop.
    pub role: Role,
}

/// Adds a user; [`EMAIL_TAKEN`] refuses a second one of the same address.
#[tracing::instrument(name = "db.users.insert", skip_all)]
pub async fn insert(connection: &mut Connection, new: &NewUser<'_>) -> Result<User> {
    let user = sqlx::query_as!(
        User,
        r#"
        INSERT INTO users (email, full_name, password_hash, role)
        VALUES ($1, $2, $3, $4)
        RETURNING
            id AS "id: UserId",
            email,
            full_name,
            address,
            phone,
            role AS "role: Role",
            is_active,
            email_verified_at,
            created_at,
            updated_at
        "#,
        new.email,
        new.full_name,
        new.password_hash,
        new.role.as_str(),
    )
    .fetch_one(connection)
    .await?;
    Ok(user)
}

/// Reads a user.
#[tracing::instrument(name = "db.users.find", skip_all, fields(user.id = %id))]
pub async fn find(connection: &mut Connection, id: UserId) -> Result<Option<User>> {
    let user = sqlx::query_as!(
        User,
        r#"
        SELECT
            id AS "id: UserId",
            email,
            full_name,
            address,
            phone,
            role AS "role: Role",
            is_active,
            email_verified_at,
            created_at,
            updated_at
        FROM users
        WHERE id = $1
        "#,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(user)
}

/// Reads a user and keeps others from changing them until the transaction ends.
#[tracing::instrument(name = "db.users.lock", skip_all, fields(user.id = %id))]
pub async fn lock(connection: &mut Connection, id: UserId) -> Result<Option<User>> {
    let user = sqlx::query_as!(
        User,
        r#"
        SELECT
            id AS "id: UserId",
            email,
            full_name,
            address,
            phone,
            role AS "role: Role",
            is_active,
            email_verified_at,
            created_at,
            updated_at
        FROM users
        WHERE id = $1
        FOR NO KEY UPDATE
        "#,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(user)
}

/// Reads a user who may sign in and whose password is still this PHC string, and keeps others from changing them until
/// the transaction ends.
#[tracing::instrument(name = "db.users.lock_with_password", skip_all, fields(user.id = %id))]
pub async fn lock_with_password(
    connection: &mut Connection,
    id: UserId,
    password_hash: &str,
) -> Result<Option<User>> {
    let user = sqlx::query_as!(
        User,
        r#"
        SELECT
            id AS "id: UserId",
            email,
            full_name,
            address,
            phone,
            role AS "role: Role",
            is_active,
            email_verified_at,
            created_at,
            updated_at
        FROM users
        WHERE id = $1 AND is_active AND password_hash = $2
        FOR NO KEY UPDATE
        "#,
        id.0,
        password_hash,
    )
    .fetch_optional(connection)
    .await?;
    Ok(user)
}

/// What signing in needs.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user.
    pub id: UserId,
    /// A PHC string; `None` for people who cannot sign in with a password.
    pub password_hash: Option<String>,
    /// Whether they may sign in.
    pub is_active: bool,
}

/// Reads what signing in with `email` needs, which is in lower case: PostgreSQL and Rust disagree about the lower case of
/// some letters.
#[tracing::instrument(name = "db.users.credentials", skip_all)]
pub async fn credentials(connection: &mut Connection, email: &str) -> Result<Option<Credentials>> {
    let credentials = sqlx::query_as!(
        Credentials,
        r#"
        SELECT id AS "id: UserId", password_hash, is_active
        FROM users
        WHERE lower(email) = $1
        "#,
        email,
    )
    .fetch_optional(connection)
    .await?;
    Ok(credentials)
}

/// What is to change about a user; `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Clone, Debug, Default)]
pub struct UserChanges {
    /// Their name.
    pub full_name: Option<String>,
    /// Their postal address.
    pub address: Option<Option<String>>,
    /// Their telephone number.
    pub phone: Option<Option<String>>,
    /// Who they are to the shop.
    pub role: Option<Role>,
    /// Whether they may sign in.
    pub is_active: Option<bool>,
}

/// Changes a user; `None` when there is none.
#[tracing::instrument(name = "db.users.update", skip_all, fields(user.id = %id))]
pub async fn update(
    connection: &mut Connection,
    id: UserId,
    changes: &UserChanges,
) -> Result<Option<User>> {
    let user = sqlx::query_as!(
        User,
        r#"
        UPDATE users
        SET
            full_name = coalesce($2, full_name),
            address = CASE WHEN $3 THEN $4 ELSE address END,
            phone = CASE WHEN $5 THEN $6 ELSE phone END,
            role = coalesce($7, role),
            is_active = coalesce($8, is_active),
            updated_at = now()
        WHERE id = $1
        RETURNING
            id AS "id: UserId",
            email,
            full_name,
            address,
            phone,
            role AS "role: Role",
            is_active,
            email_verified_at,
            created_at,
            updated_at
        "#,
        id.0,
        changes.full_name,
        changes.address.is_some(),
        changes.address.clone().flatten(),
        changes.phone.is_some(),
        changes.phone.clone().flatten(),
        changes.role.map(Role::as_str),
        changes.is_active,
    )
    .fetch_optional(connection)
    .await?;
    Ok(user)
}

/// Somebody whom Supabase has signed in and whom the shop does not know.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer<'a> {
    /// Their id there.
    pub supabase_id: Uuid,
    /// Their e-mail address, in lower case.
    pub email: &'a str,
    /// Their name.
    pub full_name: &'a str,
    /// When the token was issued that says so.
    pub issued_at: Option<DateTime<Utc>>,
}

/// Reads the user whom Supabase knows by this id.
#[tracing::instrument(name = "db.users.find_by_supabase_id", skip_all)]
pub async fn find_by_supabase_id(connection: &mut Connection, id: Uuid) -> Result<Option<User>> {
    let user = sqlx::query_as!(
        User,
        r#"
        SELECT
            id AS "id: UserId",
            email,
            full_name,
            address,
            phone,
            role AS "role: Role",
            is_active,
            email_verified_at,
            created_at,
            updated_at
        FROM users
        WHERE supabase_id = $1 OR (id = $1 AND supabase_id IS NULL)
        "#,
        id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(user)
}

/// Adds a customer; `None` when a user has the id or the e-mail address.
#[tracing::instrument(name = "db.users.insert_newcomer", skip_all)]
pub async fn insert_newcomer(
    connection: &mut Connection,
    newcomer: &Newcomer<'_>,
) -> Result<Option<User>> {
    let user = sqlx::query_as!(
        User,
        r#"
        INSERT INTO users (id, supabase_id, email, full_name, supabase_email_at)
        VALUES ($1, $1, $2, $3, $4)
        ON CONFLICT DO NOTHING
        RETURNING
            id AS "id: UserId",
            email,
            full_name,
            address,
            phone,
            role AS "role: Role",
            is_active,
            email_verified_at,
            created_at,
            updated_at
        "#,
        newcomer.supabase_id,
        newcomer.email,
        newcomer.full_name,
        newcomer.issued_at,
    )
    .fetch_optional(connection)
    .await?;
    Ok(user)
}

/// Gives the user who has the newcomer's e-mail address their id; `None` when that user has another one already. A
/// password that was chosen without proving the mailbox is gone.
#[tracing::instrument(name = "db.users.join", skip_all)]
pub async fn join(connection: &mut Connection, newcomer: &Newcomer<'_>) -> Result<Option<User>> {
    let user = sqlx::query_as!(
        User,
        r#"
        UPDATE users
        SET
            supabase_id = $1,
            password_hash = CASE WHEN email_verified_at IS NULL THEN NULL ELSE password_hash END,
            email_verified_at = coalesce(email_verified_at, now()),
            supabase_email_at = $3,
            updated_at = now()
        WHERE lower(email) = $2 AND (supabase_id IS NULL OR supabase_id = $1)
        RETURNING
            id AS "id: UserId",
            email,
            full_name,
            address,
            phone,
            role AS "role: Role",
            is_active,
            email_verified_at,
            created_at,
            updated_at
        "#,
        newcomer.supabase_id,
        newcomer.email,
        newcomer.issued_at,
    )
    .fetch_optional(connection)
    .await?;
    Ok(user)
}

/// Gives a user the e-mail address of a token that was issued then, of which is not known whose mailbox it is, unless
/// theirs is that of a later token; [`EMAIL_TAKEN`] refuses one that another user has.
#[tracing::instrument(name = "db.users.change_address", skip_all, fields(user.id = %id))]
pub async fn change_address(
    connection: &mut Connection,
    id: UserId,
    address: &str,
    issued_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE users
        SET email = $2, email_verified_at = NULL, supabase_email_at = $3, updated_at = now()
        WHERE id = $1 AND (supabase_email_at IS NULL OR supabase_email_at < $3)
        "#,
        id.0,
        address,
        issued_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives a user another password, as a PHC string.
#[tracing::instrument(name = "db.users.set_password", skip_all, fields(user.id = %id))]
pub async fn set_password(
    connection: &mut Connection,
    id: UserId,
    password_hash: &str,
) -> Result<()> {
    sqlx::query!(
        "UPDATE users SET password_hash = $2, updated_at = now() WHERE id = $1",
        id.0,
        password_hash,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records that the mailbox is the user's, unless that is known already.
#[tracing::instrument(name = "db.users.mark_verified", skip_all, fields(user.id = %id))]
pub async fn mark_verified(connection: &mut Connection, id: UserId) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE users
        SET email_verified_at = now(), updated_at = now()
        WHERE id = $1 AND email_verified_at IS NULL
        "#,
        id.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks the active administrators until the transaction ends and returns them, so that two
/// demotions at once cannot leave the shop without one.
#[tracing::instrument(name = "db.users.lock_admins", skip_all)]
pub async fn lock_admins(connection: &mut Connection) -> Result<Vec<UserId>> {
    let ids = sqlx::query_scalar!(
        r#"
        SELECT id AS "id: UserId"
        FROM users
        WHERE role = 'admin' AND is_active
        ORDER BY id
        FOR NO KEY UPDATE
        "#,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// Which users a list holds.
#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    /// Only those whose name or e-mail address contains this text. An index of trigrams finds them; a text without
    /// three letters or digits in a row has none, so that every user is read.
    pub search: Option<String>,
}

impl UserFilter {
    fn push(&self, query: &mut QueryBuilder<Postgres>) {
        if let Some(search) = &self.search {
            query
                .push(" AND (full_name || ' ' || email) ILIKE ")
                .push_bind(list::contains_pattern(search));
        }
    }

    /// Tells this filter's cursors from those of others.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        match &self.search {
            None => list::fingerprint("users"),
            Some(search) => list::fingerprint(&format!("users {search:?}")),
        }
    }
}

/// Lists users, newest first.
#[tracing::instrument(name = "db.users.list", skip_all)]
pub async fn list(
    connection: &mut Connection,
    filter: &UserFilter,
    page: &PageRequest,
) -> Result<Page<User>> {
    list::fetch(
        connection,
        &list::Query {
            table: "users",
            columns: "id, email, full_name, address, phone, role, is_active, email_verified_at, created_at, \
                      updated_at",
            sort: SortKey::descending("created_at", "timestamptz"),
            fingerprint: filter.fingerprint(),
            // Some texts nearly all have, and others nobody.
            plan_each: filter.search.is_some(),
        },
        |query| filter.push(query),
        page,
        |user: &User| (user.created_at.to_rfc3339(), user.id.0),
    )
    .await
}
