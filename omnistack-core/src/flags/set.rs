//! Flags, ready to be evaluated.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Context, Definition, Parent, Reason, Segment, Variant,
    rule::{Choice, CompiledRule},
};
use crate::{clock::Timestamp, http::FieldProblem};

/// What is decided for one tenant, in place of the flag's rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlagOverride)]
#[serde(deny_unknown_fields)]
pub struct TenantOverride {
    /// Whether the flag is on.
    pub enabled: bool,
    /// Which variant its callers get: one of the flag's own, or else that of their place.
    #[serde(default)]
    #[schema(required)]
    pub variant: Option<String>,
}

/// A flag's answer for one caller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evaluation {
    /// Whether it is on.
    pub enabled: bool,
    /// Which variant the caller gets; none when the flag is off or has none.
    pub variant: Option<Arc<Variant>>,
    /// Why.
    pub reason: Reason,
    /// Which rule held, counted from 0.
    pub rule: Option<usize>,
}

/// All flags at one moment, ready to be evaluated: a pure function of the flags and the [`Context`], without I/O. Finding
/// whether a flag is on allocates nothing, but where letters' case is folded.
///
/// ```
/// use omnistack_core::{clock::Clock, flags::{Context, Definition, FlagSet, Reason, Rule}};
///
/// let flags = FlagSet::new([Definition::new("new-ui").rule(Rule::users(["7"]))]);
/// let clock = Clock::system();
/// assert!(flags.is_on("new-ui", &Context::now(&clock).user("7")));
/// let answer = flags.evaluate("new-ui", &Context::now(&clock).user("8"));
/// assert_eq!((answer.enabled, answer.reason), (false, Reason::NoRule));
/// assert_eq!(flags.evaluate("unheard-of", &Context::now(&clock)).reason, Reason::Unknown);
/// ```
#[derive(Debug, Default)]
pub struct FlagSet {
    flags: Vec<Flag>,
    index: HashMap<Box<str>, usize, RandomState>,
    revision: i64,
    plans: bool,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
struct Flag {
    key: Arc<str>,
    /// On for everybody: there is nothing to look at.
    plain: bool,
    enabled: bool,
    killed: bool,
    broken: bool,
    server_only: bool,
    exposures: bool,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    parents: Box<[Depends]>,
    rules: Box<[CompiledRule]>,
    variants: Option<Choice>,
    overrides: HashMap<Box<str>, TenantOverride, RandomState>,
}

/// A parent, found.
#[derive(Debug)]
struct Depends {
    on: Option<usize>,
    enabled: bool,
    variants: Box<[Box<str>]>,
}

/// Whether, why and by which rule.
#[derive(Clone, Copy)]
struct Decision<'a> {
    enabled: bool,
    reason: Reason,
    rule: Option<usize>,
    /// A tenant's, if it decides.
    given: Option<&'a TenantOverride>,
}

impl Decision<'_> {
    fn off(reason: Reason) -> Self {
        Self { enabled: false, reason, rule: None, given: None }
    }

    fn on(reason: Reason, rule: Option<usize>) -> Self {
        Self { enabled: true, reason, rule, given: None }
    }
}

impl FlagSet {
    /// Of these flags. One that can't be carried out is [`Broken`](Reason::Broken) and off.
    pub fn new(definitions: impl IntoIterator<Item = Definition>) -> Self {
        Self::with_segments(definitions, &[])
    }

    /// Of these flags, whose rules name these segments.
    pub fn with_segments(definitions: impl IntoIterator<Item = Definition>, segments: &[Segment]) -> Self {
        let definitions: Vec<_> = definitions.into_iter().collect();
        Self::build(&definitions, segments, &BTreeMap::new(), 0)
    }

    pub(super) fn build(
        definitions: &[Definition],
        segments: &[Segment],
        overrides: &BTreeMap<String, Vec<(String, TenantOverride)>>,
        revision: i64,
    ) -> Self {
        let index: HashMap<Box<str>, usize, RandomState> =
            definitions.iter().enumerate().map(|(at, flag)| (flag.key.as_str().into(), at)).collect();
        let circling = circling(definitions, &index);
        let mut plans = false;
        let mut flags = Vec::with_capacity(definitions.len());
        for (at, definition) in definitions.iter().enumerate() {
            let rules = definition.rules.iter().map(|rule| CompiledRule::new(definition, rule, segments));
            let rules: Result<Box<[_]>, ()> = rules.collect();
            plans |= definition.rules.iter().any(|rule| rule.looks_at_plan(segments));
            let given = overrides.get(&definition.key).into_iter().flatten();
            let overrides: HashMap<_, _, _> =
                given.map(|(tenant, given)| (tenant.as_str().into(), given.clone())).collect();
            let broken = rules.is_err() || circling.contains(&at);
            let rules = rules.unwrap_or_default();
            let Definition { enabled, killed, server_only, exposures, from, until, expires_at, .. } = *definition;
            let free = !killed && from.is_none() && until.is_none() && expires_at.is_none();
            let bare = overrides.is_empty() && definition.parents.is_empty() && rules.is_empty();
            flags.push(Flag {
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
                parents: definition.parents.iter().map(|parent| Depends::new(parent, &index)).collect(),
                rules,
                variants: Choice::of_flag(definition),
                overrides,
            });
        }
        Self { flags, index, revision, plans }
    }

    /// Which state of the store it is; 0 for one that is made by hand.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// How many flags there are.
    pub fn len(&self) -> usize {
        self.flags.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.flags.is_empty()
    }

    /// The keys of all flags, in the order they were given.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.flags.iter().map(|flag| &*flag.key)
    }

    /// Whether some rule asks for the caller's plan.
    pub(super) fn asks_for_plan(&self) -> bool {
        self.plans
    }

    /// Whether callers may be told of a flag.
    pub(super) fn is_told(&self, key: &str) -> bool {
        self.find(key).is_some_and(|flag| !flag.server_only)
    }

    /// The key of a flag whose exposures are noted.
    pub(super) fn noted(&self, key: &str) -> Option<Arc<str>> {
        self.find(key).filter(|flag| flag.exposures).map(|flag| Arc::clone(&flag.key))
    }

    #[inline]
    fn find(&self, key: &str) -> Option<&Flag> {
        self.index.get(key).map(|at| &self.flags[*at])
    }

    /// Whether a flag is on for a caller; an unknown one is off.
    #[inline]
    pub fn is_on(&self, key: &str, context: &Context<'_>) -> bool {
        match self.find(key) {
            Some(flag) => flag.plain || self.decide(flag, context).enabled,
            None => false,
        }
    }

    /// Whether a flag is on for a caller, which variant they get, and why.
    pub fn evaluate(&self, key: &str, context: &Context<'_>) -> Evaluation {
        let Some(flag) = self.find(key) else {
            return Evaluation { enabled: false, variant: None, reason: Reason::Unknown, rule: None };
        };
        let decision = self.decide(flag, context);
        let variant = flag.variant(&decision, context).map(Arc::clone);
        Evaluation { enabled: decision.enabled, variant, reason: decision.reason, rule: decision.rule }
    }

    fn decide<'a>(&self, flag: &'a Flag, context: &Context<'_>) -> Decision<'a> {
        if flag.plain {
            return Decision::on(Reason::On, None);
        }
        if flag.broken {
            return Decision::off(Reason::Broken);
        }
        if flag.killed {
            return Decision::off(Reason::Killed);
        }
        let now = (flag.expires_at.is_some() || flag.from.is_some() || flag.until.is_some()).then(|| context.moment());
        let reached = |moment: Option<Timestamp>| moment.zip(now).is_some_and(|(moment, now)| now >= moment);
        if reached(flag.expires_at) {
            return Decision::off(Reason::Expired);
        }
        if !flag.overrides.is_empty()
            && let Some(given) = context.tenant.and_then(|tenant| flag.overrides.get(tenant))
        {
            return Decision { enabled: given.enabled, reason: Reason::Override, rule: None, given: Some(given) };
        }
        if !flag.enabled {
            return Decision::off(Reason::Off);
        }
        if flag.from.is_some() && !reached(flag.from) {
            return Decision::off(Reason::NotYet);
        }
        if reached(flag.until) {
            return Decision::off(Reason::Over);
        }
        if !flag.parents.iter().all(|parent| self.met(parent, context)) {
            return Decision::off(Reason::Parent);
        }
        if flag.rules.is_empty() {
            return Decision::on(Reason::On, None);
        }
        match flag.rules.iter().position(|rule| rule.holds(context)) {
            Some(rule) => Decision::on(Reason::Rule, Some(rule)),
            None => Decision::off(Reason::NoRule),
        }
    }

    /// Whether a parent is as it must be. Flags that lead back to themselves are broken, so this ends.
    fn met(&self, parent: &Depends, context: &Context<'_>) -> bool {
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

impl Flag {
    fn variant(&self, decision: &Decision<'_>, context: &Context<'_>) -> Option<&Arc<Variant>> {
        if !decision.enabled {
            return None;
        }
        let own = decision.rule.and_then(|rule| self.rules[rule].variants());
        let choice = own.or(self.variants.as_ref())?;
        let given = decision.given.and_then(|given| given.variant.as_deref());
        given.and_then(|name| choice.named(name)).or_else(|| choice.choose(context))
    }
}

impl Depends {
    fn new(parent: &Parent, index: &HashMap<Box<str>, usize, RandomState>) -> Self {
        let variants = parent.variants.iter().map(|name| name.as_str().into()).collect();
        Self { on: index.get(parent.key.as_str()).copied(), enabled: parent.enabled, variants }
    }
}

/// The flags that lead back to themselves, or to some that do.
fn circling(definitions: &[Definition], index: &HashMap<Box<str>, usize, RandomState>) -> Vec<usize> {
    // Whoever has only parents that end, ends: what is left over does not.
    let mut left: Vec<usize> = (0..definitions.len()).collect();
    loop {
        let before = left.len();
        let still = left.clone();
        left.retain(|at| {
            let mut parents = definitions[*at].parents.iter().filter_map(|parent| index.get(parent.key.as_str()));
            parents.any(|parent| still.binary_search(parent).is_ok())
        });
        if left.len() == before {
            return left;
        }
    }
}

/// What one flag's definition asks of others that they are not: parents that are unknown or lead back to it, unknown
/// segments.
pub(super) fn references(key: &str, definitions: &[Definition], segments: &[Segment]) -> Vec<FieldProblem> {
    let index: HashMap<Box<str>, usize, RandomState> =
        definitions.iter().enumerate().map(|(at, flag)| (flag.key.as_str().into(), at)).collect();
    let Some(definition) = index.get(key).map(|at| &definitions[*at]) else { return Vec::new() };
    let circling = circling(definitions, &index);
    let mut problems = Vec::new();
    for (number, parent) in definition.parents.iter().enumerate() {
        let field = format!("parents[{number}].key");
        match index.get(parent.key.as_str()) {
            None => problems.push(FieldProblem::new(field, "is no flag")),
            Some(at) if circling.contains(at) => {
                problems.push(FieldProblem::new(field, "leads back to where it began"));
            }
            Some(_) => {}
        }
    }
    for (number, rule) in definition.rules.iter().enumerate() {
        for (place, name) in rule.segments.iter().enumerate() {
            if !segments.iter().any(|segment| segment.name == *name) {
                problems.push(FieldProblem::new(format!("rules[{number}].segments[{place}]"), "is no segment"));
            }
        }
    }
    problems
}
