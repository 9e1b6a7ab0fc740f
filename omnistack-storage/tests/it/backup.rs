//! Tests of backups and restores, with rows, files and audit chains.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use omnistack_core::{
    app::{App, DevIdentity},
    audit::{AuditEntry, AuditLog, AuditStore},
    backup::{Backups, ErrorKind},
    config::Config,
    crypto::KeyRing,
    db::{Db, Dialect},
    identity::TenantId,
};
use omnistack_storage::{FileService, Files, Memory, Storage};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use uuid::Uuid;

use crate::files::{FILES, PNG, id, upload};

/// A directory for archives, which is removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("omnistack-archives-{}", Uuid::new_v4()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// An app that stores files in memory.
async fn source(database: TestDatabase, settings: &[(&str, &str)]) -> TestApp {
    let settings: Vec<_> = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    TestApp::start(database, move |app| {
        let app = app.with(Files::new(Memory::default()));
        settings.into_iter().fold(app, |app, (name, value)| app.set(name, value))
    })
    .await
}

/// An empty database of the same kind.
fn empty(dialect: Dialect) -> TestDatabase {
    match dialect {
        Dialect::Sqlite => TestDatabase::sqlite(),
        Dialect::Postgres => TestDatabase::postgres(),
    }
}

/// An app on a database that was not migrated, with an empty storage.
fn app_at(config: Config, storage: Memory) -> App {
    let config = config.with("DEV_TOKEN", "dev_moon");
    App::builder(config).with(DevIdentity::default()).with(Files::new(storage)).build().unwrap()
}

fn backups(app: &App) -> Backups {
    app.context().get().unwrap()
}

async fn record(db: &Db, log: &AuditLog, tenant: TenantId, number: u64) {
    let mut tx = db.tenant(tenant).begin().await.unwrap();
    let entry = AuditEntry::new("thing.done").for_tenant(tenant).resource("thing", number);
    log.record_in(&mut tx, entry).await.unwrap();
    tx.commit().await.unwrap();
}

on_each_database! {
    async fn a_backup_under_load_is_restored_into_an_empty_place(database: TestDatabase) {
        let dialect = database.dialect();
        let shop = source(database, &[]).await;
        let alice = shop.user();
        let tenant = alice.identity().unwrap().tenant.unwrap();
        let mut files = Vec::new();
        for number in 0..20 {
            let bytes = [PNG, number.to_string().as_bytes()].concat();
            let file = upload(&alice, &format!("photo-{number}.png"), "image/png", bytes.clone()).await.expect(201).json();
            files.push((id(&file), bytes));
        }
        let log: AuditLog = shop.app().context().get().unwrap();

        // Rows and objects are written while the backup is made.
        let (stops, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let load = tokio::spawn({
            let (db, log, stops, written) = (shop.db().clone(), log.clone(), stops.clone(), written.clone());
            let storage: Storage = shop.app().context().get().unwrap();
            async move {
                while !stops.load(Ordering::SeqCst) {
                    let number = written.fetch_add(1, Ordering::SeqCst);
                    record(&db, &log, tenant, number).await;
                    storage.put(&format!("load/{number}").parse().unwrap(), "load").await.unwrap();
                }
            }
        });
        while written.load(Ordering::SeqCst) < 20 {
            tokio::task::yield_now().await;
        }
        let acknowledged = written.load(Ordering::SeqCst) - 1;
        let folder = Folder::new();
        let archive = folder.file("shop.tar");
        let report = backups(shop.app()).create(&archive).await.unwrap();
        stops.store(true, Ordering::SeqCst);
        load.await.unwrap();
        assert!(report.skipped.is_empty() && report.key.is_none(), "{report:?}");
        assert!(report.objects >= files.len(), "{report:?}");
        assert!(Path::new(&archive).is_file() && !Path::new(&format!("{archive}.partial")).exists());

        let checked = backups(shop.app()).check(&archive).await.unwrap();
        assert_eq!((checked.rows, checked.objects), (report.rows, report.objects));
        assert!(checked.audit_entries >= acknowledged, "{checked:?}");

        let target = empty(dialect);
        let copies = Memory::default();
        let app = app_at(target.config(), copies.clone());
        let restored = backups(&app).restore(&archive).await.unwrap();
        assert_eq!((restored.rows, restored.objects), (report.rows, report.objects));
        assert!(app.migrate().await.unwrap().is_empty(), "the migrations are part of the backup");

        let store: AuditStore = app.context().get().unwrap();
        let chain = store.verify(tenant).await.unwrap();
        assert!(chain.entries >= acknowledged, "{chain:?}");
        let original: AuditStore = shop.app().context().get().unwrap();
        let same = original.get(tenant, chain.head.sequence).await.unwrap().unwrap();
        assert_eq!(same.hash, chain.head.hash);
        let service: FileService = app.context().get().unwrap();
        let caller = alice.identity().unwrap();
        for (id, bytes) in &files {
            let file = service.get_readable(caller, id.parse().unwrap()).await.unwrap();
            assert_eq!(service.open(caller, &file, None).await.unwrap().read_all(1024).await.unwrap(), bytes);
        }
        app.db().close().await;
    }

    async fn a_restore_needs_an_empty_database(database: TestDatabase) {
        let dialect = database.dialect();
        let shop = source(database, &[]).await;
        let folder = Folder::new();
        let archive = folder.file("shop.tar");
        backups(shop.app()).create(&archive).await.unwrap();
        let error = backups(shop.app()).restore(&archive).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("is not empty"), "{error}");

        // An app without the module that has the files can't restore them.
        let alice = shop.user();
        upload(&alice, "a.png", "image/png", PNG).await.expect(201);
        backups(shop.app()).create(&archive).await.unwrap();
        let target = empty(dialect);
        let app = App::builder(target.config()).build().unwrap();
        let error = backups(&app).restore(&archive).await.unwrap_err();
        assert!(error.to_string().contains("no module of this app takes it"), "{error}");
        app.db().close().await;
    }

    async fn tenant_databases_are_part_of_a_backup(database: TestDatabase) {
        let dialect = database.dialect();
        let shop = source(database.with_tenant_databases(), &[]).await;
        let log: AuditLog = shop.app().context().get().unwrap();
        let tenants: Vec<TenantId> = (0..2).map(|_| shop.user().identity().unwrap().tenant.unwrap()).collect();
        for tenant in &tenants {
            record(shop.db(), &log, *tenant, 1).await;
        }
        let folder = Folder::new();
        let archive = folder.file("shop.tar");
        let report = backups(shop.app()).create(&archive).await.unwrap();
        assert_eq!(report.databases, 3);
        assert_eq!(backups(shop.app()).check(&archive).await.unwrap().databases, 3);

        let target = empty(dialect).with_tenant_databases();
        let app = app_at(target.config(), Memory::default());
        backups(&app).restore(&archive).await.unwrap();
        let store: AuditStore = app.context().get().unwrap();
        for tenant in tenants {
            assert_eq!(store.verify(tenant).await.unwrap().entries, 1);
        }
        app.db().close().await;
    }
}

/// Returns the error of a check of an archive with these bytes.
async fn check_of(app: &App, path: &str, bytes: &[u8]) -> (ErrorKind, String) {
    fs::write(path, bytes).unwrap();
    let error = backups(app).check(path).await.unwrap_err();
    (error.kind(), error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_archive_is_refused_by_name() {
    let keys = KeyRing::new_key("2030");
    for settings in [Vec::new(), vec![("BACKUP_KEYS", keys.as_str())]] {
        let shop = source(TestDatabase::sqlite(), &settings).await;
        let alice = shop.user();
        upload(&alice, "a.png", "image/png", PNG).await.expect(201);
        let folder = Folder::new();
        let archive = folder.file("shop.tar");
        let report = backups(shop.app()).create(&archive).await.unwrap();
        assert_eq!(report.key.is_some(), !settings.is_empty());
        backups(shop.app()).check(&archive).await.unwrap();
        let whole = fs::read(&archive).unwrap();

        let damaged = folder.file("damaged.tar");
        let mut changed = whole.clone();
        changed[20_000] ^= 1;
        let short = whole.len() - 3_000;
        // Whatever is not sealed is refused where there are keys.
        let not_sealed = if settings.is_empty() { ErrorKind::Damaged } else { ErrorKind::Refused };
        for (bytes, expected, problem) in [
            (
                changed.as_slice(),
                ErrorKind::Damaged,
                if settings.is_empty() { "database.sqlite" } else { "damaged.tar" },
            ),
            (&whole[..whole.len() / 2], ErrorKind::Damaged, "damaged.tar"),
            (&whole[..short], ErrorKind::Damaged, "damaged.tar"),
            (b"".as_slice(), ErrorKind::Damaged, "no manifest"),
            (b"not an archive".as_slice(), not_sealed, "damaged.tar"),
        ] {
            let (kind, text) = check_of(shop.app(), &damaged, bytes).await;
            assert_eq!(kind, expected, "{text}");
            assert!(text.contains("damaged.tar") && text.contains(problem), "{text}");
        }
        // Nothing is restored from it.
        let target = TestDatabase::sqlite();
        let app = app_at(
            target.config().with("BACKUP_KEYS", settings.first().map_or("", |(_, keys)| keys)),
            Memory::default(),
        );
        fs::write(&damaged, &changed).unwrap();
        assert_eq!(backups(&app).restore(&damaged).await.unwrap_err().kind(), ErrorKind::Damaged);
        assert!(!Path::new(target.url().trim_start_matches("sqlite:")).exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_archive_needs_its_key() {
    let (old, new) = (KeyRing::new_key("2029"), KeyRing::new_key("2030"));
    let folder = Folder::new();
    let archive = folder.file("shop.tar");
    let shop = source(TestDatabase::sqlite(), &[("BACKUP_KEYS", old.as_str())]).await;
    backups(shop.app()).create(&archive).await.unwrap();
    let bytes = fs::read(&archive).unwrap();
    assert!(!bytes.windows(15).any(|part| part == b"database.sqlite"));

    let with = |keys: &str| app_at(TestDatabase::sqlite().config().with("BACKUP_KEYS", keys), Memory::default());
    let error = backups(&with("")).check(&archive).await.unwrap_err();
    assert!(error.to_string().contains("set BACKUP_KEYS"), "{error}");
    let error = backups(&with(&new)).check(&archive).await.unwrap_err();
    assert!(error.to_string().contains("the key `2029`"), "{error}");
    backups(&with(&format!("{new},{old}"))).check(&archive).await.unwrap();

    // An archive without a seal could be of anything that can write to its place.
    let open = folder.file("open.tar");
    let other = source(TestDatabase::sqlite(), &[]).await;
    backups(other.app()).create(&open).await.unwrap();
    let error = backups(&with(&old)).check(&open).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    backups(&with("")).check(&open).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archives_are_stored_in_the_own_storage_and_are_no_part_of_the_next() {
    let shop = source(TestDatabase::sqlite(), &[]).await;
    let alice = shop.user();
    upload(&alice, "a.png", "image/png", PNG).await.expect(201);
    let backups = backups(shop.app());
    let first = backups.create("storage:backups/").await.unwrap();
    assert!(first.archive.starts_with("storage:backups/") && first.archive.strip_suffix(".tar").is_some(), "{first:?}");
    assert_eq!(backups.check(&first.archive).await.unwrap().objects, 1);
    let second = backups.create("storage:backups/second.tar").await.unwrap();
    assert_eq!(second.objects, 1, "{second:?}");
    assert_eq!(backups.create("storage:elsewhere/a.tar").await.unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(backups.create("ftp://host/a.tar").await.unwrap_err().kind(), ErrorKind::Refused);
    assert!(alice.get(FILES).await.expect(200).json()["items"][0]["name"] == "a.png");
}
