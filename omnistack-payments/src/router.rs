//! The choice of the account that takes a payment.
//!
//! [`PaymentRouter`] puts the tenant's accounts in order: by the [rules](rules) of the tenant, by what each service
//! supports, by the health of each account, and by the estimated fee.
