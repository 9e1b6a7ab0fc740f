//! Queries about deliveries.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::EventStore;
use crate::{
    clock::Timestamp,
    db::{Arguments, Error},
    events::EventId,
    identity::TenantId,
};

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Not finished yet.
    Waiting,
    /// A dead letter: failed permanently. It holds back later deliveries of its key.
    Dead,
    /// Acknowledged.
    Done,
    /// Skipped by an operator or the app.
    Skipped,
}

impl DeliveryState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Dead, Self::Done, Self::Skipped];

    /// Returns the name of the state as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Dead => "dead",
            Self::Done => "done",
            Self::Skipped => "skipped",
        }
    }

    fn read(text: &str) -> Self {
        Self::ALL.into_iter().find(|state| state.as_str() == text).unwrap_or(Self::Dead)
    }
}

/// The current state of the delivery of one event to one subscriber.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeliveryInfo {
    /// Id of the event.
    pub id: EventId,
    /// Sequence number of the event. It increases within a key.
    pub sequence: i64,
    /// Name of the event.
    pub event: String,
    /// Key of the event.
    pub key: String,
    /// Payload of the event, as JSON.
    #[schema(value_type = Object)]
    pub payload: serde_json::Value,
    /// Tenant of the event.
    #[schema(required)]
    pub tenant: Option<TenantId>,
    /// Trace of the event, as a W3C `traceparent`.
    #[schema(required)]
    pub trace: Option<String>,
    /// When the event was published.
    pub published_at: Timestamp,
    /// Name of the subscriber.
    pub subscriber: String,
    /// State of the delivery.
    pub state: DeliveryState,
    /// Number of attempts that have started.
    pub attempt: u32,
    /// The error of the last failed attempt.
    #[schema(required)]
    pub error: Option<String>,
    /// When the delivery was finished or skipped.
    #[schema(required)]
    pub ended_at: Option<Timestamp>,
}

#[derive(crate::db::FromRow)]
struct DeliveryInfoRow {
    id: EventId,
    seq: i64,
    name: String,
    key: String,
    payload: String,
    tenant: Option<TenantId>,
    trace: Option<String>,
    published_at: i64,
    subscriber: String,
    state: String,
    attempt: i32,
    error: Option<String>,
    ended_at: Option<i64>,
}

impl From<DeliveryInfoRow> for DeliveryInfo {
    fn from(stored: DeliveryInfoRow) -> Self {
        Self {
            id: stored.id,
            sequence: stored.seq,
            event: stored.name,
            key: stored.key,
            payload: serde_json::from_str(&stored.payload).unwrap_or(serde_json::Value::String(stored.payload)),
            tenant: stored.tenant,
            trace: stored.trace,
            published_at: Timestamp::from_micros(stored.published_at),
            subscriber: stored.subscriber,
            state: DeliveryState::read(&stored.state),
            attempt: stored.attempt.unsigned_abs(),
            error: stored.error,
            ended_at: stored.ended_at.map(Timestamp::from_micros),
        }
    }
}

/// The state of a subscriber.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SubscriberInfo {
    /// Name of the subscriber.
    pub subscriber: String,
    /// Number of deliveries by state; each is counted up to 10,000.
    pub deliveries: BTreeMap<DeliveryState, u64>,
    /// When the oldest event with an unfinished delivery to the subscriber was published.
    #[schema(required)]
    pub behind_since: Option<Timestamp>,
}

/// A filter of deliveries. A delivery matches if it matches all fields that are set; an empty filter matches all
/// deliveries.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Id of the event.
    pub id: Option<EventId>,
    /// Name of the subscriber.
    pub subscriber: Option<String>,
    /// Key of the event.
    pub key: Option<String>,
    /// State of the delivery.
    pub state: Option<DeliveryState>,
}

impl DeliveryFilter {
    /// Creates a filter that matches all deliveries to a subscriber.
    pub fn subscriber(name: impl Into<String>) -> Self {
        Self { subscriber: Some(name.into()), ..Self::default() }
    }

    /// Limits the filter to an event.
    #[must_use]
    pub fn id(mut self, event: EventId) -> Self {
        self.id = Some(event);
        self
    }

    /// Limits the filter to a key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Limits the filter to a state.
    #[must_use]
    pub fn state(mut self, state: DeliveryState) -> Self {
        self.state = Some(state);
        self
    }

    /// Returns conditions on `the`, each preceded by `and`, and binds their values.
    pub(crate) fn sql(&self, args: &mut Arguments) -> String {
        let mut sql = String::new();
        if let Some(id) = self.id {
            _ = write!(sql, " and the.seq = (select seq from omni_events where id = ${})", args.push(id));
        }
        if let Some(subscriber) = &self.subscriber {
            _ = write!(sql, " and the.subscriber = ${}", args.push(subscriber.clone()));
        }
        if let Some(key) = &self.key {
            _ = write!(sql, " and the.key = ${}", args.push(key.clone()));
        }
        if let Some(state) = self.state {
            _ = write!(sql, " and the.state = '{}'", state.as_str());
        }
        sql
    }
}

/// Most deliveries that are counted for one subscriber and state.
const MAX_COUNTED_DELIVERIES: i64 = 10_000;

/// Reads one entry of an index for each subscriber, and a limited count for each of its states.
const COUNTS: &str = "with recursive subscribers (subscriber) as (
    select min(subscriber) from omni_event_deliveries
    union all
    select (select min(the.subscriber) from omni_event_deliveries as the where the.subscriber > subscribers.subscriber)
    from subscribers where subscriber is not null),
states (state) as (values ('waiting'), ('dead'), ('done'), ('skipped'))
select subscriber, state, (select count(*) from (select 1 from omni_event_deliveries as the
        where the.subscriber = subscribers.subscriber and the.state = states.state limit $1) as counted),
    case when state in ('waiting', 'dead') then (select min(seq) from omni_event_deliveries as the
        where the.subscriber = subscribers.subscriber and the.state = states.state) end
from subscribers cross join states where subscriber is not null order by subscriber, state";

impl EventStore {
    /// Returns the newest deliveries that match, before a sequence and subscriber.
    pub(crate) async fn list(
        &self,
        filter: &DeliveryFilter,
        before: Option<(i64, &str)>,
        limit: u32,
    ) -> Result<Vec<DeliveryInfo>, Error> {
        let mut args = Arguments::new(self.db.dialect());
        let condition = filter.sql(&mut args);
        let (seq, subscriber) = before.unwrap_or((i64::MAX, ""));
        let (seq, subscriber) = (args.push(seq), args.push(subscriber.to_owned()));
        let limit = args.push(i64::from(limit));
        let newest = |condition: &str| {
            format!(
                "select * from omni_event_deliveries as the where the.seq <= ${seq} and (the.seq, the.subscriber) < (${seq}, ${subscriber})\
                 {condition} order by the.seq desc, the.subscriber desc limit ${limit}"
            )
        };
        let newest = if filter.subscriber.is_none() || filter.state.is_some() {
            newest(&condition)
        } else {
            // Reads the newest deliveries of each state from an index, and sorts them.
            let states = DeliveryState::ALL.map(DeliveryState::as_str).map(|state| {
                format!("select * from ({}) as {state}", newest(&format!("{condition} and the.state = '{state}'")))
            });
            states.join(" union all ")
        };
        let sql = format!(
            "select id, the.seq, name, the.key, payload, tenant, trace, published_at, subscriber, state, attempt, error, ended_at
            from ({newest}) as the join omni_events on omni_events.seq = the.seq
            order by the.seq desc, subscriber desc limit ${limit}"
        );
        let stored: Vec<DeliveryInfoRow> = self.db.query(sqlx::AssertSqlSafe(sql)).args(args).fetch_all().await?;
        Ok(stored.into_iter().map(DeliveryInfo::from).collect())
    }

    /// Returns all subscribers that have deliveries, counted by state.
    pub(crate) async fn subscribers(&self) -> Result<Vec<SubscriberInfo>, Error> {
        let counts = self.db.query(COUNTS).bind(MAX_COUNTED_DELIVERIES);
        let counts: Vec<(String, String, i64, Option<i64>)> = counts.fetch_all().await?;
        let counts = counts.into_iter().filter(|(_, _, count, _)| *count > 0);
        let mut all: Vec<SubscriberInfo> = Vec::new();
        for (subscriber, state, count, oldest) in counts {
            if all.last().is_none_or(|last| last.subscriber != subscriber) {
                all.push(SubscriberInfo { subscriber, deliveries: BTreeMap::new(), behind_since: None });
            }
            let Some(last) = all.last_mut() else { continue };
            last.deliveries.insert(DeliveryState::read(&state), count.unsigned_abs());
            if let Some(oldest) = oldest {
                let published = self.db.query("select published_at from omni_events where seq = $1").bind(oldest);
                let published: Option<(i64,)> = published.fetch_optional().await?;
                let published = published.map(|(at,)| Timestamp::from_micros(at));
                last.behind_since = [last.behind_since, published].into_iter().flatten().min();
            }
        }
        Ok(all)
    }
}
