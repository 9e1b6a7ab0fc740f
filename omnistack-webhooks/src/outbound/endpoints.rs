//! What tenants do with their endpoints: create, change, delete, and rotate the secret.

use std::collections::BTreeMap;

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Clock,
    crypto::KeyRing,
    db::{Db, Tx},
    http::Error,
    identity::{Identity, TenantId},
    jobs::Jobs,
    webhook::{WebhookCatalogue, WebhookEventType, WebhookSources},
};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    destination::{UrlPolicy, check_events, check_headers},
    endpoint::{DISABLED_BY_OPERATOR, EndpointRow, EndpointStatus, WebhookEndpoint, WebhookEndpointId},
    retention::{DELIVERIES_PER_DELETE, DeleteEndpointDeliveries},
    secrets::{SecretList, open_headers, seal_headers},
    send::Sender,
    settings::OutboundSettings,
    store::{self, endpoints::EndpointFilter},
    wake::DeliveryWake,
};
use crate::signing::{SigningKey, SigningScheme};

/// The endpoints of tenants, with what their routes need.
pub(crate) struct WebhookEndpoints {
    /// The app's own database, without tenant databases.
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) keys: KeyRing,
    pub(super) jobs: Jobs,
    pub(super) log: AuditLog,
    pub(super) catalogue: WebhookCatalogue,
    pub(super) sources: WebhookSources,
    pub(super) settings: OutboundSettings,
    pub(super) policy: UrlPolicy,
    pub(super) wake: DeliveryWake,
    pub(super) sender: Sender,
}

/// An endpoint to be created.
pub(crate) struct NewEndpoint {
    pub(crate) url: String,
    pub(crate) description: String,
    pub(crate) events: Vec<String>,
    pub(crate) scheme: SigningScheme,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) rate_per_second: Option<u32>,
}

/// Changes of an endpoint. Fields that are `None` keep their values.
#[derive(Default)]
pub(crate) struct EndpointChanges {
    pub(crate) url: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) events: Option<Vec<String>>,
    /// New values of custom headers; `None` removes a header. Other headers keep their values.
    pub(crate) headers: Option<BTreeMap<String, Option<String>>>,
    pub(crate) rate_per_second: Option<Option<u32>>,
    pub(crate) status: Option<EndpointStatus>,
}

/// An endpoint and the secret that its owner is shown once.
pub(crate) type EndpointWithSecret = (WebhookEndpoint, String);

impl WebhookEndpoints {
    /// Returns the tenant's endpoints in the order of their creation, at most `limit`.
    pub(crate) async fn list(
        &self,
        tenant: TenantId,
        after: Option<WebhookEndpointId>,
        limit: u32,
    ) -> Result<Vec<WebhookEndpoint>, Error> {
        let filter = EndpointFilter { tenant: Some(tenant), status: None };
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let rows = store::endpoints::list(&mut tx, filter, after, limit.into()).await?;
        tx.commit().await?;
        rows.into_iter().map(|row| self.read(row)).collect()
    }

    /// Returns the types of events that endpoints can receive.
    pub(crate) fn event_types(&self) -> Vec<WebhookEventType> {
        self.catalogue.types()
    }

    /// Returns an endpoint of the tenant.
    ///
    /// # Errors
    /// 404 if the tenant has no such endpoint.
    pub(crate) async fn get(&self, tenant: TenantId, id: WebhookEndpointId) -> Result<WebhookEndpoint, Error> {
        self.read(self.find(tenant, id).await?)
    }

    /// Creates an endpoint. Returns it with its secret, or for the scheme `v1a` with its public key.
    ///
    /// # Errors
    /// 422 for invalid values, 409 `TOO_MANY_WEBHOOK_ENDPOINTS`, and 403 for an operator who impersonates a user,
    /// because the endpoint outlives the impersonation.
    pub(crate) async fn create(&self, caller: &Identity, new: NewEndpoint) -> Result<EndpointWithSecret, Error> {
        caller.deny_impersonation()?;
        let (row, shown) = self.prepare(caller, new, false)?;
        let mut tx = self.db.tenant(row.tenant_id).begin().await?;
        self.insert_in(&mut tx, caller, &row).await?;
        tx.commit().await?;
        Ok((self.read(row)?, shown))
    }

    /// Changes an endpoint.
    ///
    /// # Errors
    /// 404 if the tenant has no such endpoint, 422 for invalid values, 409 `DISABLED_BY_OPERATOR` if the status is
    /// changed of an endpoint that an operator has disabled, and 403 for an operator who impersonates a user.
    pub(crate) async fn update(
        &self,
        caller: &Identity,
        id: WebhookEndpointId,
        changes: EndpointChanges,
    ) -> Result<WebhookEndpoint, Error> {
        caller.deny_impersonation()?;
        let tenant = caller.require_tenant()?;
        let mut tx = self.db.tenant(tenant).begin().await?;
        let mut row = store::endpoints::lock(&mut tx, tenant, id).await?.ok_or_else(not_found)?;
        let was_disabled = row.status() == EndpointStatus::Disabled;
        let changed = self.apply(&mut row, changes)?;
        if was_disabled && row.status() != EndpointStatus::Disabled {
            // Deliveries that were published while the endpoint was being disabled are skipped like those after them.
            store::endpoints::skip_pending(&mut tx, &row, row.updated_at).await?;
        }
        store::endpoints::update(&mut tx, &row).await?;
        let details = json!({ "changed": changed, "status": row.status, "host": host(&row.url) });
        self.record(&mut tx, "webhook_endpoint.updated", caller, &row, details).await?;
        self.wake.wake_on_commit(&mut tx);
        tx.commit().await?;
        self.read(row)
    }

    /// Deletes an endpoint with its deliveries. It is not called again, except for requests that have begun. Of many
    /// deliveries, a job deletes the rest.
    ///
    /// # Errors
    /// 404 if the tenant has no such endpoint.
    pub(crate) async fn delete(&self, caller: &Identity, id: WebhookEndpointId) -> Result<(), Error> {
        let tenant = caller.require_tenant()?;
        let mut tx = self.db.tenant(tenant).begin().await?;
        let row = store::endpoints::delete(&mut tx, tenant, id).await?.ok_or_else(not_found)?;
        let deleted = store::endpoints::delete_deliveries(&mut tx, id, DELIVERIES_PER_DELETE).await?;
        if deleted == DELIVERIES_PER_DELETE.unsigned_abs() {
            self.jobs.enqueue_in(&mut tx, DeleteEndpointDeliveries { tenant, endpoint: id }).await?;
        }
        let details = json!({ "host": host(&row.url) });
        self.record(&mut tx, "webhook_endpoint.deleted", caller, &row, details).await?;
        Ok(tx.commit().await?)
    }

    /// Replaces the secret of an endpoint. Returns the endpoint with its new secret, or for the scheme `v1a` with its
    /// new public key. Messages are also signed with the previous secret for `WEBHOOKS_SECRET_OVERLAP`.
    ///
    /// # Errors
    /// 404 if the tenant has no such endpoint, and 403 for an operator who impersonates a user.
    pub(crate) async fn rotate(&self, caller: &Identity, id: WebhookEndpointId) -> Result<EndpointWithSecret, Error> {
        caller.deny_impersonation()?;
        let (tenant, now) = (caller.require_tenant()?, self.clock.now());
        let mut tx = self.db.tenant(tenant).begin().await?;
        let mut row = store::endpoints::lock(&mut tx, tenant, id).await?.ok_or_else(not_found)?;
        let (secret, shown) = new_secret(SigningScheme::from_stored(&row.scheme))?;
        let mut secrets = SecretList::open(&row.secrets, &self.keys, id)?;
        secrets.rotate(&secret, now, self.settings.secret_overlap);
        (row.secrets, row.updated_at) = (secrets.seal(&self.keys, id)?, now);
        store::endpoints::update(&mut tx, &row).await?;
        let details = json!({ "previous_until": secrets.previous_until(now) });
        self.record(&mut tx, "webhook_endpoint.secret_rotated", caller, &row, details).await?;
        tx.commit().await?;
        Ok((self.read(row)?, shown))
    }

    /// Returns the row of an endpoint of the tenant.
    ///
    /// # Errors
    /// 404 if the tenant has no such endpoint.
    pub(super) async fn find(&self, tenant: TenantId, id: WebhookEndpointId) -> Result<EndpointRow, Error> {
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let row = store::endpoints::find(&mut tx, tenant, id).await?;
        tx.commit().await?;
        row.ok_or_else(not_found)
    }

    pub(super) fn read(&self, row: EndpointRow) -> Result<WebhookEndpoint, Error> {
        Ok(WebhookEndpoint::read(row, &self.keys, self.clock.now())?)
    }

    /// Checks a new endpoint, and creates its row with a secret.
    pub(super) fn prepare(
        &self,
        caller: &Identity,
        new: NewEndpoint,
        is_default: bool,
    ) -> Result<(EndpointRow, String), Error> {
        let (tenant, now) = (caller.require_tenant()?, self.clock.now());
        let NewEndpoint { url, description, events, scheme, headers, rate_per_second } = new;
        let mut problems = Vec::new();
        let url = self.policy.check(&url).map_err(|problem| problems.push(problem)).unwrap_or_default();
        let events = check_events(&events, &self.catalogue.types()).map_err(|found| problems.extend(found));
        let headers = check_headers(headers).map_err(|found| problems.extend(found));
        let (Ok(events), Ok(headers), true) = (events, headers, problems.is_empty()) else {
            return Err(Error::invalid(problems));
        };
        let id = WebhookEndpointId::new(now);
        let (secret, shown) = new_secret(scheme)?;
        let row = EndpointRow {
            id,
            tenant_id: tenant,
            url,
            description,
            events: events_json(&events),
            headers: seal_headers(&headers, &self.keys, id)?,
            scheme: scheme.as_str().to_owned(),
            secrets: SecretList::new(&secret).seal(&self.keys, id)?,
            rate_per_second: rate_per_second.map(i64::from),
            status: EndpointStatus::Enabled.as_str().to_owned(),
            disabled_reason: None,
            disabled_at: None,
            failing_since: None,
            is_default,
            created_by: Some(caller.user),
            created_at: now,
            updated_at: now,
        };
        Ok((row, shown))
    }

    /// Inserts an endpoint.
    pub(super) async fn insert_in(&self, tx: &mut Tx, caller: &Identity, row: &EndpointRow) -> Result<(), Error> {
        store::endpoints::insert(tx, row).await?;
        let details = json!({ "host": host(&row.url), "events": row.events() });
        self.record(tx, "webhook_endpoint.created", caller, row, details).await?;
        // Entries of one tenant's audit chain wait for each other, so two transactions don't both count one too few.
        let (count, most) = (store::endpoints::count(tx, row.tenant_id).await?, self.settings.max_endpoints);
        if count > i64::from(most) {
            let message = format!("a tenant has at most {most} webhook endpoints; delete one that is no longer used");
            return Err(Error::conflict("TOO_MANY_WEBHOOK_ENDPOINTS", message).with_detail("limit", most));
        }
        Ok(())
    }

    /// Applies changes to a row. Returns the names of the fields.
    pub(super) fn apply(&self, row: &mut EndpointRow, changes: EndpointChanges) -> Result<Vec<&'static str>, Error> {
        let (now, mut changed, mut problems) = (self.clock.now(), Vec::new(), Vec::new());
        if let Some(url) = changes.url {
            changed.push("url");
            match self.policy.check(&url) {
                Ok(url) => row.url = url,
                Err(problem) => problems.push(problem),
            }
        }
        if let Some(description) = changes.description {
            changed.push("description");
            row.description = description;
        }
        if let Some(events) = changes.events {
            changed.push("events");
            match check_events(&events, &self.catalogue.types()) {
                Ok(events) => row.events = events_json(&events),
                Err(found) => problems.extend(found),
            }
        }
        if let Some(changes) = changes.headers {
            changed.push("headers");
            let headers = open_headers(row.headers.as_deref(), &self.keys, row.id)?;
            match check_headers(merged(headers, changes)) {
                Ok(headers) => row.headers = seal_headers(&headers, &self.keys, row.id)?,
                Err(found) => problems.extend(found),
            }
        }
        if let Some(rate) = changes.rate_per_second {
            changed.push("rate_per_second");
            row.rate_per_second = rate.map(i64::from);
        }
        if let Some(status) = changes.status {
            changed.push("status");
            require_not_disabled_by_operator(row)?;
            row.set_status(status, None, now);
        }
        row.updated_at = now;
        if problems.is_empty() { Ok(changed) } else { Err(Error::invalid(problems)) }
    }

    /// Records an action of a caller in the audit log of the endpoint's tenant.
    pub(super) async fn record(
        &self,
        tx: &mut Tx,
        action: &'static str,
        caller: &Identity,
        row: &EndpointRow,
        details: Value,
    ) -> Result<(), Error> {
        let entry = AuditEntry::new(action).actor(caller).for_tenant(row.tenant_id);
        Ok(self.log.record_in(tx, entry.resource("webhook_endpoint", row.id).details(details)).await?)
    }
}

/// Returns a new secret, and what the endpoint's owner is shown of it: the secret, or the public key.
fn new_secret(scheme: SigningScheme) -> Result<(SecretString, String), Error> {
    let secret = SigningKey::generate(scheme).map_err(Error::internal)?;
    let public_key = SigningKey::parse(secret.expose_secret()).map_err(Error::internal)?.public_key();
    let shown = public_key.unwrap_or_else(|| secret.expose_secret().to_owned());
    Ok((secret, shown))
}

/// Returns headers with changes applied. The names of headers don't distinguish upper and lower case.
fn merged(
    mut headers: BTreeMap<String, String>,
    changes: BTreeMap<String, Option<String>>,
) -> BTreeMap<String, String> {
    for (name, value) in changes {
        let name = name.to_ascii_lowercase();
        match value {
            Some(value) => _ = headers.insert(name, value),
            None => _ = headers.remove(&name),
        }
    }
    headers
}

fn events_json(events: &[String]) -> String {
    Value::from(events.to_vec()).to_string()
}

/// Returns the host of a URL, for the audit log. The rest of the URL may be secret.
pub(super) fn host(url: &str) -> String {
    url.parse::<Url>().ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

/// Fails with 409 if an operator has disabled the endpoint.
pub(super) fn require_not_disabled_by_operator(row: &EndpointRow) -> Result<(), Error> {
    if row.disabled_reason.as_deref() != Some(DISABLED_BY_OPERATOR) {
        return Ok(());
    }
    let message = "an operator has disabled this endpoint; ask the app's support to enable it again";
    Err(Error::conflict("DISABLED_BY_OPERATOR", message))
}

pub(super) fn not_found() -> Error {
    Error::not_found("the webhook endpoint")
}
