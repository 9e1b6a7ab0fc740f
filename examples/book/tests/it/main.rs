//! Tests of the book's examples.

mod greetings;
mod reports;
mod webhooks;
