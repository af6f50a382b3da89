//! Watched folders: a newer module that appears there is told of, or taken, device by device.
//!
//! Two threads. `folder` looks: when the kernel says that something happened, and from time to time. It
//! never waits for an update, so that what is shown stays true. `folder-round` is there while devices
//! are updated: one after another, each until its probation is over, and the first that goes back ends
//! the round.

mod round;
mod scan;
mod settle;
mod watcher;

use crate::app::App;
use crate::config::{AutoConfig, WatchConfig};
use scan::Scan;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use steadfast_api::{AutoUpdate, Available, Release};
use steadfast_shell::auto::{self, Choice, Offer};
use steadfast_shell::sync::lock;
use watcher::{Waker, Watcher};

/// How long stopping waits for the threads.
const FAREWELL: Duration = Duration::from_secs(15);

/// The watched folders' modules, and what devices do about them.
#[derive(Debug)]
pub(crate) struct Folder {
    config: WatchConfig,
    /// Devices' own policies, by port.
    policies: BTreeMap<String, AutoConfig>,
    offers: Mutex<Vec<Offer>>,
    /// Counts the changes of `offers`.
    version: AtomicU64,
    /// What was found for a port last, and from what.
    memo: Mutex<BTreeMap<String, (Basis, Option<Available>)>>,
    in_round: AtomicBool,
    stopping: AtomicBool,
    waker: Mutex<Option<Waker>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// All that a choice depends on: the running module, the offers, the receipts.
type Basis = (String, u64, u64);

impl Folder {
    pub(crate) fn new(config: WatchConfig, policies: BTreeMap<String, AutoConfig>) -> Folder {
        Folder {
            config,
            policies,
            offers: Mutex::default(),
            version: AtomicU64::new(0),
            memo: Mutex::default(),
            in_round: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            waker: Mutex::default(),
            threads: Mutex::default(),
        }
    }

    fn policy(&self, port: &str) -> &AutoConfig {
        self.policies.get(port).unwrap_or(&self.config.default)
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Begins to watch, if there is anything to watch.
    pub(crate) fn start(app: &Arc<App>) {
        let folder = &app.folder;
        if folder.config.folders.is_empty() {
            return;
        }
        let watcher = match Watcher::new() {
            Ok((watcher, waker)) => {
                *lock(&folder.waker) = Some(waker);
                watcher
            }
            Err(e) => return tracing::error!("watched folders: {e}; nothing is watched"),
        };
        for path in &folder.config.folders {
            tracing::info!("watching {} for newer modules", path.display());
        }
        let app2 = Arc::clone(app);
        folder.spawn("folder", move || watch(&app2, watcher));
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> bool {
        match std::thread::Builder::new().name(name.to_owned()).spawn(body) {
            Ok(thread) => {
                let mut threads = lock(&self.threads);
                threads.retain(|thread| !thread.is_finished());
                threads.push(thread);
                true
            }
            Err(e) => {
                tracing::error!("thread {name}: {e}");
                false
            }
        }
    }

    /// Nothing new begins.
    pub(crate) fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(waker) = &*lock(&self.waker) {
            waker.wake();
        }
    }

    /// Ends both threads. Probations must have been stopped, for a round waits for them.
    pub(crate) fn stop(&self) {
        self.begin_stop();
        let begin = std::time::Instant::now();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            while !thread.is_finished() && begin.elapsed() < FAREWELL {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn set_offers(&self, offers: Vec<Offer>) {
        *lock(&self.offers) = offers;
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// What there is for a port that runs `running`.
    pub(crate) fn available(&self, app: &App, port: &str, running: &Release) -> Option<Available> {
        let policy = self.policy(port);
        if policy.policy == AutoUpdate::Off || self.config.folders.is_empty() {
            return None;
        }
        let basis = (running.hash.clone(), self.version.load(Ordering::Relaxed), app.receipts.version());
        if let Some((known, available)) = lock(&self.memo).get(port)
            && *known == basis
        {
            return available.clone();
        }
        let available = self.choose(app, port, running, |choice| {
            let (offer, not_taken) = match (choice.passed_over, choice.take) {
                (Some((offer, why)), _) => (offer, why),
                (None, Some(offer)) => (offer, String::new()),
                (None, None) => return None,
            };
            let (module, path) = (offer.release.clone(), offer.path.clone());
            Some(Available { module, path, policy: policy.policy, not_taken })
        });
        lock(&self.memo).insert(port.to_owned(), (basis, available.clone()));
        available
    }

    /// Chooses for a port. Receipts are asked for only where there is something to choose.
    fn choose<T>(&self, app: &App, port: &str, running: &Release, then: impl FnOnce(Choice<'_>) -> T) -> T {
        let offers = lock(&self.offers).clone();
        let requirement = self.policy(port).version.as_ref();
        let receipts = std::cell::OnceCell::new();
        let bad = |hash: &str| {
            let receipts = receipts.get_or_init(|| app.receipts.tried(round::LOOK_BACK));
            let Some(receipts) = receipts else {
                return Some("the history does not answer, so that it may have been tried before".to_owned());
            };
            auto::objection(receipts.iter().rev(), port, &running.hash, hash)
        };
        then(auto::choose(running, requirement, &offers, bad))
    }
}

/// Looks, as long as the daemon runs.
fn watch(app: &Arc<App>, mut watcher: Watcher) {
    let folder = &app.folder;
    let config = &folder.config;
    let mut scan = Scan::new(config.folders.clone(), config.settle.as_nanos() as u64);
    while !folder.stopping() {
        // Before the look, so that nothing falls between the two.
        watcher.watch(&config.folders);
        let scanned = scan.look(&app.store);
        if scanned.changed {
            folder.set_offers(scan.offers());
            announce(app);
        }
        round::start(app);
        let soon = config.settle.max(Duration::from_millis(10));
        watcher.wait(if scanned.unsettled { soon.min(config.rescan) } else { config.rescan });
    }
}

/// Says in the log what is there for devices that take nothing by themselves.
fn announce(app: &App) {
    for device in app.devices() {
        let Some(Available { module, path, policy: AutoUpdate::Notify, .. }) = &device.available else {
            continue;
        };
        tracing::info!("device {}: {} {} is available ({path})", device.name, module.driver, module.version);
    }
}
