//! `GET /v1/models`.

use std::collections::BTreeMap;

use axum::{extract::State, routing::get};
use omnistack_core::{
    http::{Error, Json, Path, StatusCode},
    module::Api,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{OpenAiApi, error_form::OpenAiError};
use crate::{
    catalog::{ModelInfo, Resolved},
    gateway::AiGateway,
};

pub(super) fn api() -> Api<OpenAiApi> {
    // Some names of models have a slash, which some clients do not encode.
    Api::new()
        .routes(routes!(list_openai_models))
        .routes(routes!(get_openai_model))
        .hidden("/{owner}/{model}", get(get_with_owner))
}

/// The models in OpenAI's form.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiModels)]
struct ModelList {
    /// Always `list`.
    object: &'static str,
    /// The models.
    data: Vec<ModelItem>,
}

/// A model in OpenAI's form.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiModel)]
struct ModelItem {
    /// The name.
    id: String,
    /// Always `model`.
    object: &'static str,
    /// Always 0: the time of creation is not known.
    created: i64,
    /// The provider, or `app` for an alias.
    owned_by: String,
    /// The day on which the provider shuts the model down; `null` if it is not known.
    #[schema(required)]
    shutdown_date: Option<String>,
}

impl From<&ModelInfo> for ModelItem {
    fn from(info: &ModelInfo) -> Self {
        Self {
            id: info.id.clone(),
            object: "model",
            created: 0,
            owned_by: info.provider.clone(),
            shutdown_date: info.retires_on.map(|day| day.to_string()),
        }
    }
}

/// Returns whether the app has an account at the provider of a model.
pub(crate) fn is_available(gateway: &AiGateway, info: &ModelInfo) -> bool {
    gateway.providers().iter().any(|provider| provider.name() == &*info.provider)
}

/// List the models
///
/// Those of the providers at which the app has an account. Needs an API key with `ai:read`.
#[utoipa::path(get, path = "/", operation_id = "list_openai_models", responses((status = 200, body = ModelList)))]
async fn list_openai_models(State(api): State<OpenAiApi>) -> Json<ModelList> {
    let models = api.gateway.catalog().models().iter().filter(|info| is_available(&api.gateway, info));
    // Two providers can have a model of the same name.
    let by_name: BTreeMap<String, ModelItem> = models.map(|info| (info.id.clone(), info.into())).collect();
    Json(ModelList { object: "list", data: by_name.into_values().collect() })
}

/// Get a model
///
/// Needs an API key with `ai:read`.
#[utoipa::path(get, path = "/{model}", operation_id = "get_openai_model",
    params(("model" = String, Path, description = "The name of the model, or an alias.")), responses(
    (status = 200, body = ModelItem),
    (status = 404, body = OpenAiError, description = "`model_not_found`: there is no such model."),
))]
async fn get_openai_model(State(api): State<OpenAiApi>, Path(model): Path<String>) -> Result<Json<ModelItem>, Error> {
    find(&api, model)
}

async fn get_with_owner(
    State(api): State<OpenAiApi>,
    Path((owner, model)): Path<(String, String)>,
) -> Result<Json<ModelItem>, Error> {
    find(&api, format!("{owner}/{model}"))
}

fn find(api: &OpenAiApi, name: String) -> Result<Json<ModelItem>, Error> {
    let catalog = api.gateway.catalog();
    let found = catalog.by_name(&name).find(|info| is_available(&api.gateway, info)).map(ModelItem::from);
    if let Some(model) = found {
        return Ok(Json(model));
    }
    if let Resolved::Alias(_) = catalog.resolve(&name, api.clock.now()) {
        let owned_by = "app".to_owned();
        return Ok(Json(ModelItem { id: name, object: "model", created: 0, owned_by, shutdown_date: None }));
    }
    let message = "there is no such model; `GET /v1/models` lists the models";
    Err(Error::new(StatusCode::NOT_FOUND, "MODEL_NOT_FOUND", message).with_detail("param", "model"))
}
