//! The port for prepaid credits, which tenants use up with what the app does for them.
//!
//! The module of the feature `billing` implements it by its wallets. A module that charges credits requires
//! [`CreditAccounts`], and charges in the transaction of its own rows:
//!
//! ```
//! use omnistack_core::{
//!     credits::{CreditAccounts, CreditCharge},
//!     db::Db,
//!     http::Error,
//!     identity::TenantId,
//! };
//!
//! /// Stores a report, for which the tenant pays a quarter of a credit.
//! async fn store_report(db: &Db, credits: &CreditAccounts, tenant: TenantId, id: u64) -> Result<(), Error> {
//!     let mut tx = db.app_database().tenant(tenant).begin().await?;
//!     // … insert the report …
//!     credits.charge_in(&mut tx, CreditCharge::new(tenant, format!("report/{id}"), 250_000)).await?;
//!     Ok(tx.commit().await?)
//! }
//! # let _ = store_report;
//! ```

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{data_environment::DataEnvironment, db::Tx, http::Error, id::TenantId};

/// A charge of credits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct CreditCharge {
    /// The tenant that pays.
    pub tenant: TenantId,
    /// Whether the credits are live or of a test. Default: live.
    pub environment: DataEnvironment,
    /// The name of what is paid, with 1 to 200 characters. A second charge with the same key and amount changes
    /// nothing.
    pub key: String,
    /// The amount in millionths of a credit. It is more than zero.
    pub millionths: i64,
    /// The text for the tenant's statement, at most 500 characters.
    pub description: String,
}

impl CreditCharge {
    /// Creates a charge of live credits.
    pub fn new(tenant: TenantId, key: impl Into<String>, millionths: i64) -> Self {
        let (environment, description) = (DataEnvironment::Live, String::new());
        Self { tenant, environment, key: key.into(), millionths, description }
    }

    /// Sets the environment.
    pub fn environment(mut self, environment: DataEnvironment) -> Self {
        self.environment = environment;
        self
    }

    /// Sets the text for the tenant's statement.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }
}

/// A source of the credits of tenants: the contract of wallets. Apps use [`CreditAccounts`].
#[async_trait]
pub trait CreditSource: Send + Sync + 'static {
    /// Charges credits in a transaction of the app's database that sees the tenant's rows.
    ///
    /// # Errors
    /// 402 `CREDITS_EXHAUSTED` if the tenant has fewer credits; 409 if there is a charge with this key and another
    /// amount; 422 for a key, an amount or a description out of its range; the errors of the database. The caller rolls
    /// the transaction back after any error.
    async fn charge_in(&self, tx: &mut Tx, charge: CreditCharge) -> Result<(), Error>;

    /// Returns credits of a charge in a transaction of the app's database. Credits of a charge are returned once: a
    /// second call with the same amount changes nothing. `charge` has the tenant, the environment and the key of the
    /// charge, and the amount to return.
    ///
    /// # Errors
    /// 404 if there is no such charge; 409 if it was smaller than the amount, or another amount was returned before;
    /// the errors of the database. The caller rolls the transaction back after any error.
    async fn return_in(&self, tx: &mut Tx, charge: CreditCharge) -> Result<(), Error>;
}

/// The credits of tenants. It is in the [`Context`](crate::module::Context) of an app with the module of the feature
/// `billing`. Cheap to clone.
#[derive(Clone)]
pub struct CreditAccounts(Arc<dyn CreditSource>);

impl CreditAccounts {
    /// Creates the accounts of this source.
    pub fn new(source: impl CreditSource) -> Self {
        Self(Arc::new(source))
    }

    /// Charges credits in a transaction of the app's database that sees the tenant's rows.
    ///
    /// # Errors
    /// Those of [`CreditSource::charge_in`].
    pub async fn charge_in(&self, tx: &mut Tx, charge: CreditCharge) -> Result<(), Error> {
        self.0.charge_in(tx, charge).await
    }

    /// Returns credits of a charge, with its tenant, environment and key, and the amount to return.
    ///
    /// # Errors
    /// Those of [`CreditSource::return_in`].
    pub async fn return_in(&self, tx: &mut Tx, charge: CreditCharge) -> Result<(), Error> {
        self.0.return_in(tx, charge).await
    }
}

impl fmt::Debug for CreditAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CreditAccounts")
    }
}
