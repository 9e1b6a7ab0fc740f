-- A row is the customer that a tenant is at a provider. It is inserted before the provider is called.
create table omni_billing_customers (
    tenant_id blob not null,
    provider text not null,
    -- `live` or `test`.
    environment text not null,
    -- The id at the provider. Null until the provider has answered.
    external_id text,
    created_at text not null,
    updated_at text not null,
    primary key (tenant_id, provider, environment),
    unique (provider, environment, external_id)
) strict;

-- A row is a checkout of a plan. It is inserted before the provider is called, and its id is the reference there.
create table omni_checkouts (
    id blob primary key not null,
    tenant_id blob not null,
    environment text not null,
    provider text not null,
    plan text not null,
    plan_version integer not null,
    -- The interval of the price, such as `month` or `year`.
    period text not null,
    -- The id of the price at the provider.
    price text not null,
    quantity integer not null,
    -- The group whose trial the checkout begins. Null without a trial.
    trial_group text,
    trial_end text,
    -- `pause`, `cancel` or `create_invoice` at the end of a trial that may begin without a payment method. Null if it
    -- may not.
    trial_without_card text,
    -- The code of a coupon at the provider.
    coupon text,
    success_url text not null,
    cancel_url text not null,
    status text not null check (status in ('creating', 'open', 'complete', 'expired', 'failed')),
    -- The id and the page at the provider. Null until the provider has answered.
    external_id text,
    url text,
    -- The subscription at the provider that was created.
    subscription text,
    created_by blob not null,
    expires_at text not null,
    created_at text not null,
    updated_at text not null,
    unique (provider, environment, external_id)
) strict;
create unique index omni_checkouts_open_idx on omni_checkouts (tenant_id, environment, plan)
    where status in ('creating', 'open');
create index omni_checkouts_expires_at_idx on omni_checkouts (expires_at) where status in ('creating', 'open');

-- A row is a subscription at a provider or an app store.
create table omni_subscriptions (
    id blob primary key not null,
    tenant_id blob not null,
    environment text not null,
    provider text not null,
    external_id text not null,
    -- The reference at the provider: the checkout. Null if it was bought without one.
    reference text,
    -- The id of the customer at the provider. Null in app stores.
    customer text,
    -- JSON: the whole state. The columns after it are parts of it, for lists and indexes.
    state text not null,
    status text not null,
    -- The plan that is paid, the interval of its price, and the number of units.
    plan text not null,
    plan_version integer not null,
    plan_group text not null,
    period text not null,
    quantity integer not null,
    period_start text,
    period_end text,
    trial_end text,
    cancel_at text,
    ended_at text,
    -- Since when a payment is due, the number of failed payments since, and until when the tenant keeps the plan.
    past_due_since text,
    failed_payments integer not null,
    grace_until text,
    -- Whether the tenant has the plan.
    entitled integer not null,
    -- Whether another subscription of the tenant was paid first, so that this one is canceled and refunded.
    is_duplicate integer not null,
    -- The recurring revenue of a month less recurring discounts, in minor units. Zero unless the subscription is paid.
    mrr integer not null,
    currency text not null,
    -- The earliest end of a discount. Null if none ends.
    discount_end text,
    -- The end of a subscription that the app itself requires: `canceling`, `refunding`, `done` or `failed`. The number of
    -- failed attempts, the number of times that an operator has begun anew, and the last failure.
    cleanup text,
    cleanup_attempts integer not null,
    cleanup_round integer not null,
    cleanup_error text,
    -- JSON: a change that the provider was asked for and has not answered yet.
    request text,
    -- The number of the change of this row.
    version integer not null,
    provider_created_at text not null,
    -- When the state was last read from the provider.
    checked_at text not null,
    created_at text not null,
    updated_at text not null,
    unique (provider, environment, external_id)
) strict;
create index omni_subscriptions_tenant_id_idx on omni_subscriptions (tenant_id, environment, id);
create index omni_subscriptions_checked_at_idx on omni_subscriptions (checked_at) where ended_at is null;
create index omni_subscriptions_grace_until_idx on omni_subscriptions (grace_until)
    where grace_until is not null and entitled;
create index omni_subscriptions_discount_end_idx on omni_subscriptions (discount_end) where ended_at is null;
create index omni_subscriptions_trial_end_idx on omni_subscriptions (trial_end) where status = 'trialing';
create index omni_subscriptions_cleanup_idx on omni_subscriptions (updated_at) where cleanup in ('canceling', 'refunding');
-- For operators: the newest that match.
create index omni_subscriptions_environment_idx on omni_subscriptions (environment, id);
create index omni_subscriptions_status_idx on omni_subscriptions (environment, status, id);
create index omni_subscriptions_plan_idx on omni_subscriptions (environment, plan, id);
create index omni_subscriptions_cleanup_state_idx on omni_subscriptions (environment, cleanup, id) where cleanup is not null;
create index omni_subscriptions_request_idx on omni_subscriptions (updated_at) where request is not null;

-- A row is the use of a trial. It stays when the subscription ends.
create table omni_trials (
    tenant_id blob not null,
    environment text not null,
    plan_group text not null,
    -- The subscription that used it, at the provider.
    provider text not null,
    subscription text not null,
    -- The user who has begun it.
    user_id blob,
    started_at text not null,
    primary key (tenant_id, environment, plan_group)
) strict;
create index omni_trials_user_id_idx on omni_trials (user_id, environment, plan_group) where user_id is not null;

-- A row is what of a payment was refunded. The amounts are sums, so that an event that arrives twice changes nothing.
create table omni_refund_states (
    provider text not null,
    environment text not null,
    -- The id of the payment at the provider.
    payment text not null,
    tenant_id blob not null,
    paid integer not null,
    refunded integer not null,
    currency text not null,
    -- The grant of credits that was paid, and its amount in millionths. Null if the payment was for something else.
    grant_key text,
    granted integer,
    updated_at text not null,
    primary key (provider, environment, payment)
) strict;
create index omni_refund_states_tenant_id_idx on omni_refund_states (tenant_id);

-- A row is a dispute of a payment of a subscription.
create table omni_billing_disputes (
    provider text not null,
    environment text not null,
    external_id text not null,
    tenant_id blob not null,
    subscription_id blob not null,
    payment text,
    -- `open`, `won` or `lost`.
    status text not null check (status in ('open', 'won', 'lost')),
    created_at text not null,
    updated_at text not null,
    primary key (provider, environment, external_id)
) strict;
create index omni_billing_disputes_tenant_id_idx on omni_billing_disputes (tenant_id);

-- A row is a change of the recurring revenue of a tenant. Rows are only added.
create table omni_subscription_changes (
    id blob primary key not null,
    tenant_id blob not null,
    environment text not null,
    subscription_id blob not null,
    kind text not null check (kind in ('new', 'expansion', 'contraction', 'churn', 'reactivation')),
    plan text not null,
    -- The recurring revenue of a month, in minor units.
    mrr_before integer not null,
    mrr_after integer not null,
    currency text not null,
    at text not null
) strict;
create index omni_subscription_changes_at_idx on omni_subscription_changes (environment, at);
create index omni_subscription_changes_tenant_id_idx on omni_subscription_changes (tenant_id, environment, at);
