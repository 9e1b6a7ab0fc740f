-- A row is an answer that equal requests of the tenant get again. The requests are not stored, only their hashes.
create table omni_ai_answers (
    id blob primary key not null,
    tenant_id blob not null,
    -- SHA-256 of all that can change the answer.
    key blob not null,
    -- SHA-256 of the same without the text of the user's message, if that text has an embedding.
    scope blob,
    -- 32-bit floats, little-endian, of length 1.
    embedding blob,
    provider text not null,
    model text not null,
    -- JSON.
    answer text not null,
    expires_at text not null,
    unique (tenant_id, key)
) strict;
create index omni_ai_answers_scope_idx on omni_ai_answers (tenant_id, scope, id) where scope is not null;
create index omni_ai_answers_tenant_id_idx on omni_ai_answers (tenant_id, id);
create index omni_ai_answers_expires_at_idx on omni_ai_answers (expires_at);

-- A row is a tenant's choice to keep a log of its prompts.
create table omni_ai_prompt_log_settings (
    tenant_id blob primary key not null,
    enabled integer not null,
    retention_days integer not null check (retention_days between 1 and 365),
    updated_at text not null
) strict;

-- A row is the text of a call, of a tenant that keeps a log.
create table omni_ai_prompt_log (
    -- The id of the call.
    id blob primary key not null,
    tenant_id blob not null,
    environment text not null,
    user_id blob,
    api_key_id blob,
    asked_model text not null,
    provider text not null,
    model text not null,
    -- The error, if the call failed.
    error text,
    -- JSON array of messages.
    request text not null,
    -- JSON object.
    response text not null,
    created_at text not null,
    expires_at text not null
) strict;
create index omni_ai_prompt_log_tenant_id_idx on omni_ai_prompt_log (tenant_id, id);
create index omni_ai_prompt_log_expires_at_idx on omni_ai_prompt_log (expires_at);
