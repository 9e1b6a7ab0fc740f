//! (to be written)

pub(crate) mod schedule;
