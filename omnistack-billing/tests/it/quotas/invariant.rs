//! A property test: whatever happens at the same time, what a window has reserved is the sum of its reservations.

use std::sync::{
    Mutex,
    atomic::{AtomicI64, Ordering},
};

use futures_util::future::join_all;
use omnistack_core::clock::Timestamp;
use omnistack_testkit::on_each_database;
use proptest::{
    collection::vec,
    prop_oneof,
    strategy::{Strategy, ValueTree as _},
    test_runner::TestRunner,
};

use super::{reservations::ReleaseReservations, *};

/// Number of sequences of operations on each database.
const CASES: usize = 12;

/// Something that an app does. `index` chooses one of the open reservations.
#[derive(Clone, Debug)]
enum Operation {
    Reserve {
        process: usize,
        amount: i64,
        seconds: u64,
    },
    Settle {
        index: usize,
        used: i64,
    },
    RollBack {
        index: usize,
    },
    Release {
        index: usize,
    },
    Drop {
        index: usize,
    },
    /// Its process crashes.
    Forget {
        index: usize,
    },
    Consume {
        process: usize,
        amount: i64,
    },
    Flush {
        process: usize,
    },
    Maintain {
        process: usize,
    },
    DeleteExpired,
}

fn operation() -> impl Strategy<Value = Operation> {
    let process = 0..2_usize;
    let index = 0..8_usize;
    prop_oneof![
        6 => (process.clone(), 1..40_i64, 1..90_u64)
            .prop_map(|(process, amount, seconds)| Operation::Reserve { process, amount, seconds }),
        3 => (index.clone(), 0..50_i64).prop_map(|(index, used)| Operation::Settle { index, used }),
        1 => index.clone().prop_map(|index| Operation::RollBack { index }),
        1 => index.clone().prop_map(|index| Operation::Release { index }),
        1 => index.clone().prop_map(|index| Operation::Drop { index }),
        1 => index.prop_map(|index| Operation::Forget { index }),
        6 => (process.clone(), 1..12_i64).prop_map(|(process, amount)| Operation::Consume { process, amount }),
        2 => process.clone().prop_map(|process| Operation::Flush { process }),
        2 => process.prop_map(|process| Operation::Maintain { process }),
        1 => proptest::strategy::Just(Operation::DeleteExpired),
    ]
}

/// Operations at the same time, and the seconds after them.
fn steps() -> impl Strategy<Value = Vec<(Vec<Operation>, u64)>> {
    vec((vec(operation(), 1..8), prop_oneof![3 => 0..2_u64, 1 => 0..100_u64]), 4..14)
}

struct OpenReservation {
    reservation: Reservation,
    amount: i64,
    expires_at: Timestamp,
}

struct Case<'a> {
    app: &'a TestApp,
    processes: &'a [Process; 2],
    tenant: TenantId,
    open: Mutex<Vec<OpenReservation>>,
    /// All that counts.
    used: AtomicI64,
    /// The units that were used without a reservation that holds them.
    excess: AtomicI64,
}

impl Case<'_> {
    fn now(&self) -> Timestamp {
        self.app.clock().clock().now()
    }

    fn take_open(&self, index: usize) -> Option<OpenReservation> {
        let mut open = self.open.lock().unwrap();
        let count = open.len();
        (count > 0).then(|| open.swap_remove(index % count))
    }

    async fn run(&self, operation: Operation) {
        match operation {
            Operation::Reserve { process, amount, seconds } => {
                let ttl = Duration::from_secs(seconds);
                let quotas = &self.processes[process].quotas;
                let reserved = quotas.reserve_for(self.tenant, DataEnvironment::Live, RUNS, amount, ttl).await;
                if let Ok(reservation) = reserved {
                    let expires_at = self.now() + ttl;
                    self.open.lock().unwrap().push(OpenReservation { reservation, amount, expires_at });
                }
            }
            Operation::Settle { index, used } => {
                let Some(OpenReservation { reservation, amount, expires_at }) = self.take_open(index) else { return };
                let held = if self.now() < expires_at { amount } else { 0 };
                self.used.fetch_add(used, Ordering::SeqCst);
                self.excess.fetch_add((used - held).max(0), Ordering::SeqCst);
                settle(self.app, reservation, self.processes[0].event(self.tenant, RUNS, used)).await;
            }
            Operation::RollBack { index } => {
                let Some(OpenReservation { reservation, .. }) = self.take_open(index) else { return };
                let mut tx = self.app.db().tenant(self.tenant).begin().await.unwrap();
                reservation.settle_in(&mut tx, self.processes[0].event(self.tenant, RUNS, 1)).await.unwrap();
                tx.rollback().await.unwrap();
            }
            Operation::Release { index } => {
                let Some(OpenReservation { reservation, .. }) = self.take_open(index) else { return };
                reservation.release().await.unwrap();
            }
            Operation::Drop { index } => drop(self.take_open(index)),
            Operation::Forget { index } => std::mem::forget(self.take_open(index)),
            Operation::Consume { process, amount } => {
                if self.processes[process].consume(self.tenant, RUNS, amount).await {
                    self.used.fetch_add(amount, Ordering::SeqCst);
                }
            }
            Operation::Flush { process } => self.processes[process].flush().await,
            Operation::Maintain { process } => self.processes[process].maintain().await,
            Operation::DeleteExpired => {
                self.app.jobs().enqueue(ReleaseReservations {}).await.unwrap();
                self.app.run_jobs().await;
            }
        }
    }

    /// Moves the clock. The ledger stores what is counted before the allowances that hold it can expire.
    async fn advance(&self, seconds: u64) {
        for process in self.processes {
            process.flush().await;
        }
        self.app.clock().advance(Duration::from_secs(seconds));
        for process in self.processes {
            process.maintain().await;
        }
    }

    async fn check(&self) {
        let excess = self.excess.load(Ordering::SeqCst);
        for window in stored_windows(self.app, self.tenant).await {
            assert_eq!(window.reserved, window.held, "{window:?}");
            assert!(window.reserved >= 0, "{window:?}");
            assert!(window.sum + window.reserved <= RUNS_OF_FREE + excess, "{window:?}, of which {excess} are excess");
        }
    }
}

on_each_database! {
    async fn what_is_reserved_is_the_sum_of_the_reservations(database: TestDatabase) {
        let app = start(database).await;
        let second = second_app(&app).await;
        let processes = [Process::of(app.app()), Process::of(&second)];
        let mut runner = TestRunner::deterministic();
        for _ in 0..CASES {
            let steps = steps().new_tree(&mut runner).unwrap().current();
            let (tenant, open) = (new_tenant(&app), Mutex::default());
            let (used, excess) = (AtomicI64::default(), AtomicI64::default());
            let case = Case { app: &app, processes: &processes, tenant, open, used, excess };
            for (operations, seconds) in steps {
                join_all(operations.into_iter().map(|operation| case.run(operation))).await;
                case.check().await;
                case.advance(seconds).await;
                case.check().await;
            }

            // In the end, nothing is reserved, whatever was dropped or forgotten.
            case.open.lock().unwrap().clear();
            case.advance(86_400).await;
            case.run(Operation::DeleteExpired).await;
            wait_for_release(&app, tenant).await;
            let windows = stored_windows(&app, tenant).await;
            assert!(windows.iter().all(|window| window.reservations == 0), "{windows:?}");
            assert_eq!(windows.iter().map(|window| window.sum).sum::<i64>(), case.used.load(Ordering::SeqCst));
        }
    }
}
