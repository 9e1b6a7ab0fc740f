//! What an app has sent.

use omnistack_core::email::Email;

/// Mails an app has sent, the oldest first.
///
/// ```
/// use omnistack_core::email::{Mail, Outbox, template::Welcome};
/// use omnistack_testkit::{TestApp, TestDatabase};
///
/// # #[tokio::main]
/// # async fn main() {
/// let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Mail::default())).await;
/// let outbox: Outbox = app.app().ctx().get().unwrap();
/// let welcome = Welcome { name: None, link: "https://app.example.com/start?t=7".into() };
/// outbox.send(&outbox.compose("ada@example.com", &welcome, "en").unwrap()).await.unwrap();
/// app.run_jobs().await;
///
/// let mails = app.mails().to("ada@example.com");
/// assert_eq!(mails.len(), 1);
/// assert_eq!(mails.link(), "https://app.example.com/start?t=7");
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Mails(Vec<Email>);

impl Mails {
    pub(crate) fn new(mails: Vec<Email>) -> Self {
        Self(mails)
    }

    /// Those to this mailbox, whatever the case; copies too.
    #[must_use]
    pub fn to(mut self, mailbox: &str) -> Self {
        self.0.retain(|mail| mail.recipients().any(|to| to.mailbox().eq_ignore_ascii_case(mailbox)));
        self
    }

    /// Those made of this template: `verify`.
    #[must_use]
    pub fn template(mut self, name: &str) -> Self {
        self.0.retain(|mail| mail.tags.iter().any(|tag| tag.name == "template" && tag.value == name));
        self
    }

    /// The last.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn last(&self) -> &Email {
        match self.0.last() {
            Some(mail) => mail,
            None => panic!("no such mail was sent"),
        }
    }

    /// The first link in the text of the last.
    ///
    /// # Panics
    /// When there is no mail, or no link in it.
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

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Email> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Mails {
    type Item = &'a Email;
    type IntoIter = std::slice::Iter<'a, Email>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
