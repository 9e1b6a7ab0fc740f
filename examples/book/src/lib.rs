//! The code the book under `docs/` shows: compiled, and run by the tests beside it.

pub mod greetings;
pub mod keys;
pub mod reports;
