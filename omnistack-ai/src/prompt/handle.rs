//! The prompts of the app, for the app's code.

use std::{fmt, sync::Arc};

use omnistack_core::{
    audit::AuditLog,
    clock::Clock,
    db::{Db, Tx},
    flag_variant::{FlagSubject, FlagVariants},
    http::{Error, FieldError},
    identity::{Entitlements, Plan, TenantId},
};
use serde_json::{Map, Value};

use super::{
    choice::choose,
    model::{PRODUCTION, PromptAccess, PromptContent, PromptLabel, PromptSelection, PromptSummary},
    store, template,
    usage::{override_reference, version_reference},
};
use crate::chat::{ChatRequest, OutputFormat};

/// The prompts of the app: templates of requests, with versions and labels, that change without a release. Cheap to
/// clone; the module provides it.
///
/// Operators create prompts and versions by the admin routes. The label `production` says which version is used; a
/// label can also stand for several versions, of which each tenant gets one by its weight or by the variant of a feature
/// flag. A tenant's override takes the place of the versions if the prompt allows it.
///
/// ```
/// use omnistack_ai::{PromptSelection, Prompts};
/// use omnistack_core::{http::Error, identity::TenantId};
/// use serde_json::{Map, json};
///
/// async fn welcome(prompts: &Prompts, tenant: TenantId, name: &str) -> Result<(), Error> {
///     let variables = Map::from_iter([("name".to_owned(), json!(name))]);
///     let rendered = prompts.render(tenant, "welcome", &PromptSelection::Production, None, &variables).await?;
///     // … pass `rendered.request` to the gateway, with `rendered.reference` as the option `prompt` …
///     # let _ = rendered;
///     Ok(())
/// }
/// # let _ = welcome;
/// ```
#[derive(Clone)]
pub struct Prompts(pub(super) Arc<PromptsInner>);

pub(super) struct PromptsInner {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) log: AuditLog,
    pub(super) flags: FlagVariants,
    pub(super) entitlements: Entitlements,
    /// The model of prompts that name none.
    pub(super) default_model: String,
}

/// A prompt with its variables filled in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RenderedPrompt {
    /// The request.
    pub request: ChatRequest,
    /// The name under which the usage of the version is counted, such as `welcome@3`: the option `prompt` of the call.
    pub reference: String,
    /// The version. `None` for a tenant's override.
    pub version: Option<i64>,
}

impl Prompts {
    pub(super) fn new(inner: PromptsInner) -> Self {
        Self(Arc::new(inner))
    }

    /// Renders a prompt for a tenant. If a label stands for several versions, the variant that its feature flag gives to
    /// the tenant decides; without one, equal keys get the same version. Without a key, the tenant is the key.
    ///
    /// # Errors
    /// 404 if the prompt, the label or the version does not exist; 422 if a variable is missing or not one of the
    /// prompt, or if the rendering is too large; the errors of the database.
    pub async fn render(
        &self,
        tenant: TenantId,
        name: &str,
        selection: &PromptSelection,
        key: Option<&str>,
        variables: &Map<String, Value>,
    ) -> Result<RenderedPrompt, Error> {
        let (_, found) = self.find(tenant, name, selection, key).await?;
        self.render_content(found, variables)
    }

    /// Like [`render`](Self::render), for a request of a member of the tenant: a prompt that only the app's code uses
    /// does not exist for it.
    pub(crate) async fn render_shared(
        &self,
        tenant: TenantId,
        name: &str,
        selection: &PromptSelection,
        variables: &Map<String, Value>,
    ) -> Result<RenderedPrompt, Error> {
        let (prompt, found) = self.find(tenant, name, selection, None).await?;
        if prompt.access == PromptAccess::Internal {
            return Err(no_prompt());
        }
        self.render_content(found, variables)
    }

    /// Returns the content of the app's version that a tenant gets without an override. Fails with 404 if there is none.
    pub(super) async fn original(&self, tenant: TenantId, name: &str) -> Result<PromptContent, Error> {
        let plan = self.0.entitlements.plan(tenant).await?;
        let mut tx = self.0.db.begin_read().await?;
        let content = self.labelled(&mut tx, (tenant, &*plan), name, PRODUCTION, None).await?;
        tx.commit().await?;
        Ok(content.content)
    }

    /// Renders a content that is not stored.
    pub(super) fn render_unsaved(
        &self,
        name: &str,
        content: PromptContent,
        variables: &Map<String, Value>,
    ) -> Result<RenderedPrompt, Error> {
        check(&content)?;
        let reference = version_reference(name, 0);
        self.render_content(SelectedContent { content, reference, version: None, is_override: false }, variables)
    }

    async fn find(
        &self,
        tenant: TenantId,
        name: &str,
        selection: &PromptSelection,
        key: Option<&str>,
    ) -> Result<(PromptSummary, SelectedContent), Error> {
        let plan = self.0.entitlements.plan(tenant).await?;
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let prompt = store::get(&mut tx, name).await?.ok_or_else(no_prompt)?;
        if prompt.access == PromptAccess::Overridable
            && !matches!(selection, PromptSelection::Version(_))
            && let Some(own) = store::tenant_override(&mut tx, tenant, name).await?
        {
            tx.commit().await?;
            let reference = override_reference(name, own.revision);
            let found = SelectedContent { content: own.content, reference, version: None, is_override: true };
            return Ok((prompt, found));
        }
        let subject = (tenant, &*plan);
        let found = match selection {
            PromptSelection::Production => self.labelled(&mut tx, subject, name, PRODUCTION, key).await?,
            PromptSelection::Label(label) => self.labelled(&mut tx, subject, name, label, key).await?,
            PromptSelection::Version(version) => stored(&mut tx, name, *version).await?,
        };
        tx.commit().await?;
        Ok((prompt, found))
    }

    /// Returns the version that a label stands for.
    async fn labelled(
        &self,
        tx: &mut Tx,
        (tenant, plan): (TenantId, &Plan),
        name: &str,
        label: &str,
        key: Option<&str>,
    ) -> Result<SelectedContent, Error> {
        let PromptLabel { versions, flag, .. } = store::label(tx, name, label).await?.ok_or_else(no_label)?;
        let subject = FlagSubject { tenant, user: None, plan };
        let variant = flag.and_then(|flag| self.0.flags.variant(&flag, subject));
        let by_flag = versions.iter().find(|version| variant.is_some() && version.variant == variant);
        let version = match by_flag {
            Some(version) => Some(version.version),
            None => choose(name, label, &versions, key.unwrap_or(&tenant.to_string())),
        };
        stored(tx, name, version.ok_or_else(no_label)?).await
    }

    fn render_content(&self, found: SelectedContent, variables: &Map<String, Value>) -> Result<RenderedPrompt, Error> {
        let SelectedContent { content, reference, version, is_override } = found;
        let messages = if is_override {
            // A newer version can have more variables than the override that takes its place.
            let declared = |name: &str| content.variables.iter().any(|variable| variable.name == name);
            let known = variables.iter().filter(|(name, _)| declared(name.as_str()));
            let known: Map<String, Value> = known.map(|(name, value)| (name.clone(), value.clone())).collect();
            template::render(&content, &known)
        } else {
            template::render(&content, variables)
        };
        let messages = messages.map_err(Error::invalid)?;
        let model = content.model.unwrap_or_else(|| self.0.default_model.clone());
        let mut request = ChatRequest::new(model, messages);
        request.max_output_tokens = content.max_output_tokens;
        request.temperature = content.temperature;
        if let Some(schema) = content.output_schema {
            request.output = OutputFormat::JsonSchema { name: "answer".to_owned(), schema, strict: true };
        }
        Ok(RenderedPrompt { request, reference, version })
    }
}

/// The content to render, and the name of its usage.
struct SelectedContent {
    content: PromptContent,
    reference: String,
    version: Option<i64>,
    /// Whether it is a tenant's own.
    is_override: bool,
}

/// Returns a version.
async fn stored(tx: &mut Tx, name: &str, version: i64) -> Result<SelectedContent, Error> {
    let details = store::version(tx, name, version).await?.ok_or_else(no_version)?;
    let reference = version_reference(name, version);
    Ok(SelectedContent { content: details.content, reference, version: Some(version), is_override: false })
}

/// Fails with 422 if a content can't be rendered.
pub(super) fn check(content: &PromptContent) -> Result<(), Error> {
    let problems: Vec<FieldError> = template::problems(content);
    if problems.is_empty() { Ok(()) } else { Err(Error::invalid(problems)) }
}

pub(super) fn no_prompt() -> Error {
    Error::not_found("the prompt")
}

pub(super) fn no_label() -> Error {
    Error::not_found("the label of the prompt")
}

pub(super) fn no_version() -> Error {
    Error::not_found("the version of the prompt")
}

impl fmt::Debug for Prompts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prompts")
    }
}
