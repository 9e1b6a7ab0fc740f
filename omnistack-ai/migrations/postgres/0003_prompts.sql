-- A row is a prompt of the app. Prompts belong to no tenant.
create table omni_ai_prompts (
    name text primary key,
    description text not null,
    -- Who can use it besides the app's own code.
    access text not null check (access in ('internal', 'callable', 'overridable')),
    -- The number of the newest version.
    last_version bigint not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

-- A row is a version of a prompt. Versions do not change.
create table omni_ai_prompt_versions (
    name text not null references omni_ai_prompts (name) on delete cascade,
    version bigint not null,
    -- JSON: the messages with their templates, the variables and the parameters of the call.
    content text not null,
    note text not null,
    created_by uuid not null,
    created_at timestamptz not null,
    primary key (name, version)
);

-- A row is a label of a prompt, such as `production`, and the versions that it stands for.
create table omni_ai_prompt_labels (
    name text not null references omni_ai_prompts (name) on delete cascade,
    label text not null,
    -- JSON: the versions with their weights.
    versions text not null,
    -- JSON: those before the last change. Null if there were none.
    previous text,
    -- The feature flag whose variants decide between the versions. Null if only the weights do.
    flag text,
    -- The flag before the last change. Null if there was none.
    previous_flag text,
    updated_by uuid not null,
    updated_at timestamptz not null,
    primary key (name, label)
);

-- A row is the content that a tenant uses in place of a prompt's versions.
create table omni_ai_prompt_overrides (
    tenant_id uuid not null,
    name text not null references omni_ai_prompts (name) on delete cascade,
    -- The number of changes, which distinguishes the contents in the ledger.
    revision bigint not null,
    content text not null,
    updated_by uuid not null,
    updated_at timestamptz not null,
    primary key (tenant_id, name)
);
create index omni_ai_prompt_overrides_name_idx on omni_ai_prompt_overrides (name);
alter table omni_ai_prompt_overrides enable row level security;
alter table omni_ai_prompt_overrides force row level security;
create policy tenant on omni_ai_prompt_overrides using (omnistack_visible(tenant_id));

-- For the usage of the versions of a prompt.
create index omni_ai_calls_prompt_idx on omni_ai_calls (prompt, started_at) where prompt is not null;
