//! Settings of the repository's examples, in which whoever uses them writes secrets of his own.

use std::path::Path;

use anyhow::{Context, Result};
use bharatmart_config::PLACEHOLDERS;

/// The settings of an example, filled in.
pub fn settings(file: &Path) -> Result<Vec<(String, String)>> {
    let lines =
        dotenvy::from_path_iter(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut settings = lines.collect::<Result<Vec<_>, _>>()?;
    for (_, value) in &mut settings {
        *value = filled_in(value);
    }
    Ok(settings)
}

/// A value without the words that stand for a secret.
pub fn filled_in(value: &str) -> String {
    PLACEHOLDERS
        .into_iter()
        .fold(value.to_owned(), |value, placeholder| {
            value.replace(placeholder, "filled-in")
        })
}
