//! Grants, uses and the statement of a wallet.

use omnistack_core::{
    clock::Timestamp,
    http::{Error, FieldError},
    id::Id,
    identity::TenantId,
    usage::DataEnvironment,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{credits::Credits, rules::MAX_WALLET_BALANCE};

/// Largest length of the key of a grant or a use, in characters.
pub(super) const MAX_KEY_CHARS: usize = 200;
/// Largest length of a description, in characters.
pub(super) const MAX_DESCRIPTION_CHARS: usize = 500;

/// The id of a grant.
pub type WalletGrantId = Id<WalletGrant>;
/// The id of an entry of a statement.
pub type WalletEntryId = Id<WalletEntry>;

/// A grant of credits to a tenant.
///
/// ```
/// use omnistack_billing::{Credits, NewGrant};
/// use omnistack_core::{clock::Timestamp, identity::TenantId};
///
/// /// Returns the grant for a payment. Credits that were paid for are used last, and don't expire.
/// fn paid(tenant: TenantId, payment: &str) -> NewGrant {
///     NewGrant::new(tenant, format!("payment/{payment}"), Credits::from(1_000)).priority(10)
/// }
///
/// /// Returns the grant of a month, which expires.
/// fn monthly(tenant: TenantId, month: &str, end: Timestamp) -> NewGrant {
///     NewGrant::new(tenant, format!("plan/{month}"), Credits::from(50)).expires_at(end)
/// }
/// # let _ = (paid, monthly);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct NewGrant {
    pub(crate) tenant: TenantId,
    pub(crate) environment: DataEnvironment,
    pub(crate) key: String,
    pub(crate) amount: Credits,
    pub(super) priority: i32,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) description: String,
}

impl NewGrant {
    /// Creates a grant of live credits with the priority 0 that does not expire. `key` names what was paid or promised,
    /// such as `payment/0197a1b0`, with 1 to 200 characters. The amount is more than zero, and at most a billion.
    pub fn new(tenant: TenantId, key: impl Into<String>, amount: Credits) -> Self {
        Self {
            tenant,
            environment: DataEnvironment::Live,
            key: key.into(),
            amount,
            priority: 0,
            expires_at: None,
            description: String::new(),
        }
    }

    /// Sets the environment.
    pub fn environment(mut self, environment: DataEnvironment) -> Self {
        self.environment = environment;
        self
    }

    /// Sets the priority. The grant with the lowest number is used first.
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the time from which on what is left can't be used.
    pub fn expires_at(mut self, at: impl Into<Option<Timestamp>>) -> Self {
        self.expires_at = at.into();
        self
    }

    /// Sets the text for the statement, at most 500 characters.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }
}

/// The result of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrantOutcome {
    /// The id of the grant.
    pub id: WalletGrantId,
    /// Whether the credits were added. `false` if there was a grant with the same key.
    pub granted: bool,
}

/// A use of credits.
///
/// ```
/// use omnistack_billing::{Credits, UseCredits};
/// use omnistack_core::identity::TenantId;
///
/// fn completion(tenant: TenantId, id: &str, price: Credits) -> UseCredits {
///     UseCredits::new(tenant, format!("completion/{id}"), price).description("gpt-5")
/// }
/// # let _ = completion;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct UseCredits {
    pub(super) tenant: TenantId,
    pub(super) environment: DataEnvironment,
    pub(super) key: String,
    pub(super) amount: Credits,
    pub(super) description: String,
}

impl UseCredits {
    /// Creates a use of live credits. `key` names what the credits are used for, with 1 to 200 characters. The amount
    /// is more than zero.
    pub fn new(tenant: TenantId, key: impl Into<String>, amount: Credits) -> Self {
        let (environment, description) = (DataEnvironment::Live, String::new());
        Self { tenant, environment, key: key.into(), amount, description }
    }

    /// Sets the environment.
    pub fn environment(mut self, environment: DataEnvironment) -> Self {
        self.environment = environment;
        self
    }

    /// Sets the text for the statement, at most 500 characters.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }
}

/// The result of a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreditUse {
    /// The entry of the statement.
    pub entry: WalletEntryId,
    /// The balance after the use.
    pub balance: Credits,
}

/// The result of a return of used credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreditReturn {
    /// The entry of the statement.
    pub entry: WalletEntryId,
    /// The credits that were added to the balance.
    pub returned: Credits,
    /// The credits that were not, because their grants have expired or were refunded.
    pub lost: Credits,
    /// The balance after the return.
    pub balance: Credits,
}

/// A wallet: the balance and the grants that have credits left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct WalletBalance {
    /// The environment.
    pub environment: DataEnvironment,
    /// The credits that can be used now.
    pub balance: Credits,
    /// The balance below which the wallet is low; `null` if the tenant is not told.
    #[schema(required)]
    pub low_below: Option<Credits>,
    /// The amount of an automatic top-up when the wallet is low; `null` if there is none.
    #[schema(required)]
    pub top_up_amount: Option<Credits>,
    /// The time since which the wallet is low; `null` if it is not.
    #[schema(required)]
    pub low_since: Option<Timestamp>,
    /// The next 100 grants, in the order in which they are used.
    pub grants: Vec<WalletGrant>,
}

/// A grant of credits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct WalletGrant {
    /// The id of the grant.
    #[schema(value_type = String, format = Uuid)]
    pub id: WalletGrantId,
    /// The key: what was paid or promised.
    pub key: String,
    /// The description.
    pub description: String,
    /// The priority. The grant with the lowest number is used first.
    pub priority: i32,
    /// The amount that was granted, less what was taken back.
    pub amount: Credits,
    /// The amount that is left.
    pub remaining: Credits,
    /// The time from which on what is left can't be used; `null` if the grant does not expire.
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    /// The time of the grant.
    pub created_at: Timestamp,
}

/// The kind of an entry of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WalletEntryKind {
    /// Credits were granted.
    Granted,
    /// Credits were used.
    Used,
    /// The rest of a grant has expired.
    Expired,
    /// The amount of a grant was changed, such as after a refund.
    Adjusted,
    /// Credits of a use were returned to their grants.
    Returned,
}

impl WalletEntryKind {
    /// Returns the name, as JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Adjusted => "adjusted",
            Self::Returned => "returned",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        let all = [Self::Granted, Self::Used, Self::Expired, Self::Adjusted, Self::Returned];
        all.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// An entry of a wallet's statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct WalletEntry {
    /// The id of the entry.
    #[schema(value_type = String, format = Uuid)]
    pub id: WalletEntryId,
    /// The kind.
    pub kind: WalletEntryKind,
    /// The change of the balance; negative if the balance became smaller.
    pub amount: Credits,
    /// The balance afterwards.
    pub balance: Credits,
    /// The key of the grant or of the use.
    pub key: String,
    /// The description of the grant or of the use.
    pub description: String,
    /// The change of each grant.
    pub parts: Vec<CreditPart>,
    /// The time of the change.
    pub created_at: Timestamp,
}

/// An amount of one grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct CreditPart {
    /// The id of the grant.
    #[schema(value_type = String, format = Uuid)]
    pub grant_id: WalletGrantId,
    /// The amount.
    pub amount: Credits,
}

/// Fails with 422 that names each field with a problem.
pub(super) fn check(problems: impl IntoIterator<Item = Option<FieldError>>) -> Result<(), Error> {
    let problems: Vec<_> = problems.into_iter().flatten().collect();
    if problems.is_empty() { Ok(()) } else { Err(Error::invalid(problems)) }
}

/// Returns the problem of a key.
pub(super) fn key_problem(key: &str) -> Option<FieldError> {
    let fits = !key.is_empty() && key.chars().count() <= MAX_KEY_CHARS;
    (!fits).then(|| FieldError::new("key", format!("must have 1 to {MAX_KEY_CHARS} characters")))
}

/// Returns the problem of a description.
pub(super) fn description_problem(description: &str) -> Option<FieldError> {
    let fits = description.chars().count() <= MAX_DESCRIPTION_CHARS;
    (!fits).then(|| FieldError::new("description", format!("must have at most {MAX_DESCRIPTION_CHARS} characters")))
}

/// Returns the problem of an amount that must be more than zero.
pub(super) fn amount_problem(field: &str, amount: Credits) -> Option<FieldError> {
    let fits = amount > Credits::ZERO && amount <= MAX_WALLET_BALANCE;
    (!fits).then(|| FieldError::new(field, format!("must be more than 0 and at most {MAX_WALLET_BALANCE}")))
}
