//! Schemas of generic types.

/// The trait with which `#[derive(ToSchema)]` composes the schema of a field whose type has parameters.
///
/// utoipa has no public trait for it: the derive macro calls this one, and its own output for these types would be
/// another schema. This is the only import of it, and `Cargo.toml` allows only releases 6.0 of utoipa.
pub(crate) use utoipa::__dev::ComposeSchema;

use serde_json::{Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Ref, RefOr, Schema},
};

/// Returns the JSON Schema of a type as a document of its own, with the schemas that it refers to under `$defs`.
pub(crate) fn json_schema<T: ToSchema>() -> Value {
    let mut referenced = Vec::new();
    T::schemas(&mut referenced);
    let mut document = json!(T::schema());
    if let (Some(document), false) = (document.as_object_mut(), referenced.is_empty()) {
        let definitions = referenced.into_iter().map(|(name, schema)| (name, json!(schema))).collect();
        document.insert("$defs".to_owned(), Value::Object(definitions));
    }
    point_to_definitions(&mut document);
    document
}

/// Changes references into an OpenAPI document to references into this one.
fn point_to_definitions(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get_mut("$ref")
                && let Some(name) = target.strip_prefix("#/components/schemas/")
            {
                *target = format!("#/$defs/{name}");
            }
            fields.values_mut().for_each(point_to_definitions);
        }
        Value::Array(items) => items.iter_mut().for_each(point_to_definitions),
        _ => {}
    }
}

/// The schema of `T` as a reference, where utoipa would inline it: `#[schema(inline, value_type = Vec<ByName<T>>)]`.
pub(crate) struct ByName<T>(std::marker::PhantomData<T>);

impl<T: ToSchema> ComposeSchema for ByName<T> {
    fn compose(mut whole: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        let schema = whole.pop().unwrap_or_else(<T as PartialSchema>::schema);
        let has_fields = match &schema {
            RefOr::T(Schema::Object(object)) => !object.properties.is_empty(),
            RefOr::T(_) => true,
            RefOr::Ref(_) => false,
        };
        // utoipa names a generic type after all of its parameters; that name is not known here.
        let is_generic = std::any::type_name::<T>().contains('<');
        if has_fields && !is_generic { Ref::from_schema_name(T::name()).into() } else { schema }
    }
}

impl<T: ToSchema> ToSchema for ByName<T> {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}
