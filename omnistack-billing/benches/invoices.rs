//! Measures the finalisation of invoices: `cargo xtask bench invoices`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::time::{Duration, Instant};

use omnistack_billing::{Billing, InvoiceId, Invoices, NewInvoice, NewInvoiceLine};
use omnistack_core::{clock::Clock, db::Dialect, id::Id, identity::TenantId, money::Currency, usage::Decimal};
use omnistack_testkit::{TestApp, TestDatabase};

/// Number of invoices of a run.
const INVOICES: usize = 10_000;
/// Number of lines of an invoice.
const LINES: i64 = 20;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("<!-- begin invoices -->\n\n### Invoices\n");
        println!(
            "The app and the database on the same cores; commits wait for the disk. {INVOICES} invoices of {LINES} lines, \
            each of another tenant: drafted one after another, and finalised by one call.\n"
        );
        println!("| | SQLite | PostgreSQL | target |\n|---|---:|---:|---:|");
        let sqlite = measure(Dialect::Sqlite).await;
        let postgres = measure(Dialect::Postgres).await;
        for (label, target, of) in [
            ("draft 10,000 invoices", "", (sqlite.drafted, postgres.drafted)),
            ("finalise 10,000 invoices", "60 s", (sqlite.finalized, postgres.finalized)),
        ] {
            println!("| {label} | {:.1} s | {:.1} s | {target} |", of.0.as_secs_f64(), of.1.as_secs_f64());
        }
        println!("| numbers without a gap | {} | {} | 10,000 |", sqlite.numbers, postgres.numbers);
        println!("\n<!-- end invoices -->");
    });
}

/// The measured values of a database.
struct InvoiceTimes {
    drafted: Duration,
    finalized: Duration,
    /// The number of invoices, if their numbers have no gap.
    numbers: i64,
}

async fn measure(dialect: Dialect) -> InvoiceTimes {
    let database = match dialect {
        Dialect::Postgres => TestDatabase::postgres(),
        Dialect::Sqlite => TestDatabase::sqlite(),
    };
    let app = TestApp::start(database, |app| {
        let app = app.clock(Clock::system()).set("DATABASE_SYNCHRONOUS", "full").with(Billing::from_env());
        let app = app.set("BILLING_SELLER_NAME", "Acme").set("BILLING_SELLER_COUNTRY", "DE");
        app.set("BILLING_SELLER_VAT_NUMBER", "DE123456789")
    })
    .await;
    let invoices: Invoices = app.app().context().get().unwrap();
    let began = Instant::now();
    let mut drafts = Vec::with_capacity(INVOICES);
    for _ in 0..INVOICES {
        drafts.push(draft(&app, &invoices).await);
    }
    let drafted = began.elapsed();
    let began = Instant::now();
    assert_eq!(invoices.finalize_all(&drafts).await.unwrap(), INVOICES);
    let finalized = began.elapsed();
    InvoiceTimes { drafted, finalized, numbers: numbers(&app).await }
}

async fn draft(app: &TestApp, invoices: &Invoices) -> InvoiceId {
    let tenant: TenantId = Id::new(Clock::system().now());
    let lines = (1..=LINES).map(|number| {
        let price = Decimal::new(1999 + number, 2);
        NewInvoiceLine::item(format!("Item {number}"), number, price)
    });
    let invoice = lines.fold(NewInvoice::new(tenant, "bench", Currency::EUR), NewInvoice::line);
    let mut tx = app.db().app_database().tenant(tenant).begin().await.unwrap();
    let id = invoices.draft_in(&mut tx, invoice).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// Returns the number of final invoices. Fails if their numbers have a gap, or their sums don't add up.
async fn numbers(app: &TestApp) -> i64 {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let sql = "select count(distinct number), min(number), max(number), cast(sum(total - net - tax) as bigint)
        from omni_invoices where number is not null";
    let (count, least, most, off): (i64, i64, i64, i64) = tx.query(sql).fetch_one().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((least, most, off), (1, count, 0));
    count
}
