-- A row is a plan that a tenant had until a time, so that the invoice of a period is made with the plan of the period.
create table omni_billing_former_plans (
    tenant_id uuid not null,
    until timestamptz not null,
    plan text not null,
    plan_version integer not null,
    primary key (tenant_id, until)
);
alter table omni_billing_former_plans enable row level security;
alter table omni_billing_former_plans force row level security;
create policy tenant on omni_billing_former_plans using (omnistack_visible(tenant_id));

-- A row is the name and the address of a tenant, for its invoices.
create table omni_billing_details (
    tenant_id uuid not null,
    -- `live` or `test`.
    environment text not null,
    -- JSON.
    details text not null,
    updated_at timestamptz not null,
    primary key (tenant_id, environment)
);
alter table omni_billing_details enable row level security;
alter table omni_billing_details force row level security;
create policy tenant on omni_billing_details using (omnistack_visible(tenant_id));

-- A row is the last number of a series of the seller. The transaction that finalises an invoice has locked it, so that
-- no number is left out.
create table omni_invoice_series (
    series text not null,
    environment text not null,
    last bigint not null,
    primary key (series, environment)
);

-- A row is an invoice or a credit note. Amounts are in minor units of the currency.
create table omni_invoices (
    id uuid primary key,
    tenant_id uuid not null,
    environment text not null,
    kind text not null check (kind in ('invoice', 'credit_note')),
    status text not null check (status in ('draft', 'open', 'paid', 'void')),
    -- What is billed; a second draft with the same key is not made.
    key text not null,
    -- Null for a draft.
    series text,
    number bigint,
    currency text not null,
    period_start timestamptz,
    period_end timestamptz,
    -- JSON list, in the order in which they are applied.
    discounts text not null,
    -- Whether credits of the wallet pay the invoice.
    uses_credits boolean not null,
    note text not null,
    -- The sum of the lines after discounts.
    net bigint not null,
    -- 0 for a draft.
    tax bigint not null,
    total bigint not null,
    -- The part of the total that credits have paid, and the credits, in millionths.
    credits_amount bigint not null default 0 check (credits_amount >= 0),
    credits_used bigint not null default 0,
    paid bigint not null default 0 check (paid >= 0),
    -- The sum of the credit notes.
    credited bigint not null default 0 check (credited >= 0),
    -- JSON: the seller, the customer and the taxes when the invoice was finalised. Null for a draft.
    snapshot text,
    -- The invoice of a credit note.
    original_id uuid,
    issued_at timestamptz,
    due_at timestamptz,
    paid_at timestamptz,
    voided_at timestamptz,
    -- When the app was told that the invoice is final.
    announced_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (tenant_id, environment, key),
    check ((status = 'draft') = (number is null))
);
create unique index omni_invoices_number_idx on omni_invoices (environment, series, number) where number is not null;
create index omni_invoices_tenant_id_idx on omni_invoices (tenant_id, environment, id);
-- For operators: the newest that match.
create index omni_invoices_environment_idx on omni_invoices (environment, id);
create index omni_invoices_status_idx on omni_invoices (environment, status, id);
create index omni_invoices_original_id_idx on omni_invoices (original_id) where original_id is not null;
create index omni_invoices_draft_idx on omni_invoices (id) where status = 'draft';
alter table omni_invoices enable row level security;
alter table omni_invoices force row level security;
create policy tenant on omni_invoices using (omnistack_visible(tenant_id));

-- A row is a line of an invoice or a credit note.
create table omni_invoice_lines (
    invoice_id uuid not null,
    -- From 1.
    position integer not null,
    tenant_id uuid not null,
    kind text not null check (kind in ('plan', 'usage', 'late_usage', 'item')),
    description text not null,
    -- The quantity and the price of a unit, each as a whole number and its number of decimals.
    quantity bigint not null,
    quantity_decimals integer not null,
    unit text not null,
    price bigint not null,
    price_decimals integer not null,
    -- The product of both, rounded to minor units.
    amount bigint not null,
    -- The line's part of the discounts.
    discount bigint not null,
    -- What is sold, for the tax. Empty for the app's service.
    product text not null,
    -- The category of EN 16931 and the rate in millionths. Null for a draft.
    tax_category text,
    tax_rate integer,
    meter text,
    period_start timestamptz,
    period_end timestamptz,
    -- The line of the invoice that a line of a credit note corrects.
    original_position integer,
    primary key (invoice_id, position)
);
create index omni_invoice_lines_tenant_id_idx on omni_invoice_lines (tenant_id, invoice_id, position);
alter table omni_invoice_lines enable row level security;
alter table omni_invoice_lines force row level security;
create policy tenant on omni_invoice_lines using (omnistack_visible(tenant_id));

-- A row is a payment of an invoice. One with the same reference is not added twice.
create table omni_invoice_payments (
    invoice_id uuid not null,
    reference text not null,
    tenant_id uuid not null,
    amount bigint not null check (amount > 0),
    paid_at timestamptz not null,
    primary key (invoice_id, reference)
);
create index omni_invoice_payments_tenant_id_idx on omni_invoice_payments (tenant_id, invoice_id, reference);
alter table omni_invoice_payments enable row level security;
alter table omni_invoice_payments force row level security;
create policy tenant on omni_invoice_payments using (omnistack_visible(tenant_id));

-- A row is the copy of an invoice that a payment provider has made.
create table omni_provider_invoices (
    tenant_id uuid not null,
    environment text not null,
    provider text not null,
    external_id text not null,
    number text,
    status text not null,
    currency text not null,
    total bigint not null,
    paid bigint not null,
    period_start timestamptz,
    period_end timestamptz,
    hosted_url text,
    pdf_url text,
    -- At the provider.
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (tenant_id, environment, provider, external_id)
);
create index omni_provider_invoices_created_at_idx on omni_provider_invoices (tenant_id, environment, created_at, external_id);
alter table omni_provider_invoices enable row level security;
alter table omni_provider_invoices force row level security;
create policy tenant on omni_provider_invoices using (omnistack_visible(tenant_id));
