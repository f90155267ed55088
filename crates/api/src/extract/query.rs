//! Parameters.

use std::{fmt, str::FromStr};

use axum::extract::FromRequestParts;
use http::request::Parts;
use utoipa::{
    IntoParams, PartialSchema,
    openapi::{
        Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

use crate::{
    error::{ApiError, FieldError},
    fields::Line,
};

/// The parameters of a query string, and what is wrong with those that were read.
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
    /// Those that were asked for, so that the OpenAPI document knows them from the code that reads them.
    described: Option<Vec<Parameter>>,
}

impl Params {
    pub(crate) fn of(query: &str) -> Self {
        let (pairs, errors) = match serde_urlencoded::from_str(query) {
            Ok(pairs) => (pairs, Vec::new()),
            Err(error) => (
                Vec::new(),
                vec![FieldError::new("query", error.to_string())],
            ),
        };
        Self {
            pairs,
            errors,
            described: None,
        }
    }

    /// What `T` reads, instead of a query.
    fn describe<T: FromParams>() -> Vec<Parameter> {
        let mut params = Self {
            described: Some(Vec::new()),
            ..Self::of("")
        };
        T::from_params(&mut params);
        params.described.unwrap_or_default()
    }

    /// Reads a parameter; `None` when it is not there, is there twice or does not parse. `about` is what the
    /// document says of it.
    pub(crate) fn optional<T>(&mut self, name: &'static str, about: &'static str) -> Option<T>
    where
        T: FromStr<Err: fmt::Display> + PartialSchema,
    {
        if let Some(described) = &mut self.described {
            let parameter = ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .description(Some(about))
                .schema(Some(T::schema()));
            described.push(parameter.build());
        }
        let mut values = self.pairs.iter().filter(|(key, _)| key == name);
        let (_, value) = values.next()?;
        if values.next().is_some() {
            self.refuse(name, "must be given once");
            return None;
        }
        match value.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(name, error.to_string());
                None
            }
        }
    }

    /// Reads a text of one line and at most `MAX` characters. The empty one means none, as a search form sends it.
    pub(crate) fn optional_text<const MAX: usize>(
        &mut self,
        name: &'static str,
        about: &'static str,
    ) -> Option<String> {
        let text = self.optional::<Line<0, MAX>>(name, about)?;
        Some(text.into_string()).filter(|text| !text.is_empty())
    }

    /// Whether there is such a parameter, known or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(key, _)| key == name)
    }

    /// Notes what is wrong with a parameter.
    pub(crate) fn refuse(&mut self, name: &'static str, message: impl Into<String>) {
        self.errors.push(FieldError::new(name, message));
    }

    pub(crate) fn finish<T>(self, value: T) -> Result<T, ApiError> {
        if self.errors.is_empty() {
            Ok(value)
        } else {
            Err(ApiError::Invalid {
                errors: self.errors,
                sentence: None,
            })
        }
    }
}

/// What is read from parameters.
pub(crate) trait FromParams {
    /// Reads what there is and leaves what is wrong in `params`.
    fn from_params(params: &mut Params) -> Self;
}

/// The parameters of a route, all as they should be. Parameters that `T` does not know are ignored.
#[derive(Clone, Debug)]
pub(crate) struct ValidatedQuery<T>(pub(crate) T);

impl<T: FromParams, S: Send + Sync> FromRequestParts<S> for ValidatedQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut params = Params::of(parts.uri.query().unwrap_or_default());
        let value = T::from_params(&mut params);
        params.finish(value).map(Self)
    }
}

impl<T: FromParams> IntoParams for ValidatedQuery<T> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        Params::describe::<T>()
    }
}
