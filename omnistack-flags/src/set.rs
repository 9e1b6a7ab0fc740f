//! Compiled flags, ready to be evaluated.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    EvaluationContext, FlagDefinition, FlagReason, FlagVariant, Prerequisite, Segment,
    references::References,
    rule::{CompiledRule, CompiledVariants},
};
use omnistack_core::clock::Timestamp;

/// Override of a flag for one tenant, in place of the flag's rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagOverride)]
#[serde(deny_unknown_fields)]
pub struct TenantOverride {
    /// Whether the flag is on for the tenant.
    pub enabled: bool,
    /// Name of the flag's variant that the tenant's callers get. If absent or unknown, each caller gets a
    /// variant by its weight.
    #[serde(default)]
    #[schema(required)]
    pub variant: Option<String>,
}

/// Result of evaluating a flag for a context.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evaluation {
    /// Whether the flag is on.
    pub enabled: bool,
    /// Variant that the caller gets; `None` if the flag is off or has no variants.
    pub variant: Option<Arc<FlagVariant>>,
    /// Reason why the flag is on or off.
    pub reason: FlagReason,
    /// Index of the rule that matched, counted from 0; `None` if no rule decided.
    pub rule: Option<usize>,
}

/// All flags at one time, compiled for evaluation. Evaluating is a pure function of the flags and the
/// [`EvaluationContext`], without I/O. Finding out whether a flag is on allocates nothing, unless a constraint ignores
/// case.
///
/// ```
/// use omnistack_core::clock::Clock;
/// use omnistack_flags::{EvaluationContext, FlagDefinition, FlagSet, FlagReason, FlagRule};
///
/// let flags = FlagSet::new([FlagDefinition::new("new-ui").rule(FlagRule::users(["7"]))]);
/// let clock = Clock::system();
/// assert!(flags.is_on("new-ui", &EvaluationContext::now(&clock).user("7")));
/// let evaluation = flags.evaluate("new-ui", &EvaluationContext::now(&clock).user("8"));
/// assert_eq!((evaluation.enabled, evaluation.reason), (false, FlagReason::NoRule));
/// assert_eq!(flags.evaluate("unheard-of", &EvaluationContext::now(&clock)).reason, FlagReason::Unknown);
/// ```
#[derive(Debug, Default)]
pub struct FlagSet {
    flags: Vec<CompiledFlag>,
    index: HashMap<Box<str>, usize, RandomState>,
    revision: i64,
    plans: bool,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
struct CompiledFlag {
    key: Arc<str>,
    /// Whether the flag is on for every caller, so that nothing needs to be evaluated.
    plain: bool,
    enabled: bool,
    killed: bool,
    broken: bool,
    server_only: bool,
    exposures: bool,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    parents: Box<[CompiledPrerequisite]>,
    rules: Box<[CompiledRule]>,
    variants: Option<CompiledVariants>,
    overrides: HashMap<Box<str>, TenantOverride, RandomState>,
}

/// Prerequisite with the index of its flag, which is `None` if there is no such flag.
#[derive(Debug)]
struct CompiledPrerequisite {
    on: Option<usize>,
    enabled: bool,
    variants: Box<[Box<str>]>,
}

/// Result of a decision: whether the flag is on, why, and by which rule.
#[derive(Clone, Copy)]
struct Decision<'a> {
    enabled: bool,
    reason: FlagReason,
    rule: Option<usize>,
    /// Tenant's override, if it decided.
    given: Option<&'a TenantOverride>,
}

impl Decision<'_> {
    fn off(reason: FlagReason) -> Self {
        Self { enabled: false, reason, rule: None, given: None }
    }

    fn on(reason: FlagReason, rule: Option<usize>) -> Self {
        Self { enabled: true, reason, rule, given: None }
    }
}

impl FlagSet {
    /// Compiles flags. A flag that can't be evaluated is off with [`ChainBreak`](FlagReason::Broken).
    pub fn new(definitions: impl IntoIterator<Item = FlagDefinition>) -> Self {
        Self::with_segments(definitions, &[])
    }

    /// Compiles flags whose rules use these segments.
    pub fn with_segments(definitions: impl IntoIterator<Item = FlagDefinition>, segments: &[Segment]) -> Self {
        let definitions: Vec<_> = definitions.into_iter().collect();
        Self::build(&definitions, segments, &BTreeMap::new(), 0)
    }

    pub(super) fn build(
        definitions: &[FlagDefinition],
        segments: &[Segment],
        overrides: &BTreeMap<String, Vec<(String, TenantOverride)>>,
        revision: i64,
    ) -> Self {
        let references = References::new(definitions, segments);
        let mut plans = false;
        let mut flags = Vec::with_capacity(definitions.len());
        for (at, definition) in definitions.iter().enumerate() {
            let rules = definition.rules.iter().map(|rule| CompiledRule::new(definition, rule, &references));
            let rules: Result<Box<[_]>, ()> = rules.collect();
            plans |= definition.rules.iter().any(|rule| rule.depends_on_plan(&references));
            let given = overrides.get(&definition.key).into_iter().flatten();
            let overrides: HashMap<_, _, _> =
                given.map(|(tenant, given)| (tenant.as_str().into(), given.clone())).collect();
            let broken = rules.is_err() || references.is_in_cycle(at);
            let rules = rules.unwrap_or_default();
            let FlagDefinition { enabled, killed, server_only, exposures, from, until, expires_at, .. } = *definition;
            let free = !killed && from.is_none() && until.is_none() && expires_at.is_none();
            let bare = overrides.is_empty() && definition.parents.is_empty() && rules.is_empty();
            flags.push(CompiledFlag {
                key: definition.key.as_str().into(),
                plain: enabled && !broken && free && bare,
                enabled,
                killed,
                broken,
                server_only,
                exposures,
                from,
                until,
                expires_at,
                parents: definition
                    .parents
                    .iter()
                    .map(|parent| CompiledPrerequisite::new(parent, &references))
                    .collect(),
                rules,
                variants: CompiledVariants::of_flag(definition),
                overrides,
            });
        }
        let index = definitions.iter().enumerate().map(|(at, flag)| (flag.key.as_str().into(), at)).collect();
        Self { flags, index, revision, plans }
    }

    /// Returns the revision of the stored state; 0 for a set created in code.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Returns the number of flags.
    pub fn len(&self) -> usize {
        self.flags.len()
    }

    /// Returns whether there are no flags.
    pub fn is_empty(&self) -> bool {
        self.flags.is_empty()
    }

    /// Returns the keys of all flags, in the order in which they were given.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.flags.iter().map(|flag| &*flag.key)
    }

    /// Returns whether some rule depends on the tenant's plan.
    pub(super) fn depends_on_plan(&self) -> bool {
        self.plans
    }

    /// Returns whether a flag exists and is visible to callers.
    pub(super) fn is_visible(&self, key: &str) -> bool {
        self.find(key).is_some_and(|flag| !flag.server_only)
    }

    /// Returns the flag's key if its exposures are recorded.
    pub(super) fn exposure_key(&self, key: &str) -> Option<Arc<str>> {
        self.find(key).filter(|flag| flag.exposures).map(|flag| Arc::clone(&flag.key))
    }

    #[inline]
    fn find(&self, key: &str) -> Option<&CompiledFlag> {
        self.index.get(key).map(|at| &self.flags[*at])
    }

    /// Returns whether a flag is on for a context; an unknown flag is off.
    #[inline]
    pub fn is_on(&self, key: &str, context: &EvaluationContext<'_>) -> bool {
        match self.find(key) {
            Some(flag) => flag.plain || self.decide(flag, context).enabled,
            None => false,
        }
    }

    /// Returns whether a flag is on for a context, which variant it gives, and why.
    pub fn evaluate(&self, key: &str, context: &EvaluationContext<'_>) -> Evaluation {
        let Some(flag) = self.find(key) else {
            return Evaluation { enabled: false, variant: None, reason: FlagReason::Unknown, rule: None };
        };
        let decision = self.decide(flag, context);
        let variant = flag.variant(&decision, context).map(Arc::clone);
        Evaluation { enabled: decision.enabled, variant, reason: decision.reason, rule: decision.rule }
    }

    fn decide<'a>(&self, flag: &'a CompiledFlag, context: &EvaluationContext<'_>) -> Decision<'a> {
        if flag.plain {
            return Decision::on(FlagReason::On, None);
        }
        if flag.broken {
            return Decision::off(FlagReason::Broken);
        }
        if flag.killed {
            return Decision::off(FlagReason::Killed);
        }
        let now = (flag.expires_at.is_some() || flag.from.is_some() || flag.until.is_some()).then(|| context.moment());
        let reached = |moment: Option<Timestamp>| moment.zip(now).is_some_and(|(moment, now)| now >= moment);
        if reached(flag.expires_at) {
            return Decision::off(FlagReason::Expired);
        }
        if !flag.overrides.is_empty()
            && let Some(given) = context.tenant.and_then(|tenant| flag.overrides.get(tenant))
        {
            return Decision { enabled: given.enabled, reason: FlagReason::Override, rule: None, given: Some(given) };
        }
        if !flag.enabled {
            return Decision::off(FlagReason::Off);
        }
        if flag.from.is_some() && !reached(flag.from) {
            return Decision::off(FlagReason::NotStarted);
        }
        if reached(flag.until) {
            return Decision::off(FlagReason::Ended);
        }
        if !flag.parents.iter().all(|parent| self.is_prerequisite_met(parent, context)) {
            return Decision::off(FlagReason::Parent);
        }
        if flag.rules.is_empty() {
            return Decision::on(FlagReason::On, None);
        }
        match flag.rules.iter().position(|rule| rule.holds(context)) {
            Some(rule) => Decision::on(FlagReason::Rule, Some(rule)),
            None => Decision::off(FlagReason::NoRule),
        }
    }

    /// Returns whether a prerequisite is met. The recursion ends, because flags whose prerequisites form a
    /// cycle are broken.
    fn is_prerequisite_met(&self, parent: &CompiledPrerequisite, context: &EvaluationContext<'_>) -> bool {
        let Some(flag) = parent.on.map(|at| &self.flags[at]) else { return false };
        let decision = self.decide(flag, context);
        if decision.enabled != parent.enabled {
            return false;
        }
        if !parent.enabled || parent.variants.is_empty() {
            return true;
        }
        let variant = flag.variant(&decision, context).map_or("disabled", |variant| variant.name.as_str());
        parent.variants.iter().any(|name| **name == *variant)
    }
}

impl CompiledFlag {
    fn variant(&self, decision: &Decision<'_>, context: &EvaluationContext<'_>) -> Option<&Arc<FlagVariant>> {
        if !decision.enabled {
            return None;
        }
        let own = decision.rule.and_then(|rule| self.rules[rule].variants());
        let choice = own.or(self.variants.as_ref())?;
        let given = decision.given.and_then(|given| given.variant.as_deref());
        given.and_then(|name| choice.named(name)).or_else(|| choice.choose(context))
    }
}

impl CompiledPrerequisite {
    fn new(parent: &Prerequisite, references: &References<'_>) -> Self {
        let variants = parent.variants.iter().map(|name| name.as_str().into()).collect();
        Self { on: references.flag(&parent.key), enabled: parent.enabled, variants }
    }
}
