//! Builds of a developer that was watched do not pile up in the store.

use crate::app::App;
use std::collections::BTreeSet;
use steadfast_api::{Cause, Outcome, Receipt};
use steadfast_history::Filter;
use steadfast_shell::auto;

/// Receipts that are looked through for builds.
const LOOK_BACK: usize = 500;

impl App {
    /// Takes builds out of the store that nobody needs any more, after one has come to serve. What serves a
    /// port stays, and what did before: that is what going back leads to.
    pub(crate) fn forget_builds(&self) {
        let (receipts, all) = self.receipts.known(&Filter { limit: Some(LOOK_BACK), ..Filter::default() });
        if !all {
            return;
        }
        let mut needed = self.needed(&receipts);
        needed.extend(self.topology.kept_hashes());
        for hash in builds(&receipts).difference(&needed).filter(|hash| self.store.get(hash).is_ok()) {
            match self.store.remove(hash) {
                Ok(()) => tracing::debug!(hash, "a build that is not needed any more left the store"),
                Err(e) => tracing::warn!(hash, "a build stays in the store: {e}"),
            }
        }
    }

    /// What serves a port, and what served it before.
    fn needed(&self, receipts: &[Receipt]) -> BTreeSet<String> {
        let mut needed = BTreeSet::new();
        for port in self.engine.ports() {
            let hash = port.module.map(|module| module.hash).unwrap_or_default();
            let own = receipts.iter().rev().filter(|receipt| receipt.port == port.name);
            needed.extend(auto::before(own, &hash).map(|release| release.hash.clone()));
            needed.insert(hash);
        }
        needed
    }
}

/// Modules that have come as builds, and in no other way.
fn builds(receipts: &[Receipt]) -> BTreeSet<String> {
    let brought = |by_watch: bool| {
        let such = receipts.iter().filter(move |receipt| (receipt.by.cause == Cause::Watch) == by_watch);
        such.filter_map(|receipt| receipt.to.as_ref()).map(|to| to.hash.clone())
    };
    let others: BTreeSet<String> = brought(false).collect();
    brought(true).filter(|hash| !others.contains(hash)).collect()
}

/// Whether an update was one that may leave builds behind.
pub(crate) fn was_build(receipt: &Receipt) -> bool {
    receipt.by.cause == Cause::Watch && receipt.outcome == Outcome::Done
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_api::{Release, Requester};

    fn receipt(id: u64, cause: Cause, hash: &str) -> Receipt {
        let to = Release { driver: "d".into(), version: "1.0.0".into(), hash: hash.into() };
        let by = Requester { cause, who: String::new() };
        Receipt { to: Some(to), by, outcome: Outcome::Done, ..Receipt::blank(id, "vol0", 0) }
    }

    #[test]
    fn only_what_nobody_has_installed_is_a_build() {
        let receipts = [
            receipt(1, Cause::Operator, "installed"),
            receipt(2, Cause::Watch, "installed"),
            receipt(3, Cause::Watch, "built"),
        ];
        assert_eq!(builds(&receipts), BTreeSet::from(["built".to_owned()]));
        assert!(was_build(&receipts[2]) && !was_build(&receipts[0]));
    }
}
