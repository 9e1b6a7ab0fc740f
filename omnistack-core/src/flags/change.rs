//! What a change does, given what there is: rules without I/O.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Definition, FlagError, Segment, TenantOverride, UnleashImport, check, set};
use crate::{http::FieldProblem, identity::TenantId};

/// Everything there is.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) flags: Vec<Definition>,
    pub(super) segments: Vec<Segment>,
    pub(super) overrides: Vec<(String, TenantId, TenantOverride)>,
    pub(super) revisions: BTreeMap<String, i64>,
}

impl Known {
    fn flag(&self, key: &str) -> Option<&Definition> {
        self.flags.iter().find(|flag| flag.key == key)
    }
}

/// What an operator asks for.
#[derive(Debug)]
pub(super) enum Change {
    Create(Box<Definition>),
    /// With the revision it is to replace.
    Replace(Box<Definition>, Option<i64>),
    Remove(String),
    Kill(String, bool),
    Override(String, TenantId, Option<TenantOverride>),
    SaveSegment(Segment),
    RemoveSegment(String),
    Import(Box<UnleashImport>),
}

/// What is written for it.
#[derive(Debug)]
pub(super) enum Step {
    Save { flag: Box<Definition>, action: &'static str },
    Remove(String),
    Override { key: String, tenant: TenantId, given: Option<TenantOverride> },
    SaveSegment(Segment),
    RemoveSegment(String),
}

impl Change {
    /// What is to be written, or why the change is refused.
    pub(super) fn steps(self, known: &Known) -> Result<Vec<Step>, FlagError> {
        let there = |key: &str| known.flag(key).ok_or_else(|| FlagError::NotFound(format!("the flag `{key}`")));
        match self {
            Self::Create(flag) => {
                if known.flag(&flag.key).is_some() {
                    return Err(FlagError::Exists(flag.key));
                }
                save(known, vec![*flag], Vec::new(), "created", |_| String::new())
            }
            Self::Replace(flag, expected) => {
                there(&flag.key)?;
                let found = known.revisions.get(&flag.key).copied().unwrap_or_default();
                if expected.is_some_and(|expected| expected != found) {
                    return Err(FlagError::Changed { key: flag.key, revision: found });
                }
                save(known, vec![*flag], Vec::new(), "updated", |_| String::new())
            }
            Self::Remove(key) => {
                there(&key)?;
                let depends =
                    |flag: &&Definition| flag.parents.iter().any(|parent| parent.key == key) && flag.key != key;
                let by: Vec<_> = known.flags.iter().filter(depends).map(|flag| flag.key.clone()).collect();
                if by.is_empty() { Ok(vec![Step::Remove(key)]) } else { Err(FlagError::InUse { what: key, by }) }
            }
            Self::Kill(key, killed) => {
                let mut flag = there(&key)?.clone();
                flag.killed = killed;
                // As it is otherwise: one that a later release would refuse can be killed.
                Ok(vec![Step::Save { flag: Box::new(flag), action: if killed { "killed" } else { "revived" } }])
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
                    return Err(FlagError::Invalid(vec![FieldProblem::new(
                        "variant",
                        "is none of the flag's variants",
                    )]));
                }
                Ok(vec![Step::Override { key, tenant, given }])
            }
            Self::SaveSegment(segment) => save(known, Vec::new(), vec![segment], "updated", |_| String::new()),
            Self::RemoveSegment(name) => {
                if !known.segments.iter().any(|segment| segment.name == name) {
                    return Err(FlagError::NotFound(format!("the segment `{name}`")));
                }
                let names = |flag: &&Definition| flag.rules.iter().any(|rule| rule.segments.contains(&name));
                let by: Vec<_> = known.flags.iter().filter(names).map(|flag| flag.key.clone()).collect();
                if by.is_empty() {
                    Ok(vec![Step::RemoveSegment(name)])
                } else {
                    Err(FlagError::InUse { what: name, by })
                }
            }
            Self::Import(import) => {
                let UnleashImport { flags, segments, .. } = *import;
                save(known, flags, segments, "imported", |key| format!("features.{key}."))
            }
        }
    }
}

/// Saves flags and segments, if each is right by itself and beside the others.
fn save(
    known: &Known,
    flags: Vec<Definition>,
    segments: Vec<Segment>,
    action: &'static str,
    place: fn(&str) -> String,
) -> Result<Vec<Step>, FlagError> {
    let mut all_flags: Vec<_> =
        known.flags.iter().filter(|known| !flags.iter().any(|flag| flag.key == known.key)).cloned().collect();
    all_flags.extend(flags.iter().cloned());
    let mut all_segments: Vec<_> =
        known.segments.iter().filter(|known| !segments.iter().any(|one| one.name == known.name)).cloned().collect();
    all_segments.extend(segments.iter().cloned());

    let mut problems = Vec::new();
    for segment in &segments {
        problems.extend(check::segment(segment));
    }
    for (at, flag) in flags.iter().enumerate() {
        let place = place(&flag.key);
        let mut found = check::definition(flag);
        found.extend(set::references(&flag.key, &all_flags, &all_segments));
        if flags[..at].iter().any(|other| other.key == flag.key) {
            found.push(FieldProblem::new("key", "is there twice"));
        }
        problems.extend(found.into_iter().map(|one| FieldProblem::new(format!("{place}{}", one.field), one.message)));
    }
    if !problems.is_empty() {
        return Err(FlagError::Invalid(problems));
    }
    let segments = segments.into_iter().map(Step::SaveSegment);
    let flags = flags.into_iter().map(|flag| Step::Save { flag: Box::new(flag), action });
    Ok(segments.chain(flags).collect())
}

impl Step {
    /// As the history has it.
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

    /// What the audit entry says of it; what it was made to be is in the history.
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
