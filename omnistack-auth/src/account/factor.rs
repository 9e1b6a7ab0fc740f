//! The seam to second factors: accounts ask whether a user has one, and hand over.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use omnistack_core::{db::Tx, identity::UserId};

use super::Accounts;
use crate::Error;

/// Knows which second factors users have.
///
/// ```
/// use omnistack_auth::{Error, account::SecondFactorSource};
/// use omnistack_core::{async_trait, identity::UserId};
/// use std::collections::HashSet;
///
/// /// Who has a card that opens the doors.
/// struct Cards(HashSet<UserId>);
///
/// #[async_trait]
/// impl SecondFactorSource for Cards {
///     async fn of(&self, user: UserId) -> Result<Vec<String>, Error> {
///         Ok(self.0.contains(&user).then(|| "card".to_owned()).into_iter().collect())
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let now = omnistack_core::clock::Clock::system().now();
/// # let (ada, grace) = (UserId::new(now), UserId::new(now));
/// let cards = Cards([ada].into());
/// assert_eq!(cards.of(ada).await?, ["card"]);
/// assert!(cards.of(grace).await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait SecondFactorSource: Send + Sync + 'static {
    /// By which ways the user can show a second factor: `totp`, `card`. None for a user without one. At a sign-in it is
    /// asked before the session's transaction begins, so whoever adds a factor ends the user's sessions afterwards.
    ///
    /// # Errors
    /// The database's.
    async fn of(&self, user: UserId) -> Result<Vec<String>, Error>;
}

/// Which second factors users have: codes of an app, and, where a module provides this, its own besides.
///
/// ```
/// use omnistack_auth::account::SecondFactors;
/// use omnistack_core::app::{Module, Registry};
/// # use omnistack_auth::{Auth, Error, account::SecondFactorSource};
/// # use omnistack_core::{app::App, async_trait, config::Config, identity::UserId};
/// # struct Cards;
/// # #[async_trait]
/// # impl SecondFactorSource for Cards {
/// #     async fn of(&self, _: UserId) -> Result<Vec<String>, Error> { Ok(vec!["card".into()]) }
/// # }
/// # struct Doors;
///
/// impl Module for Doors {
///     fn name(&self) -> &'static str {
///         "doors"
///     }
///
///     fn register(&self, registry: &mut Registry) {
///         // From now on nobody who has a card signs in without it.
///         registry.provide(SecondFactors::new(Cards));
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// let app = App::builder(config).with(Auth::accounts()).with(Doors).build()?;
/// # app.ctx().get::<SecondFactors>()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct SecondFactors(Vec<Arc<dyn SecondFactorSource>>);

impl SecondFactors {
    /// As this source says.
    pub fn new(source: impl SecondFactorSource) -> Self {
        Self::default().and(source)
    }

    /// And as this one says.
    #[must_use]
    pub fn and(mut self, source: impl SecondFactorSource) -> Self {
        self.0.push(Arc::new(source));
        self
    }

    pub(crate) async fn of(&self, user: UserId) -> Result<Vec<String>, Error> {
        let mut ways = Vec::new();
        for source in &self.0 {
            ways.extend(source.of(user).await?);
        }
        Ok(ways)
    }
}

impl Accounts {
    /// By which ways a user can show a second factor, as of now.
    pub(super) async fn second_factors_of(&self, user: UserId) -> Result<Vec<String>, Error> {
        let own = self.0.factors.of(user).await?;
        let mut tx = self.0.db.all_tenants().read().await?;
        let ways = self.second_factors_in(&mut tx, user, own).await?;
        tx.commit().await?;
        Ok(ways)
    }

    /// By which ways a user whose row is held can show a second factor, until the transaction ends; `own` are those of the
    /// app's own. A passkey is one where there is another: by itself it is a way in, and asked of nobody who has a password.
    pub(super) async fn second_factors_in(
        &self,
        tx: &mut Tx,
        user: UserId,
        own: Vec<String>,
    ) -> Result<Vec<String>, Error> {
        let mut ways = own;
        ways.extend(self.0.codes.of_in(tx, user).await?);
        #[cfg(feature = "sms")]
        if let Some(texts) = &self.0.texts
            && texts.is_factor_in(tx, user).await?
        {
            ways.push("sms".to_owned());
        }
        #[cfg(feature = "passkeys")]
        if !ways.is_empty() && self.0.passkeys.is_some() && crate::store::passkey::count(tx, user).await? > 0 {
            ways.push("passkey".to_owned());
        }
        Ok(ways)
    }
}

impl fmt::Debug for SecondFactors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecondFactors")
    }
}
