//! Databases: copies of them for archives, and back.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_scratch;
#[cfg(feature = "postgres")]
mod postgres_tools;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::path::Path;

use secrecy::SecretString;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    BackupSettings, Error,
    manifest::{ChainRecord, DatabaseRecord, Inventory},
};
use crate::{
    audit::{self, AuditChain, AuditStore, ChainHead},
    clock::Clock,
    crypto::Sha256,
    db::{self, Db, DbSettings, Dialect, Sql, Tx},
    identity::TenantId,
};

/// The tables of a database with their schemas: those of the app and of other programs, but not those of the database
/// itself and of its extensions.
const TABLES: Sql = Sql {
    postgres: "select nspname::text, relname::text from pg_class join pg_namespace on pg_namespace.oid = relnamespace
         where relkind in ('r', 'p') and not relispartition and nspname <> 'information_schema'
           and not starts_with(nspname::text, 'pg_') and not exists (select from pg_depend
               where classid = 'pg_class'::regclass and objid = pg_class.oid and deptype = 'e')
         order by 1, 2",
    sqlite: "select '', name from sqlite_master where type = 'table' and substr(name, 1, 7) <> 'sqlite_'
         and sql not like 'create virtual table%' order by name",
};

const CHAIN_TABLE: &str = "omni_audit_chains";

/// A database to copy or to fill.
#[derive(Clone, Debug)]
pub(super) struct DatabasePlace {
    pub(super) settings: DbSettings,
    pub(super) url: SecretString,
}

impl DatabasePlace {
    pub(super) fn new(settings: &DbSettings, url: SecretString) -> Self {
        Self { settings: settings.clone(), url }
    }

    /// Opens the database with its own pools.
    fn open(&self, clock: &Clock) -> Result<Db, Error> {
        Ok(Db::open(&DbSettings { url: self.url.clone(), ..self.settings.clone() }, clock.clone())?)
    }
}

/// Returns the name of the kind of database in manifests.
pub(super) fn dialect_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "postgres",
        Dialect::Sqlite => "sqlite",
    }
}

/// Returns the extension of the entry of a database.
pub(super) fn extension(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "pgdump",
        Dialect::Sqlite => "sqlite",
    }
}

/// Returns the major version of the server, or `None` for SQLite.
pub(super) async fn server_major(db: &Db) -> Result<Option<u32>, Error> {
    if db.dialect() == Dialect::Sqlite {
        return Ok(None);
    }
    let sql = "select cast(current_setting('server_version_num') as integer) / 10000";
    let (major,): (i32,) = db.query(sql).fetch_one().await?;
    Ok(u32::try_from(major).ok())
}

/// Copies a database into a file while the app uses it, and returns what is in the copy. `db` is a handle to it.
pub(super) async fn copy(
    db: &Db,
    place: &DatabasePlace,
    into: &Path,
    settings: &BackupSettings,
    clock: &Clock,
) -> Result<Inventory, Error> {
    #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
    let _ = (settings, clock);
    match db.dialect() {
        #[cfg(feature = "postgres")]
        Dialect::Postgres => postgres::copy(db, &place.url, into, settings).await,
        #[cfg(feature = "sqlite")]
        Dialect::Sqlite => sqlite::copy(place, into, clock).await,
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        _ => Err(not_compiled_in()),
    }
}

/// Fails unless the place is an empty database, or a SQLite file that does not exist.
pub(super) async fn check_empty(dialect: Dialect, place: &DatabasePlace, clock: &Clock) -> Result<(), Error> {
    #[cfg(feature = "sqlite")]
    if dialect == Dialect::Sqlite && !sqlite::exists(place)? {
        return Ok(());
    }
    let _ = dialect;
    let db = place.open(clock)?;
    let tables: Result<Vec<(String, String)>, db::Error> = db.query(TABLES).fetch_all().await;
    db.close().await;
    match tables?.first() {
        None => Ok(()),
        Some((_, table)) => {
            let url = DbSettings { url: place.url.clone(), ..place.settings.clone() }.display_url();
            let text = format!(
                "the database {url} is not empty: it has the table `{table}`. Restore into an empty one: create it and set \
                 DATABASE_URL to it"
            );
            Err(Error::Refused(text))
        }
    }
}

/// Fills an empty database from the copy in a file.
pub(super) async fn fill(
    dialect: Dialect,
    place: &DatabasePlace,
    from: &Path,
    settings: &BackupSettings,
    clock: &Clock,
) -> Result<(), Error> {
    #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
    let _ = (settings, clock);
    match dialect {
        #[cfg(feature = "postgres")]
        Dialect::Postgres => {
            let db = place.open(clock)?;
            let major = server_major(&db).await;
            db.close().await;
            postgres::fill(&place.url, major?.unwrap_or_default(), from, settings).await
        }
        #[cfg(feature = "sqlite")]
        Dialect::Sqlite => sqlite::fill(place, from).await,
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        _ => Err(not_compiled_in()),
    }
}

/// An empty database for a check, beside the app's database.
#[derive(Debug)]
pub(super) struct ScratchDatabase {
    pub(super) place: DatabasePlace,
    /// `None` for SQLite, whose file is removed with its folder.
    #[cfg(feature = "postgres")]
    on_server: Option<postgres_scratch::PostgresScratch>,
}

impl ScratchDatabase {
    /// Creates the database on the server of `beside`, or on SQLite as a file in `folder`.
    pub(super) async fn create(dialect: Dialect, beside: &DatabasePlace, folder: &Path) -> Result<Self, Error> {
        #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
        let _ = folder;
        match dialect {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => {
                let scratch = postgres_scratch::PostgresScratch::create(&beside.url).await?;
                Ok(Self { place: DatabasePlace::new(&beside.settings, scratch.url()), on_server: Some(scratch) })
            }
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => {
                let file = folder.join(format!("{}.db", super::temporary::unique_name()));
                let url = format!("sqlite:{}", file.display());
                Ok(Self {
                    place: DatabasePlace::new(&beside.settings, url.into()),
                    #[cfg(feature = "postgres")]
                    on_server: None,
                })
            }
            #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
            _ => Err(not_compiled_in()),
        }
    }

    /// Removes the database.
    pub(super) async fn remove(self) -> Result<(), Error> {
        #[cfg(feature = "postgres")]
        if let Some(scratch) = self.on_server {
            return scratch.remove().await;
        }
        Ok(())
    }
}

/// Verifies that a database that was restored from `archive` has all rows, and that its audit chains are intact and have
/// the last entries of the backup. Returns the number of verified audit entries.
pub(super) async fn verify(
    place: &DatabasePlace,
    expected: &DatabaseRecord,
    archive: &str,
    clock: &Clock,
) -> Result<u64, Error> {
    let db = place.open(clock)?;
    let verified = verify_in(&db, expected, archive, clock).await;
    db.close().await;
    verified
}

async fn verify_in(db: &Db, expected: &DatabaseRecord, archive: &str, clock: &Clock) -> Result<u64, Error> {
    let differs = |problem: String| Error::Differs { archive: archive.into(), problem };
    // Rows of all tenants are counted.
    let mut tx = db.all_tenants().begin_read().await?;
    let found = inventory(&mut tx).await?;
    tx.commit().await?;
    let Inventory { tables, audit_chains } = &expected.inventory;
    for (table, rows) in tables {
        let found = found.tables.get(table).copied().unwrap_or_default();
        if found != *rows {
            return Err(differs(format!("the table `{table}` has {found} rows, and had {rows}")));
        }
    }
    if let Some(extra) = found.tables.keys().find(|table| !tables.contains_key(*table)) {
        return Err(differs(format!("the table `{extra}` was not there")));
    }
    let store = AuditStore::new(db.clone(), clock.clone());
    let mut entries = 0;
    for chain in audit_chains {
        let found = AuditChain::from(chain.tenant);
        let report = match store.verify(found).await {
            Ok(report) => report,
            Err(audit::Error::Broken(broken)) => return Err(differs(broken.to_string())),
            Err(error) => return Err(error.into()),
        };
        if report.head != chain.head {
            return Err(differs(format!("the audit chain of the {found} ends with another entry")));
        }
        entries += report.entries;
    }
    Ok(entries)
}

/// Counts the rows of all tables and reads the heads of the audit chains.
async fn inventory(tx: &mut Tx) -> Result<Inventory, db::Error> {
    let mut found = Inventory::default();
    let tables: Vec<(String, String)> = tx.query(TABLES).fetch_all().await?;
    for (schema, table) in tables {
        let name = match schema.as_str() {
            "" => quoted(&table),
            schema => format!("{}.{}", quoted(schema), quoted(&table)),
        };
        // The name is quoted, and comes from the database's own catalog.
        let (rows,): (i64,) = tx.query(AssertSqlSafe(format!("select count(*) from {name}"))).fetch_one().await?;
        if table == CHAIN_TABLE {
            found.audit_chains.extend(chains(tx, &name).await?);
        }
        let key = if matches!(schema.as_str(), "" | "public") { table } else { format!("{schema}.{table}") };
        found.tables.insert(key, rows.unsigned_abs());
    }
    Ok(found)
}

async fn chains(tx: &mut Tx, table: &str) -> Result<Vec<ChainRecord>, db::Error> {
    let sql = AssertSqlSafe(format!("select tenant_id, sequence, hash from {table} order by tenant_id"));
    let rows: Vec<(Uuid, i64, Vec<u8>)> = tx.query(sql).fetch_all().await?;
    let record = |(id, sequence, hash): (Uuid, i64, Vec<u8>)| {
        let tenant = (!id.is_nil()).then(|| TenantId::from_uuid(id));
        // A hash of another length is not intact; no chain verifies against zeros then.
        let hash = Sha256::from_bytes(&hash).unwrap_or(Sha256::ZERO);
        ChainRecord { tenant, head: ChainHead { sequence, hash } }
    };
    Ok(rows.into_iter().map(record).collect())
}

#[cfg(not(all(feature = "postgres", feature = "sqlite")))]
fn not_compiled_in() -> Error {
    Error::refused(
        "this program is compiled without the database: add the feature `postgres` or `sqlite` to `omnistack` in Cargo.toml",
    )
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
