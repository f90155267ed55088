use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rand::{Rng, distr::Alphanumeric};
use serde::{Deserialize, Serialize};

/// What a running shop must not share with any other: made once for each checkout.
#[derive(Serialize, Deserialize)]
pub struct Secrets {
    pub admin_email: String,
    pub admin_password: String,
    pub jwt_secret: String,
}

impl Secrets {
    pub fn file(folder: &Path) -> PathBuf {
        folder.join("secrets.json")
    }

    pub fn generate() -> Self {
        Self {
            admin_email: given("ADMIN_EMAIL")
                .unwrap_or_else(|| "admin@bharatmart.example".to_owned()),
            admin_password: given("ADMIN_PASSWORD").unwrap_or_else(|| random(16)),
            jwt_secret: random(48),
        }
    }

    /// Those of earlier runs, so that people stay signed in; an admin that the shell names wins.
    pub fn load(folder: &Path) -> Result<Self> {
        let file = Self::file(folder);
        let mut secrets = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged; run with --fresh", file.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::generate(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", file.display()));
            }
        };
        if let Some(email) = given("ADMIN_EMAIL") {
            secrets.admin_email = email;
        }
        if let Some(password) = given("ADMIN_PASSWORD") {
            secrets.admin_password = password;
        }
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&file)
            .and_then(|mut opened| opened.write_all(&serde_json::to_vec_pretty(&secrets)?))
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(secrets)
    }
}

fn given(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the developer's own tool chooses what the programs are told"
    )]
    let value = std::env::var(name);
    value.ok().filter(|value| !value.is_empty())
}

fn random(length: usize) -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(length)
        .map(char::from)
        .collect()
}
