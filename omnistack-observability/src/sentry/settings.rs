//! The settings of Sentry.

omnistack_core::settings! {
    feature "sentry" of "omnistack";
    /// Reports of errors to Sentry.
    pub struct SentrySettings {
        /// The DSN of the project, to which errors are reported. Without it, none are.
        pub dsn: Option<omnistack_core::SecretString> = "SENTRY_DSN";
        /// The release that Sentry shows. Default: the app's name and version, as in `shop@1.2.0`.
        pub release: Option<String> = "SENTRY_RELEASE";
    }
}
