//! What a port's drivers use and the shell owns: memory, limits, state.

pub(crate) mod arena;
pub(crate) mod driver_state;
pub(crate) mod headroom;
pub(crate) mod limits;
pub(crate) mod mapping;
pub(crate) mod regions;
pub(crate) mod slot_memory;
