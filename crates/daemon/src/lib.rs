//! The daemon: configuration, control API, frontends.
