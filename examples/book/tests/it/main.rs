//! The book's examples, run.

mod greetings;
mod reports;
