//! Tests of seats.

use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{ACCOUNTS, PLAN, Team, accounts, app, audited, entitlements, put, tenant_of};

async fn started(database: TestDatabase, members: u64) -> (TestApp, Team) {
    let team = Team::default();
    team.set_members(members);
    let added = team.clone();
    (app(database, |app| app.with(added)).await, team)
}

on_each_database! {
    async fn seats_are_not_fewer_than_those_in_use(database: TestDatabase) {
        // Five members and a pending invitation.
        let (app, team) = started(database, 6).await;
        let user = app.user();
        let (tenant, entitlements) = (tenant_of(&user), entitlements(&app));
        put(&app, tenant, "plan", json!({ "plan": "pro" })).await.expect(200);
        let error = put(&app, tenant, "seats", json!({ "seats": 5 })).await.expect_error(409, "SEATS_IN_USE").json();
        assert_eq!(error["error"]["details"], json!({ "used": 6, "requested": 5 }));
        assert_eq!(accounts(&app).set_seats(tenant, Some(5)).await.unwrap_err().code(), "SEATS_IN_USE");
        assert_eq!(entitlements.plan(tenant).await.unwrap().limits["team_members"], 10);

        let account = put(&app, tenant, "seats", json!({ "seats": 6 })).await.expect(200).json();
        assert_eq!((&account["seats"], &account["over_limit"]), (&json!(6), &json!([])));
        let error = entitlements.check_limit(tenant, "team_members", 6, 1).await.unwrap_err();
        assert_eq!(error.code(), "PLAN_LIMIT_REACHED");
        accounts(&app).set_seats(tenant, Some(7)).await.unwrap();
        assert!(entitlements.check_limit(tenant, "team_members", 6, 1).await.is_ok());

        let account = put(&app, tenant, "seats", json!({ "seats": 200 })).await.expect(200).json();
        assert_eq!(account["seats"], 200);
        assert_eq!(user.get(PLAN).await.expect(200).json()["plan"]["limits"]["team_members"], 200);
        assert_eq!(entitlements.plan(tenant).await.unwrap().limits["team_members"], 200);

        // Without seats, the limit of the plan holds, which must be enough, too.
        team.set_members(11);
        let error = put(&app, tenant, "seats", json!({ "seats": null })).await.expect_error(409, "SEATS_IN_USE").json();
        assert_eq!(error["error"]["details"], json!({ "used": 11, "requested": 10 }));
        team.set_members(10);
        let account = put(&app, tenant, "seats", json!({ "seats": null })).await.expect(200).json();
        assert_eq!(account["seats"], Value::Null);
        assert_eq!(entitlements.plan(tenant).await.unwrap().limits["team_members"], 10);

        let entries = audited(&app, "billing_seats.").await;
        let seats: Vec<_> = entries.iter().map(|entry| entry.details.as_ref().unwrap()["seats"].clone()).collect();
        assert_eq!(seats, [json!(6), json!(7), json!(200), Value::Null]);
        assert_eq!(entries.iter().map(|entry| entry.actor.is_some()).collect::<Vec<_>>(), [true, false, true, true]);
    }

    async fn seats_of_a_provider_are_accepted(database: TestDatabase) {
        let (app, team) = started(database, 6).await;
        let (tenant, accounts) = (tenant_of(&app.user()), accounts(&app));
        put(&app, tenant, "plan", json!({ "plan": "pro" })).await.expect(200);
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        accounts.set_seats_from_provider_in(&mut tx, tenant, Some(4)).await.unwrap();
        tx.commit().await.unwrap();
        let account = app.operator().get(format!("{ACCOUNTS}/{tenant}")).await.expect(200).json();
        assert_eq!(account["over_limit"], json!([{ "name": "team_members", "used": 6, "limit": 4 }]));
        assert_eq!(account["seats"], 4);
        let entitlements = entitlements(&app);
        let error = entitlements.check_limit(tenant, "team_members", 6, 1).await.unwrap_err();
        assert_eq!(error.code(), "PLAN_LIMIT_REACHED");
        team.set_members(4);
        assert!(accounts.get(tenant).await.unwrap().over_limit.is_empty());
    }
}

#[tokio::test]
async fn a_number_of_seats_is_checked() {
    let (app, _) = started(TestDatabase::sqlite(), 0).await;
    let tenant = tenant_of(&app.user());
    for body in [json!({}), json!({ "seats": -1 }), json!({ "seats": 1_000_000_001_u64 }), json!({ "seats": "5" })] {
        put(&app, tenant, "seats", body).await.expect_error(422, "VALIDATION_FAILED");
    }
    put(&app, tenant, "seats", json!({ "seats": 1_000_000_000 })).await.expect(200);
    put(&app, tenant, "seats", json!({ "seats": 0 })).await.expect(200);
}
