//! Example data for development: `cargo run -p saas seed`.

use omnistack::{
    BoxError,
    auth::users::{NewUser, Users},
    identity::Permissions,
    prelude::*,
};

use crate::projects::{NewProject, Project};

/// The address of the user that has the example projects.
const EXAMPLE_USER: &str = "ada@example.com";
const EXAMPLE_PROJECTS: [(&str, &str); 3] =
    [("Apollo", "To the moon."), ("Voyager", "To the planets, and beyond."), ("Rosetta", "To a comet.")];

/// The module of example data: a user with some projects.
#[derive(Debug)]
pub struct ExampleData;

impl Module for ExampleData {
    fn name(&self) -> &'static str {
        "example-data"
    }

    fn register(&self, registry: &mut Registry) {
        registry.seed("projects", |ctx| {
            let (users, projects) = ctx.get_all::<(Users, Crud<Project>)>()?;
            Ok(move || {
                let (users, projects) = (users.clone(), projects.clone());
                async move { create_projects(&users, &projects).await }
            })
        });
    }
}

/// Creates the user and the projects, unless the user exists.
async fn create_projects(users: &Users, projects: &Crud<Project>) -> Result<(), BoxError> {
    if users.find_by_email(EXAMPLE_USER).await?.is_some() {
        return Ok(());
    }
    let mut new = NewUser::with_email(EXAMPLE_USER);
    new.email_verified = true;
    new.name = "Ada Lovelace".into();
    let made = users.create(new).await?;
    let ada = Identity::user(made.user).for_tenant(made.tenant).with_permissions(Permissions::all());
    for (name, description) in EXAMPLE_PROJECTS {
        let project = NewProject { name: Name::new(name)?, description: Some(Text::new(description)?) };
        projects.create(&ada, project).await?;
    }
    Ok(())
}
