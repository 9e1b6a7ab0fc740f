//! Tests of settings that must fit together.

#![cfg(test)]

use omnistack_core::app::App;
use omnistack_realtime::Realtime;
use omnistack_testkit::TestDatabase;

#[tokio::test]
async fn the_time_for_a_pong_ends_before_the_next_ping() {
    for (ping, pong, is_refused) in [("10s", "10s", true), ("5s", "10s", true), ("11s", "10s", false)] {
        let database = TestDatabase::sqlite();
        let app = App::builder(database.config()).with(Realtime::from_env());
        let app = app.set("REALTIME_PING", ping).set("REALTIME_PONG_TIMEOUT", pong);
        // The app has no sign-in, so that the build fails in any case.
        let problems = app.build().map(drop).unwrap_err().to_string();
        let problem = "`REALTIME_PONG_TIMEOUT` is not shorter than `REALTIME_PING`";
        assert_eq!(problems.contains(problem), is_refused, "{ping} {pong}: {problems}");
    }
}
