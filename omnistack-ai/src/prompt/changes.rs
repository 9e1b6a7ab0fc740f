//! Changes of prompts, each with its audit entry.

use omnistack_core::{
    audit::AuditEntry,
    db::Tx,
    http::{Error, FieldError},
    identity::{Identity, TenantId},
};
use serde_json::{Value, json};

use super::{
    handle::{Prompts, check, no_label, no_prompt, no_version},
    model::{
        PRODUCTION, PromptAccess, PromptContent, PromptDetails, PromptLabel, PromptOverride, PromptSummary,
        PromptVariable, PromptVersionDetails, PromptVersionSummary, WeightedVersion,
    },
    store,
};

/// Largest number of versions of a prompt.
pub(super) const MAX_VERSIONS_PER_PROMPT: i64 = 500;
/// Largest number of labels of a prompt.
const MAX_LABELS_PER_PROMPT: usize = 20;

impl Prompts {
    /// Creates a prompt with its first version, which the label `production` stands for.
    ///
    /// # Errors
    /// 409 `ALREADY_EXISTS` if the name is taken, 422 if the content can't be rendered.
    pub(super) async fn create(
        &self,
        caller: &Identity,
        name: String,
        description: String,
        access: PromptAccess,
        content: PromptContent,
    ) -> Result<PromptDetails, Error> {
        check(&content)?;
        let now = self.0.clock.now();
        let prompt = PromptSummary { name, description, access, last_version: 1, created_at: now, updated_at: now };
        let note = "The first version.".to_owned();
        let version = PromptVersionSummary { version: 1, note, created_by: caller.user, created_at: now };
        let versions = vec![WeightedVersion { version: 1, weight: 1, variant: None }];
        let label = PromptLabel {
            label: PRODUCTION.to_owned(),
            versions,
            previous: None,
            flag: None,
            previous_flag: None,
            updated_at: now,
        };
        let details = PromptVersionDetails { version: version.clone(), content };
        let mut tx = self.0.db.begin().await?;
        store::insert(&mut tx, &prompt).await?;
        store::insert_version(&mut tx, &prompt.name, &details).await?;
        store::put_label(&mut tx, &prompt.name, &label, caller.user).await?;
        self.record(&mut tx, "prompt.created", caller, &prompt.name, json!({ "access": access })).await?;
        tx.commit().await?;
        Ok(PromptDetails { prompt, labels: vec![label], versions: vec![version] })
    }

    /// Changes the description or the access of a prompt.
    ///
    /// # Errors
    /// 404 if there is no such prompt.
    pub(super) async fn change(
        &self,
        caller: &Identity,
        name: &str,
        description: Option<String>,
        access: Option<PromptAccess>,
    ) -> Result<PromptSummary, Error> {
        let mut tx = self.0.db.begin().await?;
        let mut prompt = store::lock(&mut tx, name).await?.ok_or_else(no_prompt)?;
        prompt.description = description.unwrap_or(prompt.description);
        prompt.access = access.unwrap_or(prompt.access);
        prompt.updated_at = self.0.clock.now();
        store::update(&mut tx, &prompt).await?;
        self.record(&mut tx, "prompt.changed", caller, name, json!({ "access": prompt.access })).await?;
        tx.commit().await?;
        Ok(prompt)
    }

    /// Deletes a prompt with its versions, labels and overrides.
    ///
    /// # Errors
    /// 404 if there is no such prompt.
    pub(super) async fn delete(&self, caller: &Identity, name: &str) -> Result<(), Error> {
        let mut tx = self.0.db.begin().await?;
        store::lock(&mut tx, name).await?.ok_or_else(no_prompt)?;
        store::delete(&mut tx, name).await?;
        self.record(&mut tx, "prompt.deleted", caller, name, Value::Null).await?;
        Ok(tx.commit().await?)
    }

    /// Adds a version. Labels keep the versions that they stand for.
    ///
    /// # Errors
    /// 404 if there is no such prompt, 409 `TOO_MANY_PROMPT_VERSIONS`, 422 if the content can't be rendered.
    pub(super) async fn add_version(
        &self,
        caller: &Identity,
        name: &str,
        content: PromptContent,
        note: String,
    ) -> Result<PromptVersionDetails, Error> {
        check(&content)?;
        let now = self.0.clock.now();
        let mut tx = self.0.db.begin().await?;
        let mut prompt = store::lock(&mut tx, name).await?.ok_or_else(no_prompt)?;
        if prompt.last_version >= MAX_VERSIONS_PER_PROMPT {
            let message = format!("a prompt has at most {MAX_VERSIONS_PER_PROMPT} versions; create another prompt");
            return Err(Error::conflict("TOO_MANY_PROMPT_VERSIONS", message));
        }
        prompt.last_version += 1;
        prompt.updated_at = now;
        let version =
            PromptVersionSummary { version: prompt.last_version, note, created_by: caller.user, created_at: now };
        let details = PromptVersionDetails { version, content };
        store::update(&mut tx, &prompt).await?;
        store::insert_version(&mut tx, name, &details).await?;
        let audited = json!({ "version": prompt.last_version });
        self.record(&mut tx, "prompt_version.created", caller, name, audited).await?;
        tx.commit().await?;
        Ok(details)
    }

    /// Sets the versions that a label stands for, and the feature flag that decides between them. The label is created
    /// if it does not exist.
    ///
    /// # Errors
    /// 404 if there is no such prompt, 409 `TOO_MANY_PROMPT_LABELS`, 422 for a version that does not exist, for a version
    /// or a variant that is listed twice, and for a variant without a flag.
    pub(super) async fn set_label(
        &self,
        caller: &Identity,
        name: &str,
        label: &str,
        versions: Vec<WeightedVersion>,
        flag: Option<String>,
    ) -> Result<PromptLabel, Error> {
        let mut tx = self.0.db.begin().await?;
        let prompt = store::lock(&mut tx, name).await?.ok_or_else(no_prompt)?;
        check_versions(&prompt, &versions, flag.is_some())?;
        let labels = store::labels(&mut tx, name).await?;
        let known = labels.iter().find(|known| known.label == label);
        if known.is_none() && labels.len() >= MAX_LABELS_PER_PROMPT {
            let message = format!("a prompt has at most {MAX_LABELS_PER_PROMPT} labels; delete one first");
            return Err(Error::conflict("TOO_MANY_PROMPT_LABELS", message));
        }
        let (previous, previous_flag) = known.map(|known| (known.versions.clone(), known.flag.clone())).unzip();
        let (previous_flag, updated_at) = (previous_flag.flatten(), self.0.clock.now());
        let changed = PromptLabel { label: label.to_owned(), versions, previous, flag, previous_flag, updated_at };
        store::put_label(&mut tx, name, &changed, caller.user).await?;
        let (versions, previous, flag) = (&changed.versions, &changed.previous, &changed.flag);
        let audited = json!({ "label": label, "versions": versions, "previous": previous, "flag": flag });
        self.record(&mut tx, "prompt_label.set", caller, name, audited).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Returns a label to the versions and the flag that it had before its last change.
    ///
    /// # Errors
    /// 404 if there is no such prompt or label, 409 `NO_PREVIOUS_PROMPT_VERSION` if the label has not changed.
    pub(super) async fn roll_back(&self, caller: &Identity, name: &str, label: &str) -> Result<PromptLabel, Error> {
        let mut tx = self.0.db.begin().await?;
        store::lock(&mut tx, name).await?.ok_or_else(no_prompt)?;
        let mut changed = store::label(&mut tx, name, label).await?.ok_or_else(no_label)?;
        let Some(previous) = changed.previous.take() else {
            let message = "the label has not changed; set its versions instead";
            return Err(Error::conflict("NO_PREVIOUS_PROMPT_VERSION", message));
        };
        changed.previous = Some(std::mem::replace(&mut changed.versions, previous));
        std::mem::swap(&mut changed.flag, &mut changed.previous_flag);
        changed.updated_at = self.0.clock.now();
        store::put_label(&mut tx, name, &changed, caller.user).await?;
        let audited = json!({ "label": label, "versions": changed.versions, "flag": changed.flag });
        self.record(&mut tx, "prompt_label.rolled_back", caller, name, audited).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Deletes a label.
    ///
    /// # Errors
    /// 404 if there is no such prompt or label.
    pub(super) async fn delete_label(&self, caller: &Identity, name: &str, label: &str) -> Result<(), Error> {
        let mut tx = self.0.db.begin().await?;
        store::lock(&mut tx, name).await?.ok_or_else(no_prompt)?;
        if !store::delete_label(&mut tx, name, label).await? {
            return Err(no_label());
        }
        self.record(&mut tx, "prompt_label.deleted", caller, name, json!({ "label": label })).await?;
        Ok(tx.commit().await?)
    }

    /// Sets the content that a tenant uses in place of a prompt's versions. It must have the same variables as the
    /// version with the label `production`, because the app fills in these.
    ///
    /// # Errors
    /// 404 if there is no such prompt, or if it is not overridable; 422 if the content can't be rendered with the
    /// variables of the prompt.
    pub(super) async fn set_override(
        &self,
        caller: &Identity,
        tenant: TenantId,
        name: &str,
        content: PromptContent,
    ) -> Result<PromptOverride, Error> {
        check(&content)?;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let prompt = store::lock(&mut tx, name).await?.ok_or_else(no_prompt)?;
        if prompt.access != PromptAccess::Overridable {
            return Err(no_prompt());
        }
        let production = store::label(&mut tx, name, PRODUCTION).await?.ok_or_else(no_label)?;
        for version in production.versions {
            let known = store::version(&mut tx, name, version.version).await?.ok_or_else(no_version)?;
            check_variables(&content, &known.content)?;
        }
        let revision = store::tenant_override(&mut tx, tenant, name).await?.map_or(0, |known| known.revision);
        let changed = PromptOverride { revision: revision + 1, content, updated_at: self.0.clock.now() };
        store::put_override(&mut tx, tenant, name, &changed, caller.user).await?;
        let audited = json!({ "revision": changed.revision });
        self.record_for(&mut tx, "prompt_override.set", caller, tenant, name, audited).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Records that an operator lets a model answer a prompt for a tenant, which pays for it.
    ///
    /// # Errors
    /// The errors of the database.
    pub(super) async fn record_test(
        &self,
        caller: &Identity,
        tenant: TenantId,
        name: &str,
        version: Option<i64>,
    ) -> Result<(), Error> {
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let details = json!({ "version": version });
        self.record_for(&mut tx, "prompt.tested", caller, tenant, name, details).await?;
        Ok(tx.commit().await?)
    }

    /// Deletes the override of a tenant.
    ///
    /// # Errors
    /// 404 if there is none.
    pub(super) async fn delete_override(&self, caller: &Identity, tenant: TenantId, name: &str) -> Result<(), Error> {
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        if !store::delete_override(&mut tx, tenant, name).await? {
            return Err(Error::not_found("the override of the prompt"));
        }
        self.record_for(&mut tx, "prompt_override.deleted", caller, tenant, name, Value::Null).await?;
        Ok(tx.commit().await?)
    }

    async fn record(
        &self,
        tx: &mut Tx,
        action: &str,
        caller: &Identity,
        name: &str,
        details: Value,
    ) -> Result<(), Error> {
        let entry = AuditEntry::new(action).actor(caller).for_app().resource("prompt", name);
        Ok(self.0.log.record_in(tx, with_details(entry, details)).await?)
    }

    async fn record_for(
        &self,
        tx: &mut Tx,
        action: &str,
        caller: &Identity,
        tenant: TenantId,
        name: &str,
        details: Value,
    ) -> Result<(), Error> {
        let entry = AuditEntry::new(action).actor(caller).for_tenant(tenant).resource("prompt", name);
        Ok(self.0.log.record_in(tx, with_details(entry, details)).await?)
    }
}

fn with_details(entry: AuditEntry, details: Value) -> AuditEntry {
    if details.is_null() { entry } else { entry.details(details) }
}

fn check_versions(prompt: &PromptSummary, versions: &[WeightedVersion], has_flag: bool) -> Result<(), Error> {
    let mut problems = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let (field, of_variant) = (format!("versions[{index}].version"), format!("versions[{index}].variant"));
        let before = &versions[..index];
        if !(1..=prompt.last_version).contains(&version.version) {
            problems.push(FieldError::new(field, format!("must be from 1 to {}", prompt.last_version)));
        } else if before.iter().any(|other| other.version == version.version) {
            problems.push(FieldError::new(field, "must be listed once"));
        }
        if version.variant.is_some() && !has_flag {
            problems.push(FieldError::new(of_variant, "needs `flag`, the flag with the variant"));
        } else if version.variant.is_some() && before.iter().any(|other| other.variant == version.variant) {
            problems.push(FieldError::new(of_variant, "must be listed once"));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::invalid(problems)) }
}

/// Fails with 422 unless an override has the variables of a version: those that a caller may set, and no others that it
/// must set.
fn check_variables(own: &PromptContent, version: &PromptContent) -> Result<(), Error> {
    let must_be_set = |variable: &PromptVariable| variable.required && variable.default.is_null();
    let mut problems = Vec::new();
    for (index, variable) in own.variables.iter().enumerate() {
        match version.variables.iter().find(|known| known.name == variable.name) {
            None => {
                problems.push(FieldError::new(format!("variables[{index}].name"), "is not a variable of the prompt"));
            }
            Some(known) if must_be_set(variable) && !must_be_set(known) => {
                let message = "must be `false`, or the variable must have a default: the app can leave it out";
                problems.push(FieldError::new(format!("variables[{index}].required"), message));
            }
            Some(_) => {}
        }
    }
    let missing = version.variables.iter().find(|known| !own.variables.iter().any(|own| own.name == known.name));
    if let Some(missing) = missing {
        problems.push(FieldError::new("variables", format!("must have `{}`, as the prompt has", missing.name)));
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::invalid(problems)) }
}
