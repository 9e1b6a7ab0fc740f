//! Tests of stored files: reading, listing, deleting and permissions.

use omnistack_core::{
    events::TenantDeleted,
    http::Method,
    identity::{Identity, Permissions},
};
use omnistack_testkit::{TestDatabase, TestRequest, on_each_database};

use super::{FILES, files_app, id, upload};

on_each_database! {
    async fn parts_of_a_file(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let file = upload(&alice, "a.txt", "text/plain", "0123456789").await.expect(201).json();
        let path = format!("{FILES}/{}/content", id(&file));
        let etag = format!("\"{}\"", id(&file));
        for (range, status, body, content_range) in [
            ("bytes=0-0", 206, "0", "bytes 0-0/10"),
            ("bytes=2-4", 206, "234", "bytes 2-4/10"),
            ("bytes=7-", 206, "789", "bytes 7-9/10"),
            ("bytes=-2", 206, "89", "bytes 8-9/10"),
            ("bytes=8-99999999999999999999", 206, "89", "bytes 8-9/10"),
            ("bytes=10-", 416, "", "bytes */10"),
            ("bytes=99999999999999999999-", 416, "", "bytes */10"),
            ("bytes=-0", 416, "", "bytes */10"),
            ("bytes=4-2", 200, "0123456789", ""),
            ("bytes=0-1,4-5", 200, "0123456789", ""),
            ("nonsense", 200, "0123456789", ""),
        ] {
            let answer = alice.get(&path).header("range", range).await;
            assert_eq!(answer.status.as_u16(), status, "{range}: {}", answer.text());
            assert_eq!(answer.header("content-range").unwrap_or_default(), content_range, "{range}");
            if status != 416 {
                assert_eq!(answer.text(), body, "{range}");
                assert_eq!(answer.header("content-length"), Some(body.len().to_string().as_str()));
                assert_eq!(answer.header("etag"), Some(etag.as_str()));
            }
        }
        let beside = [b"\"K\xf6ln\", ", etag.as_bytes()].concat();
        for (known, status) in
            [(etag.as_bytes(), 304), (beside.as_slice(), 304), (b"\"other\"".as_slice(), 200), (b"*".as_slice(), 304)]
        {
            alice.get(&path).header("if-none-match", known).await.expect(status);
        }
        let resumed = alice.get(&path).header("range", "bytes=5-").header("if-range", &etag).await.expect(206);
        assert_eq!(resumed.text(), "56789");
        let anew = alice.get(&path).header("range", "bytes=5-").header("if-range", "\"other\"").await.expect(200);
        assert_eq!(anew.text(), "0123456789");
        let head = alice.request(Method::HEAD, &path).await.expect(200);
        assert_eq!((head.text().as_str(), head.header("content-length")), ("", Some("10")));
        let shown = alice.get(format!("{path}?inline=true")).await.expect_ok();
        assert!(shown.header("content-disposition").unwrap().starts_with("inline;"));
    }

    async fn what_the_client_knows_of_a_file(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let file = upload(&alice, "a.txt", "text/plain", "0123456789").await.expect(201).json();
        let at = format!("{FILES}/{}", id(&file));
        let (content, etag) = (format!("{at}/content"), format!("\"{}\"", id(&file)));
        let (made, before) = ("Tue, 01 Jan 2030 00:00:00 GMT", "Mon, 31 Dec 2029 23:59:59 GMT");
        let whole = alice.get(&content).await.expect(200);
        assert_eq!((whole.header("etag"), whole.header("last-modified")), (Some(etag.as_str()), Some(made)));
        // The headers with which caches update the stored response: no `no-store`, and no other policy.
        let known = alice.get(&content).header("if-none-match", &etag).await.expect(304);
        for name in ["etag", "last-modified", "cache-control"] {
            assert_eq!(known.header(name), whole.header(name), "{name}");
        }
        assert_eq!(known.header("content-security-policy"), None);

        let tags = |request: TestRequest| request.json(serde_json::json!({ "tags": ["a"] }));
        for (name, value, read, change) in [
            ("if-match", etag.as_str(), 200, 200),
            ("if-match", "*", 200, 200),
            ("if-match", "\"other\"", 412, 412),
            ("if-unmodified-since", made, 200, 200),
            ("if-unmodified-since", before, 412, 412),
            ("if-modified-since", made, 304, 200),
            ("if-modified-since", before, 200, 200),
            ("if-none-match", "\"other\"", 200, 200),
            ("if-none-match", "*", 304, 412),
        ] {
            let answer = alice.get(&content).header(name, value).await;
            assert_eq!(answer.status.as_u16(), read, "{name}: {value}");
            let answer = tags(alice.request(Method::PUT, format!("{at}/tags"))).header(name, value).await;
            assert_eq!(answer.status.as_u16(), change, "{name}: {value}");
        }
        alice.delete(&at).header("if-match", "\"other\"").await.expect_error(412, "PRECONDITION_FAILED");
        alice.delete(&at).header("if-match", &etag).await.expect(204);
        alice.delete(&at).header("if-match", &etag).await.expect(404);
    }

    async fn a_download_goes_on_with_the_same_bytes(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let text = "one line of many\n".repeat(6_000);
        let file = upload(&alice, "a.txt", "text/plain", text.clone()).await.expect(201).json();
        let link = alice.post(format!("{FILES}/{}/link", id(&file)), serde_json::json!({})).await.expect_ok().json();
        let link = link["url"].as_str().unwrap().strip_prefix("http://127.0.0.1:8080").unwrap().to_owned();
        for path in [format!("{FILES}/{}/content", id(&file)), link] {
            let first = alice.get(&path).header("accept-encoding", "gzip").await.expect(200);
            let (etag, begun) = (first.header("etag").unwrap(), &first.body[..20_000]);
            let rest = alice.get(&path).header("accept-encoding", "gzip").header("range", "bytes=20000-");
            let rest = rest.header("if-range", etag).await.expect(206);
            assert_eq!(rest.header("content-encoding"), first.header("content-encoding"), "{path}");
            assert_eq!([begun, &rest.body[..]].concat(), text.as_bytes(), "{path}");
        }
    }

    async fn an_encoded_upload_is_refused(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let request = alice.request(Method::POST, format!("{FILES}?name=a.txt")).header("content-encoding", "gzip");
        let answer = request.header("content-type", "text/plain").body("hello").await;
        answer.expect_error(415, "UNSUPPORTED_CONTENT_ENCODING");
        assert_eq!(shop.objects().await, 0);
    }

    async fn what_runs_is_never_shown(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        for body in ["<!DOCTYPE html><script>alert(1)</script>", "<svg onload='alert(1)'></svg>"] {
            let file = upload(&alice, "a.html", "text/html", body).await.expect(201).json();
            let answer = alice.get(format!("{FILES}/{}/content?inline=true", id(&file))).await.expect_ok();
            assert!(answer.header("content-disposition").unwrap().starts_with("attachment;"));
            assert!(answer.header("content-security-policy").unwrap().contains("sandbox"));
        }
    }

    async fn lists_and_what_was_deleted(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let mut ids = Vec::new();
        for at in 0..5 {
            shop.app.clock().advance(std::time::Duration::from_secs(1));
            ids.push(id(&upload(&alice, &format!("{at}.txt"), "text/plain", "a").await.expect(201).json()));
        }
        ids.reverse();
        let first = alice.get(format!("{FILES}?limit=2")).await.expect_ok().json();
        let cursor = first["next_cursor"].as_str().unwrap();
        let second = alice.get(format!("{FILES}?limit=3&cursor={cursor}")).await.expect_ok().json();
        assert!(second["next_cursor"].is_null());
        let names = |page: &serde_json::Value| page["items"].as_array().unwrap().iter().map(id).collect::<Vec<_>>();
        assert_eq!([names(&first), names(&second)].concat(), ids);
        alice.get(format!("{FILES}?cursor=nonsense")).await.expect_error(422, "VALIDATION_FAILED");
        alice.get(format!("{FILES}?sort=name")).await.expect_error(422, "VALIDATION_FAILED");

        let path = format!("{FILES}/{}", ids[0]);
        alice.post(format!("{path}/restore"), ()).await.expect(404);
        alice.delete(&path).await.expect(204);
        alice.delete(&path).await.expect(404);
        assert!(!alice.get(&path).await.expect_ok().json()["deleted_at"].is_null());
        alice.get(format!("{path}/content")).await.expect(404);
        alice.post(format!("{path}/link"), serde_json::json!({})).await.expect(404);
        assert_eq!(names(&alice.get(FILES).await.expect_ok().json()).len(), 4);
        assert_eq!(names(&alice.get(format!("{FILES}?deleted=true")).await.expect_ok().json()), [ids[0].clone()]);
        let restored = alice.post(format!("{path}/restore"), ()).await.expect_ok().json();
        assert!(restored["deleted_at"].is_null());
        assert_eq!(alice.get(format!("{path}/content")).await.expect_ok().text(), "a");

        alice.delete(&path).await.expect(204);
        shop.app.clock().advance(std::time::Duration::from_secs(30 * 24 * 60 * 60));
        // It can't be restored any more, although the cleanup has not run.
        alice.post(format!("{path}/restore"), ()).await.expect(404);
        shop.app.clock().advance(std::time::Duration::from_secs(1));
        assert!(shop.is_scheduled("files.clean_up"));
        assert_eq!(shop.sweep().await, 1);
        alice.get(&path).await.expect(404);
        assert_eq!(shop.objects().await, 4);
        assert_eq!(shop.counted.of("storage_bytes"), 4);
    }

    async fn files_go_with_their_tenant(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let (alice, bob) = (shop.app.user(), shop.app.user());
        for (client, name) in [(&alice, "a.txt"), (&alice, "b.txt"), (&bob, "c.txt")] {
            upload(client, name, "text/plain", "secret").await.expect(201);
        }
        let gone = TenantDeleted::new(alice.identity().unwrap().tenant.unwrap());
        // As the module of tenants does, in the transaction that deletes a tenant.
        let mut tx = shop.app.db().all_tenants().begin().await.unwrap();
        shop.app.events().publish_in(&mut tx, &gone).await.unwrap();
        tx.commit().await.unwrap();
        shop.app.run_events().await;
        shop.app.run_jobs().await;
        assert_eq!((shop.sweep().await, shop.objects().await), (2, 1));
        assert_eq!(shop.counted.of("storage_bytes"), 6);
        assert_eq!(alice.get(FILES).await.expect_ok().json()["items"].as_array().unwrap().len(), 0);
        assert_eq!(bob.get(FILES).await.expect_ok().json()["items"].as_array().unwrap().len(), 1);
    }

    async fn nobody_reaches_another_tenant(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let (alice, eve) = (shop.app.user(), shop.app.user());
        let file = id(&upload(&alice, "a.txt", "text/plain", "secret").await.expect(201).json());
        let path = format!("{FILES}/{file}");
        eve.get(&path).await.expect(404);
        eve.get(format!("{path}/content")).await.expect(404);
        eve.delete(&path).await.expect(404);
        eve.post(format!("{path}/restore"), ()).await.expect(404);
        eve.post(format!("{path}/confirm"), ()).await.expect(404);
        eve.post(format!("{path}/link"), serde_json::json!({})).await.expect(404);
        assert_eq!(eve.get(FILES).await.expect_ok().json()["items"].as_array().unwrap().len(), 0);
        assert_eq!(eve.get(format!("{FILES}/usage")).await.expect_ok().json()["bytes"], 0);
        assert_eq!(alice.get(format!("{path}/content")).await.expect_ok().text(), "secret");
        // On PostgreSQL, row-level security hides the files even from a query without the tenant.
        if shop.app.db().dialect() == omnistack_core::db::Dialect::Postgres {
            let tenant = eve.identity().unwrap().tenant.unwrap();
            for table in ["files", "file_usage"] {
                let mut tx = shop.app.db().tenant(tenant).begin_read().await.unwrap();
                let sql = if table == "files" { "select count(*) from omni_files" } else { "select count(*) from omni_file_usage" };
                let (count,): (i64,) = tx.query(sql).fetch_one().await.unwrap();
                assert_eq!(count, 0, "{table}");
            }
        }
    }

    async fn who_may_what(database: TestDatabase) {
        let shop = files_app(database, &[], None).await;
        let alice = shop.app.user();
        let file = id(&upload(&alice, "a.txt", "text/plain", "a").await.expect(201).json());
        let whose = alice.identity().unwrap().clone();
        let reader = whose.clone().with_permissions("files:read".parse::<Permissions>().unwrap());
        let (reader, nobody) = (shop.app.client_as(reader), shop.app.client_as(whose.with_permissions(Permissions::none())));
        reader.get(format!("{FILES}/{file}/content")).await.expect(200);
        upload(&reader, "b.txt", "text/plain", "b").await.expect(403);
        reader.delete(format!("{FILES}/{file}")).await.expect(403);
        nobody.get(format!("{FILES}/{file}")).await.expect(403);
        let alone = shop.app.client_as(Identity::user(alice.identity().unwrap().user).with_permissions(Permissions::all()));
        upload(&alone, "b.txt", "text/plain", "b").await.expect_error(403, "TENANT_REQUIRED");
    }
}
