//! Tests of cron schedules, daylight saving time and clock changes.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use omnistack_core::{
    app::App,
    clock::{MockClock, Timestamp},
    jobs::{Cron, Job, JobContext, JobError, JobFilter, Jobs, MissedTickBehavior, NewJob},
    module::{Module, Registry},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::replicas::{end, soon, work};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Tick(String);

#[async_trait]
impl Job for Tick {
    const NAME: &'static str = "tick";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

/// A job that records its run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Noted;

#[async_trait]
impl Job for Noted {
    const NAME: &'static str = "noted";
    type State = Arc<Notify>;

    async fn run(self, noted: &Self::State, _: &JobContext) -> Result<(), JobError> {
        noted.notify_one();
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Ticking {
    noted: Arc<Notify>,
    /// The cron expressions with their time zones and policies for missed ticks.
    crons: Vec<(&'static str, &'static str, MissedTickBehavior)>,
}

impl Module for Ticking {
    fn name(&self) -> &'static str {
        "ticking"
    }

    fn register(&self, registry: &mut Registry) {
        let noted = Arc::clone(&self.noted);
        registry.job::<Tick>(|_| Ok(())).job::<Noted>(move |_| Ok(noted));
        for (pattern, zone, missed) in &self.crons {
            registry.cron(Cron::new(*pattern, Tick((*pattern).into())).time_zone(*zone).missed_ticks(*missed));
        }
    }
}

/// An app with crons, its clock, and the means to inspect both.
struct Watch {
    app: App,
    clock: MockClock,
    noted: Arc<Notify>,
}

impl Watch {
    async fn start(database: &TestDatabase, at: &str, ticking: &Ticking) -> Self {
        let clock = MockClock::at(at.parse().unwrap());
        let builder =
            App::builder(database.config()).clock(clock.clock()).set("JOBS_POLL", "5ms").set("JOBS_KEEP_DONE", "30d");
        let app = builder.with(ticking.clone()).build().unwrap();
        app.migrate().await.unwrap();
        Self { app, clock, noted: Arc::clone(&ticking.noted) }
    }

    fn jobs(&self) -> Jobs {
        self.app.context().get().unwrap()
    }

    /// Waits until the worker has checked its crons since now. Each round looks for due jobs before it checks the
    /// crons, so the second due job is found after the check.
    async fn round(&self) {
        for _ in 0..2 {
            let due = self.clock.clock().now() + Duration::from_micros(1);
            self.jobs().enqueue(NewJob::new(Noted).run_at(due)).await.unwrap();
            self.clock.set(due);
            soon("the round", self.noted.notified()).await;
        }
    }

    /// Sets the clock and waits until the worker has checked its crons.
    async fn at(&self, moment: &str) {
        self.clock.set(moment.parse().unwrap());
        self.round().await;
    }

    /// Returns the times at which an expression ticked, as hours and minutes in UTC.
    async fn ticks(&self, pattern: &str) -> Vec<String> {
        let filter = JobFilter { name: Some(Tick::NAME.into()), ..JobFilter::default() };
        let jobs = self.jobs().list(&filter, None, 1000).await.unwrap();
        let of_pattern = jobs.iter().rev().filter(|job| job.payload == pattern);
        of_pattern.map(|job| job.created_at.to_string()[11..16].to_owned()).collect()
    }
}

on_each_database! {
    async fn each_tick_comes_once_when_clocks_are_changed(database: TestDatabase) {
        const BERLIN: &str = "Europe/Berlin";
        let patterns = ["30 2 * * *", "0 3 * * *", "0 * * * *", "*/30 * * * *", "0 2 * * SUN", "15,45 2 * * *"];
        let ticking = Ticking {
            crons: patterns.map(|pattern| (pattern, BERLIN, MissedTickBehavior::Skip)).into(),
            ..Ticking::default()
        };
        // An expression with one minute of one hour is a time of day. All others count hours as they pass. At 01:00
        // UTC, clocks in Berlin go from 02:00 to 03:00 in spring, and from 03:00 to 02:00 in autumn.
        for (day, expected) in [
            ("2030-03-31", [
                "01:00",
                "01:00",
                "00:00 01:00 02:00",
                "00:00 00:30 01:00 01:30 02:00 02:30",
                "01:00",
                "",
            ]),
            ("2030-10-27", [
                "00:30",
                "02:00",
                "00:00 01:00 02:00",
                "00:00 00:30 01:00 01:30 02:00 02:30",
                "00:00",
                "00:15 00:45 01:15 01:45",
            ]),
        ] {
            let database = match database.dialect() {
                omnistack_core::db::Dialect::Sqlite => TestDatabase::sqlite(),
                omnistack_core::db::Dialect::Postgres => TestDatabase::postgres(),
            };
            let start: Timestamp = format!("{day}T00:00:00Z").parse().unwrap();
            let watch = Watch::start(&database, &(start - Duration::from_secs(60)).to_string(), &ticking).await;
            let worker = work(&watch.app);
            watch.round().await;
            for minutes in (0..180).step_by(5) {
                watch.at(&(start + Duration::from_secs(minutes * 60)).to_string()).await;
            }
            end(worker).await;
            for (pattern, expected) in patterns.into_iter().zip(expected) {
                assert_eq!(watch.ticks(pattern).await.join(" "), expected, "{pattern} on {day}");
            }
        }
    }

    async fn a_tick_is_not_repeated_when_the_clock_goes_back(database: TestDatabase) {
        const HOURLY: &str = "0 * * * *";
        let ticking = Ticking { crons: vec![(HOURLY, "UTC", MissedTickBehavior::Skip)], ..Ticking::default() };
        let watch = Watch::start(&database, "2030-01-01T11:59:00Z", &ticking).await;
        let worker = work(&watch.app);
        watch.round().await;
        for (moment, expected) in [
            ("2030-01-01T12:00:00Z", "12:00"),
            ("2030-01-01T12:59:59Z", "12:00"),
            // A day ahead: only the last of the missed ticks runs.
            ("2030-01-02T12:30:00Z", "12:00 12:30"),
            // An hour back, and through the same hour again.
            ("2030-01-02T11:30:00Z", "12:00 12:30"),
            ("2030-01-02T12:00:00Z", "12:00 12:30"),
            ("2030-01-02T12:59:00Z", "12:00 12:30"),
            ("2030-01-02T13:00:00Z", "12:00 12:30 13:00"),
        ] {
            watch.at(moment).await;
            assert_eq!(watch.ticks(HOURLY).await.join(" "), expected, "{moment}");
        }
        end(worker).await;
        // The same for a worker that starts while the clock is behind.
        watch.clock.set("2030-01-02T12:58:00Z".parse().unwrap());
        let worker = work(&watch.app);
        watch.at("2030-01-02T13:00:00Z").await;
        watch.at("2030-01-02T14:00:00Z").await;
        end(worker).await;
        assert_eq!(watch.ticks(HOURLY).await.join(" "), "12:00 12:30 13:00 14:00");
    }

    async fn ticks_missed_by_everybody_are_left_out_or_made_up_for_once(database: TestDatabase) {
        const SKIPPED: &str = "0 * * * *";
        const MADE_UP: &str = "0 */1 * * *";
        let crons = vec![(SKIPPED, "UTC", MissedTickBehavior::Skip), (MADE_UP, "UTC", MissedTickBehavior::CatchUp)];
        let ticking = Ticking { crons, ..Ticking::default() };
        let watch = Watch::start(&database, "2030-01-01T11:30:00Z", &ticking).await;
        for (from, to, skipped, made_up) in [
            // The cron is new, so nothing was missed.
            ("11:30", "11:40", "", ""),
            // The tick was missed before the first run.
            ("12:10", "12:20", "", "12:10"),
            // Nothing was missed.
            ("12:30", "13:00", "13:00", "12:10 13:00"),
            // Three ticks were missed, and the last one is made up for.
            ("16:05", "16:10", "13:00", "12:10 13:00 16:05"),
            ("16:20", "17:00", "13:00 17:00", "12:10 13:00 16:05 17:00"),
        ] {
            watch.clock.set(format!("2030-01-01T{from}:00Z").parse().unwrap());
            let worker = work(&watch.app);
            watch.round().await;
            watch.at(&format!("2030-01-01T{to}:00Z")).await;
            end(worker).await;
            assert_eq!(watch.ticks(SKIPPED).await.join(" "), skipped, "left out, {from} to {to}");
            assert_eq!(watch.ticks(MADE_UP).await.join(" "), made_up, "made up for, {from} to {to}");
        }
    }
}
