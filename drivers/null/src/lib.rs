//! Steadfast block driver null.
