//! Steadfast block driver file-1.0.
