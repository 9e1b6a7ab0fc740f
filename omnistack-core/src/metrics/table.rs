//! The table of metrics.

use super::{Metric, MetricKind};

/// Buckets of `http.server.request.duration` in the semantic conventions.
const REQUEST_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Buckets of `db.client.operation.duration` in the semantic conventions.
const DATABASE_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// Buckets of work that takes up to an hour.
const LONG_SECONDS: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];

macro_rules! metrics {
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
    (@otel) => { None };
    (@otel $otel:literal) => { Some($otel) };
    ($($feature:literal { $($name:ident = $kind:ident $($buckets:ident)? $text:literal, $unit:literal, [$($label:literal)*], $(otel $otel:literal,)? $help:literal;)* })*) => {
        $($(
            #[doc = concat!("`", $text, "`: ", $help)]
            pub static $name: Metric = Metric {
                name: $text,
                kind: MetricKind::$kind,
                unit: $unit,
                help: $help,
                labels: &[$($label),*],
                otel: metrics!(@otel $($otel)?),
                feature: $feature,
                buckets: metrics!(@buckets $($buckets)?),
            };
        )*)*

        /// All metrics, in the order of the book.
        pub static ALL_METRICS: &[&Metric] = &[$($(&$name),*),*];
    };
}

metrics! {
    "core" {
        HTTP_REQUESTS = Counter "http_requests_total", "{request}", ["method" "path" "status"],
            "Number of finished requests, by method, route pattern and status code.";
        HTTP_REQUEST_DURATION = Histogram REQUEST_SECONDS "http_request_duration_seconds", "s", ["method" "path"],
            otel "http.server.request.duration",
            "Time from the request's head to the end of the response's body, by method and route pattern.";
        HTTP_REQUESTS_IN_PROGRESS = Gauge "http_requests_in_progress", "{request}", [],
            otel "http.server.active_requests",
            "Number of requests whose response has not ended.";
        HTTP_SERIES_OVERFLOW = Counter "http_series_overflow_total", "{request}", [],
            "Number of requests that are counted under the path `overflow`, because too many other series exist.";
        RATE_LIMIT_HITS = Counter "rate_limit_hits_total", "{request}", ["limit"],
            "Number of requests that a rate limit refused, by the name of the limit.";
        DB_POOL_CONNECTIONS = Gauge "db_pool_connections", "{connection}", ["state"],
            otel "db.client.connection.count",
            "Number of database connections of this process, `idle` or `used`.";
        DB_QUERIES = Counter "db_queries_total", "{query}", ["operation"],
            "Number of finished SQL statements, by their first keyword.";
        DB_QUERY_DURATION = Histogram DATABASE_SECONDS "db_query_duration_seconds", "s", ["operation"],
            otel "db.client.operation.duration",
            "Time from the request for a connection to the last row, by the statement's first keyword.";
        DB_ERRORS = Counter "db_errors_total", "{error}", ["kind"],
            "Number of failed SQL statements, by the kind of the error.";
    }
    "jobs" {
        BACKGROUND_JOBS = Counter "background_jobs_total", "{attempt}", ["job" "status"],
            "Number of finished attempts of jobs, by job name and result: `done`, `retry`, `snoozed`, `dead` or `cancelled`.";
        BACKGROUND_JOB_DURATION = Histogram LONG_SECONDS "background_job_duration_seconds", "s", ["job"],
            otel "messaging.process.duration",
            "Time of an attempt, by job name.";
    }
    "observability" {
        PROCESS_MEMORY = Gauge "process_memory_bytes", "By", [],
            otel "process.memory.usage",
            "Resident memory of the process.";
        PROCESS_CPU = Counter "process_cpu_seconds_total", "s", [],
            otel "process.cpu.time",
            "CPU time of the process, in user and system mode.";
        PROCESS_OPEN_FDS = Gauge "process_open_fds", "{descriptor}", [],
            otel "process.unix.file_descriptor.count",
            "Number of open file descriptors.";
        PROCESS_THREADS = Gauge "process_threads", "{thread}", [],
            otel "process.thread.count",
            "Number of threads.";
        APP_UPTIME = Gauge "app_uptime_seconds", "s", [],
            otel "process.uptime",
            "Time since the app was built.";
        SYSTEM_INFO = Gauge "system_info", "1", ["version" "os" "arch"],
            "Always 1. The labels describe the program and the machine.";
        SERVICE_UP = Gauge "service_up", "1", ["service"],
            "State of a service in service health: 1 healthy, 0.5 degraded, 0 down.";
        SERVICE_CHECK_DURATION = Histogram REQUEST_SECONDS "service_check_duration_seconds", "s", ["service"],
            "Time of a check of service health, by service.";
    }
}
