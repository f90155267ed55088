//! Secrets that somebody is given once and of which only a digest is kept.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngCore;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// Makes 256 random bits, in characters that a URL may hold.
#[must_use]
pub fn random_token() -> SecretString {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    SecretString::from(URL_SAFE_NO_PAD.encode(bytes))
}

/// The SHA-256 of a token: all that is kept of it. What has 256 random bits needs no salt and no slow hash.
#[must_use]
pub fn token_digest(token: &SecretString) -> Vec<u8> {
    Sha256::digest(token.expose_secret().as_bytes()).to_vec()
}
