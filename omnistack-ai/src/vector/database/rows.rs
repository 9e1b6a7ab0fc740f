//! The SQL of points.

use std::fmt::Write as _;

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Dialect, Error, ErrorKind, Tx},
};
use serde_json::{Map, Value};
use sqlx::AssertSqlSafe;

use crate::vector::{
    error::VectorError,
    model::{VectorPoint, VectorSpace},
    words::stored_words,
};

/// Rows of one statement.
const ROWS_PER_STATEMENT: usize = 64;
/// Points that one transaction deletes with a collection, so that its locks are short.
pub(super) const DELETED_POINTS_PER_TRANSACTION: i64 = 1_000;
/// Bytes of the binary form of an array with one dimension before its values.
const ARRAY_HEADER_BYTES: usize = 20;

/// The state of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpaceState {
    pub(super) version: i64,
    pub(super) last_delete: i64,
    pub(super) points: u64,
}

/// Returns an expression of the bytes of a vector.
pub(super) const fn embedding_column(dialect: Dialect) -> &'static str {
    match dialect {
        // The binary form of the array, which the drivers of both databases read as bytes.
        Dialect::Postgres => "array_send(embedding)",
        Dialect::Sqlite => "embedding",
    }
}

/// Returns an expression of the metadata as text.
pub(super) const fn metadata_column(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "cast(metadata as text)",
        Dialect::Sqlite => "metadata",
    }
}

/// Returns the query of a list of texts that is bound as JSON.
pub(super) const fn listed(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "select json_array_elements_text(cast($3 as json))",
        Dialect::Sqlite => "select value from json_each($3)",
    }
}

/// Parses the bytes of [`embedding_column`].
pub(super) fn parse_embedding(dialect: Dialect, bytes: &[u8]) -> Result<Vec<f32>, VectorError> {
    let parsed: Option<Vec<f32>> = match dialect {
        Dialect::Sqlite => {
            let (numbers, rest) = bytes.as_chunks::<4>();
            rest.is_empty().then(|| numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
        }
        // Each value is preceded by its length. PostgreSQL's manual leaves the form to `array_send` in its source.
        Dialect::Postgres => bytes.get(ARRAY_HEADER_BYTES..).and_then(|values| {
            let (values, rest) = values.as_chunks::<8>();
            let number = |value: &[u8; 8]| f32::from_be_bytes([value[4], value[5], value[6], value[7]]);
            rest.is_empty().then(|| values.iter().map(number).collect())
        }),
    };
    parsed.ok_or_else(|| {
        let message = format!("a stored vector has {} bytes", bytes.len());
        VectorError::Database(Error::new(ErrorKind::Other, message.into()))
    })
}

pub(super) fn parse_metadata(text: &str) -> Result<Map<String, Value>, VectorError> {
    serde_json::from_str(text).map_err(|error| VectorError::Database(Error::new(ErrorKind::Other, error.into())))
}

/// Returns a vector as text of PostgreSQL: `{0.5,1}` with braces, `[0.5,1]` with brackets. The text has enough digits
/// for the same number to be read.
pub(super) fn vector_text(vector: &[f32], open: char, close: char) -> String {
    let mut text = String::with_capacity(vector.len() * 12 + 2);
    text.push(open);
    for (at, number) in vector.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        _ = write!(text, "{comma}{number}");
    }
    text.push(close);
    text
}

pub(super) async fn state(tx: &mut Tx, space: VectorSpace) -> Result<SpaceState, VectorError> {
    let sql =
        "select version, last_delete, points from omni_ai_vector_versions where tenant_id = $1 and collection_id = $2";
    let row: Option<(i64, i64, i64)> = tx.query(sql).bind(space.tenant).bind(space.collection).fetch_optional().await?;
    let (version, last_delete, points) = row.ok_or(VectorError::UnknownCollection)?;
    Ok(SpaceState { version, last_delete, points: u64::try_from(points).unwrap_or(0) })
}

pub(super) async fn create(tx: &mut Tx, space: VectorSpace) -> Result<(), VectorError> {
    let sql = "insert into omni_ai_vector_versions (collection_id, tenant_id, version, last_delete, points)
        values ($1, $2, 0, 0, 0) on conflict (collection_id) do nothing";
    tx.query(sql).bind(space.collection).bind(space.tenant).execute().await?;
    Ok(())
}

/// Begins a change of a collection, and returns its version. Changes of a collection wait for each other, so that the
/// versions are in the order of the commits.
pub(super) async fn next_version(tx: &mut Tx, space: VectorSpace) -> Result<i64, VectorError> {
    let sql = "update omni_ai_vector_versions set version = version + 1 where tenant_id = $1 and collection_id = $2
        returning version";
    let row: Option<(i64,)> = tx.query(sql).bind(space.tenant).bind(space.collection).fetch_optional().await?;
    row.map(|(version,)| version).ok_or(VectorError::UnknownCollection)
}

/// Returns how many of these points exist.
pub(super) async fn count_existing(tx: &mut Tx, space: VectorSpace, ids: &str) -> Result<i64, VectorError> {
    let sql = format!(
        "select count(*) from omni_ai_vector_points where tenant_id = $1 and collection_id = $2 and id in ({})",
        listed(tx.dialect())
    );
    let count = tx.query(AssertSqlSafe(sql)).bind(space.tenant).bind(space.collection).bind(ids.to_owned());
    let (count,): (i64,) = count.fetch_one().await?;
    Ok(count)
}

pub(super) async fn add_points(tx: &mut Tx, space: VectorSpace, added: i64) -> Result<(), VectorError> {
    let sql = "update omni_ai_vector_versions set points = points + $3 where tenant_id = $1 and collection_id = $2";
    tx.query(sql).bind(space.tenant).bind(space.collection).bind(added).execute().await?;
    Ok(())
}

pub(super) async fn upsert(
    tx: &mut Tx,
    space: VectorSpace,
    points: &[VectorPoint],
    version: i64,
    now: Timestamp,
) -> Result<(), VectorError> {
    for points in points.chunks(ROWS_PER_STATEMENT) {
        let mut args = Arguments::new(tx.dialect());
        let mut sql = String::from(
            "insert into omni_ai_vector_points
            (tenant_id, collection_id, id, dimensions, embedding, content, words, metadata, version, updated_at) values ",
        );
        for (at, point) in points.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let row = row_sql(&mut args, tx.dialect(), space, point, version, now);
            _ = write!(sql, "{comma}({row})");
        }
        sql.push_str(
            " on conflict (collection_id, id) do update set embedding = excluded.embedding, content = excluded.content,
            words = excluded.words, metadata = excluded.metadata, version = excluded.version,
            updated_at = excluded.updated_at",
        );
        tx.query(AssertSqlSafe(sql)).args(args).execute().await?;
    }
    Ok(())
}

/// Returns the values of a row, and binds them.
fn row_sql(
    args: &mut Arguments,
    dialect: Dialect,
    space: VectorSpace,
    point: &VectorPoint,
    version: i64,
    now: Timestamp,
) -> String {
    let tenant = args.push_next(space.tenant);
    let collection = args.push_next(space.collection);
    let id = args.push_next(point.id.clone());
    let dimensions = args.push_next(i64::from(space.dimensions));
    let embedding = match dialect {
        Dialect::Postgres => format!("cast({} as real[])", args.push_next(vector_text(&point.vector, '{', '}'))),
        Dialect::Sqlite => {
            let bytes: Vec<u8> = point.vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            args.push_next(bytes).into_owned()
        }
    };
    let content = args.push_next(point.text.clone());
    let words = args.push_next(stored_words(point.text.as_deref().unwrap_or_default()));
    let metadata = args.push_next(Value::Object(point.metadata.clone()).to_string());
    let metadata = match dialect {
        Dialect::Postgres => format!("cast({metadata} as jsonb)"),
        Dialect::Sqlite => metadata.into_owned(),
    };
    let version = args.push_next(version);
    let updated_at = args.push_next(now);
    format!(
        "{tenant}, {collection}, {id}, {dimensions}, {embedding}, {content}, {words}, {metadata}, {version}, {updated_at}"
    )
}

/// A point: id, bytes of the vector, text, metadata.
type StoredPointRow = (String, Vec<u8>, Option<String>, String);

pub(super) async fn get(tx: &mut Tx, space: VectorSpace, ids: &str) -> Result<Vec<VectorPoint>, VectorError> {
    let dialect = tx.dialect();
    let sql = format!(
        "select id, {}, content, {} from omni_ai_vector_points
        where tenant_id = $1 and collection_id = $2 and id in ({})",
        embedding_column(dialect),
        metadata_column(dialect),
        listed(dialect)
    );
    let select = tx.query(AssertSqlSafe(sql)).bind(space.tenant).bind(space.collection).bind(ids.to_owned());
    let rows: Vec<StoredPointRow> = select.fetch_all().await?;
    let point = |(id, vector, text, metadata): StoredPointRow| -> Result<VectorPoint, VectorError> {
        let vector = parse_embedding(dialect, &vector)?;
        Ok(VectorPoint { id, vector, text, metadata: parse_metadata(&metadata)? })
    };
    rows.into_iter().map(point).collect()
}

/// The text and the metadata of a point.
pub(super) type PointContent = (String, Option<String>, String);

/// Returns the texts and the metadata of points.
pub(super) async fn contents(tx: &mut Tx, space: VectorSpace, ids: &str) -> Result<Vec<PointContent>, VectorError> {
    let dialect = tx.dialect();
    let sql = format!(
        "select id, content, {} from omni_ai_vector_points
        where tenant_id = $1 and collection_id = $2 and id in ({})",
        metadata_column(dialect),
        listed(dialect)
    );
    let select = tx.query(AssertSqlSafe(sql)).bind(space.tenant).bind(space.collection).bind(ids.to_owned());
    Ok(select.fetch_all().await?)
}

/// Deletes points, and returns their number.
pub(super) async fn delete(tx: &mut Tx, space: VectorSpace, ids: &str) -> Result<u64, VectorError> {
    let sql = format!(
        "delete from omni_ai_vector_points where tenant_id = $1 and collection_id = $2 and id in ({})",
        listed(tx.dialect())
    );
    let delete = tx.query(AssertSqlSafe(sql)).bind(space.tenant).bind(space.collection).bind(ids.to_owned());
    Ok(delete.execute().await?)
}

/// Counts a change that deletes points.
pub(super) async fn note_delete(
    tx: &mut Tx,
    space: VectorSpace,
    version: i64,
    deleted: i64,
) -> Result<(), VectorError> {
    let sql = "update omni_ai_vector_versions set last_delete = $3, points = points - $4
        where tenant_id = $1 and collection_id = $2";
    let update = tx.query(sql).bind(space.tenant).bind(space.collection).bind(version).bind(deleted);
    update.execute().await?;
    Ok(())
}

/// Deletes the state of a collection. From then on, no points can be added.
pub(super) async fn delete_state(tx: &mut Tx, space: VectorSpace) -> Result<(), VectorError> {
    let sql = "delete from omni_ai_vector_versions where tenant_id = $1 and collection_id = $2";
    tx.query(sql).bind(space.tenant).bind(space.collection).execute().await?;
    Ok(())
}

/// Deletes some points of a collection, and returns their number.
pub(super) async fn delete_some(tx: &mut Tx, space: VectorSpace) -> Result<i64, VectorError> {
    let sql = "delete from omni_ai_vector_points where tenant_id = $1 and collection_id = $2 and id in (
        select id from omni_ai_vector_points where tenant_id = $1 and collection_id = $2 limit $3)";
    let delete = tx.query(sql).bind(space.tenant).bind(space.collection).bind(DELETED_POINTS_PER_TRANSACTION);
    Ok(i64::try_from(delete.execute().await?).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_read_as_both_databases_store_them() {
        let vector = [0.1_f32, -1.0, 1e-30, 3.4e38];
        let little: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(parse_embedding(Dialect::Sqlite, &little).unwrap(), vector);
        assert!(parse_embedding(Dialect::Sqlite, &little[1..]).is_err());

        let mut array = vec![0; ARRAY_HEADER_BYTES];
        for number in vector {
            array.extend_from_slice(&4_u32.to_be_bytes());
            array.extend_from_slice(&number.to_be_bytes());
        }
        assert_eq!(parse_embedding(Dialect::Postgres, &array).unwrap(), vector);
        assert!(parse_embedding(Dialect::Postgres, &array[..30]).is_err());
        assert!(parse_embedding(Dialect::Postgres, &array[..3]).is_err());
    }

    #[test]
    fn the_text_of_a_vector_has_all_digits() {
        let numbers = [0.1_f32, 1.0 / 3.0, -1e-30, 16_777_217.0];
        let text = vector_text(&numbers, '[', ']');
        let read: Vec<f32> = text[1..text.len() - 1].split(',').map(|number| number.parse().unwrap()).collect();
        assert_eq!(read, numbers);
        assert_eq!(vector_text(&[1.0, -0.5], '{', '}'), "{1,-0.5}");
    }
}
