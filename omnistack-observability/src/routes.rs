//! The route `/metrics`.

use axum::{extract::State, response::IntoResponse};
use http::{header, request::Parts};
use omnistack_core::{
    ExposeSecret as _, SecretString,
    http::{Error, ErrorEnvelope},
    identity::bearer_token,
    module::Api,
};
use subtle::ConstantTimeEq as _;
use utoipa_axum::routes;

use crate::{database::PoolMetrics, process::ProcessMetrics, recorder::Recorder};

/// Sources of all metrics of the process.
#[derive(Clone)]
pub(crate) struct MetricsSource {
    pub(crate) recorder: Recorder,
    pub(crate) process: ProcessMetrics,
    pub(crate) pool: PoolMetrics,
}

impl MetricsSource {
    /// Returns all metrics in the Prometheus text format, with present values of the process and the pool.
    pub(crate) fn scrape(&self) -> impl IntoResponse + use<> {
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], self.render())
    }

    /// Returns the text of [`scrape`](Self::scrape).
    pub(crate) fn render(&self) -> String {
        self.process.refresh();
        self.pool.refresh();
        self.recorder.render()
    }
}

/// State of the route.
#[derive(Clone)]
pub(crate) struct MetricsState {
    pub(crate) source: MetricsSource,
    /// The token that a request must present. `None` if the mount guards the route, or the app is in development.
    pub(crate) token: Option<SecretString>,
}

pub(crate) fn api() -> Api<MetricsState> {
    Api::new().routes(routes!(scrape))
}

/// Read metrics
///
/// All metrics of this process, in the Prometheus text format.
#[utoipa::path(get, path = "/", operation_id = "read_metrics", responses(
    (status = 200, body = String, content_type = "text/plain; version=0.0.4"),
    (status = 401, body = ErrorEnvelope),
))]
async fn scrape(State(state): State<MetricsState>, request: Parts) -> Result<impl IntoResponse, Error> {
    if let Some(token) = &state.token {
        let presented = bearer_token(&request).unwrap_or_default();
        if !bool::from(presented.as_bytes().ct_eq(token.expose_secret().as_bytes())) {
            return Err(Error::unauthorized("the metrics need `Authorization: Bearer` with the METRICS_TOKEN"));
        }
    }
    Ok(state.source.scrape())
}
