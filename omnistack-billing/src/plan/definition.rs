//! The definitions of plans.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use omnistack_core::{
    config::SettingValue as _,
    http::Rate,
    identity::{Plan, PlanNeed},
    money::Money,
    payment::TrialEndBehavior,
    usage::meters,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::ToSchema;

use crate::period::BillingInterval;

/// The value of a limit that allows any amount.
pub(super) const UNLIMITED: i64 = -1;
/// The group of plans that are in no other one.
const DEFAULT_GROUP: &str = "main";
/// Largest length of the key of a plan and of the name of a limit, in bytes.
const MAX_NAME_BYTES: usize = 50;
/// Largest length of the name of a plan, in characters.
const MAX_PLAN_NAME_CHARS: usize = 100;
/// Largest length of a feature, in bytes.
const MAX_FEATURE_BYTES: usize = 100;

/// The price of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PlanPrice {
    /// The plan costs nothing.
    #[default]
    Free,
    /// An amount in each interval.
    Fixed {
        /// The amount of one interval.
        price: Money,
        /// The interval, such as `month` or `3 months`.
        #[schema(value_type = String, examples("month"))]
        #[serde(serialize_with = "interval_to_text", deserialize_with = "interval_from_text")]
        interval: BillingInterval,
    },
    /// The price is agreed with each customer.
    Custom,
}

/// The definition of a plan: what it costs, includes and allows.
///
/// ```
/// use omnistack_billing::{BillingInterval, Money, PlanDefinition, PlanPrice};
/// use omnistack_core::http::Rate;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let price = PlanPrice::Fixed { price: Money::parse("29.00", "USD")?, interval: BillingInterval::MONTH };
/// let pro = PlanDefinition::new("pro", "Pro")
///     .price(price)
///     .trial_days(14)
///     .feature("sso")
///     .limit("projects", 10)
///     .limit("api_requests", 100_000)
///     .soft_limit("api_requests")
///     .rate_limit(Rate::per_minute(600))
///     .highlight("Ten projects");
/// # _ = pro;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[must_use]
#[non_exhaustive]
pub struct PlanDefinition {
    /// The stable name, such as `pro`: 1 to 50 lower-case letters, digits, `_` and `-`.
    #[schema(examples("pro"))]
    pub key: String,
    /// The version, from 1. A customer keeps the version that it has.
    pub version: u32,
    /// The name that users see.
    #[schema(examples("Pro"))]
    pub name: String,
    /// The text that describes the plan to users.
    pub description: String,
    /// The price.
    pub price: PlanPrice,
    /// The amount of a year, for customers who pay by year. Null if the plan is only sold at its `price`.
    #[serde(default)]
    #[schema(required)]
    pub yearly_price: Option<Money>,
    /// Whether the price is that of one seat. The seats that a customer buys are the limit `team_members`.
    #[serde(default)]
    pub per_seat: bool,
    /// The group of plans in which a customer has one trial, and within which it can change its plan, such as `main`.
    #[serde(default = "default_group")]
    #[schema(examples("main"))]
    pub group: String,
    /// The ids of the price at payment providers and app stores, by the name of the provider, such as `stripe`.
    #[serde(default)]
    pub provider_prices: BTreeMap<String, String>,
    /// The ids of the yearly price, by the name of the provider.
    #[serde(default)]
    pub yearly_provider_prices: BTreeMap<String, String>,
    /// The number of days for which a new customer need not pay.
    pub trial_days: u16,
    /// The action of the provider at the end of a trial that a customer has begun without a payment method. Null if the
    /// checkout of a trial asks for a payment method.
    #[serde(default)]
    #[schema(required)]
    pub trial_without_card: Option<TrialEndBehavior>,
    /// The included features, such as `sso`. `*` includes all.
    pub features: Vec<String>,
    /// The limits by the name of a meter or of a limited resource, such as `projects`: -1 is unlimited, 0 allows none.
    /// Resources without a limit are unlimited.
    pub limits: BTreeMap<String, i64>,
    /// The names of limits that are reported and not enforced.
    pub soft_limits: Vec<String>,
    /// The rate of requests, such as `600/minute`. Null if the plan sets none.
    #[schema(required, value_type = Option<String>, examples("600/minute"))]
    #[serde(serialize_with = "rate_to_text", deserialize_with = "rate_from_text")]
    pub rate_limit: Option<Rate>,
    /// The lines of a pricing page.
    pub highlights: Vec<String>,
    /// Whether the public list of plans has it.
    pub listed: bool,
}

impl PlanDefinition {
    /// Creates version 1 of a listed plan that is free, and has no features, limits or rate of requests.
    pub fn new(key: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            version: 1,
            name: name.into(),
            description: String::new(),
            price: PlanPrice::Free,
            yearly_price: None,
            per_seat: false,
            group: default_group(),
            provider_prices: BTreeMap::new(),
            yearly_provider_prices: BTreeMap::new(),
            trial_days: 0,
            trial_without_card: None,
            features: Vec::new(),
            limits: BTreeMap::new(),
            soft_limits: Vec::new(),
            rate_limit: None,
            highlights: Vec::new(),
            listed: true,
        }
    }

    /// Sets the version. Raise it with each change of what customers pay for.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Sets the text that describes the plan to users.
    pub fn describe(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Sets the price.
    pub fn price(mut self, price: PlanPrice) -> Self {
        self.price = price;
        self
    }

    /// Sets the amount of a year, for customers who pay by year.
    pub fn yearly_price(mut self, price: Money) -> Self {
        self.yearly_price = Some(price);
        self
    }

    /// Makes the price that of one seat. Customers choose how many they buy.
    pub fn per_seat(mut self) -> Self {
        self.per_seat = true;
        self
    }

    /// Sets the group of plans in which a customer has one trial, and within which it can change its plan. Default:
    /// `main`.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// Sets the id of the price at a payment provider or an app store: `.provider_price("stripe", "price_1Ab")`. The
    /// built-in fake needs none.
    pub fn provider_price(mut self, provider: impl Into<String>, id: impl Into<String>) -> Self {
        self.provider_prices.insert(provider.into(), id.into());
        self
    }

    /// Sets the id of the yearly price at a payment provider or an app store.
    pub fn yearly_provider_price(mut self, provider: impl Into<String>, id: impl Into<String>) -> Self {
        self.yearly_provider_prices.insert(provider.into(), id.into());
        self
    }

    /// Sets the number of days for which a new customer need not pay.
    pub fn trial_days(mut self, days: u16) -> Self {
        self.trial_days = days;
        self
    }

    /// Lets a customer begin the trial without a payment method, and sets what happens at its end: the subscription is
    /// paused, canceled, or billed, so that a payment is due. PayPal, Razorpay and app stores ask for a payment method
    /// nevertheless.
    pub fn trial_without_card(mut self, end: TrialEndBehavior) -> Self {
        self.trial_without_card = Some(end);
        self
    }

    /// Adds a feature. `*` adds all.
    pub fn feature(mut self, feature: impl Into<String>) -> Self {
        self.features.push(feature.into());
        self
    }

    /// Sets the limit of a meter or of a limited resource, in whole units of the meter: -1 is unlimited, 0 allows none.
    /// `requests_per_month` is another name of `api_requests`, and `storage` of `storage_bytes`.
    pub fn limit(mut self, name: &str, most: i64) -> Self {
        self.limits.insert(limit_name(name).to_owned(), most);
        self
    }

    /// Makes a meter or a limited resource unlimited, as it is without a limit, so that lists of limits have it.
    pub fn unlimited(self, name: &str) -> Self {
        self.limit(name, UNLIMITED)
    }

    /// Makes a limit soft: it is reported and not enforced.
    pub fn soft_limit(mut self, name: &str) -> Self {
        self.soft_limits.push(limit_name(name).to_owned());
        self
    }

    /// Sets the rate of requests of a tenant, in addition to the limits of routes.
    pub fn rate_limit(mut self, rate: Rate) -> Self {
        self.rate_limit = Some(rate);
        self
    }

    /// Adds a line of a pricing page.
    pub fn highlight(mut self, line: impl Into<String>) -> Self {
        self.highlights.push(line.into());
        self
    }

    /// Leaves the plan out of the public list of plans, and of the upgrades that errors name.
    pub fn unlisted(mut self) -> Self {
        self.listed = false;
        self
    }

    /// Returns what the app enforces: soft limits and unlimited ones are left out.
    pub(crate) fn to_plan(&self) -> Plan {
        let mut plan = Plan::new(&self.key);
        plan.features.clone_from(&self.features);
        plan.rate_limit = self.rate_limit;
        let hard = self.limits.iter().filter(|(name, _)| !self.soft_limits.contains(name));
        plan.limits = hard.filter_map(|(name, most)| Some((name.clone(), u64::try_from(*most).ok()?))).collect();
        plan
    }

    /// Returns whether the plan meets a need.
    pub(super) fn meets(&self, need: PlanNeed<'_>) -> bool {
        let plan = self.to_plan();
        match need {
            PlanNeed::Feature(feature) => plan.has_feature(feature),
            PlanNeed::Limit { name, amount } => plan.allows(limit_name(name), amount),
        }
    }

    /// Returns whether a customer gets and pays the same by another definition. Texts and lists of plans may differ.
    pub(super) fn has_terms_of(&self, other: &Self) -> bool {
        self.terms() == other.terms()
    }

    fn terms(&self) -> PlanTerms<'_> {
        let Self {
            key,
            version,
            name: _,
            description: _,
            price,
            yearly_price,
            per_seat,
            group: _,
            provider_prices: _,
            yearly_provider_prices: _,
            trial_days,
            trial_without_card: _,
            features,
            limits,
            soft_limits,
            rate_limit,
            highlights: _,
            listed: _,
        } = self;
        PlanTerms {
            key,
            version: *version,
            price: *price,
            yearly_price: *yearly_price,
            per_seat: *per_seat,
            trial_days: *trial_days,
            features: features.iter().collect(),
            limits: limits.iter().filter(|(_, most)| **most != UNLIMITED).collect(),
            soft_limits: soft_limits.iter().filter(|name| limits.get(*name) != Some(&UNLIMITED)).collect(),
            rate_limit: *rate_limit,
        }
    }

    /// Returns the problems of the definition by itself.
    pub(super) fn problems(&self) -> Vec<PlanProblem> {
        let mut problems = Vec::new();
        let mut report = |field: &str, message: String| problems.push(PlanProblem::of_plan(&self.key, field, message));
        if !is_name(&self.key) {
            report("key", format!("must be {NAME_FORM}"));
        }
        if self.version == 0 || i32::try_from(self.version).is_err() {
            report("version", format!("must be a number from 1 to {}", i32::MAX));
        }
        if self.name.is_empty() || self.name.chars().count() > MAX_PLAN_NAME_CHARS {
            report("name", format!("must have 1 to {MAX_PLAN_NAME_CHARS} characters"));
        }
        if let PlanPrice::Fixed { price, .. } = self.price {
            if price.minor() <= 0 {
                report("price", format!("is {price}; it must be more than zero, or `free`"));
            }
            if price.currency().is_special() {
                report("price", format!("is in {}, in which customers can't pay", price.currency().code()));
            }
        }
        self.report_sale_problems(&mut report);
        for feature in self.features.iter().filter(|feature| !is_feature(feature)) {
            let form = format!("must be `*` or have 1 to {MAX_FEATURE_BYTES} bytes without spaces");
            report("features", format!("has `{feature}`; a feature {form}"));
        }
        for (name, most) in &self.limits {
            let field = format!("limits.{name}");
            if !is_name(name) {
                report(&field, format!("must be named with {NAME_FORM}"));
            }
            if limit_name(name) != name {
                report(&field, format!("must be named `{}`", limit_name(name)));
            }
            if *most < UNLIMITED {
                report(&field, format!("is {most}; it must be {UNLIMITED} (unlimited), 0 (none) or more"));
            }
        }
        for name in self.soft_limits.iter().filter(|name| !self.limits.contains_key(*name)) {
            report("soft_limits", format!("has `{name}`, for which the plan has no limit; set it in `limits`"));
        }
        if let Some(rate) = self.rate_limit
            && Rate::parse(&rate.to_string()) != Ok(rate)
        {
            report("rate_limit", format!("is {rate}; it must be a rate such as `600/minute`"));
        }
        problems
    }
}

/// The part of a definition that says what a customer gets and pays.
#[derive(PartialEq, Eq)]
struct PlanTerms<'a> {
    key: &'a str,
    version: u32,
    price: PlanPrice,
    yearly_price: Option<Money>,
    per_seat: bool,
    trial_days: u16,
    features: BTreeSet<&'a String>,
    limits: BTreeMap<&'a String, &'a i64>,
    soft_limits: BTreeSet<&'a String>,
    rate_limit: Option<Rate>,
}

fn default_group() -> String {
    DEFAULT_GROUP.to_owned()
}

/// Returns the name of a limit, which may be given by another name.
pub(crate) fn limit_name(name: &str) -> &str {
    match name {
        "requests_per_month" => meters::API_REQUESTS,
        "storage" => meters::STORAGE_BYTES,
        _ => name,
    }
}

/// The form of keys and names, for messages.
pub(super) const NAME_FORM: &str = "1 to 50 lower-case letters, digits, `_` and `-`";

pub(super) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(plain)
}

pub(super) fn is_feature(text: &str) -> bool {
    let plain = |character: char| !character.is_whitespace() && !character.is_control();
    (1..=MAX_FEATURE_BYTES).contains(&text.len()) && text.chars().all(plain)
}

/// A problem of a catalogue: the plan, the field and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlanProblem {
    /// The key of the plan; `None` for a problem of the catalogue.
    plan: Option<String>,
    field: String,
    message: String,
}

impl PlanProblem {
    pub(super) fn of_plan(key: &str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { plan: Some(key.to_owned()), field: field.into(), message: message.into() }
    }

    pub(super) fn of_catalogue(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { plan: None, field: field.into(), message: message.into() }
    }

    /// Returns whether another problem is about the same field.
    pub(super) fn is_at_field_of(&self, other: &Self) -> bool {
        self.plan == other.plan && self.field == other.field
    }
}

impl fmt::Display for PlanProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, field, message } = self;
        match plan {
            Some(plan) => write!(f, "plan `{plan}`, `{field}`: {message}"),
            None => write!(f, "`{field}`: {message}"),
        }
    }
}

fn interval_to_text<T: fmt::Display, S: Serializer>(interval: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(interval)
}

fn interval_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BillingInterval, D::Error> {
    String::deserialize(deserializer)?.parse::<BillingInterval>().map_err(D::Error::custom)
}

#[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
fn rate_to_text<S: Serializer>(rate: &Option<Rate>, serializer: S) -> Result<S::Ok, S::Error> {
    rate.map(|rate| rate.to_string()).serialize(serializer)
}

fn rate_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| Rate::parse(&text)).transpose().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests;
