//! The OpenAPI description of a resource's routes.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Array, Content, HttpMethod, KnownFormat, ObjectBuilder, Paths, Ref, RefOr, Required, ResponseBuilder, Schema,
        SchemaFormat,
        path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem},
        request_body::RequestBodyBuilder,
        schema::Type,
    },
};

use super::{ColumnType, ListPage, Resource, Verb, list::MAX_FILTER_VALUES, resource::columns, search::short_name};
use crate::{
    http::{MAX_COUNTED_ROWS, MAX_PAGE_SIZE, PageRequest},
    schema::{ByName, ComposeSchema as _},
};

/// Returns the description of the route of an operation.
pub(super) fn paths<R: Resource>(verb: Verb) -> Paths {
    let operation = match verb {
        Verb::List => operation(&format!("list_{}", short_name(R::TABLE)), &format!("Lists {}.", short_name(R::TABLE)))
            .parameters(Some(list_parameters::<R>()))
            .response("200", json("A page of the list.", Ref::from_schema_name(page_name::<R>()).into()))
            .response("422", error("A parameter is unknown or of the wrong form.")),
        Verb::Create => operation(&format!("create_{}", R::NAME), &format!("Creates a {}.", R::NAME))
            .request_body(Some(body::<R::Create>()))
            .response("201", json("Created. `Location` has its URL.", reference::<R>()))
            .response("409", error("A value that must be unique is already in use."))
            .response("422", error("A field is missing or invalid.")),
        Verb::Get => item_operation::<R>("get", &format!("Gets a {}.", R::NAME))
            .response("200", json("Found.", reference::<R>())),
        Verb::Update => item_operation::<R>("update", &format!("Updates a {}. Absent fields stay unchanged.", R::NAME))
            .request_body(Some(body::<R::Update>()))
            .response("200", json("The updated state.", reference::<R>()))
            .response("409", error("A value that must be unique is already in use.")),
        Verb::Delete => {
            let kept = if R::SOFT_DELETE { "; it can be restored" } else { "" };
            item_operation::<R>("delete", &format!("Deletes a {}{kept}.", R::NAME))
                .response("204", ResponseBuilder::new().description("Deleted."))
        }
        Verb::Restore => item_operation::<R>("restore", &format!("Restores a deleted {}.", R::NAME))
            .response("200", json("The restored state.", reference::<R>()))
            .response("409", error("A value that must be unique is already in use.")),
    };
    let (path, method) = match verb {
        Verb::List => ("/", HttpMethod::Get),
        Verb::Create => ("/", HttpMethod::Post),
        Verb::Get => ("/{id}", HttpMethod::Get),
        Verb::Update => ("/{id}", HttpMethod::Patch),
        Verb::Delete => ("/{id}", HttpMethod::Delete),
        Verb::Restore => ("/{id}/restore", HttpMethod::Post),
    };
    let mut paths = Paths::new();
    paths.paths.insert(path.into(), PathItem::new(method, operation.build()));
    paths
}

/// Returns all schemas the routes refer to.
pub(super) fn schemas<R: Resource>() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = Vec::new();
    add::<R>(&mut schemas);
    add::<R::Create>(&mut schemas);
    add::<R::Update>(&mut schemas);
    schemas.push((page_name::<R>(), page_schema::<R>(Vec::new())));
    schemas
}

fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    T::schemas(schemas);
    schemas.push((T::name().into(), T::schema()));
}

fn operation(id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new().operation_id(Some(id)).summary(Some(summary.trim_end_matches('.')))
}

/// Returns the builder of an operation on one row.
fn item_operation<R: Resource>(verb: &str, summary: &str) -> OperationBuilder {
    let id = ParameterBuilder::new()
        .name("id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(format!("The {}'s id.", R::NAME)))
        .schema(Some(schema_of(ColumnType::Id)));
    operation(&format!("{verb}_{}", R::NAME), summary)
        .parameter(id)
        .response("404", error("Not found, or not visible to the caller."))
        .response("422", error("The id or a field is invalid."))
}

/// Returns the query parameters of a list.
pub(super) fn list_parameters<R: Resource>() -> Vec<Parameter> {
    let columns = columns::<R>();
    // The defaults are part of the descriptions: as schema defaults, clients would send those of cursor pages
    // together with those of numbered pages.
    let integer = |most: u32| ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(most));
    let size = PageRequest::DEFAULT_SIZE;
    let sorts: Vec<_> = columns.iter().filter(|column| column.sorts).map(|column| column.name).collect();
    let mut parameters = vec![
        query(
            "limit",
            &format!("Most items in the response; default {size}. Not with `page` or `page_size`."),
            integer(MAX_PAGE_SIZE),
        ),
        query(
            "cursor",
            "The `next_cursor` of the previous page. Not with `page` or `page_size`.",
            text().pattern(Some("^[A-Za-z0-9_-]+$")),
        ),
        query(
            "page",
            "Number of the page, counted from 1; the response has the total. Only the first 10,000 rows have pages.",
            integer(MAX_COUNTED_ROWS),
        ),
        query(
            "page_size",
            &format!("Items on a numbered page; default {size}. Not with `limit` or `cursor`."),
            integer(MAX_PAGE_SIZE),
        ),
        query(
            "sort",
            &format!("Up to three of {}, separated by commas; `-` before a name for descending.", sorts.join(", ")),
            text().pattern(Some(format!("^-?({0})(,-?({0})){{0,2}}$", sorts.join("|")))),
        ),
    ];
    if columns.iter().any(|column| column.searches) {
        parameters.push(query("q", SEARCH, text().pattern(Some(WITHOUT_NUL))));
    }
    if R::SOFT_DELETE {
        let choice = text().enum_values(Some(["exclude", "include", "only"]));
        parameters.push(query("deleted", "Whether deleted items are listed.", choice));
    }
    for column in columns.iter().filter(|column| column.filters) {
        let doc = format!("Only items with one of these values of `{}`.", column.name);
        let values = Array::builder().items(filter_schema(column.kind)).max_items(Some(MAX_FILTER_VALUES));
        parameters.push(query(column.name, &doc, values));
        if column.kind.has_order() {
            for (operator, words) in [("gte", "at least"), ("gt", "above"), ("lte", "at most"), ("lt", "below")] {
                let doc = format!("Only items with `{}` {words} this value.", column.name);
                parameters.push(query(&format!("{}_{operator}", column.name), &doc, schema_of(column.kind)));
            }
        }
    }
    parameters
}

const SEARCH: &str = "Text to search for, ignoring case. With many rows, a search for fewer than three characters is \
    slow. A search that takes more than three seconds fails with 503 `SEARCH_TIMEOUT`.";

fn query(name: &str, doc: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).required(Required::False);
    parameter.description(Some(doc)).schema(Some(schema)).build()
}

/// PostgreSQL can't store NUL, so it is refused on every database.
const WITHOUT_NUL: &str = "^[^\\x00]*$";

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// Returns the schema of one value of a filter. Commas separate several values.
fn filter_schema(kind: ColumnType) -> ObjectBuilder {
    if kind == ColumnType::Text { text().pattern(Some("^[^\\x00,]*$")) } else { schema_of(kind) }
}

fn schema_of(kind: ColumnType) -> ObjectBuilder {
    let format = |format| Some(SchemaFormat::KnownFormat(format));
    match kind {
        ColumnType::Text => text().pattern(Some(WITHOUT_NUL)),
        ColumnType::Integer => ObjectBuilder::new().schema_type(Type::Integer).format(format(KnownFormat::Int64)),
        ColumnType::Real => ObjectBuilder::new().schema_type(Type::Number).format(format(KnownFormat::Double)),
        ColumnType::Boolean => ObjectBuilder::new().schema_type(Type::Boolean),
        ColumnType::Timestamp => text().format(format(KnownFormat::DateTime)),
        ColumnType::Id => text().format(format(KnownFormat::Uuid)),
    }
}

fn reference<T: ToSchema>() -> RefOr<Schema> {
    Ref::from_schema_name(T::name()).into()
}

/// Returns the name of the schema of a [`ListPage`](super::ListPage), as utoipa composes it.
fn page_name<R: Resource>() -> String {
    format!("{}_{}", ListPage::<R>::name(), R::name())
}

/// Returns the schema of a page. `items` are the schemas of its type parameter, as utoipa passes them.
pub(super) fn page_schema<T: ToSchema>(items: Vec<RefOr<Schema>>) -> RefOr<Schema> {
    let page = ObjectBuilder::new()
        .property("items", Array::new(ByName::<T>::compose(items)))
        .required("items")
        .property("next_cursor", text().description(Some("Absent on the last page.")));
    let number = || ObjectBuilder::new().schema_type(Type::Integer);
    let more = ObjectBuilder::new().schema_type(Type::Boolean);
    page.property("page", number())
        .property("page_size", number())
        .property("total", number().description(Some("Only with `page`: the number of items, up to 10,000.")))
        .property("total_is_estimate", more.description(Some("Only with `page`: whether there are more items.")))
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

/// Returns a response without a schema. The common error schema is added to it later.
fn error(doc: &str) -> ResponseBuilder {
    ResponseBuilder::new().description(doc)
}
