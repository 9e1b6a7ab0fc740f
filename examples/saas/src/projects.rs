//! Projects: a module of the app.

use std::time::Duration;

use garde::Validate;
use omnistack::{
    events::{EnqueueJob, TenantDeleted},
    name::is_name,
    prelude::*,
    pubsub::PubSub,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The projects module, with routes under `/api/v1/app/projects`.
#[derive(Debug)]
pub struct Projects;

impl Module for Projects {
    fn name(&self) -> &'static str {
        "projects"
    }

    fn register(&self, registry: &mut Registry) {
        registry
            .migrations(migrations!["0001_projects"])
            .routes(Mount::app("/projects").permissions("projects"), crud::routes::<Project>(), |ctx| {
                Ok(Crud::from_ctx(ctx)?
                    .enqueue_on_create(ctx.get()?, |project: &Project| AnnounceProject { project: project.id }))
            })
            .job::<AnnounceProject>(Context::get)
            .job::<DeleteTenantProjects>(Context::get)
            .subscribe("forget-projects", |ctx| {
                Ok(EnqueueJob::new(ctx.get()?, |gone: TenantDeleted| DeleteTenantProjects { tenant: gone.tenant }))
            })
            .job::<PurgeDeletedProjects>(|ctx| Ok((ctx.get()?, ctx.get()?)))
            .cron(Cron::new("0 3 * * *", PurgeDeletedProjects { older_than_days: 30 }));
    }
}

/// A job that publishes the id of a new project to the topic `projects`. Enqueued in the transaction that creates the
/// project.
#[derive(Debug, Serialize, Deserialize)]
struct AnnounceProject {
    project: Id<Project>,
}

#[async_trait]
impl Job for AnnounceProject {
    const NAME: &'static str = "announce_project";
    type State = PubSub;

    async fn run(self, publisher: &PubSub, _: &JobContext) -> Result<(), JobError> {
        publisher.publish("projects", self.project.to_string()).await;
        Ok(())
    }
}

/// A job that deletes the projects of a deleted tenant.
#[derive(Debug, Serialize, Deserialize)]
struct DeleteTenantProjects {
    tenant: TenantId,
}

#[async_trait]
impl Job for DeleteTenantProjects {
    const NAME: &'static str = "forget_projects";
    type State = Db;

    async fn run(self, db: &Db, _: &JobContext) -> Result<(), JobError> {
        let mut tx = db.tenant(self.tenant).begin().await?;
        tx.query("delete from projects where tenant_id = $1").bind(self.tenant).execute().await?;
        Ok(tx.commit().await?)
    }
}

/// A nightly job that removes projects deleted more than `older_than_days` days ago.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PurgeDeletedProjects {
    older_than_days: u64,
}

#[async_trait]
impl Job for PurgeDeletedProjects {
    const NAME: &'static str = "purge_projects";
    type State = (Db, Clock);

    async fn run(self, (db, clock): &(Db, Clock), _: &JobContext) -> Result<(), JobError> {
        let before = clock.now() - Duration::from_secs(self.older_than_days * 24 * 60 * 60);
        // The job has no caller, so it accesses all tenants.
        let mut tx = db.all_tenants().begin().await?;
        tx.query("delete from projects where deleted_at < $1").bind(before).execute().await?;
        Ok(tx.commit().await?)
    }
}

/// A project of a team.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub struct Project {
    /// The project's id.
    pub id: Id<Project>,
    /// The name, unique among the team's projects that are not deleted.
    #[schema(examples("Apollo"))]
    pub name: String,
    /// A description in plain text, or `null`.
    #[schema(required)]
    pub description: Option<String>,
    /// The time of creation.
    pub created_at: Timestamp,
    /// The time of the last change.
    pub updated_at: Timestamp,
    /// The time of deletion, or `null` if the project is not deleted.
    #[schema(required)]
    pub deleted_at: Option<Timestamp>,
}

/// The fields of a new project.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    /// The name, unique among the team's projects that are not deleted.
    #[garde(length(chars, min = 1, max = 100), custom(is_name))]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[^\\x00-\\x1f\\x7f]*\\S[^\\x00-\\x1f\\x7f]*$",
        examples("Apollo")
    )]
    pub name: String,
    /// A description in plain text, or `null`.
    #[garde(inner(length(chars, max = 10_000)))]
    #[schema(max_length = 10_000, pattern = "^[^\\x00]*$")]
    pub description: Option<String>,
}

/// The fields of a project to change. Absent fields stay unchanged.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectChange {
    /// The new name.
    #[garde(inner(length(chars, min = 1, max = 100), custom(is_name)))]
    #[schema(min_length = 1, max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f]*\\S[^\\x00-\\x1f\\x7f]*$")]
    pub name: Option<String>,
    /// The new description. `null` clears it.
    #[serde(default)]
    #[garde(inner(length(chars, max = 10_000)))]
    #[schema(value_type = Option<String>, max_length = 10_000, pattern = "^[^\\x00]*$")]
    pub description: Patch<String>,
}

impl Resource for Project {
    const NAME: &'static str = "project";
    const TABLE: &'static str = "projects";
    const COLUMNS: &'static [Column] =
        &[Column::text("name").sortable().filterable().searchable(), Column::text("description").searchable()];
    type Create = NewProject;
    type Update = ProjectChange;

    fn id(&self) -> Id<Self> {
        self.id
    }

    fn create(new: NewProject, fields: &mut RowValues) {
        fields.set("name", new.name).set("description", new.description);
    }

    fn update(change: ProjectChange, fields: &mut RowValues) {
        fields.set_if_some("name", change.name).set_if_some("description", change.description.into_nested_option());
    }
}
