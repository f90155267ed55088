//! The values that were given, after laying the layers over each other.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::variable::Variable;
use crate::{Process, Table};

/// The values that were given for known variables, under their canonical names. Variables that nobody set are absent.
#[derive(Default)]
pub struct Source {
    values: BTreeMap<&'static str, String>,
    warnings: Mutex<Vec<String>>,
}

impl Source {
    /// A source that holds exactly these pairs, as tests need it. Unknown names are ignored and aliases are understood.
    pub fn from_map<I, K, V>(pairs: I) -> Self
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: Into<String>,
    {
        let mut source = Self::default();
        source.lay_over(pairs);
        source
    }

    /// Lays a stronger layer over what is there: what it sets replaces what was set.
    pub(crate) fn lay_over<I, K, V>(&mut self, pairs: I)
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: Into<String>,
    {
        let layer: BTreeMap<String, String> = pairs
            .into_iter()
            .map(|(name, value)| (name.as_ref().to_owned(), value.into()))
            .collect();
        for variable in every_variable() {
            let value = names_of(variable)
                .filter_map(|name| layer.get(name))
                .find(|value| !value.trim().is_empty());
            if let Some(value) = value {
                self.values.insert(variable.name, value.trim().to_owned());
            }
        }
    }

    /// The value given for a variable, if any.
    pub(crate) fn get(&self, variable: &Variable) -> Option<&str> {
        self.values.get(variable.name).map(String::as_str)
    }

    /// Notes something that works but deserves a word in the log.
    pub(crate) fn warn(&self, warning: impl Into<String>) {
        let warning = warning.into();
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Takes what was noted while reading. The caller logs it once the log exists.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Every variable of every table; one that stands in several comes several times.
pub(crate) fn every_variable() -> impl Iterator<Item = &'static Variable> {
    let tables = Process::Api.tables().iter().chain(Process::Worker.tables());
    tables.flat_map(|table: &'static Table| table.variables)
}

/// The canonical name, then the aliases in their order.
pub(crate) fn names_of(variable: &Variable) -> impl Iterator<Item = &'static str> + use<> {
    std::iter::once(variable.name).chain(variable.aliases.iter().copied())
}
