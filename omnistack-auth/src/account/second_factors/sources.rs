//! The extension point for second factors: the trait that modules implement, and what accounts ask of it.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use omnistack_core::{db::Tx, identity::UserId};

use crate::{Error, account::Accounts};

/// A source of second factors: reports which ones each user has.
///
/// ```
/// use omnistack_auth::{Error, account::SecondFactorSource};
/// use omnistack_core::{async_trait, identity::UserId};
/// use std::collections::HashSet;
///
/// /// The users who have a card that opens the doors.
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
    /// Returns the names of the second factors that the user can present, such as `totp` or `card`; empty if the user
    /// has none. A sign-in calls this before its own transaction begins, so code that adds a factor must revoke the
    /// user's sessions afterwards.
    ///
    /// # Errors
    /// Returns an error if the source cannot be read, for example if the database fails; the sign-in fails then.
    async fn of(&self, user: UserId) -> Result<Vec<String>, Error>;
}

/// The second factors that an app's modules provide, in addition to the built-in ones.
///
/// ```
/// use omnistack_auth::account::SecondFactors;
/// use omnistack_core::module::{Module, Registry};
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
///         // From now on, users who have a card cannot sign in without it.
///         registry.provide(SecondFactors::new(Cards));
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// let app = App::builder(config).with(Auth::built_in()).with(Doors).build()?;
/// # app.context().get::<SecondFactors>()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct SecondFactors(Vec<Arc<dyn SecondFactorSource>>);

impl SecondFactors {
    /// Creates a set with one source.
    pub fn new(source: impl SecondFactorSource) -> Self {
        Self::default().with_source(source)
    }

    /// Adds another source.
    #[must_use]
    pub fn with_source(mut self, source: impl SecondFactorSource) -> Self {
        self.0.push(Arc::new(source));
        self
    }

    /// Returns the second factors of a user from all sources.
    pub(crate) async fn of(&self, user: UserId) -> Result<Vec<String>, Error> {
        let mut ways = Vec::new();
        for source in &self.0 {
            ways.extend(source.of(user).await?);
        }
        Ok(ways)
    }
}

impl Accounts {
    /// Returns the names of the second factors that a user has now.
    pub(crate) async fn second_factors_of(&self, user: UserId) -> Result<Vec<String>, Error> {
        let own = self.0.app_factors.of(user).await?;
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let ways = self.second_factors_in(&mut tx, user, own).await?;
        tx.commit().await?;
        Ok(ways)
    }

    /// Returns the names of the second factors of a user whose row is locked, valid until the transaction ends. `own`
    /// are those that the app's modules provide. A passkey counts as a second factor only if the user has another
    /// one: by itself it is a sign-in method, and is not required after a password.
    pub(crate) async fn second_factors_in(
        &self,
        tx: &mut Tx,
        user: UserId,
        own: Vec<String>,
    ) -> Result<Vec<String>, Error> {
        let mut ways = own;
        ways.extend(self.0.totp.names_in(tx, user).await?);
        #[cfg(feature = "sms")]
        if let Some(texts) = &self.0.sms_codes
            && texts.is_factor_in(tx, user).await?
        {
            ways.push("sms".to_owned());
        }
        #[cfg(feature = "passkeys")]
        if !ways.is_empty() && self.0.passkeys.is_some() && crate::passkey::store::count(tx, user).await? > 0 {
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
