//! The customers of the shop as callers, and their way to accounts of OmniStack.

use axum::http::request::Parts;
use omnistack::{
    BoxError,
    auth::users::{NewUser, Users},
    identity::{Authenticate, Permissions, bearer_token},
    prelude::*,
};

use crate::before::{self, Pool};

// ANCHOR: authenticate
/// An authenticator of customers by the sessions of the shop.
#[derive(Clone, Debug)]
pub struct Customers {
    pool: Pool,
}

#[async_trait]
impl Authenticate for Customers {
    async fn authenticate(&self, request: &Parts) -> Result<Option<Identity>, Error> {
        let Some(token) = bearer_token(request) else {
            return Ok(None);
        };
        let customer = before::customer_of_session(&self.pool, token).await.map_err(omnistack::db::Error::from)?;
        let customer = customer.ok_or_else(|| Error::unauthorized("the session has ended; sign in again"))?;
        // Each customer is its own tenant. The numbers of the table become ids, and come back with `id.number()`.
        let identity = Identity::user(UserId::from_number(customer.id));
        Ok(Some(identity.for_tenant(TenantId::from_number(customer.id)).with_permissions(Permissions::all())))
    }
}
// ANCHOR_END: authenticate

impl Customers {
    /// Creates the authenticator.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

// ANCHOR: import
/// Creates an account for each customer without one, with the customer's id and password hash. Returns their number.
///
/// # Errors
/// The errors of the database.
pub async fn import(users: &Users, pool: &Pool) -> Result<usize, BoxError> {
    let mut imported = 0;
    for customer in before::customers(pool).await? {
        let id = UserId::from_number(customer.id);
        if users.find(id).await?.is_some() {
            continue;
        }
        let mut new = NewUser::with_email(customer.email).with_password_hash(customer.password_hash);
        new.id = Some(id);
        // The shop has verified the address.
        new.email_verified = true;
        let Err(error) = users.create(new).await else {
            imported += 1;
            continue;
        };
        // Another replica that starts at the same time may have created it.
        if users.find(id).await?.is_none() {
            return Err(error.into());
        }
    }
    Ok(imported)
}
// ANCHOR_END: import
