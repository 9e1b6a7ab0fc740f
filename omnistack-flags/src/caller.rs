//! Flags evaluated for the caller of a request.

use std::{collections::BTreeMap, fmt, sync::Arc};

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;

use crate::{Evaluation, EvaluationContext, FlagSet, Flags};
use omnistack_core::{
    http::{Error, layer::ClientAddr},
    identity::{Identity, Plan},
};

/// The app's flags, evaluated for the caller of a request: its user, session, tenant, the tenant's plan, the
/// client's address and the app's attributes. On public mounts only the address is set.
///
/// It is an extractor for every state that holds [`Flags`] (`FromRef`). All evaluations of one value use the
/// same state of the flags. Evaluations of flags with `exposures` are recorded.
///
/// ```
/// use omnistack_flags::CallerFlags;
/// use omnistack_core::http::Json;
///
/// async fn prices(flags: CallerFlags) -> Json<u32> {
///     Json(if flags.is_on("new-prices") { 12 } else { 9 })
/// }
/// ```
#[derive(Clone)]
pub struct CallerFlags {
    flags: Flags,
    set: Arc<FlagSet>,
    identity: Option<Identity>,
    user: Option<String>,
    session: Option<String>,
    tenant: Option<String>,
    address: Option<String>,
    plan: Option<Arc<Plan>>,
    attributes: BTreeMap<String, String>,
}

impl CallerFlags {
    /// Creates the caller's flags of a request. The tenant's plan is read only if some rule depends on it; if
    /// reading it fails, flags are evaluated without a plan.
    pub async fn for_request(flags: &Flags, request: &Parts) -> Self {
        let attributes = flags.attributes().map(|read| read(request).into_iter().collect()).unwrap_or_default();
        let identity = request.extensions.get::<Identity>().cloned();
        let address = request.extensions.get::<ClientAddr>().map(|client| client.0.to_string());
        let set = flags.snapshot();
        let tenant = identity.as_ref().and_then(|caller| caller.tenant);
        let plan = match tenant.filter(|_| set.depends_on_plan()) {
            None => None,
            Some(tenant) => match flags.entitlements().plan(tenant).await {
                Ok(plan) => Some(plan),
                Err(error) => {
                    tracing::warn!(target: "omnistack::flags", %tenant, %error, "can't read a tenant's plan; using none");
                    None
                }
            },
        };
        Self {
            flags: flags.clone(),
            set,
            user: identity.as_ref().map(|caller| caller.user.to_string()),
            session: identity.as_ref().and_then(|caller| caller.session).map(|session| session.to_string()),
            tenant: tenant.map(|tenant| tenant.to_string()),
            identity,
            address,
            plan,
            attributes,
        }
    }

    /// Sets an attribute of the app.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Returns the caller's evaluation context.
    pub fn context(&self) -> EvaluationContext<'_> {
        let environment = self.flags.environment();
        EvaluationContext::now(self.flags.clock())
            .user(self.user.as_deref())
            .session(self.session.as_deref())
            .tenant(self.tenant.as_deref())
            .address(self.address.as_deref())
            .environment((!environment.is_empty()).then_some(environment))
            .plan(self.plan.as_deref())
            .attribute_map(&self.attributes)
    }

    /// Returns whether a flag is on; an unknown flag is off.
    pub fn is_on(&self, key: &str) -> bool {
        if self.set.exposure_key(key).is_some() {
            return self.evaluate(key).enabled;
        }
        self.set.is_on(key, &self.context())
    }

    /// Returns whether a flag is on, which variant the caller gets, and why.
    pub fn evaluate(&self, key: &str) -> Evaluation {
        let evaluation = self.set.evaluate(key, &self.context());
        if let Some(key) = self.set.exposure_key(key) {
            self.flags.recorder().record(key, &evaluation, self.identity.as_ref(), self.flags.clock());
        }
        evaluation
    }

    /// Evaluates every flag that is visible to callers, without recording exposures.
    pub(super) fn all(&self) -> Vec<(String, Evaluation)> {
        let context = self.context();
        let told = self.set.keys().filter(|key| self.set.is_visible(key));
        told.map(|key| (key.to_owned(), self.set.evaluate(key, &context))).collect()
    }

    pub(super) fn is_visible(&self, key: &str) -> bool {
        self.set.is_visible(key)
    }
}

impl<S> FromRequestParts<S> for CallerFlags
where
    S: Send + Sync,
    Flags: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Ok(Self::for_request(&Flags::from_ref(state), parts).await)
    }
}

impl fmt::Debug for CallerFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerFlags").field("user", &self.user).field("tenant", &self.tenant).finish_non_exhaustive()
    }
}
