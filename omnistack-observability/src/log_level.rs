//! The route for log levels.

use garde::Validate;
use omnistack_core::{
    config::SettingValue as _,
    http::{Error, ErrorEnvelope, FieldError, Json},
    log::{self, LogLevel},
    module::Api,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

/// The log levels of a process.
#[derive(Debug, Serialize, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct LogLevelBody {
    /// A level, or levels by target: `off`, `error`, `warn`, `info`, `debug` or `trace`, as in
    /// `info,omnistack::db=debug`.
    #[garde(length(chars, max = 1000))]
    #[schema(example = "info,omnistack::db=debug", max_length = 1000)]
    level: String,
}

pub(crate) fn api() -> Api<()> {
    Api::new().routes(routes!(read, change))
}

/// Read the log levels
///
/// The log levels of the process that responds.
#[utoipa::path(get, path = "/", operation_id = "read_log_level", responses(
    (status = 200, body = LogLevelBody),
    (status = 409, body = ErrorEnvelope),
))]
async fn read() -> Result<Json<LogLevelBody>, Error> {
    let level = log::level().ok_or_else(own_subscriber)?;
    Ok(Json(LogLevelBody { level: level.to_string() }))
}

/// Change the log levels
///
/// Changes the log levels of the process that responds, until it ends. The levels of other processes stay.
#[utoipa::path(put, path = "/", operation_id = "change_log_level", request_body = LogLevelBody, responses(
    (status = 200, body = LogLevelBody),
    (status = 400, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope),
    (status = 409, body = ErrorEnvelope),
))]
async fn change(Json(body): Json<LogLevelBody>) -> Result<Json<LogLevelBody>, Error> {
    let level = LogLevel::parse(&body.level).map_err(|message| Error::invalid([FieldError::new("level", message)]))?;
    if !log::set_level(level) {
        return Err(own_subscriber());
    }
    tracing::warn!(target: "omnistack::log", level = body.level, "an operator changed the log levels");
    read().await
}

fn own_subscriber() -> Error {
    Error::conflict(
        "OWN_SUBSCRIBER",
        "the program has set up its own log subscriber, whose levels can't be changed here",
    )
}
