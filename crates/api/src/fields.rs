//! The types of fields and parameters: what parses is within bounds.

mod schema;

use std::{fmt, str::FromStr};

use email_address::{EmailAddress, Options};
use secrecy::SecretString;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

/// Text of one line, without control characters, trimmed, of `MIN` to `MAX` characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line<const MIN: usize, const MAX: usize>(String);

/// Text that may have line breaks and tabs but no other control characters, least of all NUL, which
/// PostgreSQL cannot hold; trimmed, of `MIN` to `MAX` characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text<const MIN: usize, const MAX: usize>(String);

macro_rules! text {
    ($name:ident, $refused:expr) => {
        impl<const MIN: usize, const MAX: usize> $name<MIN, MAX> {
            pub(crate) fn into_string(self) -> String {
                self.0
            }
        }

        impl<const MIN: usize, const MAX: usize> FromStr for $name<MIN, MAX> {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let text = text.trim();
                let refused: fn(char) -> bool = $refused;
                if text.contains(refused) {
                    return Err("must not contain control characters".to_owned());
                }
                if !(MIN..=MAX).contains(&text.chars().count()) {
                    return Err(format!("must be a text of {MIN} to {MAX} characters"));
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for $name<MIN, MAX> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

text!(Line, char::is_control);
text!(Text, |c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole<const MIN: i32, const MAX: i32>(pub(crate) i32);

impl<const MIN: i32, const MAX: i32> FromStr for Whole<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Self(number)),
            _ => Err(format!("must be a whole number from {MIN} to {MAX}")),
        }
    }
}

impl<'de, const MIN: i32, const MAX: i32> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As written, so that neither `2.5` nor a number of forty digits is rounded. `2.0` is a whole number to
        // JSON Schema, and some programs write no other.
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let digits = match raw.get().split_once('.') {
            Some((digits, fraction)) if fraction.bytes().all(|digit| digit == b'0') => digits,
            _ => raw.get(),
        };
        digits.parse().map_err(de::Error::custom)
    }
}

/// A list of `MIN` to `MAX` things.
#[derive(Clone, Debug)]
pub(crate) struct Few<T, const MIN: usize, const MAX: usize>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>, const MIN: usize, const MAX: usize> Deserialize<'de>
    for Few<T, MIN, MAX>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let things = Vec::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&things.len()) {
            Ok(Self(things))
        } else {
            Err(de::Error::custom(format_args!(
                "must have {MIN} to {MAX} entries"
            )))
        }
    }
}

/// An e-mail address that mail can be sent to, trimmed and in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Email(String);

impl Email {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

impl FromStr for Email {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_lowercase();
        let options = Options::default()
            .with_required_tld()
            .without_domain_literal()
            .without_display_text();
        // SMTP carries 254 bytes at most (RFC 5321, errata 1690), and plain ASCII everywhere.
        let sane = text.is_ascii()
            && text.len() <= 254
            && !text.contains(|c: char| c.is_control() || c == '"' || c == ' ')
            && EmailAddress::parse_with_options(&text, options).is_ok();
        if sane {
            Ok(Self(text))
        } else {
            Err("must be an e-mail address".to_owned())
        }
    }
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A password of `MIN` to 128 characters, kept as it is.
#[derive(Clone, Debug)]
pub(crate) struct Password<const MIN: usize>(pub(crate) SecretString);

impl<const MIN: usize> Password<MIN> {
    const MAX: usize = 128;
}

impl<const MIN: usize> FromStr for Password<MIN> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('\0') {
            return Err("must not contain NUL characters".to_owned());
        }
        if (MIN..=Self::MAX).contains(&text.chars().count()) {
            Ok(Self(SecretString::from(text)))
        } else {
            Err(format!(
                "must be a text of {MIN} to {} characters",
                Self::MAX
            ))
        }
    }
}

impl<'de, const MIN: usize> Deserialize<'de> for Password<MIN> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The address of a picture: `https://…`, `http://…` or a path on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageUrl(String);

impl ImageUrl {
    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

impl FromStr for ImageUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.parse::<Line<1, 2000>>()?.into_string();
        // Anything else, such as `javascript:`, has no place in a page's markup.
        if ["https://", "http://", "/"]
            .iter()
            .any(|start| text.starts_with(start))
        {
            Ok(Self(text))
        } else {
            Err("must be an http or https URL, or a path".to_owned())
        }
    }
}

impl<'de> Deserialize<'de> for ImageUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// `true` or `false`, as a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

impl FromStr for Flag {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "true" => Ok(Self(true)),
            "false" => Ok(Self(false)),
            _ => Err("must be true or false"),
        }
    }
}

/// A JSON object. Derived structs would take an array, field by field, as well.
#[derive(Clone, Debug)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(std::marker::PhantomData))
    }
}

/// A field that was sent. With `#[serde(default)]`, `None` means that it was not.
pub(crate) fn sent<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A field that `null` clears.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Nullable<T>(pub(crate) Option<T>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_trimmed_counted_in_characters_and_free_of_nul() {
        assert_eq!(
            "  चावल ".parse::<Line<1, 4>>().unwrap().into_string(),
            "चावल"
        );
        assert!("   ".parse::<Line<1, 4>>().is_err());
        assert!("12345".parse::<Line<1, 4>>().is_err());
        assert!("a\nb".parse::<Line<1, 4>>().is_err());
        assert!("a\nb".parse::<Text<1, 4>>().is_ok());
        assert!("a\0b".parse::<Text<1, 4>>().is_err());
    }

    #[test]
    fn whole_numbers_are_neither_rounded_nor_wrapped() {
        for json in [
            "0",
            "-1",
            "2.5",
            "2.05",
            "2.0e1",
            "\"2.0\"",
            "1e2",
            "99999999999999999999",
            "\"3\"",
            "null",
            "1e999",
        ] {
            let error = serde_json::from_str::<Whole<1, 10_000>>(json)
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("must be a whole number from 1 to 10000"),
                "{json}: {error}"
            );
        }
        for json in ["10000", "10000.0", "10000.00"] {
            assert_eq!(
                serde_json::from_str::<Whole<1, 10_000>>(json).unwrap().0,
                10_000
            );
        }
    }

    #[test]
    fn addresses_that_mail_cannot_reach_are_refused() {
        assert_eq!(
            " Priya@Example.IN ".parse::<Email>().unwrap().as_str(),
            "priya@example.in"
        );
        for text in [
            "",
            "priya",
            "@example.in",
            "priya@",
            "priya@localhost",
            "a b@example.in",
            "priya@example.in\r\nBcc: x@example.in",
            "Priya <priya@example.in>",
            "priya@[127.0.0.1]",
            "प्रिया@example.in",
        ] {
            assert!(text.parse::<Email>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_array_is_not_an_object() {
        #[derive(Debug, Deserialize)]
        struct Point {
            #[expect(dead_code, reason = "only its presence matters")]
            x: i32,
        }
        assert!(
            serde_json::from_str::<Point>("[1]").is_ok(),
            "what a derived struct does"
        );
        assert!(serde_json::from_str::<Object<Point>>("[1]").is_err());
        assert!(serde_json::from_str::<Object<Point>>("{\"x\":1}").is_ok());
    }
}
