//! A check that the OpenAPI document describes each error that a test provokes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use axum::{
    body::{Body, to_bytes},
    extract::{MatchedPath, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use omnistack_core::{
    app::App,
    module::{Module, Registry, Slot},
};
use serde_json::Value;

/// Errors that any handler can return because of its extractors, a caller without a tenant or a defect. They have no
/// description of their own.
const UNDESCRIBED: [&str; 5] =
    ["INTERNAL_ERROR", "INCOMPLETE_BODY", "MALFORMED_JSON", "MALFORMED_URL", "TENANT_REQUIRED"];

/// An error of a handler: the method and the route pattern, the status and the error code.
type HandlerError = (String, String, u16, String);

/// A module that records the errors of all handlers.
#[derive(Clone, Default)]
pub(crate) struct ErrorRecorder(Arc<Mutex<BTreeSet<HandlerError>>>);

impl Module for ErrorRecorder {
    fn name(&self) -> &'static str {
        "error-recorder"
    }

    fn register(&self, registry: &mut Registry) {
        let recorder = self.clone();
        registry.layer(Slot::Route, move |_| Ok(from_fn_with_state(recorder, record)));
    }
}

async fn record(State(recorder): State<ErrorRecorder>, path: MatchedPath, request: Request, next: Next) -> Response {
    let method = request.method().as_str().to_lowercase();
    let (parts, body) = next.run(request).await.into_parts();
    if !parts.status.is_client_error() && !parts.status.is_server_error() {
        return Response::from_parts(parts, body);
    }
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    let error: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if let Some(code) = error["error"]["code"].as_str() {
        let error = (method, path.as_str().to_owned(), parts.status.as_u16(), code.to_owned());
        recorder.0.lock().unwrap().insert(error);
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// Fails the test when it is dropped, if the OpenAPI document does not describe a recorded error.
pub(crate) struct DocumentedErrors {
    recorder: ErrorRecorder,
    document: Value,
}

impl DocumentedErrors {
    pub(crate) fn new(recorder: ErrorRecorder, app: &App) -> Self {
        Self { recorder, document: serde_json::from_slice(app.openapi()).unwrap() }
    }

    fn describes(&self, (method, path, status, code): &HandlerError) -> bool {
        let description = &self.document["paths"][path][method]["responses"][status.to_string()]["description"];
        description.as_str().is_some_and(|text| text.contains(&format!("`{code}`")))
    }
}

impl Drop for DocumentedErrors {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let errors = self.recorder.0.lock().unwrap();
        let missing: Vec<_> =
            errors.iter().filter(|error| !UNDESCRIBED.contains(&error.3.as_str()) && !self.describes(error)).collect();
        assert!(missing.is_empty(), "the OpenAPI document does not describe {missing:#?}");
    }
}
