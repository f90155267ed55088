//! How the OpenAPI document describes the types of fields.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ArrayBuilder, KnownFormat, ObjectBuilder, Ref, RefOr, SchemaFormat,
        schema::{Schema, Type},
    },
};

use super::{Email, Few, Flag, ImageUrl, Line, Object, Password, Text, Whole};

/// What a [`Line`] may consist of, as the inside of a class of characters.
const OF_LINES: &str = r"^\u0000-\u001F\u007F-\u009F";
/// The same of a [`Text`].
const OF_TEXTS: &str = r"^\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F";

/// Text of `min` to `max` characters, of which one at least is to be seen unless there may be none.
fn text(allowed: &str, min: usize, max: usize) -> RefOr<Schema> {
    let pattern = if min == 0 {
        format!("^[{allowed}]*$")
    } else {
        format!(r"^[{allowed}]*[{allowed}\s][{allowed}]*$")
    };
    string(min, max).pattern(Some(pattern)).into()
}

fn string(min: usize, max: usize) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(min))
        .max_length(Some(max))
}

/// Types that differ in their bounds have no name in common, so each is described where it is used.
macro_rules! inline {
    ($($name:ident<$kind:ty> => |$min:ident, $max:ident| $schema:expr;)+) => {
        $(
            impl<const $min: $kind, const $max: $kind> PartialSchema for $name<$min, $max> {
                fn schema() -> RefOr<Schema> {
                    $schema
                }
            }

            impl<const $min: $kind, const $max: $kind> ToSchema for $name<$min, $max> {}
        )+
    };
}

inline! {
    Line<usize> => |MIN, MAX| text(OF_LINES, MIN, MAX);
    Text<usize> => |MIN, MAX| text(OF_TEXTS, MIN, MAX);
    Whole<i32> => |MIN, MAX| ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(MIN))
        .maximum(Some(MAX))
        .into();
}

impl<T: ToSchema, const MIN: usize, const MAX: usize> PartialSchema for Few<T, MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new()
            .items(Ref::from_schema_name(T::name()))
            .min_items(Some(MIN))
            .max_items(Some(MAX))
            .into()
    }
}

impl<T: ToSchema, const MIN: usize, const MAX: usize> ToSchema for Few<T, MIN, MAX> {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

impl<T: ToSchema> PartialSchema for Object<T> {
    fn schema() -> RefOr<Schema> {
        T::schema()
    }
}

impl<T: ToSchema> ToSchema for Object<T> {
    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

impl PartialSchema for Email {
    fn schema() -> RefOr<Schema> {
        // Narrower than RFC 5321: what people have, and every program takes.
        const PATTERN: &str = r"^[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@([A-Za-z0-9]([A-Za-z0-9-]{0,20}[A-Za-z0-9])?\.)+[A-Za-z]{2,10}$";
        string(6, 254)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Email)))
            .pattern(Some(PATTERN))
            .into()
    }
}

impl ToSchema for Email {}

impl<const MIN: usize> PartialSchema for Password<MIN> {
    fn schema() -> RefOr<Schema> {
        string(MIN, Self::MAX)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
            .pattern(Some(r"^[^\u0000]*$"))
            .into()
    }
}

impl<const MIN: usize> ToSchema for Password<MIN> {}

impl PartialSchema for ImageUrl {
    fn schema() -> RefOr<Schema> {
        let pattern = format!(r"^(https?://|/)[{OF_LINES}]*$");
        string(1, 2000).pattern(Some(pattern)).into()
    }
}

impl ToSchema for ImageUrl {}

impl PartialSchema for Flag {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Boolean).into()
    }
}
