//! The ids in an [`Identity`](crate::identity::Identity).

use crate::id::Id;

/// Marker type of user ids: see [`UserId`].
///
/// ```
/// use omnistack_core::{clock::Clock, id::Id, identity::UserMarker};
///
/// let id: Id<UserMarker> = Id::new(Clock::system().now());
/// assert_eq!(id.to_string().parse(), Ok(id));
/// ```
#[derive(Debug)]
pub enum UserMarker {}

/// Marker type of tenant ids: see [`TenantId`].
///
/// ```
/// use omnistack_core::{id::Id, identity::TenantMarker};
///
/// let id: Id<TenantMarker> = "0190a7c8-0000-7000-8000-000000000002".parse()?;
/// assert_eq!(id.uuid().get_version_num(), 7);
/// # Ok::<_, uuid::Error>(())
/// ```
#[derive(Debug)]
pub enum TenantMarker {}

/// Marker type of session ids: see [`SessionId`].
///
/// ```
/// use omnistack_core::{clock::MockClock, id::Id, identity::SessionMarker};
///
/// # let mock = MockClock::at("2030-01-01T00:00:00Z".parse()?);
/// let earlier: Id<SessionMarker> = Id::new(mock.clock().now());
/// mock.advance(std::time::Duration::from_secs(1));
/// assert!(earlier < Id::new(mock.clock().now()));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub enum SessionMarker {}

/// Marker type of API key ids: see [`ApiKeyId`].
///
/// ```
/// use omnistack_core::{clock::Clock, id::Id, identity::ApiKeyMarker};
///
/// let id: Id<ApiKeyMarker> = Id::new(Clock::system().now());
/// assert_eq!(serde_json::to_value(id)?, id.to_string());
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug)]
pub enum ApiKeyMarker {}

/// The id of a user.
///
/// ```
/// use omnistack_core::identity::UserId;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Assign { to: UserId }
///
/// let assign: Assign = serde_json::from_str(r#"{"to": "0190a7c8-0000-7000-8000-000000000001"}"#)?;
/// assert_eq!(assign.to.to_string(), "0190a7c8-0000-7000-8000-000000000001");
/// assert!(serde_json::from_str::<Assign>(r#"{"to": "me"}"#).is_err());
/// # Ok::<_, serde_json::Error>(())
/// ```
pub type UserId = Id<UserMarker>;

/// The id of a tenant. A tenant owns data, is isolated from other tenants, and is billed.
///
/// ```
/// use omnistack_core::{db::{self, Db}, identity::TenantId};
///
/// async fn projects(db: &Db, tenant: TenantId) -> Result<i64, db::Error> {
///     let mut tx = db.tenant(tenant).begin_read().await?;
///     let count = tx.query("select count(*) from projects where tenant_id = $1").bind(tenant);
///     let (count,): (i64,) = count.fetch_one().await?;
///     tx.commit().await?;
///     Ok(count)
/// }
/// ```
#[doc(alias("multi-tenant", "organization"))]
pub type TenantId = Id<TenantMarker>;

/// The id of a session: one sign-in of a user on one device.
///
/// ```
/// use omnistack_core::{http::Error, identity::{Identity, SessionId}};
///
/// fn may_end(caller: &Identity, session: SessionId) -> Result<(), Error> {
///     if caller.session == Some(session) {
///         return Err(Error::conflict("SESSION_IN_USE", "this is your current session; sign out instead"));
///     }
///     Ok(())
/// }
/// # use omnistack_core::{clock::Clock, id::Id};
/// # let now = Clock::system().now();
/// # let (own, other) = (Id::new(now), Id::new(now));
///
/// let caller = Identity::user(Id::new(now)).with_session(own);
/// assert!(may_end(&caller, other).is_ok());
/// assert_eq!(may_end(&caller, own).unwrap_err().code(), "SESSION_IN_USE");
/// ```
pub type SessionId = Id<SessionMarker>;

/// The id of an API key.
///
/// ```
/// use std::collections::BTreeMap;
/// use omnistack_core::identity::{ApiKeyId, Identity};
/// # use omnistack_core::{clock::Clock, id::Id};
/// # let now = Clock::system().now();
/// # let (user, api_key) = (Id::new(now), Id::new(now));
///
/// let caller = Identity::user(user).with_api_key(api_key).into_service_account();
/// let mut calls: BTreeMap<ApiKeyId, u64> = BTreeMap::new();
/// if let Some(api_key) = caller.api_key {
///     *calls.entry(api_key).or_default() += 1;
/// }
/// assert_eq!(calls[&api_key], 1);
/// ```
pub type ApiKeyId = Id<ApiKeyMarker>;
