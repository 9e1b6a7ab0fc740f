//! The built-in templates.

mod disabled_webhook;

use std::{collections::BTreeMap, time::Duration};

use serde::{Serialize, Serializer};

use super::{Template, TemplateEntry};
use omnistack_core::clock::Timestamp;

pub use disabled_webhook::DisabledWebhook;

/// The name of the template that ends every mail.
pub(crate) const FOOTER: &str = "footer";

/// Includes the sources of a template from the files with its name.
macro_rules! sources {
    ($name:literal) => {
        &[
            ("en", include_str!(concat!("sources/en/", $name, ".md"))),
            ("de", include_str!(concat!("sources/de/", $name, ".md"))),
        ]
    };
}

pub(crate) fn add(known: &mut BTreeMap<&'static str, TemplateEntry>) {
    add_one::<Footer>(known);
    add_one::<Welcome>(known);
    add_one::<VerifyEmail>(known);
    add_one::<ResetPassword>(known);
    add_one::<MagicLink>(known);
    add_one::<Invitation>(known);
    add_one::<Notification>(known);
    add_one::<Receipt>(known);
    add_one::<ContactConfirmation>(known);
    add_one::<ContactNotification>(known);
    add_one::<NewSignIn>(known);
    add_one::<NewApiKey>(known);
    add_one::<DisabledWebhook>(known);
}

fn add_one<T: Template>(known: &mut BTreeMap<&'static str, TemplateEntry>) {
    known.insert(T::NAME, TemplateEntry::new::<T>());
}

/// Serializes a duration as whole seconds, for the filter `duration`.
fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

fn sample_time() -> Timestamp {
    // 2030-01-01T12:00:00Z
    Timestamp::from_micros(1_893_499_200_000_000)
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Serialize)]
struct Footer {}

impl Template for Footer {
    const NAME: &'static str = FOOTER;
    const SOURCES: &'static [(&'static str, &'static str)] = sources!("footer");

    fn sample() -> Self {
        Self {}
    }
}

/// A mail to a new user.
///
/// ```
/// use omnistack_messaging::email::template::{Brand, Templates, Welcome};
///
/// let welcome = Welcome { name: Some("Ada".into()), link: "https://app.example.com/start".into() };
/// let mail = Templates::new(Brand::new("Acme")).render(&welcome, "en")?;
/// assert_eq!(mail.subject, "Welcome to Acme");
/// # Ok::<_, omnistack_messaging::email::template::TemplateError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Welcome {
    /// The recipient's name.
    pub name: Option<String>,
    /// The URL of the button "Get started".
    pub link: String,
}

impl Template for Welcome {
    const NAME: &'static str = "welcome";
    const SOURCES: &'static [(&'static str, &'static str)] = sources!("welcome");

    fn sample() -> Self {
        Self { name: Some("Ada".into()), link: "https://app.example.com/start".into() }
    }
}

/// A mail that asks the recipient to confirm an address (email verification).
///
/// ```
/// use omnistack_messaging::email::template::{Templates, VerifyEmail};
/// use std::time::Duration;
///
/// let (link, expires) = ("https://app.example.com/verify?token=3f9Q".into(), Duration::from_secs(24 * 3600));
/// let mail = Templates::default().render(&VerifyEmail { name: None, link, expires }, "de")?;
/// assert!(mail.text.contains("Der Link gilt 24 Stunden."));
/// # Ok::<_, omnistack_messaging::email::template::TemplateError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct VerifyEmail {
    /// The recipient's name.
    pub name: Option<String>,
    /// The URL that confirms the address.
    pub link: String,
    /// The validity of the link.
    #[serde(serialize_with = "seconds")]
    pub expires: Duration,
}

impl Template for VerifyEmail {
    const NAME: &'static str = "verify";
    const SOURCES: &'static [(&'static str, &'static str)] = sources!("verify");

    fn sample() -> Self {
        Self { name: Some("Ada".into()), link: "https://app.example.com/verify?token=3f9Q".into(), expires: DAY }
    }
}

/// A mail with a link to reset a password.
///
/// ```
/// use omnistack_messaging::email::template::{ResetPassword, Templates};
/// use std::time::Duration;
///
/// let (link, expires) = ("https://app.example.com/reset?token=3f9Q".into(), Duration::from_secs(3600));
/// let mail = Templates::default().render(&ResetPassword { name: None, link, expires }, "en")?;
/// assert!(mail.text.contains("Choose a new password:\nhttps://app.example.com/reset?token=3f9Q"));
/// # Ok::<_, omnistack_messaging::email::template::TemplateError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct ResetPassword {
    /// The recipient's name.
    pub name: Option<String>,
    /// The URL of the page where a new password is chosen.
    pub link: String,
    /// The validity of the link.
    #[serde(serialize_with = "seconds")]
    pub expires: Duration,
}

impl Template for ResetPassword {
    const NAME: &'static str = "reset";
    const SOURCES: &'static [(&'static str, &'static str)] = sources!("reset");

    fn sample() -> Self {
        Self { name: Some("Ada".into()), link: "https://app.example.com/reset?token=3f9Q".into(), expires: HOUR }
    }
}

/// A mail with a magic link, which signs the recipient in without a password.
///
/// ```
/// use omnistack_messaging::email::template::{MagicLink, Templates};
/// use std::time::Duration;
///
/// let (link, expires) = ("https://app.example.com/sign-in?token=3f9Q".into(), Duration::from_secs(900));
/// let mail = Templates::default().render(&MagicLink { link, passcode: Some("482 913".into()), expires }, "en")?;
/// assert!(mail.text.contains("type this code:\n\n482 913"));
/// # Ok::<_, omnistack_messaging::email::template::TemplateError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct MagicLink {
    /// The URL that signs in.
    pub link: String,
    /// A code that signs in, to be typed on another device.
    pub passcode: Option<String>,
    /// The validity of the link and the code.
    #[serde(serialize_with = "seconds")]
    pub expires: Duration,
}

impl Template for MagicLink {
    const NAME: &'static str = "magic_link";
    const SOURCES: &'static [(&'static str, &'static str)] = sources!("magic_link");

    fn sample() -> Self {
        let link = "https://app.example.com/sign-in?token=3f9Q".into();
        Self { link, passcode: Some("482 913".into()), expires: Duration::from_secs(900) }
    }
}

/// A mail that invites the recipient to a tenant.
///
/// ```
/// use omnistack_messaging::email::template::{Invitation, Templates};
/// use std::time::Duration;
///
/// let (inviter, tenant, link) = ("Charles".into(), "Globex".into(), "https://app.example.com/join/3f9Q".into());
/// let invitation = Invitation { inviter, tenant, role: None, link, expires: Duration::from_secs(7 * 24 * 3600) };
/// assert_eq!(Templates::default().render(&invitation, "en")?.subject, "Charles invites you to Globex");
/// # Ok::<_, omnistack_messaging::email::template::TemplateError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Invitation {
    /// The name of the user who invites.
    pub inviter: String,
    /// The name of the tenant.
    pub tenant: String,
    /// The name of the role in the tenant.
    pub role: Option<String>,
    /// The URL that accepts the invitation.
    pub link: String,
    /// The validity of the link.
    #[serde(serialize_with = "seconds")]
    pub expires: Duration,
}

impl Template for Invitation {
    const NAME: &'static str = "invitation";
    const SOURCES: &'static [(&'static str, &'static str)] = sources!("invitation");

    fn sample() -> Self {
        Self {
            inviter: "Charles Babbage".into(),
            tenant: "Analytical Engines Ltd".into(),
            role: Some("Editor".into()),
            link: "https://app.example.com/invitations/3f9Q".into(),
            expires: DAY * 7,
        }
    }
}

/// A mail with any short notification.
///
/// ```
/// use omnistack_messaging::email::template::{Notification, Templates};
///
/// let mail = Templates::default().render(&Notification {
///     title: "Your export is ready".into(),
///     paragraphs: vec!["It is kept for seven days.".into()],
///     action: Some(("https://app.example.com/exports/17".into(), "Download it".into())),
/// }, "en")?;
/// assert!(mail.text.contains("Download it:\nhttps://app.example.com/exports/17"));
/// # Ok::<_, omnistack_messaging::email::template::TemplateError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Notification {
    /// The subject, which is also the heading.
    pub title: String,
    /// The paragraphs of the text.
    pub paragraphs: Vec<String>,
    /// The URL and the label of the button.
    pub action: Option<(String, String)>,
}

impl Template for Notification {
    const NAME: &'static str = "notification";
    const SOURCES: &'static [(&'static str, &'static str)] = sources!("notification");

    fn sample() -> Self {
        Self {
            title: "Your export is ready".into(),
            paragraphs: vec![
                "We have put the 1,204 rows you asked for into one file.".into(),
                "It is kept for seven days.".into(),
            ],
            action: Some(("https://app.example.com/exports/17".into(), "Download the export".into())),
        }
    }
}

/// A receipt for a payment.
///
/// ```
/// use omnistack_messaging::email::template::{Receipt, ReceiptLine, Templates};
///
/// let lines = vec![ReceiptLine { description: "Team plan".into(), amount: "€20.00".into() }];
/// let (number, paid_at, total) = ("2030-0017".into(), "2030-01-31T12:34:00Z".parse()?, "€20.00".into());
/// let receipt = Receipt { name: Some("Ada".into()), number, paid_at, lines, total, link: None };
/// let mail = Templates::default().render(&receipt, "en")?;
/// assert!(mail.text.contains("- Team plan: €20.00\n\nTotal: €20.00"));
/// # Ok::<_, omnistack_core::BoxError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Receipt {
    /// The recipient's name.
    pub name: Option<String>,
    /// The receipt's number.
    pub number: String,
    /// The time of the payment.
    pub paid_at: Timestamp,
    /// The lines of the receipt.
    pub lines: Vec<ReceiptLine>,
    /// The total with its currency, such as `€24.00`.
    pub total: String,
    /// The URL of the invoice.
    pub link: Option<String>,
}

/// A line of a [`Receipt`].
///
/// ```
/// use omnistack_messaging::email::template::ReceiptLine;
///
/// let bought = [("Team plan", 2000), ("2 extra seats", 400)];
/// let lines = bought.map(|(description, cents)| {
///     ReceiptLine { description: description.into(), amount: format!("€{}.{:02}", cents / 100, cents % 100) }
/// });
/// assert_eq!(lines[1].amount, "€4.00");
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct ReceiptLine {
    /// The item that was paid for.
    pub description: String,
    /// The price with its currency.
    pub amount: String,
}

impl Template for Receipt {
    const NAME: &'static str = "receipt";
    const SOURCES: &'static [(&'static str, &'static str)] = sources!("receipt");

    fn sample() -> Self {
        let line =
            |description: &str, amount: &str| ReceiptLine { description: description.into(), amount: amount.into() };
        Self {
            name: Some("Ada".into()),
            number: "2030-0017".into(),
            paid_at: sample_time(),
            lines: vec![line("Team plan, January 2030", "€20.00"), line("2 extra seats", "€4.00")],
            total: "€24.00".into(),
            link: Some("https://app.example.com/invoices/2030-0017".into()),
        }
    }
}

/// A mail that confirms a message of the contact form to the address in the message. It contains nothing that the
/// sender wrote, because the address was not verified.
///
/// ```
/// use omnistack_messaging::email::template::{ContactConfirmation, Templates};
///
/// let confirmation = ContactConfirmation { reference: Some("7K3F9-QXM2D".into()) };
/// let mail = Templates::default().render(&confirmation, "en")?;
/// assert!(mail.text.contains("Your reference number is 7K3F9-QXM2D."));
/// # Ok::<_, omnistack_messaging::email::template::TemplateError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct ContactConfirmation {
    /// The reference number of the message.
    pub reference: Option<String>,
}

impl Template for ContactConfirmation {
    const NAME: &'static str = "contact_confirmation";
    const SOURCES: &'static [(&'static str, &'static str)] = sources!("contact_confirmation");

    fn sample() -> Self {
        Self { reference: Some("7K3F9-QXM2D".into()) }
    }
}

/// A mail that notifies the app's team of a message of the contact form.
///
/// ```
/// use omnistack_messaging::email::template::{ContactNotification, Template, Templates};
///
/// let hostile = ContactNotification { message: "**Free** <b>money</b>".into(), ..Template::sample() };
/// let mail = Templates::default().render(&hostile, "en")?;
/// assert_eq!(mail.subject, "The team plan — from Ada Lovelace (7K3F9-QXM2D)");
/// assert!(mail.html.contains("**Free** &lt;b&gt;money&lt;/b&gt;"));
/// # Ok::<_, omnistack_messaging::email::template::TemplateError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct ContactNotification {
    /// The reference number that the sender was given.
    pub reference: String,
    /// The sender's name.
    pub name: String,
    /// The sender's address, to which replies go.
    pub email: String,
    /// The subject of the message.
    pub subject: Option<String>,
    /// The sender's phone number.
    pub phone: Option<String>,
    /// The sender's company.
    pub company: Option<String>,
    /// The page or place of the form.
    pub source: Option<String>,
    /// The text of the message.
    pub message: String,
    /// The names and values of the form's extra fields.
    pub fields: Vec<(String, String)>,
}

impl Template for ContactNotification {
    const NAME: &'static str = "contact_notification";
    const SOURCES: &'static [(&'static str, &'static str)] = sources!("contact_notification");

    fn sample() -> Self {
        Self {
            reference: "7K3F9-QXM2D".into(),
            name: "Ada Lovelace".into(),
            email: "ada@example.com".into(),
            subject: Some("The team plan".into()),
            phone: Some("+44 20 7946 0018".into()),
            company: Some("Analytical Engines Ltd".into()),
            source: Some("pricing page".into()),
            message: "Hello,\nwhat does the team plan cost for forty people?\nAda".into(),
            fields: vec![("seats".into(), "40".into())],
        }
    }
}

/// A notification of a sign-in from an unknown device.
///
/// ```
/// use omnistack_messaging::email::template::{NewSignIn, Templates};
///
/// let (at, device) = ("2030-01-31T12:34:56Z".parse()?, Some("Firefox on Linux".into()));
/// let link = "https://app.example.com/security".into();
/// let mail = Templates::default().render(&NewSignIn { name: None, at, device, address: None, link }, "en")?;
/// assert!(mail.text.contains("- Time: 31 January 2030, 12:34 UTC\n- Device: Firefox on Linux"));
/// # Ok::<_, omnistack_core::BoxError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct NewSignIn {
    /// The recipient's name.
    pub name: Option<String>,
    /// The time of the sign-in.
    pub at: Timestamp,
    /// The browser and the operating system, as far as they are known: `Firefox on Linux`.
    pub device: Option<String>,
    /// The IP address of the client.
    pub address: Option<String>,
    /// The URL of the page where the user ends sessions and changes the password.
    pub link: String,
}

impl Template for NewSignIn {
    const NAME: &'static str = "new_sign_in";
    const SOURCES: &'static [(&'static str, &'static str)] = sources!("new_sign_in");

    fn sample() -> Self {
        Self {
            name: Some("Ada".into()),
            at: sample_time(),
            device: Some("Firefox on Linux".into()),
            address: Some("203.0.113.7".into()),
            link: "https://app.example.com/security".into(),
        }
    }
}

/// A notification of an API key that was created, or got a new secret.
///
/// ```
/// use omnistack_messaging::email::template::{NewApiKey, Templates};
///
/// let (at, link) = ("2030-01-31T12:34:56Z".parse()?, Some("https://app.example.com/security".into()));
/// let (key, tenant) = ("nightly export".into(), "Acme".into());
/// let mail = Templates::default().render(&NewApiKey { name: None, key, tenant, rotated: false, at, link }, "en")?;
/// assert!(mail.text.contains("- Key: nightly export\n- Team: Acme\n- Time: 31 January 2030, 12:34 UTC"));
/// # Ok::<_, omnistack_core::BoxError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct NewApiKey {
    /// The recipient's name.
    pub name: Option<String>,
    /// The name of the API key.
    pub key: String,
    /// The name of the tenant in which the API key is valid.
    pub tenant: String,
    /// Whether an existing API key got a new secret.
    pub rotated: bool,
    /// The time of the change.
    pub at: Timestamp,
    /// The URL of the page where the user ends sessions and changes the password, if the app has one.
    pub link: Option<String>,
}

impl Template for NewApiKey {
    const NAME: &'static str = "new_api_key";
    const SOURCES: &'static [(&'static str, &'static str)] = sources!("new_api_key");

    fn sample() -> Self {
        Self {
            name: Some("Ada".into()),
            key: "nightly export".into(),
            tenant: "Acme".into(),
            rotated: false,
            at: sample_time(),
            link: Some("https://app.example.com/security".into()),
        }
    }
}
