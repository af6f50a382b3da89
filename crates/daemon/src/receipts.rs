use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use steadfast_api::Receipt;
use tokio::sync::broadcast;

/// Receipts that are kept.
const KEPT: usize = 256;

/// The receipts of this daemon's life, the newest last; whoever listens is told of new ones.
pub(crate) struct Receipts {
    kept: Mutex<VecDeque<Receipt>>,
    listeners: broadcast::Sender<Receipt>,
}

impl Receipts {
    pub(crate) fn new() -> Receipts {
        Receipts { kept: Mutex::default(), listeners: broadcast::Sender::new(64) }
    }

    pub(crate) fn add(&self, receipt: Receipt) {
        let mut kept = self.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(receipt.clone());
        drop(kept);
        // Nobody listening is no error.
        let _ = self.listeners.send(receipt);
    }

    /// The newest `limit` receipts, of `port` only where it is given.
    pub(crate) fn list(&self, port: Option<&str>, limit: usize) -> Vec<Receipt> {
        let kept = self.lock();
        let meant = kept.iter().rev().filter(|r| port.is_none_or(|port| r.port == port));
        let mut list: Vec<Receipt> = meant.take(limit).cloned().collect();
        list.reverse();
        list
    }

    pub(crate) fn last_of(&self, port: &str) -> Option<Receipt> {
        self.lock().iter().rev().find(|r| r.port == port).cloned()
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Receipt> {
        self.listeners.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Receipt>> {
        // Nothing that can panic is done under the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
