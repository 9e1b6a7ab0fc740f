//! The accounts of a tenant, and how they are shown.

use std::{collections::BTreeMap, sync::Arc};

use omnistack_core::{
    clock::Timestamp, data_environment::DataEnvironment, http::Error, identity::TenantId, payment::PaymentProvider,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::settings::FAKE_SERVICE;

/// The account of a tenant at a service, in one environment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AccountKey {
    pub(crate) tenant: TenantId,
    pub(crate) service: String,
    pub(crate) environment: DataEnvironment,
}

/// The accounts of a tenant at the services that the app has.
#[derive(Debug, Default)]
pub(crate) struct TenantAccounts {
    /// `None` for stored credentials that can't be used.
    pub(super) providers: BTreeMap<(String, DataEnvironment), Option<Arc<dyn PaymentProvider>>>,
    /// The times since which the stored credentials are those in use.
    pub(super) unchanged_since: BTreeMap<(String, DataEnvironment), Timestamp>,
    /// The environments to which the tenant has switched services.
    pub(super) switches: BTreeMap<String, DataEnvironment>,
    /// The account at the built-in fake for tests.
    pub(super) fake: Option<Arc<dyn PaymentProvider>>,
}

impl TenantAccounts {
    /// Returns the provider of an account. Returns `None` if there is none.
    ///
    /// # Errors
    /// 503 `PAYMENT_ACCOUNT_UNUSABLE` if the stored credentials can't be used.
    pub(super) fn provider(
        &self,
        service: &str,
        environment: DataEnvironment,
    ) -> Result<Option<Arc<dyn PaymentProvider>>, Error> {
        match self.providers.get(&(service.to_owned(), environment)) {
            Some(Some(provider)) => Ok(Some(Arc::clone(provider))),
            Some(None) => {
                let message = format!("the stored credentials of `{service}` can't be used; store them again");
                Err(Error::unavailable("PAYMENT_ACCOUNT_UNUSABLE", message))
            }
            // Payments that were made by the fake can be asked for after the tenant has an account.
            None if service == FAKE_SERVICE && environment == DataEnvironment::Test => Ok(self.fake.clone()),
            None => Ok(None),
        }
    }

    /// Returns whether the tenant has an account at a service.
    pub(super) fn has(&self, service: &str, environment: DataEnvironment) -> bool {
        self.providers.contains_key(&(service.to_owned(), environment))
            || (service == FAKE_SERVICE && environment == DataEnvironment::Test && self.fake.is_some())
    }

    /// Returns the accounts that take payments in an environment, in the order of their names. A service that was
    /// switched to `test` takes no live payments. The fake is used for tests if there is no other account.
    pub(crate) fn usable(&self, environment: DataEnvironment) -> Vec<(&str, &Arc<dyn PaymentProvider>)> {
        let is_live = environment == DataEnvironment::Live;
        let usable: Vec<(&str, &Arc<dyn PaymentProvider>)> = self
            .providers
            .iter()
            .filter(|((_, one), _)| *one == environment)
            .filter_map(|((service, _), provider)| Some((service.as_str(), provider.as_ref()?)))
            .filter(|(service, _)| !is_live || self.switches.get(*service) != Some(&DataEnvironment::Test))
            .collect();
        let has_any = self.providers.keys().any(|(_, one)| *one == environment);
        if has_any || is_live {
            return usable;
        }
        self.fake.iter().map(|fake| (FAKE_SERVICE, fake)).collect()
    }

    /// Returns the environment in which the tenant uses a service: the one it was switched to, or else `live` if there
    /// is a live account, or else `test`.
    pub(super) fn active(&self, service: &str) -> DataEnvironment {
        let has_live = self.has(service, DataEnvironment::Live);
        let default = if has_live { DataEnvironment::Live } else { DataEnvironment::Test };
        self.switches.get(service).copied().unwrap_or(default)
    }

    /// Returns the environment of payments that name none: `live` if an account takes live payments, or else `test`. A
    /// live account whose credentials can't be used counts: its payments must fail, and not succeed as tests.
    pub(super) fn default_environment(&self) -> DataEnvironment {
        let is_live = |(service, environment): &(String, DataEnvironment)| {
            *environment == DataEnvironment::Live && self.switches.get(service) != Some(&DataEnvironment::Test)
        };
        if self.providers.keys().any(is_live) { DataEnvironment::Live } else { DataEnvironment::Test }
    }
}

/// A payment service at which the tenant can have an account.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PaymentServiceDetails {
    /// The name, such as `stripe`.
    pub(super) name: String,
    /// The name for users, such as `Stripe`.
    pub(super) label: String,
    /// The fields of the credentials.
    pub(super) fields: Vec<PaymentCredentialField>,
    /// The accounts of the tenant.
    pub(super) environments: PaymentServiceEnvironments,
}

/// A field of credentials.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PaymentCredentialField {
    /// The name, such as `api_key`.
    pub(super) name: String,
    /// The text for users.
    pub(super) label: String,
    /// Whether the value must be hidden.
    pub(super) secret: bool,
    /// Whether an account can't be used without it.
    pub(super) required: bool,
}

/// The accounts of the tenant at a service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PaymentServiceEnvironments {
    /// The environment in use.
    pub(super) active: DataEnvironment,
    /// The account for tests.
    pub(super) test: PaymentServiceEnvironment,
    /// The account for real money.
    pub(super) live: PaymentServiceEnvironment,
}

/// An account of the tenant at a service. Its credentials are not shown.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(super) struct PaymentServiceEnvironment {
    /// Whether the tenant has an account.
    pub(super) configured: bool,
    /// When the account was last used, to the minute; `null` if it was not.
    #[schema(required)]
    pub(super) last_used: Option<Timestamp>,
    /// When the credentials were stored; `null` if there are none.
    #[schema(required)]
    pub(super) updated_at: Option<Timestamp>,
    /// When the credentials were last tested; `null` if they were not.
    #[schema(required)]
    pub(super) checked_at: Option<Timestamp>,
    /// The reason why the last test failed; `null` if it did not.
    #[schema(required)]
    pub(super) check_error: Option<String>,
}

/// The result of a test of credentials.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PaymentCredentialCheck {
    /// Whether the service accepts the credentials.
    pub(super) ok: bool,
    /// The reason why the test failed; `null` if it did not.
    #[schema(required)]
    pub(super) error: Option<String>,
    /// When the credentials were tested.
    pub(super) checked_at: Timestamp,
}
