//! People whom Supabase signs in.

use bharatmart_database::{
    self as database, Database, accounts as families,
    users::{self, EMAIL_TAKEN, User},
};
use bharatmart_domain::UserId;
use chrono::{DateTime, Utc};

pub use bharatmart_database::users::Newcomer;

/// Adds a customer who has the id that Supabase gives them; `None` when a user of another id has the e-mail address.
/// However often and wherever it is called, there is one.
pub async fn admit(
    database: &Database,
    newcomer: &Newcomer<'_>,
) -> Result<Option<User>, database::Error> {
    let mut transaction = database.begin().await?;
    let added = users::insert_newcomer(&mut transaction, newcomer).await?;
    let user = match added {
        Some(user) => Some(user),
        None => users::find_by_supabase_id(&mut transaction, newcomer.supabase_id).await?,
    };
    transaction.commit().await?;
    Ok(user)
}

/// Makes the user who has the e-mail address the newcomer's, who has proven that the mailbox is theirs; `None` when
/// that user is somebody else's at Supabase already.
///
/// Whoever has signed up with the address without proving it is shut out: else somebody could prepare an account for
/// its later owner and stay in it (Sudhodanan and Paverd, "Pre-hijacked accounts", USENIX Security 2022).
pub async fn join(
    database: &Database,
    newcomer: &Newcomer<'_>,
) -> Result<Option<User>, database::Error> {
    let mut transaction = database.begin().await?;
    let user = users::join(&mut transaction, newcomer).await?;
    if let Some(user) = &user {
        families::revoke_user(&mut transaction, user.id).await?;
        tracing::info!(user.id = %user.id, supabase.id = %newcomer.supabase_id, "accounts joined");
    }
    transaction.commit().await?;
    Ok(user)
}

/// Takes over the e-mail address that somebody has at Supabase by a token that was issued then, unless another user has
/// it, or a later token has said otherwise.
pub async fn change_address(
    database: &Database,
    user: UserId,
    address: &str,
    issued_at: DateTime<Utc>,
) -> Result<(), database::Error> {
    let mut connection = database.write().await?;
    match users::change_address(&mut connection, user, address, issued_at).await {
        Err(error) if error.is_constraint(EMAIL_TAKEN) => {
            tracing::warn!(user.id = %user, "the new e-mail address is another user's; the old one stays");
            Ok(())
        }
        changed => changed,
    }
}
