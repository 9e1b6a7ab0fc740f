//! Guardrails that ask a classifier of the app: moderation, and detection of prompt injection.

use std::fmt::Debug;

use async_trait::async_trait;
use omnistack_core::BoxError;

use super::{Guardrail, Refusal, latest_texts};
use crate::{
    call::AiCaller,
    chat::{ChatRequest, ChatResponse, Role},
};

/// A classifier of texts, such as a moderation API or a local model.
#[async_trait]
pub trait TextClassifier: Debug + Send + Sync + 'static {
    /// Returns the reason for which a text must not pass, such as `violence`, or `None` if it may.
    ///
    /// # Errors
    /// The text can't be classified. The call is then refused with 503 `GUARDRAIL_UNAVAILABLE`.
    async fn classify(&self, caller: &AiCaller, text: &str) -> Result<Option<String>, BoxError>;
}

/// The guardrail `moderation`: a classifier checks what users write, and what models answer.
#[derive(Clone, Debug)]
#[must_use]
pub struct ContentModeration<C> {
    classifier: C,
    output: bool,
}

impl<C: TextClassifier> ContentModeration<C> {
    /// Creates a guardrail that checks the input.
    pub fn new(classifier: C) -> Self {
        Self { classifier, output: false }
    }

    /// Checks answers as well. Streamed answers are then held back until they are complete.
    pub fn with_output(mut self) -> Self {
        self.output = true;
        self
    }
}

#[async_trait]
impl<C: TextClassifier> Guardrail for ContentModeration<C> {
    fn name(&self) -> &'static str {
        "moderation"
    }

    async fn check_input(&self, caller: &AiCaller, request: &mut ChatRequest) -> Result<(), Refusal> {
        check(&self.classifier, caller, latest_texts(request, &[Role::User])).await
    }

    fn checks_output(&self) -> bool {
        self.output
    }

    async fn check_output(&self, caller: &AiCaller, response: &mut ChatResponse) -> Result<(), Refusal> {
        let text = response.text();
        check(&self.classifier, caller, [text.as_str()].into_iter()).await
    }
}

/// The guardrail `prompt_injection`: a classifier looks for instructions in what users write and in what tools return.
#[derive(Clone, Debug)]
#[must_use]
pub struct PromptInjectionCheck<C> {
    classifier: C,
}

impl<C: TextClassifier> PromptInjectionCheck<C> {
    /// Creates the guardrail.
    pub fn new(classifier: C) -> Self {
        Self { classifier }
    }
}

#[async_trait]
impl<C: TextClassifier> Guardrail for PromptInjectionCheck<C> {
    fn name(&self) -> &'static str {
        "prompt_injection"
    }

    async fn check_input(&self, caller: &AiCaller, request: &mut ChatRequest) -> Result<(), Refusal> {
        check(&self.classifier, caller, latest_texts(request, &[Role::User, Role::Tool])).await
    }
}

async fn check<'a>(
    classifier: &impl TextClassifier,
    caller: &AiCaller,
    texts: impl Iterator<Item = &'a str> + Send,
) -> Result<(), Refusal> {
    for text in texts.filter(|text| !text.is_empty()) {
        match classifier.classify(caller, text).await {
            Ok(None) => {}
            Ok(Some(reason)) => return Err(Refusal::new(reason)),
            Err(error) => return Err(Refusal::unavailable(error)),
        }
    }
    Ok(())
}
