//! Searches for the disputes of accounts: how far each of them has come.

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    db::{self, Tx},
    identity::TenantId,
};

use crate::credentials::AccountKey;

/// Age up to which disputes are asked for. A bank decides most within three months.
pub(super) const DISPUTE_AGE: Duration = Duration::from_secs(120 * 86_400);
/// Time before the previous search from which disputes are asked for again. The list of a provider can lag behind, and
/// its clock can differ.
const SEARCH_OVERLAP: Duration = Duration::from_secs(86_400);

/// The search for the disputes of an account, which goes on in the next run if its pages are not read in one.
#[derive(Clone, Debug, PartialEq, Eq, omnistack_core::db::FromRow)]
pub(super) struct DisputeSearch {
    /// The time before which no dispute is missing. `None` before the first complete search.
    pub(super) searched_until: Option<Timestamp>,
    /// The time since which the search asks for disputes.
    pub(super) since: Timestamp,
    /// When the search has begun.
    pub(super) started_at: Timestamp,
    /// The token of the next page. `None` in the first page, and after the last one.
    pub(super) page: Option<String>,
    /// Whether a dispute of the search could not be stored.
    pub(super) missed: bool,
}

impl DisputeSearch {
    /// Returns the search that continues the stored one, or the one that follows it. `account_since` is the time since
    /// which the account has its credentials: those before can be of another account.
    pub(super) fn next(stored: Option<Self>, account_since: Option<Timestamp>, now: Timestamp) -> Self {
        let is_of_account = |search: &Self| account_since.is_none_or(|since| since <= search.started_at);
        let stored = stored.filter(is_of_account);
        if let Some(search) = stored.as_ref().filter(|search| search.page.is_some()) {
            return search.clone();
        }
        let searched_until = stored.and_then(|search| search.searched_until);
        let oldest = now - DISPUTE_AGE;
        let since = searched_until.map_or(oldest, |until| (until - SEARCH_OVERLAP).max(oldest));
        Self { searched_until, since, started_at: now, page: None, missed: false }
    }

    /// Notes that a page is read. `next` is the token of the next one. After the last one, the next search begins where
    /// this one has, unless a dispute is missing.
    pub(super) fn take_page(&mut self, next: Option<String>) {
        if next.is_none() && !self.missed {
            self.searched_until = Some(self.started_at);
        }
        self.page = next;
    }
}

/// Returns the accounts that have taken money since a time, those whose search was stored the longest ago first. The
/// transaction must be one of all tenants.
pub(super) async fn accounts_with_money(tx: &mut Tx, since: Timestamp) -> Result<Vec<AccountKey>, db::Error> {
    let sql = "select account.tenant_id, account.service, account.environment from
            (select distinct tenant_id, service, environment from omni_payment_attempts
                where captured > 0 and started_at >= $1) account
        left join omni_dispute_searches search on search.tenant_id = account.tenant_id
            and search.service = account.service and search.environment = account.environment
        order by search.updated_at is not null, search.updated_at, account.tenant_id, account.service,
            account.environment";
    let rows: Vec<(TenantId, String, String)> = tx.query(sql).bind(since).fetch_all().await?;
    let read = |(tenant, service, environment): (TenantId, String, String)| {
        let unreadable = |_| db::Error::unreadable("omni_payment_attempts", format!("of {tenant}"), "environment");
        Ok(AccountKey { tenant, service, environment: environment.parse::<DataEnvironment>().map_err(unreadable)? })
    };
    rows.into_iter().map(read).collect()
}

/// Returns the stored search of an account.
pub(super) async fn find(tx: &mut Tx, account: &AccountKey) -> Result<Option<DisputeSearch>, db::Error> {
    let sql = "select searched_until, since, started_at, page, missed from omni_dispute_searches
        where tenant_id = $1 and service = $2 and environment = $3";
    let select = tx.query(sql).bind(account.tenant).bind(account.service.clone());
    select.bind(account.environment.as_str()).fetch_optional().await
}

/// Stores the search of an account.
pub(super) async fn save(
    tx: &mut Tx,
    account: &AccountKey,
    search: &DisputeSearch,
    now: Timestamp,
) -> Result<(), db::Error> {
    let sql = "insert into omni_dispute_searches (tenant_id, service, environment, searched_until, since, started_at,
        page, missed, updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (tenant_id, service, environment) do update set searched_until = excluded.searched_until,
            since = excluded.since, started_at = excluded.started_at, page = excluded.page, missed = excluded.missed,
            updated_at = excluded.updated_at";
    let insert = tx.query(sql).bind(account.tenant).bind(account.service.clone()).bind(account.environment.as_str());
    let insert = insert.bind(search.searched_until).bind(search.since).bind(search.started_at);
    insert.bind(search.page.clone()).bind(search.missed).bind(now).execute().await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_search_follows_the_one_before() {
        let start: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let day = |number: u32| start + DAY * number;
        let mut first = DisputeSearch::next(None, None, day(200));
        assert_eq!((first.since, first.started_at, first.searched_until), (day(80), day(200), None));
        first.take_page(Some("2".to_owned()));
        // It goes on a day later, and the next one asks again for the last day before it.
        let mut going = DisputeSearch::next(Some(first.clone()), Some(day(200)), day(201));
        assert_eq!(going, first);
        going.take_page(None);
        assert_eq!((going.searched_until, &going.page), (Some(day(200)), &None));
        let second = DisputeSearch::next(Some(going.clone()), None, day(202));
        assert_eq!((second.since, second.started_at, second.searched_until), (day(199), day(202), Some(day(200))));
        // A dispute that could not be stored is asked for again.
        let mut missed = DisputeSearch { missed: true, ..second };
        missed.take_page(None);
        let third = DisputeSearch::next(Some(missed), None, day(203));
        assert_eq!((third.since, third.searched_until, third.missed), (day(199), Some(day(200)), false));
        // What is older than the disputes that matter is not asked for.
        assert_eq!(DisputeSearch::next(Some(third), None, day(900)).since, day(780));
        // Another account has other disputes.
        for stored in [first, going] {
            let other = DisputeSearch::next(Some(stored), Some(day(201)), day(202));
            assert_eq!((other.since, other.searched_until, other.page), (day(82), None, None));
        }
    }
}
