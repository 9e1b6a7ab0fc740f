//! Tests of three replicas on one budget.

use futures_util::future::join_all;
use omnistack_core::app::{App, DevIdentity};
use omnistack_testkit::on_each_database;

use super::*;

/// Starts a further replica on the same database, with the same clock.
async fn replica(app: &TestApp, plan: &Plan, usage: &RecordedUsage) -> App {
    let builder = App::builder(app.database().config()).clock(app.clock().clock()).with(DevIdentity::default());
    let other = with_ai(builder, plan, usage).set("DEV_TOKEN", "dev_moon").build().unwrap();
    other.start().await.unwrap();
    other
}

/// Begins 100 calls at once on three replicas. Returns those that were let through.
async fn begin_100(replicas: &[Accounting], account: &Account<'_>) -> Vec<OpenCall> {
    let calls = (0..100).map(|index| {
        let (accounting, start) = (replicas[index % replicas.len()].clone(), account.start(60, 40, 5));
        tokio::spawn(async move { accounting.open(start).await })
    });
    let mut open = Vec::new();
    for call in join_all(calls).await {
        match call.unwrap() {
            Ok(call) => open.push(call),
            Err(error) => assert_eq!((error.status().as_u16(), error.code()), (402, "AI_BUDGET_EXCEEDED"), "{error:?}"),
        }
    }
    open
}

on_each_database! {
    async fn exactly_ten_of_a_hundred_pass_a_budget_for_ten(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let plans = [
            Plan::new("requests").limit(meters::AI_REQUESTS, 10),
            Plan::new("tokens").limit(meters::AI_TOKENS, 1_099),
            Plan::new("unlimited"),
        ];
        let app = start(database, plans[2].clone(), &usage).await;
        for plan in &plans {
            let (one, two, three) = (
                replica(&app, plan, &usage).await,
                replica(&app, plan, &usage).await,
                replica(&app, plan, &usage).await,
            );
            let replicas = [&one, &two, &three].map(|app| app.context().get::<Accounting>().unwrap());
            // No row mentions this tenant yet.
            let account = Account::new(&app);
            if plan.limits.is_empty() {
                account.limit(json!({ "limit_cost": "0.000000000050" })).await;
            }
            let open = begin_100(&replicas, &account).await;
            assert_eq!(open.len(), 10, "{}", plan.key);
            let ends = open.into_iter().map(|call| call.settle(answered(60, 40, 5)));
            join_all(ends).await.into_iter().for_each(|settled| drop(settled.unwrap()));
            account.expect_settled(&usage).await;
            assert_eq!(begin_100(&replicas, &account).await.len(), 0, "{}", plan.key);
        }
    }

    async fn what_is_given_back_lets_others_through(database: TestDatabase) {
        let usage = RecordedUsage::default();
        let plan = Plan::new("free").limit(meters::AI_TOKENS, 1_000);
        let app = start(database, plan.clone(), &usage).await;
        let other = replica(&app, &plan, &usage).await;
        let account = Account::new(&app);
        let other: Accounting = other.context().get().unwrap();
        let call = account.open(500, 500, 0).await.unwrap();
        expect_refused(other.open(account.start(1, 0, 0)).await);
        call.settle(answered(100, 50, 0)).await.unwrap();
        let second = other.open(account.start(850, 0, 0)).await.unwrap();
        expect_refused(account.open(1, 0, 0).await);
        drop(second);
        other.settle_dropped().await.unwrap();
        account.open(850, 0, 0).await.unwrap().settle(answered(850, 0, 0)).await.unwrap();
        account.expect_settled(&usage).await;
    }
}
