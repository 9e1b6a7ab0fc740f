//! The laws of the contracts that conformance tests check.
//!
//! Each conformance macro tests the laws of one trait, whose documentation lists them. A failure names the law that is
//! broken and what it requires, and then the details.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

/// The guarantees of an implementation of a trait: its laws, each with its requirement.
#[derive(Clone, Copy, Debug)]
pub struct Contract {
    name: &'static str,
    laws: &'static [(&'static str, &'static str)],
}

impl Contract {
    pub(crate) const fn new(name: &'static str, laws: &'static [(&'static str, &'static str)]) -> Self {
        Self { name, laws }
    }

    /// Returns the name of the trait.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the laws, each as its name and its requirement.
    pub fn laws(&self) -> &'static [(&'static str, &'static str)] {
        self.laws
    }

    /// Returns the requirement of a law.
    ///
    /// # Panics
    /// Panics if the contract has no such law.
    fn requirement(&self, law: &str) -> &'static str {
        match self.laws.iter().find(|(name, _)| *name == law) {
            Some((_, requirement)) => requirement,
            None => panic!("the contract of `{}` has no law `{law}`", self.name),
        }
    }
}

/// Runs the test of a law. The conformance macros call it.
///
/// # Panics
/// Panics if the test panics. The message names the law and its requirement.
pub async fn check(contract: &Contract, law: &str, test: impl Future<Output = ()>) {
    let requirement = contract.requirement(law);
    if let Err(text) = catch_panic(test).await {
        panic!("the law `{law}` of `{}` is broken: {requirement}\n  {text}", contract.name);
    }
}

/// Runs a future. Returns the message of its panic if it panics.
pub(crate) async fn catch_panic<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    let outcome = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Err(panic) => Poll::Ready(Err(panic_text(panic.as_ref()))),
    });
    outcome.await
}

/// Returns the message of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVEN: Contract = Contract::new("Even", &[("is_even", "every number is even"), ("is_small", "it is small")]);

    #[tokio::test]
    async fn a_broken_law_is_named_with_its_requirement() {
        check(&EVEN, "is_even", async { tokio::task::yield_now().await }).await;
        let odd = async {
            tokio::task::yield_now().await;
            panic!("7 is odd");
        };
        let broken = catch_panic(check(&EVEN, "is_even", odd)).await.unwrap_err();
        assert_eq!(broken, "the law `is_even` of `Even` is broken: every number is even\n  7 is odd");
        let unknown = catch_panic(check(&EVEN, "is_odd", async {})).await.unwrap_err();
        assert_eq!(unknown, "the contract of `Even` has no law `is_odd`");
    }

    /// Returns the documentation in a source file as one line.
    fn documentation(source: &str) -> String {
        let lines = source.lines().filter_map(|line| line.trim_start().strip_prefix("///"));
        lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_documentation_of_each_trait_lists_its_laws() {
        let traits = [
            (crate::email::CONTRACT, include_str!("../../omnistack-core/src/email/provider.rs")),
            #[cfg(feature = "sms")]
            (crate::sms::CONTRACT, include_str!("../../omnistack-messaging/src/sms/provider.rs")),
            #[cfg(feature = "storage")]
            (crate::storage::CONTRACT, include_str!("../../omnistack-storage/src/provider.rs")),
            #[cfg(feature = "ai")]
            (crate::vectors::CONTRACT, include_str!("../../omnistack-ai/src/vector/index.rs")),
        ];
        for (contract, source) in traits {
            let documentation = documentation(source);
            for (law, requirement) in contract.laws() {
                let line = format!("- `{law}`: {requirement}");
                assert!(documentation.contains(&line), "{} does not say `{line}`", contract.name());
            }
        }
    }
}
