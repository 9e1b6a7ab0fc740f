//! Tests of the operators' routes of flags: definitions, history, overrides, imports, on both databases.

use http::Method;
use omnistack_core::{
    audit::{AuditChain, AuditFilter, AuditStore},
    id::Id,
};
use omnistack_flags::{FlagDefinition, FlagError, FlagRule, UnleashImport};
use omnistack_testkit::{TestApp, TestDatabase, TestResponse, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ADMIN, SEGMENTS, app, flags, make, operator};

fn fields(answer: &Value) -> Vec<String> {
    let problems = answer["error"]["details"]["fields"].as_array().cloned().unwrap_or_default();
    problems.iter().map(|problem| problem["field"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn put(app: &TestApp, path: &str, body: Value) -> TestResponse {
    app.operator().request(Method::PUT, path).json(body).await
}

async fn actions(app: &TestApp) -> Vec<String> {
    let store: AuditStore = app.app().context().get().unwrap();
    let page = store.list(&AuditFilter::for_chain(AuditChain::App).action("flag"), 100, None).await.unwrap();
    page.items
        .into_iter()
        .rev()
        .map(|entry| format!("{} {}", entry.action, entry.resource.unwrap_or_default()))
        .collect()
}

on_each_database! {
    async fn a_flag_lives(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let admin = app.operator();
        let path = format!("{ADMIN}/new-ui");
        let made = admin.post(ADMIN, json!({ "key": "new-ui", "rules": [{ "users": ["7"] }] })).await.expect(201).json();
        assert_eq!((&made["revision"], &made["definition"]["enabled"]), (&json!(1), &json!(true)));
        admin.post(ADMIN, json!({ "key": "new-ui" })).await.expect_error(409, "ALREADY_EXISTS");
        assert_eq!(admin.get(&path).await.expect(200).json(), made);

        let off = json!({ "key": "new-ui", "enabled": false });
        let changed = put(&app, &format!("{path}?revision=1"), off.clone()).await.expect(200).json();
        assert_eq!((&changed["revision"], &changed["definition"]["rules"]), (&json!(2), &json!([])));
        put(&app, &format!("{path}?revision=1"), off.clone()).await.expect_error(409, "FLAG_CHANGED");
        put(&app, &path, json!({ "key": "other" })).await.expect_error(422, "VALIDATION_FAILED");
        put(&app, &format!("{ADMIN}/nothing"), json!({ "key": "nothing" })).await.expect(404);

        let killed = put(&app, &format!("{path}/kill"), json!({})).await.expect(200).json();
        assert_eq!(killed["definition"]["killed"], true);
        let revived = admin.delete(format!("{path}/kill")).await.expect(200).json();
        assert_eq!(revived["definition"]["killed"], false);
        admin.delete(&path).await.expect(204);
        admin.delete(&path).await.expect(404);
        admin.get(&path).await.expect(404);

        let history = admin.get(format!("{path}/history?limit=2")).await.expect(200).json();
        assert_eq!((&history["items"][0]["action"], &history["items"][0]["definition"]), (&json!("removed"), &Value::Null));
        assert_eq!(history["items"][1]["action"], "revived");
        let cursor = history["next_cursor"].as_str().unwrap();
        let earlier = admin.get(format!("{path}/history?cursor={cursor}")).await.expect(200).json();
        let earlier: Vec<_> = earlier["items"].as_array().unwrap().iter().map(|one| one["action"].clone()).collect();
        assert_eq!(earlier, ["killed", "updated", "created"]);
        let expected = ["created", "updated", "killed", "revived", "removed"].map(|what| format!("flag.{what} flag:new-ui"));
        assert_eq!(actions(&app).await, expected);
        app.user().get(ADMIN).await.expect(403);
        app.anonymous().get(ADMIN).await.expect(401);
    }

    async fn bad_definitions_name_the_field(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let rule = |rule: Value| json!({ "key": "x", "rules": [rule] });
        let constraint = |operator: &str, values: Value| {
            rule(json!({ "constraints": [{ "attribute": "a", "operator": operator, "values": values }] }))
        };
        for (body, field) in [
            (json!({ "key": "" }), "key"),
            (json!({ "key": "a b" }), "key"),
            (json!({ "key": "a/b" }), "key"),
            (json!({ "key": "import" }), "key"),
            (json!({ "key": "x".repeat(101) }), "key"),
            (json!({}), "key"),
            (json!({ "key": "x", "colour": "red" }), "colour"),
            (json!({ "key": "x", "from": "2030-01-02T00:00:00Z", "until": "2030-01-01T00:00:00Z" }), "until"),
            (json!({ "key": "x", "parents": [{ "key": "x" }] }), "parents[0].key"),
            (json!({ "key": "x", "parents": [{ "key": "nowhere" }] }), "parents[0].key"),
            (rule(json!({ "segments": ["nowhere"] })), "rules[0].segments[0]"),
            (rule(json!({ "tenants": ["acme"] })), "rules[0].tenants[0]"),
            (rule(json!({ "rollout": { "percent": 101 } })), "rules[0].rollout.percent"),
            (rule(json!({ "rollout": { "percent": 0.5 } })), "rules[0].rollout.percent"),
            (rule(json!({ "rollout": { "percent": 5, "stickiness": "" } })), "rules[0].rollout.stickiness"),
            (constraint("matches", json!(["("])), "rules[0].constraints[0].values[0]"),
            (constraint("matches", json!(["(?=a)b"])), "rules[0].constraints[0].values[0]"),
            (constraint("matches", json!(["(a{1000}){1000}"])), "rules[0].constraints[0].values[0]"),
            (constraint("matches", json!(["a".repeat(1001)])), "rules[0].constraints[0].values[0]"),
            (constraint("number_less", json!([])), "rules[0].constraints[0].values"),
            (constraint("number_less", json!(["ten"])), "rules[0].constraints[0].values[0]"),
            (constraint("date_after", json!(["tomorrow"])), "rules[0].constraints[0].values[0]"),
            (constraint("version_less", json!(["v1"])), "rules[0].constraints[0].values[0]"),
            (constraint("in_network", json!(["10.0.0.0/8", "home"])), "rules[0].constraints[0].values[1]"),
            (constraint("sounds_like", json!(["a"])), "rules[0].constraints[0].operator"),
            (json!({ "key": "x", "variants": [{ "name": "", "weight": 1 }] }), "variants[0].name"),
            (json!({ "key": "x", "variants": [{ "name": "a", "weight": 1 }, { "name": "a", "weight": 1 }] }), "variants[1].name"),
            (json!({ "key": "x", "variants": [{ "name": "a", "weight": -1 }] }), "variants[0].weight"),
            (json!({ "key": "x", "variants": [{ "name": "a", "weight": 1, "payload": { "type": "json", "value": "{" } }] }),
                "variants[0].payload.value"),
            (json!({ "key": "x", "description": "é".repeat(4001) }), "description"),
            (json!({ "key": "x", "parents": [{ "key": "y".repeat(101) }] }), "parents[0].key"),
            (rule(json!({ "name": "x".repeat(201) })), "rules[0].name"),
            (rule(json!({ "users": ["x".repeat(1001)] })), "rules[0].users[0]"),
            (rule(json!({ "users": vec!["x"; 10_001] })), "rules[0].users"),
            (rule(json!({ "plans": ["free", "x".repeat(201)] })), "rules[0].plans[1]"),
            (rule(json!({ "plan_feature": "x".repeat(201) })), "rules[0].plan_feature"),
            (rule(json!({ "segments": vec!["north"; 101] })), "rules[0].segments"),
            (rule(json!({ "unsupported": "x".repeat(1001) })), "rules[0].unsupported"),
            (rule(json!({ "rollout": { "percent": 5, "stickiness": "x".repeat(201) } })), "rules[0].rollout.stickiness"),
            (rule(json!({ "rollout": { "percent": 5, "group": "x".repeat(201) } })), "rules[0].rollout.group"),
            (rule(json!({ "constraints": [{ "attribute": "x".repeat(201), "operator": "in", "values": ["a"] }] })),
                "rules[0].constraints[0].attribute"),
            (constraint("in", json!(["é".repeat(1001)])), "rules[0].constraints[0].values[0]"),
            (json!({ "key": "x", "variants": [{ "name": "x".repeat(101), "weight": 1 }] }), "variants[0].name"),
            (json!({ "key": "x", "variants": [{ "name": "a", "weight": 1, "stickiness": "x".repeat(201) }] }), "variants[0].stickiness"),
            (json!({ "key": "x", "variants": [{ "name": "a", "weight": 1, "overrides": [{ "attribute": "", "values": [] }] }] }),
                "variants[0].overrides[0].attribute"),
            (json!({ "key": "x", "variants": [{ "name": "a", "weight": 1, "payload": { "type": "string", "value": "x".repeat(65_537) } }] }),
                "variants[0].payload.value"),
        ] {
            let answer = app.operator().post(ADMIN, &body).await.expect_error(422, "VALIDATION_FAILED").json();
            assert!(fields(&answer).iter().any(|named| named.ends_with(field) || field.ends_with(named.as_str())), "{body}: {answer}");
        }
        let list = app.operator().get(ADMIN).await.expect(200).json();
        assert_eq!(list["items"], json!([]), "nothing is stored");
        assert!(actions(&app).await.is_empty());
        make(&app, FlagDefinition::new("a")).await;
        make(&app, FlagDefinition::new("b").prerequisite("a")).await;
        let circle = put(&app, &format!("{ADMIN}/a"), json!({ "key": "a", "parents": [{ "key": "b" }] })).await;
        assert_eq!(fields(&circle.expect(422).json()), ["parents[0].key"]);
    }

    async fn what_is_used_is_not_removed(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let north = json!({ "constraints": [{ "attribute": "country", "operator": "in", "values": ["NO"] }] });
        put(&app, &format!("{SEGMENTS}/north"), north.clone()).await.expect(200);
        make(&app, FlagDefinition::new("parent")).await;
        make(&app, FlagDefinition::new("child").prerequisite("parent").rule(FlagRule { segments: vec!["north".into()], ..FlagRule::default() })).await;
        let admin = app.operator();
        let refused = admin.delete(format!("{ADMIN}/parent")).await.expect_error(409, "FLAG_IN_USE").json();
        assert_eq!(refused["error"]["details"]["used_by"], json!(["child"]));
        admin.delete(format!("{SEGMENTS}/north")).await.expect_error(409, "FLAG_IN_USE");
        for name in ["so%20uth".to_owned(), "x".repeat(101)] {
            assert_eq!(fields(&put(&app, &format!("{SEGMENTS}/{name}"), north.clone()).await.expect(422).json()), ["name"]);
        }
        // Texts as long as the schema allows, in characters of two bytes.
        let longest = json!({ "key": "é".repeat(100), "description": "é".repeat(4000), "rules": [{ "users": ["é".repeat(1000)] }] });
        app.operator().post(ADMIN, longest).await.expect(201);
        for (attributes, on) in [(json!({ "country": "NO" }), true), (json!({}), false)] {
            let preview = admin.post(format!("{ADMIN}/child/evaluate"), json!({ "attributes": attributes })).await;
            assert_eq!(preview.expect(200).json()["enabled"], on);
        }
        admin.delete(format!("{ADMIN}/child")).await.expect(204);
        admin.delete(format!("{ADMIN}/parent")).await.expect(204);
        admin.delete(format!("{SEGMENTS}/north")).await.expect(204);
        admin.delete(format!("{SEGMENTS}/north")).await.expect(404);
    }

    async fn overrides_are_of_one_tenant(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let admin = app.operator();
        let tenant = Uuid::new_v4();
        let path = format!("{ADMIN}/beta/overrides/{tenant}");
        put(&app, &path, json!({ "enabled": true })).await.expect(404);
        admin.post(ADMIN, json!({ "key": "beta", "enabled": false, "variants": [{ "name": "blue", "weight": 0 }] })).await.expect(201);
        assert_eq!(fields(&put(&app, &path, json!({ "enabled": true, "variant": "red" })).await.expect(422).json()), ["variant"]);
        put(&app, &path, json!({ "enabled": true, "variant": "blue" })).await.expect(204);
        let listed = admin.get(format!("{ADMIN}/beta/overrides")).await.expect(200).json();
        assert_eq!(listed["items"][0]["tenant"], tenant.to_string());
        let ask = async |tenant: Uuid| {
            admin.post(format!("{ADMIN}/beta/evaluate"), json!({ "tenant": tenant })).await.expect(200).json()
        };
        assert_eq!(ask(tenant).await, json!({ "enabled": true, "variant": "blue", "reason": "override", "rule": null }));
        assert_eq!(ask(Uuid::new_v4()).await["reason"], "off");
        put(&app, &format!("{ADMIN}/beta/kill"), json!({})).await.expect(200);
        assert_eq!(ask(tenant).await["reason"], "killed");
        admin.delete(format!("{ADMIN}/beta/kill")).await.expect(200);
        admin.delete(&path).await.expect(204);
        admin.delete(&path).await.expect(404);
        assert_eq!(ask(tenant).await["reason"], "off");
        let history = admin.get(format!("{ADMIN}/beta/history")).await.expect(200).json();
        assert_eq!(history["items"][0]["action"], "override_removed");
        assert_eq!(history["items"][0]["tenant"], tenant.to_string());
        put(&app, &path, json!({ "enabled": true })).await.expect(204);
        admin.delete(format!("{ADMIN}/beta")).await.expect(204);
        make(&app, FlagDefinition::new("beta")).await;
        assert_eq!(admin.get(format!("{ADMIN}/beta/overrides")).await.expect(200).json()["items"], json!([]));
    }

    async fn an_export_has_the_overrides_of_its_tenant(database: TestDatabase) {
        let app = app(database, |app| app).await;
        make(&app, FlagDefinition::new("beta")).await;
        make(&app, FlagDefinition::new("gamma")).await;
        let (tenant, other) = (Uuid::new_v4(), Uuid::new_v4());
        for (flag, tenant) in [("beta", tenant), ("beta", other), ("gamma", other)] {
            put(&app, &format!("{ADMIN}/{flag}/overrides/{tenant}"), json!({ "enabled": true })).await.expect(204);
        }
        let exported = app.exported_rows(Id::from_uuid(tenant)).await;
        let rows = &exported["flag-overrides"];
        assert_eq!((rows.len(), &rows[0]["key"]), (1, &json!("beta")), "{rows:?}");
        assert_eq!(rows[0]["definition"]["enabled"], true, "{rows:?}");
    }

    async fn flags_of_unleash_are_taken_over(database: TestDatabase) {
        let app = app(database, |app| app).await;
        make(&app, FlagDefinition::new("kept")).await;
        make(&app, FlagDefinition::new("a")).await;
        let state = json!({ "version": 2, "segments": [
            { "id": 1, "constraints": [{ "contextName": "country", "operator": "IN", "values": ["NO"] }] }],
            "features": [
                { "name": "a", "enabled": true, "strategies": [{ "name": "default", "segments": [1] }] },
                { "name": "b", "enabled": true, "strategies": [{ "name": "ours" }], "variants": [{ "name": "v", "weight": 1000 }] },
            ] });
        let answer = app.operator().post(format!("{ADMIN}/import"), &state).await.expect(200).json();
        assert_eq!((&answer["flags"], &answer["segments"]), (&json!(["a", "b"]), &json!(["unleash-1"])));
        assert_eq!(answer["notes"].as_array().unwrap().len(), 1);
        let keys: Vec<_> = flags(&app).snapshot().keys().map(str::to_owned).collect();
        assert_eq!(keys, ["a", "b", "kept"]);
        let preview = json!({ "attributes": { "country": "NO" } });
        assert_eq!(app.operator().post(format!("{ADMIN}/a/evaluate"), preview).await.expect(200).json()["reason"], "rule");
        // An import with one invalid flag imports nothing.
        let bad = json!({ "features": [{ "name": "c", "enabled": true }, { "name": "has space", "enabled": true }] });
        let answer = app.operator().post(format!("{ADMIN}/import"), bad).await.expect(422).json();
        assert_eq!(fields(&answer), ["features.has space.key"]);
        for body in [json!([]), json!({ "features": 1 }), json!({ "features": [{}] })] {
            app.operator().post(format!("{ADMIN}/import"), body).await.expect_error(422, "VALIDATION_FAILED");
        }
        assert_eq!(flags(&app).snapshot().len(), 3);
    }

    async fn who_changes_at_once_changes_one_after_another(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let flags = flags(&app);
        let made = futures_util::future::join_all((0..8).map(|_| {
            let flags = flags.clone();
            async move { flags.create(FlagDefinition::new("one"), &operator()).await }
        }));
        let made = made.await;
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
        for refused in made.into_iter().filter_map(Result::err) {
            assert!(matches!(refused, FlagError::Exists(_)), "{refused}");
        }
        assert_eq!(flags.snapshot().revision(), 1, "what is refused counts for nothing");
    }

    async fn lists_have_pages(database: TestDatabase) {
        let app = app(database, |app| app).await;
        for key in ["c", "a", "b"] {
            make(&app, FlagDefinition::new(key)).await;
        }
        let first = app.operator().get(format!("{ADMIN}?limit=2")).await.expect(200).json();
        assert_eq!(first["next_cursor"], "b");
        let second = app.operator().get(format!("{ADMIN}?limit=2&cursor=b")).await.expect(200).json();
        assert_eq!((&second["items"][0]["key"], second.get("next_cursor")), (&json!("c"), None));
        for query in ["limit=0", "limit=101", "page=1"] {
            app.operator().get(format!("{ADMIN}?{query}")).await.expect(422);
        }
        app.operator().get(format!("{ADMIN}/a/history?cursor=x")).await.expect(422);
    }

    async fn thousands_of_flags_are_taken_over_at_once(database: TestDatabase) {
        const FLAGS: usize = 3000;
        let app = app(database, |app| app).await;
        // Each flag replaces an existing one and has its own segment. Work for each pair of them would exceed the
        // timeout.
        let segments: Vec<_> = (0..FLAGS).map(|id| json!({ "id": id, "constraints": [] })).collect();
        let updates = (0..FLAGS).map(|id| {
            let strategies = json!([{ "name": "default", "segments": [id] }]);
            json!({ "type": "feature-updated", "feature": { "name": format!("flag-{id}"), "enabled": true, "strategies": strategies } })
        });
        let features: Vec<_> = (0..FLAGS).map(|id| json!({ "name": format!("flag-{id}"), "enabled": false })).collect();
        let state = json!({ "features": features, "segments": segments, "events": updates.collect::<Vec<_>>() });
        let answer = app.operator().post(format!("{ADMIN}/import"), &state).await.expect(200).json();
        assert_eq!(answer["flags"].as_array().unwrap().len(), FLAGS);
        assert_eq!(answer["notes"], json!([]));
        assert!(flags(&app).is_on("flag-2999", &flags(&app).context()));
    }

    async fn parents_that_lead_back_are_found_however_far(database: TestDatabase) {
        const FLAGS: usize = 2000;
        let app = app(database, |app| app).await;
        let chain = (0..FLAGS).map(|id| {
            let flag = FlagDefinition::new(format!("flag-{id}"));
            if id == 0 { flag } else { flag.prerequisite(format!("flag-{}", id - 1)) }
        });
        let mut import = UnleashImport::default();
        import.flags = chain.collect();
        flags(&app).import(import, &operator()).await.unwrap();
        let last = format!("flag-{}", FLAGS - 1);
        let closed = FlagDefinition::new("flag-0").prerequisite(last.as_str());
        let refused = flags(&app).replace(closed, None, &operator()).await.unwrap_err();
        assert!(matches!(&refused, FlagError::Invalid(problems) if problems[0].field == "parents[0].key"), "{refused}");
        assert!(flags(&app).snapshot().len() == FLAGS);
    }

    async fn what_is_too_long_is_refused_before_it_is_compiled(database: TestDatabase) {
        let app = app(database, |app| app).await;
        // Each is rejected when its regular expression is compiled.
        let bad = json!({ "attribute": "a", "operator": "matches", "values": ["("] });
        let many = json!({ "key": "x", "rules": vec![json!({ "constraints": [bad] }); 3000] });
        let answer = app.operator().post(ADMIN, &many).await.expect_error(422, "VALIDATION_FAILED").json();
        let named = fields(&answer);
        assert_eq!(named.len(), 101, "the limit, and the hundred that are within it");
        assert_eq!(named[0], "rules");
        let pattern = json!({ "contextName": "a", "operator": "REGEX", "value": "(" });
        let strategy = |constraints: usize| json!({ "name": "default", "constraints": vec![pattern.clone(); constraints] });
        for (strategies, field) in [
            (vec![strategy(1); 101], "features.x.strategies"),
            (vec![strategy(101)], "features.x.strategies[0].constraints"),
        ] {
            let state = json!({ "features": [{ "name": "x", "strategies": strategies }] });
            let answer = app.operator().post(format!("{ADMIN}/import"), &state).await.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(fields(&answer), [field]);
        }
    }
}
