//! The inbox of the contact form: accepts, stores and lists messages.

use std::{fmt, net::IpAddr, sync::Arc};

use super::{
    ContactMessage, ContactMessageId, ContactSettings, ContactStatus, ContactWebhookJob, NewContactMessage,
    form::ValidatedContactMessage,
    http::ContactClient,
    store,
    token::{FormOpened, FormTokens},
};
use crate::email::{
    Address, Email, Outbox, RecipientLimit,
    template::{ContactConfirmation, ContactNotification, FALLBACK_LOCALE},
};
use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Clock,
    db::{self, Db, Tx},
    http::{Error, FieldError, RateLimits, SharedRateLimiter, StatusCode},
    id::Id,
    identity::Identity,
    jobs::Jobs,
};

/// Number of characters of a message that its mail contains, if the mail would be too large with the whole text.
const EXCERPT_CHARS: usize = 500;

/// The messages of the contact form. The module [`Contact`](super::Contact) provides it. It is cheap to clone.
#[derive(Clone)]
pub struct ContactInbox(Arc<InboxParts>);

pub(super) struct InboxParts {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) jobs: Jobs,
    pub(super) outbox: Outbox,
    pub(super) log: AuditLog,
    pub(super) tokens: FormTokens,
    pub(super) settings: ContactSettings,
    pub(super) limit: Option<SharedRateLimiter<IpAddr>>,
    pub(super) recipients: RecipientLimit,
}

/// The result of the spam check.
pub(super) enum SpamCheck {
    /// The message comes from a bot. The reference number in the response belongs to no message.
    Bot(String),
    /// The message is to be stored.
    Accepted(Box<PreparedMessage>),
}

/// A message and its mails, ready to be stored.
pub(super) struct PreparedMessage {
    pub(super) message: ContactMessage,
    mails: Vec<Email>,
    confirmation: Option<Email>,
}

impl InboxParts {
    /// Returns the rate limiter of the contact form, if a limit is set.
    pub(super) fn limit(limits: &RateLimits, settings: &ContactSettings) -> Option<SharedRateLimiter<IpAddr>> {
        settings.rate_limit.0.map(|rate| limits.limiter("contact:address", rate))
    }
}

impl ContactInbox {
    pub(super) fn new(parts: InboxParts) -> Self {
        Self(Arc::new(parts))
    }

    pub(super) fn settings(&self) -> &ContactSettings {
        &self.0.settings
    }

    pub(super) fn tokens(&self) -> &FormTokens {
        &self.0.tokens
    }

    pub(super) fn db(&self) -> &Db {
        &self.0.db
    }

    /// Validates a message, checks its token, the rate limit and the signs of a bot, and composes its mails. Fails
    /// with 403 `CONTACT_CLOSED`, 422, or 429 `RATE_LIMIT_EXCEEDED`.
    pub(super) async fn prepare(&self, new: &NewContactMessage, visitor: &ContactClient) -> Result<SpamCheck, Error> {
        let settings = &self.0.settings;
        if !settings.open {
            return Err(Error::new(StatusCode::FORBIDDEN, "CONTACT_CLOSED", "the contact form is closed"));
        }
        let accepted = new.check(settings)?;
        let too_soon = self.is_too_soon(new.token.as_deref())?;
        if let Some(limit) = &self.0.limit {
            let verdict = limit.check(&visitor.network(), 1).await;
            if !verdict.allowed {
                return Err(limit.too_many_requests("contact", "messages", verdict));
            }
        }
        let reference = reference();
        if too_soon || new.has_filled_hidden_field() {
            tracing::info!(target: "omnistack::contact", too_soon, filled = new.has_filled_hidden_field(), "a message of a bot was discarded; its response is that of an accepted message");
            return Ok(SpamCheck::Bot(reference));
        }
        let locale = new.locale.as_deref().or(visitor.locale.as_deref()).unwrap_or(FALLBACK_LOCALE).to_owned();
        let message = self.message(&accepted, reference, locale, visitor);
        let mut mails = Vec::new();
        for to in &settings.to {
            mails.push(self.notification(&message, &accepted, to)?);
        }
        let confirmation = settings.send_confirmation.then(|| self.confirmation(&message, &accepted)).transpose()?;
        Ok(SpamCheck::Accepted(Box::new(PreparedMessage { message, mails, confirmation })))
    }

    /// Returns whether the form was sent sooner than a person could. Fails with 422 if the token is missing, not
    /// valid or too old.
    fn is_too_soon(&self, token: Option<&str>) -> Result<bool, Error> {
        let settings = &self.0.settings;
        if settings.min_time.is_zero() {
            return Ok(false);
        }
        let problem = |what: &str| Error::invalid([FieldError::new("token", what)]);
        match token.filter(|token| !token.is_empty()).map(|token| self.0.tokens.read(token)) {
            None => Err(problem("is required: request one when the form is opened")),
            Some(FormOpened::InvalidToken) => Err(problem("is not valid: open the form again")),
            Some(FormOpened::Ago(time)) if time > settings.max_time => Err(problem("is too old: open the form again")),
            Some(FormOpened::Ago(time)) => Ok(time < settings.min_time),
        }
    }

    fn message(
        &self,
        accepted: &ValidatedContactMessage,
        reference: String,
        locale: String,
        visitor: &ContactClient,
    ) -> ContactMessage {
        let now = self.0.clock.now();
        let ValidatedContactMessage { name, email, message, subject, phone, company, extra_fields, source } =
            accepted.clone();
        ContactMessage {
            id: Id::new(now),
            reference,
            name,
            email: email.mailbox().to_owned(),
            subject,
            phone,
            company,
            message,
            extra_fields,
            source,
            locale,
            address: visitor.address.map(|address| address.to_string()),
            status: ContactStatus::New,
            created_at: now,
            updated_at: now,
        }
    }

    fn notification(
        &self,
        message: &ContactMessage,
        accepted: &ValidatedContactMessage,
        to: &Address,
    ) -> Result<Email, Error> {
        let plain = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let fields = message.extra_fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
        let template = |text: &str, fields| ContactNotification {
            reference: message.reference.clone(),
            name: message.name.clone(),
            email: message.email.clone(),
            subject: message.subject.clone(),
            phone: message.phone.clone(),
            company: message.company.clone(),
            source: message.source.clone(),
            message: text.to_owned(),
            fields,
        };
        let outbox = &self.0.outbox;
        let mail = outbox
            .compose(to, &template(&message.message, fields), FALLBACK_LOCALE)
            .or_else(|_| outbox.compose(to, &template(&excerpt(&message.message), Vec::new()), FALLBACK_LOCALE))?;
        Ok(mail.reply_to(accepted.sender()))
    }

    fn confirmation(&self, message: &ContactMessage, accepted: &ValidatedContactMessage) -> Result<Email, Error> {
        let template = ContactConfirmation { reference: Some(message.reference.clone()) };
        let mail = self.0.outbox.compose(&accepted.email, &template, &message.locale)?;
        // RFC 3834, section 5: automatic responders do not reply to it.
        Ok(mail.header("Auto-Submitted", "auto-replied"))
    }

    /// Stores a message and its mails, and enqueues its webhook. The confirmation is left out if too many mails
    /// were sent to the sender's address.
    pub(super) async fn store_in(&self, tx: &mut Tx, prepared: &PreparedMessage) -> Result<(), Error> {
        store::insert(tx, &prepared.message).await?;
        for mail in &prepared.mails {
            self.0.outbox.send_in(tx, mail).await?;
        }
        if let Some(confirmation) = &prepared.confirmation
            && self.0.recipients.count_in(tx, &prepared.message.email).await?.is_none()
        {
            self.0.outbox.send_in(tx, confirmation).await?;
        }
        if self.0.settings.webhook_url.is_some() {
            self.0.jobs.enqueue_in(tx, ContactWebhookJob { message: prepared.message.id }).await?;
        }
        Ok(())
    }

    /// Returns at most `limit` messages, the newest first: those older than `before`, if it is given, and only
    /// those with `status`, if it is given.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn list(
        &self,
        status: Option<ContactStatus>,
        before: Option<ContactMessageId>,
        limit: u32,
    ) -> Result<Vec<ContactMessage>, db::Error> {
        store::list(&self.0.db, status, before, limit).await
    }

    /// Returns a message. Returns `None` if there is none with this id.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn get(&self, id: ContactMessageId) -> Result<Option<ContactMessage>, db::Error> {
        store::get(&self.0.db, id).await
    }

    /// Sets the status of a message and records an audit entry. Returns the changed message, or `None` if there is
    /// none with this id.
    ///
    /// # Errors
    /// Fails with 409 `CONTACT_CHANGED` if another request has just changed the message, or if the database fails.
    pub async fn set_status(
        &self,
        id: ContactMessageId,
        to: ContactStatus,
        by: &Identity,
    ) -> Result<Option<ContactMessage>, Error> {
        let Some(mut message) = self.get(id).await? else { return Ok(None) };
        let from = message.status;
        if from == to {
            return Ok(Some(message));
        }
        let now = self.0.clock.now();
        let mut tx = self.0.db.begin().await?;
        if !store::set_status(&mut tx, id, from, to, now).await? {
            return Err(Error::conflict(
                "CONTACT_CHANGED",
                "another request has just changed this message; load it again",
            ));
        }
        let details = serde_json::json!({ "from": from, "to": to });
        let entry = AuditEntry::new("contact.status_changed")
            .actor(by)
            .for_app()
            .resource("contact_message", id)
            .details(details);
        self.0.log.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        (message.status, message.updated_at) = (to, now);
        Ok(Some(message))
    }

    /// Deletes a message and records an audit entry. Returns whether there was such a message. Mails about the
    /// message may still be in the outbox.
    ///
    /// # Errors
    /// Fails if the database fails.
    pub async fn remove(&self, id: ContactMessageId, by: &Identity) -> Result<bool, db::Error> {
        let mut tx = self.0.db.begin().await?;
        if !store::remove(&mut tx, id).await? {
            return Ok(false);
        }
        let entry = AuditEntry::new("contact.deleted").actor(by).for_app().resource("contact_message", id);
        self.0.log.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(true)
    }
}

impl fmt::Debug for ContactInbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

/// Returns the beginning of a long message.
fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS).chain("…".chars()).collect()
}

/// Returns a new reference number such as `7K3F9-QXM2D`: 50 random bits in Crockford's base 32, whose letters and
/// digits are not easily confused.
fn reference() -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let random: u64 = rand::random();
    let digit = |index: u32| char::from(DIGITS[usize::try_from((random >> (5 * index)) & 31).unwrap_or(0)]);
    let (first, second): (String, String) = ((0..5).map(digit).collect(), (5..10).map(digit).collect());
    format!("{first}-{second}")
}
