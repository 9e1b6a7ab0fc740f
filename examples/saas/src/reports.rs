//! Reports and clean-up: jobs on a schedule, and the rows of projects in exports of tenants.

use omnistack::{
    email::{Email, Mailer},
    jobs::JobState,
    prelude::*,
};

use crate::projects::Project;

/// Time after which a project without a description that was never changed counts as abandoned.
const ABANDONED_AFTER: Duration = Duration::from_hours(365 * 24);
/// Largest number of projects that one transaction deletes, so that its locks are short.
const MAX_DELETIONS_PER_TRANSACTION: u64 = 500;

/// The module of reports: every morning a mail with the numbers of the day before, and every Sunday a clean-up.
#[derive(Debug)]
pub struct Reports {
    to: &'static str,
}

impl Reports {
    /// Creates the module, which mails to this address.
    #[must_use]
    pub const fn to(address: &'static str) -> Self {
        Self { to: address }
    }
}

impl Module for Reports {
    fn name(&self) -> &'static str {
        "reports"
    }

    fn register(&self, registry: &mut Registry) {
        let to = self.to;
        registry
            .require::<Mailer>()
            .job::<MailDailyReport>(move |ctx| {
                Ok(ReportSources { to, db: ctx.get()?, clock: ctx.get()?, jobs: ctx.get()?, mailer: ctx.get()? })
            })
            .job::<CleanUpProjects>(|ctx| Ok((ctx.get()?, ctx.get()?)))
            .cron(Cron::new("0 7 * * *", MailDailyReport {}).time_zone("Europe/Berlin"))
            .cron(Cron::new("30 3 * * SUN", CleanUpProjects {}))
            .tenant_export("projects", |ctx| {
                let projects = ctx.get::<Crud<Project>>()?;
                Ok(move |tenant| projects.export(tenant))
            });
    }
}

/// The sources and the recipient of the daily report.
#[derive(Clone, Debug)]
pub struct ReportSources {
    to: &'static str,
    db: Db,
    clock: Clock,
    jobs: Jobs,
    mailer: Mailer,
}

/// The job that mails the numbers of the last day.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MailDailyReport {}

#[async_trait]
impl Job for MailDailyReport {
    const NAME: &'static str = "reports.mail_daily";
    type State = ReportSources;

    async fn run(self, sources: &ReportSources, ctx: &JobContext) -> Result<(), JobError> {
        let now = sources.clock.now();
        // The report counts the rows of all tenants.
        let mut tx = sources.db.all_tenants().begin_read().await?;
        let sql = "select count(*), count(distinct tenant_id) from projects where created_at >= $1";
        let counts = tx.query(sql).bind(now - Duration::from_hours(24));
        let (projects, teams): (i64, i64) = counts.fetch_one().await?;
        tx.commit().await?;
        let queues = sources.jobs.queues().await?;
        let dead: u64 = queues.iter().filter_map(|queue| queue.jobs.get(&JobState::Dead)).sum();
        let text = format!("New projects: {projects}, of {teams} teams\nDead jobs: {dead}\n");
        // A second attempt of the job sends no second mail, if the provider supports idempotency keys.
        let mail = Email::to(sources.to).subject("The day at Acme").text(text);
        sources.mailer.send(&mail.idempotency_key(format!("daily-report-{}", ctx.id()))).await?;
        Ok(())
    }
}

/// The job that deletes abandoned projects. Their teams can restore them for 30 days.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CleanUpProjects {}

#[async_trait]
impl Job for CleanUpProjects {
    const NAME: &'static str = "reports.clean_up_projects";
    type State = (Db, Clock);

    async fn run(self, (db, clock): &Self::State, _: &JobContext) -> Result<(), JobError> {
        let now = clock.now();
        loop {
            // The job cleans up for all tenants.
            let mut tx = db.all_tenants().begin().await?;
            let sql = "update projects set deleted_at = $1, updated_at = $1 where id in (select id from projects
                where deleted_at is null and description is null and updated_at = created_at and created_at < $2
                order by created_at limit $3)";
            let limit = i64::try_from(MAX_DELETIONS_PER_TRANSACTION).unwrap_or(i64::MAX);
            let update = tx.query(sql).bind(now).bind(now - ABANDONED_AFTER).bind(limit);
            let deleted = update.execute().await?;
            tx.commit().await?;
            if deleted < MAX_DELETIONS_PER_TRANSACTION {
                return Ok(());
            }
        }
    }
}
