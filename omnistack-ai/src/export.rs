//! The rows of the gateway in exports of tenants: calls, budgets, prompts, the texts of calls if the tenant keeps them,
//! vectors without their numbers, and fixes. Costs are in millionths of a millionth of a USD.

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Db},
    module::{Context, MissingDependency, Registry},
    tenant_export::{ExportRow, StoredJson},
};
use serde::Serialize;
use uuid::Uuid;

/// Adds the rows to the exports of tenants.
pub(crate) fn register(registry: &mut Registry) {
    registry
        .tenant_export_table::<CallRecord>("ai-calls", app_database)
        .tenant_export_table::<BudgetRecord>("ai-budgets", app_database)
        .tenant_export_table::<PromptOverrideRecord>("ai-prompts", app_database)
        .tenant_export_table::<PromptLogRecord>("ai-prompt-log", app_database)
        .tenant_export_table::<CollectionRecord>("ai-vector-collections", app_database)
        .tenant_export_table::<DocumentRecord>("ai-vector-documents", app_database)
        .tenant_export_table::<PointRecord>("ai-vector-points", app_database)
        .tenant_export_table::<FindingRecord>("ai-fix-findings", app_database)
        .tenant_export_table::<FixStatusRecord>("ai-fixes", app_database)
        .tenant_export_table::<FixEventRecord>("ai-fix-events", app_database);
}

/// Returns the app's own database, which has the rows of all tenants, also if each tenant has a database.
fn app_database(ctx: &Context) -> Result<Db, MissingDependency> {
    Ok(ctx.get::<Db>()?.app_database())
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct CallRecord {
    id: Uuid,
    environment: String,
    user_id: Option<Uuid>,
    api_key_id: Option<Uuid>,
    asked_model: String,
    provider: Option<String>,
    model: Option<String>,
    status: String,
    input_tokens: i64,
    cached_tokens: i64,
    cache_write_tokens: i64,
    cache_write_long_tokens: i64,
    output_tokens: i64,
    reasoning_tokens: i64,
    is_estimated: bool,
    cost_pico_usd: Option<i64>,
    is_cached: bool,
    error: Option<String>,
    first_byte_ms: Option<i64>,
    duration_ms: Option<i64>,
    prompt: Option<String>,
    variant: Option<String>,
    purpose: Option<String>,
    started_at: Timestamp,
    settled_at: Option<Timestamp>,
}

impl ExportRow for CallRecord {
    const SELECT: &'static str = "select id, environment, user_id, api_key_id, asked_model, provider, model, status,
        input_tokens, cached_tokens, cache_write_tokens, cache_write_long_tokens, output_tokens, reasoning_tokens,
        is_estimated, cost_pico as cost_pico_usd, is_cached, error, first_byte_ms, duration_ms, prompt, variant,
        purpose, started_at, settled_at
        from omni_ai_calls where tenant_id = $1";
    const KEY: &'static [&'static str] = &["id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct BudgetRecord {
    id: Uuid,
    scope: String,
    subject: String,
    period: String,
    limit_tokens: Option<i64>,
    limit_pico_usd: Option<i64>,
    soft_percent: Option<i32>,
    is_hard: bool,
    by_operator: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl ExportRow for BudgetRecord {
    const SELECT: &'static str = "select id, scope, subject, period, limit_tokens, limit_pico as limit_pico_usd,
        soft_percent, is_hard, by_operator, created_at, updated_at
        from omni_ai_budgets where tenant_id = $1";
    const KEY: &'static [&'static str] = &["id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct PromptOverrideRecord {
    name: String,
    revision: i64,
    content: StoredJson,
    updated_by: Uuid,
    updated_at: Timestamp,
}

impl ExportRow for PromptOverrideRecord {
    const SELECT: &'static str = "select name, revision, content, updated_by, updated_at
        from omni_ai_prompt_overrides where tenant_id = $1";
    const KEY: &'static [&'static str] = &["name"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.name.clone());
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct PromptLogRecord {
    id: Uuid,
    environment: String,
    user_id: Option<Uuid>,
    api_key_id: Option<Uuid>,
    asked_model: String,
    provider: String,
    model: String,
    error: Option<String>,
    request: StoredJson,
    response: StoredJson,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl ExportRow for PromptLogRecord {
    const SELECT: &'static str = "select id, environment, user_id, api_key_id, asked_model, provider, model, error,
        request, response, created_at, expires_at
        from omni_ai_prompt_log where tenant_id = $1";
    const KEY: &'static [&'static str] = &["id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct CollectionRecord {
    id: Uuid,
    name: String,
    dimensions: i64,
    model: Option<String>,
    created_at: Timestamp,
}

impl ExportRow for CollectionRecord {
    const SELECT: &'static str = "select id, name, dimensions, model, created_at
        from omni_ai_vector_collections where tenant_id = $1";
    const KEY: &'static [&'static str] = &["id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct DocumentRecord {
    collection_id: Uuid,
    id: String,
    status: String,
    metadata: StoredJson,
    model: String,
    chunk_size: i64,
    overlap: i64,
    chunks: i64,
    tokens: i64,
    cost_pico_usd: Option<i64>,
    error: Option<String>,
    user_id: Option<Uuid>,
    api_key_id: Option<Uuid>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl ExportRow for DocumentRecord {
    const SELECT: &'static str = "select collection_id, id, status, metadata, model, chunk_size, overlap, chunks,
        tokens, cost_pico as cost_pico_usd, error, user_id, api_key_id, created_at, updated_at
        from omni_ai_vector_documents where tenant_id = $1";
    const KEY: &'static [&'static str] = &["collection_id", "id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.collection_id);
        values.push(self.id.clone());
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct PointRecord {
    collection_id: Uuid,
    id: String,
    content: Option<String>,
    metadata: StoredJson,
    updated_at: Timestamp,
}

impl ExportRow for PointRecord {
    const SELECT: &'static str = "select collection_id, id, content, cast(metadata as text) as metadata, updated_at
        from omni_ai_vector_points where tenant_id = $1";
    const KEY: &'static [&'static str] = &["collection_id", "id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.collection_id);
        values.push(self.id.clone());
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct FindingRecord {
    id: Uuid,
    repository: Option<String>,
    branch: Option<String>,
    path: String,
    start_line: i64,
    end_line: i64,
    rule: String,
    severity: String,
    message: String,
    code: Option<String>,
    created_by: Option<Uuid>,
    created_at: Timestamp,
}

impl ExportRow for FindingRecord {
    const SELECT: &'static str = "select id, repository, branch, path, start_line, end_line, rule, severity, message,
        code, created_by, created_at
        from omni_ai_fix_findings where tenant_id = $1";
    const KEY: &'static [&'static str] = &["id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct FixStatusRecord {
    id: Uuid,
    finding_id: Uuid,
    status: String,
    approved_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl ExportRow for FixStatusRecord {
    const SELECT: &'static str = "select id, finding_id, status, approved_at, created_at, updated_at
        from omni_ai_fixes where tenant_id = $1";
    const KEY: &'static [&'static str] = &["id"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.id);
    }
}

#[derive(Serialize, omnistack_core::db::FromRow)]
struct FixEventRecord {
    fix_id: Uuid,
    sequence: i64,
    at: Timestamp,
    actor: Option<Uuid>,
    data: StoredJson,
}

impl ExportRow for FixEventRecord {
    const SELECT: &'static str = "select fix_id, sequence, at, actor, data
        from omni_ai_fix_events where tenant_id = $1";
    const KEY: &'static [&'static str] = &["fix_id", "sequence"];

    fn push_key(&self, values: &mut Arguments) {
        values.push(self.fix_id);
        values.push(self.sequence);
    }
}
