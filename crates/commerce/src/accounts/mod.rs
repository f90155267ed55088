//! Signing up, in and out.

use std::sync::Arc;
use std::time::Duration;

use bharatmart_database::{
    self as database, Database, Freshness, Transaction, accounts as families, sign_in_attempts,
    users::{self, EMAIL_TAKEN, NewUser, User, UserChanges},
};
use bharatmart_domain::{AccountMailKind, Clock, Role, UserId};
use bharatmart_queue::RelayHandle;
use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use crate::{
    audit::{self, Action, Origin, difference_of_people},
    passwords::{WeakPassword, check_password},
    tokens::{random_token, token_digest},
};

mod external;
mod hashing;
mod recovery;
mod throttle;

pub use external::{Newcomer, admit, change_address, join};
use hashing::Hashing;

/// Why somebody could not sign up, in or out.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Somebody has this e-mail address already.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// No such address, a wrong password, or an account that may not sign in: one answer for all.
    #[error("invalid e-mail address or password")]
    BadCredentials,
    /// Too many wrong passwords for this address, whether anybody has it or not, or too many mails to it.
    #[error("too many attempts")]
    TooManyAttempts {
        /// When to try again.
        retry_after: Duration,
    },
    /// The password may not be chosen.
    #[error("the password {0}")]
    WeakPassword(#[from] WeakPassword),
    /// The token of a mail that is unknown, used, replaced by a newer one or past its end.
    #[error("invalid token of a mail")]
    BadMailedToken,
    /// A refresh token that is unknown, spent, revoked or past its end.
    #[error("invalid refresh token")]
    BadToken,
    /// The shop would be left without an administrator.
    #[error("the last administrator cannot be removed")]
    LastAdmin,
    /// Too many passwords wait to be hashed.
    #[error("too many passwords wait to be hashed")]
    Overloaded,
    /// Hashing failed: a defect of ours.
    #[error("hashing a password failed: {0}")]
    Hash(String),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// Somebody who has just proved who they are.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Who.
    pub user: User,
    /// What all tokens of this sign-in have in common.
    pub family: Uuid,
    /// Good once, for the next pair of tokens.
    pub refresh_token: SecretString,
}

/// The accounts; cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    database: Database,
    clock: Arc<dyn Clock>,
    relay: RelayHandle,
    refresh_lifetime: Duration,
    hashing: Hashing,
}

impl Accounts {
    /// `relay` is told of mails that are to be sent; `refresh_lifetime` is how long a refresh token is good.
    #[must_use]
    pub fn new(
        database: Database,
        clock: Arc<dyn Clock>,
        relay: RelayHandle,
        refresh_lifetime: Duration,
    ) -> Self {
        Self {
            database,
            clock,
            relay,
            refresh_lifetime,
            hashing: Hashing::new(),
        }
    }

    /// The same accounts in `database`.
    #[must_use]
    pub fn with(self, database: Database) -> Self {
        Self { database, ..self }
    }

    /// Adds a customer and signs them in. A mail asks them to prove that the mailbox is theirs.
    pub async fn sign_up(
        &self,
        email: &str,
        password: &SecretString,
        full_name: &str,
    ) -> Result<SignedIn, AccountError> {
        check_password(password, email, full_name)?;
        let password_hash = self.hash(password).await?;
        let mut transaction = self.database.begin().await?;
        let new = NewUser {
            email,
            full_name,
            password_hash: &password_hash,
            role: Role::Customer,
        };
        let user = insert(&mut transaction, &new).await?;
        recovery::announce(&mut transaction, user.id, AccountMailKind::VerifyEmail).await?;
        let signed_in = self.start_session(transaction, user).await?;
        self.relay.notify();
        Ok(signed_in)
    }

    /// Signs somebody in. An unknown address takes as long as a wrong password, and is refused for a while as soon.
    ///
    /// That of an administrator is in the audit log, as coming from `origin`.
    pub async fn sign_in(
        &self,
        email: &str,
        password: &SecretString,
        origin: Origin,
    ) -> Result<SignedIn, AccountError> {
        // Before the attempt is counted: that there is too much to do is not the customer's failure.
        let place = self.hashing.place()?;
        let email = canonical(email);
        let address = throttle::address_hash(&email);
        throttle::admit(&self.database, &address, self.clock.now()).await?;
        let mut connection = self.database.read(Freshness::Latest).await?;
        let credentials = users::credentials(&mut connection, &email).await?;
        // Not to be held while the password is checked.
        drop(connection);
        let known = credentials
            .filter(|credentials| credentials.is_active)
            .and_then(|credentials| Some((credentials.id, credentials.password_hash?)));
        let hash = known.as_ref().map(|(_, hash)| hash.as_str());
        let matches = self.hashing.verify(place, password, hash).await?;
        let Some((id, hash)) = known.filter(|_| matches) else {
            return Err(AccountError::BadCredentials);
        };
        let mut transaction = self.database.begin().await?;
        // Who was put out or has got another password meanwhile must find no sign-in that comes after it.
        let user = users::lock_with_password(&mut transaction, id, &hash)
            .await?
            .ok_or(AccountError::BadCredentials)?;
        sign_in_attempts::forget(&mut transaction, &address).await?;
        if user.role == Role::Admin {
            let origin = Origin {
                actor_id: Some(user.id),
                ..origin
            };
            let action = Action::of_user("sign_in", user.id, json!({}));
            audit::record(&mut transaction, &origin, action).await?;
        }
        self.start_session(transaction, user).await
    }

    /// Exchanges a refresh token. One that was used before revokes its whole family, since either
    /// this caller or the earlier one has stolen it (RFC 9700, section 4.14.2).
    pub async fn refresh(&self, token: &SecretString) -> Result<SignedIn, AccountError> {
        let digest = token_digest(token);
        let mut transaction = self.database.begin().await?;
        let found = families::lock_token(&mut transaction, &digest)
            .await?
            .ok_or(AccountError::BadToken)?;
        if found.spent {
            families::revoke_family(&mut transaction, found.family_id).await?;
            transaction.commit().await?;
            tracing::warn!(user.id = %found.user_id, "a refresh token was used twice; its family is revoked");
            return Err(AccountError::BadToken);
        }
        if found.revoked || !found.user_is_active || found.expires_at <= self.clock.now() {
            return Err(AccountError::BadToken);
        }
        families::spend_token(&mut transaction, &digest).await?;
        let user = users::find(&mut transaction, found.user_id)
            .await?
            .ok_or(AccountError::BadToken)?;
        self.issue(transaction, user, found.family_id).await
    }

    /// Revokes a sign-in.
    pub async fn sign_out(&self, family: Uuid) -> Result<(), AccountError> {
        let mut connection = self.database.write().await?;
        families::revoke_family(&mut connection, family).await?;
        Ok(())
    }

    /// Adds a user of any role, on the word of somebody at the command line.
    pub async fn create_user(
        &self,
        email: &str,
        password: &SecretString,
        full_name: &str,
        role: Role,
    ) -> Result<User, AccountError> {
        check_password(password, email, full_name)?;
        let password_hash = self.hash(password).await?;
        let mut transaction = self.database.begin().await?;
        let new = NewUser {
            email,
            full_name,
            password_hash: &password_hash,
            role,
        };
        let user = insert(&mut transaction, &new).await?;
        let action = Action::of_user("user.create", user.id, difference_of_people(&(), &user));
        audit::record(&mut transaction, &Origin::default(), action).await?;
        transaction.commit().await?;
        Ok(user)
    }

    /// Changes a user; `None` when there is none. Somebody who may do less than before is signed out. What is changed
    /// is in the audit log, as coming from `origin`.
    pub async fn change_user(
        &self,
        origin: &Origin,
        id: UserId,
        changes: &UserChanges,
    ) -> Result<Option<User>, AccountError> {
        let mut transaction = self.database.begin().await?;
        let demoted = changes.role.is_some_and(|role| role != Role::Admin);
        let deactivated = changes.is_active == Some(false);
        let mut may_do_less = deactivated;
        if demoted || deactivated {
            let admins = users::lock_admins(&mut transaction).await?;
            if admins == [id] {
                return Err(AccountError::LastAdmin);
            }
            may_do_less |= admins.contains(&id);
        }
        let Some(before) = users::lock(&mut transaction, id).await? else {
            return Ok(None);
        };
        let user = users::update(&mut transaction, id, changes).await?;
        if may_do_less {
            families::revoke_user(&mut transaction, id).await?;
        }
        let changes = difference_of_people(&before, &user);
        if changes != json!({}) {
            let action = Action::of_user("user.update", id, changes);
            audit::record(&mut transaction, origin, action).await?;
        }
        transaction.commit().await?;
        Ok(user)
    }

    /// Hashes a password.
    pub async fn hash(&self, password: &SecretString) -> Result<String, AccountError> {
        self.hashing.hash(password).await
    }

    async fn start_session(
        &self,
        mut transaction: Transaction,
        user: User,
    ) -> Result<SignedIn, AccountError> {
        let family = families::start_family(&mut transaction, user.id).await?;
        self.issue(transaction, user, family).await
    }

    /// Adds a token to a family and commits.
    async fn issue(
        &self,
        mut transaction: Transaction,
        user: User,
        family: Uuid,
    ) -> Result<SignedIn, AccountError> {
        let refresh_token = random_token();
        let expires_at = self.clock.now() + self.refresh_lifetime;
        families::add_token(
            &mut transaction,
            family,
            &token_digest(&refresh_token),
            expires_at,
        )
        .await?;
        transaction.commit().await?;
        Ok(SignedIn {
            user,
            family,
            refresh_token,
        })
    }
}

/// The one form of an e-mail address in which it is looked up and its guesses are counted. Only of ASCII all agree what
/// the lower case is, and the addresses of users have nothing else: any other is nobody's.
fn canonical(email: &str) -> String {
    email.trim().to_ascii_lowercase()
}

async fn insert(
    connection: &mut database::Connection,
    new: &NewUser<'_>,
) -> Result<User, AccountError> {
    users::insert(connection, new).await.map_err(|error| {
        if error.is_constraint(EMAIL_TAKEN) {
            AccountError::EmailTaken
        } else {
            error.into()
        }
    })
}
