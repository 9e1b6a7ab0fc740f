//! Tests that every way of paging returns each row once and in order.

use std::{cmp::Ordering, collections::BTreeSet, time::Duration};

use omnistack_core::clock::Timestamp;
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{
    SeededRng,
    shelf::{BOOKS, NOTICES, Shelf},
};

const KEYS: [&str; 7] = ["title", "pages", "rating", "in_print", "published", "created_at", "updated_at"];

on_each_database! {
    async fn every_sort_walks_each_row_once_and_in_order(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        let mut dice = SeededRng(42);
        let rows = fill(&app, &caller, &mut dice, 24).await;
        // Another tenant's rows never appear.
        fill(&app, &app.user(), &mut dice, 4).await;

        let single = KEYS.iter().flat_map(|key| [(*key).to_owned(), format!("-{key}")]);
        let mut sorts: BTreeSet<String> = single.collect();
        while sorts.len() < 54 {
            let (mut keys, count) = (Vec::new(), 2 + dice.roll(2));
            while keys.len() < usize::try_from(count).unwrap() {
                let key = dice.pick(&KEYS);
                if !keys.iter().any(|other: &String| other.trim_start_matches('-') == key) {
                    keys.push(format!("{}{key}", dice.pick(&["", "-"])));
                }
            }
            sorts.insert(keys.join(","));
        }
        for sort in sorts {
            let expected = ids(&sorted(&rows, &sort));
            let limits = if sort.contains(',') { vec![1 + dice.roll(3)] } else { vec![1, 2, 3] };
            for limit in limits {
                let walked = walk(&caller, format!("{BOOKS}?sort={sort}&limit={limit}"), limit).await;
                assert_eq!(ids(&walked), expected, "sort={sort} limit={limit}");
            }
        }
    }

    async fn real_numbers_keep_their_place_to_the_last_bit(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        let mut dice = SeededRng(17);
        let mut rows = Vec::new();
        while rows.len() < 60 {
            let rating = f64::from_bits(dice.roll(u64::MAX));
            if rating.is_finite() {
                let created = caller.post(BOOKS, json!({"code": rows.len().to_string(), "rating": rating})).await.expect(201);
                assert_eq!(created.json()["rating"].as_f64(), Some(rating), "what is sent is what is stored");
                rows.push(created.json());
            }
        }
        for sort in ["rating", "-rating", "-rating,title"] {
            let walked = walk(&caller, format!("{BOOKS}?sort={sort}&limit=1"), 1).await;
            assert_eq!(ids(&walked), ids(&sorted(&rows, sort)), "{sort}");
        }
    }

    async fn the_newest_come_first_by_default_and_twenty_at_a_time(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        let rows = fill(&app, &caller, &mut SeededRng(1), 21).await;
        let page = caller.get(BOOKS).await.expect(200);
        let expected = ids(&sorted(&rows, "-created_at"));
        assert_eq!(ids(page.json()["items"].as_array().unwrap()), expected[..20]);
        let rest = caller.get(page.next_link().unwrap()).await.expect(200);
        assert_eq!(ids(rest.json()["items"].as_array().unwrap()), expected[20..]);
        assert_eq!((rest.next_link(), rest.json().get("next_cursor")), (None, None));
    }

    async fn an_exact_page_has_no_next(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        fill(&app, &caller, &mut SeededRng(1), 2).await;
        for (limit, more) in [(1, true), (2, false), (3, false), (100, false)] {
            let page = caller.get(format!("{BOOKS}?limit={limit}")).await.expect(200);
            assert_eq!((page.next_link().is_some(), page.json().get("next_cursor").is_some()), (more, more), "{limit}");
        }
    }

    async fn the_next_link_keeps_every_parameter(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        fill(&app, &caller, &mut SeededRng(3), 12).await;
        for title in ["x & y=1", "x & y=2", "x & y=3"] {
            caller.post(BOOKS, json!({"code": title, "title": title, "pages": 1})).await.expect(201);
        }
        let first = format!("{BOOKS}?q=%26+y%3D&pages_gte=1&sort=-title&deleted=include&limit=1");
        let titles: Vec<_> = walk(&caller, first, 1).await.into_iter().map(|row| row["title"].clone()).collect();
        assert_eq!(titles, ["x & y=3", "x & y=2", "x & y=1"]);
    }

    async fn a_walk_repeats_nothing_while_rows_come_and_go(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        let mut dice = SeededRng(9);
        for sort in ["title", "-pages,title", "rating,-created_at", "-created_at"] {
            let rows = fill(&app, &caller, &mut dice, 20).await;
            let mut gone = BTreeSet::new();
            let mut seen = Vec::new();
            let mut next = Some(format!("{BOOKS}?sort={sort}&limit=2"));
            while let Some(path) = next {
                let page = caller.get(&path).await.expect(200);
                seen.extend(ids(page.json()["items"].as_array().unwrap()));
                next = page.next_link().map(Into::into);
                fill(&app, &caller, &mut dice, 1).await;
                let victim = rows[usize::try_from(dice.roll(20)).unwrap()]["id"].as_str().unwrap().to_owned();
                if gone.insert(victim.clone()) {
                    caller.delete(format!("{BOOKS}/{victim}")).await.expect(204);
                }
            }
            let once: BTreeSet<_> = seen.iter().cloned().collect();
            assert_eq!(once.len(), seen.len(), "{sort}: a row came twice");
            let stayed = ids(&rows).into_iter().filter(|id| !gone.contains(id));
            for id in stayed {
                assert!(once.contains(&id), "{sort}: a row that was there all the time is missing");
            }
            let all = walk(&caller, format!("{BOOKS}?limit=100"), 100).await;
            for id in ids(&all) {
                caller.delete(format!("{BOOKS}/{id}")).await.expect(204);
            }
        }
    }

    async fn numbered_pages_have_a_total(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        let rows = fill(&app, &caller, &mut SeededRng(5), 7).await;
        fill(&app, &app.user(), &mut SeededRng(5), 3).await;
        let expected = ids(&sorted(&rows, "title,-pages"));
        for (query, page, size, items) in [
            ("page=1&page_size=3", 1, 3, &expected[..3]),
            ("page=2&page_size=3", 2, 3, &expected[3..6]),
            ("page=3&page_size=3", 3, 3, &expected[6..]),
            ("page=4&page_size=3", 4, 3, &[]),
            ("page=100&page_size=100", 100, 100, &[]),
            ("page=1", 1, 20, &expected[..]),
            ("page_size=100", 1, 100, &expected[..]),
        ] {
            let answer = caller.get(format!("{BOOKS}?{query}&sort=title,-pages")).await.expect(200);
            let body = answer.json();
            assert_eq!(ids(body["items"].as_array().unwrap()), items, "{query}");
            assert_eq!((&body["page"], &body["page_size"], &body["total"]), (&json!(page), &json!(size), &json!(7)), "{query}");
            assert_eq!((&body["total_is_estimate"], answer.next_link()), (&json!(false), None));
        }
    }

    async fn an_empty_list_is_a_list(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        for path in [BOOKS, NOTICES] {
            assert_eq!(app.user().get(path).await.expect(200).json(), json!({"items": []}));
            let numbered = json!({"items": [], "page": 1, "page_size": 20, "total": 0, "total_is_estimate": false});
            assert_eq!(app.user().get(format!("{path}?page=1")).await.expect(200).json(), numbered);
        }
    }
}

/// Creates books with many equal values, and with real numbers that have no short decimal form.
async fn fill(app: &TestApp, caller: &TestClient, dice: &mut SeededRng, count: u64) -> Vec<Value> {
    let mut rows = Vec::new();
    for _ in 0..count {
        app.clock().advance(Duration::from_micros(dice.pick(&[0, 0, 1, 10, 1_000_000])));
        let exact = f64::from_bits(0x3ff0_0000_0000_0000 | dice.roll(1 << 52));
        let book = json!({
            "code": format!("{}-{}", dice.roll(u64::MAX), rows.len()),
            "title": dice.pick(&["", "a", "ab", "b", "ü", "🦀"]),
            "pages": dice.pick(&[i64::MIN, -1, 0, 1, 1 << 53, i64::MAX]),
            "rating": dice.pick(&[exact, exact, -1.5, 0.1 + 0.2, 0.0, 1e300, 5e-324]),
            "in_print": dice.roll(2) == 0,
            "published": dice.pick(&[
                "1969-12-31T23:59:59.9Z", "2000-01-01T00:00:00Z", "2000-01-01T00:00:00.000001Z", "0001-01-01T00:00:00Z",
            ]),
        });
        rows.push(caller.post(BOOKS, book).await.expect(201).json());
    }
    rows
}

/// Follows the `next` links to the end and returns all rows.
async fn walk(caller: &TestClient, first: String, limit: u64) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut next = Some(first);
    while let Some(path) = next {
        let page = caller.get(&path).await.expect(200);
        let body = page.json();
        let items = body["items"].as_array().unwrap();
        assert!(items.len() as u64 <= limit && rows.len() < 200, "{path}");
        rows.extend(items.iter().cloned());
        next = page.next_link().map(Into::into);
        let linked = next.as_deref().and_then(|link| link.split("cursor=").nth(1));
        assert_eq!(body["next_cursor"].as_str(), linked, "the link and the body agree");
    }
    rows
}

/// Sorts rows by `sort` and then by id, in the direction of the last key.
fn sorted(rows: &[Value], sort: &str) -> Vec<Value> {
    let mut rows = rows.to_vec();
    rows.sort_by(|a, b| {
        let mut last = false;
        for key in sort.split(',') {
            let name = key.trim_start_matches('-');
            last = name.len() < key.len();
            let order = compare(name, &a[name], &b[name]);
            let order = if last { order.reverse() } else { order };
            if order != Ordering::Equal {
                return order;
            }
        }
        let order = a["id"].as_str().cmp(&b["id"].as_str());
        if last { order.reverse() } else { order }
    });
    rows
}

fn compare(name: &str, a: &Value, b: &Value) -> Ordering {
    let moment = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    match name {
        "title" => a.as_str().cmp(&b.as_str()),
        "pages" => a.as_i64().cmp(&b.as_i64()),
        "rating" => a.as_f64().unwrap().total_cmp(&b.as_f64().unwrap()),
        "in_print" => a.as_bool().cmp(&b.as_bool()),
        _ => moment(a).cmp(&moment(b)),
    }
}

fn ids(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}
