//! Tests of webhooks.
