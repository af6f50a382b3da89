//! Steadfast block driver file-1.1.
