//! Parts of the OpenAPI document: schemas, and what belongs to no route.

use utoipa::openapi::{RefOr, Schema, path::Parameter, security::SecurityScheme};

use super::Registry;
use crate::webhook_event::WebhookEvent;

impl Registry {
    /// Describes a method by which callers authenticate, besides `Authorization: Bearer`: a header or a cookie.
    pub fn security_scheme(&mut self, name: &'static str, scheme: SecurityScheme) -> &mut Self {
        self.description.add_security_scheme(name, scheme);
        self
    }

    /// Describes a type of event that the app sends to receivers of webhooks.
    pub(crate) fn describe_webhook<E: WebhookEvent>(&mut self) -> &mut Self {
        let mut schemas = vec![(E::name().into_owned(), E::schema())];
        E::schemas(&mut schemas);
        self.add_schemas(schemas);
        self.description.add_webhook::<E>();
        self
    }

    /// Adds schemas to the OpenAPI document.
    pub(super) fn add_schemas(&mut self, schemas: Vec<(String, RefOr<Schema>)>) {
        for (name, other) in self.description.add_schemas(self.module, schemas) {
            let what =
                format!("has a schema named `{name}`, which differs from the schema of that name of module `{other}`");
            self.report_problem(what, "give one of them another name: `#[schema(as = …)]`");
        }
    }

    /// Describes a header or a query parameter that every route of signed-in callers reads.
    pub fn caller_parameter(&mut self, name: &'static str, parameter: Parameter) -> &mut Self {
        self.description.add_parameter(name, parameter);
        self
    }
}
