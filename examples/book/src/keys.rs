//! A module that authenticates callers by an API key.

use async_trait::async_trait;
use axum::http::request::Parts;
use omnistack::{
    ExposeSecret, SecretString,
    crypto::constant_time_eq,
    identity::{Authenticate, Authenticator, bearer_token},
    prelude::*,
};

omnistack::settings! {
    /// Settings of the keys module.
    pub struct KeySettings {
        /// The API key that the partner's program sends as a bearer token.
        pub key: SecretString = "PARTNER_KEY", development "let-me-in";
        /// The id of the tenant that the key belongs to.
        pub tenant: String = "PARTNER_TENANT", default "01900000-0000-7000-8000-000000000002";
    }
}

// ANCHOR: identity
/// A module that authenticates a single program by its API key.
#[derive(Debug)]
pub struct PartnerKeys;

impl Module for PartnerKeys {
    fn name(&self) -> &'static str {
        "keys"
    }

    fn register(&self, registry: &mut Registry) {
        let Some(settings) = registry.config::<KeySettings>() else {
            return;
        };
        let Ok(tenant) = settings.tenant.parse() else {
            registry.report_problem("`PARTNER_TENANT` is not a UUID", "set it to the tenant's id");
            return;
        };
        let key = settings.key;
        registry.provide(Authenticator::new(KeyAuthenticator { key, tenant }));
    }
}

struct KeyAuthenticator {
    key: SecretString,
    tenant: TenantId,
}

#[async_trait]
impl Authenticate for KeyAuthenticator {
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error> {
        match bearer_token(request) {
            None => Ok(None),
            Some(key) if constant_time_eq(key, self.key.expose_secret()) => {
                let user = UserId::from_uuid(self.tenant.uuid());
                Ok(Some(Identity::user(user).for_tenant(self.tenant).into_service_account()))
            }
            Some(_) => Err(Error::unauthorized("the API key is not valid")),
        }
    }
}
// ANCHOR_END: identity
