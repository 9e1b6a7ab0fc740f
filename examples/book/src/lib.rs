//! The code the book under `docs/` shows: compiled, and run by the tests beside it.

#[expect(unused_qualifications, reason = "`utoipa::path` writes the types of parameters in full")]
pub mod greetings;
pub mod keys;
pub mod reports;
