//! When the names of a port's files are looked at, and what is refused when they lead elsewhere.

use crate::driver::instance::Instance;
use crate::handle::Handle;
use crate::handle::name_check::Sight;
use crate::helpers::ready_threads;
use crate::info::{Trouble, TroubleCode};
use crate::port::Port;
use crate::port::directory::Directory;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;
use steadfast_shell::sync::lock;

/// How often all names are looked at.
const ROUND: Duration = Duration::from_secs(5);
/// How long somebody who asks waits for news.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long whoever opens a file anew does.
const LONG_PATIENCE: Duration = Duration::from_secs(2);

impl Port {
    fn sights(&self) -> Vec<Arc<Sight>> {
        lock(&self.inner).handles.iter().flatten().filter_map(|handle| handle.sight.clone()).collect()
    }

    /// Looks at what the names lead to that a driver is going to open anew. Where one leads to another file and
    /// that is wanted, it is opened; else what is open is used on.
    pub(crate) fn look_before_opening(&self, anew: bool) {
        look_at(self.sights(), LONG_PATIENCE);
        let mut inner = lock(&self.inner);
        for handle in inner.handles.iter_mut().flatten() {
            let other = |code| {
                matches!(code, TroubleCode::FileReplaced | TroubleCode::FileShrunk | TroubleCode::ReadOnly)
            };
            handle.stale = anew && handle.trouble().is_some_and(|found| other(found.code));
        }
    }

    /// Whether a driver that is prepared may come to serve: not with a file whose name leads elsewhere by now,
    /// unless that is meant.
    ///
    /// # Errors
    /// What became of the file.
    pub(crate) fn may_go_on(&self, next: &Instance, force: bool) -> Result<(), String> {
        let numbers = lock(&next.handles).clone();
        let inner = lock(&self.inner);
        let known = |number: &u32| inner.handles.get(*number as usize)?.as_ref()?.trouble();
        let Some(found) = numbers.iter().filter_map(known).find(Trouble::is_gone) else { return Ok(()) };
        if force {
            tracing::warn!(port = self.name, "goes on with it, as was asked for: {}", found.detail);
            return Ok(());
        }
        Err(refusal(&found))
    }

    /// Files whose names lead elsewhere by now, and which a driver would open anew under these changes of
    /// parameters, each with what force does about it. `same`: it is the driver that has them open, so what no
    /// change takes away it opens again; of another, what is among `given`.
    pub(crate) fn gone(
        &self,
        same: bool,
        given: &BTreeMap<String, String>,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Vec<String> {
        let inner = lock(&self.inner);
        let values = inner.serving.as_ref().map(|serving| serving.values()).unwrap_or_default();
        let moves = |target: &String| {
            let leaves = |(name, to): (&String, &Option<String>)| {
                values.get(name).is_some_and(|value| value.to_string() == *target)
                    && to.as_ref() != Some(target)
            };
            changes.iter().any(leaves)
        };
        let again = |found: &Trouble| {
            let target = &found.target;
            !moves(target) && (same || given.values().any(|value| value == target))
        };
        let found = inner.handles.iter().flatten().filter_map(Handle::trouble);
        let gone = found.filter(Trouble::is_gone).filter(again);
        gone.map(|found| refusal(&found)).collect()
    }
}

impl Trouble {
    /// The name leads to another file, to none, or to one that has lost a part of what it was.
    fn is_gone(&self) -> bool {
        matches!(self.code, TroubleCode::FileReplaced | TroubleCode::FileMissing | TroubleCode::FileShrunk)
    }
}

/// Why nothing is opened anew, and what force does.
fn refusal(found: &Trouble) -> String {
    let what = match found.code {
        TroubleCode::FileReplaced => "--force opens the one that is there now",
        TroubleCode::FileShrunk => "--force opens it as it is now, smaller or not",
        _ => "--force goes on with the one that is open",
    };
    format!("{}; {what}", found.detail)
}

/// Looks at these on a thread of its own, and waits for a while.
fn look_at(sights: Vec<Arc<Sight>>, patience: Duration) {
    if sights.is_empty() {
        return;
    }
    let (tx, rx) = mpsc::sync_channel(1);
    let body = move || {
        sights.iter().for_each(|sight| sight.look());
        let _ = tx.try_send(());
    };
    if ready_threads::begin("look", body).is_ok() {
        let _ = rx.recv_timeout(patience);
    }
}

impl Directory {
    /// Looks whether the files behind a port are still where they were, or those behind all of them, so that
    /// what [`PortInfo`](crate::info::PortInfo) says of them is new. A file system that does not answer is waited for
    /// a moment only.
    pub(crate) fn look_at_files(&self, port: Option<&str>) {
        let ports = match port {
            Some(name) => self.find(name).into_iter().collect(),
            None => self.all_ports(),
        };
        look_at(ports.iter().flat_map(|port| port.sights()).collect(), PATIENCE);
    }

    /// Why an activation of a port with these changes of parameters is refused unless it is forced: the names of
    /// its files lead elsewhere by now.
    pub(crate) fn gone_behind(&self, port: &str, changes: &BTreeMap<String, Option<String>>) -> Vec<String> {
        self.look_at_files(Some(port));
        self.find(port).map_or_else(Vec::new, |port| port.gone(true, &BTreeMap::new(), changes))
    }

    /// Looks at all of them every few seconds, as long as the engine is there.
    pub(crate) fn start_looking(self: &Arc<Self>, soon: Receiver<()>) {
        let known = Arc::downgrade(self);
        let body = move || {
            while let Some(directory) = after_a_while(&known, &soon) {
                let sights: Vec<_> = directory.all_ports().iter().flat_map(|port| port.sights()).collect();
                look_at(sights.clone(), ROUND);
                sights.iter().for_each(|sight| sight.tell());
                drop(directory);
                std::thread::sleep(PATIENCE);
            }
        };
        if let Err(e) = std::thread::Builder::new().name("looks".into()).spawn(body) {
            tracing::warn!("files behind ports are looked at only when somebody asks: {e}");
        }
    }
}

/// Waits for the next round, or until something speaks for a look at once.
fn after_a_while(known: &Weak<Directory>, soon: &Receiver<()>) -> Option<Arc<Directory>> {
    if let Err(RecvTimeoutError::Disconnected) = soon.recv_timeout(ROUND) {
        return None;
    }
    known.upgrade()
}
