//! Templates: databases with the tables of an app, which are copied for each test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use omnistack_core::{crypto::Sha256, db::Migrations};
use sqlx::{ConnectOptions as _, Connection as _, postgres::PgConnectOptions};
use uuid::Uuid;

use super::{TestDatabase, execute_on_server};

/// The migrations of an app, by module.
type AppMigrations = [(&'static str, Migrations)];

/// Error code of PostgreSQL for a database that does not exist.
const NO_SUCH_DATABASE: &str = "3D000";
/// First version of PostgreSQL that can copy the files of a template. Without, it logs each page.
const VERSION_WITH_FILE_COPY: i32 = 150_000;

/// Creates a database on a PostgreSQL server as a copy of the template of these migrations. Returns `false` if that
/// failed.
pub(super) async fn copy_postgres(server: &PgConnectOptions, name: &str, migrations: &AppMigrations) -> bool {
    let template = format!("omnistack_template_{}", digest(migrations));
    match create_from(server, name, &template).await {
        Ok(()) => true,
        Err(error) if code(&error).as_deref() == Some(NO_SUCH_DATABASE) => {
            let database = TestDatabase::postgres();
            if !migrate(&database, migrations).await {
                return false;
            }
            let Some(migrated) = database.leave() else { return false };
            // Another process may have created the template meanwhile.
            let rename = format!("alter database {migrated} rename to {template}");
            if execute_on_server(server, rename).await.is_err() {
                _ = execute_on_server(server, format!("drop database {migrated}")).await;
            }
            create_from(server, name, &template).await.is_ok()
        }
        Err(_) => false,
    }
}

async fn create_from(server: &PgConnectOptions, name: &str, template: &str) -> sqlx::Result<()> {
    let mut connection = server.connect().await?;
    let version = "select current_setting('server_version_num')::integer";
    let version: i32 = sqlx::query_scalar(version).fetch_one(&mut connection).await?;
    connection.close().await?;
    let strategy = if version >= VERSION_WITH_FILE_COPY { " strategy file_copy" } else { "" };
    execute_on_server(server, format!("create database {name} template {template}{strategy}")).await
}

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

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
    if !migrate(&database, migrations).await {
        return None;
    }
    // Renamed when it is whole, because other processes may look for it meanwhile.
    let part = folder.join(Uuid::new_v4().to_string());
    fs::copy(PathBuf::from(database.url().strip_prefix("sqlite:")?), &part).ok()?;
    fs::rename(part, template).ok()
}

/// Runs migrations in an empty database. Returns `false` if one failed.
async fn migrate(database: &TestDatabase, migrations: &AppMigrations) -> bool {
    let db = database.open_db();
    let mut succeeded = true;
    for (module, migrations) in migrations {
        succeeded = succeeded && db.migrate(module, migrations).await.is_ok();
    }
    db.close().await;
    succeeded
}

/// Returns the beginning of the hash of migrations, in hexadecimal.
fn digest(migrations: &AppMigrations) -> String {
    let texts = migrations.iter().flat_map(|(module, migrations)| {
        let texts = migrations.iter().flat_map(|each| [each.name, each.postgres, each.sqlite]);
        std::iter::once(*module).chain(texts)
    });
    let hash = Sha256::digest_list(texts.map(str::as_bytes)).to_string();
    hash.chars().filter(char::is_ascii_alphanumeric).take(16).map(|digit| digit.to_ascii_lowercase()).collect()
}
