//! Signing up, in and out.

use std::sync::Arc;
use std::time::Duration;

use argon2::{
    Argon2, PasswordHash, PasswordHasher, PasswordVerifier,
    password_hash::{SaltString, rand_core::OsRng},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bharatmart_database::{
    self as database, Database, Freshness, Transaction, accounts as families,
    users::{self, EMAIL_TAKEN, NewUser, User, UserChanges},
};
use bharatmart_domain::{Clock, Role, UserId};
use rand::RngCore;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::{sync::Semaphore, task::spawn_blocking};
use uuid::Uuid;

/// Passwords that are hashed at a time. Each takes 19 MiB and some 20 ms of a core, so more would
/// starve the requests of everybody else.
const HASHES_AT_A_TIME: usize = 2;

/// Why somebody could not sign up, in or out.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Somebody has this e-mail address already.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// No such address, a wrong password, or an account that may not sign in: one answer for all.
    #[error("invalid e-mail address or password")]
    BadCredentials,
    /// A refresh token that is unknown, spent, revoked or past its end.
    #[error("invalid refresh token")]
    BadToken,
    /// The shop would be left without an administrator.
    #[error("the last administrator cannot be removed")]
    LastAdmin,
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
    refresh_lifetime: Duration,
    hashing: Arc<Semaphore>,
}

impl Accounts {
    /// `refresh_lifetime` is how long a refresh token is good.
    #[must_use]
    pub fn new(database: Database, clock: Arc<dyn Clock>, refresh_lifetime: Duration) -> Self {
        Self {
            database,
            clock,
            refresh_lifetime,
            hashing: Arc::new(Semaphore::new(HASHES_AT_A_TIME)),
        }
    }

    /// The same accounts in `database`.
    #[must_use]
    pub fn with(self, database: Database) -> Self {
        Self { database, ..self }
    }

    /// Adds a customer and signs them in.
    pub async fn sign_up(
        &self,
        email: &str,
        password: &SecretString,
        full_name: &str,
    ) -> Result<SignedIn, AccountError> {
        let password_hash = self.hash(password).await?;
        let mut transaction = self.database.begin().await?;
        let new = NewUser {
            email,
            full_name,
            password_hash: &password_hash,
            role: Role::Customer,
        };
        let user = insert(&mut transaction, &new).await?;
        self.start_session(transaction, user).await
    }

    /// Signs somebody in. An unknown address takes as long as a wrong password.
    pub async fn sign_in(
        &self,
        email: &str,
        password: &SecretString,
    ) -> Result<SignedIn, AccountError> {
        let mut connection = self.database.read(Freshness::Latest).await?;
        let credentials = users::credentials(&mut connection, email).await?;
        // Not to be held while the password is checked.
        drop(connection);
        let known = credentials
            .as_ref()
            .filter(|credentials| credentials.is_active)
            .and_then(|credentials| credentials.password_hash.clone());
        let matches = self.verify(password, known.as_deref()).await?;
        let Some(credentials) = credentials.filter(|_| matches) else {
            return Err(AccountError::BadCredentials);
        };
        let mut transaction = self.database.begin().await?;
        let user = users::find(&mut transaction, credentials.id)
            .await?
            .ok_or(AccountError::BadCredentials)?;
        self.start_session(transaction, user).await
    }

    /// Exchanges a refresh token. One that was used before revokes its whole family, since either
    /// this caller or the earlier one has stolen it (RFC 9700, section 4.14.2).
    pub async fn refresh(&self, token: &SecretString) -> Result<SignedIn, AccountError> {
        let digest = digest(token);
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

    /// Adds a user of any role.
    pub async fn create_user(
        &self,
        email: &str,
        password: &SecretString,
        full_name: &str,
        role: Role,
    ) -> Result<User, AccountError> {
        let password_hash = self.hash(password).await?;
        let mut connection = self.database.write().await?;
        insert(
            &mut connection,
            &NewUser {
                email,
                full_name,
                password_hash: &password_hash,
                role,
            },
        )
        .await
    }

    /// Changes a user; `None` when there is none. Somebody who may do less than before is signed out.
    pub async fn change_user(
        &self,
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
        let user = users::update(&mut transaction, id, changes).await?;
        if may_do_less {
            families::revoke_user(&mut transaction, id).await?;
        }
        transaction.commit().await?;
        Ok(user)
    }

    /// Hashes a password with argon2id: on a thread for blocking work, few at a time.
    pub async fn hash(&self, password: &SecretString) -> Result<String, AccountError> {
        let password = password.clone();
        self.blocking(move || {
            let salt = SaltString::generate(&mut OsRng);
            Argon2::default()
                .hash_password(password.expose_secret().as_bytes(), &salt)
                .map(|hash| hash.to_string())
                .map_err(|error| AccountError::Hash(error.to_string()))
        })
        .await
    }

    async fn verify(
        &self,
        password: &SecretString,
        known: Option<&str>,
    ) -> Result<bool, AccountError> {
        let password = password.clone();
        let known = known.map(str::to_owned);
        self.blocking(move || {
            let bytes = password.expose_secret().as_bytes();
            let Some(known) = known else {
                // As much work as a comparison, so that the time tells nothing.
                let _ = Argon2::default()
                    .hash_password(bytes, &SaltString::generate(&mut OsRng))
                    .map_err(|error| AccountError::Hash(error.to_string()))?;
                return Ok(false);
            };
            let known =
                PasswordHash::new(&known).map_err(|error| AccountError::Hash(error.to_string()))?;
            Ok(Argon2::default().verify_password(bytes, &known).is_ok())
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, AccountError> + Send + 'static,
    ) -> Result<T, AccountError> {
        let permit = self.hashing.clone().acquire_owned().await;
        let permit = permit.map_err(|error| AccountError::Hash(error.to_string()))?;
        spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        })
        .await
        .map_err(|error| AccountError::Hash(error.to_string()))?
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
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        let refresh_token = SecretString::from(URL_SAFE_NO_PAD.encode(bytes));
        let expires_at = self.clock.now() + self.refresh_lifetime;
        families::add_token(
            &mut transaction,
            family,
            &digest(&refresh_token),
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

/// The SHA-256 of a token: all that is kept of it.
fn digest(token: &SecretString) -> Vec<u8> {
    Sha256::digest(token.expose_secret().as_bytes()).to_vec()
}
