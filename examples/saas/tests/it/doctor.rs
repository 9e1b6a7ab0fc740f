//! Tests of the command `saas doctor`.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use omnistack_testkit::{TestApp, TestDatabase};

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("omnistack-doctor-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

async fn doctor(url: &str) -> Output {
    doctor_with(url, &[]).await
}

async fn doctor_with(url: &str, settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saas"));
    command
        .current_dir(folder())
        .arg("doctor")
        .env("DATABASE_URL", url)
        .env("APP_ENV", "test")
        .env("LOG_LEVEL", "error");
    command.envs(settings.iter().copied());
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

#[tokio::test]
async fn tables_of_tenants_without_a_policy_are_named() {
    let app = TestApp::start(TestDatabase::postgres(), saas::app).await;
    let said = doctor(app.database().url()).await;
    assert!(said.status.success(), "{said:?}");
    app.db().query("create table plans (tenant_id uuid not null)").execute().await.unwrap();
    for (sql, fix) in [
        ("select 1", "select omnistack_protect('plans');"),
        ("alter table plans enable row level security", "select omnistack_protect('plans');"),
        ("create policy tenant on plans using (true)", "alter table plans force row level security;"),
    ] {
        app.db().query(sql).execute().await.unwrap();
        let said = doctor(app.database().url()).await;
        assert!(!said.status.success(), "{sql}");
        let text = String::from_utf8(said.stdout).unwrap();
        assert!(text.contains("row-level security: plans\n") && text.contains(fix), "{text}");
    }
    app.db().query("alter table plans force row level security").execute().await.unwrap();
    assert!(doctor(app.database().url()).await.status.success());
    // A table with rows of tenants and of the app is one too.
    app.db().query("create table notices (tenant_id uuid)").execute().await.unwrap();
    let text = String::from_utf8(doctor(app.database().url()).await.stdout).unwrap();
    assert!(text.contains("row-level security: notices\n"), "{text}");
    app.db().query("select omnistack_protect('notices')").execute().await.unwrap();
    assert!(doctor(app.database().url()).await.status.success());
}

#[tokio::test]
async fn channels_are_listed_with_who_may_use_them() {
    let app = TestApp::start(TestDatabase::sqlite(), saas::app).await;
    let text = String::from_utf8(doctor(app.database().url()).await.stdout).unwrap();
    for pattern in ["user:{id}", "tenant", "room:{id}", "job:{id}"] {
        assert!(text.contains(&format!("{pattern}: subscribe ")), "{pattern}: {text}");
    }
}

#[tokio::test]
async fn models_that_end_are_named() {
    let app = TestApp::start(TestDatabase::sqlite(), saas::app).await;
    let models = folder().join("models.toml");
    let ended = "[[models]]\nprovider = 'fake'\nid = 'fake-old'\nretires_on = '2020-01-31'\nsuccessor = 'fake-small'\n";
    std::fs::write(&models, ended).unwrap();
    let settings = [("AI_MODELS_FILE", models.to_str().unwrap()), ("AI_DEFAULT_MODEL", "fake-old")];
    let text = String::from_utf8(doctor_with(app.database().url(), &settings).await.stdout).unwrap();
    assert!(text.contains("fake/fake-old ended on 2020-01-31; its successor is fake-small"), "{text}");
}
