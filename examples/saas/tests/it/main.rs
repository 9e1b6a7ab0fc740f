//! The example app, through its public door.

mod docs;
mod jobs;
mod projects;
