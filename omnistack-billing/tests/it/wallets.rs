//! Tests of wallets.

#![cfg(test)]

mod credit_source;
mod grants;
mod low;
mod properties;
mod routes;
mod top_ups;
mod uses;

use omnistack_billing::{
    Billing, CreditReturn, CreditUse, Credits, GrantOutcome, NewGrant, UseCredits, WalletEntry, WalletEntryKind,
    Wallets,
};
use omnistack_core::{
    async_trait,
    db::Tx,
    http::{Error, Method},
    identity::TenantId,
    jobs::{Job, JobContext, JobError},
    usage::DataEnvironment,
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestRequest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const WALLET: &str = "/api/v1/app/billing/wallet";
const STATEMENT: &str = "/api/v1/app/billing/wallet/statement";
const SETTINGS: &str = "/api/v1/app/billing/wallet/settings";
const ADMIN: &str = "/api/v1/admin/billing/wallets";

const LIVE: DataEnvironment = DataEnvironment::Live;

/// The module's own job, as its cron enqueues it.
#[derive(Serialize, Deserialize)]
struct ExpireGrants {}

#[async_trait]
impl Job for ExpireGrants {
    const NAME: &'static str = "wallets.expire_grants";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

async fn start(database: TestDatabase) -> TestApp {
    TestApp::start(database, |app| app.with(Billing::from_env())).await
}

fn handle(app: &TestApp) -> Wallets {
    app.app().context().get().unwrap()
}

/// Returns a whole number of credits.
fn credits(whole: u32) -> Credits {
    Credits::from(whole)
}

/// The wallet of a new tenant.
struct TestWallet<'a> {
    app: &'a TestApp,
    wallets: Wallets,
    client: TestClient,
    tenant: TenantId,
}

impl<'a> TestWallet<'a> {
    fn new(app: &'a TestApp) -> Self {
        let client = app.user();
        let tenant = client.identity().unwrap().tenant.unwrap();
        Self { app, wallets: handle(app), client, tenant }
    }

    async fn begin(&self) -> Tx {
        self.app.db().app_database().tenant(self.tenant).begin().await.unwrap()
    }

    fn new_grant(&self, key: &str, amount: u32) -> NewGrant {
        NewGrant::new(self.tenant, key, credits(amount))
    }

    async fn grant(&self, grant: NewGrant) -> Result<GrantOutcome, Error> {
        let mut tx = self.begin().await;
        let outcome = self.wallets.grant_in(&mut tx, grant).await?;
        tx.commit().await.unwrap();
        Ok(outcome)
    }

    async fn spend(&self, key: &str, amount: u32) -> Result<CreditUse, Error> {
        let mut tx = self.begin().await;
        let used = self.wallets.use_in(&mut tx, UseCredits::new(self.tenant, key, credits(amount))).await?;
        tx.commit().await.unwrap();
        Ok(used)
    }

    async fn give_back(&self, key: &str, amount: u32) -> Result<CreditReturn, Error> {
        let mut tx = self.begin().await;
        let returned = self.wallets.return_in(&mut tx, self.tenant, LIVE, key, credits(amount)).await?;
        tx.commit().await.unwrap();
        Ok(returned)
    }

    async fn adjust(&self, key: &str, target: u32) -> Result<Credits, Error> {
        let mut tx = self.begin().await;
        let amount = self.wallets.adjust_grant_in(&mut tx, self.tenant, LIVE, key, credits(target)).await?;
        tx.commit().await.unwrap();
        Ok(amount)
    }

    async fn balance(&self) -> Credits {
        self.wallets.balance(self.tenant, LIVE).await.unwrap().balance
    }

    /// Returns what is left of the grants, by their keys, in the order in which they are used.
    async fn remaining(&self) -> Vec<(String, Credits)> {
        let wallet = self.wallets.balance(self.tenant, LIVE).await.unwrap();
        wallet.grants.into_iter().map(|grant| (grant.key, grant.remaining)).collect()
    }

    /// Returns the statement, the oldest entry first.
    async fn statement(&self) -> Vec<WalletEntry> {
        let (mut entries, mut before) = (Vec::new(), None);
        loop {
            let page = self.wallets.statement(self.tenant, LIVE, before, 7).await.unwrap();
            entries.extend(page.items);
            before = page.next_cursor.map(|cursor| cursor.parse().unwrap());
            if before.is_none() {
                entries.reverse();
                return entries;
            }
        }
    }

    /// Returns the kinds, amounts and keys of the statement.
    async fn lines(&self) -> Vec<(WalletEntryKind, i64, String)> {
        let whole = |amount: Credits| amount.millionths() / 1_000_000;
        self.statement().await.into_iter().map(|entry| (entry.kind, whole(entry.amount), entry.key)).collect()
    }

    async fn settings(&self, settings: Value) -> Value {
        put(&self.client, SETTINGS, settings).await.expect(200).json()
    }

    async fn expire(&self) {
        self.app.jobs().enqueue(ExpireGrants {}).await.unwrap();
        self.app.run_jobs().await;
    }

    /// Asserts that the balance is the sum of what is left of the grants, and the sum of the entries, each of which has
    /// the balance after it.
    async fn check(&self) {
        let mut tx = self.app.db().app_database().tenant(self.tenant).begin_read().await.unwrap();
        let sql = "select balance,
            (select cast(coalesce(sum(remaining), 0) as bigint) from omni_wallet_grants where tenant_id = $1),
            (select cast(coalesce(sum(amount), 0) as bigint) from omni_wallet_entries where tenant_id = $1)
            from omni_wallets where tenant_id = $1";
        let sums: Option<(i64, i64, i64)> = tx.query(sql).bind(self.tenant).fetch_optional().await.unwrap();
        tx.commit().await.unwrap();
        let (balance, remaining, entries) = sums.unwrap_or_default();
        assert_eq!((balance, balance), (remaining, entries));
        let mut before = Credits::ZERO;
        for entry in self.statement().await {
            assert_eq!(entry.balance, before + entry.amount, "{entry:?}");
            assert_eq!(entry.amount, entry.parts.iter().map(|part| part.amount).sum::<Credits>(), "{entry:?}");
            assert!(entry.balance >= Credits::ZERO, "{entry:?}");
            before = entry.balance;
        }
        assert_eq!(before.millionths(), balance);
    }
}

fn put(client: &TestClient, path: &str, body: Value) -> TestRequest {
    client.request(Method::PUT, path).json(body)
}
