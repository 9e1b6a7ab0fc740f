//! OpenFeature provider of the app's flags.

use std::collections::BTreeMap;

use async_trait::async_trait;
use open_feature::{
    EvaluationContext, EvaluationContextFieldValue, EvaluationError, EvaluationErrorCode, EvaluationReason,
    EvaluationResult, StructValue, Value,
    provider::{FeatureProvider, ProviderMetadata, ProviderStatus, ResolutionDetails},
};

use crate::{Evaluation, FlagReason, Flags};

/// OpenFeature provider of the app's flags.
///
/// The targeting key is the user. `sessionId`, `tenantId`, `remoteAddress`, `appName` and `environment` are
/// read from the fields with these names; all other fields are attributes. A flag resolves to a boolean, and
/// its variant's payload to a text, number or structure. If the payload has another type, or the flag has no
/// variant, resolving fails with `TYPE_MISMATCH`, so that the caller gets its default. Rules by plan match no
/// caller, because the context has no plan.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use omnistack_core::clock::Clock;
/// use omnistack_flags::{FlagDefinition, FlagSet, Flags, OpenFeatureProvider, FlagRule};
/// use open_feature::{EvaluationContext, provider::FeatureProvider as _};
///
/// let flags = Flags::fixed(FlagSet::new([FlagDefinition::new("new-ui").rule(FlagRule::users(["7"]))]), Clock::system());
/// let provider = OpenFeatureProvider::new(flags);
/// let context = EvaluationContext::default().with_targeting_key("7");
/// assert!(provider.resolve_bool_value("new-ui", &context).await.unwrap().value);
/// # }
/// ```
#[derive(Debug)]
pub struct OpenFeatureProvider {
    flags: Flags,
    metadata: ProviderMetadata,
}

impl OpenFeatureProvider {
    /// Creates a provider of these flags.
    pub fn new(flags: Flags) -> Self {
        Self { flags, metadata: ProviderMetadata::new("omnistack") }
    }

    fn evaluate(&self, key: &str, context: &EvaluationContext) -> EvaluationResult<Evaluation> {
        let attributes: BTreeMap<String, String> =
            context.custom_fields.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect();
        let own = |name: &str| attributes.get(name).map(String::as_str);
        let mut of = self.flags.context();
        of = of
            .user(context.targeting_key.as_deref().or_else(|| own("userId")))
            .session(own("sessionId"))
            .tenant(own("tenantId"))
            .address(own("remoteAddress"))
            .app(own("appName"))
            .attribute_map(&attributes);
        if let Some(environment) = own("environment") {
            of = of.environment(environment);
        }
        let evaluation = self.flags.evaluate(key, &of);
        match evaluation.reason {
            FlagReason::Unknown => Err(error(EvaluationErrorCode::FlagNotFound, format!("unknown flag `{key}`"))),
            FlagReason::Broken => {
                Err(error(EvaluationErrorCode::ParseError, format!("the flag `{key}` can't be evaluated")))
            }
            _ => Ok(evaluation),
        }
    }

    /// Returns the value of the variant's payload. Fails with `TYPE_MISMATCH` if there is none that `read`
    /// accepts.
    fn payload<T>(
        &self,
        key: &str,
        context: &EvaluationContext,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> EvaluationResult<ResolutionDetails<T>> {
        let evaluation = self.evaluate(key, context)?;
        let payload = evaluation.variant.as_ref().and_then(|variant| variant.payload.as_ref());
        match payload.and_then(|payload| read(&payload.value)) {
            Some(value) => Ok(details(value, &evaluation)),
            None => {
                let message = format!("the flag `{key}` has no value of this type for this context");
                Err(error(EvaluationErrorCode::TypeMismatch, message))
            }
        }
    }
}

fn error(code: EvaluationErrorCode, message: String) -> EvaluationError {
    EvaluationError { code, message: Some(message) }
}

fn text(value: &EvaluationContextFieldValue) -> Option<String> {
    match value {
        EvaluationContextFieldValue::Bool(value) => Some(value.to_string()),
        EvaluationContextFieldValue::Int(value) => Some(value.to_string()),
        EvaluationContextFieldValue::Float(value) => Some(value.to_string()),
        EvaluationContextFieldValue::String(value) => Some(value.clone()),
        EvaluationContextFieldValue::DateTime(value) => {
            let moment = jiff::Timestamp::from_nanosecond(value.unix_timestamp_nanos());
            moment.ok().map(|moment| moment.to_string())
        }
        EvaluationContextFieldValue::Struct(_) => None,
    }
}

fn details<T>(value: T, evaluation: &Evaluation) -> ResolutionDetails<T> {
    let reason = match evaluation.reason {
        FlagReason::On => EvaluationReason::Static,
        FlagReason::Rule | FlagReason::Override => EvaluationReason::TargetingMatch,
        FlagReason::NoRule | FlagReason::Parent => EvaluationReason::Default,
        FlagReason::Killed | FlagReason::Expired | FlagReason::Off | FlagReason::NotStarted | FlagReason::Ended => {
            EvaluationReason::Disabled
        }
        FlagReason::Unknown | FlagReason::Broken => EvaluationReason::Error,
    };
    let variant = evaluation.variant.as_ref().map(|variant| variant.name.clone());
    ResolutionDetails { value, variant, reason: Some(reason), flag_metadata: None }
}

fn value(from: serde_json::Value) -> Option<Value> {
    use serde_json::Value as J;
    Some(match from {
        J::Null => return None,
        J::Bool(value) => Value::Bool(value),
        J::Number(value) => match value.as_i64() {
            Some(value) => Value::Int(value),
            None => Value::Float(value.as_f64()?),
        },
        J::String(value) => Value::String(value),
        J::Array(values) => Value::Array(values.into_iter().filter_map(value).collect()),
        J::Object(fields) => Value::Struct(structure(fields)),
    })
}

fn structure(fields: serde_json::Map<String, serde_json::Value>) -> StructValue {
    StructValue { fields: fields.into_iter().filter_map(|(name, from)| Some((name, value(from)?))).collect() }
}

#[async_trait]
impl FeatureProvider for OpenFeatureProvider {
    fn status(&self) -> ProviderStatus {
        ProviderStatus::Ready
    }

    fn metadata(&self) -> &ProviderMetadata {
        &self.metadata
    }

    async fn resolve_bool_value(
        &self,
        key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<bool>> {
        let evaluation = self.evaluate(key, context)?;
        Ok(details(evaluation.enabled, &evaluation))
    }

    async fn resolve_int_value(
        &self,
        key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<i64>> {
        self.payload(key, context, |text| text.trim().parse().ok())
    }

    async fn resolve_float_value(
        &self,
        key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<f64>> {
        self.payload(key, context, |text| text.trim().parse().ok())
    }

    async fn resolve_string_value(
        &self,
        key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<String>> {
        self.payload(key, context, |text| Some(text.to_owned()))
    }

    async fn resolve_struct_value(
        &self,
        key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<StructValue>> {
        self.payload(key, context, |text| match serde_json::from_str(text) {
            Ok(serde_json::Value::Object(fields)) => Some(structure(fields)),
            _ => None,
        })
    }
}
