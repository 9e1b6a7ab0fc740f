//! The types of events that tenants can receive by webhook.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::schema::json_schema;

/// A type of event that tenants can receive by webhook, with its data.
///
/// ```
/// use omnistack_core::webhook::WebhookEvent;
/// use serde::Serialize;
/// use utoipa::ToSchema;
///
/// /// A project was created.
/// #[derive(Serialize, ToSchema)]
/// struct ProjectCreated { id: String, name: String }
///
/// impl WebhookEvent for ProjectCreated {
///     const TYPE: &'static str = "project.created";
///     const DESCRIPTION: &'static str = "A member of the team created a project.";
///
///     fn example() -> Self {
///         Self { id: "0197".to_owned(), name: "Website".to_owned() }
///     }
/// }
/// ```
pub trait WebhookEvent: Serialize + ToSchema + Send + Sync + 'static {
    /// The type, in lower case with dots, such as `project.created`. It is part of the app's API.
    const TYPE: &'static str;
    /// Describes when the event occurs, in a sentence.
    const DESCRIPTION: &'static str;
    /// The version of the data. Increase it when a receiver of the previous version would fail.
    const VERSION: u32 = 1;

    /// Returns an example of the data, for the catalogue and for tests of an endpoint.
    fn example() -> Self;
}

/// A type of event in the catalogue.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[non_exhaustive]
pub struct WebhookEventType {
    /// The type, such as `project.created`.
    pub r#type: &'static str,
    /// When the event occurs.
    pub description: &'static str,
    /// The version of the data.
    pub version: u32,
    /// The JSON Schema of the data.
    #[schema(value_type = Object)]
    pub schema: Value,
    /// An example of the data.
    #[schema(value_type = Object)]
    pub example: Value,
}

/// The types of events that modules offer to tenants. It is in the [`Context`](crate::module::Context) of every app.
/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WebhookCatalogue(Arc<Mutex<Vec<WebhookEventType>>>);

impl WebhookCatalogue {
    /// Returns the types, sorted by name.
    pub fn types(&self) -> Vec<WebhookEventType> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a type by its name.
    pub fn get(&self, name: &str) -> Option<WebhookEventType> {
        self.types().into_iter().find(|known| known.r#type == name)
    }

    /// Adds a type. Returns `false` if there is one of this name.
    pub(crate) fn add<E: WebhookEvent>(&self) -> bool {
        let mut types = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Err(index) = types.binary_search_by(|known| known.r#type.cmp(E::TYPE)) else { return false };
        let added = WebhookEventType {
            r#type: E::TYPE,
            description: E::DESCRIPTION,
            version: E::VERSION,
            schema: json_schema::<E>(),
            example: serde_json::to_value(E::example()).unwrap_or_default(),
        };
        types.insert(index, added);
        true
    }
}
