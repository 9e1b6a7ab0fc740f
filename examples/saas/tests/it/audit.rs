//! Tests of the command `saas audit verify`.

use std::process::{Command, Output};

use omnistack::{
    audit::{AuditEntry, AuditLog},
    db::Sql,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

async fn verify(url: &str, more: &'static [&'static str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saas"));
    command.current_dir(std::env::temp_dir()).args(["audit", "verify"]).args(more);
    command.env("DATABASE_URL", url).env("APP_ENV", "test").env("LOG_LEVEL", "error");
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

on_each_database! {
    async fn a_broken_chain_fails_the_command(database: TestDatabase) {
        let url = database.url().to_owned();
        let app = TestApp::start(database, saas::app).await;
        let log: AuditLog = app.app().context().get().unwrap();
        let unused = verify(&url, &[]).await;
        assert!(String::from_utf8_lossy(&unused.stdout).starts_with("intact   app: 0 entries, head 00"), "{unused:?}");
        for action in ["plan.changed", "plan.ended"] {
            let mut tx = app.db().begin().await.unwrap();
            log.record_in(&mut tx, AuditEntry::new(action)).await.unwrap();
            tx.commit().await.unwrap();
        }
        let output = verify(&url, &[]).await;
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("intact   app: 2 entries, head "));

        let mut tx = app.db().all_tenants().begin().await.unwrap();
        let off = Sql {
            postgres: "alter table omni_audit_entries disable trigger omni_audit_entries_update",
            sqlite: "drop trigger omni_audit_entries_update",
        };
        tx.query(off).execute().await.unwrap();
        tx.query("update omni_audit_entries set action = 'plan.kept' where sequence = 2").execute().await.unwrap();
        tx.commit().await.unwrap();
        let output = verify(&url, &["--tenant", "app"]).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("BROKEN   app: "));
        assert!(!verify(&url, &["--tenant", "acme"]).await.status.success());

        let mut tx = app.db().all_tenants().begin().await.unwrap();
        let off = [
            Sql {
                postgres: "alter table omni_audit_entries disable trigger omni_audit_entries_delete",
                sqlite: "drop trigger omni_audit_entries_delete",
            },
            Sql {
                postgres: "alter table omni_audit_chains disable trigger omni_audit_chains_delete",
                sqlite: "drop trigger omni_audit_chains_delete",
            },
        ];
        for sql in off {
            tx.query(sql).execute().await.unwrap();
        }
        tx.query("delete from omni_audit_entries").execute().await.unwrap();
        tx.query("delete from omni_audit_chains").execute().await.unwrap();
        tx.commit().await.unwrap();
        let output = verify(&url, &[]).await;
        assert_eq!((output.status.code(), output.stdout.starts_with(b"BROKEN   app: ")), (Some(1), true));
    }
}
