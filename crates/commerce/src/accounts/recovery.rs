//! Proving a mailbox, and with it getting back into an account.

use std::time::Duration;

use bharatmart_database::{
    self as database, Connection, Freshness, Transaction, account_mails, accounts as families,
    outbox, sign_in_attempts, users,
};
use bharatmart_domain::{AccountMailKind, Role, UserId};
use bharatmart_queue::{OutboxJob, SendAccountMail};
use chrono::TimeDelta;
use secrecy::SecretString;
use serde_json::json;
use tokio::time::sleep;

use super::{AccountError, Accounts, canonical, throttle};
use crate::{
    audit::{self, Action, Origin},
    passwords::check_password,
    shop::as_row,
    tokens::token_digest,
};

/// Mails of one kind that an account gets within [`AN_HOUR`].
const MAILS_AN_HOUR: usize = 5;
const AN_HOUR: TimeDelta = TimeDelta::hours(1);
/// When it is answered that a password is forgotten, at the earliest: so much later than the work is done that its
/// time, which is longer for an address that somebody has, tells nothing.
const FORGOTTEN_AFTER: Duration = Duration::from_millis(400);

impl Accounts {
    /// Has the mail sent again that proves the mailbox, unless that is done.
    pub async fn request_verification(&self, user: UserId) -> Result<(), AccountError> {
        let mut transaction = self.database.begin().await?;
        let user = users::lock(&mut transaction, user).await?;
        let user = user.ok_or(AccountError::BadToken)?;
        if user.email_verified_at.is_some() {
            return Ok(());
        }
        let kind = AccountMailKind::VerifyEmail;
        if let Some(retry_after) = self.mails_again_in(&mut transaction, user.id, kind).await? {
            return Err(AccountError::TooManyAttempts { retry_after });
        }
        self.send(transaction, user.id, kind).await
    }

    /// Takes the token of a mail for the proof that the mailbox is its receiver's.
    pub async fn verify_email(&self, token: &SecretString) -> Result<(), AccountError> {
        let mut transaction = self.database.begin().await?;
        let (kind, digest) = (AccountMailKind::VerifyEmail, token_digest(token));
        let user = account_mails::spend(&mut transaction, kind, &digest, self.clock.now()).await?;
        let user = user.ok_or(AccountError::BadMailedToken)?;
        users::mark_verified(&mut transaction, user).await?;
        transaction.commit().await?;
        tracing::info!(user.id = %user, "e-mail address verified");
        Ok(())
    }

    /// Has a mail sent by which the owner of this address can choose a new password, if somebody has it. The answer is
    /// the same if nobody does, and comes as late.
    pub async fn forgot_password(&self, email: &str) -> Result<(), AccountError> {
        let (done, ()) = tokio::join!(self.send_reset(email), sleep(FORGOTTEN_AFTER));
        done
    }

    async fn send_reset(&self, email: &str) -> Result<(), AccountError> {
        let mut transaction = self.database.begin().await?;
        let known = users::credentials(&mut transaction, &canonical(email)).await?;
        let Some(known) = known.filter(|known| known.is_active) else {
            return Ok(());
        };
        // Of those who ask at the same time each counts the mails of the one before.
        users::lock(&mut transaction, known.id).await?;
        let kind = AccountMailKind::ResetPassword;
        if self
            .mails_again_in(&mut transaction, known.id, kind)
            .await?
            .is_some()
        {
            tracing::info!(user.id = %known.id, "no further mail for a new password in this hour");
            return Ok(());
        }
        self.send(transaction, known.id, kind).await
    }

    /// Gives the receiver of a mailed token another password, and ends their other such tokens. Everybody who is signed in
    /// is signed out, guesses at the old password are forgotten, and a mail says what has happened. The mailbox is proven
    /// by it as well.
    pub async fn reset_password(
        &self,
        token: &SecretString,
        password: &SecretString,
        origin: Origin,
    ) -> Result<(), AccountError> {
        let (kind, digest) = (AccountMailKind::ResetPassword, token_digest(token));
        let mut connection = self.database.read(Freshness::Latest).await?;
        let holder =
            account_mails::holder(&mut connection, kind, &digest, self.clock.now()).await?;
        let holder = holder.ok_or(AccountError::BadMailedToken)?;
        let user = users::find(&mut connection, holder).await?;
        let user = user.ok_or(AccountError::BadMailedToken)?;
        // Not to be held while the password is hashed.
        drop(connection);
        check_password(password, &user.email, &user.full_name)?;
        let password_hash = self.hash(password).await?;

        let mut transaction = self.database.begin().await?;
        // Before the sessions are ended: a sign-in under way is among them, or looks again at who may sign in.
        users::lock(&mut transaction, holder).await?;
        let spent = account_mails::spend(&mut transaction, kind, &digest, self.clock.now()).await?;
        let id = spent.ok_or(AccountError::BadMailedToken)?;
        users::set_password(&mut transaction, id, &password_hash).await?;
        users::mark_verified(&mut transaction, id).await?;
        for kind in [kind, AccountMailKind::VerifyEmail] {
            account_mails::end_all(&mut transaction, id, kind).await?;
        }
        families::revoke_user(&mut transaction, id).await?;
        let address = throttle::address_hash(&canonical(&user.email));
        sign_in_attempts::forget(&mut transaction, &address).await?;
        if user.role == Role::Admin {
            let origin = Origin {
                actor_id: Some(id),
                ..origin
            };
            let action = Action::of_user("user.reset_password", id, json!({}));
            audit::record(&mut transaction, &origin, action).await?;
        }
        tracing::info!(user.id = %id, "password reset");
        self.send(transaction, id, AccountMailKind::PasswordChanged)
            .await
    }

    /// When a further mail of the kind may be sent; `None` is now.
    async fn mails_again_in(
        &self,
        connection: &mut Connection,
        user: UserId,
        kind: AccountMailKind,
    ) -> Result<Option<Duration>, database::Error> {
        let now = self.clock.now();
        let sent = account_mails::since(connection, user, kind, now - AN_HOUR).await?;
        let Some(first) = sent.len().checked_sub(MAILS_AN_HOUR) else {
            return Ok(None);
        };
        let left = sent.get(first).map(|time| *time + AN_HOUR - now);
        Ok(left.and_then(|left| left.to_std().ok()))
    }

    /// Records the mail and its job, and commits.
    async fn send(
        &self,
        mut transaction: Transaction,
        user: UserId,
        kind: AccountMailKind,
    ) -> Result<(), AccountError> {
        announce(&mut transaction, user, kind).await?;
        transaction.commit().await?;
        self.relay.notify();
        Ok(())
    }
}

/// Records a mail and the job that sends it. Links of earlier mails of the kind are good no more, except those for a new
/// password: anybody can ask for these, and would void the one that the owner has just got.
pub(super) async fn announce(
    transaction: &mut Transaction,
    user: UserId,
    kind: AccountMailKind,
) -> Result<(), database::Error> {
    if kind != AccountMailKind::ResetPassword {
        account_mails::end_all(transaction, user, kind).await?;
    }
    let mail_id = account_mails::announce(transaction, user, kind).await?;
    let job = SendAccountMail { mail_id, kind };
    outbox::insert(transaction, &[as_row(job.to_outbox())]).await
}
