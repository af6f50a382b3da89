//! One round: the devices that take newer modules by themselves, one after another.

use super::FAREWELL;
use crate::app::App;
use crate::updates::Work;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use steadfast_api::{AutoUpdate, Outcome, ProbationOutcome, Receipt};
use steadfast_runtime::UpdateOptions;
use steadfast_shell::auto::Offer;
use steadfast_shell::receipt::{Cause, Requester};

/// Receipts of each outcome that are looked through for what was tried.
pub(super) const LOOK_BACK: usize = 1000;
/// Modules that are tried on one device in one round: each that is refused makes way for the next.
const TRIES: usize = 8;

/// How a device's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There is nothing for it, or it cannot be now.
    Nothing,
    /// It has the newer module, and keeps it.
    Updated,
    /// It refused the module.
    Refused,
    /// It went back, or its probation was cut short: the others are spared.
    Back,
}

/// Begins a round, unless one is under way or there is nothing to do.
pub(super) fn start(app: &Arc<App>) {
    let folder = &app.folder;
    if folder.stopping() || !ports(app).iter().any(|port| next(app, port).is_some()) {
        return;
    }
    if folder.in_round.swap(true, Ordering::AcqRel) {
        return;
    }
    let app2 = Arc::clone(app);
    let started = folder.spawn("folder-round", move || {
        run(&app2);
        app2.folder.in_round.store(false, Ordering::Release);
    });
    if !started {
        folder.in_round.store(false, Ordering::Release);
    }
}

fn run(app: &Arc<App>) {
    for port in ports(app) {
        for _ in 0..TRIES {
            if app.folder.stopping() {
                return;
            }
            match turn(app, &port) {
                Turn::Refused => {}
                Turn::Nothing | Turn::Updated => break,
                Turn::Back => {
                    tracing::warn!("port {port} did not keep the newer module; the others are not updated");
                    return;
                }
            }
        }
    }
}

/// The ports in the order in which they are updated.
fn ports(app: &App) -> Vec<String> {
    app.engine.port_names()
}

/// The module that a port is to get by itself now.
fn next(app: &App, port: &str) -> Option<Offer> {
    let folder = &app.folder;
    if folder.policy(port).policy != AutoUpdate::Auto || app.probations.of(port).is_some() {
        return None;
    }
    let info = app.engine.port(port)?;
    // A trial is in the way of every update; it ends by itself or at somebody's word.
    if info.shadow.is_some() {
        return None;
    }
    let running = info.driver?;
    folder.choose(app, port, &running, |choice| choice.take.cloned())
}

fn turn(app: &Arc<App>, port: &str) -> Turn {
    let Some(offer) = next(app, port) else { return Turn::Nothing };
    let release = &offer.release;
    tracing::info!("port {port}: {} {} from {} is next", release.driver, release.version, offer.path);
    // What is taken is what was found to be whole, whatever lies there by now.
    let by = Requester { cause: Cause::Folder, who: String::new() };
    let options = UpdateOptions { by, source: offer.path.clone(), ..UpdateOptions::default() };
    let terms = app.folder.policy(port).terms;
    let work = Work { options, probation: Some(terms), ends_probation: None, by_itself: false, save: None };
    let receipt = app.update_stored(port, &release.hash, work);
    match receipt.outcome {
        Outcome::Done => watch(app, &receipt),
        // What is not in the store any more has to be found anew.
        Outcome::Refused if receipt.to.is_none() => Turn::Nothing,
        Outcome::Busy | Outcome::Tried => Turn::Nothing,
        Outcome::Refused => Turn::Refused,
        Outcome::RolledBack | Outcome::Stranded | Outcome::Interrupted => Turn::Back,
    }
}

/// Waits until the probation is over.
fn watch(app: &App, receipt: &Receipt) -> Turn {
    while let Some(watch) = app.probations.of(&receipt.port).filter(|w| w.receipt == receipt.id) {
        if watch.wait_over(Duration::from_secs(1)) {
            break;
        }
        if app.folder.stopping() && watch.wait_over(FAREWELL) {
            break;
        }
    }
    let report = app.receipts.get(receipt.id).and_then(|receipt| receipt.probation);
    match report.map(|report| report.outcome) {
        Some(ProbationOutcome::Passed | ProbationOutcome::Unjudged) => Turn::Updated,
        _ => Turn::Back,
    }
}
