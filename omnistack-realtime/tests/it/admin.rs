//! Tests of the operators' routes.

#![cfg(test)]

use std::time::Duration;

use omnistack_core::audit::{AuditFilter, AuditRecord, AuditStore};
use omnistack_realtime::{ChannelRule, Channels};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};

use crate::live::{LiveClient, app_with};

const ADMIN: &str = "/api/v1/admin/realtime";

/// The close codes after which a client connects again, and after which it does not.
const FORCE_RECONNECT: u16 = 3011;
const FORCE_NO_RECONNECT: u16 = 3503;

fn rooms() -> Channels {
    Channels::new().rule(ChannelRule::new("room:{id}").subscribe(|_, _| true).presence())
}

/// Returns the entries in the audit log, the newest first.
async fn audited(app: &TestApp) -> Vec<AuditRecord> {
    let log: AuditStore = app.app().context().get().unwrap();
    log.list(&AuditFilter::all_chains().action("realtime."), 100, None).await.unwrap().items
}

/// Lets the next entry in the audit log be newer than those before.
fn pass_time(app: &TestApp) {
    app.clock().advance(Duration::from_secs(1));
}

on_each_database! {
    async fn operators_see_connections_and_rules(database: TestDatabase) {
        let app = app_with(database, rooms()).await;
        let server = app.listen_with_defaults().await;
        let (ann, bob) = (app.user(), app.user());
        let _of_ann = LiveClient::subscribed(server.address, &ann, "room:1").await;
        let _also_of_ann = LiveClient::subscribed(server.address, &ann, "room:1").await;
        let _of_bob = LiveClient::connect(server.address, &bob).await;
        let operator = app.operator();
        let stats = operator.get(format!("{ADMIN}/stats")).await.expect(200).json();
        for (name, expected) in [("connections", 3), ("users", 2), ("channels", 1), ("subscriptions", 2)] {
            assert_eq!(stats[name], expected, "{name}: {stats}");
        }
        let rules = stats["rules"].as_array().unwrap();
        let patterns: Vec<_> = rules.iter().map(|rule| rule["pattern"].as_str().unwrap()).collect();
        assert_eq!(patterns, ["user:{id}", "tenant", "broadcast", "operators", "room:{id}"]);
        assert_eq!((&rules[4]["presence"], &rules[4]["publish"]), (&json!(true), &json!("no client")));

        let identity = ann.identity().unwrap();
        let (user, tenant) = (identity.user, identity.tenant.unwrap());
        for (query, count) in [
            (String::new(), 3),
            (format!("user={user}"), 2),
            (format!("tenant={tenant}"), 2),
            (format!("user={user}&limit=1"), 1),
            (format!("user={tenant}"), 0),
        ] {
            let found = operator.get(format!("{ADMIN}/connections?{query}")).await.expect(200).json();
            assert_eq!(found.as_array().unwrap().len(), count, "{query}: {found}");
        }
        let found = operator.get(format!("{ADMIN}/connections?user={user}&limit=1")).await.expect(200).json();
        let connection = &found[0];
        assert_eq!(connection["user_id"], user.to_string());
        assert_eq!(connection["tenant_id"], tenant.to_string());
        assert_eq!((&connection["transport"], &connection["channels"]), (&json!("websocket"), &json!(["room:1"])));
        operator.get(format!("{ADMIN}/connections?limit=0")).await.expect_error(422, "VALIDATION_FAILED");
    }

    async fn operators_close_the_connections_of_a_user_a_tenant_or_one(database: TestDatabase) {
        let app = app_with(database, rooms()).await;
        let server = app.listen_with_defaults().await;
        let operator = app.operator();
        let disconnect = format!("{ADMIN}/disconnect");
        operator.post(&disconnect, json!({})).await.expect_error(422, "VALIDATION_FAILED");
        for (field, reconnect, code) in
            [("user", false, FORCE_NO_RECONNECT), ("tenant", true, FORCE_RECONNECT), ("connection", true, FORCE_RECONNECT)]
        {
            pass_time(&app);
            let (ann, bob) = (app.user(), app.user());
            let identity = ann.identity().unwrap();
            let mut closed = LiveClient::connect(server.address, &ann).await;
            let mut open = LiveClient::connect(server.address, &bob).await;
            let found = operator.get(format!("{ADMIN}/connections?user={}", identity.user)).await.expect(200).json();
            let id = match field {
                "user" => identity.user.to_string(),
                "tenant" => identity.tenant.unwrap().to_string(),
                _ => found[0]["id"].as_str().unwrap().to_owned(),
            };
            let request = json!({ field: id, "reconnect": reconnect, "reason": "abuse" });
            operator.post(&disconnect, request).await.expect(204);
            assert_eq!(closed.close_code().await, code, "{field}");
            assert_eq!(open.waiting_messages().await, Vec::<Value>::new());
            let entry = audited(&app).await.remove(0);
            assert_eq!(entry.action, "realtime.connection_disconnected");
            assert_eq!(entry.actor, operator.identity().map(|operator| operator.user));
            assert!(entry.resource.as_ref().unwrap().ends_with(&id), "{entry:?}");
            assert_eq!(entry.details.unwrap()["reason"], "abuse");
            assert_eq!(entry.tenant, identity.tenant.filter(|_| field == "tenant"));
        }
    }

    async fn operators_send_messages_to_all_a_tenant_or_a_user(database: TestDatabase) {
        let app = app_with(database, rooms()).await;
        let server = app.listen_with_defaults().await;
        let operator = app.operator();
        let broadcast = format!("{ADMIN}/broadcast");
        let (ann, bob) = (app.user(), app.user());
        let identity = ann.identity().unwrap();
        let (user, tenant) = (identity.user, identity.tenant.unwrap());
        for (request, channel, reaches_bob) in [
            (json!({}), "broadcast".to_owned(), true),
            (json!({ "tenant": tenant }), "tenant".to_owned(), false),
            (json!({ "user": user }), format!("user:{user}"), false),
        ] {
            let mut of_ann = LiveClient::subscribed(server.address, &ann, &channel).await;
            let mut of_bob = LiveClient::connect(server.address, &bob).await;
            of_bob.command("subscribe", json!({ "channel": channel })).await;
            pass_time(&app);
            let mut request = request;
            request["data"] = json!({ "text": "maintenance at noon" });
            let sent = operator.post(&broadcast, request).await.expect(202).json();
            assert_eq!(sent, json!({ "channel": channel }));
            app.run_events().await;
            assert_eq!(of_ann.message(&channel).await, json!({ "text": "maintenance at noon" }));
            assert_eq!(of_bob.waiting_messages().await.len(), usize::from(reaches_bob), "{channel}");
            let entry = audited(&app).await.remove(0);
            assert_eq!(entry.action, "realtime.broadcast_sent");
            assert_eq!(entry.resource, Some(format!("realtime_channel:{channel}")));
        }
        let both = json!({ "user": user, "tenant": tenant, "data": 1 });
        operator.post(&broadcast, both).await.expect_error(422, "VALIDATION_FAILED");
    }

    async fn only_operators_reach_the_routes(database: TestDatabase) {
        let app = app_with(database, rooms()).await;
        let user = app.user();
        for path in ["stats", "connections"] {
            user.get(format!("{ADMIN}/{path}")).await.expect(403);
            app.anonymous().get(format!("{ADMIN}/{path}")).await.expect(401);
        }
        for path in ["disconnect", "broadcast"] {
            user.post(format!("{ADMIN}/{path}"), json!({ "data": 1 })).await.expect(403);
        }
        assert!(audited(&app).await.is_empty());
    }
}
