//! Requests that are sent again.

mod answers;
mod keys;
mod mounts;
mod owners;
mod till;
