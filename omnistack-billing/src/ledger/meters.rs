//! The stored definitions of meters, which must not change once they have counted.

use std::fmt::Write as _;

use omnistack_core::{BoxError, clock::Timestamp, db::Db};

use crate::meter::MeterSet;

const INSERT: &str = "insert into omni_usage_meters (name, aggregation, decimals, lifetime, created_at)
    values ($1, $2, $3, $4, $5) on conflict (name) do nothing";

/// A stored definition.
#[derive(omnistack_core::db::FromRow)]
struct MeterRow {
    name: String,
    aggregation: String,
    decimals: i32,
    lifetime: bool,
}

/// Stores the definitions of new meters. Fails if the definition of a known one has changed.
pub(super) async fn store_definitions(db: &Db, now: Timestamp, meters: &MeterSet) -> Result<(), BoxError> {
    let sql = "select name, aggregation, decimals, lifetime from omni_usage_meters";
    let known: Vec<MeterRow> = db.query(sql).fetch_all().await?;
    let mut problems = String::new();
    for meter in meters.iter() {
        let decimals = i32::try_from(meter.decimals)?;
        let Some(row) = known.iter().find(|row| row.name == meter.name()) else {
            let insert = db.query(INSERT).bind(meter.name()).bind(meter.aggregation.as_str()).bind(decimals);
            insert.bind(meter.lifetime).bind(now).execute().await?;
            continue;
        };
        let same = row.aggregation == meter.aggregation.as_str() && row.decimals == decimals;
        if !same || row.lifetime != meter.lifetime {
            let MeterRow { name, aggregation, decimals, lifetime } = row;
            _ = write!(
                problems,
                "the meter `{name}` has counted as {aggregation} with {decimals} decimals{}, and is declared otherwise: \
                 restore its declaration, or give the new meter another name; ",
                if *lifetime { " for its lifetime" } else { "" },
            );
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.trim_end_matches("; ").to_owned().into()) }
}
