//! Counts of errors by what they are counted by. Each statement reads the counters of the period: at most one for each
//! group, hour, operation, tenant and release.

use omnistack_core::{
    db::{self, Dialect, Sql},
    identity::TenantId,
};
use sqlx::AssertSqlSafe;

use super::{ErrorStore, shown_tenant};
use crate::errors::model::ErrorGroupId;

/// Largest number of pairs of a group and a value that are compared.
const MAX_PAIRS: i64 = 500;

/// The errors that are read.
#[derive(Clone, Copy, Debug)]
pub(in crate::errors) struct ErrorScope {
    /// The beginning of the first hour, in microseconds since 1970.
    pub(in crate::errors) since: i64,
    /// The tenant; `None` for all errors.
    pub(in crate::errors) tenant: Option<TenantId>,
    /// The group; `None` for all groups.
    pub(in crate::errors) group: Option<ErrorGroupId>,
}

impl ErrorScope {
    /// Returns a statement for the scope. No index serves a condition on a tenant or a group that may be absent, so it
    /// is replaced by one that is not, if there is a tenant or a group.
    fn narrow(self, sql: &str) -> AssertSqlSafe<String> {
        let mut sql = sql.to_owned();
        for (is_set, placeholder, column) in
            [(self.tenant.is_some(), "$2", "tenant"), (self.group.is_some(), "$3", "group_id")]
        {
            for column in [format!("c.{column}"), column.to_owned()].iter().filter(|_| is_set) {
                let condition = format!("{column} = {placeholder}");
                sql = sql.replace(&format!("({placeholder} is null or {condition})"), &condition);
            }
        }
        AssertSqlSafe(sql)
    }
}

/// A dimension by which errors are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::errors) enum Dimension {
    Origin,
    Code,
    Severity,
    Operation,
    Release,
    Tenant,
    Hour,
}

/// A value of a dimension in a group, with the numbers of errors of the group and of all groups that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::errors) struct ValueRow {
    pub(in crate::errors) group: ErrorGroupId,
    pub(in crate::errors) value: String,
    pub(in crate::errors) errors: i64,
    pub(in crate::errors) all_errors: i64,
}

/// The errors with a signal, of one group and release.
#[derive(Clone, Debug, PartialEq, Eq, omnistack_core::db::FromRow)]
pub(in crate::errors) struct SignalRow {
    pub(in crate::errors) signal: String,
    pub(in crate::errors) group_id: ErrorGroupId,
    pub(in crate::errors) release: String,
    pub(in crate::errors) errors: i64,
}

/// Counts by an expression. Placeholders: first hour, tenant, group, limit.
macro_rules! counts_by {
    ($postgres:literal, $sqlite:literal) => {
        Sql {
            postgres: counts_by!(@ $postgres),
            sqlite: counts_by!(@ $sqlite),
        }
    };
    (@ $value:literal) => {
        concat!(
            "select ", $value, " as value, cast(sum(c.errors) as bigint) as total from omni_error_counts c
join omni_error_groups g on g.id = c.group_id
where c.hour >= $1 and ($2 is null or c.tenant = $2) and ($3 is null or c.group_id = $3)
group by ", $value, " order by total desc, value limit $4"
        )
    };
}

/// The values of a dimension that have at least some errors in a group. Placeholders: first hour, tenant, least number
/// of errors, limit.
macro_rules! values_by {
    ($postgres:literal, $sqlite:literal) => {
        Sql {
            postgres: values_by!(@ $postgres),
            sqlite: values_by!(@ $sqlite),
        }
    };
    (@ $value:literal) => {
        concat!(
            "with counted as (select group_id, ", $value, " as value, sum(errors) as total from omni_error_counts
    where hour >= $1 and ($2 is null or tenant = $2) group by group_id, ", $value, "),
found as (select group_id, value, total from counted where total >= $3 order by total desc limit $4),
totals as (select value, sum(total) as total from counted group by value)
select found.group_id, found.value, cast(found.total as bigint), cast(totals.total as bigint)
from found join totals on totals.value = found.value order by found.total desc, found.value, found.group_id"
        )
    };
}

impl Dimension {
    fn counts(self) -> Sql {
        match self {
            Self::Origin => counts_by!("c.origin", "c.origin"),
            Self::Code => counts_by!("g.code", "g.code"),
            Self::Severity => counts_by!("g.severity", "g.severity"),
            Self::Operation => counts_by!("c.operation", "c.operation"),
            Self::Release => counts_by!("c.release", "c.release"),
            Self::Tenant => counts_by!("cast(c.tenant as text)", "lower(hex(c.tenant))"),
            Self::Hour => counts_by!("cast(c.hour as text)", "cast(c.hour as text)"),
        }
    }

    /// Returns the statement for the values of groups. `None` for dimensions that a group has one value of.
    fn values(self) -> Option<Sql> {
        match self {
            Self::Operation => Some(values_by!("operation", "operation")),
            Self::Release => Some(values_by!("release", "release")),
            Self::Tenant => Some(values_by!("cast(tenant as text)", "lower(hex(tenant))")),
            Self::Hour => Some(values_by!("cast(hour as text)", "cast(hour as text)")),
            Self::Origin | Self::Code | Self::Severity => None,
        }
    }
}

impl ErrorStore {
    /// Returns the values of a dimension with the most errors, in descending order, at most `limit`. Errors without a
    /// tenant are left out of those by tenant.
    pub(in crate::errors) async fn counts(
        &self,
        scope: ErrorScope,
        dimension: Dimension,
        limit: u32,
    ) -> Result<Vec<(String, i64)>, db::Error> {
        let rows: Vec<(String, i64)> = self
            .db
            .query(scope.narrow(text(dimension.counts(), self.db.dialect())))
            .bind(scope.since)
            .bind(scope.tenant)
            .bind(scope.group)
            .bind(i64::from(limit))
            .fetch_all()
            .await?;
        let shown = rows.into_iter().filter_map(|(value, errors)| Some((shown_value(dimension, value)?, errors)));
        Ok(shown.collect())
    }

    /// Returns the number of errors in each hour, in ascending order.
    pub(in crate::errors) async fn hours(&self, scope: ErrorScope) -> Result<Vec<(i64, i64)>, db::Error> {
        self.db
            .query(scope.narrow(
                "select hour, cast(sum(errors) as bigint) from omni_error_counts
                 where hour >= $1 and ($2 is null or tenant = $2) and ($3 is null or group_id = $3)
                 group by hour order by hour",
            ))
            .bind(scope.since)
            .bind(scope.tenant)
            .bind(scope.group)
            .fetch_all()
            .await
    }

    /// Returns the number of errors of each group, and its code, origin and severity, the largest first.
    pub(in crate::errors) async fn group_totals(
        &self,
        scope: ErrorScope,
        limit: u32,
    ) -> Result<Vec<(ErrorGroupId, String, String, i64)>, db::Error> {
        self.db
            .query(scope.narrow(
                "select g.id, g.code, g.origin, cast(sum(c.errors) as bigint) as total from omni_error_counts c
                 join omni_error_groups g on g.id = c.group_id
                 where c.hour >= $1 and ($2 is null or c.tenant = $2) and ($3 is null or c.group_id = $3)
                 group by g.id, g.code, g.origin order by total desc, g.id limit $4",
            ))
            .bind(scope.since)
            .bind(scope.tenant)
            .bind(scope.group)
            .bind(i64::from(limit))
            .fetch_all()
            .await
    }

    /// Returns the number of groups with errors.
    pub(in crate::errors) async fn group_count(&self, scope: ErrorScope) -> Result<i64, db::Error> {
        let (groups,): (i64,) = self
            .db
            .query(scope.narrow(
                "select count(distinct group_id) from omni_error_counts
                 where hour >= $1 and ($2 is null or tenant = $2) and ($3 is null or group_id = $3)",
            ))
            .bind(scope.since)
            .bind(scope.tenant)
            .bind(scope.group)
            .fetch_one()
            .await?;
        Ok(groups)
    }

    /// Returns the values of a dimension that have at least `minimum` errors in a group.
    pub(in crate::errors) async fn values(
        &self,
        scope: ErrorScope,
        dimension: Dimension,
        minimum: i64,
    ) -> Result<Vec<ValueRow>, db::Error> {
        let Some(sql) = dimension.values() else { return Ok(Vec::new()) };
        let sql = scope.narrow(text(sql, self.db.dialect()));
        let rows: Vec<(ErrorGroupId, String, i64, i64)> =
            self.db.query(sql).bind(scope.since).bind(scope.tenant).bind(minimum).bind(MAX_PAIRS).fetch_all().await?;
        let row = |(group, value, errors, all_errors): (ErrorGroupId, String, i64, i64)| {
            Some(ValueRow { group, value: shown_value(dimension, value)?, errors, all_errors })
        };
        Ok(rows.into_iter().filter_map(row).collect())
    }

    /// Returns the errors that have a signal, by signal, group and release.
    pub(in crate::errors) async fn signals(&self, scope: ErrorScope) -> Result<Vec<SignalRow>, db::Error> {
        self.db
            .query(scope.narrow(
                "select g.signal as signal, c.group_id as group_id, c.release as release,
                 cast(sum(c.errors) as bigint) as errors
                 from omni_error_counts c join omni_error_groups g on g.id = c.group_id
                 where g.signal is not null and c.hour >= $1 and ($2 is null or c.tenant = $2)
                 group by g.signal, c.group_id, c.release order by errors desc, group_id limit 1000",
            ))
            .bind(scope.since)
            .bind(scope.tenant)
            .fetch_all()
            .await
    }

    /// Returns the largest number of errors in an hour of each signal.
    pub(in crate::errors) async fn signal_peaks(&self, scope: ErrorScope) -> Result<Vec<(String, i64)>, db::Error> {
        self.db
            .query(scope.narrow(
                "select signal, cast(max(total) as bigint) from (
                 select g.signal as signal, c.hour as hour, sum(c.errors) as total
                 from omni_error_counts c join omni_error_groups g on g.id = c.group_id
                 where g.signal is not null and c.hour >= $1 and ($2 is null or c.tenant = $2)
                 group by g.signal, c.hour) as hours group by signal",
            ))
            .bind(scope.since)
            .bind(scope.tenant)
            .fetch_all()
            .await
    }
}

/// Returns the text of a statement for a database.
fn text(sql: Sql, dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => sql.postgres,
        Dialect::Sqlite => sql.sqlite,
    }
}

/// Returns a value in its usual form. Returns `None` for the tenant of errors without a tenant.
fn shown_value(dimension: Dimension, value: String) -> Option<String> {
    if dimension != Dimension::Tenant {
        return Some(value);
    }
    let tenant: TenantId = value.parse().ok()?;
    shown_tenant(tenant).map(|tenant| tenant.to_string())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn conditions_of_a_scope_are_such_that_an_index_serves() {
        let all = ErrorScope { since: 0, tenant: None, group: None };
        let sql = "hour >= $1 and ($2 is null or c.tenant = $2) and ($3 is null or group_id = $3)";
        assert_eq!(all.narrow(sql).0, sql);
        let tenant = ErrorScope { tenant: Some(TenantId::from_uuid(Uuid::max())), ..all };
        assert_eq!(tenant.narrow(sql).0, "hour >= $1 and c.tenant = $2 and ($3 is null or group_id = $3)");
        let group = ErrorScope { group: Some(ErrorGroupId::from_uuid(Uuid::max())), ..all };
        assert_eq!(group.narrow(sql).0, "hour >= $1 and ($2 is null or c.tenant = $2) and group_id = $3");
    }
}
