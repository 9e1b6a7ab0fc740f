//! Tests of idempotency keys.

mod answers;
mod keys;
mod mounts;
mod owners;
mod till;
