//! The modules of OmniStack that provide values, and the public paths of the values, for messages.

/// A module of OmniStack that an app can add.
#[derive(Debug)]
pub(crate) struct ProvidingModule {
    /// Crate of the values, as the compiler names it, and for mail and text messages the folder of the channel.
    values: &'static str,
    /// Path of the values in the crate `omnistack`.
    public: &'static str,
    /// Name of the module.
    pub(crate) name: &'static str,
    /// The expression that creates the module.
    pub(crate) call: &'static str,
    /// Feature of the crate `omnistack`.
    pub(crate) feature: &'static str,
}

const fn module(
    values: &'static str,
    public: &'static str,
    name: &'static str,
    call: &'static str,
    feature: &'static str,
) -> ProvidingModule {
    ProvidingModule { values, public, name, call, feature }
}

const MODULES: [ProvidingModule; 12] = [
    module("omnistack_ai", "omnistack::ai", "ai", "Ai::from_env()", "ai"),
    module("omnistack_auth", "omnistack::auth", "auth", "Auth::from_env()", "auth"),
    module("omnistack_billing", "omnistack::billing", "billing", "Billing::from_env()", "billing"),
    module("omnistack_flags", "omnistack::flags", "flags", "FeatureFlags::default()", "flags"),
    module("omnistack_messaging::contact", "omnistack::contact", "contact", "Contact::default()", "contact"),
    module("omnistack_messaging::email", "omnistack::email", "mail", "Mail::default()", "email"),
    module("omnistack_messaging::sms", "omnistack::sms", "sms", "Sms::default()", "sms"),
    module(
        "omnistack_observability",
        "omnistack::observability",
        "observability",
        "Observability::from_env()",
        "observability",
    ),
    module("omnistack_payments", "omnistack::payments", "payments", "Payments::from_env()", "payments"),
    module("omnistack_realtime", "omnistack::realtime", "realtime", "Realtime::from_env()", "realtime"),
    module("omnistack_storage", "omnistack::storage", "files", "Files::from_env()", "storage"),
    module("omnistack_webhooks", "omnistack::webhooks", "webhooks", "Webhooks::from_env()", "webhooks"),
];

/// Types of core that only a module of another crate provides.
const PORTS: [(&str, &str); 2] =
    [("omnistack_core::identity::Authenticator", "auth"), ("omnistack_core::credits::CreditAccounts", "billing")];

/// Public names of the outboxes and suppression lists, which are generic types: their channel, and the beginning of the
/// name that the compiler gives them.
const CHANNEL_TYPES: [(&str, &str, &str); 4] = [
    ("omnistack_messaging::email", "omnistack_messaging::outbox::MessageOutbox<", "Outbox"),
    ("omnistack_messaging::sms", "omnistack_messaging::outbox::MessageOutbox<", "SmsOutbox"),
    ("omnistack_messaging::email", "omnistack_messaging::suppression::", "Suppressions"),
    ("omnistack_messaging::sms", "omnistack_messaging::suppression::", "SmsSuppressions"),
];

/// Returns the module of OmniStack that provides values of a type, by the name that the compiler gives the type.
pub(crate) fn providing_module(name: &str) -> Option<&'static ProvidingModule> {
    let values = values_of(name);
    let port = PORTS.iter().find(|(port, _)| *port == name).map(|(_, module)| *module);
    MODULES.iter().find(|module| port.map_or(module.values == values, |port| port == module.name))
}

/// Returns the path under which an app imports a type, by the name that the compiler gives the type. Types of other
/// crates keep their name.
pub(crate) fn public_name(name: &str) -> String {
    let (path, parameters) = name.split_at(name.find('<').unwrap_or(name.len()));
    let last = path.rsplit("::").next().unwrap_or(path);
    let segments: Vec<&str> = path.split("::").collect();
    match segments.as_slice() {
        ["omnistack_core", "http", "client", ..] => format!("omnistack::http::client::{last}{parameters}"),
        ["omnistack_core", room, _, ..] => format!("omnistack::{room}::{last}{parameters}"),
        // The rooms of accounts are public.
        ["omnistack_auth", room, _, ..] => format!("omnistack::auth::{room}::{last}{parameters}"),
        _ => {
            let values = values_of(name);
            let Some(module) = MODULES.iter().find(|module| module.values == values) else { return name.to_owned() };
            let generic = CHANNEL_TYPES.iter().find(|(of, begin, _)| *of == values && name.starts_with(begin));
            let (last, parameters) = generic.map_or((last, parameters), |(_, _, alias)| (*alias, ""));
            format!("{}::{last}{parameters}", module.public)
        }
    }
}

/// Returns the crate of a type, and for mail and text messages the folder of the channel.
fn values_of(name: &str) -> &str {
    let krate = name.split("::").next().unwrap_or(name);
    match krate {
        "omnistack_messaging" if name.contains("::contact::") => "omnistack_messaging::contact",
        "omnistack_messaging" if name.contains("::sms::") => "omnistack_messaging::sms",
        "omnistack_messaging" => "omnistack_messaging::email",
        _ => krate,
    }
}

#[cfg(test)]
mod tests {
    use std::any::type_name;

    use super::{providing_module, public_name};
    use crate::{credits::CreditAccounts, crypto::KeyRing, http::RateLimits, identity::Authenticator, jobs::Jobs};

    #[test]
    fn types_have_the_paths_under_which_apps_import_them() {
        for (name, expected, module) in [
            (type_name::<Authenticator>(), "omnistack::identity::Authenticator", Some("auth")),
            (type_name::<CreditAccounts>(), "omnistack::credits::CreditAccounts", Some("billing")),
            (type_name::<KeyRing>(), "omnistack::crypto::KeyRing", None),
            (type_name::<Jobs>(), "omnistack::jobs::Jobs", None),
            (type_name::<RateLimits>(), "omnistack::http::RateLimits", None),
            ("omnistack_core::http::client::request::Client", "omnistack::http::client::Client", None),
            ("omnistack_storage::files::FileService", "omnistack::storage::FileService", Some("files")),
            ("omnistack_auth::users::Users", "omnistack::auth::users::Users", Some("auth")),
            (
                "omnistack_messaging::outbox::MessageOutbox<omnistack_messaging::email::outbox::EmailChannel>",
                "omnistack::email::Outbox",
                Some("mail"),
            ),
            (
                "omnistack_messaging::outbox::MessageOutbox<omnistack_messaging::sms::outbox::SmsChannel>",
                "omnistack::sms::SmsOutbox",
                Some("sms"),
            ),
            ("omnistack_messaging::contact::inbox::ContactInbox", "omnistack::contact::ContactInbox", Some("contact")),
            ("acme::plans::Plans", "acme::plans::Plans", None),
            ("alloc::vec::Vec<u8>", "alloc::vec::Vec<u8>", None),
        ] {
            let found = providing_module(name).map(|module| module.name);
            assert_eq!((public_name(name).as_str(), found), (expected, module), "{name}");
        }
    }
}
