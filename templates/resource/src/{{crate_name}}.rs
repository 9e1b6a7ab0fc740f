{%- assign Module = crate_name | pascal_case -%}
{%- assign Row = one | pascal_case -%}
{%- assign row = one | snake_case -%}
//! The module `{{crate_name}}`. Change its fields here and in `migrations/`.

use omnistack::prelude::*;

/// The routes `/api/v1/app/{{project-name}}`: the {{crate_name}} of a tenant, with pages, search and soft delete.
#[derive(Debug)]
pub struct {{Module}};

impl Module for {{Module}} {
    fn name(&self) -> &'static str {
        "{{crate_name}}"
    }

    fn register(&self, registry: &mut Registry) {
        let mount = Mount::app("/{{project-name}}").permissions("{{project-name}}");
        registry.migrations(migrations!["0001_{{crate_name}}"]).resource(mount, crud::resource::<{{Row}}>());
    }
}

/// A row of the table `{{crate_name}}`.
#[derive(Debug, Serialize, ToSchema, FromRow)]
pub struct {{Row}} {
    id: Id<{{Row}}>,
    /// The title.
    pub title: String,
    /// A description in plain text, or `null`.
    #[schema(required)]
    pub description: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[schema(required)]
    deleted_at: Option<Timestamp>,
}

/// The fields of a new row.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
pub struct New{{Row}} {
    /// The title.
    pub title: Text<1, 200>,
    /// A description in plain text, or `null`.
    pub description: Option<Text<0, 10_000>>,
}

/// The fields to change. Absent fields stay unchanged.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
pub struct {{Row}}Change {
    /// The new title.
    pub title: Option<Text<1, 200>>,
    /// The new description. `null` clears it.
    #[serde(default)]
    pub description: Patch<Text<0, 10_000>>,
}

impl Resource for {{Row}} {
    const NAME: &'static str = "{{row}}";
    const TABLE: &'static str = "{{crate_name}}";
    const COLUMNS: &'static [Column] =
        &[Column::text("title").sortable().filterable().searchable(), Column::text("description").searchable()];
    const PURGE_AFTER: Option<Duration> = Some(Duration::from_hours(30 * 24));
    type Create = New{{Row}};
    type Update = {{Row}}Change;

    fn id(&self) -> Id<Self> {
        self.id
    }

    fn create(new: New{{Row}}, fields: &mut RowValues) {
        fields.set("title", new.title).set("description", new.description);
    }

    fn update(change: {{Row}}Change, fields: &mut RowValues) {
        fields.set_if_some("title", change.title).set_if_some("description", change.description.into_nested_option());
    }
}
