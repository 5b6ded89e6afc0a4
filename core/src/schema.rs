//! How values that travel as text describe themselves in the APIs' schemas.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, Type};

/// A text that matches this regular expression.
pub(crate) fn text(description: &str, pattern: &str) -> RefOr<Schema> {
    builder(description).pattern(Some(pattern)).into()
}

/// One of these texts.
pub(crate) fn one_of(description: &str, texts: impl Iterator<Item = &'static str>) -> RefOr<Schema> {
    Schema::Object(Object::from(builder(description).enum_values(Some(texts)))).into()
}

fn builder(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}
