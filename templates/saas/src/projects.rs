//! Projects: a module of your own. Change it, or copy it for the next one.

use std::time::Duration;

use garde::Validate;
use omnistack::{events::Enqueue, identity::TenantDeleted, name::is_name, prelude::*, pubsub::Publisher};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Projects of a tenant, under `/api/v1/app/projects`.
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
                    .enqueue_on_create(ctx.get()?, |project: &Project| Announce { project: project.id }))
            })
            .job::<Announce>(Ctx::get)
            .job::<Forget>(Ctx::get)
            .on("forget-projects", |ctx| {
                Ok(Enqueue::new(ctx.get()?, |gone: TenantDeleted| Forget { tenant: gone.tenant }))
            })
            .job::<Purge>(|ctx| Ok((ctx.get()?, ctx.get()?)))
            .cron(Cron::new("0 3 * * *", Purge { older_than_days: 30 }));
    }
}

/// Tells who listens of a new project. Enqueued with it.
#[derive(Debug, Serialize, Deserialize)]
struct Announce {
    project: Id<Project>,
}

#[async_trait]
impl Job for Announce {
    const NAME: &'static str = "announce_project";
    type State = Publisher;

    async fn run(self, publisher: &Publisher, _: &JobCtx) -> Result<(), JobError> {
        publisher.publish("projects", self.project.to_string()).await;
        Ok(())
    }
}

/// Deletes the projects of a tenant that is gone.
#[derive(Debug, Serialize, Deserialize)]
struct Forget {
    tenant: TenantId,
}

#[async_trait]
impl Job for Forget {
    const NAME: &'static str = "forget_projects";
    type State = Db;

    async fn run(self, db: &Db, _: &JobCtx) -> Result<(), JobError> {
        let mut tx = db.tenant(self.tenant).begin().await?;
        tx.query("delete from projects where tenant_id = $1").bind(self.tenant).execute().await?;
        Ok(tx.commit().await?)
    }
}

/// Deletes for good what was deleted long ago. Every night.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Purge {
    older_than_days: u64,
}

#[async_trait]
impl Job for Purge {
    const NAME: &'static str = "purge_projects";
    type State = (Db, Clock);

    async fn run(self, (db, clock): &(Db, Clock), _: &JobCtx) -> Result<(), JobError> {
        let before = clock.now() - Duration::from_secs(self.older_than_days * 24 * 60 * 60);
        // Of every tenant: nobody's request asks for this.
        let mut tx = db.all_tenants().begin().await?;
        tx.query("delete from projects where deleted_at < $1").bind(before).execute().await?;
        Ok(tx.commit().await?)
    }
}

/// Something a team works on.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub struct Project {
    /// Its id.
    pub id: Id<Project>,
    /// Unique among the tenant's projects that are not deleted.
    #[schema(examples("Apollo"))]
    pub name: String,
    /// What it is about.
    #[schema(required)]
    pub description: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it was deleted, if it is.
    #[schema(required)]
    pub deleted_at: Option<Timestamp>,
}

/// A project to be.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    /// Unique among the tenant's projects that are not deleted.
    #[garde(length(chars, min = 1, max = 100), custom(is_name))]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[^\\x00-\\x1f\\x7f]*\\S[^\\x00-\\x1f\\x7f]*$",
        examples("Apollo")
    )]
    pub name: String,
    /// What it is about.
    #[garde(inner(length(chars, max = 10_000)))]
    #[schema(max_length = 10_000, pattern = "^[^\\x00]*$")]
    pub description: Option<String>,
}

/// What to change of a project.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectChange {
    /// A new name.
    #[garde(inner(length(chars, min = 1, max = 100), custom(is_name)))]
    #[schema(min_length = 1, max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f]*\\S[^\\x00-\\x1f\\x7f]*$")]
    pub name: Option<String>,
    /// A new description; `null` clears it.
    #[serde(default)]
    #[garde(inner(length(chars, max = 10_000)))]
    #[schema(value_type = Option<String>, max_length = 10_000, pattern = "^[^\\x00]*$")]
    pub description: Patch<String>,
}

impl Resource for Project {
    const NAME: &'static str = "project";
    const TABLE: &'static str = "projects";
    const COLUMNS: &'static [Column] =
        &[Column::text("name").sorts().filters().searches(), Column::text("description").searches()];
    type Create = NewProject;
    type Update = ProjectChange;

    fn id(&self) -> Id<Self> {
        self.id
    }

    fn create(new: NewProject, fields: &mut Fields) {
        fields.set("name", new.name).set("description", new.description);
    }

    fn update(change: ProjectChange, fields: &mut Fields) {
        fields.change("name", change.name).change("description", change.description.change());
    }
}
