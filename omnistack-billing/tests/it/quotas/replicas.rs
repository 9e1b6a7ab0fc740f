//! Tests of several processes on one database: together they allow exactly the limit.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use futures_util::future::join_all;
use omnistack_testkit::on_each_database;

use super::*;

const TOKENS: &str = meters::AI_TOKENS;
/// Tasks of each process.
const TASKS: usize = 16;

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    /// Returns a number from 0 to `below`, without it.
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn amount(&mut self, most: u64) -> i64 {
        i64::try_from(self.next(most)).unwrap() + 1
    }
}

/// Runs work while another task looks at the limit all the time.
async fn watched<T>(processes: &[Process], tenant: TenantId, work: impl Future<Output = T>) -> T {
    tokio::select! {
        result = work => result,
        never = watch(processes, tenant) => match never {},
    }
}

/// Asserts that no more than the limit is used and reserved, while it stores what is counted.
async fn watch(processes: &[Process], tenant: TenantId) -> Infallible {
    loop {
        for process in processes {
            let status = process.status(tenant, TOKENS).await;
            assert!(status.used.0 + status.reserved.0 <= Decimal::from(TOKENS_OF_FREE), "{status:?}");
            process.flush().await;
            process.maintain().await;
        }
        tokio::task::yield_now().await;
    }
}

/// Lets every task of every process consume until it is refused. Returns the total.
async fn consume_everywhere(processes: &[Process], tenant: TenantId, most: u64) -> i64 {
    let tasks = processes.iter().cycle().take(processes.len() * TASKS).enumerate().map(|(index, process)| {
        let process = process.clone();
        tokio::spawn(async move {
            let mut numbers = Numbers(u64::try_from(index).unwrap());
            let mut total = 0;
            loop {
                let amount = numbers.amount(most);
                if !process.consume(tenant, TOKENS, amount).await {
                    return total;
                }
                total += amount;
            }
        })
    });
    join_all(tasks).await.into_iter().map(Result::unwrap).sum()
}

/// Consumes what is left, including what processes that do not need it give back. Returns the total.
async fn consume_rest(app: &TestApp, processes: &[Process], tenant: TenantId) -> i64 {
    let mut total = 0;
    loop {
        app.clock().advance(Duration::from_secs(1));
        for process in processes {
            process.maintain().await;
        }
        match consume_everywhere(processes, tenant, 1).await {
            0 => return total,
            more => total += more,
        }
    }
}

/// Asserts that exactly the limit is used, and that nothing is reserved.
async fn expect_full(app: &TestApp, processes: &[Process], tenant: TenantId) {
    for process in processes {
        process.flush().await;
    }
    for process in processes {
        expect_use(process, tenant, TOKENS, "1000", "0").await;
    }
    let windows = stored_windows(app, tenant).await;
    assert_eq!((windows.len(), windows[0].reservations), (1, 0), "{windows:?}");
}

on_each_database! {
    async fn two_processes_allow_exactly_the_limit(database: TestDatabase) {
        let app = start(database).await;
        let second = second_app(&app).await;
        let processes = [Process::of(app.app()), Process::of(&second)];
        // Amounts of one, and amounts that do not divide the limit.
        for most in [1, 9] {
            let tenant = new_tenant(&app);
            let mut total = watched(&processes, tenant, consume_everywhere(&processes, tenant, most)).await;
            assert!(total <= TOKENS_OF_FREE, "{total}");
            total += consume_rest(&app, &processes, tenant).await;
            assert_eq!(total, TOKENS_OF_FREE);
            expect_full(&app, &processes, tenant).await;
        }
    }

    async fn reservations_and_allowances_share_the_limit(database: TestDatabase) {
        let app = start(database).await;
        let second = second_app(&app).await;
        let processes = [Process::of(app.app()), Process::of(&second)];
        let tenant = new_tenant(&app);
        let counted = Arc::new(AtomicI64::new(0));
        let tasks = (0..2 * TASKS).map(|index| {
            let (db, counted) = (app.db().clone(), Arc::clone(&counted));
            let process = processes[index % 2].clone();
            tokio::spawn(async move {
                let mut numbers = Numbers(u64::try_from(index).unwrap());
                for _ in 0..20 {
                    let amount = numbers.amount(12);
                    match numbers.next(4) {
                        0 => {
                            if process.consume(tenant, TOKENS, amount).await {
                                counted.fetch_add(amount, Ordering::SeqCst);
                            }
                            continue;
                        }
                        1 => {
                            // Dropped, and released in the background.
                            _ = process.quotas.reserve(tenant, TOKENS, amount).await;
                            continue;
                        }
                        _ => {}
                    }
                    let Ok(reservation) = process.quotas.reserve(tenant, TOKENS, amount).await else { continue };
                    let used = numbers.amount(u64::try_from(amount).unwrap());
                    let mut tx = db.tenant(tenant).begin().await.unwrap();
                    let event = process.event(tenant, TOKENS, used);
                    reservation.settle_in(&mut tx, event).await.unwrap();
                    // Rolled back, and released in the background.
                    if numbers.next(5) > 0 {
                        tx.commit().await.unwrap();
                        counted.fetch_add(used, Ordering::SeqCst);
                    }
                }
            })
        });
        let tasks = join_all(tasks);
        watched(&processes, tenant, tasks).await.into_iter().for_each(|task| task.unwrap());

        app.clock().advance(Duration::from_secs(1));
        for process in &processes {
            process.maintain().await;
            process.flush().await;
        }
        wait_for_release(&app, tenant).await;
        let counted = counted.load(Ordering::SeqCst);
        expect_use(&processes[0], tenant, TOKENS, &counted.to_string(), "0").await;
        assert!(counted <= TOKENS_OF_FREE, "{counted}");
        assert_eq!(consume_rest(&app, &processes, tenant).await, TOKENS_OF_FREE - counted);
        expect_full(&app, &processes, tenant).await;
    }
}
