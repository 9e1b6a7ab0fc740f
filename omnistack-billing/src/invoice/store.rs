//! The rows of invoices and of their lines.

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, BulkInsert, Dialect, Error, FromRow, Tx},
    http,
    identity::TenantId,
    money::{Currency, Money},
    usage::{DataEnvironment, Decimal},
};
use sqlx::AssertSqlSafe;

use super::{
    amounts::Factor,
    model::{Invoice, InvoiceId, InvoiceKind, InvoiceLine, InvoiceLineKind, InvoiceListItem, InvoiceStatus},
    snapshot::{InvoiceSnapshot, StoredDiscount, StoredTax},
};
use crate::{
    period::BillingPeriod,
    quantity::Quantity,
    tax::{TaxCategory, TaxRate},
};

const COLUMNS: &str =
    "id, tenant_id, environment, kind, status, key, series, number, currency, period_start, period_end,
    discounts, uses_credits, note, net, tax, total, credits_amount, credits_used, paid, credited, snapshot, original_id,
    issued_at, due_at, paid_at, voided_at, created_at";

/// Digits of the number of an invoice.
const NUMBER_DIGITS: usize = 6;

/// An invoice as its row has it.
#[derive(Clone, Debug, FromRow)]
pub(super) struct InvoiceRow {
    pub(super) id: InvoiceId,
    pub(super) tenant_id: TenantId,
    environment: String,
    kind: String,
    status: String,
    pub(super) key: String,
    pub(super) series: Option<String>,
    pub(super) number: Option<i64>,
    currency: String,
    pub(super) period_start: Option<Timestamp>,
    pub(super) period_end: Option<Timestamp>,
    discounts: String,
    pub(super) uses_credits: bool,
    pub(super) note: String,
    pub(super) net: i64,
    pub(super) tax: i64,
    pub(super) total: i64,
    pub(super) credits_amount: i64,
    pub(super) credits_used: i64,
    pub(super) paid: i64,
    pub(super) credited: i64,
    snapshot: Option<String>,
    pub(super) original_id: Option<InvoiceId>,
    pub(super) issued_at: Option<Timestamp>,
    pub(super) due_at: Option<Timestamp>,
    pub(super) paid_at: Option<Timestamp>,
    pub(super) voided_at: Option<Timestamp>,
    pub(super) created_at: Timestamp,
}

impl InvoiceRow {
    /// Creates a draft.
    pub(super) fn draft(id: InvoiceId, tenant: TenantId, environment: DataEnvironment, at: Timestamp) -> Self {
        Self {
            id,
            tenant_id: tenant,
            environment: environment.as_str().to_owned(),
            kind: InvoiceKind::Invoice.as_str().to_owned(),
            status: InvoiceStatus::Draft.as_str().to_owned(),
            key: String::new(),
            series: None,
            number: None,
            currency: String::new(),
            period_start: None,
            period_end: None,
            discounts: "[]".to_owned(),
            uses_credits: false,
            note: String::new(),
            net: 0,
            tax: 0,
            total: 0,
            credits_amount: 0,
            credits_used: 0,
            paid: 0,
            credited: 0,
            snapshot: None,
            original_id: None,
            issued_at: None,
            due_at: None,
            paid_at: None,
            voided_at: None,
            created_at: at,
        }
    }

    pub(super) fn set_currency(&mut self, currency: Currency) {
        currency.code().clone_into(&mut self.currency);
    }

    pub(super) fn set_kind(&mut self, kind: InvoiceKind) {
        kind.as_str().clone_into(&mut self.kind);
    }

    pub(super) fn set_status(&mut self, status: InvoiceStatus) {
        status.as_str().clone_into(&mut self.status);
    }

    pub(super) fn set_discounts(&mut self, discounts: &[StoredDiscount]) -> Result<(), serde_json::Error> {
        self.discounts = serde_json::to_string(discounts)?;
        Ok(())
    }

    pub(super) fn set_snapshot(&mut self, snapshot: &InvoiceSnapshot) -> Result<(), serde_json::Error> {
        self.snapshot = Some(serde_json::to_string(snapshot)?);
        Ok(())
    }

    pub(super) fn environment(&self) -> DataEnvironment {
        self.environment.parse().unwrap_or_default()
    }

    pub(super) fn kind(&self) -> InvoiceKind {
        InvoiceKind::from_stored(&self.kind)
    }

    pub(super) fn status(&self) -> InvoiceStatus {
        InvoiceStatus::from_stored(&self.status)
    }

    /// Returns the currency. It was one when it was stored.
    pub(super) fn currency(&self) -> Currency {
        Currency::from_code(&self.currency).unwrap_or(Currency::XXX)
    }

    /// Returns the number with its prefix. Numbers of tests begin with `TEST-`.
    pub(super) fn number_text(&self) -> Option<String> {
        let (series, number) = (self.series.as_deref()?, self.number?);
        let test = if self.environment() == DataEnvironment::Test { "TEST-" } else { "" };
        Some(format!("{test}{series}{number:0NUMBER_DIGITS$}"))
    }

    pub(super) fn snapshot(&self) -> Result<Option<InvoiceSnapshot>, serde_json::Error> {
        self.snapshot.as_deref().map(serde_json::from_str).transpose()
    }

    pub(super) fn period(&self) -> Option<BillingPeriod> {
        let (start, end) = self.period_start.zip(self.period_end)?;
        Some(BillingPeriod { start, end })
    }

    /// Returns the amount that is owed, below zero if more was paid or credited.
    pub(super) fn balance(&self) -> i64 {
        match (self.kind(), self.status()) {
            (InvoiceKind::CreditNote, _) | (_, InvoiceStatus::Void) => 0,
            _ => self.total - self.credits_amount - self.paid - self.credited,
        }
    }

    fn due(&self) -> Money {
        Money::new(self.balance().max(0), self.currency())
    }

    pub(super) fn list_item(self) -> InvoiceListItem {
        InvoiceListItem {
            id: self.id,
            tenant_id: self.tenant_id,
            environment: self.environment(),
            kind: self.kind(),
            status: self.status(),
            number: self.number_text(),
            period: self.period(),
            total: Money::new(self.total, self.currency()),
            due: self.due(),
            issued_at: self.issued_at,
            due_at: self.due_at,
            created_at: self.created_at,
        }
    }
}

/// A line as its row has it.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(super) struct LineRow {
    pub(super) invoice_id: InvoiceId,
    pub(super) position: i32,
    pub(super) kind: String,
    pub(super) description: String,
    pub(super) quantity: i64,
    pub(super) quantity_decimals: i32,
    pub(super) unit: String,
    pub(super) price: i64,
    pub(super) price_decimals: i32,
    pub(super) amount: i64,
    pub(super) discount: i64,
    pub(super) product: String,
    pub(super) tax_category: Option<String>,
    pub(super) tax_rate: Option<i32>,
    pub(super) meter: Option<String>,
    pub(super) period_start: Option<Timestamp>,
    pub(super) period_end: Option<Timestamp>,
    pub(super) original_position: Option<i32>,
}

impl LineRow {
    pub(super) fn new(
        invoice: InvoiceId,
        position: i32,
        kind: InvoiceLineKind,
        quantity: Factor,
        price: Factor,
    ) -> Self {
        let decimals = |factor: Factor| i32::try_from(factor.decimals).unwrap_or(i32::MAX);
        Self {
            invoice_id: invoice,
            position,
            kind: kind.as_str().to_owned(),
            description: String::new(),
            quantity: quantity.units,
            quantity_decimals: decimals(quantity),
            unit: String::new(),
            price: price.units,
            price_decimals: decimals(price),
            amount: 0,
            discount: 0,
            product: String::new(),
            tax_category: None,
            tax_rate: None,
            meter: None,
            period_start: None,
            period_end: None,
            original_position: None,
        }
    }

    pub(super) fn net(&self) -> i64 {
        self.amount - self.discount
    }

    pub(super) fn tax(&self) -> Option<(TaxCategory, TaxRate)> {
        let category = self.tax_category.as_deref().and_then(TaxCategory::from_code)?;
        let rate = u32::try_from(self.tax_rate?).ok()?;
        Some((category, TaxRate::from_millionths(rate)))
    }

    pub(super) fn set_tax(&mut self, category: TaxCategory, rate: TaxRate) {
        self.tax_category = Some(category.code().to_owned());
        self.tax_rate = i32::try_from(rate.millionths()).ok();
    }

    fn read(self, currency: Currency) -> InvoiceLine {
        let money = |minor| Money::new(minor, currency);
        let decimal = |units: i64, decimals: i32| {
            Decimal::from_i128_with_scale(units.into(), u32::try_from(decimals).unwrap_or(0))
        };
        let (tax, net) = (self.tax(), self.net());
        let position = |position: i32| u32::try_from(position).unwrap_or(0);
        let period = self.period_start.zip(self.period_end).map(|(start, end)| BillingPeriod { start, end });
        InvoiceLine {
            position: position(self.position),
            kind: InvoiceLineKind::from_stored(&self.kind),
            quantity: Quantity(decimal(self.quantity, self.quantity_decimals).normalize()),
            unit_price: decimal(self.price, self.price_decimals).normalize().to_string(),
            description: self.description,
            unit: self.unit,
            amount: money(self.amount),
            discount: money(self.discount),
            net: money(net),
            product: self.product,
            tax_category: tax.map(|(category, _)| category),
            tax_rate: tax.map(|(_, rate)| rate),
            meter: self.meter,
            period,
            original_position: self.original_position.map(position),
        }
    }
}

/// An invoice with its lines.
#[derive(Clone, Debug)]
pub(super) struct StoredInvoice {
    pub(super) row: InvoiceRow,
    pub(super) lines: Vec<LineRow>,
}

impl StoredInvoice {
    /// Returns the invoice as the app sees it.
    pub(super) fn read(self) -> Result<Invoice, http::Error> {
        let Self { row, lines } = self;
        let currency = row.currency();
        let money = |minor| Money::new(minor, currency);
        let snapshot = row.snapshot().map_err(http::Error::internal)?;
        let discounts: Vec<StoredDiscount> = serde_json::from_str(&row.discounts).map_err(http::Error::internal)?;
        let taxes = snapshot.iter().flat_map(|snapshot| &snapshot.taxes).map(|tax: &StoredTax| tax.read(currency));
        Ok(Invoice {
            id: row.id,
            tenant_id: row.tenant_id,
            environment: row.environment(),
            kind: row.kind(),
            status: row.status(),
            number: row.number_text(),
            period: row.period(),
            taxes: taxes.collect(),
            seller: snapshot.as_ref().map(|snapshot| snapshot.seller.clone()),
            customer: snapshot.as_ref().map(|snapshot| snapshot.customer.clone()),
            original: snapshot.and_then(|snapshot| snapshot.original),
            lines: lines.into_iter().map(|line| line.read(currency)).collect(),
            discounts: discounts.into_iter().map(|discount| discount.read(currency)).collect(),
            net: money(row.net),
            tax: money(row.tax),
            total: money(row.total),
            credits: money(row.credits_amount),
            paid: money(row.paid),
            credited: money(row.credited),
            due: row.due(),
            issued_at: row.issued_at,
            due_at: row.due_at,
            paid_at: row.paid_at,
            voided_at: row.voided_at,
            created_at: row.created_at,
            note: row.note,
        })
    }
}

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
    let lines = lines(tx, &[id]).await?;
    Ok(Some(StoredInvoice { row, lines }))
}

/// Returns an invoice of a tenant without its lines, locked until the transaction ends.
pub(super) async fn lock(tx: &mut Tx, tenant: TenantId, id: InvoiceId) -> Result<Option<InvoiceRow>, Error> {
    let locking = if tx.dialect() == Dialect::Postgres { " for update" } else { "" };
    let sql = format!("select {COLUMNS} from omni_invoices where tenant_id = $1 and id = $2{locking}");
    tx.query(AssertSqlSafe(sql)).bind(tenant).bind(id).fetch_optional().await
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
    tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await
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
        all.push(StoredInvoice { row, lines: of_row });
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
    tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await
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

/// Notes that the app is told of a final invoice. Returns `false` if it was told before.
pub(super) async fn announce(tx: &mut Tx, tenant: TenantId, id: InvoiceId, now: Timestamp) -> Result<bool, Error> {
    let sql = "update omni_invoices set announced_at = $3
        where tenant_id = $1 and id = $2 and announced_at is null and number is not null";
    Ok(tx.query(sql).bind(tenant).bind(id).bind(now).execute().await? == 1)
}
