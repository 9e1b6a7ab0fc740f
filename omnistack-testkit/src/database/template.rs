//! Templates: databases with the tables of an app, which are copied for each test.

use std::{fs, path::Path};

use omnistack_core::{
    crypto::Sha256,
    db::{Db, Migrations},
};

use super::TestDatabase;
use crate::random::random_uuid;

/// The migrations of an app, by module.
type AppMigrations = [(&'static str, Migrations)];

/// Copies the template of these migrations to a file, unless the file exists.
pub(super) async fn copy_sqlite(file: &Path, migrations: &AppMigrations) {
    if file.exists() {
        return;
    }
    let template = std::env::temp_dir().join("omnistack-templates").join(format!("{}.db", digest(migrations)));
    if !template.exists() && create_sqlite(&template, migrations).await.is_none() {
        return;
    }
    if fs::copy(&template, file).is_err() {
        _ = fs::remove_file(file);
    }
}

/// Creates a template. Returns `None` if that failed.
async fn create_sqlite(template: &Path, migrations: &AppMigrations) -> Option<()> {
    let folder = template.parent()?;
    fs::create_dir_all(folder).ok()?;
    let database = TestDatabase::sqlite();
    let db = database.open_db();
    // Renamed when it is whole, because other processes may look for it meanwhile. A copy of the file could lack what
    // SQLite has not yet moved into it from its log.
    let part = folder.join(random_uuid().to_string());
    let vacuum = db.query("vacuum into $1").bind(part.to_str()?.to_owned());
    let is_whole = migrate(&db, migrations).await && vacuum.execute().await.is_ok();
    db.close().await;
    if is_whole { fs::rename(part, template).ok() } else { None }
}

/// Runs migrations in an empty database. Returns `false` if one failed.
pub(super) async fn migrate(db: &Db, migrations: &AppMigrations) -> bool {
    for (module, migrations) in migrations {
        if db.migrate(module, migrations).await.is_err() {
            return false;
        }
    }
    true
}

/// Returns the beginning of the hash of migrations, in hexadecimal.
pub(super) fn digest(migrations: &AppMigrations) -> String {
    let texts = migrations.iter().flat_map(|(module, migrations)| {
        let texts = migrations.iter().flat_map(|each| [each.name, each.postgres, each.sqlite]);
        std::iter::once(*module).chain(texts)
    });
    let hash = Sha256::digest_list(texts.map(str::as_bytes)).to_string();
    hash.chars().filter(char::is_ascii_alphanumeric).take(16).map(|digit| digit.to_ascii_lowercase()).collect()
}
