//! Reads variables one after the other and collects everything that is wrong with them.

use crate::error::{ConfigError, Problem};
use crate::process::Environment;
use crate::source::Source;
use crate::variable::{Default, Variable};

/// What the repository's examples have in place of secrets, for everybody to read. Production takes no secret with one of them in it.
pub const PLACEHOLDERS: [&str; 2] = ["change-me", "replace-this"];

/// Collects the problems of one concern. Every method answers `None` after noting a problem, so that
/// [`finish`](Self::finish) can build the struct with `?` on each field.
pub(crate) struct Reader<'a> {
    source: &'a Source,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: &'a Source) -> Self {
        Self {
            source,
            problems: Vec::new(),
        }
    }

    /// A variable that always ends with a value: its own or its default.
    pub(crate) fn required<T>(
        &mut self,
        variable: &Variable,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let Some(text) = self.text(variable) else {
            self.problems.push(Problem::missing(variable));
            return None;
        };
        self.parsed(variable, text, parse)
    }

    /// A variable that may stay without a value. The outer `None` means that a problem was noted.
    #[expect(
        clippy::option_option,
        reason = "two questions: was it readable, and was it set"
    )]
    pub(crate) fn optional<T>(
        &mut self,
        variable: &Variable,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.text(variable) {
            Some(text) => self.parsed(variable, text, parse).map(Some),
            None => Some(None),
        }
    }

    /// Notes that a value contradicts another one.
    pub(crate) fn refuse(&mut self, variable: &Variable, expected: impl Into<String>) {
        let value = self.text(variable).unwrap_or_default();
        self.problems
            .push(Problem::refused(variable, value, expected));
    }

    /// Notes that a variable is needed because of another one.
    pub(crate) fn missing(&mut self, variable: &Variable) {
        self.problems.push(Problem::missing(variable));
    }

    /// Takes over the problems of another reader.
    pub(crate) fn section<T>(&mut self, section: Result<T, ConfigError>) -> Option<T> {
        match section {
            Ok(value) => Some(value),
            Err(ConfigError::Invalid(problems)) => {
                // Two concerns may read the same variable.
                for problem in problems {
                    if !self.problems.contains(&problem) {
                        self.problems.push(problem);
                    }
                }
                None
            }
            Err(
                ConfigError::Usage(_)
                | ConfigError::DotEnvUnreadable { .. }
                | ConfigError::DotEnvMalformed { .. },
            ) => {
                unreachable!("reading a section of a source finds only invalid variables")
            }
        }
    }

    /// Builds the struct, unless problems were noted.
    pub(crate) fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, ConfigError> {
        match build() {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(ConfigError::Invalid(self.problems)),
        }
    }

    fn text(&self, variable: &Variable) -> Option<&'a str> {
        self.source.get(variable).or(match variable.default {
            Default::Value(value) => Some(value),
            Default::Development(value) => {
                (Environment::of(self.source) == Some(Environment::Development)).then_some(value)
            }
            Default::Required | Default::Unset(_) => None,
        })
    }

    fn parsed<T>(
        &mut self,
        variable: &Variable,
        text: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        if let Some(placeholder) = self.placeholder(variable, text) {
            let expected = format!("a value of your own in place of the example's {placeholder:?}");
            self.problems
                .push(Problem::refused(variable, text, expected));
            return None;
        }
        let value = parse(text);
        if value.is_none() {
            self.problems.push(Problem::not_allowed(variable, text));
        }
        value
    }

    /// The example's words in a secret of production, with which anybody could come in.
    fn placeholder(&self, variable: &Variable, text: &str) -> Option<&'static str> {
        let is_at_risk =
            variable.secret && Environment::of(self.source) == Some(Environment::Production);
        PLACEHOLDERS
            .into_iter()
            .find(|placeholder| is_at_risk && text.contains(placeholder))
    }
}
