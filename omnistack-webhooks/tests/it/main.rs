//! Tests of webhooks.

mod inbox;
