//! slots.
