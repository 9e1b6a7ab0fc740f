//! Tests of the example app over its HTTP API and its command line.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod ai;
mod audit;
mod disabled_webhook;
mod docs;
mod doctor;
mod every_operation;
mod health;
mod jobs;
mod lists;
mod live;
mod live_rights;
mod migrations;
mod missing;
mod money;
mod openapi;
mod operations;
mod pipe;
mod plan_limits;
mod projects;
mod rollout;
mod settings;
mod webhooks;
