//! Procedures of the app that clients call on their connection.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use omnistack_core::{
    http::{Error, StatusCode},
    identity::Identity,
};
use serde_json::Value;
use tokio::time::timeout;

use crate::protocol::{ErrorCode, ReplyError};

/// Longest duration of a call. The connection executes no other command meanwhile, and takes no response to a ping.
/// Clients wait five seconds as well.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

type Call = Arc<dyn Fn(Identity, Value) -> BoxFuture<'static, Result<Value, Error>> + Send + Sync>;

/// The procedures of an app, by name. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Procedures(BTreeMap<String, Call>);

impl Procedures {
    /// Adds a procedure. Returns `false` if there is one with this name.
    pub(crate) fn add<F>(&mut self, name: String, call: impl Fn(Identity, Value) -> F + Send + Sync + 'static) -> bool
    where
        F: Future<Output = Result<Value, Error>> + Send + 'static,
    {
        self.0.insert(name, Arc::new(move |caller, data| Box::pin(call(caller, data)))).is_none()
    }

    /// Calls a procedure. A client error of the app is an error whose code is the HTTP status.
    pub(crate) async fn call(&self, name: &str, caller: Identity, data: Value) -> Result<Value, ReplyError> {
        let Some(call) = self.0.get(name) else {
            let message = "the app has no procedure with this name: add it with `Realtime::procedure`";
            return Err(ErrorCode::MethodNotFound.with_message(message));
        };
        let Ok(result) = timeout(CALL_TIMEOUT, call(caller, data)).await else {
            tracing::error!(target: "omnistack::realtime", procedure = name,
                "a procedure took longer than {CALL_TIMEOUT:?} and was given up; let it enqueue a job");
            return Err(ErrorCode::Internal.into());
        };
        result.map_err(|error| {
            let status = error.status();
            if status.is_client_error() {
                let is_temporary = status == StatusCode::TOO_MANY_REQUESTS;
                return ReplyError {
                    code: status.as_u16().into(),
                    message: error.to_string(),
                    temporary: is_temporary,
                };
            }
            tracing::error!(target: "omnistack::realtime", procedure = name, ?error, "a procedure has failed");
            ErrorCode::Internal.into()
        })
    }
}

impl fmt::Debug for Procedures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use omnistack_core::{clock::Timestamp, identity::UserId};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_takes_too_long_is_given_up() {
        let mut procedures = Procedures::default();
        procedures.add("wait".to_owned(), |_, _| std::future::pending::<Result<Value, Error>>());
        let caller = Identity::user(UserId::new(Timestamp::default()));
        let error = procedures.call("wait", caller, Value::Null).await.unwrap_err();
        assert_eq!((error.code, error.temporary), (ErrorCode::Internal.number(), true));
    }
}
