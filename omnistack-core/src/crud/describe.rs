//! The OpenAPI description of a resource's routes.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Array, Content, HttpMethod, KnownFormat, ObjectBuilder, Paths, Ref, RefOr, Required, ResponseBuilder, Schema,
        SchemaFormat,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem},
        request_body::RequestBodyBuilder,
        schema::Type,
    },
};

use super::{Kind, Resource, list::MAX_FILTER_VALUES, resource::columns};
use crate::http::{MAX_PAGE_SIZE, PageRequest};

pub(super) fn collection<R: Resource>() -> Paths {
    let list = operation(&format!("list_{}", R::TABLE), &format!("Lists {}.", R::TABLE))
        .parameters(Some(list_parameters::<R>()))
        .response("200", json("A page of the list.", Ref::from_schema_name(page_name::<R>()).into()))
        .response("422", error("A parameter is unknown or of the wrong form."));
    let create = operation(&format!("create_{}", R::NAME), &format!("Creates a {}.", R::NAME))
        .request_body(Some(body::<R::Create>()))
        .response("201", json("It was created; `Location` is its address.", reference::<R>()))
        .response("409", error("A value that must be unique is taken."))
        .response("422", error("A field is missing or not acceptable."));
    path("/", [(HttpMethod::Get, list.build()), (HttpMethod::Post, create.build())])
}

pub(super) fn item<R: Resource>() -> Paths {
    let get = one::<R>("get", &format!("Gets a {}.", R::NAME)).response("200", json("It.", reference::<R>()));
    let update = one::<R>("update", &format!("Changes a {}: absent fields stay as they are.", R::NAME))
        .request_body(Some(body::<R::Update>()))
        .response("200", json("As it is now.", reference::<R>()))
        .response("409", error("A value that must be unique is taken."));
    let kept = if R::SOFT_DELETE { "; it can be restored" } else { "" };
    let delete = one::<R>("delete", &format!("Deletes a {}{kept}.", R::NAME))
        .response("204", ResponseBuilder::new().description("It is deleted."));
    let operations = [(HttpMethod::Get, get), (HttpMethod::Patch, update), (HttpMethod::Delete, delete)];
    path("/{id}", operations.map(|(method, operation)| (method, operation.build())))
}

pub(super) fn restore<R: Resource>() -> Paths {
    let restore = one::<R>("restore", &format!("Restores a deleted {}.", R::NAME))
        .response("200", json("As it is now.", reference::<R>()));
    path("/{id}/restore", [(HttpMethod::Post, restore.build())])
}

/// Every schema the routes refer to.
pub(super) fn schemas<R: Resource>() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = Vec::new();
    add::<R>(&mut schemas);
    add::<R::Create>(&mut schemas);
    add::<R::Update>(&mut schemas);
    schemas.push((page_name::<R>(), page_schema::<R>()));
    schemas
}

fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    T::schemas(schemas);
    schemas.push((T::name().into(), T::schema()));
}

fn path(path: &str, operations: impl IntoIterator<Item = (HttpMethod, Operation)>) -> Paths {
    let mut item = PathItem::default();
    for (method, operation) in operations {
        item.merge_operations(PathItem::new(method, operation));
    }
    let mut paths = Paths::new();
    paths.paths.insert(path.into(), item);
    paths
}

fn operation(id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new().operation_id(Some(id)).summary(Some(summary.trim_end_matches('.')))
}

/// An operation on one row.
fn one<R: Resource>(verb: &str, summary: &str) -> OperationBuilder {
    let id = ParameterBuilder::new()
        .name("id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(format!("The {}'s id.", R::NAME)))
        .schema(Some(of_kind(Kind::Id)));
    operation(&format!("{verb}_{}", R::NAME), summary)
        .parameter(id)
        .response("404", error("There is none with this id, or it is not the caller's."))
        .response("422", error("The id or a field is not acceptable."))
}

fn list_parameters<R: Resource>() -> Vec<Parameter> {
    let columns = columns::<R>();
    // Defaults are told in words: those of a page by cursor can't be sent with those of a page by number.
    let integer = |most: u32| ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(most));
    let size = PageRequest::DEFAULT_SIZE;
    let sorts: Vec<_> = columns.iter().filter(|column| column.sorts).map(|column| column.name).collect();
    let mut parameters = vec![
        query(
            "limit",
            &format!("Items in the answer at most; {size} unless said. Not with `page` or `page_size`."),
            integer(MAX_PAGE_SIZE),
        ),
        query(
            "cursor",
            "`next_cursor` of the page before. Not with `page` or `page_size`.",
            text().pattern(Some("^[A-Za-z0-9_-]+$")),
        ),
        query("page", "Number of the page, counted from 1; answers with the total.", integer(1_000_000)),
        query(
            "page_size",
            &format!("Items a page, of pages by number; {size} unless said. Not with `limit` or `cursor`."),
            integer(MAX_PAGE_SIZE),
        ),
        query(
            "sort",
            &format!("Up to three of {}, separated by commas; `-` for descending.", sorts.join(", ")),
            text().pattern(Some(format!("^-?({0})(,-?({0})){{0,2}}$", sorts.join("|")))),
        ),
    ];
    if columns.iter().any(|column| column.searches) {
        parameters.push(query("q", "Words to look for.", text().pattern(Some(WITHOUT_NUL))));
    }
    if R::SOFT_DELETE {
        let choice = text().enum_values(Some(["exclude", "include", "only"]));
        parameters.push(query("deleted", "Whether deleted ones are listed.", choice));
    }
    for column in columns.iter().filter(|column| column.filters) {
        let doc = format!("Only with this {}, or one of several.", column.name);
        let values = Array::builder().items(of_filter(column.kind)).max_items(Some(MAX_FILTER_VALUES));
        parameters.push(query(column.name, &doc, values));
        if column.kind.has_order() {
            for (operator, words) in [("gte", "at least"), ("gt", "above"), ("lte", "at most"), ("lt", "below")] {
                let doc = format!("Only with {} {words} this.", column.name);
                parameters.push(query(&format!("{}_{operator}", column.name), &doc, of_kind(column.kind)));
            }
        }
    }
    parameters
}

fn query(name: &str, doc: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).required(Required::False);
    parameter.description(Some(doc)).schema(Some(schema)).build()
}

/// PostgreSQL can't store NUL, so it is refused everywhere.
const WITHOUT_NUL: &str = "^[^\\x00]*$";

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// One of several values, which commas may separate.
fn of_filter(kind: Kind) -> ObjectBuilder {
    if kind == Kind::Text { text().pattern(Some("^[^\\x00,]*$")) } else { of_kind(kind) }
}

fn of_kind(kind: Kind) -> ObjectBuilder {
    let format = |format| Some(SchemaFormat::KnownFormat(format));
    match kind {
        Kind::Text => text().pattern(Some(WITHOUT_NUL)),
        Kind::Integer => ObjectBuilder::new().schema_type(Type::Integer).format(format(KnownFormat::Int64)),
        Kind::Real => ObjectBuilder::new().schema_type(Type::Number).format(format(KnownFormat::Double)),
        Kind::Boolean => ObjectBuilder::new().schema_type(Type::Boolean),
        Kind::Timestamp => text().format(format(KnownFormat::DateTime)),
        Kind::Id => text().format(format(KnownFormat::Uuid)),
    }
}

fn reference<T: ToSchema>() -> RefOr<Schema> {
    Ref::from_schema_name(T::name()).into()
}

/// As the schema of a [`Page`](crate::http::Page) is called.
fn page_name<R: Resource>() -> String {
    format!("Page_{}", R::name())
}

fn page_schema<R: Resource>() -> RefOr<Schema> {
    let page = ObjectBuilder::new()
        .property("items", Array::new(reference::<R>()))
        .required("items")
        .property("next_cursor", text().description(Some("Absent on the last page.")));
    let number = || ObjectBuilder::new().schema_type(Type::Integer);
    page.property("page", number())
        .property("page_size", number())
        .property("total", number().description(Some("Only with `page`.")))
        .into()
}

fn body<T: PartialSchema + ToSchema>() -> utoipa::openapi::request_body::RequestBody {
    RequestBodyBuilder::new()
        .required(Some(Required::True))
        .content("application/json", Content::new(Some(reference::<T>())))
        .build()
}

fn json(doc: &str, schema: RefOr<Schema>) -> ResponseBuilder {
    ResponseBuilder::new().description(doc).content("application/json", Content::new(Some(schema)))
}

/// The schema of every error is added to what has none.
fn error(doc: &str) -> ResponseBuilder {
    ResponseBuilder::new().description(doc)
}
