//! What can be wrong with the settings, in the words the operator reads.

use std::fmt;
use std::path::PathBuf;

use crate::variable::Variable;

/// The settings cannot be used. Its text is one line for each thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Variables with values that are not allowed, or required ones that are not set.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
    /// The command line has an unknown flag or subcommand.
    #[error("{0}")]
    Usage(String),
    /// The `.env` file exists but cannot be read.
    #[error("{}: {source}", .path.display())]
    DotEnvUnreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of the `.env` file is not `NAME=value`. The line itself is not shown: it may hold a secret.
    #[error("{} line {line}: expected NAME=value, with quotes around a value that contains spaces", .path.display())]
    DotEnvMalformed {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
}

impl ConfigError {
    /// The exit code of a program that cannot use its settings (`EX_USAGE` of sysexits.h).
    pub const EXIT_CODE: u8 = 64;
}

/// One variable that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    variable: &'static str,
    found: Found,
    expected: String,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Found {
    Nothing,
    Secret,
    Value(String),
}

impl Problem {
    /// The variable's value is not one that is allowed.
    pub(crate) fn not_allowed(variable: &Variable, value: &str) -> Self {
        Self::refused(variable, value, variable.allowed)
    }

    /// The value would be allowed alone, but contradicts another one.
    pub(crate) fn refused(variable: &Variable, value: &str, expected: impl Into<String>) -> Self {
        let found = if variable.secret {
            Found::Secret
        } else {
            Found::Value(value.to_owned())
        };
        Self {
            variable: variable.name,
            found,
            expected: expected.into(),
        }
    }

    /// The variable has no default and is not set.
    pub(crate) fn missing(variable: &Variable) -> Self {
        Self {
            variable: variable.name,
            found: Found::Nothing,
            expected: variable.allowed.to_owned(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            variable,
            found,
            expected,
        } = self;
        match found {
            Found::Nothing => write!(f, "{variable} is not set: expected {expected}"),
            Found::Secret => write!(
                f,
                "{variable} has a value that is not allowed (not shown): expected {expected}"
            ),
            // The debug form keeps line breaks in the value from breaking the line.
            Found::Value(value) => write!(
                f,
                "{variable}={value:?} is not allowed: expected {expected}"
            ),
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
