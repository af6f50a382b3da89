//! Module store, manifest reader and loader.
