//! The handle of the router.

use std::{fmt, sync::Arc, time::Duration};

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Clock,
    data_environment::DataEnvironment,
    db::Db,
    http::{Error, FieldError},
    id::Id,
    identity::{Identity, TenantId},
    money::Money,
    payment::{PaymentError, PaymentMethodKind, PaymentProvider},
};
use serde_json::json;

use super::{
    choice::{AccountOffer, RoutedPayment, choose, obstacle},
    health::{AccountHealth, HealthBoard},
    rules::{MAX_RULES_PER_TENANT, RouteRule},
    store,
};
use crate::{
    credentials::{AccountKey, PaymentAccounts, cache::MinuteCache},
    service::FeeQuestion,
};

/// A payment for which an account is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteQuestion {
    /// The amount.
    pub amount: Money,
    /// The kind of payment method.
    pub method: PaymentMethodKind,
    /// The country of the payer, as ISO 3166-1 alpha-2 in capitals, if it is known.
    pub country: Option<String>,
    /// The only service to consider, if the caller names one.
    pub provider: Option<String>,
}

/// An account that can take a payment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteCandidate {
    /// The name of the service.
    pub service: String,
    /// The tenant's account there.
    pub provider: Arc<dyn PaymentProvider>,
    /// The estimated fee. `None` if the service has no public price for the payment.
    pub fee: Option<Money>,
    /// The reason for the place of the account in the order.
    pub reason: String,
    /// The health of the account.
    pub health: AccountHealth,
}

/// The accounts that can take a payment, in order, and those that can't.
#[derive(Debug)]
pub(super) struct RouteChoice {
    pub(super) candidates: Vec<RouteCandidate>,
    /// The names of the services, and why each can't take the payment.
    pub(super) unsuitable: Vec<(String, String)>,
}

/// The choice of the account that takes a payment of a tenant. It is in the
/// [`Context`](omnistack_core::module::Context) of an app with the module `Payments`. Cheap to clone.
#[derive(Clone)]
pub struct PaymentRouter(Arc<RouterParts>);

/// The dependencies of the router.
pub(super) struct RouterParts {
    /// The app's own database, without tenant databases.
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) log: AuditLog,
    pub(super) accounts: PaymentAccounts,
    pub(super) health: HealthBoard,
    pub(super) rules: MinuteCache<(TenantId, DataEnvironment), Vec<RouteRule>>,
}

impl PaymentRouter {
    pub(super) fn new(parts: RouterParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Returns the accounts that can take a payment, in the order in which they are tried. It is empty if the tenant
    /// has none.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn candidates(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        question: &RouteQuestion,
    ) -> Result<Vec<RouteCandidate>, Error> {
        Ok(self.choose(tenant, environment, question).await?.candidates)
    }

    /// Records the result of a call to an account, for its health: the error, or `None` after a success. It counts as
    /// a use of the account.
    pub fn record(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        service: &str,
        error: Option<&PaymentError>,
        duration: Duration,
    ) {
        let key = AccountKey { tenant, service: service.to_owned(), environment };
        self.0.health.record(key, error, duration, self.0.clock.now());
        self.0.accounts.note_use(tenant, service, environment);
    }

    /// Estimates the fee of a payment by the public prices of a service, in the currency of the payment. Returns `None`
    /// if there is no price for it, or no such service.
    pub fn estimate_fee(&self, service: &str, question: &RouteQuestion) -> Option<Money> {
        let RouteQuestion { amount, method, ref country, .. } = *question;
        let question = FeeQuestion { amount, method, country: country.clone() };
        let fee = self.0.accounts.service(service)?.estimate_fee(&question)?;
        (fee.currency() == amount.currency()).then_some(fee)
    }

    /// Returns the names of all services of the app.
    pub fn services(&self) -> Vec<&'static str> {
        self.0.accounts.services().iter().map(|service| service.name()).collect()
    }

    /// Returns the environment of payments that name none.
    pub(super) async fn default_environment(&self, tenant: TenantId) -> Result<DataEnvironment, Error> {
        self.0.accounts.default_environment(tenant).await
    }

    /// Returns the accounts that can take a payment, in order, and those that can't.
    pub(super) async fn choose(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        question: &RouteQuestion,
    ) -> Result<RouteChoice, Error> {
        let rules = self.cached_rules(tenant, environment).await?;
        let accounts = self.0.accounts.of_tenant(tenant).await?;
        let now = self.0.clock.now();
        let payment = RoutedPayment {
            amount: question.amount,
            method: question.method,
            country: question.country.as_deref(),
            named: question.provider.as_deref(),
        };
        let (mut suitable, mut unsuitable) = (Vec::new(), Vec::new());
        for (service, provider) in accounts.usable(environment) {
            if let Some(reason) = obstacle(provider.as_ref(), &payment) {
                unsuitable.push((service.to_owned(), reason));
                continue;
            }
            let key = AccountKey { tenant, service: service.to_owned(), environment };
            suitable.push(RouteCandidate {
                service: service.to_owned(),
                provider: Arc::clone(provider),
                fee: self.estimate_fee(service, question),
                reason: String::new(),
                health: self.0.health.of(&key, now),
            });
        }
        let offers: Vec<AccountOffer<'_>> = suitable.iter().map(offer).collect();
        // The lower half of an id is random.
        let (_, seed) = Id::<RouteRule>::new(now).uuid().as_u64_pair();
        let chosen = choose(&offers, &rules, &payment, seed);
        let candidates = chosen
            .into_iter()
            .map(|account| RouteCandidate { reason: account.reason, ..suitable[account.index].clone() })
            .collect();
        Ok(RouteChoice { candidates, unsuitable })
    }

    /// Returns the rules of a tenant, in order.
    ///
    /// # Errors
    /// The errors of the database.
    pub(super) async fn rules(&self, tenant: TenantId, environment: DataEnvironment) -> Result<Vec<RouteRule>, Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let rules = store::list(&mut tx, tenant, environment).await?;
        tx.commit().await?;
        Ok(rules)
    }

    /// Replaces the rules of the caller's tenant.
    ///
    /// # Errors
    /// 422 for rules that are not accepted, and 403 for an operator who impersonates a user, because the rules outlive
    /// the impersonation.
    pub(super) async fn set_rules(
        &self,
        caller: &Identity,
        environment: DataEnvironment,
        rules: &[RouteRule],
    ) -> Result<(), Error> {
        caller.deny_impersonation()?;
        let tenant = caller.require_tenant()?;
        let services = self.services();
        let problems = rules.iter().enumerate();
        let mut problems: Vec<FieldError> =
            problems.flat_map(|(index, rule)| rule.problems(&format!("rules[{index}]"), &services)).collect();
        if rules.len() > MAX_RULES_PER_TENANT {
            problems.push(FieldError::new("rules", format!("must have at most {MAX_RULES_PER_TENANT} items")));
        }
        if !problems.is_empty() {
            return Err(Error::invalid(problems));
        }
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        // Entries of one tenant's audit chain wait for each other, so two transactions don't mix their rules.
        let entry = AuditEntry::new("payment_routes.updated").actor(caller).resource("payment_routes", environment);
        self.0.log.record_in(&mut tx, entry.details(json!({ "rules": rules }))).await?;
        store::replace(&mut tx, tenant, environment, rules, self.0.clock.now()).await?;
        let router = self.clone();
        tx.on_commit(move || router.0.rules.evict(&(tenant, environment)));
        Ok(tx.commit().await?)
    }

    async fn cached_rules(&self, tenant: TenantId, environment: DataEnvironment) -> Result<Arc<Vec<RouteRule>>, Error> {
        let (key, now) = ((tenant, environment), self.0.clock.now());
        if let Some(found) = self.0.rules.get(&key, now) {
            return Ok(found);
        }
        let evictions = self.0.rules.evictions();
        let rules = Arc::new(self.rules(tenant, environment).await?);
        self.0.rules.insert(key, Arc::clone(&rules), now, evictions);
        Ok(rules)
    }
}

fn offer(candidate: &RouteCandidate) -> AccountOffer<'_> {
    AccountOffer {
        service: &candidate.service,
        fee: candidate.fee,
        is_avoided: candidate.health.avoided_until.is_some(),
    }
}

impl fmt::Debug for PaymentRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaymentRouter")
    }
}
