//! Numbers have no gaps.

use omnistack_billing::{InvoiceStatus, NewCreditNote};
use omnistack_core::{db::Dialect, usage::DataEnvironment};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use tokio::task::JoinSet;

use super::{ADMIN, Customer, start};

/// Returns the numbers of all live invoices, in order.
async fn numbers(app: &TestApp) -> Vec<i64> {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let sql = "select number from omni_invoices where number is not null and environment = 'live' and series = 'INV-'
        order by number";
    let rows: Vec<(i64,)> = tx.query(sql).fetch_all().await.unwrap();
    tx.commit().await.unwrap();
    rows.into_iter().map(|(number,)| number).collect()
}

on_each_database! {
    // Case 28.
    async fn drafts_have_no_number_and_leave_no_gap(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let mut drafts = Vec::new();
        for key in ["a", "b", "c"] {
            drafts.push(customer.draft(customer.new_invoice(key, &[100])).await.unwrap());
        }
        assert_eq!(customer.get(drafts[0]).await.number, None);
        let second = customer.finalize(drafts[1]).await;
        assert_eq!(second.number.as_deref(), Some("INV-000001"));
        app.operator().delete(format!("{ADMIN}/{}", drafts[0])).await.expect(204);
        let third = customer.finalize(drafts[2]).await;
        assert_eq!(third.number.as_deref(), Some("INV-000002"));
        // A final invoice stays as it is.
        assert_eq!(customer.finalize(drafts[2]).await, third);

        let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
        customer.invoices.void_in(&mut tx, customer.tenant, drafts[2]).await.unwrap();
        tx.commit().await.unwrap();
        let void = customer.get(drafts[2]).await;
        assert_eq!((void.status, void.number), (InvoiceStatus::Void, third.number));
        assert_eq!(numbers(&app).await, [1, 2]);
    }

    async fn concurrent_and_cancelled_finalisations_leave_no_gap(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let mut drafts = Vec::new();
        for key in 0..100 {
            drafts.push(customer.draft(customer.new_invoice(&key.to_string(), &[100, 250])).await.unwrap());
        }
        let (mut running, mut cancelled) = (JoinSet::new(), Vec::new());
        for (index, id) in drafts.iter().copied().enumerate() {
            let (invoices, tenant) = (customer.invoices.clone(), customer.tenant);
            let finalize = async move { invoices.finalize(tenant, id).await };
            if index % 10 < 3 {
                cancelled.push(tokio::spawn(finalize));
            } else {
                running.spawn(finalize);
            }
        }
        for task in &cancelled {
            tokio::task::yield_now().await;
            task.abort();
        }
        let finished = running.join_all().await;
        assert_eq!(finished.iter().filter(|result| result.is_ok()).count(), 70);
        for task in cancelled {
            _ = task.await;
        }
        let found = numbers(&app).await;
        assert!(found.len() >= 70);
        assert_eq!(found, (1..=i64::try_from(found.len()).unwrap()).collect::<Vec<_>>());
        // All of them, in one call; those that are final stay as they are.
        assert!(customer.invoices.finalize_all(&drafts).await.unwrap() <= 30);
        assert_eq!(numbers(&app).await, (1..=100).collect::<Vec<_>>());
    }

    // The transactions of thirty invoices fail after they have taken a number.
    async fn thirty_finalisations_that_roll_back_leave_no_gaps(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let mut drafts = Vec::new();
        for index in 0..100 {
            let key = format!("{}/{index}", if index % 10 < 3 { "refused" } else { "accepted" });
            drafts.push(customer.draft(customer.new_invoice(&key, &[100])).await.unwrap());
        }
        let (refuse, accept) = match app.db().dialect() {
            Dialect::Postgres => (
                vec![
                    "create function refuse() returns trigger language plpgsql as
                        'begin raise exception ''refused''; end'",
                    "create trigger refuse before update on omni_invoices for each row
                        when (new.number is not null and new.key like 'refused/%') execute function refuse()",
                ],
                "drop trigger refuse on omni_invoices",
            ),
            Dialect::Sqlite => (
                vec![
                    "create trigger refuse before update on omni_invoices
                        when new.number is not null and new.key like 'refused/%'
                        begin select raise(abort, 'refused'); end",
                ],
                "drop trigger refuse",
            ),
        };
        for sql in refuse {
            app.db().app_database().query(sql).execute().await.unwrap();
        }
        let mut running = JoinSet::new();
        for id in drafts.iter().copied() {
            let (invoices, tenant) = (customer.invoices.clone(), customer.tenant);
            running.spawn(async move { invoices.finalize(tenant, id).await.is_ok() });
        }
        let finished = running.join_all().await;
        assert_eq!(finished.into_iter().filter(|is_final| *is_final).count(), 70);
        assert_eq!(numbers(&app).await, (1..=70).collect::<Vec<_>>());
        app.db().app_database().query(accept).execute().await.unwrap();
        assert_eq!(customer.invoices.finalize_all(&drafts).await.unwrap(), 30);
        assert_eq!(numbers(&app).await, (1..=100).collect::<Vec<_>>());
    }

    async fn a_rolled_back_draft_or_credit_note_takes_no_number(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let invoice = customer.draft(customer.new_invoice("a", &[1000])).await.unwrap();
        customer.finalize(invoice).await;
        for commits in [false, true] {
            let mut tx = app.db().app_database().tenant(customer.tenant).begin().await.unwrap();
            let note = NewCreditNote::new("half").part_of_line(1, 500);
            let credit = customer.invoices.credit_in(&mut tx, customer.tenant, invoice, note).await.unwrap();
            if commits {
                tx.commit().await.unwrap();
                assert_eq!(customer.get(credit).await.number.as_deref(), Some("CN-000001"));
            } else {
                tx.rollback().await.unwrap();
            }
        }
        assert_eq!(customer.get(invoice).await.credited.minor(), 595);
    }

    async fn tests_have_numbers_of_their_own(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        for (environment, number) in [
            (DataEnvironment::Live, "INV-000001"),
            (DataEnvironment::Test, "TEST-INV-000001"),
            (DataEnvironment::Live, "INV-000002"),
            (DataEnvironment::Test, "TEST-INV-000002"),
        ] {
            let invoice = customer.new_invoice(number, &[100]).environment(environment);
            let id = customer.draft(invoice).await.unwrap();
            assert_eq!(customer.finalize(id).await.number.as_deref(), Some(number));
        }
    }

    async fn what_is_billed_once_is_not_billed_twice(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let first = customer.draft(customer.new_invoice("renewal/1", &[100])).await.unwrap();
        assert_eq!(customer.draft(customer.new_invoice("renewal/1", &[999])).await.unwrap(), first);
        customer.finalize(first).await;
        assert_eq!(customer.draft(customer.new_invoice("renewal/1", &[100])).await.unwrap(), first);
        assert_eq!(customer.get(first).await.net.minor(), 100);
        let other = Customer::new(&app);
        assert_ne!(other.draft(other.new_invoice("renewal/1", &[100])).await.unwrap(), first);
        assert_eq!(other.invoices.get(other.tenant, first).await.unwrap_err().code(), "NOT_FOUND");
    }
}
