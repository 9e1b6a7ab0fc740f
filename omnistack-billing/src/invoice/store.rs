//! The SQL of invoices and of their lines.

mod rows;

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, BulkInsert, Dialect, Error, Tx},
    identity::TenantId,
    usage::DataEnvironment,
};
use sqlx::AssertSqlSafe;

pub(super) use rows::{InvoiceRow, LineRow, StoredInvoice};

use super::model::{InvoiceId, InvoiceStatus};

const COLUMNS: &str =
    "id, tenant_id, environment, kind, status, key, series, number, currency, period_start, period_end,
    discounts, uses_credits, note, net, tax, total, credits_amount, credits_used, paid, credited, snapshot, original_id,
    issued_at, due_at, paid_at, voided_at, created_at";

static INSERT_LINES: BulkInsert<19> = BulkInsert::new(
    "insert into omni_invoice_lines (invoice_id, position, tenant_id, kind, description, quantity, quantity_decimals,
        unit, price, price_decimals, amount, discount, product, tax_category, tax_rate, meter, period_start, period_end,
        original_position) values",
    "",
);

/// Inserts an invoice and its lines. Returns `false` if the tenant has an invoice with this key.
pub(super) async fn insert(tx: &mut Tx, invoice: &StoredInvoice) -> Result<bool, Error> {
    let StoredInvoice { row, lines } = invoice;
    let sql = "insert into omni_invoices (id, tenant_id, environment, kind, status, key, series, number, currency,
            period_start, period_end, discounts, uses_credits, note, net, tax, total, credits_amount, credits_used, paid,
            credited, snapshot, original_id, issued_at, due_at, paid_at, voided_at, created_at, updated_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
            $24, $25, $26, $27, $28, $28)
        on conflict (tenant_id, environment, key) do nothing";
    let insert = tx.query(sql).bind(row.id).bind(row.tenant_id).bind(row.environment.as_str()).bind(row.kind.as_str());
    let insert = insert.bind(row.status.as_str()).bind(row.key.as_str()).bind(row.series.clone()).bind(row.number);
    let insert = insert.bind(row.currency.as_str()).bind(row.period_start).bind(row.period_end);
    let insert = insert.bind(row.discounts.as_str()).bind(row.uses_credits).bind(row.note.as_str()).bind(row.net);
    let insert = insert.bind(row.tax).bind(row.total).bind(row.credits_amount).bind(row.credits_used).bind(row.paid);
    let insert = insert.bind(row.credited).bind(row.snapshot.clone()).bind(row.original_id).bind(row.issued_at);
    let insert = insert.bind(row.due_at).bind(row.paid_at).bind(row.voided_at).bind(row.created_at);
    if insert.execute().await? == 0 {
        return Ok(false);
    }
    let tenant = row.tenant_id;
    let bind = |args: &mut Arguments, line: &LineRow| {
        args.push(line.invoice_id);
        args.push(line.position);
        args.push(tenant);
        args.push(line.kind.clone());
        args.push(line.description.clone());
        args.push(line.quantity);
        args.push(line.quantity_decimals);
        args.push(line.unit.clone());
        args.push(line.price);
        args.push(line.price_decimals);
        args.push(line.amount);
        args.push(line.discount);
        args.push(line.product.clone());
        args.push(line.tax_category.clone());
        args.push(line.tax_rate);
        args.push(line.meter.clone());
        args.push(line.period_start);
        args.push(line.period_end);
        args.push(line.original_position);
    };
    INSERT_LINES.execute(tx, lines, bind).await?;
    Ok(true)
}

/// Returns an invoice of a tenant, with its lines.
pub(super) async fn find(tx: &mut Tx, tenant: TenantId, id: InvoiceId) -> Result<Option<StoredInvoice>, Error> {
    let sql = format!("select {COLUMNS} from omni_invoices where tenant_id = $1 and id = $2");
    let row: Option<InvoiceRow> = tx.query(AssertSqlSafe(sql)).bind(tenant).bind(id).fetch_optional().await?;
    let Some(row) = row else { return Ok(None) };
    let (row, lines) = (row.checked()?, lines(tx, &[id]).await?);
    Ok(Some(StoredInvoice { row, lines }))
}

/// Returns an invoice of a tenant without its lines, locked until the transaction ends.
pub(super) async fn lock(tx: &mut Tx, tenant: TenantId, id: InvoiceId) -> Result<Option<InvoiceRow>, Error> {
    let locking = if tx.dialect() == Dialect::Postgres { " for update" } else { "" };
    let sql = format!("select {COLUMNS} from omni_invoices where tenant_id = $1 and id = $2{locking}");
    let row: Option<InvoiceRow> = tx.query(AssertSqlSafe(sql)).bind(tenant).bind(id).fetch_optional().await?;
    row.map(InvoiceRow::checked).transpose()
}

/// Returns the id of the invoice with a key.
pub(super) async fn id_of_key(
    tx: &mut Tx,
    tenant: TenantId,
    environment: DataEnvironment,
    key: &str,
) -> Result<Option<InvoiceId>, Error> {
    let sql = "select id from omni_invoices where tenant_id = $1 and environment = $2 and key = $3";
    let found = tx.query(sql).bind(tenant).bind(environment.as_str()).bind(key);
    Ok(found.fetch_optional::<(InvoiceId,)>().await?.map(|(id,)| id))
}

/// Returns the invoice that a credit note of a tenant corrects, or `None` for another id.
pub(super) async fn original_of(tx: &mut Tx, tenant: TenantId, id: InvoiceId) -> Result<Option<InvoiceId>, Error> {
    let sql = "select original_id from omni_invoices where tenant_id = $1 and id = $2";
    let found: Option<(Option<InvoiceId>,)> = tx.query(sql).bind(tenant).bind(id).fetch_optional().await?;
    Ok(found.and_then(|(original,)| original))
}

/// Returns the tenant of an invoice.
pub(super) async fn tenant_of(tx: &mut Tx, id: InvoiceId) -> Result<Option<TenantId>, Error> {
    let sql = "select tenant_id from omni_invoices where id = $1";
    Ok(tx.query(sql).bind(id).fetch_optional::<(TenantId,)>().await?.map(|(tenant,)| tenant))
}

/// Returns the lines of invoices, ordered by invoice and position.
pub(super) async fn lines(tx: &mut Tx, ids: &[InvoiceId]) -> Result<Vec<LineRow>, Error> {
    let mut args = Arguments::new(tx.dialect());
    let list: Vec<_> = ids.iter().map(|id| args.push_next(*id)).collect();
    let sql = format!(
        "select invoice_id, position, kind, description, quantity, quantity_decimals, unit, price, price_decimals, amount,
            discount, product, tax_category, tax_rate, meter, period_start, period_end, original_position
        from omni_invoice_lines where invoice_id in ({}) order by invoice_id, position",
        list.join(", ")
    );
    let rows: Vec<LineRow> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    rows.into_iter().map(LineRow::checked).collect()
}

/// Returns the invoices with these ids, of any tenants that the transaction sees, with their lines.
pub(super) async fn find_all(tx: &mut Tx, ids: &[InvoiceId]) -> Result<Vec<StoredInvoice>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut args = Arguments::new(tx.dialect());
    let list: Vec<_> = ids.iter().map(|id| args.push_next(*id)).collect();
    let sql = format!("select {COLUMNS} from omni_invoices where id in ({}) order by id", list.join(", "));
    let rows: Vec<InvoiceRow> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    let mut lines = lines(tx, ids).await?.into_iter().peekable();
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let mut of_row = Vec::new();
        // Both lists are ordered by the id.
        while let Some(line) = lines.next_if(|line| line.invoice_id <= row.id) {
            if line.invoice_id == row.id {
                of_row.push(line);
            }
        }
        all.push(StoredInvoice { row: row.checked()?, lines: of_row });
    }
    Ok(all)
}

/// A selection of invoices.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InvoiceFilter {
    /// `None` for all tenants.
    pub(super) tenant: Option<TenantId>,
    pub(super) environment: DataEnvironment,
    pub(super) status: Option<InvoiceStatus>,
    /// Whether drafts are left out.
    pub(super) is_final: bool,
    /// Only invoices with a smaller id.
    pub(super) before: Option<InvoiceId>,
}

/// Returns invoices, the newest first.
pub(super) async fn list(tx: &mut Tx, filter: InvoiceFilter, limit: i64) -> Result<Vec<InvoiceRow>, Error> {
    let mut args = Arguments::new(tx.dialect());
    let mut conditions = format!("environment = ${}", args.push(filter.environment.as_str()));
    if let Some(tenant) = filter.tenant {
        conditions = format!("{conditions} and tenant_id = ${}", args.push(tenant));
    }
    if let Some(status) = filter.status {
        conditions = format!("{conditions} and status = ${}", args.push(status.as_str()));
    }
    if filter.is_final {
        conditions.push_str(" and number is not null");
    }
    if let Some(before) = filter.before {
        conditions = format!("{conditions} and id < ${}", args.push(before));
    }
    let limit = args.push(limit);
    let sql = format!("select {COLUMNS} from omni_invoices where {conditions} order by id desc limit ${limit}");
    let rows: Vec<InvoiceRow> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    rows.into_iter().map(InvoiceRow::checked).collect()
}

/// Takes numbers of a series, and returns the first. Other transactions wait for this one before they take numbers.
pub(super) async fn take_numbers(
    tx: &mut Tx,
    series: &str,
    environment: DataEnvironment,
    count: i64,
) -> Result<i64, Error> {
    let sql = "insert into omni_invoice_series (series, environment, last) values ($1, $2, $3)
        on conflict (series, environment) do update set last = omni_invoice_series.last + excluded.last
        returning last";
    let take = tx.query(sql).bind(series).bind(environment.as_str()).bind(count);
    let (last,): (i64,) = take.fetch_one().await?;
    Ok(last - count + 1)
}

/// Stores a draft as final. Returns `false` if it is no draft any more.
pub(super) async fn finalize(tx: &mut Tx, row: &InvoiceRow, now: Timestamp) -> Result<bool, Error> {
    let sql = "update omni_invoices set status = $3, series = $4, number = $5, net = $6, tax = $7, total = $8,
            credits_amount = $9, credits_used = $10, snapshot = $11, issued_at = $12, due_at = $13, paid_at = $14,
            updated_at = $15
        where tenant_id = $1 and id = $2 and status = 'draft'";
    let update = tx.query(sql).bind(row.tenant_id).bind(row.id).bind(row.status.as_str()).bind(row.series.clone());
    let update = update.bind(row.number).bind(row.net).bind(row.tax).bind(row.total).bind(row.credits_amount);
    let update = update.bind(row.credits_used).bind(row.snapshot.clone()).bind(row.issued_at).bind(row.due_at);
    Ok(update.bind(row.paid_at).bind(now).execute().await? == 1)
}

/// Stores the taxes of lines: of all of an invoice at once if they have the same, as nearly all invoices do.
pub(super) async fn set_taxes(tx: &mut Tx, tenant: TenantId, lines: &[LineRow]) -> Result<(), Error> {
    let Some(first) = lines.first() else { return Ok(()) };
    let set = "update omni_invoice_lines set tax_category = $3, tax_rate = $4 where tenant_id = $1 and invoice_id = $2";
    if lines.iter().all(|line| line.tax() == first.tax()) {
        let update = tx.query(set).bind(tenant).bind(first.invoice_id).bind(first.tax_category.clone());
        return update.bind(first.tax_rate).execute().await.map(drop);
    }
    for line in lines {
        let sql = AssertSqlSafe(format!("{set} and position = $5"));
        let update = tx.query(sql).bind(tenant).bind(line.invoice_id).bind(line.tax_category.clone());
        update.bind(line.tax_rate).bind(line.position).execute().await?;
    }
    Ok(())
}

/// Stores what was paid or credited, and the status. The transaction has locked the row.
pub(super) async fn update(tx: &mut Tx, row: &InvoiceRow, now: Timestamp) -> Result<(), Error> {
    let sql = "update omni_invoices set status = $3, paid = $4, credited = $5, credits_amount = $6, credits_used = $7,
            paid_at = $8, voided_at = $9, updated_at = $10
        where tenant_id = $1 and id = $2";
    let update = tx.query(sql).bind(row.tenant_id).bind(row.id).bind(row.status.as_str()).bind(row.paid);
    let update = update.bind(row.credited).bind(row.credits_amount).bind(row.credits_used).bind(row.paid_at);
    update.bind(row.voided_at).bind(now).execute().await.map(drop)
}

/// Deletes a draft. Returns `false` if there is no such draft.
pub(super) async fn delete_draft(tx: &mut Tx, tenant: TenantId, id: InvoiceId) -> Result<bool, Error> {
    let sql = "delete from omni_invoices where tenant_id = $1 and id = $2 and status = 'draft'";
    if tx.query(sql).bind(tenant).bind(id).execute().await? == 0 {
        return Ok(false);
    }
    let sql = "delete from omni_invoice_lines where tenant_id = $1 and invoice_id = $2";
    tx.query(sql).bind(tenant).bind(id).execute().await?;
    Ok(true)
}

/// Adds a payment. Returns `false` if there is one with this reference.
pub(super) async fn insert_payment(
    tx: &mut Tx,
    invoice: &InvoiceRow,
    reference: &str,
    amount: i64,
    at: Timestamp,
) -> Result<bool, Error> {
    let sql = "insert into omni_invoice_payments (invoice_id, reference, tenant_id, amount, paid_at)
        values ($1, $2, $3, $4, $5) on conflict (invoice_id, reference) do nothing";
    let insert = tx.query(sql).bind(invoice.id).bind(reference).bind(invoice.tenant_id).bind(amount).bind(at);
    Ok(insert.execute().await? == 1)
}

/// Returns the credit notes of an invoice.
pub(super) async fn credit_notes(tx: &mut Tx, tenant: TenantId, id: InvoiceId) -> Result<Vec<StoredInvoice>, Error> {
    let sql = "select id from omni_invoices where tenant_id = $1 and original_id = $2 order by id";
    let ids: Vec<(InvoiceId,)> = tx.query(sql).bind(tenant).bind(id).fetch_all().await?;
    let ids: Vec<InvoiceId> = ids.into_iter().map(|(id,)| id).collect();
    find_all(tx, &ids).await
}

/// Returns whether the app was told that an invoice is final.
pub(super) async fn is_announced(tx: &mut Tx, tenant: TenantId, id: InvoiceId) -> Result<bool, Error> {
    let sql = "select count(*) from omni_invoices where tenant_id = $1 and id = $2 and announced_at is not null";
    let (count,): (i64,) = tx.query(sql).bind(tenant).bind(id).fetch_one().await?;
    Ok(count > 0)
}

/// Notes that the app is told of a final invoice. Returns `false` if it was told before.
pub(super) async fn announce(tx: &mut Tx, tenant: TenantId, id: InvoiceId, now: Timestamp) -> Result<bool, Error> {
    let sql = "update omni_invoices set announced_at = $3
        where tenant_id = $1 and id = $2 and announced_at is null and number is not null";
    Ok(tx.query(sql).bind(tenant).bind(id).bind(now).execute().await? == 1)
}
