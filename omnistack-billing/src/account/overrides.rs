//! Overrides: features and limits that a tenant has in place of those of its plan.

use omnistack_core::{
    audit::AuditEntry,
    clock::Timestamp,
    http::{Error, FieldError},
    id::Id,
    identity::{Identity, TenantId, UserId},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{handle::BillingAccounts, store};
use crate::plan::limit_name;

/// The part of a plan that an override replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverrideKind {
    /// A feature, which is included or not.
    Feature,
    /// A limit.
    Limit,
}

impl OverrideKind {
    /// Returns `feature` or `limit`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Feature => "feature",
            Self::Limit => "limit",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        [Self::Feature, Self::Limit].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A feature or a limit that a tenant has in place of that of its plan. Only operators set overrides. An override that
/// removes a feature has no effect on a plan that includes every feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct PlanOverride {
    /// The id of the override.
    #[schema(value_type = String, format = Uuid)]
    pub id: Id<PlanOverride>,
    /// Whether it is a feature or a limit.
    pub kind: OverrideKind,
    /// The name of the feature or of the limit.
    pub name: String,
    /// The value: of a feature, 1 if it is included or 0 if not; of a limit, its number, or `null` if it is unlimited.
    #[schema(required)]
    pub value: Option<i64>,
    /// The reason.
    pub reason: String,
    /// The operator who set it.
    #[schema(value_type = String, format = Uuid)]
    pub created_by: UserId,
    /// The time at which it was set.
    pub created_at: Timestamp,
    /// The time until which it holds; `null` if it has no end.
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
}

/// An override to set.
#[derive(Debug)]
pub(super) struct NewOverride {
    pub(super) kind: OverrideKind,
    pub(super) name: String,
    pub(super) value: Option<i64>,
    pub(super) reason: String,
    pub(super) expires_at: Option<Timestamp>,
}

impl NewOverride {
    /// Returns the problems of the values.
    fn problems(&self, now: Timestamp) -> Vec<FieldError> {
        let mut problems = Vec::new();
        if self.name.is_empty() || self.name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            problems.push(FieldError::new("name", "must be the name of a feature or of a limit, without spaces"));
        }
        match (self.kind, self.value) {
            (OverrideKind::Feature, Some(0 | 1)) | (OverrideKind::Limit, None | Some(0..)) => {}
            (OverrideKind::Feature, _) => {
                problems.push(FieldError::new("value", "must be 1 if the feature is included, and 0 if not"));
            }
            (OverrideKind::Limit, Some(_)) => {
                problems.push(FieldError::new("value", "must be at least 0, or `null` for unlimited"));
            }
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            problems.push(FieldError::new("expires_at", "must be in the future"));
        }
        problems
    }
}

impl BillingAccounts {
    /// Sets an override of a tenant, in place of that of the same feature or limit.
    ///
    /// # Errors
    /// 422 for invalid values, and for a feature that can't be removed because the plan includes every feature.
    pub(super) async fn set_override(
        &self,
        operator: &Identity,
        tenant: TenantId,
        new: NewOverride,
    ) -> Result<PlanOverride, Error> {
        let now = self.0.clock.now();
        let mut problems = new.problems(now);
        if new.kind == OverrideKind::Feature && new.value == Some(0) {
            let entitled = self.entitled(tenant).await?;
            if entitled.plan.features.iter().any(|feature| feature == "*") {
                let message = "can't be removed, because the plan includes every feature; assign one that lists them";
                problems.push(FieldError::new("name", message));
            }
        }
        if !problems.is_empty() {
            return Err(Error::invalid(problems));
        }
        let NewOverride { kind, name, value, reason, expires_at } = new;
        let name = if kind == OverrideKind::Limit { limit_name(&name).to_owned() } else { name };
        let (id, created_by) = (Id::new(now), operator.impersonator.unwrap_or(operator.user));
        let set = PlanOverride { id, kind, name, value, reason, created_by, created_at: now, expires_at };
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let account = self.lock_in(&mut tx, tenant).await?;
        store::set_override(&mut tx, tenant, &set).await?;
        self.save_in(&mut tx, &account).await?;
        let details = json!({
            "kind": kind, "name": set.name, "value": value, "reason": set.reason, "expires_at": expires_at,
        });
        let entry = AuditEntry::new("plan_override.set").actor(operator).for_tenant(tenant);
        let entry = entry.resource("plan_override", id).details(details);
        self.0.audit.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(set)
    }

    /// Removes an override of a tenant.
    ///
    /// # Errors
    /// 404 if the tenant has no such override.
    pub(super) async fn remove_override(
        &self,
        operator: &Identity,
        tenant: TenantId,
        id: Id<PlanOverride>,
    ) -> Result<(), Error> {
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let account = self.lock_in(&mut tx, tenant).await?;
        let Some((kind, name)) = store::delete_override(&mut tx, tenant, id).await? else {
            // The row of an account that `lock_in` may have inserted is not kept.
            tx.rollback().await?;
            return Err(Error::not_found("the override"));
        };
        self.save_in(&mut tx, &account).await?;
        let entry = AuditEntry::new("plan_override.removed").actor(operator).for_tenant(tenant);
        let entry = entry.resource("plan_override", id).details(json!({ "kind": kind, "name": name }));
        self.0.audit.record_in(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked() {
        use OverrideKind::{Feature, Limit};
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let later = now + std::time::Duration::from_secs(1);
        for (kind, name, value, expires_at, expected) in [
            (Feature, "sso", Some(1), None, None),
            (Feature, "sso", Some(0), Some(later), None),
            (Feature, "sso", Some(2), None, Some("value")),
            (Feature, "sso", None, None, Some("value")),
            (Feature, "*", Some(1), None, None),
            (Limit, "projects", None, None, None),
            (Limit, "projects", Some(0), None, None),
            (Limit, "projects", Some(i64::MAX), None, None),
            (Limit, "projects", Some(-1), None, Some("value")),
            (Limit, "", Some(1), None, Some("name")),
            (Limit, "pro jects", Some(1), None, Some("name")),
            (Limit, "projects", Some(1), Some(now), Some("expires_at")),
        ] {
            let new = NewOverride { kind, name: name.to_owned(), value, reason: "a test".to_owned(), expires_at };
            let fields: Vec<_> = new.problems(now).into_iter().map(|problem| problem.field).collect();
            assert_eq!(fields.first().map(String::as_str), expected, "{new:?}");
            assert!(fields.len() < 2, "{fields:?}");
        }
    }
}
