//! Tests of the shop in each step.

#![cfg(test)]

mod accounts;
mod inside;
mod plain;

use existing::before::{self, Pool};
use omnistack_testkit::TestDatabase;

/// The hash of the password of each customer, by bcrypt, as Laravel stores it.
const HASH: &str = "$2y$04$abcdefghijklmnopqrstuuqREtd3VJD2QVZbuFskFSLk6eRIrQoOS";
const PASSWORD: &str = "correct horse battery";

/// Opens the shop's database, with the customers 1 and 2, whose sessions are `ada` and `eve`.
async fn shop(database: &TestDatabase) -> Pool {
    let pool = Pool::open(database.url()).unwrap();
    before::create_tables(&pool).await.unwrap();
    for (id, name) in [(1_i64, "ada"), (2, "eve")] {
        let customer = "insert into customers (id, email, password_hash) values ($1, $2, $3)";
        let session = "insert into sessions (token, customer_id) values ($1, $2)";
        let email = format!("{name}@example.com");
        match &pool {
            Pool::Postgres(pool) => {
                sqlx::query(customer).bind(id).bind(email).bind(HASH).execute(pool).await.unwrap();
                sqlx::query(session).bind(name).bind(id).execute(pool).await.unwrap();
            }
            Pool::Sqlite(pool) => {
                sqlx::query(customer).bind(id).bind(email).bind(HASH).execute(pool).await.unwrap();
                sqlx::query(session).bind(name).bind(id).execute(pool).await.unwrap();
            }
        }
    }
    pool
}
