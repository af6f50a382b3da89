//! params.
