-- A row is an answer that equal requests of the tenant get again. The requests are not stored, only their hashes.
create table omni_ai_answers (
    id uuid primary key,
    tenant_id uuid not null,
    -- SHA-256 of all that can change the answer.
    key bytea not null,
    -- SHA-256 of the same without the text of the user's message, if that text has an embedding.
    scope bytea,
    -- 32-bit floats, little-endian, of length 1.
    embedding bytea,
    provider text not null,
    model text not null,
    -- JSON.
    answer text not null,
    expires_at timestamptz not null,
    unique (tenant_id, key)
);
create index omni_ai_answers_scope_idx on omni_ai_answers (tenant_id, scope, id) where scope is not null;
create index omni_ai_answers_tenant_id_idx on omni_ai_answers (tenant_id, id);
create index omni_ai_answers_expires_at_idx on omni_ai_answers (expires_at);
alter table omni_ai_answers enable row level security;
alter table omni_ai_answers force row level security;
create policy tenant on omni_ai_answers using (omnistack_visible(tenant_id));

-- A row is a tenant's choice to keep a log of its prompts.
create table omni_ai_prompt_log_settings (
    tenant_id uuid primary key,
    enabled boolean not null,
    retention_days integer not null check (retention_days between 1 and 365),
    updated_at timestamptz not null
);
alter table omni_ai_prompt_log_settings enable row level security;
alter table omni_ai_prompt_log_settings force row level security;
create policy tenant on omni_ai_prompt_log_settings using (omnistack_visible(tenant_id));

-- A row is the text of a call, of a tenant that keeps a log.
create table omni_ai_prompt_log (
    -- The id of the call.
    id uuid primary key,
    tenant_id uuid not null,
    environment text not null,
    user_id uuid,
    api_key_id uuid,
    asked_model text not null,
    provider text not null,
    model text not null,
    -- The error, if the call failed.
    error text,
    -- JSON array of messages.
    request text not null,
    -- JSON object.
    response text not null,
    created_at timestamptz not null,
    expires_at timestamptz not null
);
create index omni_ai_prompt_log_tenant_id_idx on omni_ai_prompt_log (tenant_id, id);
create index omni_ai_prompt_log_expires_at_idx on omni_ai_prompt_log (expires_at);
alter table omni_ai_prompt_log enable row level security;
alter table omni_ai_prompt_log force row level security;
create policy tenant on omni_ai_prompt_log using (omnistack_visible(tenant_id));
