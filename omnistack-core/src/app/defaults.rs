//! The modules that every app has.

use crate::{
    ShutdownToken,
    audit::{AuditLog, AuditModule},
    cache::{Cache, CacheSettings},
    config::Config,
    crud::CrudModule,
    db::{Db, DbSettings},
    email::{MailOutbox, Mailer, UserContacts},
    events::EventsModule,
    flag_variant::FlagVariants,
    http::{HttpSettings, RateLimits},
    idempotency::IdempotencyModule,
    identity::Entitlements,
    jobs::{Jobs, JobsModule},
    maintenance::MaintenanceMode,
    module::{Module, Registry},
    notification::{NotificationKinds, Notifier},
    pubsub::PubSub,
    realtime::RealtimePublisher,
    webhook::InlineModule,
};

use super::{
    core_routes::CoreRoutes,
    mail_jobs::{MailJobs, SendMailOfJob},
};

/// Returns the modules that every app has, in the order in which they register. Those that need the database are left
/// out if it can't be opened; the reason is reported already.
pub(super) fn modules(db: Option<(&Db, &DbSettings)>) -> Vec<Box<dyn Module>> {
    let mut modules: Vec<Box<dyn Module>> = Vec::new();
    if let Some((db, settings)) = db {
        modules.push(Box::new(CoreRoutes::new(db, settings)));
        modules.push(Box::new(IdempotencyModule));
        modules.push(Box::new(AuditModule));
        modules.push(Box::new(JobsModule));
        modules.push(Box::new(EventsModule));
        modules.push(Box::new(CrudModule));
        modules.push(Box::new(MaintenanceState(db.clone())));
        #[cfg(feature = "backup")]
        modules.push(Box::new(crate::backup::BackupModule { db: db.clone(), database: settings.clone() }));
        modules.push(Box::new(InlineModule(db.clone())));
    }
    modules.push(Box::new(SharedState));
    #[cfg(feature = "key-ring")]
    modules.push(Box::new(Secrets));
    #[cfg(feature = "http-client")]
    modules.push(Box::new(HttpClient));
    modules.push(Box::new(Ports));
    modules
}

/// The cache, the messages and the rate limits of all replicas: in Redis if `REDIS_URL` is set, else in this process.
struct SharedState;

impl Module for SharedState {
    fn name(&self) -> &'static str {
        "core"
    }

    fn register(&self, registry: &mut Registry) {
        let size = registry.config::<CacheSettings>().map_or(0, |settings| settings.size.as_u64());
        #[cfg(feature = "redis")]
        let shared = crate::redis::register(registry);
        #[cfg(not(feature = "redis"))]
        let shared = {
            // Reports each of the settings that is set.
            registry.config::<crate::redis::RedisSettings>();
            None
        };
        registry.after_modules(move |registry| {
            let (cache, messages, limits) = shared.unwrap_or_else(|| {
                let clock = registry.clock();
                (Cache::in_process(size, clock.clone()), PubSub::default(), RateLimits::in_process(clock))
            });
            // Invalid settings are reported already.
            let http = registry.provided::<Config>().and_then(|config| config.read_settings::<HttpSettings>().ok());
            let limits = limits.legacy_headers(http.is_some_and(|http| http.rate_limit_legacy));
            registry.provide_default(cache).provide_default(messages).provide_default(limits);
        });
    }
}

/// The [`MaintenanceMode`], which is read every second while the app serves.
struct MaintenanceState(Db);

impl Module for MaintenanceState {
    fn name(&self) -> &'static str {
        "core"
    }

    fn register(&self, registry: &mut Registry) {
        let mode = MaintenanceMode::new(&self.0, registry.clock());
        registry
            .provide(mode.clone())
            .background_service("maintenance", move |_| Ok(move |shutdown: ShutdownToken| mode.clone().run(shutdown)));
    }
}

/// The key ring of `SECRET_KEYS`, if a module requires one. An app that seals nothing needs no keys.
#[cfg(feature = "key-ring")]
struct Secrets;

#[cfg(feature = "key-ring")]
impl Module for Secrets {
    fn name(&self) -> &'static str {
        "core"
    }

    fn register(&self, registry: &mut Registry) {
        use crate::crypto::KeyRing;

        registry.after_modules(|registry| {
            if registry.requires::<KeyRing>() && registry.provided::<KeyRing>().is_none() {
                provide_keys(registry);
            }
        });
    }
}

#[cfg(feature = "key-ring")]
fn provide_keys(registry: &mut Registry) {
    let Some(settings) = registry.config::<crate::crypto::SecretSettings>() else { return };
    match settings.key_ring() {
        Err(error) => {
            let fix = "set it to `id:base64` with the output of `openssl rand -base64 32`, several separated by commas";
            registry.report_problem(format!("`SECRET_KEYS`: {error}"), fix);
        }
        Ok(keys) => match keys.weak_key().filter(|_| registry.environment().is_production()) {
            Some((id, weakness)) => {
                let fix = "replace it by the output of `openssl rand -base64 32`; the values that it sealed are no \
                           longer secret: enter them again";
                registry.report_problem(format!("`SECRET_KEYS`: the key `{id}` {weakness}"), fix);
            }
            None => _ = registry.provide(keys),
        },
    }
}

/// The app's HTTP clients that modules require.
#[cfg(feature = "http-client")]
struct HttpClient;

#[cfg(feature = "http-client")]
impl Module for HttpClient {
    fn name(&self) -> &'static str {
        "core"
    }

    fn register(&self, registry: &mut Registry) {
        use crate::http::client::{Client, ClientSettings, GuardedClient, SettingsClient};

        registry.after_modules(|registry| {
            // Read to report invalid settings, and to list them.
            let Some(settings) = registry.config::<ClientSettings>() else { return };
            if settings.allow_private_addresses && registry.environment().is_production() {
                registry.report_problem(
                    "`WEBHOOKS_ALLOW_PRIVATE_ADDRESSES` would let users send requests into the app's private network",
                    "remove it; for URLs in settings, set HTTP_CLIENT_ALLOWED_NETWORKS",
                );
            }
            if registry.requires::<Client>() {
                _ = registry.http_client();
            }
            if registry.requires::<SettingsClient>() {
                _ = registry.settings_client();
            }
            if registry.requires::<GuardedClient>() {
                _ = registry.guarded_client();
            }
        });
    }
}

/// Defaults of the ports that feature crates implement.
struct Ports;

impl Module for Ports {
    fn name(&self) -> &'static str {
        "core"
    }

    fn register(&self, registry: &mut Registry) {
        registry.provide_default(NotificationKinds::default());
        // Reports each of the settings that is set.
        #[cfg(not(feature = "backup"))]
        registry.config::<crate::backup::BackupSettings>();
        #[cfg(feature = "billing-ports")]
        registry.after_modules(|registry| {
            use crate::{payment::PaymentProviders, usage::UsageSink};

            registry.provide_default(UsageSink::default()).provide_default(PaymentProviders::default());
        });
        registry.after_modules(|registry| {
            let clock = registry.clock();
            let production = registry.environment().is_production();
            if production && registry.requires::<Mailer>() && registry.provided::<Mailer>().is_none() {
                registry.report_problem(
                    "a module sends mail, and no module delivers it",
                    "add the module of the feature `email`, `.with(Mail::default())`, and set EMAIL_PROVIDER",
                );
            }
            registry
                .provide_default(Entitlements::default())
                .provide_default(FlagVariants::default())
                .provide_default(AuditLog::to_database(clock))
                .provide_default(Notifier::disabled())
                .provide_default(UserContacts::default())
                .provide_default(RealtimePublisher::disabled())
                .provide_default(if production { Mailer::unconfigured() } else { Mailer::default() });
            // Without a database, the missing settings are reported already.
            if let Some(jobs) = registry.provided::<Jobs>() {
                let outbox = MailOutbox::new(MailJobs(jobs));
                registry.provide_default(outbox).job::<SendMailOfJob>(|ctx| ctx.get());
            }
        });
    }
}
