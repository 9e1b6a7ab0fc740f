//! Tests that a request's trace is propagated to its jobs.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::extract::State;
use http::HeaderMap;
use omnistack_core::{
    db::Db,
    http::{Error, Json},
    jobs::{Job, JobContext, JobError, Jobs, NewJob},
    module::{Api, Module, Mount, Registry},
    trace::{self, TraceContext},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa_axum::routes;

use super::run;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, Option<TraceContext>)>>>);

impl Seen {
    /// Removes and returns the names and traces of the jobs, sorted by name.
    fn take(&self) -> Vec<(String, Option<String>, Option<String>)> {
        let mut seen = std::mem::take(&mut *self.0.lock().unwrap());
        seen.sort_by(|(one, _), (other, _)| one.cmp(other));
        let text = |trace: Option<TraceContext>| {
            trace.map(|trace| (trace.traceparent().to_owned(), trace.tracestate().map(str::to_owned)))
        };
        seen.into_iter()
            .map(|(name, trace)| {
                let (parent, state) = text(trace).unzip();
                (name, parent, state.flatten())
            })
            .collect()
    }
}

/// A job that records its trace and enqueues further jobs.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Traced {
    name: String,
    children: u32,
}

#[async_trait]
impl Job for Traced {
    const NAME: &'static str = "traced";
    type State = (Seen, Jobs);

    async fn run(self, (seen, jobs): &Self::State, ctx: &JobContext) -> Result<(), JobError> {
        assert_eq!(ctx.trace(), TraceContext::current().as_ref());
        seen.0.lock().unwrap().push((self.name.clone(), ctx.trace().cloned()));
        if self.children > 0 {
            let child = Self { name: format!("{}, its child", self.name), children: self.children - 1 };
            jobs.enqueue(child).await?;
        }
        Ok(())
    }
}

fn traced(name: &str, children: u32) -> Traced {
    Traced { name: name.into(), children }
}

/// Enqueues jobs in every way.
#[utoipa::path(post, path = "/", operation_id = "enqueue_traced", responses((status = 200, body = bool)))]
async fn enqueue(State((db, jobs)): State<(Db, Jobs)>) -> Result<Json<bool>, Error> {
    jobs.enqueue(traced("alone", 2)).await?;
    let mut tx = db.begin().await?;
    jobs.enqueue_in(&mut tx, traced("in a transaction", 0)).await?;
    jobs.enqueue_batch_in(&mut tx, [traced("member", 0)], traced("then", 0)).await?;
    let named = TraceContext::new(OTHER).map(|trace| NewJob::new(traced("of another trace", 0)).trace(trace));
    jobs.enqueue_all_in(&mut tx, named).await?;
    tx.commit().await?;
    let spawned = |name: &'static str| {
        let jobs = jobs.clone();
        async move { jobs.enqueue(traced(name, 0)).await.map(drop) }
    };
    for task in [tokio::spawn(spawned("spawned")), tokio::spawn(trace::propagate(spawned("spawned with it")))] {
        task.await.map_err(Error::internal)??;
    }
    Ok(Json(true))
}

struct Tracing(Seen);

impl Module for Tracing {
    fn name(&self) -> &'static str {
        "tracing"
    }

    fn register(&self, registry: &mut Registry) {
        let seen = self.0.clone();
        registry
            .routes(Mount::public("/traced"), Api::new().routes(routes!(enqueue)), |ctx| Ok((ctx.get()?, ctx.get()?)))
            .job::<Traced>(move |ctx| Ok((seen, ctx.get()?)));
    }
}

on_each_database! {
    async fn a_requests_trace_is_that_of_the_jobs_it_leads_to(database: TestDatabase) {
        let seen = Seen::default();
        let app = TestApp::start(database, |app| app.with(Tracing(seen.clone()))).await;
        let send = || app.anonymous().post("/api/v1/public/traced", json!({})).header("traceparent", PARENT);
        // With an idempotency key, the handler runs on a separate task.
        for key in [None, Some("once")] {
            let request = send().header("tracestate", "vendor=1,tenant@other=two words");
            match key {
                None => request.await.expect(200),
                Some(key) => request.header("idempotency-key", key).await.expect(200),
            };
            run(&app).await;
            let expected = |name: &str, parent: Option<&str>| {
                let state = parent.filter(|parent| *parent == PARENT).map(|_| "vendor=1,tenant@other=two words");
                (name.to_owned(), parent.map(str::to_owned), state.map(str::to_owned))
            };
            assert_eq!(seen.take(), [
                expected("alone", Some(PARENT)),
                expected("alone, its child", Some(PARENT)),
                expected("alone, its child, its child", Some(PARENT)),
                expected("in a transaction", Some(PARENT)),
                expected("member", Some(PARENT)),
                expected("of another trace", Some(OTHER)),
                expected("spawned", None),
                expected("spawned with it", Some(PARENT)),
                expected("then", Some(PARENT)),
            ], "{key:?}");
        }
        // Traces of different requests differ, and a retry has the same trace.
        app.anonymous().post("/api/v1/public/traced", json!({})).await.expect(200);
        send().header("traceparent", "00-of-nothing").await.expect(200);
        run(&app).await;
        assert!(seen.take().iter().all(|(name, parent, state)| {
            state.is_none() && parent.as_deref() == (name == "of another trace").then_some(OTHER)
        }));
        let job = app.jobs().list(&omnistack_core::jobs::JobFilter::default(), None, 100).await.unwrap();
        assert!(job.iter().any(|job| job.trace.as_deref() == Some(PARENT)), "operators see it");
        app.db().query("update omni_jobs set trace = 'rubbish', state = 'ready'").execute().await.unwrap();
        run(&app).await;
        assert!(seen.take().iter().all(|(_, parent, _)| parent.is_none()), "what can't be read is no trace");
    }
}

fn headers(parents: &[&str], states: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for parent in parents {
        headers.append("traceparent", parent.parse().unwrap());
    }
    for state in states {
        headers.append("tracestate", state.parse().unwrap());
    }
    headers
}

#[test]
fn which_parents_are_valid() {
    let upper = PARENT.to_uppercase();
    let newer = PARENT.replacen("00", "cc", 1);
    let flags = format!("{}ff", &newer[..53]);
    let more = format!("{newer}-what-may-come");
    let glued = format!("{newer}.what");
    let long = format!("{PARENT}-more");
    for (given, expected) in [
        (PARENT, Some(PARENT)),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
            Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff"),
        ),
        (&newer, Some(PARENT)),
        (&flags, Some(PARENT)),
        (&more, Some(PARENT)),
        (&glued, None),
        (&long, None),
        (&upper, None),
        ("", None),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", None),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", None),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None),
        ("00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01", None),
        ("00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01", None),
        ("00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01", None),
    ] {
        let trace = TraceContext::new(given);
        assert_eq!(trace.as_ref().map(TraceContext::traceparent), expected, "{given}");
    }
    assert_eq!(TraceContext::from_headers(&headers(&[PARENT, OTHER], &[])), None, "which?");
    assert_eq!(TraceContext::from_headers(&headers(&[], &["vendor=1"])), None);
    let mut odd = headers(&[PARENT], &[]);
    odd.insert("tracestate", http::HeaderValue::from_bytes(b"vendor=\xff").unwrap());
    assert_eq!(TraceContext::from_headers(&odd), TraceContext::new(PARENT));
}

#[test]
fn which_states_are_valid() {
    let (key, value) = ("k".repeat(256), "v".repeat(256));
    let longest = format!("{key}={value}");
    let too_long = [format!("{key}k=v"), format!("k={value}v")];
    let many: Vec<_> = (0..33).map(|number| format!("k{number}=v")).collect();
    let (thirty_two, thirty_three) = (many[..32].join(","), many.join(","));
    let hundreds: Vec<_> = (0..6).map(|number| format!("k{number}={}", "v".repeat(97))).collect();
    let large = format!("large={},{}", "v".repeat(123), hundreds.join(","));
    for (given, expected) in [
        (&["vendor=1"][..], Some("vendor=1")),
        (&[" a=1\t, ,b=2", "c=3"], Some("a=1,b=2,c=3")),
        (&["1tenant@system=x, a_-*/0=x y"], Some("1tenant@system=x,a_-*/0=x y")),
        (&[&thirty_two], Some(thirty_two.as_str())),
        // With 513 bytes the header is valid but too long.
        (&[&longest], None),
        (&[&large], Some(&hundreds[..5].join(","))),
        (&[&thirty_three], None),
        (&[&too_long[0]], None),
        (&[&too_long[1]], None),
        (&[""], None),
        (&["novalue"], None),
        (&["empty="], None),
        (&["=1"], None),
        (&["Upper=1"], None),
        (&["1digit=1"], None),
        (&["a=1=2"], None),
        (&["a@1=2"], None),
        (&["a@b@c=2"], None),
        (&["a=1,a=2"], None),
        (&["good=1", "b ad=1"], None),
    ] {
        let trace = TraceContext::from_headers(&headers(&[PARENT], given)).unwrap();
        assert_eq!(trace.tracestate(), expected, "{given:?}");
        assert_eq!(trace.traceparent(), PARENT, "a bad state does not spoil the parent");
    }
}
