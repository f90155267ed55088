//! Which passwords may be chosen.
//!
//! As NIST SP 800-63B, section 5.1.1.2, asks: any characters, long enough, but none of those that are tried first. The
//! list holds the 5000 most common passwords of leaked databases that are long enough, in the order of their bytes, in
//! lower case.

use std::sync::LazyLock;

use secrecy::{ExposeSecret, SecretString};

const COMMON: &str = include_str!("passwords/common.txt");
/// In characters.
const SHORTEST: usize = 8;
/// In characters, so that nobody has us hash a book.
const LONGEST: usize = 128;

static SORTED: LazyLock<Vec<&'static str>> = LazyLock::new(|| COMMON.lines().collect());

/// A password that may not be chosen; the text says which may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Too short or too long.
    #[error("must be a text of 8 to 128 characters")]
    Length,
    /// Too many people have it.
    #[error("is one of the most common passwords; any other of 8 to 128 characters is allowed")]
    Common,
    /// Anybody who knows the owner could guess it.
    #[error("must be neither the e-mail address nor the name")]
    Personal,
}

/// Whether somebody with this address and name may choose `password`.
pub fn check_password(
    password: &SecretString,
    email: &str,
    full_name: &str,
) -> Result<(), WeakPassword> {
    let password = password.expose_secret();
    if !(SHORTEST..=LONGEST).contains(&password.chars().count()) {
        return Err(WeakPassword::Length);
    }
    let password = password.to_lowercase();
    if SORTED.binary_search(&password.trim()).is_ok() {
        return Err(WeakPassword::Common);
    }
    let without_spaces = |text: &str| -> String {
        let lower = text.to_lowercase();
        lower.split_whitespace().collect()
    };
    let password = without_spaces(&password);
    let mailbox = email.split('@').next().unwrap_or_default();
    if [email, mailbox, full_name]
        .map(without_spaces)
        .contains(&password)
    {
        return Err(WeakPassword::Personal);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str) -> Result<(), WeakPassword> {
        check_password(
            &SecretString::from(password),
            "priya.sharma@example.in",
            "Priya Sharma",
        )
    }

    #[test]
    fn the_list_is_sorted_and_says_nothing_twice() {
        assert_eq!(SORTED.len(), 5000);
        assert!(SORTED.is_sorted_by(|one, next| one < next));
        for password in SORTED.iter() {
            assert_eq!(**password, password.to_lowercase());
            assert!(password.len() >= SHORTEST, "{password}");
        }
    }

    #[test]
    fn what_is_tried_first_is_refused_and_what_is_merely_simple_is_not() {
        for common in [
            "password",
            "PassWord",
            "12345678",
            "qwertyuiop",
            "iloveyou ",
        ] {
            assert_eq!(check(common), Err(WeakPassword::Common), "{common}");
        }
        for personal in [
            "priya.sharma@example.in",
            "Priya.Sharma",
            "priya sharma",
            "PriyaSharma",
        ] {
            assert_eq!(check(personal), Err(WeakPassword::Personal), "{personal}");
        }
        for length in ["seven-7", "", &"x".repeat(129)] {
            assert_eq!(check(length), Err(WeakPassword::Length), "{length}");
        }
        for good in [
            "Correct-Horse-42",
            "a good password",
            "पासवर्ड लंबा है",
            &"x".repeat(128),
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }
}
