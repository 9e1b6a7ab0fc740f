//! Measures how BullMQ delivers webhooks, on the Redis of the tests.

use crate::{
    command,
    failure::{Failure, Result},
    peers::node,
    servers::Servers,
};

/// The load of a run and the number of runs, equal to those in `omnistack-webhooks/benches/webhooks.rs`.
const LOAD: [(&str, &str); 5] =
    [("ENDPOINTS", "100"), ("MESSAGES", "200"), ("RATE", "300"), ("PACED_MESSAGES", "3000"), ("RUNS", "3")];

/// The text in the first column.
const DESCRIPTION: &str = "bullmq 6.7.0 with undici 7.30.2 and standardwebhooks 1.1.1, on Redis: 256 at once";

/// The number of columns: deliveries per second, and the median and the p99 of the latency, each with good receivers
/// only and with two bad.
const COLUMNS: usize = 6;

/// Returns the table row of BullMQ. It says so if Node is missing or the script fails.
pub(super) fn rows(servers: &Servers) -> Result<String> {
    if !node::is_installed() {
        return Ok(row(&["node not found"; COLUMNS].map(str::to_owned)));
    }
    let folder = node::install_with_scripts("webhooks")?;
    let mut script = node::script(&folder, "bullmq.mjs");
    script.envs(LOAD).env("REDIS_URL", &servers.redis.url);
    let measured = command::capture(&mut script).and_then(|printed| cells(&printed));
    let failed = |failure: Failure| {
        eprintln!("{failure}");
        ["failed"; COLUMNS].map(str::to_owned)
    };
    Ok(row(&measured.unwrap_or_else(failed)))
}

fn row(cells: &[String; COLUMNS]) -> String {
    format!("| {DESCRIPTION} | {} |", cells.join(" | "))
}

/// Returns the columns for the numbers that the script prints in its last line. Fails if there are not six.
fn cells(printed: &str) -> Result<[String; COLUMNS]> {
    let last = printed.trim().lines().next_back().unwrap_or_default();
    let numbers: Vec<&str> = last.split(' ').collect();
    let numbers: [&str; COLUMNS] =
        numbers.try_into().map_err(|_| Failure::new(format!("the script printed `{last}`, not six numbers")))?;
    let [good, bad, latencies @ ..] = numbers;
    let [good_median, bad_median, good_p99, bad_p99] = latencies.map(|number| format!("{number} ms"));
    Ok([good.to_owned(), bad.to_owned(), good_median, bad_median, good_p99, bad_p99])
}

#[cfg(test)]
mod tests {
    use super::{cells, row};

    #[test]
    fn a_row_has_the_printed_numbers() {
        let cells = cells("a warning\n650 575 8.0 8.5 51.0 55.0\n").unwrap();
        let row = row(&cells);
        assert!(row.ends_with(" | 650 | 575 | 8.0 ms | 8.5 ms | 51.0 ms | 55.0 ms |"), "{row}");
        assert!(super::cells("650 575").is_err());
        assert!(super::cells("").is_err());
    }
}
