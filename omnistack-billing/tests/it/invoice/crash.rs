//! Processes that are killed by SIGKILL after each of their statements in turn while they finalise invoices: no number is
//! given twice, and none is left out.

use omnistack_billing::{InvoiceId, Invoices};
use omnistack_testkit::{
    TestApp, TestDatabase,
    crash::{CrashChild, CrashCommand},
    on_each_database,
};

use super::{Customer, SELLER, billing, handle, start};

/// The variable by which a child gets the ids of its invoices.
const INVOICE_IDS: &str = "INVOICE_CRASH_IDS";

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_finalises() {
    let Some(child) = CrashChild::from_env() else { return };
    let builder = SELLER.into_iter().fold(child.builder(), |app, (name, value)| app.set(name, value));
    let app = builder.with(billing()).build().unwrap();
    let ids: Vec<InvoiceId> = child.variable(INVOICE_IDS).split(',').map(|id| id.parse().unwrap()).collect();
    let invoices: Invoices = app.context().get().unwrap();
    child.kill_after_statement(app.db(), |_| true);
    invoices.finalize_all(&ids).await.unwrap();
}

/// Runs a child to its end. Returns whether it was killed.
async fn run(app: &TestApp, ids: &[InvoiceId], statement: usize) -> bool {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let command = CrashCommand::new(app, "invoice::crash::child_that_finalises", statement);
    command.env(INVOICE_IDS, ids.join(",")).run().await.was_killed
}

/// Returns the numbers of all invoices, in order.
async fn numbers(app: &TestApp) -> Vec<i64> {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let sql = "select number from omni_invoices where number is not null order by number";
    let rows: Vec<(i64,)> = tx.query(sql).fetch_all().await.unwrap();
    tx.commit().await.unwrap();
    rows.into_iter().map(|(number,)| number).collect()
}

on_each_database! {
    async fn a_killed_process_numbers_nothing_twice_and_leaves_no_gap(database: TestDatabase) {
        let app = start(database).await;
        let customer = Customer::new(&app);
        let (mut drafted, mut deaths) = (0, 0);
        for statement in 1.. {
            let mut ids = Vec::new();
            for index in 0..3 {
                let key = format!("{statement}/{index}");
                ids.push(customer.draft(customer.new_invoice(&key, &[100, 200])).await.unwrap());
            }
            drafted += 3;
            let was_killed = run(&app, &ids, statement).await;
            let found = numbers(&app).await;
            assert_eq!(found, (1..=i64::try_from(found.len()).unwrap()).collect::<Vec<_>>(), "{statement}");
            // Another process goes on.
            handle(&app).finalize_all(&ids).await.unwrap();
            assert_eq!(numbers(&app).await, (1..=drafted).collect::<Vec<i64>>(), "{statement}");
            if !was_killed {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 10, "{deaths}");
    }
}
