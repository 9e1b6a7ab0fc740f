-- A row is a collection of vectors of a tenant.
create table omni_ai_vector_collections (
    id blob primary key not null,
    tenant_id blob not null,
    name text not null,
    -- The length of the vectors.
    dimensions integer not null check (dimensions between 1 and 4096),
    -- The model that creates the vectors of texts. Null if the tenant sends vectors only.
    model text,
    created_at text not null,
    unique (tenant_id, name)
) strict;

-- A row is the state of a collection in this database. Processes that have the collection in memory compare the version.
create table omni_ai_vector_versions (
    collection_id blob primary key not null,
    tenant_id blob not null,
    -- Grows with each change.
    version integer not null,
    -- The version of the last change that deleted points.
    last_delete integer not null,
    points integer not null
) strict;
create index omni_ai_vector_versions_tenant on omni_ai_vector_versions (tenant_id);

-- A row is a vector: numbers of 32 bits, little-endian.
create table omni_ai_vector_points (
    tenant_id blob not null,
    collection_id blob not null,
    id text not null,
    dimensions integer not null,
    embedding blob not null,
    content text,
    -- The words of the content, each between two spaces.
    words text not null,
    metadata text not null,
    -- The version of the collection that stored the row.
    version integer not null,
    updated_at text not null,
    primary key (collection_id, id)
) strict;
create index omni_ai_vector_points_version on omni_ai_vector_points (collection_id, version);
create index omni_ai_vector_points_tenant on omni_ai_vector_points (tenant_id);

-- A row is a document that is split into chunks, whose vectors are stored as points.
create table omni_ai_vector_documents (
    tenant_id blob not null,
    collection_id blob not null,
    id text not null,
    -- Changes when the document is sent again: a job that still works on the earlier content then ends.
    revision blob not null,
    status text not null check (status in ('queued', 'running', 'done', 'failed')),
    -- Empty when its chunks are stored.
    content text not null,
    metadata text not null,
    model text not null,
    -- In characters.
    chunk_size integer not null,
    overlap integer not null,
    chunks integer not null,
    done_chunks integer not null,
    -- The number of points of the earlier content, which are deleted if the new content has fewer.
    old_chunks integer not null,
    tokens integer not null,
    -- In pico-USD. Null if the price of the model is not known.
    cost_pico integer,
    error text,
    -- The caller who pays.
    user_id blob,
    api_key_id blob,
    created_at text not null,
    updated_at text not null,
    primary key (collection_id, id)
) strict;
create index omni_ai_vector_documents_tenant on omni_ai_vector_documents (tenant_id);
