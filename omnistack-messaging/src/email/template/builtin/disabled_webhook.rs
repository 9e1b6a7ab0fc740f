//! The mail about a webhook endpoint that was disabled.

use serde::Serialize;

use crate::email::template::Template;

/// A notification that a tenant's webhook endpoint was disabled, for an owner of the tenant.
///
/// ```
/// use omnistack_messaging::email::template::{DisabledWebhook, Template as _, Templates};
///
/// let notification = DisabledWebhook { host: "hooks.example.com".into(), gone: true, ..DisabledWebhook::sample() };
/// let mail = Templates::default().render(&notification, "en")?;
/// assert_eq!(mail.subject, "Webhooks to hooks.example.com were disabled");
/// assert!(mail.text.contains("the receiver responded with the status 410"));
/// # Ok::<_, omnistack_core::BoxError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct DisabledWebhook {
    /// The recipient's name.
    pub name: Option<String>,
    /// The name of the tenant that owns the endpoint.
    pub tenant: String,
    /// The host of the endpoint's URL.
    pub host: String,
    /// The id of the endpoint.
    pub endpoint: String,
    /// Whether the receiver responded with the status 410. Otherwise it failed for five days.
    pub gone: bool,
}

impl Template for DisabledWebhook {
    const NAME: &'static str = "webhook_disabled";
    const SOURCES: &'static [(&'static str, &'static str)] = &[
        ("en", include_str!("../sources/en/webhook_disabled.md")),
        ("de", include_str!("../sources/de/webhook_disabled.md")),
    ];

    fn sample() -> Self {
        Self {
            name: Some("Ada".into()),
            tenant: "Acme".into(),
            host: "hooks.example.com".into(),
            endpoint: "01972a4e-8c00-7000-8000-000000000001".into(),
            gone: false,
        }
    }
}
