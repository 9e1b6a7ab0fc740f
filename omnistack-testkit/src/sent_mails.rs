//! [`SentMails`], the mails that an app has sent.

use omnistack_core::email::Email;

/// Mails that an app has sent, oldest first.
///
/// ```
/// use omnistack_messaging::email::{template::Welcome, Mail, Outbox};
/// use omnistack_testkit::{TestApp, TestDatabase};
///
/// # #[tokio::main]
/// # async fn main() {
/// let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Mail::default())).await;
/// let outbox: Outbox = app.app().context().get().unwrap();
/// let welcome = Welcome { name: None, link: "https://app.example.com/start?t=7".into() };
/// outbox.send(&outbox.compose("ada@example.com", &welcome, "en").unwrap()).await.unwrap();
/// app.run_jobs().await;
///
/// let mails = app.sent_mails().to("ada@example.com");
/// assert_eq!(mails.len(), 1);
/// assert_eq!(mails.link(), "https://app.example.com/start?t=7");
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SentMails(Vec<Email>);

impl SentMails {
    pub(crate) fn new(mails: Vec<Email>) -> Self {
        Self(mails)
    }

    /// Keeps the mails with this recipient, in To, Cc or Bcc. Upper and lower case are equal.
    #[must_use]
    pub fn to(mut self, mailbox: &str) -> Self {
        self.0.retain(|mail| mail.recipients().any(|to| to.mailbox().eq_ignore_ascii_case(mailbox)));
        self
    }

    /// Keeps the mails rendered from the template `name`, such as `verify`.
    #[must_use]
    pub fn template(mut self, name: &str) -> Self {
        self.0.retain(|mail| mail.tags.iter().any(|tag| tag.name == "template" && tag.value == name));
        self
    }

    /// Returns the newest mail.
    ///
    /// # Panics
    /// Panics if there is no mail.
    #[track_caller]
    pub fn last(&self) -> &Email {
        match self.0.last() {
            Some(mail) => mail,
            None => panic!("no such mail was sent"),
        }
    }

    /// Returns the first link in the plain text of the newest mail.
    ///
    /// # Panics
    /// Panics if there is no mail, or no link in it.
    #[track_caller]
    pub fn link(&self) -> String {
        let mail = self.last();
        let text = mail.text.as_deref().unwrap_or_default();
        let link = text
            .split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '<' | '>'))
            .find(|word| word.starts_with("http://") || word.starts_with("https://"));
        match link {
            Some(link) => link.into(),
            None => panic!("`{}` has no link: {text}", mail.subject),
        }
    }

    /// Returns the number of mails.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no mails.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns an iterator over the mails.
    pub fn iter(&self) -> std::slice::Iter<'_, Email> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a SentMails {
    type Item = &'a Email;
    type IntoIter = std::slice::Iter<'a, Email>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
