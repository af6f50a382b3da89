//! Trial before commit: a candidate answers a copy of the device's reads beside the driver that serves,
//! and never changes anything.
//!
//! The candidate gets a port of its own that nobody lists (the *shadow*), on the queues of the live
//! one, with slots and lanes of its own. It finds the live port's handles open (nothing is opened a
//! second time), and its regions are private copies-on-write of the live ones. Whatever it issues
//! that would change something is refused ([`Trial::tame`]). What a queue does is in [`mirror`].
//!
//! `prepare`, `connect` and `disconnect` of the candidate run on a thread of their own: however long
//! they take, no queue waits. Its requests and events run on the queues' threads, as they will when
//! it serves: a call that does not return there stops the live device too.

mod candidate;
mod mirror;
mod shared;

use crate::change::hold::visit;
use crate::change::options::TrialOptions;
use crate::change::prepare;
use crate::control::Control;
use crate::driver::instance::Instance;
use crate::info::ShadowInfo;
use crate::port::Port;
use crate::resources::driver_state::State;
use candidate::Stand;
pub(crate) use mirror::Mirror;
pub(crate) use shared::Trial;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use steadfast_loader::StagedModule;
use steadfast_shell::params::Value;
use steadfast_shell::shadow::{ShadowReport, Tally};
use steadfast_shell::sync::lock;

/// How often the control thread looks at what was counted.
const LOOK: Duration = Duration::from_millis(100);
/// How long the candidate may take for the reads that it has when the trial ends.
const SETTLE: Duration = Duration::from_secs(3);
/// So much against a candidate is enough: the trial need not go on.
const ENOUGH: u64 = 100;

/// Why a trial ends when whoever asked for it has gone.
const UNWANTED: &str = "whoever asked for it has gone away";

impl Control {
    /// Tries a candidate on a port that `old` serves. The port's turn is the caller's.
    pub(crate) fn try_out(
        &self,
        live: &Arc<Port>,
        staged: &StagedModule,
        params: BTreeMap<String, Value>,
        old: &Arc<Instance>,
        how: &TrialOptions,
        unwanted: &AtomicBool,
    ) -> ShadowReport {
        let mut report = self.try_candidate(live, staged, params, old, how, unwanted).unwrap_or_else(|why| {
            let mut report = ShadowReport::default();
            report.against.push(why);
            report
        });
        report.candidate = Some(staged.release());
        report.only = how.only;
        report.equal = report.against.is_empty() && report.cut_short.is_empty();
        report
    }

    fn try_candidate(
        &self,
        live: &Arc<Port>,
        staged: &StagedModule,
        params: BTreeMap<String, Value>,
        old: &Arc<Instance>,
        how: &TrialOptions,
        unwanted: &AtomicBool,
    ) -> Result<ShadowReport, String> {
        how.check()?;
        let states = self.state_for(live, old, staged)?;
        let bytes = lock(&live.inner).devices.iter().map(|d| d.size).fold(0, u64::saturating_add);
        let trial = Arc::new(Trial::new(staged.release(), bytes, how.sample));
        let module = prepare::load(staged, live, candidate::PATIENCE)?;
        let port = self.shadow_port(live, &trial, states)?;
        lock(&live.inner).trial = Some(trial.clone());
        let result = Stand::set_up(live, &port, module, params).map(|stand| {
            let report = self.watch(stand, &trial, how, unwanted);
            Ok(report)
        });
        lock(&live.inner).trial = None;
        result.unwrap_or_else(|refused| Ok(refused.into_report()))
    }

    /// The trial itself, from the first copied read to the report.
    fn watch(
        &self,
        mut stand: Stand,
        trial: &Trial,
        how: &TrialOptions,
        unwanted: &AtomicBool,
    ) -> ShadowReport {
        let mut against = Vec::new();
        let begun = Instant::now();
        if let Err(why) = stand.begin(how.duration) {
            against.push(why);
        }
        while against.is_empty() && !trial.left().is_zero() && trial.ended().is_none() {
            trial.sleep(trial.left().min(LOOK));
            if unwanted.load(Ordering::Relaxed) {
                trial.end(UNWANTED);
                break;
            }
            let Some((tally, _)) = stand.look() else {
                against.push(candidate::STUCK_QUEUE.to_owned());
                break;
            };
            let enough = tally.differ + tally.failed + trial.refused() >= ENOUGH;
            trial.set_seen(tally);
            if enough {
                break;
            }
        }
        let duration = begun.elapsed();
        let end = stand.take_down(SETTLE);
        against.extend(end.against);
        let mut report = ShadowReport::of(&end.tally);
        report.duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        report.changes_refused = trial.refused();
        report.flushes_swallowed = trial.swallowed();
        report.cut_short = trial.ended().unwrap_or_default();
        report.faults = end.faults;
        report.unload = end.unload;
        // What it would have come to is not known: too few reads are nobody's fault then.
        if report.cut_short.is_empty() {
            against.extend(how.bounds.judge(&report));
        }
        report.against = against;
        report
    }

    /// A copy of the running driver's state, for a candidate that reads one.
    fn state_for(
        &self,
        live: &Arc<Port>,
        old: &Arc<Instance>,
        staged: &StagedModule,
    ) -> Result<Vec<State>, String> {
        let running = old.module.manifest();
        if running.state_write.is_empty() || staged.manifest.state_read.is_empty() {
            return Ok(Vec::new());
        }
        if old.module.driver().save_state.is_none() {
            return Err(format!(
                "{} {} has state and cannot save it while it serves (entry point save_state), so {} {} \
                 cannot be tried beside it",
                running.name, running.version, staged.manifest.name, staged.manifest.version
            ));
        }
        let saved = Arc::new(Mutex::new(Vec::new()));
        let (place, old) = (saved.clone(), old.clone());
        let look = visit(live, "save_state", move || {
            *lock(&place) = old.saved_state()?;
            Ok(())
        });
        look.map_err(|e| e.to_string())?;
        Ok(std::mem::take(&mut *lock(&saved)))
    }

    /// Ends the trial that a port may be in, because the port is wanted for something that cannot be
    /// refused; waits for its end, for a while.
    pub(crate) fn end_trial(&self, port: &Port, why: &str, patience: Duration) {
        let Some(trial) = lock(&port.inner).trial.clone() else { return };
        trial.end(why);
        let until = Instant::now() + patience;
        // The update that asked for it ends with it.
        while port.turns.doing().is_some() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// As [`Engine::stop_trial`](crate::Engine::stop_trial).
    pub(crate) fn stop_trial(&self, name: &str, why: &str) -> Option<ShadowInfo> {
        let port = self.find(name)?;
        let trial = lock(&port.inner).trial.clone()?;
        trial.end(why);
        Some(trial.info())
    }

    /// As [`Engine::end_trials`](crate::Engine::end_trials).
    pub(crate) fn end_trials(&self, why: &str) {
        for port in self.all_ports() {
            if let Some(trial) = lock(&port.inner).trial.clone() {
                trial.end(why);
            }
        }
    }
}

/// How a trial ended.
struct End {
    tally: Tally,
    against: Vec<String>,
    faults: u64,
    unload: steadfast_shell::receipt::Unload,
}
