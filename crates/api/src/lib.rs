//! The control API's types.
