//! Steadfast block driver ram.
