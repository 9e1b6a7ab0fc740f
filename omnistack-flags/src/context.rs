//! The evaluation context of flags.

use std::{collections::BTreeMap, sync::Arc};

use http::request::Parts;

use omnistack_core::{
    clock::{Clock, Timestamp},
    identity::Plan,
};

/// Evaluation context: the user, tenant, time and attributes that a flag is evaluated for. All values are
/// borrowed, so creating one allocates nothing.
///
/// ```
/// use omnistack_core::clock::Clock;
/// use omnistack_flags::EvaluationContext;
///
/// let clock = Clock::system();
/// let context = EvaluationContext::now(&clock).user("7").attributes(&[("country", "NO")]);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct EvaluationContext<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) session: Option<&'a str>,
    pub(super) tenant: Option<&'a str>,
    pub(super) address: Option<&'a str>,
    pub(crate) environment: Option<&'a str>,
    pub(super) app: Option<&'a str>,
    pub(super) plan: Option<&'a Plan>,
    attributes: AttributeSource<'a>,
    moment: EvaluationTime<'a>,
    draw: fn() -> u32,
}

#[derive(Clone, Copy, Debug)]
enum AttributeSource<'a> {
    Pairs(&'a [(&'a str, &'a str)]),
    Map(&'a BTreeMap<String, String>),
}

/// Time of the evaluation; the clock is read only if the flag depends on it.
#[derive(Clone, Copy, Debug)]
enum EvaluationTime<'a> {
    Fixed(Timestamp),
    Clock(&'a Clock),
}

impl<'a> EvaluationContext<'a> {
    /// Creates a context without a user, at the clock's time.
    pub fn now(clock: &'a Clock) -> Self {
        Self::new(EvaluationTime::Clock(clock))
    }

    /// Creates a context without a user, at a fixed time.
    pub fn at(moment: Timestamp) -> Self {
        Self::new(EvaluationTime::Fixed(moment))
    }

    fn new(moment: EvaluationTime<'a>) -> Self {
        Self {
            user: None,
            session: None,
            tenant: None,
            address: None,
            environment: None,
            app: None,
            plan: None,
            attributes: AttributeSource::Pairs(&[]),
            moment,
            draw: rand::random,
        }
    }

    /// Sets the user: `userId`, the targeting key.
    pub fn user(mut self, user: impl Into<Option<&'a str>>) -> Self {
        self.user = user.into();
        self
    }

    /// Sets the session: `sessionId`.
    pub fn session(mut self, session: impl Into<Option<&'a str>>) -> Self {
        self.session = session.into();
        self
    }

    /// Sets the tenant: `tenantId`, a UUID in lower case.
    pub fn tenant(mut self, tenant: impl Into<Option<&'a str>>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// Sets the client's address: `remoteAddress`.
    pub fn address(mut self, address: impl Into<Option<&'a str>>) -> Self {
        self.address = address.into();
        self
    }

    /// Sets the app's environment: `environment`.
    pub fn environment(mut self, environment: impl Into<Option<&'a str>>) -> Self {
        self.environment = environment.into();
        self
    }

    /// Sets the app's name: `appName`.
    pub fn app(mut self, app: impl Into<Option<&'a str>>) -> Self {
        self.app = app.into();
        self
    }

    /// Sets the plan of the caller's tenant; `plan` is its key.
    pub fn plan(mut self, plan: impl Into<Option<&'a Plan>>) -> Self {
        self.plan = plan.into();
        self
    }

    /// Sets the app's attributes, replacing those set before.
    pub fn attributes(mut self, attributes: &'a [(&'a str, &'a str)]) -> Self {
        self.attributes = AttributeSource::Pairs(attributes);
        self
    }

    /// Sets the app's attributes from a map, replacing those set before.
    pub fn attribute_map(mut self, attributes: &'a BTreeMap<String, String>) -> Self {
        self.attributes = AttributeSource::Map(attributes);
        self
    }

    /// Sets the source of random numbers, used where no id assigns the caller.
    pub fn random_source(mut self, draw: fn() -> u32) -> Self {
        self.draw = draw;
        self
    }

    pub(super) fn moment(&self) -> Timestamp {
        match self.moment {
            EvaluationTime::Fixed(moment) => moment,
            EvaluationTime::Clock(clock) => clock.now(),
        }
    }

    pub(super) fn random(&self) -> u32 {
        (self.draw)()
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&'a str> {
        match self.attributes {
            AttributeSource::Pairs(pairs) => pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value),
            AttributeSource::Map(map) => map.get(name).map(String::as_str),
        }
    }

    /// Returns the value of an attribute. The current time has no text, so it is `None`.
    #[inline]
    pub(super) fn value(&self, field: &ContextField) -> Option<&'a str> {
        match field {
            ContextField::User => self.user,
            ContextField::Session => self.session,
            ContextField::Tenant => self.tenant,
            ContextField::Address => self.address,
            ContextField::Environment => self.environment,
            ContextField::App => self.app,
            ContextField::Plan => self.plan.map(|plan| plan.key.as_str()),
            ContextField::Time => None,
            ContextField::Own(name) => self.attribute(name),
        }
    }
}

/// Attribute of a context. Built-in attributes are resolved once, so that evaluation compares no names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ContextField {
    User,
    Session,
    Tenant,
    Address,
    Environment,
    App,
    Plan,
    Time,
    Own(Box<str>),
}

impl ContextField {
    pub(super) fn new(name: &str) -> Self {
        match name {
            "userId" => Self::User,
            "sessionId" => Self::Session,
            "tenantId" => Self::Tenant,
            "remoteAddress" => Self::Address,
            "environment" => Self::Environment,
            "appName" => Self::App,
            "plan" => Self::Plan,
            "currentTime" => Self::Time,
            name => Self::Own(name.into()),
        }
    }
}

/// Function that reads the app's attributes from a request.
pub(super) type AttributeReader = Arc<dyn Fn(&Parts) -> Vec<(String, String)> + Send + Sync>;
