//! Built-in accounts: registration, sign-in by password or magic link, and what users change in their accounts.
//!
//! Responses never reveal whether an email address has an account: a registration of an address that has one, and a
//! request for a magic link for an address that has none, get the same response as a success, and only the email
//! differs. Each password check costs one Argon2 operation, whether the password is right, wrong or the account does
//! not exist. The number of wrong passwords is limited per account and per client address.

mod bootstrap_operator;
pub(crate) mod client_info;
mod credentials;
mod deletion;
mod email_change;
mod invitation_signup;
mod known_device;
#[cfg(feature = "passkeys")]
pub(crate) mod passkeys;
mod password_reset;
mod registration;
#[expect(clippy::trivially_copy_pass_by_ref, reason = "`garde` passes its context to rules by reference")]
#[expect(unused_qualifications, reason = "`utoipa::path` writes the types of parameters in full")]
pub(crate) mod routes;
mod second_factors;
pub(crate) mod sign_in;

pub(crate) use second_factors::CodeKind;
pub(crate) use second_factors::reset::FactorsReset;
pub use second_factors::sources::{SecondFactorSource, SecondFactors};
pub use sign_in::{MfaChallenge, SignInOutcome};

use std::{fmt, net::IpAddr, sync::Arc};

use omnistack_core::{
    ExposeSecret as _,
    audit::{AuditEntry, AuditLog},
    clock::Clock,
    crypto::KeyRing,
    db::{Db, Tx},
    events::Events,
    http::{self, FieldError, RateLimiter, layer::RequestId},
    identity::{Identity, UserId},
    jobs::Jobs,
};
use serde_json::Value;

use crate::{
    Error,
    api_key::{
        API_KEY_REVOKED,
        remaining::{RemainingKeys, remaining_keys},
    },
    lockout::Lockout,
    mail::AccountMail,
    mfa::TotpService,
    model::Device,
    one_time_tokens::OneTimeTokens,
    password::{self, BreachedPasswordCheck, Password, PasswordProblem, Passwords},
    session::{MAX_FRESH_SIGN_IN_AGE, Sessions, cookies::SessionCookies},
    settings::AccountSettings,
    users::{
        Users,
        store::accounts::{self as store, Account},
    },
};

pub(crate) use bootstrap_operator::InitialOperator;
pub(crate) use deletion::AccountExport;

/// The service behind the built-in accounts. Cheap to clone.
///
/// Use it to sign users in by ways other than the module's routes:
///
/// ```
/// use omnistack_auth::{account::{Accounts, ClientInfo}, password::Password};
/// use omnistack_core::http;
/// # use omnistack_auth::Auth;
/// # use omnistack_core::{app::App, config::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).with(Auth::built_in()).build()?;
/// # app.migrate().await?;
/// let accounts: Accounts = app.context().get()?;
/// let password = Password::new("correct horse battery").ok_or("longer than any password")?;
/// let refused = accounts.sign_in("ada@example.com", &password, &ClientInfo::default()).await.unwrap_err();
/// // The error is the same for a wrong password and for an unknown account.
/// assert_eq!(http::Error::from(refused).code(), "CREDENTIALS_INVALID");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Accounts(pub(crate) Arc<AccountsInner>);

/// The state shared by all clones of [`Accounts`].
pub(crate) struct AccountsInner {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    /// Seals the cookies of known devices.
    pub(crate) ring: KeyRing,
    pub(crate) users: Users,
    pub(crate) sessions: Sessions,
    pub(crate) passwords: Passwords,
    pub(crate) breach_check: BreachedPasswordCheck,
    /// The second factors that the app's own modules provide.
    pub(crate) app_factors: SecondFactors,
    #[cfg(feature = "passkeys")]
    pub(crate) passkeys: Option<crate::passkey::RelyingParty>,
    pub(crate) totp: TotpService,
    /// The SMS code service, if SMS codes are enabled.
    #[cfg(feature = "sms")]
    pub(crate) sms_codes: Option<crate::mfa::sms_codes::SmsCodes>,
    pub(crate) lockout: Lockout,
    pub(crate) one_time: OneTimeTokens,
    pub(crate) jobs: Jobs,
    pub(crate) audit: AuditLog,
    pub(crate) events: Events,
    pub(crate) browser: SessionCookies,
    /// Limits how many failed sign-ins this process writes to the audit log.
    pub(crate) failure_log_limit: RateLimiter<()>,
    pub(crate) settings: AccountSettings,
    /// The product name of the app.
    pub(crate) product: String,
    /// The host of the app's public URL.
    pub(crate) host: String,
}

/// The client of a request: its device, its address, its known-device cookie and the request's id.
///
/// ```
/// use axum::http::{header::USER_AGENT, request::Parts};
/// use omnistack_auth::{account::ClientInfo, model::Device};
/// use omnistack_core::http::layer::{ClientAddr, RequestId};
///
/// fn visitor(request: &Parts) -> ClientInfo {
///     let address = request.extensions.get::<ClientAddr>().map(|client| client.0);
///     let user_agent = request.headers.get(USER_AGENT).map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
///     let device = Device { user_agent, address: address.map(|address| address.to_string()) };
///     ClientInfo { device, address, request_id: request.extensions.get::<RequestId>().cloned(), ..ClientInfo::default() }
/// }
/// # let (mut request, ()) = axum::http::Request::new(()).into_parts();
/// # request.headers.insert(USER_AGENT, axum::http::HeaderValue::from_static("acme-cli/2.1"));
/// # request.extensions.insert(ClientAddr([203, 0, 113, 7].into()));
/// assert_eq!(visitor(&request).device.user_agent.as_deref(), Some("acme-cli/2.1"));
/// assert_eq!(visitor(&request).device.address.as_deref(), Some("203.0.113.7"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct ClientInfo {
    /// The device, as the user sees it in the list of sessions.
    pub device: Device,
    /// The client's address, which lockout counts.
    pub address: Option<IpAddr>,
    /// The value of the browser's `__Host-omnistack-device` cookie, set at an earlier sign-in. Wrong passwords from a
    /// known device are counted separately.
    pub known_device: Option<String>,
    /// The request's id, recorded in the audit log.
    pub request_id: Option<RequestId>,
}

impl Accounts {
    pub(crate) fn new(inner: AccountsInner) -> Self {
        Self(Arc::new(inner))
    }

    pub(crate) fn browser(&self) -> &SessionCookies {
        &self.0.browser
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// Checks a password against the password policy and the list of breached passwords. Fails with 422 if the
    /// password is refused; `field` is the name of the password's field in the response.
    async fn validate_password(
        &self,
        field: &'static str,
        password: &Password,
        email: Option<&str>,
        second_factor: bool,
    ) -> Result<(), Error> {
        let settings = &self.0.settings;
        let least = if second_factor { settings.password_length_second_factor } else { settings.password_length };
        let mut words = vec![self.0.product.clone()];
        words.extend(self.0.host.split('.').map(str::to_owned));
        if let Some((local, domain)) = email.and_then(|email| email.split_once('@')) {
            words.extend([local.to_owned(), domain.to_owned(), format!("{local}@{domain}")]);
        }
        let mut problem = password::find_problem(password.expose_secret(), least, &words);
        if problem.is_none() && self.0.breach_check.is_breached(password).await {
            problem = Some(PasswordProblem::Breached);
        }
        match problem {
            Some(problem) => Err(http::Error::invalid([FieldError::new(field, problem.message())]).into()),
            None => Ok(()),
        }
    }

    /// Returns the caller's own account.
    ///
    /// # Errors
    /// 403 for API keys and during impersonation; 404 if the user does not exist.
    pub(crate) async fn own_account(&self, caller: &Identity) -> Result<Account, Error> {
        caller.require_in_person()?;
        Ok(store::by_id(&self.0.db, caller.user).await?.ok_or_else(|| http::Error::not_found("the user"))?)
    }

    /// Records an action on an account in the audit chain of the account's own tenant. The transaction spans all
    /// tenants.
    pub(crate) async fn record_in(
        &self,
        tx: &mut Tx,
        action: &str,
        account: &Account,
        by: Option<UserId>,
        details: Option<Value>,
    ) -> Result<(), Error> {
        let mut entry = AuditEntry::new(action);
        entry.actor = by;
        entry.details = details;
        self.record_entry_in(tx, account, entry).await
    }

    /// Records an audit entry about an account in the audit chain of the account's own tenant.
    pub(crate) async fn record_entry_in(&self, tx: &mut Tx, account: &Account, entry: AuditEntry) -> Result<(), Error> {
        let mut entry = entry.resource("user", account.id);
        entry.tenant = account.tenant_id;
        Ok(self.0.audit.record_in(tx, entry).await?)
    }

    /// Returns the API keys that remain after an account's sessions were revoked; revokes them first if `revoke` is
    /// set. The transaction spans all tenants.
    async fn remaining_keys(&self, tx: &mut Tx, account: &Account, revoke: bool) -> Result<RemainingKeys, Error> {
        let mut entry = AuditEntry::new(API_KEY_REVOKED);
        entry.actor = Some(account.id);
        remaining_keys(tx, &self.0.audit, account.id, revoke.then_some(entry), self.0.clock.now()).await
    }

    pub(crate) async fn mail_in(&self, tx: &mut Tx, mail: AccountMail) -> Result<(), Error> {
        self.0.jobs.enqueue_in(tx, mail).await.map_err(http::Error::from)?;
        Ok(())
    }

    /// Deletes expired one-time tokens, lockout counters and SMS codes, and the accounts whose deletion is due; each
    /// statement deletes at most `limit` rows.
    pub(crate) async fn sweep(&self, limit: i64) -> Result<(), Error> {
        while self.0.one_time.sweep(limit).await? > 0 {}
        while self.0.lockout.sweep(limit).await? > 0 {}
        #[cfg(feature = "sms")]
        if let Some(texts) = &self.0.sms_codes {
            while texts.sweep(limit).await? > 0 {}
        }
        self.delete_due(limit).await
    }
}

/// Adds the client's address, user agent and request id to an entry's details, under the names that
/// [`AuditEntry::by`] uses.
pub(crate) fn with_client_info(visitor: &ClientInfo, mut details: Value) -> Value {
    details["address"] = visitor.device.address.clone().into();
    details["user_agent"] = visitor.device.user_agent.clone().into();
    details["request_id"] = visitor.request_id.as_ref().map(RequestId::as_str).into();
    details
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounts")
    }
}
