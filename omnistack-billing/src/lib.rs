//! Plans, entitlements, usage and credits: what a customer may do, what they have used, and what that costs.
//!
//! The module [`Billing`] gives each tenant a plan, and keeps a ledger of what the tenant has used. Both are in the app's
//! own database: usage is recorded in the transaction that it belongs to, and limits are checked before the work.
//!
//! ```
//! use omnistack_billing::{Billing, Ledger, Meter, PlanCatalogue, PlanDefinition};
//! use omnistack_core::{app::{App, DevIdentity}, config::Config, identity::Entitlements};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> omnistack_core::Result<()> {
//! # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
//! let free = PlanDefinition::new("free", "Free").limit("api_requests", 1_000).limit("pages", 20);
//! let pro = PlanDefinition::new("pro", "Pro").limit("pages", 5_000).feature("sso");
//! let app = App::builder(config)
//!     .with(DevIdentity::default())
//!     .with(
//!         Billing::from_env()
//!             .plans(PlanCatalogue::new([free, pro]).default_plan("free"))
//!             .meter(Meter::sum("pages", "pages").describe("Pages that were analysed.")),
//!     )
//!     .build()?;
//! assert!(app.context().get::<Entitlements>().is_ok() && app.context().get::<Ledger>().is_ok());
//! # Ok(())
//! # }
//! ```
//!
//! # Plans
//!
//! A [`PlanCatalogue`] has the plans, in code or in a TOML file. A tenant has a version of a plan, and keeps it when the
//! app sells another one. Operators give a tenant a feature or a limit of its own. Other modules ask core's
//! [`Entitlements`](omnistack_core::identity::Entitlements), which answers from memory and knows of a change on any
//! replica within a second.
//!
//! # Usage
//!
//! A [`Meter`] says what is counted. [`UsageSink`](omnistack_core::usage::UsageSink) records events of the app, [`Ledger`]
//! those of other systems.
//!
//! | | rule |
//! |---|---|
//! | once | of the events of a tenant with one source and id, one counts; another one with that id is a conflict |
//! | sums | an event is stored with what it adds to its minute, hour, day and billing period, in one transaction |
//! | late | an event of a closed billing period is billed in the current one, or rejected, as its meter says |
//! | unknown | an event of an unknown meter is stored, shown, and counted when an operator says so |
//! | amounts | are decimals, stored as integers in the smallest units of the meter |
//!
//! # Quotas and credits
//!
//! [`Quotas`] holds a part of a limit before the work is done ([`Reservation`]), or uses it at once, exactly across
//! replicas. [`Wallets`] has prepaid credits: grants with priorities and expiry, used in a fixed order.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod account;
mod app_store;
mod export;
mod invoice;
mod invoice_document;
mod ledger;
mod meter;
mod meter_report;
mod module;
mod period;
mod plan;
mod quantity;
mod quota;
mod report;
mod requests;
mod revenue;
mod settings;
mod subscription;
mod tax;
mod wallet;
mod window;

pub use account::{
    BillingAccount, BillingAccounts, OverLimit, OverrideKind, PlanAssignment, PlanChanged, PlanOverride,
};
pub use app_store::RefundReviewRequested;
pub use invoice::{
    Invoice, InvoiceDiscount, InvoiceFacts, InvoiceFinalized, InvoiceId, InvoiceKind, InvoiceLine, InvoiceLineKind,
    InvoiceListItem, InvoicePaid, InvoiceParty, InvoiceReference, InvoiceStatus, InvoiceTax, InvoiceVoided, Invoices,
    MirroredInvoice, NewCreditNote, NewInvoice, NewInvoiceLine, UsagePrice,
};
pub use ledger::{Ledger, RejectReason, UsageOutcome};
pub use meter::{Aggregation, LatePolicy, MAX_METER_NAME_BYTES, Meter};
pub use module::Billing;
pub use omnistack_core::{
    money::{Currency, InvalidMoney, Money},
    payment::TrialEndBehavior,
};
pub use period::{BillingAnchor, BillingInterval, BillingPeriod, IntervalUnit, InvalidInterval, PeriodSchedule};
pub use plan::{PlanCatalogue, PlanCatalogueError, PlanDefinition, PlanPrice};
pub use quantity::{MAX_METER_DECIMALS, Quantity, QuantityError};
pub use quota::{QuotaStatus, Quotas, RESERVATION_TTL, Reservation};
pub use subscription::{
    BillingSubscriptionUpdated, CreditPayment, FuturePlan, Subscription, SubscriptionId, Subscriptions,
};
pub use tax::{
    InvalidTaxRate, LineTax, TaxCategory, TaxItem, TaxParty, TaxProvider, TaxQuestion, TaxQuote, TaxRate, TaxTable,
};
pub use wallet::{
    CreditPart, CreditReturn, CreditUse, Credits, GrantOutcome, InvalidCredits, NewGrant, TopUp, TopUpOutcome,
    TopUpRequest, UseCredits, WalletBalance, WalletEntry, WalletEntryId, WalletEntryKind, WalletGrant, WalletGrantId,
    WalletLow, WalletTopUpDeclined, Wallets,
};
