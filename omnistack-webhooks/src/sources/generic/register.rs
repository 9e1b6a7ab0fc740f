//! The generic source of the settings.

use omnistack_core::module::Registry;

use super::{GenericSource, GenericSourceError};
use crate::sources::settings::GenericWebhookSettings;

pub(in crate::sources) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<GenericWebhookSettings>() else { return };
    if settings.secrets.is_empty() {
        return;
    }
    if !is_source_name(&settings.name) {
        let what = format!("`WEBHOOKS_GENERIC_NAME` is `{}`, which can't be in the URL of a webhook", settings.name);
        registry.report_problem(what, "use lower-case letters, digits and `-`, at most 40, such as `courier`");
        return;
    }
    if settings.prefix.as_ref().is_some_and(|prefix| prefix.contains(',')) {
        let what = "`WEBHOOKS_GENERIC_PREFIX` has a comma, which separates signatures, so no signature would match";
        registry.report_problem(what, "set it to the text directly before the signature, such as `v1=`");
        return;
    }
    match source(&settings) {
        Ok(source) => {
            // The name is needed for as long as the app runs.
            let name: &'static str = settings.name.leak();
            registry.webhook_source(name, move |_| Ok(source));
        }
        Err(GenericSourceError::EmptySecret) => {
            registry.report_problem("`WEBHOOKS_GENERIC_SECRETS` has an empty secret", "set it to the sender's secret");
        }
        Err(GenericSourceError::Template(why)) => {
            let what = format!("`WEBHOOKS_GENERIC_TEMPLATE` is not valid: {why}");
            registry.report_problem(what, "correct it, such as to `{timestamp}.{body}`, or unset it");
        }
    }
}

fn source(settings: &GenericWebhookSettings) -> Result<GenericSource, GenericSourceError> {
    let secrets = settings.secrets.as_slice().iter().cloned();
    let mut source = GenericSource::new(settings.header.clone(), secrets)?
        .algorithm(settings.algorithm)
        .encoding(settings.encoding)
        .prefix(settings.prefix.clone().unwrap_or_default())
        .kind_path(&settings.type_path);
    source.timestamp_header.clone_from(&settings.timestamp_header);
    source.id_header.clone_from(&settings.id_header);
    source.kind_header.clone_from(&settings.type_header);
    for (path, set) in [
        (&settings.id_path, GenericSource::id_path as fn(GenericSource, &str) -> GenericSource),
        (&settings.object_path, GenericSource::object_path),
        (&settings.time_path, GenericSource::time_path),
        (&settings.tenant_path, GenericSource::tenant_path),
    ] {
        source = match path {
            Some(path) => set(source, path),
            None => source,
        };
    }
    match &settings.template {
        Some(template) => source.template(template),
        None => Ok(source),
    }
}

fn is_source_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    matches!(name.len(), 1..=40) && name.bytes().all(known)
}
