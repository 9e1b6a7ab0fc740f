//! The builder of a dispatcher for programs without an [`App`](crate::app::App).

use super::Dispatcher;
use crate::{
    events::{EventSettings, Events, Subscriber, SubscriberHandler},
    module::{BuildError, Problem},
};

/// Builder of a [`Dispatcher`]. Created by [`Dispatcher::builder`].
#[must_use]
pub struct DispatcherBuilder {
    events: Events,
    handlers: Vec<SubscriberHandler>,
    settings: EventSettings,
    problems: Vec<Problem>,
}

impl Dispatcher {
    /// Creates a builder of a dispatcher for a program without an [`App`](crate::app::App), such as an axum app that
    /// was there before. Core's migrations ([`CORE_MIGRATIONS`](crate::db::CORE_MIGRATIONS)) must have run in the
    /// database. Every process that publishes builds the dispatcher, also one that does not run it: an event is stored
    /// for the subscribers that are known where it is published.
    ///
    /// ```
    /// use axum::{Router, extract::State, http::StatusCode, routing::post};
    /// use omnistack_core::{
    ///     ShutdownToken, async_trait, clock::Clock, db::{CORE_MIGRATIONS, Db}, http::Error, jobs::JobError,
    ///     events::{Delivery, Dispatcher, Event, Events, Subscriber},
    /// };
    /// use serde::{Deserialize, Serialize};
    /// # use axum::{body::Body, http::Request};
    /// # use tower::ServiceExt as _;
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Ordered { item: String }
    ///
    /// impl Event for Ordered {
    ///     const NAME: &'static str = "shop.ordered";
    ///
    ///     fn key(&self) -> String {
    ///         self.item.clone()
    ///     }
    /// }
    ///
    /// struct CountItems;
    ///
    /// #[async_trait]
    /// impl Subscriber for CountItems {
    ///     type Event = Ordered;
    ///
    ///     async fn handle(&self, event: Ordered, delivery: &mut Delivery) -> Result<(), JobError> {
    ///         let count = "update items set orders = orders + 1 where name = $1";
    ///         delivery.tx().await?.query(count).bind(event.item).execute().await?;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// async fn order(State((db, events)): State<(Db, Events)>, item: String) -> Result<StatusCode, Error> {
    ///     let mut tx = db.begin().await?;
    ///     // … insert the order …
    ///     events.publish_in(&mut tx, &Ordered { item }).await?;
    ///     tx.commit().await?;
    ///     Ok(StatusCode::ACCEPTED)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), omnistack_core::BoxError> {
    /// let db = Db::memory()?;
    /// db.migrate("core", CORE_MIGRATIONS).await?;
    /// # db.query("create table items (name text not null, orders integer not null)").execute().await?;
    /// # db.query("insert into items (name, orders) values ('tea', 0)").execute().await?;
    /// let events = Events::new(db.clone(), Clock::system());
    /// let dispatcher = Dispatcher::builder(events.clone()).subscribe("shop.count_items", CountItems).build()?;
    /// let app = Router::new().route("/orders", post(order)).with_state((db.clone(), events));
    ///
    /// # let request = Request::post("/orders").body(Body::from("tea"))?;
    /// # assert_eq!(app.oneshot(request).await?.status(), StatusCode::ACCEPTED);
    /// let shutdown = ShutdownToken::new();
    /// let delivering = tokio::spawn({
    ///     let (dispatcher, shutdown) = (dispatcher.clone(), shutdown.clone());
    ///     async move { dispatcher.run(shutdown).await }
    /// });
    /// // … axum::serve(listener, app) …
    /// shutdown.cancel();
    /// delivering.await??;
    /// # dispatcher.run_until_idle().await?;
    /// # let (orders,): (i64,) = db.query("select orders from items").fetch_one().await?;
    /// # assert_eq!(orders, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(events: Events) -> DispatcherBuilder {
        DispatcherBuilder { events, handlers: Vec::new(), settings: EventSettings::default(), problems: Vec::new() }
    }
}

impl DispatcherBuilder {
    /// Subscribes to events. `name` is stored with each delivery: it must be unique, must not change, and must not be
    /// reused for another event type.
    pub fn subscribe<S: Subscriber>(mut self, name: &'static str, subscriber: S) -> Self {
        if self.handlers.iter().any(|known| known.name == name) {
            self.report(format!("subscriber `{name}` is added twice"), "give one of them another name");
        }
        self.handlers.push(SubscriberHandler::new(name, subscriber));
        self
    }

    /// Sets the settings, in place of their defaults.
    pub fn settings(mut self, settings: EventSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Builds the dispatcher, and makes its subscribers known to the events. It delivers nothing until
    /// [`Dispatcher::run`] is called.
    ///
    /// # Errors
    /// Fails with all problems: a subscriber that is added twice, or events that have a dispatcher.
    pub fn build(mut self) -> Result<Dispatcher, BuildError> {
        if self.events.has_subscriptions() {
            let fix = "add all subscribers to one dispatcher, or clone it";
            self.report("these events have a dispatcher already".into(), fix);
        }
        if !self.problems.is_empty() {
            return Err(BuildError(self.problems));
        }
        Ok(Dispatcher::new(self.events, self.handlers, self.settings))
    }

    fn report(&mut self, what: String, fix: &str) {
        self.problems.push(Problem { module: "events", what, fix: fix.into() });
    }
}

impl std::fmt::Debug for DispatcherBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.handlers.iter().map(|handler| handler.name).collect();
        f.debug_struct("DispatcherBuilder").field("subscribers", &names).finish_non_exhaustive()
    }
}
