//! The versions of plans that were ever in use, stored in the database.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use omnistack_core::{
    BoxError,
    clock::Timestamp,
    db::{BulkInsert, Db},
};

use super::{catalogue::PlanCatalogue, definition::PlanDefinition};
use crate::period::BillingInterval;

static INSERT: BulkInsert<4> = BulkInsert::new(
    "insert into omni_plan_versions (key, version, definition, created_at) values",
    "on conflict (key, version) do nothing",
);

/// The versions of plans that were ever in use, in memory.
#[derive(Debug)]
pub(crate) struct PlanVersions {
    /// The definitions by key and version.
    stored: RwLock<BTreeMap<String, BTreeMap<u32, Arc<PlanDefinition>>>>,
    /// The versions that new customers get, by key.
    offered: BTreeMap<String, u32>,
}

/// Stores the versions of a catalogue that are not stored yet, and returns all stored ones. The texts of a version may
/// change, and what customers get and pay may not.
///
/// # Errors
/// Fails if a stored version has other terms than the catalogue, with a text that names each; if a stored version can't
/// be read. The errors of the database.
pub(crate) async fn store_versions(
    db: &Db,
    now: Timestamp,
    catalogue: &PlanCatalogue,
) -> Result<PlanVersions, BoxError> {
    let mut rows = Vec::new();
    for plan in catalogue.versions() {
        rows.push((plan.key.clone(), i32::try_from(plan.version)?, serde_json::to_string(plan)?));
    }
    // In a fixed order, so that processes that start at the same time don't wait for each other in a circle.
    rows.sort();
    let mut tx = db.begin().await?;
    INSERT
        .execute(&mut tx, &rows, |row, (key, version, definition)| {
            row.push(key.clone());
            row.push(*version);
            row.push(definition.clone());
            row.push(now);
        })
        .await?;
    let sql = "select key, version, definition from omni_plan_versions order by key, version";
    let known: Vec<(String, i32, String)> = tx.query(sql).fetch_all().await?;
    let mut stored: BTreeMap<String, BTreeMap<u32, Arc<PlanDefinition>>> = BTreeMap::new();
    let mut changed = Vec::new();
    for (key, version, definition) in known {
        let number = u32::try_from(version)?;
        let mut plan = read_definition(&key, number, &definition)?;
        let defined = catalogue.versions().iter().find(|defined| defined.key == key && defined.version == number);
        if let Some(defined) = defined.filter(|defined| **defined != plan) {
            if !defined.has_terms_of(&plan) {
                let what = format!("the plan `{key}` version {version} has changed since it was first used");
                changed.push(format!("{what}; raise its version"));
                continue;
            }
            let sql = "update omni_plan_versions set definition = $1 where key = $2 and version = $3";
            let definition = serde_json::to_string(defined)?;
            tx.query(sql).bind(definition).bind(key.clone()).bind(version).execute().await?;
            plan = defined.clone();
        }
        stored.entry(key).or_default().insert(number, Arc::new(plan));
    }
    if !changed.is_empty() {
        tx.rollback().await?;
        return Err(changed.join("; ").into());
    }
    tx.commit().await?;
    let offered = catalogue.plans().map(|plan| (plan.key.clone(), plan.version)).collect();
    Ok(PlanVersions { stored: RwLock::new(stored), offered })
}

impl PlanVersions {
    /// Returns a version of a plan from memory.
    pub(crate) fn get(&self, key: &str, version: u32) -> Option<Arc<PlanDefinition>> {
        self.stored.read().unwrap_or_else(PoisonError::into_inner).get(key)?.get(&version).cloned()
    }

    /// Returns a version of a plan, from the database if a newer release of the app has stored it since this process
    /// started. Returns `None` if there is no such version.
    ///
    /// # Errors
    /// Fails if the definition can't be read. The errors of the database.
    pub(crate) async fn find(&self, db: &Db, key: &str, version: u32) -> Result<Option<Arc<PlanDefinition>>, BoxError> {
        if let Some(known) = self.get(key, version) {
            return Ok(Some(known));
        }
        let Ok(number) = i32::try_from(version) else { return Ok(None) };
        let sql = "select definition from omni_plan_versions where key = $1 and version = $2";
        let row: Option<(String,)> = db.query(sql).bind(key.to_owned()).bind(number).fetch_optional().await?;
        let Some((definition,)) = row else { return Ok(None) };
        let plan = Arc::new(read_definition(key, version, &definition)?);
        let mut stored = self.stored.write().unwrap_or_else(PoisonError::into_inner);
        stored.entry(key.to_owned()).or_default().insert(version, plan.clone());
        Ok(Some(plan))
    }

    /// Returns the plan that is sold by a price of a provider, and the interval of the price. Of several versions with
    /// the price, it is the one that new customers get, or else the newest. Returns `None` if there is none.
    pub(crate) fn by_price(&self, provider: &str, price: &str) -> Option<(Arc<PlanDefinition>, BillingInterval)> {
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        let all = stored.values().flat_map(BTreeMap::values);
        let sold = all.filter_map(|plan| Some((plan.clone(), plan.interval_of_price(provider, price)?)));
        sold.max_by_key(|(plan, _)| (self.offered.get(&plan.key) == Some(&plan.version), plan.version))
    }

    /// Returns the version of a plan that new customers get: the newest that the app defines; of a plan that it no
    /// longer defines, the newest stored one. Returns `None` if there never was such a plan.
    pub(crate) fn newest(&self, key: &str) -> Option<Arc<PlanDefinition>> {
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        let versions = stored.get(key)?;
        let newest = match self.offered.get(key) {
            Some(version) => versions.get(version),
            None => versions.values().next_back(),
        };
        newest.cloned()
    }
}

fn read_definition(key: &str, version: u32, text: &str) -> Result<PlanDefinition, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("the stored plan `{key}` version {version} can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use omnistack_core::{
        migrations,
        module::{Module, Registry},
    };
    use omnistack_testkit::{TestApp, TestDatabase, on_each_database};

    use super::*;

    struct PlanTables;

    impl Module for PlanTables {
        fn name(&self) -> &'static str {
            "billing"
        }

        fn register(&self, registry: &mut Registry) {
            registry.migrations(migrations!["0001_plans"]);
        }
    }

    fn free() -> PlanDefinition {
        PlanDefinition::new("free", "Free")
    }

    fn pro() -> PlanDefinition {
        PlanDefinition::new("pro", "Pro").feature("sso").limit("projects", 10)
    }

    async fn store<const N: usize>(app: &TestApp, plans: [PlanDefinition; N]) -> Result<PlanVersions, String> {
        let catalogue = PlanCatalogue::new(plans).default_plan("free");
        let now = app.clock().clock().now();
        store_versions(app.db(), now, &catalogue).await.map_err(|error| error.to_string())
    }

    on_each_database! {
        async fn customers_keep_versions_that_the_code_no_longer_has(database: TestDatabase) {
            let app = TestApp::start(database, |app| app.with(PlanTables)).await;
            let first = store(&app, [pro(), free()]).await.unwrap();
            assert_eq!(*first.get("pro", 1).unwrap(), pro());
            assert!(first.get("pro", 2).is_none() && first.get("team", 1).is_none() && first.newest("team").is_none());

            let cheap = pro().version(2).limit("projects", 5);
            let second = store(&app, [free(), cheap.clone()]).await.unwrap();
            assert_eq!(*second.get("pro", 1).unwrap(), pro());
            assert_eq!(*second.newest("pro").unwrap(), cheap);

            // The first process has not stopped yet.
            assert_eq!(*first.newest("pro").unwrap(), pro());
            assert_eq!(*first.find(app.db(), "pro", 2).await.unwrap().unwrap(), cheap);
            assert_eq!(*first.get("pro", 2).unwrap(), cheap);
            assert_eq!(*first.newest("pro").unwrap(), pro());
            assert!(first.find(app.db(), "pro", 3).await.unwrap().is_none());
            assert!(first.find(app.db(), "pro", u32::MAX).await.unwrap().is_none());

            let third = store(&app, [free()]).await.unwrap();
            assert_eq!(*third.newest("pro").unwrap(), cheap);
            let back = store(&app, [free(), pro()]).await.unwrap();
            assert_eq!(*back.newest("pro").unwrap(), pro());
        }

        async fn terms_of_a_version_do_not_change(database: TestDatabase) {
            let app = TestApp::start(database, |app| app.with(PlanTables)).await;
            store(&app, [free(), pro()]).await.unwrap();
            let error = store(&app, [free(), pro().limit("projects", 11)]).await.unwrap_err();
            assert_eq!(error, "the plan `pro` version 1 has changed since it was first used; raise its version");
            let error = store(&app, [free().feature("sso"), pro().trial_days(7)]).await.unwrap_err();
            for plan in ["free", "pro"] {
                assert!(error.contains(&format!("the plan `{plan}` version 1 has changed")), "{error}");
            }
            // A start that has failed has changed nothing.
            let known = store(&app, [free()]).await.unwrap();
            assert_eq!(*known.get("pro", 1).unwrap(), pro());
            assert!(store(&app, [free(), pro().version(2).limit("projects", 11)]).await.is_ok());
        }

        async fn texts_of_a_version_change(database: TestDatabase) {
            let app = TestApp::start(database, |app| app.with(PlanTables)).await;
            store(&app, [free(), pro()]).await.unwrap();
            let renamed = PlanDefinition { name: "Professional".into(), ..pro() };
            let renamed = renamed.describe("For teams.").highlight("Ten projects").unlisted();
            let known = store(&app, [free(), renamed.clone()]).await.unwrap();
            assert_eq!(*known.get("pro", 1).unwrap(), renamed);
            let known = store(&app, [free()]).await.unwrap();
            assert_eq!(*known.get("pro", 1).unwrap(), renamed);
        }

        async fn processes_start_at_the_same_time(database: TestDatabase) {
            let app = TestApp::start(database, |app| app.with(PlanTables)).await;
            let (first, second) = tokio::join!(store(&app, [free(), pro()]), store(&app, [pro(), free()]));
            let (first, second) = (first.unwrap(), second.unwrap());
            assert_eq!(first.newest("pro"), second.newest("pro"));
            assert_eq!(first.newest("pro").as_deref(), Some(&pro()));
        }
    }
}
