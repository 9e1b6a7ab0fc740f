//! Tests of webhooks.

mod outbound;
mod signing;
