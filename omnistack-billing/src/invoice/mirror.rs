//! Copies of the invoices that payment providers make.

use omnistack_core::{
    clock::Timestamp,
    db::{self, Arguments, Tx},
    http::{CursorPage, Error, FieldError},
    identity::TenantId,
    money::{Currency, Money},
    payment::{ProviderInvoice, ProviderInvoiceStatus},
    usage::DataEnvironment,
};
use sqlx::AssertSqlSafe;

use super::{
    handle::{Invoices, check_transaction},
    model::MirroredInvoice,
};
use crate::period::BillingPeriod;

impl Invoices {
    /// Stores the copy of an invoice of a payment provider, in the caller's transaction, which is one of the tenant in the
    /// app's database. A copy with the same id is replaced.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn mirror_in(
        &self,
        tx: &mut Tx,
        tenant: TenantId,
        environment: DataEnvironment,
        provider: &str,
        invoice: &ProviderInvoice,
    ) -> Result<(), Error> {
        check_transaction(tx)?;
        let sql = "insert into omni_provider_invoices (tenant_id, environment, provider, external_id, number, status,
                currency, total, paid, period_start, period_end, hosted_url, pdf_url, created_at, updated_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
            on conflict (tenant_id, environment, provider, external_id) do update set number = excluded.number,
                status = excluded.status, total = excluded.total, paid = excluded.paid,
                period_start = excluded.period_start, period_end = excluded.period_end,
                hosted_url = excluded.hosted_url, pdf_url = excluded.pdf_url, updated_at = excluded.updated_at";
        let insert = tx.query(sql).bind(tenant).bind(environment.as_str()).bind(provider).bind(invoice.id.as_str());
        let insert = insert.bind(invoice.number.clone()).bind(status(invoice.status));
        let insert =
            insert.bind(invoice.total.currency().code()).bind(invoice.total.minor()).bind(invoice.paid.minor());
        let (start, end) = invoice.period.unzip();
        let insert = insert.bind(start).bind(end).bind(invoice.hosted_url.clone()).bind(invoice.pdf_url.clone());
        insert.bind(invoice.created_at).bind(self.now()).execute().await?;
        Ok(())
    }

    /// Returns a page of the copies of a tenant, the newest first.
    pub(super) async fn mirrored(
        &self,
        tenant: TenantId,
        environment: DataEnvironment,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<CursorPage<MirroredInvoice>, Error> {
        let before = cursor.map(|cursor| {
            let (at, id) = cursor.split_once('_')?;
            Some((Timestamp::from_micros(at.parse().ok()?), id.to_owned()))
        });
        let before = match before {
            None => None,
            Some(Some(before)) => Some(before),
            Some(None) => {
                return Err(Error::invalid([FieldError::new(
                    "cursor",
                    "must be the `next_cursor` of a previous page",
                )]));
            }
        };
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let mut rows = list(&mut tx, tenant, environment, before, i64::from(limit) + 1).await?;
        tx.commit().await?;
        let size = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > size;
        rows.truncate(size);
        let cursor = |row: &MirrorRow| format!("{}_{}", row.created_at.as_micros(), row.external_id);
        let next_cursor = rows.last().filter(|_| has_more).map(cursor);
        let items = rows.into_iter().map(MirrorRow::read).collect::<Result<_, _>>()?;
        Ok(CursorPage { items, next_cursor })
    }
}

fn status(status: ProviderInvoiceStatus) -> &'static str {
    match status {
        ProviderInvoiceStatus::Draft => "draft",
        ProviderInvoiceStatus::Open => "open",
        ProviderInvoiceStatus::Paid => "paid",
        ProviderInvoiceStatus::Void => "void",
        ProviderInvoiceStatus::Uncollectible => "uncollectible",
    }
}

#[derive(omnistack_core::db::FromRow)]
struct MirrorRow {
    provider: String,
    external_id: String,
    number: Option<String>,
    status: String,
    currency: String,
    total: i64,
    paid: i64,
    period_start: Option<Timestamp>,
    period_end: Option<Timestamp>,
    hosted_url: Option<String>,
    pdf_url: Option<String>,
    created_at: Timestamp,
}

impl MirrorRow {
    fn read(self) -> Result<MirroredInvoice, db::Error> {
        let unreadable = || {
            let id = format!("{} of {}", self.external_id, self.provider);
            db::Error::unreadable("omni_provider_invoices", id, "currency")
        };
        let currency = Currency::from_code(&self.currency).ok_or_else(unreadable)?;
        let period = self.period_start.zip(self.period_end).map(|(start, end)| BillingPeriod { start, end });
        Ok(MirroredInvoice {
            provider: self.provider,
            id: self.external_id,
            number: self.number,
            status: self.status,
            total: Money::new(self.total, currency),
            paid: Money::new(self.paid, currency),
            period,
            hosted_url: self.hosted_url,
            pdf_url: self.pdf_url,
            created_at: self.created_at,
        })
    }
}

async fn list(
    tx: &mut Tx,
    tenant: TenantId,
    environment: DataEnvironment,
    before: Option<(Timestamp, String)>,
    limit: i64,
) -> Result<Vec<MirrorRow>, db::Error> {
    let mut args = Arguments::new(tx.dialect());
    let (tenant, environment) = (args.push(tenant), args.push(environment.as_str()));
    let older = match before {
        None => String::new(),
        Some((at, id)) => format!(" and (created_at, external_id) < (${}, ${})", args.push(at), args.push(id)),
    };
    let limit = args.push(limit);
    let sql = format!(
        "select provider, external_id, number, status, currency, total, paid, period_start, period_end, hosted_url,
            pdf_url, created_at
        from omni_provider_invoices where tenant_id = ${tenant} and environment = ${environment}{older}
        order by created_at desc, external_id desc limit ${limit}"
    );
    tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await
}
