//! TODO

use omnistack_core::module::Registry;

pub(crate) fn register(_: &mut Registry) {}
