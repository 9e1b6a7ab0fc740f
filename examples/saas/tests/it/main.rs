//! The example app, through its public door.

mod projects;
