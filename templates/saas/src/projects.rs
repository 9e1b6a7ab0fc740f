//! Projects: a module of your own. Change it, or copy it for the next one.

use garde::Validate;
use omnistack::prelude::*;
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
        registry.migrations(migrations!["0001_projects"]).routes(
            Mount::app("/projects"),
            crud::routes::<Project>(),
            Crud::from_ctx,
        );
    }
}

/// Something a team works on.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub struct Project {
    /// Its id.
    pub id: Id<Project>,
    /// Unique among the tenant's projects.
    #[schema(examples("Apollo"))]
    pub name: String,
    /// What it is about.
    pub description: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it was deleted, if it is.
    pub deleted_at: Option<Timestamp>,
}

/// A project to be.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    /// Unique among the tenant's projects.
    #[garde(length(chars, min = 1, max = 100))]
    #[schema(min_length = 1, max_length = 100, pattern = "^[^\\x00]*$", examples("Apollo"))]
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
    #[garde(inner(length(chars, min = 1, max = 100)))]
    #[schema(min_length = 1, max_length = 100, pattern = "^[^\\x00]*$")]
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
