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
        CACHE_HITS = Counter "cache_hits_total", "{read}", ["cache"],
            "Number of reads of the cache that found a value, by the place of the cache: `process` or `redis`.";
        CACHE_MISSES = Counter "cache_misses_total", "{read}", ["cache"],
            "Number of reads of the cache that found no value, by the place of the cache: `process` or `redis`.";
        ERRORS = Counter "errors_total", "{error}", ["origin"],
            "Number of errors of `request`s with a status of 500 or more, `job`s and event `delivery`s.";
    }
    "redis" {
        REDIS_CONNECTIONS = Gauge "redis_connections", "{connection}", [],
            "Number of open connections of this process to Redis.";
    }
    "jobs" {
        BACKGROUND_JOBS = Counter "background_jobs_total", "{attempt}", ["job" "status"],
            "Number of finished attempts of jobs, by job name and result: `done`, `retry`, `snoozed`, `dead` or `cancelled`.";
        BACKGROUND_JOB_DURATION = Histogram LONG_SECONDS "background_job_duration_seconds", "s", ["job"],
            otel "messaging.process.duration",
            "Time of an attempt, by job name.";
        BACKGROUND_JOB_QUEUE_SIZE = Gauge "background_job_queue_size", "{job}", ["queue" "state"],
            "Number of jobs of the app, by queue and state: `ready`, `running`, `scheduled` or `dead`. Counted once a minute.";
        BACKGROUND_JOB_OLDEST_AGE = Gauge "background_job_oldest_age_seconds", "s", ["queue"],
            "Time for which the longest waiting job of a queue has been due. Counted once a minute.";
    }
    "auth" {
        USERS_TOTAL = Gauge "users_total", "{user}", [],
            "Number of users of the app, counted once a minute. The same as `users`.";
        USERS = Gauge "users", "{user}", [],
            "Number of users of the app, counted once a minute.";
        TENANTS = Gauge "tenants", "{tenant}", [],
            "Number of tenants of the app, counted once a minute.";
        ACTIVE_SESSIONS = Gauge "active_sessions", "{session}", [],
            "Number of sessions that have not ended, counted once a minute.";
        ACTIVE_USERS = Gauge "active_users", "{user}", ["period"],
            "Number of users with a session that was used in the last `1d`, `7d` or `30d`, counted once a minute.";
        AUTH_EVENTS = Counter "auth_events_total", "{event}", ["event"],
            "Number of changes of accounts, sessions, teams and API keys, by the action in the audit log.";
        AUTH_FAILURES = Counter "auth_failures_total", "{failure}", ["reason"],
            "Number of callers who were not authenticated and of sign-ins that failed, by error code.";
        TOKEN_OPERATIONS = Counter "token_operations_total", "{operation}", ["operation"],
            "Number of operations on tokens of sessions: `issue`, `refresh`, `reuse` of a refresh token, or `revoke`.";
        API_KEY_USAGE = Counter "api_key_usage_total", "{request}", ["result"],
            "Number of requests with an API key: `allowed`, or `limited` by the rate limit of keys.";
    }
    "email" {
        EMAILS = Counter "emails_total", "{mail}", ["status"],
            "Number of attempts to send a mail, by result: `sent`, `retried`, `failed`, `skipped` or `unknown`.";
    }
    "sms" {
        SMS = Counter "sms_total", "{message}", ["status"],
            "Number of attempts to send a text message, by result: `sent`, `retried`, `failed`, `skipped` or `unknown`.";
    }
    "storage" {
        STORAGE_OPERATIONS = Counter "storage_operations_total", "{operation}", ["operation" "status"],
            "Number of calls to the storage provider, by operation, and by result: `ok` or the kind of the error.";
        STORAGE_OPERATION_DURATION = Histogram LONG_SECONDS "storage_operation_duration_seconds", "s", ["operation"],
            "Time of a call to the storage provider, by operation.";
    }
    "flags" {
        FLAG_RELOADS = Counter "flag_reloads_total", "{reload}", ["result"],
            "Number of times that this process has read the feature flags: `ok` or `error`.";
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
    "billing" {
        ACTIVE_SUBSCRIPTIONS_TOTAL = Gauge "active_subscriptions_total", "{subscription}", ["plan"],
            "Number of active subscriptions by plan. The same as `active_subscriptions`. Comes with the feature `billing`.";
        ACTIVE_SUBSCRIPTIONS = Gauge "active_subscriptions", "{subscription}", ["plan"],
            "Number of active subscriptions by plan. Comes with the feature `billing`.";
    }
    "usage" {
        USAGE_EVENTS = Counter "usage_events_total", "{event}", ["status"],
            "Number of usage events by result: `accepted`, `late`, `duplicate`, `conflict`, `unmatched` or `rejected`. \
             Comes with the feature `billing`.";
        USAGE_INGEST_DURATION = Histogram DATABASE_SECONDS "usage_ingest_duration_seconds", "s", [],
            "Time of a transaction that stores usage events. Comes with the feature `billing`.";
        QUOTA_DECISIONS = Counter "quota_decisions_total", "{decision}", ["meter" "result"],
            "Number of checks of quotas, by meter and result: `allowed` or `refused`. Comes with the feature `billing`.";
    }
    "realtime" {
        WEBSOCKET_CONNECTIONS = Gauge "websocket_connections", "{connection}", [],
            "Number of open WebSocket connections. Comes with the feature `realtime`.";
        WEBSOCKET_MESSAGES = Counter "websocket_messages_total", "{message}", ["direction"],
            "Number of messages on WebSocket connections, `in` or `out`. Comes with the feature `realtime`.";
    }
    "webhooks" {
        WEBHOOK_EVENTS = Counter "webhook_events_total", "{event}", ["provider" "status"],
            "Number of webhooks, by provider and result: `received`, `duplicate`, `rejected`, `processed`, `ignored` or \
             `failed`; of the provider `outbound`, the attempts to deliver, `delivered`, `retried`, `failed` or `skipped`.";
        WEBHOOK_PROCESSING_DURATION = Histogram LONG_SECONDS "webhook_processing_duration_seconds", "s", ["provider"],
            "Time of an attempt to process a webhook of a provider, or, of the provider `outbound`, to deliver one.";
    }
    "ai" {
        LLM_REQUESTS = Counter "llm_requests_total", "{request}", ["provider" "model" "status"],
            "Number of requests to language models, by provider, model and result. Comes with the feature `ai`.";
        LLM_TOKENS = Counter "llm_tokens_total", "{token}", ["provider" "model" "type"],
            otel "gen_ai.client.token.usage",
            "Number of tokens, `input` or `output`, by provider and model. Comes with the feature `ai`.";
        LLM_REQUEST_DURATION = Histogram LONG_SECONDS "llm_request_duration_seconds", "s", ["provider" "model"],
            otel "gen_ai.client.operation.duration",
            "Time of a request to a language model, by provider and model. Comes with the feature `ai`.";
        LLM_FIRST_TOKEN = Histogram LONG_SECONDS "llm_first_token_seconds", "s", ["provider" "model"],
            otel "gen_ai.client.operation.time_to_first_chunk",
            "Time from a request to the first part of the answer, by provider and model. Comes with the feature `ai`.";
        LLM_UNPRICED = Counter "llm_unpriced_total", "{request}", ["provider" "model"],
            "Number of answers of models whose price is not known. Comes with the feature `ai`.";
        LLM_CACHE = Counter "llm_cache_total", "{read}", ["result"],
            "Number of reads of the cache of answers: `hit`, `similar` or `miss`. Comes with the feature `ai`.";
        LLM_REFUSALS = Counter "llm_refusals_total", "{request}", ["guardrail"],
            "Number of requests and answers that a guardrail refused, by its name. Comes with the feature `ai`.";
        AI_PROVIDER_RATE_LIMITS = Counter "ai_provider_rate_limits_total", "{response}", ["provider"],
            "Number of responses with a rate limit of an AI provider, by provider. Comes with the feature `ai`.";
        AI_BREAKER_OPENINGS = Counter "ai_breaker_openings_total", "{outage}", ["provider"],
            "Number of times that a model was avoided because its last calls failed, by provider. Comes with the \
             feature `ai`.";
        AI_ENDING_MODELS = Gauge "ai_ending_models", "{model}", [],
            "Number of models which the app names, and which have ended or end within 60 days. Comes with the feature \
             `ai`.";
        AI_BUDGET_DECISIONS = Counter "ai_budget_decisions_total", "{decision}", ["result"],
            "Number of calls that budgets have `allowed` or `refused`. Comes with the feature `ai`.";
        AI_LOST_CALLS = Counter "ai_lost_calls_total", "{call}", [],
            "Number of calls to models that were lost with their process. Comes with the feature `ai`.";
        AI_VECTOR_SEARCH_DURATION = Histogram DATABASE_SECONDS "ai_vector_search_duration_seconds", "s", ["engine"],
            "Time of a search of vectors, by the engine. Comes with the feature `ai`.";
        AI_FIXES = Counter "ai_fixes_total", "{fix}", ["status"],
            "Number of fixes that have reached a status, such as `proposed` or `failed`. Comes with the feature `ai`.";
        AI_TOOL_CALLS = Counter "ai_tool_calls_total", "{call}", ["tool" "status"],
            "Number of calls of tools by agents, by tool and result, `succeeded` or `failed`. Comes with the feature `ai`.";
    }
}
