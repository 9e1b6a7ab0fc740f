-- A row is a collection of vectors of a tenant.
create table omni_ai_vector_collections (
    id uuid primary key,
    tenant_id uuid not null,
    name text not null,
    -- The length of the vectors.
    dimensions bigint not null check (dimensions between 1 and 4096),
    -- The model that creates the vectors of texts. Null if the tenant sends vectors only.
    model text,
    created_at timestamptz not null,
    unique (tenant_id, name)
);
alter table omni_ai_vector_collections enable row level security;
alter table omni_ai_vector_collections force row level security;
create policy tenant on omni_ai_vector_collections using (omnistack_visible(tenant_id));

-- A row is the state of a collection in this database. Processes that have the collection in memory compare the version.
create table omni_ai_vector_versions (
    collection_id uuid primary key,
    tenant_id uuid not null,
    -- Grows with each change.
    version bigint not null,
    -- The version of the last change that deleted points.
    last_delete bigint not null,
    points bigint not null
);
create index omni_ai_vector_versions_tenant on omni_ai_vector_versions (tenant_id);
alter table omni_ai_vector_versions enable row level security;
alter table omni_ai_vector_versions force row level security;
create policy tenant on omni_ai_vector_versions using (omnistack_visible(tenant_id));

-- A row is a vector. With pgvector, an index over the vectors as values of its type is created when the first collection
-- with their number of dimensions is: the extension may be missing here, and may be installed later.
create table omni_ai_vector_points (
    tenant_id uuid not null,
    collection_id uuid not null,
    id text collate "C" not null,
    dimensions bigint not null,
    embedding real[] not null,
    content text,
    -- The words of the content, each between two spaces.
    words text not null,
    metadata jsonb not null,
    -- The version of the collection that stored the row.
    version bigint not null,
    updated_at timestamptz not null,
    primary key (collection_id, id)
);
-- The numbers can't be compressed.
alter table omni_ai_vector_points alter column embedding set storage external;
create index omni_ai_vector_points_version on omni_ai_vector_points (collection_id, version);
create index omni_ai_vector_points_tenant on omni_ai_vector_points (tenant_id);
alter table omni_ai_vector_points enable row level security;
alter table omni_ai_vector_points force row level security;
create policy tenant on omni_ai_vector_points using (omnistack_visible(tenant_id));

-- A row is a document that is split into chunks, whose vectors are stored as points.
create table omni_ai_vector_documents (
    tenant_id uuid not null,
    collection_id uuid not null,
    id text collate "C" not null,
    -- Changes when the document is sent again: a job that still works on the earlier content then ends.
    revision uuid not null,
    status text not null check (status in ('queued', 'running', 'done', 'failed')),
    -- Empty when its chunks are stored.
    content text not null,
    metadata text not null,
    model text not null,
    -- In characters.
    chunk_size bigint not null,
    overlap bigint not null,
    chunks bigint not null,
    done_chunks bigint not null,
    -- The number of points of the earlier content, which are deleted if the new content has fewer.
    old_chunks bigint not null,
    tokens bigint not null,
    -- In pico-USD. Null if the price of the model is not known.
    cost_pico bigint,
    error text,
    -- The caller who pays.
    user_id uuid,
    api_key_id uuid,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (collection_id, id)
);
create index omni_ai_vector_documents_tenant on omni_ai_vector_documents (tenant_id);
alter table omni_ai_vector_documents enable row level security;
alter table omni_ai_vector_documents force row level security;
create policy tenant on omni_ai_vector_documents using (omnistack_visible(tenant_id));
