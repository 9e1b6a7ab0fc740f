//! Tests of wallets that are low, and of their settings.

use omnistack_billing::WalletLow;
use omnistack_core::{
    audit::{AuditFilter, AuditStore},
    events::Events,
    id::Id,
    identity::{Identity, Permissions},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{LIVE, SETTINGS, TestWallet, WALLET, credits, put, start};

/// Returns a function that returns the balances of the events since its last call.
fn low_events(app: &TestApp) -> impl FnMut() -> Vec<i64> + use<> {
    let events: Events = app.events();
    let mut received = events.subscribe::<WalletLow>();
    move || {
        let next = || received.try_recv().ok().map(|event| event.balance.millionths() / 1_000_000);
        std::iter::from_fn(next).collect()
    }
}

on_each_database! {
    async fn a_tenant_is_told_once_until_the_balance_is_no_longer_low(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let mut events = low_events(&app);
        wallet.grant(wallet.new_grant("a", 20)).await.unwrap();
        wallet.settings(json!({ "low_below": 10, "top_up_amount": null })).await;
        for (number, amount, expected) in [(1, 10, vec![]), (2, 1, vec![9]), (3, 1, vec![])] {
            wallet.spend(&format!("use/{number}"), amount).await.unwrap();
            assert_eq!(events(), expected, "{number}");
        }
        assert!(wallet.client.get(WALLET).await.expect(200).json()["low_since"].is_string());
        // Still low, and then no longer.
        wallet.grant(wallet.new_grant("b", 1)).await.unwrap();
        assert!(wallet.client.get(WALLET).await.expect(200).json()["low_since"].is_string());
        wallet.grant(wallet.new_grant("c", 1)).await.unwrap();
        assert_eq!(wallet.client.get(WALLET).await.expect(200).json()["low_since"], Value::Null);
        wallet.spend("use/4", 3).await.unwrap();
        assert_eq!(events(), [7]);
        // A return ends it as a grant does.
        wallet.give_back("use/4", 3).await.unwrap();
        wallet.spend("use/5", 1).await.unwrap();
        assert_eq!(events(), [9]);
        // A repeated use says nothing, and neither does one that is rolled back.
        wallet.grant(wallet.new_grant("d", 10)).await.unwrap();
        wallet.spend("use/5", 1).await.unwrap();
        assert!(wallet.spend("use/6", 100).await.is_err());
        assert_eq!(events(), [0_i64; 0]);
        wallet.check().await;
    }

    async fn a_refund_or_an_expiry_is_noticed_by_the_next_use(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let mut events = low_events(&app);
        wallet.grant(wallet.new_grant("a", 20)).await.unwrap();
        wallet.settings(json!({ "low_below": 10, "top_up_amount": null })).await;
        wallet.adjust("a", 5).await.unwrap();
        assert_eq!(events(), [0_i64; 0]);
        wallet.spend("use", 1).await.unwrap();
        assert_eq!(events(), [4]);
    }

    async fn settings_apply_at_once(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let mut events = low_events(&app);
        wallet.grant(wallet.new_grant("a", 5)).await.unwrap();
        for (low_below, expected) in [
            (json!(5), vec![]),
            (json!(5.5), vec![5]),
            (json!(6), vec![]),
            (json!(4), vec![]),
        ] {
            let shown = wallet.settings(json!({ "low_below": low_below, "top_up_amount": null })).await;
            assert_eq!((&shown["low_below"], &shown["balance"]), (&low_below, &json!(5)));
            assert_eq!(events(), expected, "{low_below}");
        }
        wallet.settings(json!({ "low_below": 6, "top_up_amount": null })).await;
        assert_eq!(events(), [5]);
        let shown = wallet.settings(json!({ "low_below": null, "top_up_amount": null })).await;
        assert_eq!((&shown["low_below"], &shown["low_since"]), (&Value::Null, &Value::Null));

        // A tenant without a wallet can set them as well.
        let other = TestWallet::new(&app);
        let shown = other.settings(json!({ "low_below": 1, "top_up_amount": null })).await;
        assert_eq!(shown["balance"], 0);
        assert_eq!(events(), [0]);
    }

    async fn settings_that_make_no_sense_are_refused(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        for (settings, field) in [
            (json!({ "low_below": 0 }), "low_below"),
            (json!({ "low_below": -1 }), "low_below"),
            (json!({ "low_below": 1.000_000_5 }), "low_below"),
            (json!({ "low_below": "much" }), "low_below"),
            (json!({ "low_below": 1, "top_up_amount": 10 }), "top_up_amount"),
            (json!({ "low_above": 1 }), "low_above"),
        ] {
            let error = put(&wallet.client, SETTINGS, settings.clone()).await.expect(422).json();
            let message = error["error"].to_string();
            assert!(message.contains(field), "{settings}: {message}");
        }
    }

    async fn settings_need_a_permission_and_are_audited(database: TestDatabase) {
        let app = start(database).await;
        let wallet = TestWallet::new(&app);
        let member = |permissions: &str| {
            let user = Identity::user(Id::from_uuid(Uuid::new_v4())).for_tenant(wallet.tenant);
            user.with_permissions(permissions.parse::<Permissions>().unwrap())
        };
        let settings = json!({ "low_below": 3, "top_up_amount": null });
        let viewer = app.client_as(member("billing:read"));
        viewer.get(WALLET).await.expect(200);
        put(&viewer, SETTINGS, settings.clone()).await.expect(403);
        let operator = app.client_as(member("billing:*").with_impersonator(Id::from_uuid(Uuid::new_v4())));
        put(&operator, SETTINGS, settings.clone()).await.expect_error(403, "IMPERSONATION_REFUSED");
        put(&app.client_as(member("*:read *:write")), SETTINGS, settings.clone()).await.expect(403);
        put(&app.client_as(member("billing:manage")), SETTINGS, settings).await.expect(200);
        app.client_as(member("projects:*")).get(WALLET).await.expect(403);

        let log: AuditStore = app.app().context().get().unwrap();
        let filter = AuditFilter::for_chain(wallet.tenant).action("wallet_settings.");
        let [entry] = log.list(&filter, 10, None).await.unwrap().items.try_into().unwrap();
        assert_eq!(entry.resource.as_deref(), Some("wallet:live"));
        assert_eq!(entry.details.unwrap()["low_below"], 3);
        let shown = wallet.wallets.balance(wallet.tenant, LIVE).await.unwrap();
        assert_eq!(shown.low_below, Some(credits(3)));
    }
}
