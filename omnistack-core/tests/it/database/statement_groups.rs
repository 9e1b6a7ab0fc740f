//! Tests of groups of statements that run in one round trip.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use omnistack_core::db::{Dialect, ErrorKind, QueryEvent, QueryObserver, StatementGroup};
use omnistack_testkit::{TestDatabase, on_each_database};

/// An observer that counts the statements about sales.
#[derive(Clone, Default)]
struct Statements(Arc<AtomicUsize>);

impl QueryObserver for Statements {
    fn observe(&self, event: QueryEvent<'_>) {
        self.0.fetch_add(usize::from(event.sql.contains("sales")), Ordering::SeqCst);
    }
}

on_each_database! {
    async fn statements_of_a_group_take_effect_together(database: TestDatabase) {
        let db = database.open_db();
        for create in [
            "create table stock (item text primary key, pieces bigint not null)",
            "create table sales (item text not null, pieces bigint)",
            "insert into stock (item, pieces) values ('tea', 7), ('salt', 1)",
        ] {
            db.query(create).execute().await.unwrap();
        }
        let statements = Statements::default();
        db.observe(statements.clone());
        let group = |item: &'static str| {
            let mut group = StatementGroup::new(db.dialect());
            let take = group.add("update stock set pieces = pieces - $2 where item = $1 and 'sales' <> ''");
            take.push("tea");
            take.push(2_i64);
            let add = group.add(
                "insert into stock (item, pieces) values ($1, $2)
                on conflict (item) do update set pieces = stock.pieces + excluded.pieces",
            );
            add.push(item);
            add.push(4_i64);
            let sold = group.add("insert into sales (item, pieces) values ($1, $2), ($3, $4)".to_owned());
            sold.push("tea");
            sold.push(2_i64);
            sold.push(item);
            sold.push(None::<i64>);
            group
        };
        for commits in [false, true] {
            let mut tx = db.begin().await.unwrap();
            group("salt").execute(&mut tx).await.unwrap();
            if commits {
                tx.commit().await.unwrap();
            } else {
                tx.rollback().await.unwrap();
            }
        }
        let expected = if db.dialect() == Dialect::Postgres { 2 } else { 4 };
        assert_eq!(statements.0.load(Ordering::SeqCst), expected);
        let stock: Vec<(String, i64)> = db.query("select item, pieces from stock order by item").fetch_all().await.unwrap();
        assert_eq!(stock, [("salt".to_owned(), 5), ("tea".to_owned(), 5)]);
        let sold: Vec<(String, Option<i64>)> = db.query("select item, pieces from sales order by item").fetch_all().await.unwrap();
        assert_eq!(sold, [("salt".to_owned(), None), ("tea".to_owned(), Some(2))]);

        let mut tx = db.begin().await.unwrap();
        StatementGroup::new(tx.dialect()).execute(&mut tx).await.unwrap();
        let mut wrong = StatementGroup::new(tx.dialect());
        wrong.add("insert into sales (item) values ($1)");
        assert_eq!(wrong.execute(&mut tx).await.unwrap_err().kind(), ErrorKind::Other);
    }
}
