//! Tests of usage events, and of an app without a ledger.

#![cfg(test)]

use omnistack_core::{
    clock::{MockClock, Timestamp},
    id::Id,
    usage::{DataEnvironment, Decimal, UsageEvent, UsageSink, meters},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

fn now() -> Timestamp {
    MockClock::at("2030-01-01T00:00:00Z".parse().unwrap()).clock().now()
}

#[test]
fn an_event_counts_each_time_unless_it_has_an_id() {
    let tenant = Id::new(now());
    let event = || UsageEvent::new(tenant, meters::RUNS, 3, now());
    let first = event();
    assert_eq!(first.id, None);
    assert_eq!((first.tenant, first.meter.as_ref(), first.at), (tenant, "runs", now()));
    assert_eq!(first.quantity, Decimal::from(3));
    assert_eq!((first.source.as_ref(), first.environment), ("app", DataEnvironment::Live));
    assert_eq!((first.category, first.user, first.api_key), (None, None, None));

    let again = || event().once("reports", "report/7");
    assert_eq!(again(), again());
    assert_eq!((again().source.as_ref(), again().id.as_deref()), ("reports", Some("report/7")));
}

#[test]
fn an_event_has_what_it_is_given() {
    let (tenant, user, key) = (Id::new(now()), Id::new(now()), Id::new(now()));
    let event = UsageEvent::new(tenant, String::from("gpu_hours"), Decimal::new(-25, 2), now())
        .environment(DataEnvironment::Test)
        .category("a100")
        .user(user)
        .api_key(Some(key));
    assert_eq!((event.meter.as_ref(), event.quantity.to_string().as_str()), ("gpu_hours", "-0.25"));
    assert_eq!((event.environment, event.category.as_deref()), (DataEnvironment::Test, Some("a100")));
    assert_eq!((event.user, event.api_key), (Some(user), Some(key)));
}

on_each_database! {
    async fn without_a_ledger_events_are_accepted(database: TestDatabase) {
        let app = TestApp::start(database, |app| app).await;
        let usage: UsageSink = app.app().context().get().unwrap();
        let event = UsageEvent::new(Id::new(now()), meters::RUNS, 1, now());
        usage.count(event.clone());
        let mut tx = app.db().begin().await.unwrap();
        usage.record_in(&mut tx, [event.clone(), event]).await.unwrap();
        tx.commit().await.unwrap();
    }
}
