//! Tests of the command `saas doctor`.

use std::process::{Command, Output};

use omnistack_testkit::{TestApp, TestDatabase};

async fn doctor(url: &str) -> Output {
    let folder = std::env::temp_dir().join(format!("omnistack-doctor-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_saas"));
    command.current_dir(folder).arg("doctor").env("DATABASE_URL", url).env("APP_ENV", "test").env("LOG_LEVEL", "error");
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

#[tokio::test]
async fn tables_of_tenants_without_a_policy_are_named() {
    let app = TestApp::start(TestDatabase::postgres(), saas::app).await;
    let said = doctor(app.database().url()).await;
    assert!(said.status.success(), "{said:?}");
    app.db().query("create table plans (tenant_id uuid not null)").execute().await.unwrap();
    for sql in ["select 1", "alter table plans enable row level security", "create policy tenant on plans using (true)"]
    {
        app.db().query(sql).execute().await.unwrap();
        let said = doctor(app.database().url()).await;
        assert!(!said.status.success(), "{sql}");
        let text = String::from_utf8(said.stdout).unwrap();
        assert!(text.contains("row-level security: plans\n"), "{text}");
    }
    app.db().query("alter table plans force row level security").execute().await.unwrap();
    assert!(doctor(app.database().url()).await.status.success());
}
