//! Tests of failover to a second provider.

use async_trait::async_trait;
use omnistack_core::email::{Email, EmailError, EmailErrorKind, EmailProvider, MemoryProvider, SentMail};
use omnistack_messaging::email::FailoverProvider;

#[derive(Debug)]
struct Broken(EmailErrorKind);

#[async_trait]
impl EmailProvider for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    async fn send(&self, _: &Email) -> Result<SentMail, EmailError> {
        Err(EmailError::new(self.0, "broken"))
    }
}

fn email() -> Email {
    Email::to("ada@example.com").from("shop@example.com").subject("Hello").text("Hello.")
}

#[tokio::test]
async fn the_second_gets_only_what_the_first_has_certainly_not_taken() {
    use EmailErrorKind::*;
    for (kind, asked) in [
        (Unavailable, true),
        (RateLimited, true),
        (Unknown, false),
        (Refused, false),
        (Invalid, false),
        (Configuration, false),
    ] {
        let second = MemoryProvider::default();
        let sent = FailoverProvider::new(Broken(kind), second.clone()).send(&email()).await;
        assert_eq!(second.sent().len(), usize::from(asked), "{kind:?}");
        match sent {
            Ok(sent) => assert!(asked && sent.provider == "memory"),
            Err(error) => assert!(!asked && error.kind() == kind),
        }
    }
    let (first, second) = (MemoryProvider::default(), MemoryProvider::default());
    FailoverProvider::new(first.clone(), second.clone()).send(&email()).await.unwrap();
    assert_eq!((first.sent().len(), second.sent().len()), (1, 0));
}

#[tokio::test]
async fn what_both_say_is_put_together() {
    use EmailErrorKind::*;
    for (first, second, both) in [
        (Unavailable, Unavailable, Unavailable),
        (Unavailable, Unknown, Unknown),
        (RateLimited, Unavailable, Unavailable),
        // The first provider may accept the mail once it is available again.
        (Unavailable, Refused, Unavailable),
        (Unavailable, Configuration, Unavailable),
    ] {
        let error = FailoverProvider::new(Broken(first), Broken(second)).send(&email()).await.unwrap_err();
        assert_eq!(error.kind(), both, "{first:?}, {second:?}");
    }
}
