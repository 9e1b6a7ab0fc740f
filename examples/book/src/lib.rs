//! The code examples of the book in `docs/`. They are compiled, and the tests in `tests/it` run them.

pub mod exports;
#[expect(unused_qualifications, reason = "`utoipa::path` writes the types of parameters in full")]
pub mod greetings;
pub mod keys;
pub mod reports;
pub mod webhooks;
