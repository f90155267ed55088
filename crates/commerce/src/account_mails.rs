//! What the shop writes to people about their account.

use std::time::Duration;

use bharatmart_domain::AccountMailKind;
use secrecy::{ExposeSecret, SecretString};

/// How long the link of a mail is good; `None` for a mail without one.
#[must_use]
pub const fn link_lifetime(kind: AccountMailKind) -> Option<Duration> {
    match kind {
        AccountMailKind::VerifyEmail => Some(Duration::from_hours(24)),
        AccountMailKind::ResetPassword => Some(Duration::from_mins(30)),
        AccountMailKind::PasswordChanged => None,
    }
}

/// The subject and the text of a mail. `storefront` is the origin that its link leads to, with `token`.
#[must_use]
pub fn account_letter(
    kind: AccountMailKind,
    full_name: &str,
    storefront: &str,
    token: &SecretString,
) -> (String, String) {
    let token = token.expose_secret();
    let (subject, news) = match kind {
        AccountMailKind::VerifyEmail => (
            "Confirm your e-mail address",
            format!(
                "Please confirm that this is your e-mail address, within 24 hours:\n\
                 {storefront}/verify-email?token={token}\n\n\
                 If you have no account with us, somebody has mistyped theirs: there is nothing to do."
            ),
        ),
        AccountMailKind::ResetPassword => (
            "Choose a new password",
            format!(
                "Somebody, probably you, wants a new password for your account. Choose it here, within \
                 30 minutes:\n{storefront}/reset-password?token={token}\n\n\
                 If it was not you, there is nothing to do: your password stays as it is."
            ),
        ),
        AccountMailKind::PasswordChanged => (
            "Your password was changed",
            format!(
                "The password of your account was changed, and everybody who was signed in with the old \
                 one is signed out.\n\nIf it was not you, choose another one at once:\n\
                 {storefront}/forgot-password"
            ),
        ),
    };
    (
        format!("{subject} – BharatMart"),
        format!("Namaste {full_name},\n\n{news}\n\nBharatMart"),
    )
}
