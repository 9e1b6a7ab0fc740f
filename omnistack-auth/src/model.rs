//! Users, tenants and what ties them together.

use omnistack_core::{
    clock::Timestamp,
    id::Id,
    identity::{SessionId, TenantId, UserId},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Somebody with an account.
#[derive(Clone, Debug, Serialize, ToSchema, sqlx::FromRow)]
#[non_exhaustive]
pub struct User {
    /// Their id.
    #[schema(value_type = String, format = Uuid)]
    pub id: UserId,
    /// Their address, in lower case.
    pub email: Option<String>,
    /// When they showed that it is theirs.
    pub email_verified_at: Option<Timestamp>,
    /// What they are called.
    pub name: String,
    /// Where their picture is.
    pub picture: Option<String>,
    /// The language they read, as in BCP 47: `de-AT`.
    pub locale: Option<String>,
    /// Whether they operate the whole app.
    pub operator: bool,
    /// When they were locked out, if they are.
    pub disabled_at: Option<Timestamp>,
    /// When the account is deleted for good, if its user has asked for that.
    pub delete_at: Option<Timestamp>,
    /// When the account was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The columns of a [`User`].
macro_rules! user_columns {
    () => {
        "id, email, email_verified_at, name, picture, locale, operator, disabled_at, delete_at, created_at, updated_at"
    };
}
pub(crate) use user_columns;

/// The boundary of data and of billing: one person's own, or a team's.
#[derive(Clone, Debug, Serialize, ToSchema, sqlx::FromRow)]
#[non_exhaustive]
pub struct Tenant {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: TenantId,
    /// What it is called.
    pub name: String,
    /// Its name in addresses.
    pub slug: String,
    /// Whose own it is; none for a team's.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub personal_of: Option<UserId>,
    /// When it was suspended, if it is.
    pub suspended_at: Option<Timestamp>,
    /// When it is deleted for good, if that was asked for.
    pub delete_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// From where somebody signs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// What the client says it is; its first 300 characters.
    pub user_agent: Option<String>,
    /// Its address.
    pub address: Option<String>,
}

/// One sign-in on one device, as its user sees it.
#[derive(Clone, Debug, Serialize, ToSchema, sqlx::FromRow)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: SessionId,
    /// What the client said it is.
    pub user_agent: Option<String>,
    /// Its address when it signed in.
    pub address: Option<String>,
    /// When the user last showed who they are.
    pub proof_at: Timestamp,
    /// Whether with a second factor.
    pub second_factor: bool,
    /// When it was last refreshed.
    pub rotated_at: Timestamp,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
}

/// A member of a tenant.
#[derive(Clone, Debug, Serialize, ToSchema, sqlx::FromRow)]
#[non_exhaustive]
pub struct Member {
    /// Whose membership it is.
    #[schema(value_type = String, format = Uuid)]
    pub user_id: UserId,
    /// What they are called.
    pub name: String,
    /// Their address.
    pub email: Option<String>,
    /// Where their picture is.
    pub picture: Option<String>,
    /// Their role: `owner`, `admin`, `developer`, `viewer`, or one of the tenant's own.
    pub role: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// A role of a tenant's own making.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
#[non_exhaustive]
pub struct Role {
    /// Its name.
    pub name: String,
    /// What its holders may do, separated by spaces.
    pub permissions: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Whose ids are those of invitations.
#[derive(Debug)]
pub enum Invited {}

/// Somebody was asked to join a tenant.
#[derive(Clone, Debug, Serialize, ToSchema, sqlx::FromRow)]
#[non_exhaustive]
pub struct Invitation {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: Id<Invited>,
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant_id: TenantId,
    /// Whom: their address, in lower case.
    pub email: String,
    /// The role they get.
    pub role: String,
    /// Who asked; none when that account is gone.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub invited_by: Option<UserId>,
    /// When the mail was last sent.
    pub sent_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it can be accepted.
    pub expires_at: Timestamp,
}

/// Where somebody is a member.
#[derive(Clone, Debug, Serialize, ToSchema, sqlx::FromRow)]
#[non_exhaustive]
pub struct Membership {
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub tenant_id: TenantId,
    /// What it is called.
    pub name: String,
    /// Its name in addresses.
    pub slug: String,
    /// As what.
    pub role: String,
    /// Since when.
    pub created_at: Timestamp,
}
