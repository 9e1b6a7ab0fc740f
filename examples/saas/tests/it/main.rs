//! The example app, through its public door.

mod audit;
mod docs;
mod jobs;
mod projects;
