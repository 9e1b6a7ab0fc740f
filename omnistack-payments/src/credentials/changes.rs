//! The accounts of tenants as the API shows them, and their changes.

use std::{collections::BTreeMap, sync::Arc};

use omnistack_core::{
    audit::AuditEntry,
    data_environment::DataEnvironment,
    db::{self, Tx},
    http::{Error, FieldError},
    identity::{Identity, TenantId},
    payment::PaymentError,
};
use secrecy::SecretString;
use serde_json::json;

use super::{
    SERVICES_LIMIT,
    accounts::PaymentAccounts,
    model::{
        AccountKey, PaymentCredentialCheck, PaymentCredentialField, PaymentServiceDetails, PaymentServiceEnvironment,
        PaymentServiceEnvironments, TenantAccounts,
    },
    sealed,
    store::{self, CredentialRow},
};
use crate::{
    service::{Credentials, PaymentService},
    settings::FAKE_SERVICE,
};

/// Largest length of the stored error of a check, in characters.
const MAX_ERROR_CHARS: usize = 500;

impl PaymentAccounts {
    /// Returns all services of the app, with the accounts of the tenant.
    pub(super) async fn list(&self, tenant: TenantId) -> Result<Vec<PaymentServiceDetails>, Error> {
        let (accounts, rows) = (self.of_tenant(tenant).await?, self.rows(tenant).await?);
        let details = |service: &Arc<dyn PaymentService>| PaymentServiceDetails {
            name: service.name().to_owned(),
            label: service.profile().label.to_owned(),
            fields: service
                .fields()
                .iter()
                .map(|field| PaymentCredentialField {
                    name: field.name.to_owned(),
                    label: field.label.to_owned(),
                    secret: field.secret,
                    required: field.required,
                })
                .collect(),
            environments: self.shown(tenant, service.name(), &accounts, &rows),
        };
        Ok(self.services().iter().map(details).collect())
    }

    /// Returns the accounts of the tenant at a service.
    ///
    /// # Errors
    /// 404 if the app has no such service.
    pub(super) async fn environments(
        &self,
        tenant: TenantId,
        service: &str,
    ) -> Result<PaymentServiceEnvironments, Error> {
        self.require_service(service)?;
        let (accounts, rows) = (self.of_tenant(tenant).await?, self.rows(tenant).await?);
        Ok(self.shown(tenant, service, &accounts, &rows))
    }

    /// Returns the number of services for which the tenant has stored credentials.
    pub(super) async fn count_services(&self, tenant: TenantId) -> Result<u64, db::Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let count = store::count_services(&mut tx, tenant, None).await?;
        tx.commit().await?;
        Ok(count)
    }

    /// Stores the credentials of an account in place of the previous ones.
    ///
    /// # Errors
    /// 404 if the app has no such service, 422 for fields that the service does not accept, and 402
    /// `PLAN_LIMIT_REACHED` if the tenant has no credentials for the service yet, and its plan allows no further one.
    pub(super) async fn put(
        &self,
        caller: &Identity,
        service: &str,
        environment: DataEnvironment,
        fields: BTreeMap<String, String>,
    ) -> Result<PaymentServiceEnvironments, Error> {
        let (tenant, now) = (caller.require_tenant()?, self.now());
        let known = self.require_service(service)?;
        let unknown = fields.keys().filter(|name| known.fields().iter().all(|field| field.name != name.as_str()));
        let unknown = unknown.map(|name| FieldError::new(format!("fields.{name}"), "is no field of the service"));
        let unknown: Vec<FieldError> = unknown.collect();
        if !unknown.is_empty() {
            return Err(Error::invalid(unknown));
        }
        let fields = fields.into_iter().map(|(name, value)| (name, SecretString::from(value)));
        let credentials = Credentials(fields.collect());
        known.connect(environment, &credentials).map_err(|problem| {
            Error::invalid([FieldError::new(format!("fields.{}", problem.field), problem.message)])
        })?;
        let key = AccountKey { tenant, service: service.to_owned(), environment };
        let sealed = sealed::seal(&credentials, &self.0.keys, &key)?;
        let plan = self.0.entitlements.plan(tenant).await?;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        // Credentials can be replaced, and added for the other environment, also after a change to a smaller plan.
        if store::list(&mut tx, tenant).await?.iter().all(|row| row.service != service) {
            let known = service.to_owned();
            let others = async move |tx: &mut Tx| store::count_services(tx, tenant, Some(known)).await;
            self.0.entitlements.check_limit_in(&mut tx, &plan, tenant, SERVICES_LIMIT, others).await?;
        }
        store::put(&mut tx, &key, sealed, caller.user, now).await?;
        self.record(&mut tx, "payment_credentials.updated", caller, &key).await?;
        self.evict_on_commit(&mut tx, tenant);
        tx.commit().await?;
        self.0.uses.forget(&key);
        self.environments(tenant, service).await
    }

    /// Deletes the credentials of an account. Payments that were made by it can no longer be changed or asked for.
    ///
    /// # Errors
    /// 404 if there are none.
    pub(super) async fn delete(
        &self,
        caller: &Identity,
        service: &str,
        environment: DataEnvironment,
    ) -> Result<(), Error> {
        let tenant = caller.require_tenant()?;
        let key = AccountKey { tenant, service: service.to_owned(), environment };
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        if !store::delete(&mut tx, &key).await? {
            return Err(no_account());
        }
        self.record(&mut tx, "payment_credentials.deleted", caller, &key).await?;
        self.evict_on_commit(&mut tx, tenant);
        tx.commit().await?;
        self.0.uses.forget(&key);
        Ok(())
    }

    /// Asks the service whether it accepts the credentials of an account.
    ///
    /// # Errors
    /// 404 if there are none, and 503 `PAYMENT_ACCOUNT_UNUSABLE` if the stored credentials can't be used.
    pub(super) async fn test(
        &self,
        tenant: TenantId,
        service: &str,
        environment: DataEnvironment,
    ) -> Result<PaymentCredentialCheck, Error> {
        // The credentials are those of the row, not the ones in memory: another replica may have replaced those. A
        // check of credentials that are replaced meanwhile is not stored.
        let rows = self.rows(tenant).await?;
        let row = find(&rows, service, environment);
        let accounts = match row.and_then(|row| self.connect(tenant, row.clone())) {
            Some(stored) => Arc::new(TenantAccounts { providers: [stored].into(), ..TenantAccounts::default() }),
            None => self.of_tenant(tenant).await?,
        };
        let provider = accounts.provider(service, environment)?.ok_or_else(no_account)?;
        let error = provider.check().await.err().map(|error| shown_error(&error));
        let checked_at = self.now();
        if let Some(row) = row {
            let key = AccountKey { tenant, service: service.to_owned(), environment };
            let mut tx = self.0.db.tenant(tenant).begin().await?;
            store::set_check(&mut tx, &key, row.updated_at, error.clone(), checked_at).await?;
            tx.commit().await?;
        }
        Ok(PaymentCredentialCheck { ok: error.is_none(), error, checked_at })
    }

    /// Switches a service to another environment.
    ///
    /// # Errors
    /// 404 if the app has no such service, 409 `PAYMENT_ACCOUNT_MISSING` if the tenant has no account there, and 403
    /// for an operator who impersonates a user, because the switch outlives the impersonation.
    pub(super) async fn switch(
        &self,
        caller: &Identity,
        service: &str,
        environment: DataEnvironment,
    ) -> Result<PaymentServiceEnvironments, Error> {
        caller.deny_impersonation()?;
        let (tenant, now) = (caller.require_tenant()?, self.now());
        self.require_service(service)?;
        let key = AccountKey { tenant, service: service.to_owned(), environment };
        // The account at the fake that every tenant has is not stored.
        let has_fake = service == FAKE_SERVICE && self.of_tenant(tenant).await?.has(service, environment);
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let rows = store::list(&mut tx, tenant).await?;
        if !has_fake && find(&rows, service, environment).is_none() {
            let message = format!("there are no credentials of `{service}` for `{environment}`; store them first");
            return Err(Error::conflict("PAYMENT_ACCOUNT_MISSING", message));
        }
        store::switch(&mut tx, &key, now).await?;
        self.record(&mut tx, "payment_environment.switched", caller, &key).await?;
        self.evict_on_commit(&mut tx, tenant);
        tx.commit().await?;
        self.environments(tenant, service).await
    }

    fn require_service(&self, name: &str) -> Result<&Arc<dyn PaymentService>, Error> {
        self.service(name).ok_or_else(|| Error::not_found("the payment service"))
    }

    async fn rows(&self, tenant: TenantId) -> Result<Vec<CredentialRow>, Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let rows = store::list(&mut tx, tenant).await?;
        tx.commit().await?;
        Ok(rows)
    }

    fn shown(
        &self,
        tenant: TenantId,
        service: &str,
        accounts: &TenantAccounts,
        rows: &[CredentialRow],
    ) -> PaymentServiceEnvironments {
        let environment = |environment| {
            let row = find(rows, service, environment);
            let key = AccountKey { tenant, service: service.to_owned(), environment };
            let configured = row.is_some() || accounts.has(service, environment);
            if !configured {
                return PaymentServiceEnvironment::default();
            }
            PaymentServiceEnvironment {
                configured,
                last_used: self.0.uses.latest(&key, row.and_then(|row| row.last_used_at)),
                updated_at: row.map(|row| row.updated_at),
                checked_at: row.and_then(|row| row.checked_at),
                check_error: row.and_then(|row| row.check_error.clone()),
            }
        };
        PaymentServiceEnvironments {
            active: accounts.active(service),
            test: environment(DataEnvironment::Test),
            live: environment(DataEnvironment::Live),
        }
    }

    async fn record(
        &self,
        tx: &mut Tx,
        action: &'static str,
        caller: &Identity,
        key: &AccountKey,
    ) -> Result<(), Error> {
        let entry = AuditEntry::new(action).actor(caller).for_tenant(key.tenant);
        let entry = entry.resource("payment_service", &key.service);
        Ok(self.0.log.record_in(tx, entry.details(json!({ "environment": key.environment }))).await?)
    }

    fn evict_on_commit(&self, tx: &mut Tx, tenant: TenantId) {
        let accounts = self.clone();
        tx.on_commit(move || accounts.0.cache.evict(&tenant));
    }
}

fn find<'a>(rows: &'a [CredentialRow], service: &str, environment: DataEnvironment) -> Option<&'a CredentialRow> {
    rows.iter().find(|row| row.service == service && row.environment() == environment)
}

/// Returns the error of a check as it is stored and shown.
fn shown_error(error: &PaymentError) -> String {
    error.to_string().chars().filter(|letter| *letter != '\0').take(MAX_ERROR_CHARS).collect()
}

fn no_account() -> Error {
    Error::not_found("the account at the payment service")
}
