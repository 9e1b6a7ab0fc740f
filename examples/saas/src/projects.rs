//! Projects: a module of the app.

use omnistack::prelude::*;

/// The projects of teams, with routes under `/api/v1/app/projects`.
#[derive(Debug)]
pub struct Projects;

impl Module for Projects {
    fn name(&self) -> &'static str {
        "projects"
    }

    fn register(&self, registry: &mut Registry) {
        let mount = Mount::app("/projects").permissions("projects");
        let projects = crud::resource::<Project>().limited_by_plan().publish_changes().publish_to_realtime();
        registry.migrations(migrations!["0001_projects"]).resource(mount, projects);
    }
}

/// A project of a team.
#[derive(Debug, Serialize, ToSchema, FromRow)]
pub struct Project {
    id: Id<Project>,
    /// The name, unique among the team's projects that are not deleted.
    pub name: String,
    /// A description in plain text, or `null`.
    #[schema(required)]
    pub description: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[schema(required)]
    deleted_at: Option<Timestamp>,
}

/// The fields of a new project.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    /// The name, unique among the team's projects that are not deleted.
    pub name: Name<100>,
    /// A description in plain text, or `null`.
    pub description: Option<Text<0, 10_000>>,
}

/// The fields of a project to change. Absent fields stay unchanged.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
pub struct ProjectChange {
    /// The new name.
    pub name: Option<Name<100>>,
    /// The new description. `null` clears it.
    #[serde(default)]
    pub description: Patch<Text<0, 10_000>>,
}

impl Resource for Project {
    const NAME: &'static str = "project";
    const TABLE: &'static str = "projects";
    const COLUMNS: &'static [Column] =
        &[Column::text("name").sortable().filterable().searchable(), Column::text("description").searchable()];
    const PURGE_AFTER: Option<Duration> = Some(Duration::from_hours(30 * 24));
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
