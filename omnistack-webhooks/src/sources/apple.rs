//! App Store Server Notifications, version 2.
//!
//! The body is `{"signedPayload": JWS}`. The signature is that of a certificate which leads to Apple's root, and which
//! Apple has issued for this purpose. It has no age limit, because the App Store repeats a notification for days. A
//! repetition is recognised by its id.
//!
//! A notification of the sandbox is accepted by a live app too, because App Review tests the app with the sandbox. It
//! is stored as a test.

mod notification;

use std::path::PathBuf;

use async_trait::async_trait;
use omnistack_core::{
    app_store::{APPLE_ROOT, AppleVerifier},
    crypto::TrustedRoots,
    module::Registry,
    settings,
    webhook::{SourceEvent, WebhookRejection, WebhookRequest, WebhookSource},
};

settings! {
    /// Webhooks of the App Store.
    pub(crate) struct AppleSettings {
        /// Bundle id of the app, such as `com.example.app`. Turns the source `apple` on.
        pub(crate) bundle_id: Option<String> = "WEBHOOKS_APPLE_BUNDLE_ID";
        /// Apple id of the app, the number in its App Store URL. Required in production, and for notifications of
        /// Apple's production environment.
        pub(crate) app_id: Option<u64> = "WEBHOOKS_APPLE_APP_ID", range "1"..="9223372036854775807";
        /// Files of further root certificates in DER, for tests. Not allowed in production.
        pub(crate) roots: Vec<PathBuf> = "WEBHOOKS_APPLE_ROOTS";
    }
}

/// Registers the source `apple` if a bundle id is set, and provides [`AppleVerifier`].
pub(crate) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<AppleSettings>() else { return };
    let Some(bundle_id) = settings.bundle_id else { return };
    let production = registry.environment().is_production();
    if production && settings.app_id.is_none() {
        let what = "`WEBHOOKS_APPLE_BUNDLE_ID` is set without `WEBHOOKS_APPLE_APP_ID`, so a notification of the App \
                    Store can't be attributed to this app";
        registry.report_problem(what, "set WEBHOOKS_APPLE_APP_ID to the Apple id of the app in App Store Connect");
        return;
    }
    if production && !settings.roots.is_empty() {
        let what = "`WEBHOOKS_APPLE_ROOTS` is set in production, where only Apple's own root is trusted";
        registry.report_problem(what, "remove WEBHOOKS_APPLE_ROOTS");
        return;
    }
    let mut roots = vec![APPLE_ROOT.to_vec()];
    for path in &settings.roots {
        match std::fs::read(path) {
            Ok(root) => roots.push(root),
            Err(error) => {
                let what = format!("`WEBHOOKS_APPLE_ROOTS`: {} can't be read: {error}", path.display());
                registry.report_problem(what, "name files of root certificates in DER");
                return;
            }
        }
    }
    let Some(roots) = TrustedRoots::from_der(roots.iter().map(Vec::as_slice)) else {
        let what = "`WEBHOOKS_APPLE_ROOTS` names a file that is not a certificate in DER";
        registry.report_problem(what, "convert it: openssl x509 -in root.pem -outform der -out root.der");
        return;
    };
    let verifier = AppleVerifier::new(bundle_id, settings.app_id, roots);
    registry.provide(verifier.clone()).webhook_source("apple", move |_| Ok(AppleSource(verifier)));
}

/// The source `apple`.
#[derive(Debug)]
pub(crate) struct AppleSource(pub(crate) AppleVerifier);

#[async_trait]
impl WebhookSource for AppleSource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        let signed = notification::signed_payload(request.body)
            .ok_or(WebhookRejection::Unverified("the body has no signed payload"))?;
        self.0.verify_notification(&signed, request.now).map(drop)
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        notification::describe(request.body)
    }
}
