//! Tests of failover to a second provider.

use async_trait::async_trait;
use omnistack_core::email::{Email, EmailError, EmailProvider, ErrorKind, Failover, Memory, Sent};

#[derive(Debug)]
struct Broken(ErrorKind);

#[async_trait]
impl EmailProvider for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    async fn send(&self, _: &Email) -> Result<Sent, EmailError> {
        Err(EmailError::new(self.0, "broken"))
    }
}

fn email() -> Email {
    Email::to("ada@example.com").from("shop@example.com").subject("Hello").text("Hello.")
}

#[tokio::test]
async fn the_second_gets_only_what_the_first_has_certainly_not_taken() {
    use ErrorKind::*;
    for (kind, asked) in [
        (Unavailable, true),
        (RateLimited, true),
        (Unknown, false),
        (Refused, false),
        (Invalid, false),
        (Configuration, false),
    ] {
        let second = Memory::default();
        let sent = Failover::new(Broken(kind), second.clone()).send(&email()).await;
        assert_eq!(second.sent().len(), usize::from(asked), "{kind:?}");
        match sent {
            Ok(sent) => assert!(asked && sent.provider == "memory"),
            Err(error) => assert!(!asked && error.kind() == kind),
        }
    }
    let (first, second) = (Memory::default(), Memory::default());
    Failover::new(first.clone(), second.clone()).send(&email()).await.unwrap();
    assert_eq!((first.sent().len(), second.sent().len()), (1, 0));
}

#[tokio::test]
async fn what_both_say_is_put_together() {
    use ErrorKind::*;
    for (first, second, both) in [
        (Unavailable, Unavailable, Unavailable),
        (Unavailable, Unknown, Unknown),
        (RateLimited, Unavailable, Unavailable),
        // The first provider may accept the mail once it is available again.
        (Unavailable, Refused, Unavailable),
        (Unavailable, Configuration, Unavailable),
    ] {
        let error = Failover::new(Broken(first), Broken(second)).send(&email()).await.unwrap_err();
        assert_eq!(error.kind(), both, "{first:?}, {second:?}");
    }
}
