//! The description of one environment variable, from which flags, help and error messages are made.

/// One environment variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The name in the environment and in `.env` files.
    pub name: &'static str,
    /// Older or foreign names for the same thing, asked in this order after `name`.
    pub aliases: &'static [&'static str],
    /// What holds when it is not set.
    pub default: Default,
    /// What a value may be, in words that follow "expected".
    pub allowed: &'static str,
    /// What it is for, in one sentence without a full stop.
    pub help: &'static str,
    /// Whether the value must never be shown.
    pub secret: bool,
}

/// What holds when a variable is not set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Default {
    /// This value.
    Value(&'static str),
    /// This value in development; in production it must be set.
    Development(&'static str),
    /// It must be set.
    Required,
    /// No value; the words say what happens then.
    Unset(&'static str),
}

/// The variables of one concern.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The heading in `--help`.
    pub title: &'static str,
    /// In the order of `--help`.
    pub variables: &'static [Variable],
}

impl Variable {
    /// A variable that is required, not secret and has no alias; the base for the tables.
    pub(crate) const fn new(name: &'static str, help: &'static str, allowed: &'static str) -> Self {
        Self {
            name,
            aliases: &[],
            default: Default::Required,
            allowed,
            help,
            secret: false,
        }
    }

    pub(crate) const fn default(self, value: &'static str) -> Self {
        Self {
            default: Default::Value(value),
            ..self
        }
    }

    pub(crate) const fn development(self, value: &'static str) -> Self {
        Self {
            default: Default::Development(value),
            ..self
        }
    }

    pub(crate) const fn unset(self, consequence: &'static str) -> Self {
        Self {
            default: Default::Unset(consequence),
            ..self
        }
    }

    pub(crate) const fn aliases(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    pub(crate) const fn secret(self) -> Self {
        Self {
            secret: true,
            ..self
        }
    }

    /// The long flag, without its two dashes: `PORT` → `port`.
    #[must_use]
    pub fn flag(&self) -> String {
        kebab(self.name)
    }

    /// The default in words, for `--help`. Never shows the value of a secret.
    #[must_use]
    pub fn default_in_words(&self) -> String {
        match self.default {
            Default::Value(_) if self.secret => "set".to_owned(),
            Default::Value(value) => value.to_owned(),
            Default::Development(_) if self.secret => {
                "a known one in development, required in production".to_owned()
            }
            Default::Development(value) => {
                format!("{value} in development, required in production")
            }
            Default::Required => "none, required".to_owned(),
            Default::Unset(consequence) => consequence.to_owned(),
        }
    }
}

/// `DATABASE_POOL_SIZE` → `database-pool-size`.
pub(crate) fn kebab(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}
