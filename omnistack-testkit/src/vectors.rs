//! Conformance tests for vector engines.
//!
//! Each function of this module tests one requirement on an engine.
//! [`vector_conformance!`](crate::vector_conformance) generates a test for each of them.
//!
//! ```
//! # use omnistack_ai::DatabaseVectorIndex;
//! # use omnistack_core::{clock::Clock, db::Db};
//! use omnistack_testkit::vectors::VectorIndexUnderTest;
//!
//! fn under_test(db: &Db) -> VectorIndexUnderTest {
//!     let index = || DatabaseVectorIndex::new(db, Clock::system(), 1 << 20);
//!     VectorIndexUnderTest::new(index()).with_replica(index())
//! }
//! ```

use std::{any::Any, fmt};

use omnistack_ai::{MetadataFilter, VectorError, VectorIndex, VectorMatch, VectorPoint, VectorQuery, VectorSpace};
use omnistack_core::{id::Id, identity::TenantId};
use serde_json::{Map, Value, json};

use crate::{conformance::Contract, random::random_uuid};

/// Dimensions of the vectors of most tests.
const DIMENSIONS: u32 = 24;

/// The laws of [`VectorIndex`], each with its requirement.
pub const CONTRACT: Contract = Contract::new(
    "VectorIndex",
    &[
        (
            "points_are_read_back",
            "`get` returns points with all their parts in the order of the ids, without those that do not exist, and \
             `count` their number",
        ),
        ("upsert_replaces_points", "`upsert` replaces all parts of a point with the same id, also in later searches"),
        (
            "nearest_points_come_first",
            "`search` returns the nearest points first, with their similarities, and misses at most 5 of 100",
        ),
        (
            "filters_select_points",
            "a filter selects points by their metadata, in a search for a vector as in one for words",
        ),
        (
            "filtered_search_returns_all_results",
            "`search` returns as many results as there are, however many nearer points other collections have or the \
             filter excludes",
        ),
        (
            "collections_are_isolated",
            "neither another collection nor another tenant, which knows the id of the collection, sees points",
        ),
        ("deleted_points_are_not_found", "deleted points are not found, and ids that do not exist are ignored"),
        (
            "dropped_collection_is_gone",
            "`drop_collection` deletes a collection with all its points, also if it is repeated, and `create` \
             changes no existing collection",
        ),
        (
            "words_find_points",
            "a search for words finds texts in any case and script, and is merged with a search for a vector",
        ),
        ("changes_are_seen_by_replicas", "a change is seen by every replica at once"),
    ],
);

/// An engine under test, another handle to the same data, and the server or database they need.
pub struct VectorIndexUnderTest {
    /// The engine.
    pub index: Box<dyn VectorIndex>,
    replica: Option<Box<dyn VectorIndex>>,
    kept: Box<dyn Any + Send + Sync>,
}

impl VectorIndexUnderTest {
    /// Creates an engine under test.
    pub fn new(index: impl VectorIndex) -> Self {
        Self { index: Box::new(index), replica: None, kept: Box::new(()) }
    }

    /// Adds another handle to the same data, as another replica of the app has.
    #[must_use]
    pub fn with_replica(mut self, replica: impl VectorIndex) -> Self {
        self.replica = Some(Box::new(replica));
        self
    }

    /// Keeps a server or a database until the test ends.
    #[must_use]
    pub fn with_resource(mut self, kept: impl Any + Send + Sync) -> Self {
        self.kept = Box::new(kept);
        self
    }

    fn replica(&self) -> &dyn VectorIndex {
        self.replica.as_deref().unwrap_or(self.index.as_ref())
    }
}

impl fmt::Debug for VectorIndexUnderTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VectorIndexUnderTest").field(&self.index).finish()
    }
}

fn expect_ok<T>(result: Result<T, VectorError>) -> T {
    result.unwrap_or_else(|error| panic!("an operation that must succeed has failed: {error}"))
}

fn tenant() -> TenantId {
    Id::from_uuid(random_uuid())
}

/// Creates a collection of a new tenant.
async fn collection(index: &dyn VectorIndex, dimensions: u32) -> VectorSpace {
    collection_of(index, tenant(), dimensions).await
}

async fn collection_of(index: &dyn VectorIndex, tenant: TenantId, dimensions: u32) -> VectorSpace {
    let space = VectorSpace::new(tenant, Id::from_uuid(random_uuid()), dimensions);
    expect_ok(index.create(space).await);
    space
}

/// Vectors that are the same in each run.
struct Vectors(u64);

impl Vectors {
    fn next(&mut self, dimensions: u32) -> Vec<f32> {
        let numbers: Vec<f32> = (0..dimensions).map(|_| self.number()).collect();
        let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
        numbers.into_iter().map(|x| x / length).collect()
    }

    fn number(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let top = u16::try_from(self.0 >> 48).unwrap_or(0);
        f32::from(top) / 65_536.0 - 0.5
    }
}

fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn filter(value: &Value) -> MetadataFilter {
    match MetadataFilter::parse(&fields(value)) {
        Ok(filter) => filter,
        Err(problem) => panic!("{problem:?}"),
    }
}

fn ids(matches: &[VectorMatch]) -> Vec<&str> {
    matches.iter().map(|found| found.id.as_str()).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Returns the ids of the nearest points by comparing all.
fn exact<'a>(points: &'a [VectorPoint], query: &[f32], limit: usize) -> Vec<&'a str> {
    let mut scored: Vec<_> = points.iter().map(|point| (dot(&point.vector, query), point.id.as_str())).collect();
    scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    scored.into_iter().take(limit).map(|(_, id)| id).collect()
}

async fn store(index: &dyn VectorIndex, space: VectorSpace, points: &[VectorPoint]) {
    for points in points.chunks(500) {
        expect_ok(index.upsert(space, points).await);
    }
}

/// Returns points with the numbers from 0 as ids.
fn points(count: usize, dimensions: u32) -> Vec<VectorPoint> {
    let mut vectors = Vectors(7);
    (0..count).map(|at| VectorPoint::new(at.to_string(), vectors.next(dimensions))).collect()
}

/// Tests that points are read back in the order that is asked for, with all their parts.
pub async fn points_are_read_back(subject: VectorIndexUnderTest) {
    let index = subject.index.as_ref();
    let space = collection(index, 3).await;
    let metadata = fields(&json!({ "n": 1, "nested": { "a": [1.5, null, "ü"] } }));
    let full = VectorPoint::new("https://a.example/ü#1", vec![0.6, 0.0, -0.8]).text("Grüße 🎉").metadata(metadata);
    let bare = VectorPoint::new("b", vec![1.0, 0.0, 0.0]);
    store(index, space, &[full.clone(), bare.clone()]).await;
    let asked = ["b".to_owned(), "missing".to_owned(), full.id.clone()];
    assert_eq!(expect_ok(index.get(space, &asked).await), [bare, full], "points that `get` returns");
    assert_eq!(expect_ok(index.count(space).await), 2, "number that `count` returns");
    assert_eq!(expect_ok(index.count_of_tenant(space.tenant).await), 2, "number that `count_of_tenant` returns");
    expect_ok(index.check().await);
}

/// Tests that a stored point replaces one with the same id, in all its parts.
pub async fn upsert_replaces_points(subject: VectorIndexUnderTest) {
    let index = subject.index.as_ref();
    let space = collection(index, 2).await;
    let old = VectorPoint::new("a", vec![1.0, 0.0]).text("old words").metadata(fields(&json!({ "v": 1 })));
    store(index, space, &[old, VectorPoint::new("b", vec![0.0, 1.0])]).await;
    assert_eq!(ids(&expect_ok(index.search(space, &VectorQuery::nearest(vec![1.0, 0.0], 1)).await)), ["a"]);

    let new = VectorPoint::new("a", vec![0.0, -1.0]).text("new words").metadata(fields(&json!({ "v": 2 })));
    store(index, space, &[new.clone(), VectorPoint::new("c", vec![1.0, 0.0])]).await;
    assert_eq!(expect_ok(index.get(space, &["a".to_owned()]).await), [new], "point after its replacement");
    assert_eq!(expect_ok(index.count(space).await), 3, "number of points after a replacement");
    let found = expect_ok(index.search(space, &VectorQuery::nearest(vec![0.0, -1.0], 3)).await);
    assert_eq!(ids(&found), ["a", "c", "b"], "order of a search after a replacement");
    assert_eq!((found[0].text.as_deref(), &found[0].metadata["v"]), (Some("new words"), &json!(2)));
    assert!((found[0].score - 1.0).abs() < 1e-5, "{found:?}");
    let old = expect_ok(index.search(space, &VectorQuery::words("old", 3)).await);
    assert!(old.is_empty(), "a search finds the words of a point that was replaced: {old:?}");
}

/// Tests that the nearest points come first, with their similarities, and that few are missed.
pub async fn nearest_points_come_first(subject: VectorIndexUnderTest) {
    let index = subject.index.as_ref();
    let space = collection(index, DIMENSIONS).await;
    let points = points(1_000, DIMENSIONS);
    store(index, space, &points).await;
    let mut vectors = Vectors(99);
    let (mut right, mut all) = (0, 0);
    for _ in 0..20 {
        let query = vectors.next(DIMENSIONS);
        let found = expect_ok(index.search(space, &VectorQuery::nearest(query.clone(), 10)).await);
        assert!(found.is_sorted_by(|one, other| one.score >= other.score), "not in order of the scores: {found:?}");
        let best = exact(&points, &query, 10);
        right += ids(&found).iter().filter(|id| best.contains(id)).count();
        all += best.len();
    }
    assert!(right * 100 >= all * 95, "{right} of {all} nearest points were found");
    let everything = expect_ok(index.search(space, &VectorQuery::nearest(vectors.next(DIMENSIONS), 2_000)).await);
    assert_eq!(everything.len(), 1_000, "results of a search for more points than there are");
}

/// Tests that filters select points by their metadata.
pub async fn filters_select_points(subject: VectorIndexUnderTest) {
    let index = subject.index.as_ref();
    let space = collection(index, 2).await;
    let point =
        |id: &str, metadata: Value| VectorPoint::new(id, vec![1.0, 0.0]).text("fox").metadata(fields(&metadata));
    let stored = [
        point("a", json!({ "lang": "de", "year": 2020, "tags": ["x", "y"], "draft": true })),
        point("b", json!({ "lang": "en", "year": 2021.5, "tags": ["y"], "draft": false })),
        point("c", json!({ "lang": "it's \"quoted\"", "year": "2022", "nothing": null })),
        point("d", json!({})),
    ];
    store(index, space, &stored).await;
    for (condition, expected) in [
        (json!({}), "abcd"),
        (json!({ "lang": "de" }), "a"),
        (json!({ "lang": "it's \"quoted\"" }), "c"),
        (json!({ "lang": { "in": ["de", "en"] } }), "ab"),
        (json!({ "lang": { "ne": "de" } }), "bcd"),
        (json!({ "lang": { "not_in": ["de", "en"] } }), "cd"),
        (json!({ "year": { "gte": 2020, "lt": 2021.5 } }), "a"),
        (json!({ "year": { "gt": 2020 } }), "b"),
        (json!({ "year": 2020.0 }), "a"),
        (json!({ "tags": "y" }), "ab"),
        (json!({ "tags": { "in": ["x", "z"] } }), "a"),
        (json!({ "draft": false }), "b"),
        (json!({ "draft": { "ne": false } }), "acd"),
        (json!({ "year": { "exists": true }, "tags": { "exists": false } }), "c"),
        (json!({ "nothing": null }), "c"),
        (json!({ "lang": "fr" }), ""),
    ] {
        for query in [VectorQuery::nearest(vec![1.0, 0.0], 10), VectorQuery::words("fox", 10)] {
            let found = expect_ok(index.search(space, &query.filter(filter(&condition))).await);
            let mut found = ids(&found);
            found.sort_unstable();
            assert_eq!(found.concat(), expected, "{condition}");
        }
    }
}

/// Tests that a search returns as many results as there are, however many points of others are nearer: with few points
/// among those of other tenants, and with few that satisfy the filter.
pub async fn filtered_search_returns_all_results(subject: VectorIndexUnderTest) {
    let index = subject.index.as_ref();
    let (small, large) = (collection(index, DIMENSIONS).await, collection(index, DIMENSIONS).await);
    let mut many = points(6_000, DIMENSIONS);
    for (at, point) in many.iter_mut().enumerate() {
        let rare = at % 500 == 3;
        point.metadata = fields(&json!({ "rare": rare }));
    }
    store(index, large, &many).await;
    store(index, small, &many[..12]).await;
    let mut vectors = Vectors(3);
    for _ in 0..5 {
        let query = VectorQuery::nearest(vectors.next(DIMENSIONS), 10);
        let found = expect_ok(index.search(small, &query).await);
        assert_eq!(found.len(), 10, "results in a small collection beside a large one");
        let rare = query.filter(filter(&json!({ "rare": true })));
        let found = expect_ok(index.search(large, &rare).await);
        assert_eq!(found.len(), 10, "results with a filter that few points satisfy");
        assert!(found.iter().all(|found| found.metadata["rare"] == true), "a result that does not satisfy the filter");
    }
}

/// Tests that neither another collection nor another tenant sees points.
pub async fn collections_are_isolated(subject: VectorIndexUnderTest) {
    let index = subject.index.as_ref();
    let one = collection(index, 2).await;
    let other = collection_of(index, one.tenant, 2).await;
    let foreign = collection(index, 2).await;
    store(index, one, &[VectorPoint::new("a", vec![1.0, 0.0]).text("secret")]).await;
    let everything = [VectorQuery::nearest(vec![1.0, 0.0], 10), VectorQuery::words("secret", 10)];
    for space in [other, foreign] {
        for query in &everything {
            let found = expect_ok(index.search(space, query).await);
            assert!(found.is_empty(), "a search finds a point of another collection: {found:?}");
        }
        assert!(expect_ok(index.get(space, &["a".to_owned()]).await).is_empty());
        expect_ok(index.delete(space, &["a".to_owned()]).await);
    }
    // The collection of another tenant, even by its id.
    let stolen = VectorSpace::new(foreign.tenant, one.collection, 2);
    for query in &everything {
        let found = index.search(stolen, query).await.unwrap_or_default();
        assert!(found.is_empty(), "a tenant finds a point of another by the id of its collection: {found:?}");
    }
    assert_eq!(ids(&expect_ok(index.search(one, &everything[0]).await)), ["a"]);
    assert_eq!(expect_ok(index.count_of_tenant(foreign.tenant).await), 0);
}

/// Tests that deleted points are not found, and that deleting a point that does not exist is no error.
pub async fn deleted_points_are_not_found(subject: VectorIndexUnderTest) {
    let index = subject.index.as_ref();
    let space = collection(index, DIMENSIONS).await;
    let points = points(50, DIMENSIONS);
    store(index, space, &points).await;
    let query = VectorQuery::nearest(points[7].vector.clone(), 50);
    assert_eq!(expect_ok(index.search(space, &query).await)[0].id, "7");
    expect_ok(index.delete(space, &["7".to_owned(), "missing".to_owned()]).await);
    expect_ok(index.delete(space, &["7".to_owned()]).await);
    let found = expect_ok(index.search(space, &query).await);
    assert!(found.len() == 49 && !ids(&found).contains(&"7"), "{found:?}");
    assert_eq!(expect_ok(index.count(space).await), 49);
    store(index, space, &points[7..8]).await;
    assert_eq!(expect_ok(index.search(space, &query).await)[0].id, "7");
}

/// Tests that a collection is deleted with its points, and that doing so twice is no error.
pub async fn dropped_collection_is_gone(subject: VectorIndexUnderTest) {
    let index = subject.index.as_ref();
    let space = collection(index, DIMENSIONS).await;
    let kept = collection_of(index, space.tenant, DIMENSIONS).await;
    let points = points(1_500, DIMENSIONS);
    store(index, space, &points).await;
    store(index, kept, &points[..1]).await;
    expect_ok(index.create(space).await);
    assert_eq!(expect_ok(index.count(space).await), 1_500);
    expect_ok(index.drop_collection(space).await);
    expect_ok(index.drop_collection(space).await);
    assert_eq!(expect_ok(index.count_of_tenant(space.tenant).await), 1);
    expect_ok(index.create(space).await);
    let query = VectorQuery::nearest(points[0].vector.clone(), 5);
    assert!(expect_ok(index.search(space, &query).await).is_empty());
    assert_eq!(expect_ok(index.search(kept, &query).await).len(), 1);
}

/// Tests full-text search, and its merge with the nearest points.
pub async fn words_find_points(subject: VectorIndexUnderTest) {
    let index = subject.index.as_ref();
    let space = collection(index, 2).await;
    let stored = [
        VectorPoint::new("long", vec![1.0, 0.0]).text("The quick brown fox jumps over the lazy dog, twice a day"),
        VectorPoint::new("short", vec![0.0, 1.0]).text("A FOX!"),
        VectorPoint::new("umlaut", vec![0.6, 0.8]).text("Größe 你好"),
        VectorPoint::new("none", vec![0.8, 0.6]),
    ];
    store(index, space, &stored).await;
    for (text, expected) in [
        ("fox", vec!["short", "long"]),
        ("lazy foxes", vec!["long"]),
        ("größe", vec!["umlaut"]),
        ("好", vec!["umlaut"]),
        ("o_", vec![]),
        ("%", vec![]),
        ("", vec![]),
    ] {
        let found = expect_ok(index.search(space, &VectorQuery::words(text, 10)).await);
        assert_eq!(ids(&found), expected, "{text}");
    }
    let hybrid = VectorQuery::nearest(vec![1.0, 0.0], 2).with_words("fox");
    let found = expect_ok(index.search(space, &hybrid).await);
    assert_eq!((found.len(), found[0].id.as_str()), (2, "long"), "{found:?}");
}

/// Tests that another replica sees each change at once.
pub async fn changes_are_seen_by_replicas(subject: VectorIndexUnderTest) {
    let (index, replica) = (subject.index.as_ref(), subject.replica());
    let space = collection(index, 2).await;
    let query = VectorQuery::nearest(vec![1.0, 0.0], 10);
    let both = async |expected: &[&str]| {
        for handle in [index, replica] {
            assert_eq!(ids(&expect_ok(handle.search(space, &query).await)), expected);
        }
    };
    both(&[]).await;
    store(index, space, &[VectorPoint::new("a", vec![0.6, 0.8])]).await;
    both(&["a"]).await;
    store(replica, space, &[VectorPoint::new("b", vec![1.0, 0.0])]).await;
    both(&["b", "a"]).await;
    store(index, space, &[VectorPoint::new("b", vec![0.0, 1.0])]).await;
    both(&["a", "b"]).await;
    expect_ok(replica.delete(space, &["a".to_owned()]).await);
    both(&["b"]).await;
    store(replica, space, &[VectorPoint::new("c", vec![1.0, 0.0])]).await;
    both(&["c", "b"]).await;
    expect_ok(index.drop_collection(space).await);
    let left = replica.search(space, &query).await;
    assert!(left.map_or(true, |found| found.is_empty()));
}

/// Generates a test for each requirement of [`vectors`](crate::vectors), in a module with the name of the function that
/// creates the [`VectorIndexUnderTest`](crate::vectors::VectorIndexUnderTest).
#[macro_export]
macro_rules! vector_conformance {
    ($(#[$attribute:meta])* $make:ident) => {
        #[cfg(test)]
        mod $make {
            $crate::vector_conformance! { @laws [$(#[$attribute])*] (super::$make)
                points_are_read_back
                upsert_replaces_points
                nearest_points_come_first
                filters_select_points
                filtered_search_returns_all_results
                collections_are_isolated
                deleted_points_are_not_found
                dropped_collection_is_gone
                words_find_points
                changes_are_seen_by_replicas
            }
        }
    };
    (@laws $attributes:tt $make:tt $($law:ident)+) => {$(
        $crate::vector_conformance! { @law $attributes $make $law }
    )+};
    (@law [$(#[$attribute:meta])*] ($make:path) $law:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])*
        async fn $law() {
            let subject = $make().await;
            let test = $crate::vectors::$law(subject);
            $crate::conformance::check(&$crate::vectors::CONTRACT, stringify!($law), test).await;
        }
    };
}
