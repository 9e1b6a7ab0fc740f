//! Custom roles: roles that a team defines with permissions of its choice.

use omnistack_core::{
    audit::AuditEntry,
    db::ErrorKind,
    http::{self, FieldError},
    identity::{Identity, PermissionCatalog, Permissions, TenantId},
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    Error,
    role::{self, ROLES},
    tenant::{Tenants, store::members as store},
};

/// The maximum number of custom roles of a team.
const MAX_CUSTOM_ROLES_PER_TEAM: usize = 50;

/// The permission matrix of a team: the permissions of each of its roles.
///
/// ```
/// # use omnistack_auth::{Auth, tenant::Tenants, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config, identity::Identity};
/// use omnistack_auth::tenant::PermissionMatrix;
/// use omnistack_core::identity::PermissionCatalog;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # let (users, tenants): (Users, Tenants) = (app.context().get()?, app.context().get()?);
/// # let ada = Identity::user(users.create(NewUser::with_email("ada@example.com")).await?.user);
/// # let team = tenants.create(&ada, "Acme", None).await?.tenant.id;
/// let known: PermissionCatalog = app.context().get()?;
/// let permission_matrix: PermissionMatrix = tenants.permission_matrix(&ada, team, &known).await?;
/// for role in &permission_matrix.roles {
///     println!("{:<12} {} of {}", role.name, role.allowed.len(), permission_matrix.permissions.len());
/// }
/// assert_eq!(permission_matrix.roles[0].allowed, permission_matrix.permissions, "the owner may do everything");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RoleMatrix, description = "The roles of a team and the permissions of each.")]
#[non_exhaustive]
pub struct PermissionMatrix {
    /// Every permission that a route of the app requires.
    pub permissions: Vec<String>,
    /// The roles, the built-in ones first.
    pub roles: Vec<RolePermissions>,
}

/// A role and its permissions.
///
/// ```
/// use omnistack_auth::tenant::RolePermissions;
/// # use omnistack_auth::{Auth, tenant::Tenants, users::{NewUser, Users}};
/// # use omnistack_core::{app::App, config::Config, identity::{Identity, PermissionCatalog}};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// # let (users, tenants): (Users, Tenants) = (app.context().get()?, app.context().get()?);
/// # let ada = Identity::user(users.create(NewUser::with_email("ada@example.com")).await?.user);
/// # let team = tenants.create(&ada, "Acme", None).await?.tenant.id;
/// # let known: PermissionCatalog = app.context().get()?;
/// let permissions = "activity:read members:read".parse()?;
/// let auditor: RolePermissions = tenants.create_role(&ada, team, "auditor", &permissions, &known).await?;
/// assert!(!auditor.built_in, "the team has made it, and may change it");
/// assert_eq!(auditor.allowed, ["activity:read", "members:read"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(description = "A role and its permissions.")]
#[non_exhaustive]
pub struct RolePermissions {
    /// The name of the role.
    pub name: String,
    /// Whether the role is built in. Every team has the built-in roles, and they cannot be changed.
    pub built_in: bool,
    /// The permissions as they were granted: `*` stands for any resource or action.
    #[schema(value_type = Vec<String>)]
    pub permissions: Permissions,
    /// The app's permissions that the role grants, with `*` expanded.
    pub allowed: Vec<String>,
}

impl RolePermissions {
    fn new(name: &str, built_in: bool, permissions: Permissions, known: &PermissionCatalog) -> Self {
        let allowed = known.0.iter().filter(|known| permissions.allows(known)).cloned().collect();
        Self { name: name.to_owned(), built_in, permissions, allowed }
    }
}

impl Tenants {
    /// Returns the permission matrix of a team.
    ///
    /// # Errors
    /// Those of [`access`](Self::access); 403 without `roles:read`.
    pub async fn permission_matrix(
        &self,
        caller: &Identity,
        id: TenantId,
        known: &PermissionCatalog,
    ) -> Result<PermissionMatrix, Error> {
        let (mut tx, _) = self.begin_read(caller, id, "roles:read").await?;
        let own = store::roles(&mut tx, id).await?;
        tx.commit().await?;
        let built_in = ROLES.map(|(name, _)| RolePermissions::new(name, true, role::permissions(name, None), known));
        let own = own.iter().map(|own| {
            RolePermissions::new(&own.name, false, role::permissions(&own.name, Some(&own.permissions)), known)
        });
        Ok(PermissionMatrix { permissions: known.0.to_vec(), roles: built_in.into_iter().chain(own).collect() })
    }

    /// Creates a custom role.
    ///
    /// # Errors
    /// Those of [`access`](Self::access); 403 without `roles:manage`, for permissions that the caller lacks, and
    /// during impersonation; 401 `REAUTHENTICATION_REQUIRED` without a fresh sign-in to grant permissions of owners;
    /// 409 `ROLE_EXISTS`, `TOO_MANY_ROLES` and `PERSONAL_TENANT`; 422 for a permission that no route requires.
    pub async fn create_role(
        &self,
        caller: &Identity,
        id: TenantId,
        name: &str,
        permissions: &Permissions,
        known: &PermissionCatalog,
    ) -> Result<RolePermissions, Error> {
        check_known(permissions, known)?;
        let (mut tx, rights) = self.begin_change(caller, id, "roles:manage").await?;
        rights.require_team()?;
        self.check_grant(caller, &rights, permissions)?;
        if store::roles(&mut tx, id).await?.len() >= MAX_CUSTOM_ROLES_PER_TEAM {
            let message = format!("a team has at most {MAX_CUSTOM_ROLES_PER_TEAM} custom roles; delete one first");
            return Err(http::Error::conflict("TOO_MANY_ROLES", message).into());
        }
        let exists = || http::Error::conflict("ROLE_EXISTS", "the team has a role with this name; choose another name");
        if role::built_in_permissions(name).is_some() {
            return Err(exists().into());
        }
        let added = store::insert_role(&mut tx, id, name, &permissions.to_string(), self.clock.now()).await;
        added.map_err(|error| if error.kind() == ErrorKind::Unique { exists().into() } else { Error::from(error) })?;
        let entry = AuditEntry::new("role.created").actor(caller).for_tenant(id).resource("role", name);
        self.commit_with_audit(tx, entry.details(json!({ "after": permissions }))).await?;
        Ok(RolePermissions::new(name, false, permissions.clone(), known))
    }

    /// Changes the permissions of a custom role. The change applies to all of its holders at once.
    ///
    /// # Errors
    /// Those of [`create_role`](Self::create_role), also for the permissions that the role had; 404 for an unknown custom
    /// role.
    pub async fn update_role(
        &self,
        caller: &Identity,
        id: TenantId,
        name: &str,
        permissions: &Permissions,
        known: &PermissionCatalog,
    ) -> Result<RolePermissions, Error> {
        check_known(permissions, known)?;
        let (mut tx, rights) = self.begin_change(caller, id, "roles:manage").await?;
        let before = store::role(&mut tx, id, name).await?.ok_or_else(|| http::Error::not_found("the role"))?;
        rights.require_all(&role::permissions(name, Some(&before.permissions)))?;
        self.check_grant(caller, &rights, permissions)?;
        store::update_role(&mut tx, id, name, &permissions.to_string(), self.clock.now()).await?;
        let entry = AuditEntry::new("role.changed").actor(caller).for_tenant(id).resource("role", name);
        let before: Vec<_> = before.permissions.split(' ').collect();
        self.commit_with_audit(tx, entry.details(json!({ "before": before, "after": permissions }))).await?;
        self.sessions.invalidate_tenant(id).await;
        Ok(RolePermissions::new(name, false, permissions.clone(), known))
    }

    /// Deletes a custom role that no member holds and no invitation offers.
    ///
    /// # Errors
    /// Those of [`update_role`](Self::update_role); 409 `ROLE_IN_USE`, with the numbers of members and invitations in
    /// its details.
    pub async fn delete_role(&self, caller: &Identity, id: TenantId, name: &str) -> Result<(), Error> {
        let (mut tx, rights) = self.begin_change(caller, id, "roles:manage").await?;
        let before = store::role(&mut tx, id, name).await?.ok_or_else(|| http::Error::not_found("the role"))?;
        rights.require_all(&role::permissions(name, Some(&before.permissions)))?;
        let (members, invited) = (
            store::count_with_role(&mut tx, id, name).await?,
            store::count_invited_with_role(&mut tx, id, name).await?,
        );
        if members + invited > 0 {
            let message = "members or invitations use this role; give them another role first";
            let error = http::Error::conflict("ROLE_IN_USE", message);
            return Err(error.with_detail("members", members).with_detail("invitations", invited).into());
        }
        store::delete_role(&mut tx, id, name).await?;
        let entry = AuditEntry::new("role.deleted").actor(caller).for_tenant(id).resource("role", name);
        let before: Vec<_> = before.permissions.split(' ').collect();
        self.commit_with_audit(tx, entry.details(json!({ "before": before }))).await
    }
}

/// Checks that each permission is one that the app knows, by its full name, so that no custom role gets permissions
/// that the app adds later. Fails with 422.
fn check_known(permissions: &Permissions, known: &PermissionCatalog) -> Result<(), http::Error> {
    let unknown = permissions.iter().enumerate().filter(|(_, one)| !known.0.iter().any(|known| known == one));
    let problems: Vec<_> = unknown
        .map(|(at, _)| FieldError::new(format!("permissions[{at}]"), "is not a permission of this app"))
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(http::Error::invalid(problems)) }
}
