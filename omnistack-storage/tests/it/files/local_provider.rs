//! Tests of `Local` with symbolic links and pipes in its directory, and after a process died.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use omnistack_storage::{Files, Local, ObjectKey};
use omnistack_testkit::{TestClient, TestDatabase, TestResponse, on_each_database};

use super::{FILES, FilesApp, id, upload, with};
use crate::conformance::TempDirectory;

const MAX_TEST_WAIT: Duration = Duration::from_secs(20);

async fn local(database: TestDatabase, folder: &Path) -> FilesApp {
    with(database, Files::new(Local::new(folder)), &[], None).await
}

async fn read(client: &TestClient, file: &serde_json::Value) -> TestResponse {
    let reading = async { client.get(format!("{FILES}/{}/content", id(file))).await };
    tokio::time::timeout(MAX_TEST_WAIT, reading).await.unwrap()
}

fn place(folder: &Path, base: &str, file: &serde_json::Value) -> PathBuf {
    folder.join(base).join("files").join(file["tenant_id"].as_str().unwrap()).join(id(file))
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

on_each_database! {
    async fn links_and_pipes_are_not_followed(database: TestDatabase) {
        let (folder, outside) = (TempDirectory::new(), TempDirectory::new());
        fs::create_dir_all(&outside.0).unwrap();
        let secret = outside.0.join("secret");
        fs::write(&secret, "secret").unwrap();
        let shop = local(database, &folder.0).await;
        let alice = shop.app.user();
        let file = upload(&alice, "a.txt", "text/plain", "Hello.").await.expect(201).json();
        let (object, meta) = (place(&folder.0, "objects", &file), place(&folder.0, "meta", &file));
        let key: ObjectKey = object.strip_prefix(folder.0.join("objects")).unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(read(&alice, &file).await.expect(200).text(), "Hello.");

        fs::remove_file(&meta).unwrap();
        pipe(&meta);
        assert_eq!(read(&alice, &file).await.expect(200).text(), "Hello.");
        fs::write(&object, "Hello, and more.").unwrap();
        read(&alice, &file).await.expect(500);

        fs::remove_file(&object).unwrap();
        symlink(&secret, &object).unwrap();
        assert!(!read(&alice, &file).await.expect(500).text().contains("secret"));
        assert_eq!(shop.objects().await, 0);
        assert!(shop.storage.copy(&key, &"copy".parse().unwrap()).await.is_err());
        fs::remove_file(&object).unwrap();
        pipe(&object);
        read(&alice, &file).await.expect(500);
        shop.storage.delete(&key).await.unwrap();
        assert!(!object.exists() && !meta.exists());

        // A symbolic link in place of the tenant's folder: nothing behind it is read, written or deleted.
        let whole = upload(&alice, "b.txt", "text/plain", "Hello.").await.expect(201).json();
        let folder_of_tenant = object.parent().unwrap();
        fs::rename(folder_of_tenant, outside.0.join("tenant")).unwrap();
        symlink(outside.0.join("tenant"), folder_of_tenant).unwrap();
        read(&alice, &whole).await.expect(500);
        upload(&alice, "c.txt", "text/plain", "Hello.").await.expect(500);
        let key = format!("files/{}/{}", whole["tenant_id"].as_str().unwrap(), id(&whole)).parse().unwrap();
        assert!(shop.storage.delete(&key).await.is_err());
        assert!(shop.storage.list(&format!("files/{}/", whole["tenant_id"].as_str().unwrap()), None, 10).await.is_err());
        assert_eq!(fs::read_dir(outside.0.join("tenant")).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    }

    async fn what_a_dead_process_was_writing_is_swept(database: TestDatabase) {
        let folder = TempDirectory::new();
        let shop = local(database, &folder.0).await;
        let alice = shop.app.user();
        upload(&alice, "a.txt", "text/plain", "Hello.").await.expect(201);
        let tmp = folder.0.join("tmp");
        // The app's clock starts at the beginning of 2030.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
        for (name, hours) in [("old", 25), ("new", 23)] {
            let file = fs::File::create(tmp.join(name)).unwrap();
            file.set_modified(now - Duration::from_secs(hours * 60 * 60)).unwrap();
        }
        let left = || fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        assert_eq!((shop.sweep().await, left()), (1, vec!["new".into()]));
        shop.app.clock().advance(Duration::from_secs(2 * 60 * 60));
        assert_eq!((shop.sweep().await, left()), (1, vec![]));
        assert_eq!(shop.objects().await, 1);
    }
}
