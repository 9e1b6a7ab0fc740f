//! The prompts as operators and tenants read them.

use omnistack_core::{clock::Timestamp, http::Error, identity::TenantId};

use super::{
    changes::MAX_VERSIONS_PER_PROMPT,
    handle::{Prompts, no_prompt, no_version},
    model::{PromptDetails, PromptOverride, PromptSummary, PromptVersionDetails},
    store,
    usage::{self, PromptUsage},
};

impl Prompts {
    /// Returns the prompts after a name, at most `limit`. With `shared`, only those that members of tenants can use.
    pub(super) async fn list(&self, after: &str, shared: bool, limit: u32) -> Result<Vec<PromptSummary>, Error> {
        let mut tx = self.0.db.begin_read().await?;
        let found = store::list(&mut tx, after, shared, limit.into()).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Returns a prompt, its labels and its versions. Fails with 404 if there is no such prompt.
    pub(super) async fn details(&self, name: &str) -> Result<PromptDetails, Error> {
        let mut tx = self.0.db.begin_read().await?;
        let prompt = store::get(&mut tx, name).await?.ok_or_else(no_prompt)?;
        let labels = store::labels(&mut tx, name).await?;
        let versions = store::versions(&mut tx, name, MAX_VERSIONS_PER_PROMPT).await?;
        tx.commit().await?;
        Ok(PromptDetails { prompt, labels, versions })
    }

    /// Returns a version and its content. Fails with 404 if there is no such version.
    pub(super) async fn version(&self, name: &str, version: i64) -> Result<PromptVersionDetails, Error> {
        let mut tx = self.0.db.begin_read().await?;
        let found = store::version(&mut tx, name, version).await?.ok_or_else(no_version)?;
        tx.commit().await?;
        Ok(found)
    }

    /// Returns a prompt, and the override of a tenant if it has one. Fails with 404 if there is no such prompt.
    pub(super) async fn with_override(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<(PromptSummary, Option<PromptOverride>), Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let prompt = store::get(&mut tx, name).await?.ok_or_else(no_prompt)?;
        let own = store::tenant_override(&mut tx, tenant, name).await?;
        tx.commit().await?;
        Ok((prompt, own))
    }

    /// Returns the usage of the versions of a prompt by calls that began in a period. Fails with 404 if there is no
    /// such prompt.
    pub(super) async fn usage(
        &self,
        name: &str,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<PromptUsage>, Error> {
        // An operator sees the calls of all tenants.
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let prompt = store::get(&mut tx, name).await?.ok_or_else(no_prompt)?;
        let versions: Vec<i64> = (1..=prompt.last_version).collect();
        // A prompt of the same name that was deleted had versions of the same numbers.
        let since = since.max(prompt.created_at);
        let found = usage::usage(&mut tx, name, &versions, since, until).await?;
        tx.commit().await?;
        Ok(found)
    }
}
