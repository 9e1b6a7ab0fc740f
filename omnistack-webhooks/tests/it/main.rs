//! Tests of webhooks.

mod sources;
