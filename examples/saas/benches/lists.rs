//! Measures list requests with 10,000, 100,000 and 1,000,000 rows on both databases: `cargo xtask bench lists`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints its results")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod lists {
    pub(crate) mod rows;
}

use std::time::{Duration, Instant};

use omnistack::observability::CountNumbers;
use omnistack_testkit::{TestApp, TestClient, TestDatabase};

const SCALES: [i64; 3] = [10_000, 100_000, 1_000_000];
const RUNS: usize = 15;

/// The list requests of a member of the tenant.
const PROJECTS: [(&str, &str); 11] = [
    ("the newest", ""),
    ("the newest, from the middle on by cursor", "CURSOR"),
    ("`sort=name`", "sort=name"),
    ("`deleted=only`", "deleted=only"),
    ("`page=1`", "page=1"),
    ("`page=500`", "page=500"),
    ("`q=` all rows", "q=project"),
    ("`q=` one row, the oldest", "q=needle"),
    ("`q=` no row", "q=nowhere"),
    ("`q=` all rows, `page=1`", "q=project&page=1"),
    ("`q=` no row, `page=1`", "q=nowhere&page=1"),
];

/// The requests of an operator. `LAST` is replaced by the number of the last page of 20 items.
const OPERATORS: [(&str, &str); 19] = [
    ("users, `page=1`", "users?page=1"),
    ("users, the last page", "users?page=LAST_OF_USERS"),
    ("users, `q=` one", "users?q=needle"),
    ("users, `q=` all", "users?q=user"),
    ("tenants, the last page", "tenants?page=LAST"),
    ("tenants, `q=` one", "tenants?q=needle"),
    ("audit, the newest", "audit-logs"),
    ("audit, `action=` one, the oldest", "audit-logs?action=needle."),
    ("audit, `action=` all", "audit-logs?action=project."),
    ("audit, `resource=` one", "audit-logs?resource=project:7"),
    ("jobs, the newest", "jobs"),
    ("jobs, `name=` one, the oldest", "jobs?name=needle"),
    ("jobs, `tenant=` none", "jobs?tenant=0191d9c0-0000-7000-8000-000000000001"),
    ("jobs, `queue=` none", "jobs?queue=nowhere"),
    ("queues with their counts", "jobs/queues"),
    ("dashboard, the numbers of the app", "dashboard/stats"),
    ("dashboard, growth of users in a year", "dashboard/users/growth?period=1y"),
    ("dashboard, jobs", "dashboard/jobs"),
    ("dashboard, webhooks", "dashboard/webhooks"),
];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("<!-- begin lists -->\n### Lists\n");
        println!(
            "Time of a request through the whole stack, with the database on the same cores, median of {RUNS} in \
             milliseconds, with 10,000, 100,000 \
             and 1,000,000 projects of a tenant, users, audit entries and jobs, and a tenth as many tenants. The target is \
             50 ms. The last row is no request: it is the job that counts the numbers of the dashboard once a minute.\n"
        );
        println!("| list | PostgreSQL 10,000 | 100,000 | 1,000,000 | SQLite 10,000 | 100,000 | 1,000,000 |");
        println!("|---|---:|---:|---:|---:|---:|---:|");
        let (postgres, sqlite) = (measure(TestDatabase::postgres()).await, measure(TestDatabase::sqlite()).await);
        let names = PROJECTS.map(|(name, _)| format!("projects, {name}")).into_iter();
        let names = names.chain(OPERATORS.map(|(name, _)| name.to_owned()));
        let names = names.chain(["counting the numbers of the dashboard".to_owned()]);
        for (row, name) in names.enumerate() {
            let cells = postgres.iter().chain(&sqlite).map(|times| format!(" {:.1} |", times[row].as_secs_f64() * 1000.0));
            println!("| {name} |{}", cells.collect::<String>());
        }
        println!("<!-- end lists -->");
    });
}

/// Returns the median time of each list request, for each number of rows.
async fn measure(database: TestDatabase) -> Vec<Vec<Duration>> {
    let app = TestApp::start(database, saas::app).await;
    let (member, operator) = (app.user(), app.operator());
    let tenant = member.identity().unwrap().tenant.unwrap();
    let (mut all, mut rows) = (Vec::new(), 0);
    for scale in SCALES {
        lists::rows::add(app.db(), tenant, rows + 1, scale).await;
        rows = scale;
        let middle = format!("/api/v1/app/projects?created_at_lt={}", moment(scale / 2));
        let middle = member.get(middle).await.expect(200).json()["next_cursor"].as_str().unwrap().to_owned();
        let mut times = Vec::new();
        for (_, query) in PROJECTS {
            let query = query.replace("CURSOR", &format!("cursor={middle}"));
            times.push(median(&member, &format!("/api/v1/app/projects?{query}")).await);
        }
        let before = Instant::now();
        app.jobs().enqueue(CountNumbers {}).await.unwrap();
        app.run_jobs().await;
        let counted = before.elapsed();
        for (_, path) in OPERATORS {
            let path = path.replace("LAST_OF_USERS", &(scale / 20).to_string());
            let path = path.replace("LAST", &(scale / 10 / 20).to_string());
            times.push(median(&operator, &format!("/api/v1/admin/{path}")).await);
        }
        times.push(counted);
        all.push(times);
    }
    all
}

fn moment(second: i64) -> String {
    omnistack::clock::Timestamp::from_micros((1_893_456_000 + second) * 1_000_000).to_string()
}

async fn median(client: &TestClient, path: &str) -> Duration {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let before = Instant::now();
        client.get(path).await.expect(200);
        times.push(before.elapsed());
    }
    times.sort_unstable();
    times[RUNS / 2]
}
