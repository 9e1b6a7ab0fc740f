//! Tests of the ready-made subscribers.

use omnistack_core::{
    events::{EnqueueJob, ForwardToTopic},
    id::Id,
    jobs::{Job, JobContext, JobFilter},
    pubsub::PubSub,
    trace::{TraceContext, with_trace},
};
use omnistack_testkit::on_each_database;
use uuid::Uuid;

use super::*;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remind {
    text: String,
}

#[async_trait]
impl Job for Remind {
    const NAME: &'static str = "remind";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

struct Ready;

impl Module for Ready {
    fn name(&self) -> &'static str {
        "ready"
    }

    fn register(&self, registry: &mut Registry) {
        registry
            .job::<Remind>(|_| Ok(()))
            .subscribe("remind", |ctx| Ok(EnqueueJob::new(ctx.get()?, |noted: NoteEvent| Remind { text: noted.text })))
            .subscribe("forward", |ctx| Ok(ForwardToTopic::<NoteEvent>::new(ctx.get()?, "notes")));
    }
}

on_each_database! {
    async fn an_event_becomes_a_job_and_a_message(database: TestDatabase) {
        let app = start(database, |app| app.with(Ready)).await;
        let publisher: PubSub = app.app().context().get().unwrap();
        let mut notes = publisher.subscribe("notes").await;
        let tenant = Id::from_uuid(Uuid::new_v4());
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        let (events, noted) = (app.events(), NoteEvent::new("k", "hello"));
        let id = with_trace(TraceContext::new(TRACE), events.publish_in(&mut tx, &noted)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(app.run_events().await, 2);
        assert_eq!(app.unfinished_jobs::<Remind>().await, [Remind { text: "hello".into() }]);
        let job = app.jobs().list(&JobFilter::default(), None, 1).await.unwrap().remove(0);
        assert_eq!((job.tenant, job.trace.as_deref()), (Some(tenant), Some(TRACE)));
        let message: serde_json::Value = serde_json::from_slice(&notes.try_recv().unwrap()).unwrap();
        assert_eq!(message["id"], id.to_string());
        assert_eq!(message["event"], "noted");
        assert_eq!(message["data"]["text"], "hello");
        assert_eq!(message["published_at"], "2030-01-01T00:00:00Z");
    }
}
