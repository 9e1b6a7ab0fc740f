//! The database on both kinds.
