//! The words of mails about notifications that are no words of the app.

/// The words in one language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MailLanguage {
    English,
    German,
}

impl MailLanguage {
    /// Returns the language for a language tag, such as `de-AT`. The default is English.
    pub(super) fn of_locale(locale: Option<&str>) -> Self {
        let primary = locale.and_then(|locale| locale.split(['-', '_']).next()).unwrap_or_default();
        if primary.eq_ignore_ascii_case("de") { Self::German } else { Self::English }
    }

    /// Returns how many unread notifications the user has, of one or more.
    pub(super) fn unread(self, count: u64, app: &str) -> String {
        match (self, count) {
            (Self::English, 1) => format!("1 unread notification at {app}"),
            (Self::English, _) => format!("{count} unread notifications at {app}"),
            (Self::German, 1) => format!("1 ungelesene Benachrichtigung bei {app}"),
            (Self::German, _) => format!("{count} ungelesene Benachrichtigungen bei {app}"),
        }
    }

    /// Returns how many notifications a mail does not list.
    pub(super) fn more(self, count: u64) -> String {
        match self {
            Self::English => format!("… and {count} more."),
            Self::German => format!("… und {count} weitere."),
        }
    }

    /// Returns why the user gets the mail of a notification, and how to change that.
    pub(super) fn reason(self, kind: &str, app: &str) -> String {
        match self {
            Self::English => format!(
                "{app} sends you these mails because of your preference for “{kind}”. To get fewer, change your \
                 notification preferences."
            ),
            Self::German => format!(
                "{app} sendet dir diese E-Mails wegen deiner Einstellung für „{kind}“. Wenn du weniger erhalten \
                 möchtest, ändere deine Einstellungen für Benachrichtigungen."
            ),
        }
    }

    /// Returns why the user gets a digest, and how to change that.
    pub(super) fn digest_reason(self, app: &str) -> String {
        match self {
            Self::English => format!(
                "{app} sends you this mail because you have not read these notifications. To get none, turn off \
                 digests in your notification preferences."
            ),
            Self::German => format!(
                "{app} sendet dir diese E-Mail, weil du diese Benachrichtigungen noch nicht gelesen hast. Wenn du \
                 keine erhalten möchtest, schalte sie in deinen Einstellungen für Benachrichtigungen ab."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MailLanguage::{self, English, German};

    #[test]
    fn a_language_tag_selects_the_language() {
        for (locale, expected) in [
            (None, English),
            (Some(""), English),
            (Some("en-GB"), English),
            (Some("den"), English),
            (Some("de"), German),
            (Some("DE-at"), German),
        ] {
            assert_eq!(MailLanguage::of_locale(locale), expected, "{locale:?}");
        }
    }
}
