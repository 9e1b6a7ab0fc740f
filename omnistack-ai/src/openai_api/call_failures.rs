//! The OpenAPI description of the responses to failed calls of models.

use std::collections::BTreeMap;

use omnistack_core::module::Api;
use utoipa::{
    IntoResponses, PartialSchema as _, ToSchema as _,
    openapi::{Content, Ref, RefOr, Response, ResponseBuilder},
};
use utoipa_axum::router::UtoipaMethodRouter;

use super::{OpenAiApi, error_form::OpenAiError};

/// The responses to a failed call of a model.
pub(super) enum CallFailures {}

impl IntoResponses for CallFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let failures = [
            ("400", "`invalid_request`: a parameter is wrong, or the model does not support it."),
            ("402", "`ai_budget_exceeded`: a budget is used up."),
            ("403", "`model_not_allowed`: the plan does not include the model."),
            ("404", "`model_not_found`: there is no such model."),
            ("410", "`model_retired`: the model has been shut down."),
            ("429", "A rate limit of the app, or of the provider if `provider` is set."),
            ("502", "The provider has failed."),
        ];
        let describe = |(status, description): (&str, &str)| {
            let content = Content::new(Some(Ref::from_schema_name(OpenAiError::name())));
            let response = ResponseBuilder::new().description(description).content("application/json", content);
            (status.to_owned(), RefOr::T(response.build()))
        };
        failures.map(describe).into()
    }
}

/// Returns the API of a route whose description has [`CallFailures`]. Adds the schemas of these responses, which the
/// macro `routes!` does not find.
pub(super) fn call_api((mut schemas, paths, router): UtoipaMethodRouter<OpenAiApi>) -> Api<OpenAiApi> {
    schemas.push((OpenAiError::name().into_owned(), OpenAiError::schema()));
    OpenAiError::schemas(&mut schemas);
    Api::new().routes((schemas, paths, router))
}
