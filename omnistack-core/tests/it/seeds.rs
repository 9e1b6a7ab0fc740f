//! Tests of seeds.

#![cfg(test)]

use omnistack_core::{
    db::Db,
    module::{Module, Registry},
    seed::Seeds,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

struct Planets;

impl Module for Planets {
    fn name(&self) -> &'static str {
        "planets"
    }

    fn register(&self, registry: &mut Registry) {
        registry
            .seed("planets", |ctx| {
                let db = ctx.get::<Db>()?;
                Ok(move || {
                    let db = db.clone();
                    async move {
                        let sql = "insert into planets (name) values ($1) on conflict do nothing";
                        db.query(sql).bind("Mars").execute().await?;
                        Ok(())
                    }
                })
            })
            .seed("asteroids", |_| Ok(|| async { Err("too many".into()) }));
    }
}

on_each_database! {
    async fn a_seed_can_run_again(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Planets)).await;
        app.db().query("create table planets (name text primary key)").execute().await.unwrap();
        let seeds: Seeds = app.app().context().get().unwrap();
        assert_eq!(seeds.names(), ["planets", "asteroids"]);
        for _ in 0..2 {
            seeds.run("planets").await.unwrap();
        }
        let (count,): (i64,) = app.db().query("select count(*) from planets").fetch_one().await.unwrap();
        assert_eq!(count, 1);
        let error = seeds.run("asteroids").await.unwrap_err().to_string();
        assert_eq!(error, "the seed `asteroids` failed: too many");
        let error = seeds.run("comets").await.unwrap_err().to_string();
        assert_eq!(error, "there is no seed `comets`; seeds: planets, asteroids");
    }
}
