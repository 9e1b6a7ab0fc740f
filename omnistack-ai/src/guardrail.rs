//! Guardrails: checks of what is sent to models, and of what they answer.
//!
//! A [`Guardrail`] sees the request before a budget is reserved and before any provider is asked, and may change it. It
//! sees the answer before the caller does, if it [says so](Guardrail::checks_output).

mod classifier;
mod pii;
mod size;

pub use classifier::{ContentModeration, PromptInjectionCheck, TextClassifier};
pub use pii::PiiRedactor;
pub(crate) use size::{RequestSize, SizeLimits};

use std::{
    borrow::Cow,
    fmt::{self, Debug},
};

use async_trait::async_trait;
use omnistack_core::{
    BoxError,
    http::{self, StatusCode},
};

use crate::{
    call::AiCaller,
    chat::{ChatRequest, ChatResponse, Message, Part, Role},
};

/// A check of requests and answers.
///
/// ```
/// use omnistack_ai::{AiCaller, ChatRequest, Guardrail, Refusal};
/// use omnistack_core::async_trait;
///
/// /// Refuses requests that name the project.
/// #[derive(Debug)]
/// struct NoSecrets;
///
/// #[async_trait]
/// impl Guardrail for NoSecrets {
///     fn name(&self) -> &'static str {
///         "no_secrets"
///     }
///
///     async fn check_input(&self, _: &AiCaller, request: &mut ChatRequest) -> Result<(), Refusal> {
///         let leaks = request.messages.iter().any(|message| message.to_text().contains("Project X"));
///         if leaks { Err(Refusal::new("it names a secret project")) } else { Ok(()) }
///     }
/// }
/// ```
#[async_trait]
pub trait Guardrail: Debug + Send + Sync + 'static {
    /// Returns the name, such as `moderation`. It is in the error of a refusal and in metrics.
    fn name(&self) -> &'static str;

    /// Checks a request, and may change it. The default accepts it.
    ///
    /// # Errors
    /// The reason for which the request is refused.
    async fn check_input(&self, caller: &AiCaller, request: &mut ChatRequest) -> Result<(), Refusal> {
        let _ = (caller, request);
        Ok(())
    }

    /// Returns whether answers are checked. A streamed answer is then held back until it is complete.
    fn checks_output(&self) -> bool {
        false
    }

    /// Checks an answer, and may change it. The default accepts it.
    ///
    /// # Errors
    /// The reason for which the answer is refused. Its tokens are paid.
    async fn check_output(&self, caller: &AiCaller, response: &mut ChatResponse) -> Result<(), Refusal> {
        let _ = (caller, response);
        Ok(())
    }
}

/// The reason for which a guardrail refuses a request or an answer.
pub struct Refusal {
    reason: Cow<'static, str>,
    /// The failure of the check itself.
    source: Option<BoxError>,
}

impl Refusal {
    /// Creates a refusal. The reason is read after "the content is refused:", and must not quote the content.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), source: None }
    }

    /// Creates the refusal of content that can't be checked now.
    pub fn unavailable(source: impl Into<BoxError>) -> Self {
        Self { reason: Cow::Borrowed("it can't be checked now"), source: Some(source.into()) }
    }

    /// Returns the error for the caller: 422 `CONTENT_REFUSED`, or 503 `GUARDRAIL_UNAVAILABLE` if the content can't be
    /// checked.
    pub(crate) fn into_error(self, guardrail: &'static str) -> http::Error {
        let Self { reason, source } = self;
        let error = match source {
            None => {
                let message = format!("the content is refused: {reason}");
                http::Error::new(StatusCode::UNPROCESSABLE_ENTITY, "CONTENT_REFUSED", message)
                    .with_detail("reason", reason)
            }
            Some(source) => {
                let message = "the content can't be checked now; try again";
                http::Error::unavailable("GUARDRAIL_UNAVAILABLE", message).with_source(source)
            }
        };
        error.with_detail("guardrail", guardrail)
    }
}

impl Debug for Refusal {
    /// Leaves the source out, which may quote the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal").field("reason", &self.reason).finish_non_exhaustive()
    }
}

/// Returns the texts of the latest turn, which no earlier call has checked: of the messages of these roles after the
/// last answer of the model. An answer at the end of the conversation, which the model shall continue, is none.
pub(crate) fn latest_texts<'a>(request: &'a ChatRequest, roles: &'a [Role]) -> impl Iterator<Item = &'a str> {
    let is_answer = |message: &Message| message.role == Role::Assistant;
    let end = request.messages.iter().rposition(|message| !is_answer(message)).map_or(0, |position| position + 1);
    let last_answer = request.messages[..end].iter().rposition(is_answer);
    let latest = request.messages[..end].iter().skip(last_answer.map_or(0, |position| position + 1));
    latest.filter(move |message| roles.contains(&message.role)).flat_map(texts)
}

fn texts(message: &Message) -> impl Iterator<Item = &str> {
    message.parts.iter().flat_map(|part| {
        let inner: &[Part] = match part {
            Part::ToolResult(result) => &result.parts,
            other => std::slice::from_ref(other),
        };
        inner.iter().filter_map(|part| match part {
            Part::Text { text, .. } => Some(text.as_str()),
            _ => None,
        })
    })
}
