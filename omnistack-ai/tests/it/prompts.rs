//! Tests of prompts.

#![cfg(test)]

use omnistack_ai::{Ai, PromptSelection, Prompts};
use omnistack_core::{
    audit::{AuditFilter, AuditStore},
    flag_variant::{FlagSubject, FlagVariantSource, FlagVariants},
    identity::{Identity, Permissions, TenantId},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Map, Value, json};

use crate::openai_api::{MODEL, ScriptedProvider, start};

const ADMIN: &str = "/api/v1/admin/ai/prompts";
const APP: &str = "/api/v1/app/ai/prompts";

fn content(template: &str) -> Value {
    json!({
        "model": MODEL,
        "messages": [{ "role": "system", "template": "Be brief." }, { "role": "user", "template": template }],
        "variables": [{ "name": "name" }, { "name": "tone", "required": false, "default": "kind" }],
    })
}

fn greet(access: &str) -> Value {
    json!({ "name": "greet", "description": "Greets.", "access": access, "content": content("Greet {{ name }}, {{ tone }}.") })
}

fn prompts(app: &TestApp) -> Prompts {
    app.app().context().get().unwrap()
}

fn tenant(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}

fn variables() -> Map<String, Value> {
    Map::from_iter([("name".to_owned(), json!("Ada"))])
}

/// Returns the text that a tenant's prompt renders to, and the name of its usage.
async fn rendered(app: &TestApp, tenant: TenantId, selection: PromptSelection) -> (String, String) {
    let rendered = prompts(app).render(tenant, "greet", &selection, None, &variables()).await.unwrap();
    (rendered.request.messages[1].to_text(), rendered.reference)
}

/// The flag `greeting` gives one tenant the variant `new`, and the others one that no version has.
struct NewForOne(TenantId);

impl FlagVariantSource for NewForOne {
    fn variant(&self, flag: &str, subject: FlagSubject<'_>) -> Option<String> {
        let variant = if subject.tenant == self.0 { "new" } else { "gone" };
        (flag == "greeting").then(|| variant.to_owned())
    }
}

on_each_database! {
    async fn a_flag_decides_between_versions_and_the_weights_do_without_its_variant(database: TestDatabase) {
        let early = TenantId::from_uuid(uuid::Uuid::new_v4());
        let provider = ScriptedProvider::default();
        let app = TestApp::start(database, |app| {
            app.with(Ai::from_env().provider(provider)).replace(FlagVariants::new(NewForOne(early)))
        })
        .await;
        let (admin, other) = (app.operator(), app.user());
        admin.post(ADMIN, greet("internal")).await.expect(201);
        let second = json!({ "content": content("Welcome {{ name }}!") });
        admin.post(format!("{ADMIN}/greet/versions"), second).await.expect(201);
        let label = format!("{ADMIN}/greet/labels/production");
        let put = |body: Value| admin.request(http::Method::PUT, &label).json(body);
        // By the weights alone, nearly all tenants get the first version.
        let versions = json!([{ "version": 1, "weight": 1_000 }, { "version": 2, "variant": "new" }]);
        let error = put(json!({ "versions": versions })).await.expect_error(422, "VALIDATION_FAILED").json();
        assert_eq!(error["error"]["details"]["fields"][0]["field"], "versions[1].variant");
        put(json!({ "versions": [{ "version": 1, "variant": null }], "flag": "greeting" })).await.expect(422);
        let both = json!([{ "version": 1, "variant": "new" }, { "version": 2, "variant": "new" }]);
        put(json!({ "versions": both, "flag": "greeting" })).await.expect_error(422, "VALIDATION_FAILED");
        let set = put(json!({ "versions": versions, "flag": "greeting" })).await.expect(200).json();
        assert_eq!((&set["flag"], &set["versions"][1]["variant"]), (&json!("greeting"), &json!("new")));
        assert_eq!(rendered(&app, early, PromptSelection::Production).await.1, "greet@2");
        let weighted = rendered(&app, tenant(&other), PromptSelection::Production).await.1;
        assert_eq!(rendered(&app, tenant(&other), PromptSelection::Production).await.1, weighted);
        // Another flag has no variants.
        put(json!({ "versions": [{ "version": 1 }], "flag": "other" })).await.expect(200);
        assert_eq!(rendered(&app, early, PromptSelection::Production).await.1, "greet@1");
        let back = admin.post(format!("{label}/rollback"), json!({})).await.expect(200).json();
        assert_eq!((&back["flag"], &back["versions"]), (&set["flag"], &set["versions"]));
        assert_eq!(rendered(&app, early, PromptSelection::Production).await.1, "greet@2");
        // The end of the comparison is undone as well.
        put(json!({ "versions": [{ "version": 1 }] })).await.expect(200);
        let back = admin.post(format!("{label}/rollback"), json!({})).await.expect(200).json();
        assert_eq!((&back["flag"], &back["previous_flag"]), (&json!("greeting"), &Value::Null));
        assert_eq!(rendered(&app, early, PromptSelection::Production).await.1, "greet@2");
    }

    async fn versions_are_released_by_labels_and_rolled_back(database: TestDatabase) {
        let app = start(database, &ScriptedProvider::default()).await;
        let (admin, user) = (app.operator(), app.user());
        let created = admin.post(ADMIN, greet("internal")).await.expect(201).json();
        assert_eq!(created["labels"][0]["label"], "production");
        admin.post(ADMIN, greet("internal")).await.expect_error(409, "ALREADY_EXISTS");
        let second = json!({ "content": content("Welcome {{ name }}!"), "note": "Warmer." });
        let second = admin.post(format!("{ADMIN}/greet/versions"), second).await.expect(201).json();
        assert_eq!(second["version"]["version"], 2);
        let production = async || rendered(&app, tenant(&user), PromptSelection::Production).await;
        assert_eq!(production().await, ("Greet Ada, kind.".into(), "greet@1".into()));
        let newest = rendered(&app, tenant(&user), PromptSelection::Version(2)).await;
        assert_eq!(newest, ("Welcome Ada!".into(), "greet@2".into()));

        let label = format!("{ADMIN}/greet/labels/production");
        let put = |versions: Value| {
            admin.request(http::Method::PUT, &label).json(json!({ "versions": versions }))
        };
        put(json!([{ "version": 3 }])).await.expect_error(422, "VALIDATION_FAILED");
        put(json!([{ "version": 1 }, { "version": 1 }])).await.expect_error(422, "VALIDATION_FAILED");
        put(json!([])).await.expect_error(422, "VALIDATION_FAILED");
        put(json!([{ "version": 2 }])).await.expect(200);
        assert_eq!(production().await.1, "greet@2");
        let back = admin.post(format!("{label}/rollback"), json!({})).await.expect(200).json();
        assert_eq!(back["versions"], json!([{ "version": 1, "weight": 1 }]));
        assert_eq!(production().await.1, "greet@1");

        put(json!([{ "version": 1, "weight": 1 }, { "version": 2, "weight": 1 }])).await.expect(200);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let tenant = tenant(&app.user());
            let first = rendered(&app, tenant, PromptSelection::Production).await;
            assert_eq!(rendered(&app, tenant, PromptSelection::Production).await, first, "a tenant keeps its version");
            seen.insert(first.1);
        }
        assert_eq!(seen.len(), 2, "both versions are used");

        let details = admin.get(format!("{ADMIN}/greet")).await.expect(200).json();
        assert_eq!(details["versions"].as_array().unwrap().len(), 2);
        let log: AuditStore = app.app().context().get().unwrap();
        let entries = log.list(&AuditFilter::all_chains().action("prompt"), 100, None).await.unwrap().items;
        let mut actions: Vec<_> = entries.into_iter().map(|entry| entry.action).collect();
        actions.sort();
        let set = "prompt_label.set";
        assert_eq!(actions, ["prompt.created", "prompt_label.rolled_back", set, set, "prompt_version.created"]);

        admin.delete(format!("{ADMIN}/greet")).await.expect(204);
        admin.get(format!("{ADMIN}/greet")).await.expect_error(404, "NOT_FOUND");
    }

    async fn variables_are_checked_and_templates_must_be_right(database: TestDatabase) {
        let app = start(database, &ScriptedProvider::default()).await;
        let admin = app.operator();
        for (template, field) in [
            ("{{ unknown }}", "content.messages[1].template"),
            ("{% set x = 1 %}", "content.messages[1].template"),
            ("{{ name", "content.messages[1].template"),
        ] {
            let mut prompt = greet("internal");
            prompt["content"] = content(template);
            let error = admin.post(ADMIN, prompt).await.expect_error(422, "VALIDATION_FAILED").json();
            let found = error["error"]["details"]["fields"][0]["field"].as_str().unwrap().to_owned();
            assert!(field.ends_with(&found), "{template}: {found}");
        }
        for name in ["", "Greet", "a b", "é"] {
            let mut prompt = greet("internal");
            prompt["name"] = json!(name);
            admin.post(ADMIN, prompt).await.expect_error(422, "VALIDATION_FAILED");
        }
        admin.post(ADMIN, greet("internal")).await.expect(201);
        let tenant = tenant(&app.user());
        let render = async |variables: Value| {
            let variables = variables.as_object().unwrap().clone();
            prompts(&app).render(tenant, "greet", &PromptSelection::Production, None, &variables).await
        };
        assert_eq!(render(json!({})).await.unwrap_err().code(), "VALIDATION_FAILED");
        assert_eq!(render(json!({ "name": "a", "other": 1 })).await.unwrap_err().code(), "VALIDATION_FAILED");
        assert!(render(json!({ "name": "a", "tone": "dry" })).await.is_ok());
    }

    async fn members_call_prompts_without_seeing_them(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let app = start(database, &provider).await;
        let (admin, user) = (app.operator(), app.user());
        admin.post(ADMIN, greet("internal")).await.expect(201);
        let call = json!({ "prompt": { "name": "greet", "variables": { "name": "Ada" } },
            "messages": [{ "role": "user", "content": "Now." }] });
        let chat = "/api/v1/app/ai/chat";
        user.post(chat, call.clone()).await.expect_error(404, "NOT_FOUND");
        assert_eq!(user.get(APP).await.expect(200).json()["items"], json!([]));
        admin.patch(format!("{ADMIN}/greet"), json!({ "access": "callable" })).await.expect(200);
        assert_eq!(user.get(APP).await.expect(200).json()["items"][0]["name"], "greet");
        user.get(format!("{APP}/greet/override")).await.expect_error(404, "NOT_FOUND");
        user.post(chat, call).await.expect(200);
        let texts: Vec<_> = provider.last_request().messages.iter().map(|message| message.to_text()).collect();
        assert_eq!(texts, ["Be brief.", "Greet Ada, kind.", "Now."]);

        let usage = admin.get(format!("{ADMIN}/greet/usage")).await.expect(200).json();
        assert_eq!((&usage["versions"][0]["version"], &usage["versions"][0]["calls"]), (&json!(1), &json!(1)));
        // A new prompt of the same name has no usage of the old one.
        app.clock().advance(std::time::Duration::from_secs(1));
        admin.delete(format!("{ADMIN}/greet")).await.expect(204);
        admin.post(ADMIN, greet("callable")).await.expect(201);
        let fresh = admin.get(format!("{ADMIN}/greet/usage")).await.expect(200).json();
        assert_eq!(fresh["versions"], json!([]));
        let later = admin.get(format!("{ADMIN}/greet/usage?since=2031-01-01T00:00:00Z")).await.expect(200).json();
        assert_eq!(later["versions"], json!([]));
    }

    async fn tenants_replace_a_prompt_for_themselves(database: TestDatabase) {
        let app = start(database, &ScriptedProvider::default()).await;
        let (admin, user, other) = (app.operator(), app.user(), app.user());
        admin.post(ADMIN, greet("overridable")).await.expect(201);
        let path = format!("{APP}/greet/override");
        let put = |client: &TestClient, body: Value| client.request(http::Method::PUT, &path).json(body);
        let mut unknown = content("Hey {{ name }}!");
        unknown["variables"].as_array_mut().unwrap().push(json!({ "name": "secret" }));
        put(&user, unknown).await.expect_error(422, "VALIDATION_FAILED");
        let mut strict = content("Hey {{ name }}!");
        strict["variables"][1] = json!({ "name": "tone" });
        let error = put(&user, strict).await.expect_error(422, "VALIDATION_FAILED").json();
        assert_eq!(error["error"]["details"]["fields"][0]["field"], "variables[1].required");
        put(&user, content("Hey {{ name }}!")).await.expect(200);
        let own = rendered(&app, tenant(&user), PromptSelection::Production).await;
        assert_eq!(own, ("Hey Ada!".into(), "greet@override-1".into()));
        assert_eq!(rendered(&app, tenant(&other), PromptSelection::Production).await.1, "greet@1");
        let details = user.get(&path).await.expect(200).json();
        assert_eq!(details["original"]["messages"][1]["template"], "Greet {{ name }}, {{ tone }}.");
        assert_eq!(details["own"]["revision"], 1);
        let reader = Identity::user(user.identity().unwrap().user).for_tenant(tenant(&user));
        let reader = app.client_as(reader.with_permissions("ai:read".parse::<Permissions>().unwrap()));
        reader.get(&path).await.expect_error(403, "PERMISSION_DENIED");
        // The app's next version has one more variable, which the override does not need.
        let mut next = content("Greet {{ name }} {{ more }}");
        next["variables"].as_array_mut().unwrap().push(json!({ "name": "more" }));
        admin.post(format!("{ADMIN}/greet/versions"), json!({ "content": next })).await.expect(201);
        let label = format!("{ADMIN}/greet/labels/production");
        let released = json!({ "versions": [{ "version": 2 }] });
        admin.request(http::Method::PUT, &label).json(released).await.expect(200);
        let mut given = variables();
        given.insert("more".to_owned(), json!("now"));
        let handle = prompts(&app);
        for (client, expected) in [(&user, "Hey Ada!"), (&other, "Greet Ada now")] {
            let prompt = handle.render(tenant(client), "greet", &PromptSelection::Production, None, &given).await;
            assert_eq!(prompt.unwrap().request.messages[1].to_text(), expected);
        }
        admin.post(format!("{label}/rollback"), json!({})).await.expect(200);
        user.delete(&path).await.expect(204);
        user.delete(&path).await.expect_error(404, "NOT_FOUND");
        assert_eq!(rendered(&app, tenant(&user), PromptSelection::Production).await.1, "greet@1");
    }

    async fn operators_test_a_prompt(database: TestDatabase) {
        let provider = ScriptedProvider::default();
        let app = start(database, &provider).await;
        let admin = app.operator();
        admin.post(ADMIN, greet("internal")).await.expect(201);
        let path = format!("{ADMIN}/greet/test");
        let tenant = tenant(&app.user());
        let body = |more: Value| {
            let mut body = json!({ "tenant": tenant, "variables": { "name": "Ada" } });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let dry = admin.post(&path, body(json!({}))).await.expect(200).json();
        assert_eq!(dry["messages"][1], json!({ "role": "user", "text": "Greet Ada, kind." }));
        assert_eq!((&dry["answer"], &dry["version"]), (&Value::Null, &json!(1)));
        let run = admin.post(&path, body(json!({ "run": true }))).await.expect(200).json();
        assert_eq!(run["answer"], "Hello world!");
        assert!(run["call"]["id"].is_string());
        let log: AuditStore = app.app().context().get().unwrap();
        let entries = log.list(&AuditFilter::all_chains().action("prompt"), 100, None).await.unwrap().items;
        assert!(entries.iter().any(|entry| entry.action == "prompt.tested"), "the tenant pays for the answer");
        let draft = admin.post(&path, body(json!({ "content": content("Draft {{ name }}") }))).await.expect(200).json();
        assert_eq!(draft["messages"][1]["text"], "Draft Ada");
        admin.post(&path, body(json!({ "version": 9 }))).await.expect_error(404, "NOT_FOUND");
        admin.post(&path, body(json!({ "version": 1, "label": "production" }))).await.expect_error(422, "VALIDATION_FAILED");
        admin.post(&path, body(json!({ "variables": {} }))).await.expect_error(422, "VALIDATION_FAILED");
    }
}
