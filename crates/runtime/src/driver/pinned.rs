//! Drivers that a port can only keep in memory: they were left to themselves.

use crate::clock::unix_ms;
use crate::driver::instance::Instance;
use crate::info::Abandoned;
use std::sync::Arc;
use steadfast_shell::receipt::Release;

/// The same, as its port remembers it.
#[derive(Debug)]
pub(crate) struct Pinned {
    pub(crate) shown: Abandoned,
    /// Which one: an address, for comparison only.
    pub(crate) which: usize,
    /// Of one that is in no call, nobody else keeps what it has.
    pub(crate) _keeps: Option<Arc<Instance>>,
}

impl Pinned {
    /// One that does not return from this entry point.
    pub(crate) fn inside(port: &str, release: Release, entry: &str, which: usize) -> Pinned {
        tracing::error!(
            port,
            driver = release.driver,
            version = release.version,
            "it is abandoned in `{entry}`; its module stays in memory"
        );
        let shown = Abandoned { release, entry: entry.to_owned(), since_unix_ms: unix_ms(), inside: true };
        Pinned { shown, which, _keeps: None }
    }
}
