//! Ready-made subscribers.

use std::{fmt, marker::PhantomData};

use async_trait::async_trait;
use serde::Serialize;

use super::{Delivery, Event, EventId, Subscriber};
use crate::{
    clock::Timestamp,
    jobs::{JobError, Jobs, NewJob},
    pubsub::PubSub,
};

/// A subscriber that enqueues a job for each event, exactly once: in the transaction that acknowledges the event.
/// The job gets the event's trace and, unless its draft has a tenant, the event's tenant.
///
/// ```
/// # use omnistack_core::{module::{Module, Registry}, events::{EnqueueJob, Event}, jobs::{Job, JobContext, JobError}};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct ProjectCreated { project: u64, owner: String }
/// # impl Event for ProjectCreated {
/// #     const NAME: &'static str = "project.created";
/// #     fn key(&self) -> String { self.project.to_string() }
/// # }
/// # #[derive(Serialize, Deserialize)]
/// # struct SendWelcome { to: String }
/// # #[async_trait::async_trait]
/// # impl Job for SendWelcome {
/// #     const NAME: &'static str = "send_welcome";
/// #     type State = ();
/// #     async fn run(self, _: &(), _: &JobContext) -> Result<(), JobError> { Ok(()) }
/// # }
/// # fn register(registry: &mut Registry) {
/// registry.subscribe("send-welcome", |ctx| {
///     Ok(EnqueueJob::new(ctx.get()?, |event: ProjectCreated| SendWelcome { to: event.owner }))
/// });
/// # }
/// ```
pub struct EnqueueJob<E, F> {
    jobs: Jobs,
    make: F,
    event: PhantomData<fn(E)>,
}

impl<E: Event, F, D: Into<NewJob>> EnqueueJob<E, F>
where
    F: Fn(E) -> D + Send + Sync + 'static,
{
    /// Creates a subscriber that enqueues the jobs (or [`NewJob`]s) that `make` returns.
    pub fn new(jobs: Jobs, make: F) -> Self {
        Self { jobs, make, event: PhantomData }
    }
}

#[async_trait]
impl<E: Event, F, D: Into<NewJob>> Subscriber for EnqueueJob<E, F>
where
    F: Fn(E) -> D + Send + Sync + 'static,
{
    type Event = E;

    async fn handle(&self, event: E, delivery: &mut Delivery) -> Result<(), JobError> {
        let draft = (self.make)(event).into().inherit(delivery.tenant());
        let enqueued = self.jobs.enqueue_in(delivery.tx().await?, draft).await;
        enqueued
            .map(drop)
            .map_err(|error| if error.is_retryable() { JobError::retry(error) } else { JobError::fatal(error) })
    }
}

impl<E, F> fmt::Debug for EnqueueJob<E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Enqueue")
    }
}

/// A subscriber that publishes each event to a topic of [`pubsub`](crate::pubsub), in order by key and at least
/// once, for the topic's current listeners. The message is JSON:
///
/// ```json
/// {"id": "…", "event": "project.created", "key": "7", "sequence": 12, "published_at": "…", "data": {"project": 7}}
/// ```
///
/// A message that is sent twice has the same `id`. `sequence` increases within a key.
///
/// ```
/// # use omnistack_core::{module::Registry, events::{Event, ForwardToTopic}};
/// # fn register<ProjectCreated: Event>(registry: &mut Registry) {
/// registry.subscribe("notify-browsers", |ctx| Ok(ForwardToTopic::<ProjectCreated>::new(ctx.get()?, "projects")));
/// # }
/// ```
pub struct ForwardToTopic<E> {
    publisher: PubSub,
    topic: String,
    event: PhantomData<fn(E)>,
}

impl<E: Event> ForwardToTopic<E> {
    /// Creates a subscriber that publishes to a topic.
    pub fn new(publisher: PubSub, topic: impl Into<String>) -> Self {
        Self { publisher, topic: topic.into(), event: PhantomData }
    }
}

#[async_trait]
impl<E: Event> Subscriber for ForwardToTopic<E> {
    type Event = E;

    async fn handle(&self, event: E, delivery: &mut Delivery) -> Result<(), JobError> {
        self.publisher.publish(&self.topic, topic_message(&event, delivery)?).await;
        Ok(())
    }
}

/// Returns the message about an event for a topic, as JSON.
pub(crate) fn topic_message<E: Event>(event: &E, delivery: &Delivery) -> Result<Vec<u8>, JobError> {
    #[derive(Serialize)]
    struct Message<'a, E> {
        id: EventId,
        event: &'static str,
        key: &'a str,
        sequence: i64,
        published_at: Timestamp,
        data: &'a E,
    }
    let message = Message {
        id: delivery.id(),
        event: E::NAME,
        key: delivery.key(),
        sequence: delivery.sequence(),
        published_at: delivery.published_at(),
        data: event,
    };
    serde_json::to_vec(&message).map_err(JobError::fatal)
}

impl<E> fmt::Debug for ForwardToTopic<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("topic", &self.topic).finish_non_exhaustive()
    }
}
