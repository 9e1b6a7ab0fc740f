//! The feature flag module.

use std::{fmt, sync::Arc, time::Duration};

use ::http::request::Parts as RequestParts;
use async_trait::async_trait;

use crate::{
    FlagSet, Flags, client::FlagsParts, context::AttributeReader, export, exposure::ExposureRecorder, http,
    store::FlagStore,
};
use omnistack_core::{
    BoxError,
    db::{Db, Migrations},
    events::Events,
    flag_variant::FlagVariants,
    migrations,
    module::{Context, Module, Registry},
};

omnistack_core::settings! {
    /// Feature flags.
    pub struct FlagSettings {
        /// Interval at which a replica checks the database for changes of which it received no message.
        pub poll: Duration = "FLAGS_POLL", default "10s", range "1ms"..="1d";
        /// Duration within which the same exposure of a user is recorded only once.
        pub exposure_window: Duration = "FLAGS_EXPOSURE_WINDOW", default "1h", range "1s"..="365d";
        /// Share of users whose exposures are recorded, in percent.
        pub exposure_sample: u32 = "FLAGS_EXPOSURE_SAMPLE", default "100", range "0"..="100";
    }
}

/// Migrations of the tables of flags, for use without an [`App`](omnistack_core::app::App), whose module includes them.
/// Their history is `flags`: `db.migrate("flags", MIGRATIONS)`.
pub const MIGRATIONS: Migrations = migrations!["0001_flags"];

/// Module of feature flags: `.with(FeatureFlags::default())`.
///
/// It provides [`Flags`], and its variants to other modules, applies the changes of all replicas, serves callers at
/// `/api/v1/app/feature-flags`, and operators at `/api/v1/admin/feature-flags` and `/api/v1/admin/feature-segments`.
///
/// ```
/// use omnistack_flags::FeatureFlags;
///
/// let flags = FeatureFlags::default().attributes(|request| {
///     let country = request.headers.get("cf-ipcountry").and_then(|value| value.to_str().ok());
///     country.map(|country| vec![("country".into(), country.into())]).unwrap_or_default()
/// });
/// ```
#[doc(alias = "feature toggle")]
#[derive(Clone, Default)]
#[must_use]
pub struct FeatureFlags {
    attributes: Option<AttributeReader>,
}

impl FeatureFlags {
    /// Sets the function that reads the app's attributes from each request for which flags are evaluated. Read
    /// them only from sources that the app trusts: a client can send any header.
    pub fn attributes(mut self, read: impl Fn(&RequestParts) -> Vec<(String, String)> + Send + Sync + 'static) -> Self {
        self.attributes = Some(Arc::new(read));
        self
    }
}

impl fmt::Debug for FeatureFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeatureFlags").field("attributes", &self.attributes.is_some()).finish()
    }
}

#[async_trait]
impl Module for FeatureFlags {
    fn name(&self) -> &'static str {
        "flags"
    }

    fn register(&self, registry: &mut Registry) {
        registry.migrations(MIGRATIONS);
        let Some(settings) = registry.config::<FlagSettings>() else { return };
        let (attributes, environment) = (self.attributes.clone(), registry.environment().to_string());
        let clock = registry.clock();
        let recorder = ExposureRecorder::new(settings.exposure_window, settings.exposure_sample);
        let noted = recorder.clone();
        registry
            .provide_from(move |ctx| {
                let parts = FlagsParts {
                    store: Some(FlagStore { db: ctx.get()?, clock: clock.clone(), log: ctx.get()? }),
                    publisher: ctx.get()?,
                    clock: clock.clone(),
                    poll: settings.poll,
                    entitlements: ctx.get()?,
                    environment: environment.clone(),
                    attributes: attributes.clone(),
                    recorder: recorder.clone(),
                };
                Ok(Flags::new(parts, FlagSet::default()))
            })
            .provide_from(|ctx| Ok(FlagVariants::new(ctx.get::<Flags>()?)))
            .background_service("flags", |ctx| {
                let flags = ctx.get::<Flags>()?;
                Ok(move |shutdown| {
                    let flags = flags.clone();
                    async move { flags.follow(shutdown).await }
                })
            })
            .background_service("flag exposures", move |ctx| {
                let (db, events) = (ctx.get::<Db>()?, ctx.get::<Events>()?);
                Ok(move |shutdown| {
                    let (noted, db, events) = (noted.clone(), db.clone(), events.clone());
                    async move { noted.publish(&db, &events, shutdown).await }
                })
            });
        http::register(registry);
        export::register(registry);
    }

    /// Reads all flags. Fails if they can't be read: an app without its flags must not serve.
    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        ctx.get::<Flags>()?.refresh().await?;
        Ok(())
    }
}
