//! Validation of changes: computes the steps of a change from the current state, without I/O.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use crate::{FlagDefinition, FlagError, Segment, TenantOverride, UnleashImport, references::References, validate};
use omnistack_core::{http::FieldError, identity::TenantId};

/// Current flags, segments, overrides and revisions.
#[derive(Debug, Default)]
pub(super) struct CurrentFlags {
    pub(super) flags: Vec<FlagDefinition>,
    pub(super) segments: Vec<Segment>,
    pub(super) overrides: Vec<(String, TenantId, TenantOverride)>,
    pub(super) revisions: BTreeMap<String, i64>,
}

impl CurrentFlags {
    fn flag(&self, key: &str) -> Option<&FlagDefinition> {
        self.flags.iter().find(|flag| flag.key == key)
    }
}

/// Change requested by an operator.
#[derive(Debug)]
pub(super) enum ChangeRequest {
    Create(Box<FlagDefinition>),
    /// The definition, and the revision that the flag must still have.
    Replace(Box<FlagDefinition>, Option<i64>),
    Remove(String),
    Kill(String, bool),
    Override(String, TenantId, Option<TenantOverride>),
    SaveSegment(Segment),
    RemoveSegment(String),
    Import(Box<UnleashImport>),
}

/// Write that is part of a change.
#[derive(Debug)]
pub(super) enum ChangeStep {
    Save { flag: Box<FlagDefinition>, action: &'static str },
    Remove(String),
    Override { key: String, tenant: TenantId, given: Option<TenantOverride> },
    SaveSegment(Segment),
    RemoveSegment(String),
}

impl ChangeRequest {
    /// Validates each flag and segment on its own. This compiles every pattern, so it is done before the
    /// transaction begins.
    ///
    /// # Errors
    ///
    /// Fails with [`FlagError::Invalid`], which names each invalid field.
    pub(super) fn check(&self) -> Result<(), FlagError> {
        let (flags, segments) = self.saved();
        let mut problems: Vec<_> = segments.iter().flat_map(validate::segment).collect();
        let (mut names, mut keys) = (HashSet::new(), HashSet::new());
        let twice = segments.iter().filter(|segment| !names.insert(&segment.name));
        problems.extend(twice.map(|segment| FieldError::new("segments", format!("repeats `{}`", segment.name))));
        for flag in flags {
            let twice = (!keys.insert(&flag.key)).then(|| FieldError::new("key", "must occur only once"));
            problems.extend(
                validate::definition(flag).into_iter().chain(twice).map(|one| self.with_request_path(flag, one)),
            );
        }
        reject_problems(problems)
    }

    /// Returns the flags and segments that the change writes as a whole.
    fn saved(&self) -> (&[FlagDefinition], &[Segment]) {
        match self {
            Self::Create(flag) | Self::Replace(flag, _) => (std::slice::from_ref(flag), &[]),
            Self::SaveSegment(segment) => (&[], std::slice::from_ref(segment)),
            Self::Import(import) => (&import.flags, &import.segments),
            Self::Remove(_) | Self::Kill(..) | Self::Override(..) | Self::RemoveSegment(_) => (&[], &[]),
        }
    }

    /// Prefixes a problem of a flag with the flag's position in the request.
    fn with_request_path(&self, flag: &FlagDefinition, problem: FieldError) -> FieldError {
        match self {
            Self::Import(_) => FieldError::new(format!("features.{}.{}", flag.key, problem.field), problem.message),
            _ => problem,
        }
    }

    /// Checks that the prerequisites and segments of the flags to write exist, either stored or as part of the
    /// change.
    fn check_references(&self, known: &CurrentFlags) -> Result<(), FlagError> {
        let (flags, segments) = self.saved();
        let written: HashSet<_> = flags.iter().map(|flag| flag.key.as_str()).collect();
        let kept = known.flags.iter().filter(|flag| !written.contains(flag.key.as_str()));
        let references = References::new(kept.chain(flags), known.segments.iter().chain(segments));
        let problems = |flag| references.problems(flag).into_iter().map(|one| self.with_request_path(flag, one));
        reject_problems(flags.iter().flat_map(problems).collect())
    }

    /// Returns the steps of the change. Fails if the change conflicts with the current state. The change must
    /// have been [checked](Self::check).
    pub(super) fn steps(self, known: &CurrentFlags) -> Result<Vec<ChangeStep>, FlagError> {
        self.check_references(known)?;
        let there = |key: &str| known.flag(key).ok_or_else(|| FlagError::NotFound(format!("the flag `{key}`")));
        match self {
            Self::Create(flag) => {
                if known.flag(&flag.key).is_some() {
                    return Err(FlagError::Exists(flag.key));
                }
                Ok(vec![ChangeStep::Save { flag, action: "created" }])
            }
            Self::Replace(flag, expected) => {
                there(&flag.key)?;
                let found = known.revisions.get(&flag.key).copied().unwrap_or_default();
                if expected.is_some_and(|expected| expected != found) {
                    return Err(FlagError::Changed { key: flag.key, revision: found });
                }
                Ok(vec![ChangeStep::Save { flag, action: "updated" }])
            }
            Self::Remove(key) => {
                there(&key)?;
                let depends =
                    |flag: &&FlagDefinition| flag.parents.iter().any(|parent| parent.key == key) && flag.key != key;
                let by: Vec<_> = known.flags.iter().filter(depends).map(|flag| flag.key.clone()).collect();
                if by.is_empty() { Ok(vec![ChangeStep::Remove(key)]) } else { Err(FlagError::InUse { what: key, by }) }
            }
            Self::Kill(key, killed) => {
                let mut flag = there(&key)?.clone();
                flag.killed = killed;
                // The definition is not checked, so that a flag that this release would reject can be killed.
                Ok(vec![ChangeStep::Save { flag: Box::new(flag), action: if killed { "killed" } else { "revived" } }])
            }
            Self::Override(key, tenant, given) => {
                let flag = there(&key)?;
                let set = known.overrides.iter().any(|(of, whose, _)| *of == key && *whose == tenant);
                if given.is_none() && !set {
                    return Err(FlagError::NotFound(format!("an override of `{key}` for this tenant")));
                }
                if let Some(name) = given.as_ref().and_then(|given| given.variant.as_ref())
                    && !flag.variants.iter().any(|variant| variant.name == *name)
                {
                    return Err(FlagError::Invalid(vec![FieldError::new(
                        "variant",
                        "must be one of the flag's variants",
                    )]));
                }
                Ok(vec![ChangeStep::Override { key, tenant, given }])
            }
            Self::SaveSegment(segment) => Ok(vec![ChangeStep::SaveSegment(segment)]),
            Self::RemoveSegment(name) => {
                if !known.segments.iter().any(|segment| segment.name == name) {
                    return Err(FlagError::NotFound(format!("the segment `{name}`")));
                }
                let names = |flag: &&FlagDefinition| flag.rules.iter().any(|rule| rule.segments.contains(&name));
                let by: Vec<_> = known.flags.iter().filter(names).map(|flag| flag.key.clone()).collect();
                if by.is_empty() {
                    Ok(vec![ChangeStep::RemoveSegment(name)])
                } else {
                    Err(FlagError::InUse { what: name, by })
                }
            }
            Self::Import(import) => {
                let UnleashImport { flags, segments, .. } = *import;
                let segments = segments.into_iter().map(ChangeStep::SaveSegment);
                let flags = flags.into_iter().map(|flag| ChangeStep::Save { flag: Box::new(flag), action: "imported" });
                Ok(segments.chain(flags).collect())
            }
        }
    }
}

fn reject_problems(problems: Vec<FieldError>) -> Result<(), FlagError> {
    if problems.is_empty() { Ok(()) } else { Err(FlagError::Invalid(problems)) }
}

impl ChangeStep {
    /// Returns the action as it is stored in the history.
    pub(super) fn action(&self) -> &'static str {
        match self {
            Self::Save { action, .. } => action,
            Self::Remove(_) | Self::RemoveSegment(_) => "removed",
            Self::Override { given: Some(_), .. } => "override_set",
            Self::Override { given: None, .. } => "override_removed",
            Self::SaveSegment(_) => "saved",
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::SaveSegment(_) | Self::RemoveSegment(_) => "flag_segment",
            _ => "flag",
        }
    }

    pub(super) fn audit_action(&self) -> String {
        format!("{}.{}", self.kind(), self.action())
    }

    pub(super) fn subject(&self) -> &str {
        match self {
            Self::Save { flag, .. } => &flag.key,
            Self::SaveSegment(segment) => &segment.name,
            Self::Remove(name) | Self::RemoveSegment(name) | Self::Override { key: name, .. } => name,
        }
    }

    /// Returns the details of the audit entry. The definition itself is in the history.
    pub(super) fn details(&self, revision: i64) -> Value {
        match self {
            Self::Save { flag, .. } => json!({ "revision": revision, "enabled": flag.enabled, "killed": flag.killed }),
            Self::Override { tenant, given, .. } => {
                json!({ "revision": revision, "tenant": tenant, "override": given })
            }
            _ => json!({ "revision": revision }),
        }
    }
}
