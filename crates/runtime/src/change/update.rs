//! Update: what the control thread does of it around the pause.

use crate::change::first_steps::go_back;
use crate::change::options::TrialOptions;
use crate::change::phases::{remember, see_to_thread};
use crate::change::swap::{Handling, Job, Verdict};
use crate::clock::{now_ns, unix_ms};
use crate::control::Control;
use crate::driver::instance::Instance;
use crate::error::{EngineError, ErrorKind};
use crate::port::Port;
use crate::port::busy::Turn;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use steadfast_loader::{LoadedModule, ModuleStore, StagedModule};
use steadfast_shell::check::{self, CheckRow};
use steadfast_shell::properties::{Definition, Properties, Source};
use steadfast_shell::receipt::{Mode, Outcome, Receipt, Requester, Unload};
use steadfast_shell::sync::lock;
use steadfast_shell::update::{Action, IfBusy, Input, Plan, Update};

/// How long past its deadline a transaction may take before its port's queues are called stuck.
pub(crate) const STUCK: Duration = Duration::from_secs(5);
/// How often whoever waits for a transaction looks whether a driver is late.
const LOOK: Duration = Duration::from_millis(50);
const LEAST_WAIT: Duration = Duration::from_micros(200);
/// How long a queue that has taken part to the end may take to let go of the transaction, and whoever looks at a
/// driver to let go of that.
const LET_GO: Duration = Duration::from_secs(2);

/// How an update is to be done.
#[derive(Clone, Debug)]
pub struct UpdateOptions {
    /// Adopt, split or drain; `None`: the first of these that both drivers can do.
    pub mode: Option<Mode>,
    /// Longest wait for requests in flight; `None`: as the port's `drain_timeout` says.
    pub deadline: Option<Duration>,
    /// Wait for requests that must be drained, or answer *busy*.
    pub if_busy: IfBusy,
    /// Allow a version older than the running one.
    pub allow_older: bool,
    /// Allow a driver of another name.
    pub allow_other: bool,
    /// Allow a second change of driver where policy allows one per start.
    pub allow_again: bool,
    /// Allow versions to be skipped that the candidate wants to come from.
    pub allow_skip: bool,
    /// Put other contents under clients, where `params` say so.
    pub force: bool,
    /// Put the running driver away even if it does not let go, does not return from a call or does not finish what
    /// it has by the deadline: without its state, and what it has not answered fails.
    pub abandon: bool,
    /// Parameters that change together with the driver, and only if it comes to serve; `None` makes one
    /// undefined.
    pub params: BTreeMap<String, Option<String>>,
    /// Who asks, for the receipt.
    pub by: Requester,
    /// What was asked for, for the receipt.
    pub source: String,
    /// Is told what begins, before any of the candidate's code runs.
    pub begins: Option<Begins>,
    /// Becomes true when nobody wants it any more: a trial ends then, and nothing is replaced.
    pub unwanted: Arc<AtomicBool>,
    /// Try the candidate beside the driver that serves first; go on only when nothing speaks against it.
    pub shadow: Option<TrialOptions>,
    /// The candidate, where it is mapped already: then nothing is read or mapped for it.
    pub mapped: Option<Arc<LoadedModule>>,
}

impl Default for UpdateOptions {
    fn default() -> UpdateOptions {
        UpdateOptions {
            mode: None,
            deadline: None,
            if_busy: IfBusy::Wait,
            allow_older: false,
            allow_other: false,
            allow_again: false,
            allow_skip: false,
            force: false,
            abandon: false,
            params: BTreeMap::new(),
            by: Requester::default(),
            source: String::new(),
            shadow: None,
            mapped: None,
            begins: None,
            unwanted: Arc::default(),
        }
    }
}

/// Who is told that an update begins: the receipt as far as it is known.
#[derive(Clone)]
pub struct Begins(pub Arc<dyn Fn(&Receipt) + Send + Sync>);

impl fmt::Debug for Begins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Begins")
    }
}

impl Control {
    /// The right to change a port, for one transaction.
    pub(crate) fn turn<'a>(&self, port: &'a Arc<Port>, what: &str) -> Result<Turn<'a>, EngineError> {
        self.turn_within(port, what, Duration::ZERO)
    }

    /// The same for one that may wait for whoever has it, and whom nobody else overtakes.
    pub(crate) fn turn_within<'a>(
        &self,
        port: &'a Arc<Port>,
        what: &str,
        patience: Duration,
    ) -> Result<Turn<'a>, EngineError> {
        // A trial may have hours to go.
        let on_trial = lock(&port.inner).trial.is_some();
        let patience = if on_trial { Duration::ZERO } else { patience };
        let turn = port.turns.take_within(what, patience).map_err(|doing| busy(port, &doing))?;
        // It may have been taken away, and its name be another's, since it was looked up.
        if !self.find(&port.name).is_some_and(|known| Arc::ptr_eq(&known, port)) {
            return Err(self.not_found(&port.name));
        }
        let visit = lock(&port.inner).visit.clone();
        if visit.is_some_and(|visit| !visit.is_over()) {
            let what = format!("port {} is busy: a driver has not returned from `param_changed`", port.name);
            return Err(EngineError::new(ErrorKind::Busy, what));
        }
        lock(&port.inner).visit = None;
        if let Some(call) = port.outside.late() {
            let entry = call.entry.name();
            let what = format!("port {} is busy: its driver has not returned from `{entry}`", port.name);
            return Err(EngineError::new(ErrorKind::Busy, what));
        }
        let unfinished = lock(&port.inner).unfinished.take();
        if let Some(job) = unfinished {
            if !job.is_over() {
                lock(&port.inner).unfinished = Some(job);
                let what = format!("port {} is busy: a driver has not returned from a call", port.name);
                return Err(EngineError::new(ErrorKind::Busy, what));
            }
            let _ = end(port, &job);
        }
        Ok(turn)
    }

    /// As [`Engine::update`](crate::Engine::update).
    pub(crate) fn update(&self, name: &str, staged: &StagedModule, opts: &UpdateOptions) -> Receipt {
        self.update_from(name, || Ok(staged.clone()), opts)
    }

    /// As [`Engine::update_file`](crate::Engine::update_file).
    pub(crate) fn update_file(
        &self,
        name: &str,
        store: &ModuleStore,
        path: &Path,
        opts: &UpdateOptions,
    ) -> Receipt {
        self.update_from(name, || store.stage(path).map_err(|e| e.to_string()), opts)
    }

    /// As [`Engine::update_staged`](crate::Engine::update_staged).
    pub(crate) fn update_staged(
        &self,
        name: &str,
        stage: impl FnOnce() -> Result<StagedModule, String>,
        opts: &UpdateOptions,
    ) -> Receipt {
        self.update_from(name, stage, opts)
    }

    /// As [`Engine::update_stored`](crate::Engine::update_stored).
    pub(crate) fn update_stored(
        &self,
        name: &str,
        store: &ModuleStore,
        hash: &str,
        opts: &UpdateOptions,
    ) -> Receipt {
        self.update_from(name, || store.get(hash).map_err(|e| e.to_string()), opts)
    }

    /// As [`Engine::turn_away`](crate::Engine::turn_away).
    pub(crate) fn turn_away(
        &self,
        name: &str,
        outcome: Outcome,
        reason: String,
        opts: &UpdateOptions,
    ) -> Receipt {
        let mut receipt = self.blank_receipt(name, opts);
        (receipt.outcome, receipt.reason) = (outcome, reason);
        if let Some(port) = self.find(name) {
            if let Some(module) = port.module() {
                receipt.from = module.release();
            }
            receipt.nobody_serves = lock(&port.inner).serving.is_none();
            receipt.generation_before = port.generation();
            receipt.generation_after = receipt.generation_before;
        }
        receipt
    }

    fn update_from(
        &self,
        name: &str,
        stage: impl FnOnce() -> Result<StagedModule, String>,
        opts: &UpdateOptions,
    ) -> Receipt {
        let mut receipt = self.blank_receipt(name, opts);
        let Some(port) = self.find(name) else {
            receipt.reason = self.not_found(name).to_string();
            return receipt;
        };
        // Also an update that finds the port busy says what it found there.
        if let Some(module) = port.module() {
            receipt.from = module.release();
        }
        let stage: Box<dyn FnOnce() -> Result<StagedModule, String> + '_> =
            match opts.abandon && port.is_in_a_call() {
                true => match self.may_put_away(&port, stage, opts, &mut receipt) {
                    Some(staged) => {
                        self.give_up_calls(&port);
                        Box::new(move || Ok(staged))
                    }
                    None => return receipt,
                },
                false => Box::new(stage),
            };
        let turn = match self.turn(&port, &format!("update {}", receipt.id)) {
            Ok(turn) => turn,
            Err(e) => {
                let busy = e.kind() == ErrorKind::Busy;
                receipt.outcome = if busy { Outcome::Busy } else { Outcome::Refused };
                receipt.reason = e.to_string();
                return receipt;
            }
        };
        if port.waiting_module().is_some() {
            receipt.reason = port.no_driver();
            return receipt;
        }
        self.replace(&port, &turn, stage, opts, &mut receipt);
        drop(turn);
        receipt.nobody_serves = lock(&port.inner).serving.is_none();
        if receipt.outcome == Outcome::Refused && receipt.shadow.as_ref().is_some_and(|r| r.only && r.equal) {
            receipt.outcome = Outcome::Tried;
        }
        receipt.generation_after = port.generation();
        lock(&port.inner).last_receipt = Some(receipt.clone());
        receipt
    }

    /// The module, where nothing speaks against it: what is refused anyhow puts no driver away.
    fn may_put_away(
        &self,
        port: &Port,
        stage: impl FnOnce() -> Result<StagedModule, String>,
        opts: &UpdateOptions,
        receipt: &mut Receipt,
    ) -> Option<StagedModule> {
        let staged = match stage() {
            Ok(staged) => staged,
            Err(why) => {
                receipt.reason = why;
                return None;
            }
        };
        receipt.to = Some(staged.release());
        receipt.checks = self.check_rows(port, &staged, opts);
        if check::passed(&receipt.checks) {
            return Some(staged);
        }
        if check::waits_for_clients(&receipt.checks) {
            receipt.outcome = Outcome::Busy;
        }
        receipt.reason = check::refusals(&receipt.checks);
        receipt.nobody_serves = lock(&port.inner).serving.is_none();
        None
    }

    fn blank_receipt(&self, name: &str, opts: &UpdateOptions) -> Receipt {
        self.blank(name, &opts.by, &opts.source)
    }

    pub(crate) fn blank(&self, name: &str, by: &Requester, source: &str) -> Receipt {
        let id = self.directory.receipts.fetch_add(1, Ordering::Relaxed) + 1;
        let mut receipt = Receipt::blank(id, name, unix_ms());
        let generation = self.find(name).map_or(0, |port| port.generation());
        (receipt.generation_before, receipt.generation_after) = (generation, generation);
        receipt.by.clone_from(by);
        source.clone_into(&mut receipt.source);
        receipt
    }

    fn replace(
        &self,
        port: &Arc<Port>,
        turn: &Turn<'_>,
        stage: impl FnOnce() -> Result<StagedModule, String>,
        opts: &UpdateOptions,
        receipt: &mut Receipt,
    ) {
        let old = lock(&port.inner).serving.clone();
        receipt.generation_before = port.generation();
        if let Some(old) = &old {
            receipt.from = old.module.release();
        } else if let Some(left) = &lock(&port.inner).left {
            receipt.from = left.release.clone();
        }
        let deadline = opts.deadline.unwrap_or_else(|| port.limits.drain_timeout());
        let plan = Plan {
            mode: Mode::Drain,
            if_busy: opts.if_busy,
            deadline_ns: u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX / 2),
            has_old: old.is_some(),
            has_new: true,
        };
        let mut update = Update::new(plan, now_ns());
        if opts.abandon {
            update.without_consent();
        }
        let id = receipt.id;
        let stage = || {
            let staged = stage()?;
            turn.tell(&format!("update {id} to {} {}", staged.manifest.name, staged.manifest.version));
            Ok(staged)
        };
        match self.get_ready(port, &mut update, stage, opts, old.as_deref(), receipt) {
            Some((instance, mode)) => {
                let before = old.clone();
                let done = run(port, old, Some(instance), mode, update, deadline);
                port.reopen();
                match (done.job.trouble(), before) {
                    (Some(why), Some(before)) => {
                        return go_back(port, done, before, None, deadline, why, receipt);
                    }
                    (_, before) => drop(before),
                }
                // The transaction is this thread's: nobody has changed them since they were checked.
                if done.job.verdict() == Verdict::New {
                    receipt.reduced =
                        done.job.new.as_ref().map(|new| lock(&new.reduced).clone()).unwrap_or_default();
                    let mut inner = lock(&port.inner);
                    change(&mut inner.properties, &opts.params, &opts.by.who);
                }
                conclude(port, done, receipt);
            }
            None => close(&update, receipt),
        }
    }
}

/// Makes changes driver properties; `None` undefines.
pub(crate) fn change(properties: &mut Properties, changes: &BTreeMap<String, Option<String>>, who: &str) {
    for (name, value) in changes {
        match value {
            Some(value) => {
                let source = Source::Command { who: who.to_owned() };
                properties.define(name, Definition { value: value.clone(), source });
            }
            None => properties.undefine(name),
        }
    }
}

fn busy(port: &Port, doing: &str) -> EngineError {
    let trial = lock(&port.inner).trial.clone();
    let more = trial.map_or_else(String::new, |trial| format!(" ({})", trial.describe()));
    EngineError::new(ErrorKind::Busy, format!("port {} is busy: {doing} is under way{more}", port.name))
}

pub(crate) struct Finished {
    pub(crate) job: Arc<Job>,
    /// Every queue has taken part to the end.
    pub(crate) answered: bool,
}

impl Finished {
    /// Why it went as it did. Does not wait for a driver that does not return.
    pub(crate) fn reason(&self) -> String {
        if !self.answered && (self.job.verdict() == Verdict::Undecided || self.job.inside().is_some()) {
            return self.job.stuck();
        }
        self.job.meeting.update().reason().to_owned()
    }
}

/// The pause: posts the job to the port's queues and waits for its end.
pub(crate) fn run(
    port: &Arc<Port>,
    old: Option<Arc<Instance>>,
    new: Option<Arc<Instance>>,
    mode: Handling,
    update: Update,
    deadline: Duration,
) -> Finished {
    run_with(port, old, new, mode, update, deadline, None)
}

/// The same; with the new driver come these properties.
pub(crate) fn run_with(
    port: &Arc<Port>,
    old: Option<Arc<Instance>>,
    new: Option<Arc<Instance>>,
    mode: Handling,
    update: Update,
    deadline: Duration,
    properties: Option<Properties>,
) -> Finished {
    let (tx, rx) = mpsc::sync_channel(1);
    let job = Job::new(port.clone(), old, new, mode, update, tx);
    *lock(&job.properties) = properties;
    let job = Arc::new(job);
    see_to_thread(&job);
    for remote in &port.remotes {
        let job = job.clone();
        remote.post(Box::new(move |rt| rt.join(job)));
    }
    let mut answered = wait(&job, &rx, deadline);
    // Whoever is in a call on a thread of its own is waited for, and no queue is stuck.
    if !answered && job.inside().is_none() {
        job.abandon("a queue's thread does not answer: a driver may be stuck in it");
        answered = rx.recv_timeout(Duration::from_secs(1)).is_ok();
    }
    if !answered {
        tracing::error!(port = port.name, "{}", job.stuck());
    }
    remember(&job);
    Finished { job, answered }
}

/// Waits for a transaction's end. A driver that does not return from a call on a thread of its own is lost when its
/// time is over, and what is to be done then has time of its own.
fn wait(job: &Arc<Job>, finished: &Receiver<()>, deadline: Duration) -> bool {
    let mut until = Instant::now() + deadline.saturating_add(STUCK);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let due = job.apart.get().and_then(|_| job.meeting.lost_ns());
        let due = due.map(|due| Duration::from_nanos(due.saturating_sub(now_ns())));
        match finished.recv_timeout(due.unwrap_or(LOOK).min(LOOK).min(left).max(LEAST_WAIT)) {
            Ok(()) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if job.apart.get().is_some() && job.lose(false) {
            until = until.max(Instant::now() + STUCK);
        }
        if job.lose_away(false) {
            until = until.max(Instant::now() + STUCK);
        }
        if Instant::now() >= until {
            return false;
        }
    }
}

/// After the pause: gives back what is not needed any more and writes the receipt.
pub(crate) fn conclude(port: &Arc<Port>, done: Finished, receipt: &mut Receipt) {
    if let Some(gone) = settle(port, done, receipt) {
        // Who is inside of it keeps it.
        let gone = if gone.is_abandoned() { Err(gone) } else { sole(gone) };
        receipt.unload = match gone {
            Ok(instance) => unload(port, instance.module),
            Err(_) => Unload::Pinned,
        };
    }
}

/// The same, but for the driver that has gone, which is returned.
pub(crate) fn settle(port: &Arc<Port>, done: Finished, receipt: &mut Receipt) -> Option<Arc<Instance>> {
    let Finished { job, answered } = done;
    count(&job, receipt);
    for detail in lock(&job.smaller).drain(..) {
        tracing::warn!(port = port.name, "{detail}, as was asked for");
        receipt.checks.push(CheckRow { name: "smaller".to_owned(), ok: true, detail });
    }
    receipt.unload = Unload::None;
    if !answered {
        // Some queue may still be inside: what it could touch stays.
        lock(&port.inner).unfinished = Some(job.clone());
        receipt.unload = Unload::Pinned;
        if job.verdict() == Verdict::Undecided || job.inside().is_some() {
            receipt.outcome = Outcome::Stranded;
            receipt.reason = job.stuck();
        } else {
            finish(&mut job.meeting.update(), receipt);
        }
        return None;
    }
    let gone = end(port, &job);
    // Of the two drivers the job knows no longer than this.
    let job = if job.meeting.has_lost() { Err(job) } else { sole(job) };
    match job {
        Ok(job) => finish(&mut job.meeting.into_update(), receipt),
        Err(job) => finish(&mut job.meeting.update(), receipt),
    }
    gone
}

/// Every queue has released: closes what nobody uses, and lets the driver go that does not serve;
/// returns it.
fn end(port: &Port, job: &Job) -> Option<Arc<Instance>> {
    let verdict = job.verdict();
    let gone = match (verdict, &job.new) {
        (Verdict::New, Some(new)) => {
            let keep = lock(&new.handles).clone();
            port.close_all_but(&keep);
            new.drop_copies();
            job.old.clone()
        }
        (Verdict::New, None) => job.old.clone(),
        (_, new) => new.clone().inspect(|new| port.take_back(&lock(&new.made))),
    };
    if let (Verdict::New, Some(old)) = (verdict, &job.old)
        && job.meeting.update().put_away().is_some()
    {
        old.abandon_idle("disconnect");
    }
    let stranded = job.old.clone().filter(|_| verdict == Verdict::Nobody);
    for instance in gone.iter().chain(stranded.iter()) {
        lock(&port.inner).driver_faults += instance.faults.load(Ordering::Relaxed);
        instance.release();
    }
    gone
}

/// What nobody else knows any more, or is about to let go of.
fn sole<T>(shared: Arc<T>) -> Result<T, Arc<T>> {
    let (mut shared, until) = (shared, Instant::now() + LET_GO);
    loop {
        match Arc::try_unwrap(shared) {
            Ok(sole) => return Ok(sole),
            Err(others) if Instant::now() < until => shared = others,
            Err(others) => return Err(others),
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

fn finish(update: &mut Update, receipt: &mut Receipt) {
    while !matches!(update.action(), Action::Done(_)) {
        let before = update.action();
        if update.step(Input::Ok, now_ns()) == before {
            break;
        }
    }
    close(update, receipt);
}

fn close(update: &Update, receipt: &mut Receipt) {
    if let Action::Done(outcome) = update.action() {
        receipt.outcome = outcome;
    }
    update.reason().clone_into(&mut receipt.reason);
    receipt.abandoned = update.put_away().map(str::to_owned);
    receipt.phases = update.phases().to_vec();
}

fn count(job: &Job, receipt: &mut Receipt) {
    let drivers = job.old.iter().chain(job.new.iter());
    receipt.calls.extend(drivers.filter_map(|driver| driver.port.call_times(&driver.key())));
    for part in job.parts.iter() {
        let part = lock(part);
        receipt.held += part.held;
        receipt.drained += part.drained;
        receipt.adopted += part.adopted;
        receipt.handed_back += part.handed_back;
        receipt.pause_ns = receipt.pause_ns.max(part.release_ns.saturating_sub(part.hold_ns));
        receipt.longest_stall_ns = receipt.longest_stall_ns.max(part.longest_stall_ns);
    }
    if job.verdict() != Verdict::New {
        receipt.adopted = 0;
    }
}

/// Unmaps a module that a port has no use for any more, unless another port runs it too.
pub(crate) fn unload(port: &Port, module: Arc<LoadedModule>) -> Unload {
    let (mut module, until) = (module, Instant::now() + LET_GO);
    loop {
        match Arc::try_unwrap(module) {
            Ok(module) => return module.unload(),
            Err(shared) if port.shares(&shared) => return Unload::InUse,
            // Somebody has a look at it.
            Err(shared) if Instant::now() < until => module = shared,
            Err(_) => return Unload::Pinned,
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

impl Port {
    /// Whether a port runs this loaded module, or is to run it once it comes up.
    fn shares(&self, module: &Arc<LoadedModule>) -> bool {
        let Some(inner) = self.directory.upgrade() else { return false };
        let runs = |port: &Arc<Port>| port.module().is_some_and(|known| Arc::ptr_eq(&known, module));
        inner.all_ports().iter().any(runs)
    }
}
