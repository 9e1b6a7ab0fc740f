//! Scans of the rows of a collection in the database: for words, and for the nearest vectors of a collection that is
//! too large for memory.

use std::pin::pin;

use futures_util::TryStreamExt as _;
use omnistack_core::db::{Arguments, Tx};
use sqlx::AssertSqlSafe;

use super::{
    kernel::dot,
    pgvector::NearestSearch,
    rows::{embedding_column, metadata_column, parse_embedding, parse_metadata},
};
use crate::vector::{
    error::VectorError,
    filter::MetadataFilter,
    model::VectorSpace,
    words::{RankedId, WordHits, like_pattern, query_words, rank},
};

/// Returns the points with words of a text, the best first. `points` is the number of points of the collection.
pub(super) async fn words(
    tx: &mut Tx,
    space: VectorSpace,
    points: u64,
    text: &str,
    filter: &MetadataFilter,
    limit: usize,
) -> Result<Vec<RankedId>, VectorError> {
    let query = query_words(text);
    if query.is_empty() {
        return Ok(Vec::new());
    }
    let mut args = Arguments::new(tx.dialect());
    let (tenant, collection) = (args.push(space.tenant), args.push(space.collection));
    let any: Vec<_> = query.iter().map(|word| format!("words like ${}", args.push(like_pattern(word)))).collect();
    let sql = format!(
        "select id, words, {} from omni_ai_vector_points
        where tenant_id = ${tenant} and collection_id = ${collection} and ({})",
        metadata_column(tx.dialect()),
        any.join(" or ")
    );
    let mut hits = Vec::new();
    {
        let mut rows = pin!(tx.query(AssertSqlSafe(sql)).args(args).stream::<(String, String, String)>());
        while let Some((id, stored, metadata)) = rows.try_next().await? {
            if filter.is_empty() || filter.matches(&parse_metadata(&metadata)?) {
                hits.extend(WordHits::count(id, &stored, &query));
            }
        }
    }
    Ok(rank(hits, points, limit))
}

/// Returns the points that are most similar to a vector, the best first. All vectors are read from the database.
pub(super) async fn nearest(
    tx: &mut Tx,
    space: VectorSpace,
    search: &NearestSearch<'_>,
) -> Result<Vec<RankedId>, VectorError> {
    let dialect = tx.dialect();
    let sql = format!(
        "select id, {}, {} from omni_ai_vector_points where tenant_id = $1 and collection_id = $2",
        embedding_column(dialect),
        metadata_column(dialect)
    );
    let mut best: Vec<RankedId> = Vec::with_capacity(search.limit + 1);
    let rows = tx.query(AssertSqlSafe(sql)).bind(space.tenant).bind(space.collection);
    let mut rows = pin!(rows.stream::<(String, Vec<u8>, String)>());
    while let Some((id, vector, metadata)) = rows.try_next().await? {
        let vector = parse_embedding(dialect, &vector)?;
        if vector.len() != search.vector.len() {
            continue;
        }
        let point = RankedId { id, score: dot(search.vector, &vector) };
        let place = best.partition_point(|known| is_before(known, &point));
        if place >= search.limit || !(search.filter.is_empty() || search.filter.matches(&parse_metadata(&metadata)?)) {
            continue;
        }
        best.insert(place, point);
        best.truncate(search.limit);
    }
    Ok(best)
}

/// Returns whether a point comes before another one.
fn is_before(one: &RankedId, other: &RankedId) -> bool {
    other.score.total_cmp(&one.score).then_with(|| one.id.cmp(&other.id)).is_lt()
}
