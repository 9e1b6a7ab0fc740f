//! The module [`Realtime`].

use std::sync::Arc;

use omnistack_core::{
    ShutdownToken,
    http::Error,
    identity::Identity,
    maintenance::MaintenanceMode,
    module::{Module, Registry},
    pubsub::PubSub,
};
use serde_json::Value;

#[cfg(feature = "redis")]
use crate::engine::RedisEngine;
use crate::{
    admin, browser_client,
    channel::{ChannelTableRow, Channels},
    engine::{Engine, MemoryEngine},
    feeds,
    hub::{Hub, HubParts},
    notifications,
    procedures::Procedures,
    publisher,
    settings::RealtimeSettings,
    sign_in, transport,
};

/// The module of messages to connected clients: `.with(Realtime::from_env().channels(channels))`. See the
/// [crate's documentation](crate).
#[doc(alias("SSE", "WebSocket"))]
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Realtime {
    channels: Channels,
    procedures: Procedures,
    /// Names of procedures that were added twice.
    repeated_procedures: Vec<String>,
}

impl Realtime {
    /// Creates the module, which reads its settings. It has the built-in channels only.
    pub fn from_env() -> Self {
        Self::default()
    }

    /// Sets the rules of the app's channels.
    pub fn channels(mut self, channels: Channels) -> Self {
        self.channels = channels;
        self
    }

    /// Adds a procedure, which clients call by its name on their connection (`rpc`). It gets the caller and the data of
    /// the call, and returns the data of the result. A 4xx error is sent to the client with its status as the code; all
    /// others are logged, and the client gets the temporary error 100. A call that takes longer than five seconds is
    /// given up with the same error, since the connection's other commands wait for it: let it enqueue a job.
    ///
    /// ```
    /// use omnistack_core::{http::Error, identity::Identity};
    /// use omnistack_realtime::Realtime;
    /// use serde_json::{Value, json};
    ///
    /// async fn who_am_i(caller: Identity, _: Value) -> Result<Value, Error> {
    ///     Ok(json!({ "user": caller.user, "tenant": caller.tenant }))
    /// }
    ///
    /// let realtime = Realtime::from_env().procedure("who_am_i", who_am_i);
    /// # _ = realtime;
    /// ```
    pub fn procedure<F>(
        mut self,
        name: impl Into<String>,
        call: impl Fn(Identity, Value) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Value, Error>> + Send + 'static,
    {
        let name = name.into();
        if !self.procedures.add(name.clone(), call) {
            self.repeated_procedures.push(name);
        }
        self
    }
}

impl Module for Realtime {
    fn name(&self) -> &'static str {
        "realtime"
    }

    fn register(&self, registry: &mut Registry) {
        let Some(settings) = registry.config::<RealtimeSettings>() else { return };
        if settings.pong_timeout >= settings.ping {
            // The next ping would extend the time for the response to the previous ping.
            let what = "`REALTIME_PONG_TIMEOUT` is not shorter than `REALTIME_PING`";
            registry.report_problem(what, "set it shorter than the time between two pings");
        }
        for problem in self.channels.problems() {
            registry.report_problem(problem.what, problem.fix);
        }
        for name in &self.repeated_procedures {
            registry.report_problem(format!("the procedure `{name}` is added twice"), "rename one of them");
        }
        for row in self.channels.table() {
            registry.doctor_line("channel", doctor_text(&row));
        }
        let Some(engine) = engine(registry) else { return };
        sign_in::register(registry);
        transport::register(registry, &settings);
        browser_client::register(registry);
        provide_hub(registry, settings, self, engine);
        publisher::register(registry);
        feeds::register(registry);
        notifications::register(registry);
        admin::register(registry, self.channels.clone());
    }
}

/// Creates the engine: in Redis if the app has it, otherwise in this process. Returns `None` after reporting a problem.
fn engine(registry: &mut Registry) -> Option<Arc<dyn Engine>> {
    #[cfg(feature = "redis")]
    if let Some(redis) = registry.provided::<omnistack_core::redis::Redis>() {
        return match RedisEngine::new(redis, registry.clock()) {
            Ok(engine) => Some(Arc::new(engine)),
            Err(error) => {
                registry.report_problem(format!("`REDIS_URL`: {error}"), "set it to redis://host:6379, or unset it");
                None
            }
        };
    }
    Some(Arc::new(MemoryEngine::new(registry.clock())))
}

/// Provides the hub, and registers its background services.
fn provide_hub(registry: &mut Registry, settings: RealtimeSettings, module: &Realtime, engine: Arc<dyn Engine>) {
    let (channels, procedures) = (module.channels.clone(), module.procedures.clone());
    let (clock, app_version, shared) = (registry.clock(), registry.app_version().to_owned(), Arc::clone(&engine));
    registry
        .provide_from(move |ctx| {
            Ok(Hub::new(HubParts {
                settings: settings.clone(),
                channels: channels.clone(),
                procedures: procedures.clone(),
                engine: Arc::clone(&shared),
                clock: clock.clone(),
                app_version: app_version.clone(),
                usage: ctx.get()?,
                sign_in: ctx.get()?,
            }))
        })
        .background_service("realtime connections", |ctx| {
            let (hub, changes) = (ctx.get::<Hub>()?, ctx.get::<PubSub>()?);
            Ok(move |shutdown: ShutdownToken| {
                let (hub, changes) = (hub.clone(), changes.clone());
                async move { hub.run(changes, shutdown).await }
            })
        })
        .background_service("realtime engine", move |_| {
            Ok(move |shutdown: ShutdownToken| {
                let engine = Arc::clone(&engine);
                async move {
                    engine.run(shutdown).await;
                    Ok(())
                }
            })
        })
        .background_service("realtime maintenance", |ctx| {
            let (hub, mode) = (ctx.get::<Hub>()?, ctx.get::<MaintenanceMode>()?);
            Ok(move |shutdown: ShutdownToken| {
                let (hub, mode) = (hub.clone(), mode.clone());
                async move {
                    hub.follow_maintenance(mode, shutdown).await;
                    Ok(())
                }
            })
        })
        .background_service("realtime shutdown", |ctx| {
            let hub = ctx.get::<Hub>()?;
            Ok(move |shutdown: ShutdownToken| {
                let hub = hub.clone();
                async move {
                    hub.drain(shutdown).await;
                    Ok(())
                }
            })
        });
}

/// Returns the text that the command `doctor` prints about the channels of a rule.
fn doctor_text(row: &ChannelTableRow) -> String {
    let ChannelTableRow { pattern, subscribe, publish, history_size, latest_value, presence, .. } = row;
    let history = match history_size {
        _ if *latest_value => "the newest message".to_owned(),
        0 => "no history".to_owned(),
        size => format!("{size} messages"),
    };
    let presence = if *presence { ", presence" } else { "" };
    format!("{pattern}: subscribe {subscribe}, publish {publish}, {history}{presence}")
}
