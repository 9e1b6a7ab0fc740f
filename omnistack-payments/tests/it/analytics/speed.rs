//! The time of reports about a million attempts.

use std::time::{Duration, Instant};

use omnistack_core::db::BulkInsert;
use omnistack_testkit::{TestDatabase, on_each_database};
use uuid::Uuid;

use super::ANALYTICS;
use crate::payment::{TestTenant, start};

/// The days of the counters, back from 2030-01-01.
const DAYS: i32 = 365;
const FIRST_DAY: i32 = 21_915 - DAYS + 1;
/// The longest time of a report.
const MAX_REPORT_TIME: Duration = Duration::from_millis(500);

static INSERT_CALLS: BulkInsert<11> = BulkInsert::new(
    "insert into omni_payment_days (tenant_id, environment, day, service, api_key_id, outcome, code, bucket_ms, slot,
    calls, duration_ms) values",
    "",
);

on_each_database! {
    #[expect(clippy::disallowed_methods, reason = "the test measures real time")]
    async fn a_report_of_a_year_with_a_million_attempts_takes_less_than_half_a_second(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        // Each day has three services, two API keys, four results, five durations and two slots: 240 rows.
        let mut rows = Vec::new();
        for day in FIRST_DAY..FIRST_DAY + DAYS {
            for number in 0..240_i32 {
                rows.push((day, number));
            }
        }
        let mut tx = app.db().app_database().tenant(tenant.id).begin().await.unwrap();
        let services = ["fake", "fake_b", "fake_c"];
        let results = [("success", ""), ("declined", "declined"), ("error", "provider_unavailable"), ("unknown", "x")];
        let pick = |number: i32, of: i32| usize::try_from(number % of).unwrap();
        let insert = INSERT_CALLS.execute(&mut tx, &rows, |row, (day, number)| {
            let (outcome, code) = results[pick(number / 6, 4)];
            row.push(tenant.id);
            row.push("test");
            row.push(*day);
            row.push(services[pick(*number, 3)]);
            row.push(Uuid::from_u128(u128::try_from(number / 3 % 2).unwrap()));
            row.push(outcome);
            row.push(code);
            row.push(50 + number / 24 % 5 * 50);
            row.push(number / 120);
            row.push(12_i64);
            row.push(1_200_i64);
        });
        insert.await.unwrap();
        tx.commit().await.unwrap();
        for report in ["overview", "service/fake", "errors", "costs"] {
            let began = Instant::now();
            let path = format!("{ANALYTICS}/{report}?period=1y&environment=test");
            let found = tenant.client.get(path).await.expect(200).json();
            let took = began.elapsed();
            // Debug builds of this crate are slower than the database.
            assert!(took < MAX_REPORT_TIME * 4, "{report}: {took:?}");
            if report == "overview" {
                assert_eq!(found["calls"]["calls"], i64::from(DAYS) * 240 * 12);
            }
        }
    }
}
