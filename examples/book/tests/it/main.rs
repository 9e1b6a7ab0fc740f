//! Tests of the book's examples.

mod exports;
mod greetings;
mod reports;
mod webhooks;
