//! Money in paise.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr,
        schema::{Schema, Type},
    },
};

/// An amount of Indian rupees, held in paise; never negative, at most 9,999,999,999.99.
///
/// Outside it is a JSON number of rupees (`4999`, `4999.5`), in SQL a `numeric(12,2)`. No float is
/// involved in either direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

impl PartialSchema for Money {
    fn schema() -> RefOr<Schema> {
        // Its two decimals are no `multipleOf`, which programs that have only floats cannot check.
        ObjectBuilder::new()
            .schema_type(Type::Number)
            .description(Some("Indian rupees with at most two decimals."))
            .minimum(Some(0))
            .maximum(Some(9_999_999_999.99))
            .examples([4999.5])
            .into()
    }
}

impl ToSchema for Money {}

/// Why a text is not an amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseMoneyError {
    /// Not a plain decimal number.
    #[error("must be a number of rupees such as 4999 or 4999.5")]
    NotANumber,
    /// Below zero.
    #[error("must not be negative")]
    Negative,
    /// A fraction of a paisa.
    #[error("must have at most two decimals")]
    TooPrecise,
    /// Above [`Money::MAX`].
    #[error("must be at most 9999999999.99")]
    TooLarge,
}

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The most that `numeric(12,2)` holds.
    pub const MAX: Self = Self(999_999_999_999);

    /// `paise` hundredths of a rupee; `None` when negative or above [`Money::MAX`].
    #[must_use]
    pub const fn from_paise(paise: i64) -> Option<Self> {
        if paise < 0 || paise > Self::MAX.0 {
            None
        } else {
            Some(Self(paise))
        }
    }

    /// The amount in paise.
    #[must_use]
    pub const fn paise(self) -> i64 {
        self.0
    }

    /// The sum; `None` above [`Money::MAX`].
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::from_paise)
    }

    /// `quantity` times the amount; `None` above [`Money::MAX`].
    #[must_use]
    pub fn checked_mul(self, quantity: u32) -> Option<Self> {
        self.0
            .checked_mul(i64::from(quantity))
            .and_then(Self::from_paise)
    }

    /// The amount as people in India write it: `₹1,23,456.50`, digits grouped by lakh and crore.
    #[must_use]
    pub fn to_inr(self) -> String {
        let rupees = (self.0 / 100).to_string();
        let (head, tail) = rupees.split_at(rupees.len().saturating_sub(3));
        let mut grouped = String::with_capacity(rupees.len() + 8);
        for (index, digit) in head.chars().enumerate() {
            if index > 0 && (head.len() - index).is_multiple_of(2) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        if !head.is_empty() {
            grouped.push(',');
        }
        grouped.push_str(tail);
        format!("₹{grouped}.{:02}", self.0 % 100)
    }
}

impl fmt::Display for Money {
    /// The shortest decimal number of rupees: `4999`, `4999.5`, `4999.05`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rupees, paise) = (self.0 / 100, self.0 % 100);
        match paise {
            0 => write!(f, "{rupees}"),
            p if p % 10 == 0 => write!(f, "{rupees}.{}", p / 10),
            p => write!(f, "{rupees}.{p:02}"),
        }
    }
}

impl FromStr for Money {
    type Err = ParseMoneyError;

    /// Reads a plain decimal: digits, then at most two decimals (further zeros are harmless).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (rupees, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(rupees) || !all_digits(fraction) {
            return Err(ParseMoneyError::NotANumber);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 2 {
            return Err(ParseMoneyError::TooPrecise);
        }
        let rupees = rupees.trim_start_matches('0');
        if rupees.len() > 10 {
            return Err(if negative {
                ParseMoneyError::Negative
            } else {
                ParseMoneyError::TooLarge
            });
        }
        let paise: i64 = format!("{rupees}{fraction:0<2}")
            .parse()
            .map_err(|_| ParseMoneyError::NotANumber)?;
        if negative && paise > 0 {
            return Err(ParseMoneyError::Negative);
        }
        Self::from_paise(paise).ok_or(ParseMoneyError::TooLarge)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string())
            .map_err(ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        raw.get().parse().map_err(de::Error::custom)
    }
}

#[cfg(feature = "sqlx")]
mod sql {
    use rust_decimal::{Decimal, prelude::ToPrimitive};
    use sqlx::{
        Decode, Encode, Postgres, Type,
        encode::IsNull,
        error::BoxDynError,
        postgres::{PgArgumentBuffer, PgTypeInfo, PgValueRef},
    };

    use super::Money;

    impl Type<Postgres> for Money {
        fn type_info() -> PgTypeInfo {
            <Decimal as Type<Postgres>>::type_info()
        }
    }

    impl Encode<'_, Postgres> for Money {
        fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
            Encode::<Postgres>::encode(Decimal::new(self.0, 2), buffer)
        }
    }

    impl Decode<'_, Postgres> for Money {
        fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
            let mut decimal = <Decimal as Decode<Postgres>>::decode(value)?;
            decimal.rescale(2);
            decimal
                .mantissa()
                .to_i64()
                .and_then(Self::from_paise)
                .ok_or_else(|| format!("{decimal} is not an amount of money").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_is_a_plain_number_of_rupees() {
        for (paise, json) in [
            (499_900, "4999"),
            (499_950, "4999.5"),
            (5, "0.05"),
            (0, "0"),
        ] {
            let money = Money::from_paise(paise).unwrap();
            assert_eq!(serde_json::to_string(&money).unwrap(), json);
            assert_eq!(serde_json::from_str::<Money>(json).unwrap(), money);
            let value: serde_json::Value = serde_json::to_value(money).unwrap();
            assert!(value.is_number(), "{value} is a number in a Value too");
            assert_eq!(serde_json::from_value::<Money>(value).unwrap(), money);
        }
    }

    #[test]
    fn what_is_not_money_is_refused_by_reason() {
        use ParseMoneyError::{Negative, NotANumber, TooLarge, TooPrecise};
        for (text, error) in [
            ("", NotANumber),
            ("\"5\"", NotANumber),
            ("1e3", NotANumber),
            ("1.", NotANumber),
            (".5", NotANumber),
            ("NaN", NotANumber),
            ("-1", Negative),
            ("-0.01", Negative),
            ("0.001", TooPrecise),
            ("10000000000", TooLarge),
            ("99999999999999999999", TooLarge),
        ] {
            assert_eq!(text.parse::<Money>(), Err(error), "{text}");
        }
    }

    #[test]
    fn rupees_are_grouped_by_lakh() {
        for (paise, text) in [
            (0, "₹0.00"),
            (99_900, "₹999.00"),
            (7_999_900, "₹79,999.00"),
            (12_345_650, "₹1,23,456.50"),
            (123_456_789_000, "₹1,23,45,67,890.00"),
        ] {
            assert_eq!(Money::from_paise(paise).unwrap().to_inr(), text);
        }
    }

    proptest! {
        #[test]
        fn text_and_back_is_the_same_amount(paise in 0..=Money::MAX.0) {
            let money = Money::from_paise(paise).unwrap();
            prop_assert_eq!(money.to_string().parse::<Money>(), Ok(money));
        }

        #[test]
        fn arithmetic_never_leaves_the_range(a in 0..=Money::MAX.0, b in 0..=Money::MAX.0, n in any::<u32>()) {
            let (x, y) = (Money(a), Money(b));
            prop_assert_eq!(x.checked_add(y).map(Money::paise), Some(a + b).filter(|s| *s <= Money::MAX.0));
            let product = i128::from(a) * i128::from(n);
            prop_assert_eq!(
                x.checked_mul(n).map(|m| i128::from(m.paise())),
                Some(product).filter(|p| *p <= i128::from(Money::MAX.0))
            );
        }
    }
}
