//! External identities, and the profiles that issuers assert about them, validated for storage.

use omnistack_core::{crypto::Sha256, identity::UserId, name::without_links};
use serde::Serialize;
use serde_json::{Value, json};

use super::issuer::claims::Claims;
use crate::{
    account::{ClientInfo, with_client_info},
    mail::AccountMail,
    users::normalize_email,
};

/// An external identity: what an issuer asserts about a user.
#[derive(Clone, Debug)]
pub(crate) struct ExternalIdentity {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) profile: ExternalProfile,
}

impl ExternalIdentity {
    /// Returns the issuer and the subject.
    pub(crate) fn key(&self) -> (&str, &str) {
        (&self.issuer, &self.subject)
    }

    /// Returns the audit details of a change to the identity, with the client that requested it.
    pub(crate) fn audit_details(&self, client: Option<&ClientInfo>) -> Value {
        let details = json!({ "issuer": self.issuer, "subject": self.subject });
        match client {
            Some(client) => with_client_info(client, details),
            None => details,
        }
    }
}

/// A user's profile. Absent fields leave the stored values unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ExternalProfile {
    /// The verified email address. An unverified one is ignored: otherwise an attacker could register another person's
    /// address at the issuer and reserve it in this app.
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) picture: Option<String>,
    pub(crate) locale: Option<String>,
}

impl ExternalProfile {
    pub(crate) fn from_claims(claims: &Claims, trust_emails: bool) -> Self {
        let verified = trust_emails || claims.email_verified.get().is_some_and(|verified| verified.is());
        let metadata = claims.user_metadata.get();
        let name = claims.name.get();
        let name = name.or_else(|| metadata.and_then(|data| data.full_name.get().or(data.name.get())));
        let picture = claims.picture.get();
        let picture = picture.or_else(|| metadata.and_then(|data| data.avatar_url.get().or(data.picture.get())));
        Self {
            email: claims.email.get().filter(|_| verified).and_then(|text| normalize_email(text)),
            name: name.or(claims.preferred_username.get()).and_then(|text| display_text(text, 100)),
            picture: picture.and_then(|text| picture_url(text)),
            locale: claims.locale.get().and_then(|text| language_tag(text)),
        }
    }

    /// Returns whether the profile has no fields.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn hash(&self) -> Sha256 {
        // Serialising text can't fail.
        Sha256::digest(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Returns the email that notifies the user that an identity was linked or unlinked.
pub(crate) fn identity_changed_mail(user: UserId, issuer: &str, linked: bool) -> AccountMail {
    AccountMail::IdentityChanged { user, issuer: issuer.to_owned(), linked }
}

/// Returns the text on one line, at most `most` characters long and changed so that mail programs find no links in it.
/// Returns `None` if it is empty.
pub(crate) fn display_text(text: &str, most: usize) -> Option<String> {
    let text: String = without_links(text).chars().take(most).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Returns the URL of a picture, or `None` unless it is an `https` URL of at most 2000 bytes.
pub(crate) fn picture_url(text: &str) -> Option<String> {
    let fits = text.starts_with("https://") && text.len() <= 2000 && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// Returns a language tag, or `None` if the text is not one. The form `de_AT` is converted.
pub(crate) fn language_tag(text: &str) -> Option<String> {
    let tag = text.replace('_', "-");
    let fits = (1..=35).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    fits.then_some(tag)
}
