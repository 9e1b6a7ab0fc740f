//! Lists of webhooks, for tenants and for operators.

use std::fmt::Write as _;

use omnistack_core::{
    clock::Timestamp,
    db::{self, Arguments, Tx},
    http::{CursorPage, Error, FieldError},
    identity::TenantId,
    webhook::{DataEnvironment, WebhookId, WebhookStatus},
};
use uuid::Uuid;

use super::{
    model::{InboxRow, ROW_COLUMNS},
    store::InboxStore,
};

/// The webhooks to select: those that match all fields that are set.
#[derive(Clone, Debug, Default)]
pub(super) struct InboxFilter {
    pub(super) source: Option<String>,
    /// The status. [`WebhookStatus::Duplicate`] selects the webhooks that were sent again.
    pub(super) status: Option<WebhookStatus>,
    pub(super) kind: Option<String>,
    pub(super) environment: Option<DataEnvironment>,
    pub(super) tenant: Option<TenantId>,
    pub(super) event_id: Option<String>,
    /// Received at this time or later.
    pub(super) since: Option<Timestamp>,
    /// Received before this time.
    pub(super) until: Option<Timestamp>,
}

impl InboxFilter {
    /// Returns conditions, each preceded by `and`, and binds their values.
    fn sql(&self, args: &mut Arguments) -> String {
        let mut sql = String::new();
        let texts = [
            ("source", self.source.as_deref()),
            ("kind", self.kind.as_deref()),
            ("environment", self.environment.map(DataEnvironment::as_str)),
            ("event_id", self.event_id.as_deref()),
        ];
        for (column, value) in texts {
            if let Some(value) = value {
                _ = write!(sql, " and {column} = ${}", args.push(value.to_owned()));
            }
        }
        match self.status {
            None => {}
            Some(WebhookStatus::Duplicate) => sql.push_str(" and duplicates > 0"),
            // In the text, so that the databases use the partial index.
            Some(status) => _ = write!(sql, " and status = '{}'", status.as_str()),
        }
        if let Some(tenant) = self.tenant {
            _ = write!(sql, " and tenant_id = ${}", args.push(tenant));
        }
        if let Some(since) = self.since {
            _ = write!(sql, " and id >= ${}", args.push(least_id(since)));
        }
        if let Some(until) = self.until {
            _ = write!(sql, " and id < ${}", args.push(least_id(until)));
        }
        sql
    }

    /// Returns the newest webhooks that match, before a webhook.
    pub(super) async fn newest(
        &self,
        tx: &mut Tx,
        before: Option<WebhookId>,
        limit: u32,
    ) -> Result<Vec<InboxRow>, db::Error> {
        let before = before.unwrap_or_else(|| WebhookId::from_uuid(Uuid::max()));
        self.select(tx, "id <", before, "desc", limit).await
    }

    /// Returns the oldest webhooks that match, after a webhook.
    pub(super) async fn oldest(
        &self,
        tx: &mut Tx,
        after: Option<WebhookId>,
        limit: u32,
    ) -> Result<Vec<InboxRow>, db::Error> {
        let after = after.unwrap_or_else(|| WebhookId::from_uuid(Uuid::nil()));
        self.select(tx, "id >", after, "asc", limit).await
    }

    async fn select(
        &self,
        tx: &mut Tx,
        comparison: &str,
        from: WebhookId,
        order: &str,
        limit: u32,
    ) -> Result<Vec<InboxRow>, db::Error> {
        let mut args = Arguments::new(tx.dialect());
        let condition = self.sql(&mut args);
        let (from, limit) = (args.push(from), args.push(i64::from(limit)));
        let sql = format!(
            "select {ROW_COLUMNS} from omni_webhooks where {comparison} ${from}{condition}
             order by id {order} limit ${limit}"
        );
        tx.query(sqlx::AssertSqlSafe(sql)).args(args).fetch_all().await
    }
}

/// Returns the least id of a webhook that is received at this time. Ids are made from the time of receipt, in whole
/// microseconds, so a period of time is a range of ids.
pub(super) fn least_id(at: Timestamp) -> WebhookId {
    let micros = u64::try_from(at.as_micros()).unwrap_or(0);
    let (millis, rest) = (micros / 1000, micros % 1000);
    WebhookId::from_uuid(Uuid::from_u64_pair((millis << 16) | 0x7000 | (rest * 4096 / 1000), 0))
}

impl InboxStore {
    /// Returns a page of the webhooks that match, newest first: those of a tenant, or, for operators, of all.
    pub(super) async fn page<T: From<InboxRow>>(
        &self,
        filter: &InboxFilter,
        of: Option<TenantId>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<CursorPage<T>, Error> {
        let before = cursor.map(str::parse::<WebhookId>).transpose();
        let before = before
            .map_err(|_| Error::invalid([FieldError::new("cursor", "must be the `next_cursor` of a previous page")]))?;
        let filter = InboxFilter { tenant: of.or(filter.tenant), ..filter.clone() };
        let scope = match of {
            Some(tenant) => self.db.tenant(tenant),
            None => self.db.all_tenants(),
        };
        let mut tx = scope.begin_read().await?;
        let mut rows = filter.newest(&mut tx, before, limit + 1).await?;
        tx.commit().await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > most;
        rows.truncate(most);
        let next_cursor = rows.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(CursorPage { items: rows.into_iter().map(T::from).collect(), next_cursor })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_period_is_a_range_of_ids() {
        let at: Timestamp = "2030-01-01T00:00:00.123456Z".parse().unwrap();
        for micros in [0, 1, 543, 544, 999] {
            let at = at + Duration::from_micros(micros);
            let id = WebhookId::new(at);
            assert!(least_id(at) <= id, "{at}");
            assert!(id < least_id(at + Duration::from_micros(1)), "{at}");
        }
    }
}
