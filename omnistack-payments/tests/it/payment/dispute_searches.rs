//! Tests of the search for disputes whose webhooks were lost, from day to day.

use std::{iter::repeat_n, time::Duration};

use omnistack_core::clock::Timestamp;
use omnistack_payments::{DisputeState, FakeFault};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

use super::{TestTenant, find_disputes, start};

const DAY: Duration = Duration::from_secs(86_400);

/// Opens a dispute of a new payment at the fake. Returns its id.
async fn open(tenant: &TestTenant<'_>, key: &str) -> String {
    let payment = tenant.pay(key, "tok_ok").await;
    tenant.bank.dispute_payment(&payment.provider_payment_id.unwrap()).await.unwrap()
}

/// Returns the number of stored disputes.
async fn stored(app: &TestApp) -> i64 {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let (count,): (i64,) = tx.query("select count(*) from omni_payment_disputes").fetch_one().await.unwrap();
    count
}

/// Returns the end of the time that was searched, the start of the last search, and whether it goes on.
async fn search(app: &TestApp) -> (Option<Timestamp>, Timestamp, bool) {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let sql = "select searched_until, since, page from omni_dispute_searches where service = 'fake'";
    let (until, since, page): (Option<Timestamp>, Timestamp, Option<String>) = tx.query(sql).fetch_one().await.unwrap();
    (until, since, page.is_some())
}

on_each_database! {
    async fn a_search_goes_on_where_it_was_stopped(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        for number in 0..11 {
            open(&tenant, &format!("a{number}")).await;
        }
        let start = app.clock().clock().now();
        // The list, and the payment and the dispute of each of its ten: then the second page is not answered.
        tenant.bank.set_faults("fake", repeat_n(None, 21).chain([Some(FakeFault::Unavailable)]));
        find_disputes(&app).await;
        assert_eq!((stored(&app).await, search(&app).await), (10, (None, start - 120 * DAY, true)));

        app.clock().advance(DAY);
        open(&tenant, "b").await;
        find_disputes(&app).await;
        assert_eq!((stored(&app).await, search(&app).await), (11, (Some(start), start - 120 * DAY, false)));
        // The next search asks for what was opened since the day before the first one.
        find_disputes(&app).await;
        assert_eq!((stored(&app).await, search(&app).await), (12, (Some(start + DAY), start - DAY, false)));
        app.clock().advance(9 * DAY);
        find_disputes(&app).await;
        assert_eq!(search(&app).await, (Some(start + 10 * DAY), start, false));
        tenant.check_ledger().await;
    }

    async fn a_dispute_whose_payment_can_not_be_read_is_looked_for_again(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        open(&tenant, "a").await;
        let start = app.clock().clock().now();
        tenant.bank.set_faults("fake", [None, Some(FakeFault::Unavailable)]);
        find_disputes(&app).await;
        assert_eq!((stored(&app).await, search(&app).await), (0, (None, start - 120 * DAY, false)));
        app.clock().advance(3 * DAY);
        find_disputes(&app).await;
        let searched = (Some(start + 3 * DAY), start - 117 * DAY, false);
        assert_eq!((stored(&app).await, search(&app).await), (1, searched));
    }

    async fn a_dispute_that_can_not_be_stored_keeps_no_other_out(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        open(&tenant, "a").await;
        let payment = tenant.pay("b", "tok_ok").await;
        tenant.bank.dispute_payment(payment.provider_payment_id.as_ref().unwrap()).await.unwrap();
        open(&tenant, "c").await;
        let start = app.clock().clock().now();
        let set_currency = async |currency: &str| {
            let mut tx = app.db().tenant(tenant.id).begin().await.unwrap();
            let update = tx.query("update omni_payments set currency = $2 where id = $1").bind(payment.id);
            update.bind(currency).execute().await.unwrap();
            tx.commit().await.unwrap();
        };
        set_currency("ZZZ").await;
        find_disputes(&app).await;
        assert_eq!((stored(&app).await, search(&app).await), (2, (None, start - 120 * DAY, false)));
        // It is looked for again.
        set_currency("USD").await;
        app.clock().advance(DAY);
        find_disputes(&app).await;
        assert_eq!((stored(&app).await, search(&app).await), (3, (Some(start + DAY), start - 119 * DAY, false)));
        tenant.check_ledger().await;
    }

    async fn the_decision_of_a_dispute_is_found_after_its_search(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let payment = tenant.pay("a", "tok_ok").await;
        let id = payment.provider_payment_id.clone().unwrap();
        let dispute = tenant.bank.dispute_payment(&id).await.unwrap();
        find_disputes(&app).await;
        // Each decision is made long after the time for which disputes are listed. A lost dispute can still be won.
        for (won, state, charged_back) in [(false, DisputeState::Lost, 1_000), (true, DisputeState::Won, 0)] {
            app.clock().advance(30 * DAY);
            find_disputes(&app).await;
            tenant.bank.decide_dispute(&dispute, won).await.unwrap();
            find_disputes(&app).await;
            let found = tenant.get(&payment).await;
            assert_eq!((found.disputes[0].status, found.charged_back), (state, charged_back));
        }
        tenant.check_ledger().await;
    }
}
