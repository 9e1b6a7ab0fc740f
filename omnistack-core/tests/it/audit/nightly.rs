//! Tests of the nightly job that deletes old entries.

use std::time::Duration;

use omnistack_core::{
    app::App,
    audit::AuditChain,
    jobs::{JobFilter, JobState},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

use super::Audited;
use crate::jobs::replicas::{end, soon, wait_for_jobs, work};

fn nightly(state: JobState) -> JobFilter {
    JobFilter { name: Some("audit.delete_expired".into()), state: Some(state), ..JobFilter::default() }
}

on_each_database! {
    async fn with_a_retention_old_entries_go_at_three(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.set("AUDIT_RETENTION", "1h").set("JOBS_POLL", "5ms")).await;
        let audited = Audited { log: app.app().context().get().unwrap(), store: app.app().context().get().unwrap(), app };
        let (jobs, crons) = (audited.app.jobs(), audited.app.app().runner().crons());
        assert_eq!((crons.len(), crons[0].next.unwrap().to_string().as_str()), (1, "2030-01-01T03:00:00Z"));
        let tenant = audited.tenant(4).await;
        let worker = work(audited.app.app());
        let seen = async {
            let count = || audited.db().query("select count(*) from omni_job_crons").fetch_one::<(i64,)>();
            while count().await.unwrap() == (0,) {
                tokio::task::yield_now().await;
            }
        };
        soon("the cron", seen).await;
        for (night, kept) in [("2030-01-01", 1), ("2030-01-02", 2)] {
            if kept == 2 {
                // This entry is less than an hour old at 03:00, so it is kept.
                audited.app.clock().set(format!("{night}T02:30:00Z").parse().unwrap());
                audited.add(tenant, 1).await;
            }
            audited.app.clock().set(format!("{night}T03:00:00Z").parse().unwrap());
            wait_for_jobs("the night's end", &jobs, nightly(JobState::Done), kept).await;
            // One of the entries records the deletion.
            assert_eq!(audited.store.verify(tenant).await.unwrap().entries, u64::try_from(kept).unwrap());
        }
        // A chain that was tampered with is kept, and the job becomes a dead letter.
        audited.tamper(tenant, &["update omni_audit_entries set action = 'x' where tenant_id = $1"]).await;
        audited.app.clock().set("2030-01-03T03:00:00Z".parse().unwrap());
        wait_for_jobs("the dead letter", &jobs, nightly(JobState::Dead), 1).await;
        let dead = jobs.list(&nightly(JobState::Dead), None, 1).await.unwrap();
        assert_eq!(dead[0].attempt, 1, "once is enough");
        assert!(dead[0].error.as_deref().unwrap().contains(&AuditChain::from(tenant).to_string()), "{:?}", dead[0].error);
        end(worker).await;
    }

    async fn without_one_nothing_goes(database: TestDatabase) {
        let audited = Audited::start(database).await;
        assert!(audited.app.app().runner().crons().is_empty());
        let refused = App::builder(audited.app.database().config()).set("AUDIT_RETENTION", "0s").build().unwrap_err();
        assert!(refused.to_string().contains("must be from 1h to 36500d"), "{refused}");
        let tenant = audited.tenant(2).await;
        audited.app.clock().advance(Duration::from_secs(10 * 365 * 24 * 3600));
        audited.app.run_jobs().await;
        assert_eq!(audited.store.verify(tenant).await.unwrap().entries, 2);
    }
}
