//! Whole months are read from one row each: the sums are those of their days.

use std::collections::BTreeMap;

use omnistack_core::{clock::Timestamp, id::Id, identity::UserId};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ADMIN, USAGE, backfill, event_of, get, of_meter, start, tenant_of, with};

const DAY_MICROS: i64 = 86_400_000_000;

/// Random numbers that are the same in each run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 >> 2).unwrap() % end
    }
}

/// Usage at random times, with the first and last moments of days and months.
fn random_usage(first: &str, last: &str, count: usize) -> Vec<(Timestamp, i64, &'static str)> {
    let [first, last] = [first, last].map(|time| time.parse::<Timestamp>().unwrap().as_micros());
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let used = |_| {
        let at = first + numbers.below(last - first);
        let midnight = at - at.rem_euclid(DAY_MICROS);
        let at = match numbers.below(4) {
            0 => midnight.max(first),
            1 => midnight - 1,
            _ => at,
        };
        let category = ["a", "b", "c"][usize::try_from(numbers.below(3)).unwrap()];
        (Timestamp::from_micros(at.max(first)), 1 + numbers.below(1_000), category)
    };
    (0..count).map(used).collect()
}

/// Returns the sums of a range by category, the largest first.
fn expected(used: &[(Timestamp, i64, &'static str)], start: Timestamp, end: Timestamp) -> Vec<(i64, String)> {
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for (_, quantity, category) in used.iter().filter(|(at, ..)| start <= *at && *at < end) {
        *sums.entry(*category).or_default() += quantity;
    }
    let mut sums: Vec<_> = sums.into_iter().map(|(category, sum)| (sum, category.to_owned())).collect();
    sums.sort_by(|(one, first), (other, second)| other.cmp(one).then_with(|| first.cmp(second)));
    sums
}

fn time(report: &Value, field: &str) -> Timestamp {
    report[field].as_str().unwrap().parse().unwrap()
}

fn parts(breakdown: &Value) -> Vec<(i64, String)> {
    let part = |item: &Value| (item["quantity"].as_i64().unwrap(), item["value"].as_str().unwrap().to_owned());
    breakdown["items"].as_array().unwrap().iter().map(part).collect()
}

on_each_database! {
    async fn months_and_days_give_the_same_sums_as_days(database: TestDatabase) {
        let app = start(database, "2032-02-28T23:00:00Z").await;
        let owner = app.user();
        let (operator, user): (_, UserId) = (app.operator(), Id::from_uuid(Uuid::from_u128(7)));
        let used = random_usage("2030-01-01T00:00:00Z", "2032-02-28T22:00:00Z", 900);
        let events = used.iter().map(|(at, quantity, category)| {
            with(event_of("pages", &at.to_string(), quantity, category), "user", user)
        });
        backfill(&app, tenant_of(&owner), &events.collect::<Vec<_>>()).await;
        for now in [
            "2032-02-28T23:00:00Z",
            // The leap day, and the first and last days of months and years.
            "2032-02-29T00:00:00Z",
            "2032-03-01T12:00:00Z",
            "2032-03-31T12:00:00Z",
            "2032-04-15T12:00:00Z",
            "2032-12-31T23:59:59Z",
            "2033-01-01T00:00:00Z",
            "2033-02-28T12:00:00Z",
        ] {
            app.clock().set(now.parse().unwrap());
            for period in ["7d", "30d", "90d", "1y"] {
                let summary = get(&owner, format!("{USAGE}/summary?period={period}")).await;
                let (start, end) = (time(&summary, "start"), time(&summary, "end"));
                let days = (end.as_micros() - start.as_micros()) / DAY_MICROS;
                assert_eq!(format!("{days}d").replace("365d", "1y"), period);
                let by_category = expected(&used, start, end);
                let total: i64 = by_category.iter().map(|(sum, _)| sum).sum();
                let before = Timestamp::from_micros(start.as_micros() - days * DAY_MICROS);
                let previous: i64 = expected(&used, before, start).iter().map(|(sum, _)| sum).sum();

                let query = format!("period={period}&meter=pages");
                let breakdown = get(&owner, format!("{USAGE}/breakdown?{query}")).await;
                assert_eq!(parts(&breakdown), by_category, "{now} {period}");
                assert_eq!((&breakdown["total"], &breakdown["other"]), (&json!(total), &json!(0)), "{now} {period}");
                let of_user = get(&operator, format!("{ADMIN}/breakdown/{user}?{query}")).await;
                assert_eq!((&of_user["items"], &of_user["total"]), (&breakdown["items"], &json!(total)));

                let trends = get(&owner, format!("{USAGE}/trends?{query}")).await;
                let trends_of_user = get(&operator, format!("{ADMIN}/trends/{user}?{query}")).await;
                assert_eq!(trends["meters"], trends_of_user["meters"], "{now} {period}");
                let pages = of_meter(&trends, "pages");
                let sum: i64 =
                    pages["points"].as_array().unwrap().iter().map(|point| point["quantity"].as_i64().unwrap()).sum();
                assert_eq!((sum, &pages["total"]), (total, &json!(total)), "{now} {period}");
                assert_eq!(pages["previous"], previous, "{now} {period}");
                let daily = get(&owner, format!("{USAGE}/daily?period={period}")).await;
                let daily_of_user = get(&operator, format!("{ADMIN}/daily/{user}?period={period}")).await;
                assert_eq!(daily, daily_of_user);

                let top = get(&operator, format!("{ADMIN}/top-users?{query}")).await;
                let item = json!({
                    "user": user, "quantity": total, "tenants": 1,
                    "events": used.iter().filter(|(at, ..)| start <= *at && *at < end).count(),
                });
                assert_eq!(top["items"], if total == 0 { json!([]) } else { json!([item]) }, "{now} {period}");
                let summary_of_user = get(&operator, format!("{ADMIN}/summary/{user}?period={period}")).await;
                assert_eq!(summary, summary_of_user, "{now} {period}");
            }
        }
    }
}
