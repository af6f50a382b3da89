//! Activation: one port is initialised anew with other properties.
//!
//! [`Activation`] says which step is next; here is what is done about it. The re-initialisation itself is
//! the update transaction, with another instance of the same module under the new parameters: whatever
//! goes wrong in it, the previous instance serves again, under the previous set.

use crate::change::down::is_down;
use crate::change::first_steps::go_back;
use crate::change::prepare::{discard, prepare, resolve};
use crate::change::swap::Handling;
use crate::change::update::{conclude, run_with};
use crate::clock::now_ns;
use crate::control::Control;
use crate::driver::instance::Instance;
use crate::ids::LaneId;
use crate::info::{PortInfo, Shrink};
use crate::port::Port;
use crate::port::busy::Turn;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use steadfast_loader::LoadedModule;
use steadfast_shell::activation::{Activation, Came, Next, Stamp, Step};
use steadfast_shell::params::{ActivationClass, ParamSpec, Value, table};
use steadfast_shell::properties::{Definition, Definitions, Properties};
use steadfast_shell::receipt::{
    Kind, Mode, Outcome, PropertiesReport, Receipt, Requester, Unload, ValueChange,
};
use steadfast_shell::reload::{self, Reach};
use steadfast_shell::sync::lock;
use steadfast_shell::update::{IfBusy, Plan, Update};

/// For how long no request may come, for a port to be called idle.
const QUIET: Duration = Duration::from_millis(100);
/// How long a queue may take to say what it has.
const ANSWER: Duration = Duration::from_millis(500);
/// How often a delay looks whether its port is still there.
const LOOK: Duration = Duration::from_millis(20);

/// Calls an activation off that has not begun to change anything.
#[derive(Debug, Default)]
pub struct CallOff {
    why: Mutex<Option<String>>,
    changed: Condvar,
}

impl CallOff {
    /// Calls it off, for this reason. The first one counts.
    pub fn order(&self, why: &str) {
        lock(&self.why).get_or_insert_with(|| why.to_owned());
        self.changed.notify_all();
    }

    /// Whether somebody has.
    pub fn is_ordered(&self) -> bool {
        lock(&self.why).is_some()
    }

    /// Waits, at most for so long; the reason where it was called off.
    fn wait(&self, longest: Duration) -> Option<String> {
        let why = lock(&self.why);
        let waited = self.changed.wait_timeout_while(why, longest, |why| why.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// How an activation is to be done.
#[derive(Clone, Debug)]
pub struct ActivateOptions {
    /// Only when no I/O flows; otherwise it is held.
    pub idle_only: bool,
    /// Take the port down (`admin_state`) even from under clients that are connected, or put other contents
    /// under them.
    pub force: bool,
    /// Go on with a medium that has lost writes as it is: flushes succeed again.
    pub accept_loss: bool,
    /// Put the running instance away even if it does not let go, as an update can.
    pub abandon: bool,
    /// Only the latter: what goes back goes back under clients that have come meanwhile.
    pub goes_back: bool,
    /// Which ports whoever asks sees to: a parameter of the class *reload* takes all that run the module.
    pub reach: Reach,
    /// Time to let pass first.
    pub delay: Duration,
    /// Calls it off while it lets time pass.
    pub call_off: Option<Arc<CallOff>>,
    /// Longest wait for requests in flight; `None`: as the port's `drain_timeout` says.
    pub drain_timeout: Option<Duration>,
    /// Longest wait for management requests that are inside to leave.
    pub patience: Duration,
    /// Who asks, for the receipt.
    pub by: Requester,
    /// What was asked for, for the receipt.
    pub source: String,
}

impl Default for ActivateOptions {
    fn default() -> ActivateOptions {
        ActivateOptions {
            idle_only: false,
            force: false,
            accept_loss: false,
            abandon: false,
            goes_back: false,
            reach: Reach::Port,
            delay: Duration::ZERO,
            call_off: None,
            drain_timeout: None,
            patience: Duration::from_secs(5),
            by: Requester::default(),
            source: String::new(),
        }
    }
}

/// One activation under way.
struct Work<'a, P> {
    engine: &'a Control,
    port: &'a Arc<Port>,
    opts: &'a ActivateOptions,
    parse: Option<P>,
    /// The port's properties as they were just before the configuration was read.
    found: Properties,
    /// What the configuration says.
    set: Definitions,
    /// The port's properties as they are to be.
    next: Properties,
    /// The values that the driver is to have.
    values: BTreeMap<String, Value>,
    turn: Option<Turn<'a>>,
    receipt: &'a mut Receipt,
    report: PropertiesReport,
}

impl Control {
    /// As [`Engine::activate`](crate::Engine::activate).
    pub(crate) fn activate(
        &self,
        name: &str,
        parse: impl FnOnce() -> Result<Definitions, String>,
        opts: &ActivateOptions,
    ) -> Receipt {
        let mut receipt = self.blank(name, &opts.by, &opts.source);
        receipt.kind = Kind::Activation;
        let Some(port) = self.find(name) else {
            receipt.reason = self.not_found(name).to_string();
            return receipt;
        };
        if let Some(module) = port.module() {
            receipt.from = module.release();
            receipt.to = Some(receipt.from.clone());
        }
        let found = port.stamp();
        receipt.generation_before = found.generation;
        let report = PropertiesReport {
            before: lock(&port.inner).properties.in_force(),
            idle_only: opts.idle_only,
            delay_ms: opts.delay.as_millis() as u64,
            ..PropertiesReport::default()
        };
        let mut machine = Activation::new(opts.idle_only, now_ns());
        let mut work = Work {
            engine: self,
            port: &port,
            opts,
            parse: Some(parse),
            found: Properties::default(),
            set: Definitions::new(),
            next: Properties::default(),
            values: BTreeMap::new(),
            turn: None,
            receipt: &mut receipt,
            report,
        };
        let outcome = loop {
            match machine.next() {
                Next::Done(outcome) => break outcome,
                Next::Step(step) => {
                    let (came, detail) = work.carry_out(step);
                    machine.step(came, &detail, now_ns());
                }
            }
        };
        let mut report = std::mem::take(&mut work.report);
        drop(work);
        (report.stamp_before, report.stamp_after) = machine.stamps();
        if report.stamp_before == Stamp::default() {
            // It came to its end before that step, and nothing was touched.
            (report.stamp_before, report.stamp_after) = (found, found);
        }
        report.steps = machine.steps().to_vec();
        receipt.outcome = outcome;
        machine.reason().clone_into(&mut receipt.reason);
        receipt.properties = Some(report);
        // The module stays, whichever instance of it serves.
        receipt.unload = Unload::None;
        receipt.generation_after = port.generation();
        lock(&port.inner).last_receipt = Some(receipt.clone());
        receipt
    }
}

impl<P: FnOnce() -> Result<Definitions, String>> Work<'_, P> {
    fn carry_out(&mut self, step: Step) -> (Came, String) {
        let detail = match step {
            Step::Parse => self.parse(),
            Step::Collect => Ok(names("load-time", lock(&self.port.inner).properties.load_time())),
            Step::Stamp | Step::Compare => {
                let stamp = self.port.stamp();
                let detail = format!("generation {}", stamp.generation);
                return (Came::Stamp(stamp), detail);
            }
            Step::Clear => {
                self.next = lock(&self.port.inner).properties.clone();
                self.next.clear();
                Ok(String::new())
            }
            Step::Undefine => {
                self.next.undefine_load_time();
                Ok(String::new())
            }
            Step::Define => self.define(),
            Step::Delay => self.delay(),
            Step::Idle => return self.idle(),
            Step::Block => return self.block(),
            Step::Reinit => return self.reinit(),
            Step::Restore => Ok("the previous set is in force".to_owned()),
            Step::Unblock => {
                self.turn = None;
                Ok(String::new())
            }
        };
        match detail {
            Ok(detail) => (Came::Ok, detail),
            Err(why) => (Came::Failed(why), String::new()),
        }
    }

    fn parse(&mut self) -> Result<String, String> {
        let parse = self.parse.take().ok_or("it was parsed already")?;
        self.found = lock(&self.port.inner).properties.clone();
        self.set = parse()?;
        self.report.after = self.set.clone();
        Ok(names("defined", &self.set))
    }

    fn define(&mut self) -> Result<String, String> {
        for (name, definition) in &self.set {
            self.next.define(name, definition.clone());
        }
        let module = self.module()?;
        self.values = self.judge(&module)?;
        let serving = lock(&self.port.inner).serving.clone();
        let down = self.port.values_down(&module);
        let change = |spec: &ParamSpec| {
            let before = match &serving {
                Some(serving) => serving.param(&spec.name),
                None => down.get(&spec.name).cloned(),
            };
            let after = self.values.get(&spec.name);
            (before.as_ref() != after).then(|| ValueChange {
                name: spec.name.clone(),
                before: before.map(|v| v.to_string()),
                after: after.map(ToString::to_string),
                class: spec.class,
            })
        };
        let all = table(&module.manifest().params, self.port.shell);
        self.report.changes = all.iter().filter_map(change).collect();
        let changes = &self.report.changes;
        // With many ports that is many to look at, and few changes are of that class.
        let shared = changes.iter().any(|change| change.class == ActivationClass::Reload);
        let users = if shared { self.engine.ports_of(module.hash()) } else { Vec::new() };
        reload::judge(changes, &self.port.name, &users, self.opts.reach)?;
        Ok(format!("{} values differ from those in force", changes.len()))
    }

    fn serving(&self) -> Result<Arc<Instance>, String> {
        let serving = lock(&self.port.inner).serving.clone();
        serving.ok_or_else(|| format!("port {} has no driver that could be attached anew", self.port.name))
    }

    fn module(&self) -> Result<Arc<LoadedModule>, String> {
        let module = self.port.module();
        module.ok_or_else(|| format!("port {} has no driver that could be attached anew", self.port.name))
    }

    fn judge(&self, module: &LoadedModule) -> Result<BTreeMap<String, Value>, String> {
        resolve(module.manifest(), self.port.shell, &self.next.given())
    }

    fn delay(&self) -> Result<String, String> {
        let until = Instant::now() + self.opts.delay;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            match &self.opts.call_off {
                Some(call_off) => {
                    if let Some(why) = call_off.wait(left.min(LOOK)) {
                        return Err(why);
                    }
                }
                None => std::thread::sleep(left.min(LOOK)),
            }
            if !self.engine.find(&self.port.name).is_some_and(|known| Arc::ptr_eq(&known, self.port)) {
                return Err(format!("port {} was taken away meanwhile", self.port.name));
            }
        }
        Ok(String::new())
    }

    /// Nothing in flight is not enough: between two requests of a client there is nothing either.
    fn idle(&self) -> (Came, String) {
        let Some((before, _)) = self.port.flow() else { return silent(self.port) };
        std::thread::sleep(QUIET);
        let Some((after, inside)) = self.port.flow() else { return silent(self.port) };
        if before == after && inside == 0 {
            return (Came::Ok, format!("no request in {} ms", QUIET.as_millis()));
        }
        let passed = after.saturating_sub(before);
        let why = format!(
            "port {} is busy: {passed} requests in {} ms, {inside} in flight",
            self.port.name,
            QUIET.as_millis()
        );
        (Came::Busy(why), String::new())
    }

    fn block(&mut self) -> (Came, String) {
        let what = format!("activation {}", self.receipt.id);
        if self.opts.abandon && self.port.is_in_a_call() {
            // What is refused anyhow puts nobody away.
            if let Some(why) = self.would_be_refused() {
                return (Came::Busy(why), String::new());
            }
            self.engine.give_up_calls(self.port);
        }
        match self.engine.turn_within(self.port, &what, self.opts.patience) {
            Ok(turn) => {
                self.turn = Some(turn);
                self.alone()
            }
            Err(e) => (Came::Busy(e.to_string()), String::new()),
        }
    }

    /// Why what is saved may not be put under clients, as far as that can be told beforehand.
    fn would_be_refused(&self) -> Option<String> {
        if self.exchanges_contents() {
            return None;
        }
        let changes = self.report.changes.iter().map(|change| (change.name.clone(), change.after.clone()));
        let (changes, name) = (changes.collect(), &self.port.name);
        let exchange = self.engine.exchange(name, &changes).filter(|exchange| exchange.clients > 0);
        exchange.map(|exchange| exchange.why()).or_else(|| {
            let Shrink { from, to, param } = self.port.shrinks(&changes)?;
            Some(format!("{param} makes device {name} smaller, {to} bytes in the place of {from}"))
        })
    }

    /// Nobody else changes the port any more. What was said since the configuration was read is younger
    /// than it and must not be overwritten: of what the activation does not change it stays, and where it is about
    /// the same parameters, whoever asks must say what is meant. Of the generation counts what grows from here on.
    fn alone(&mut self) -> (Came, String) {
        let now = lock(&self.port.inner).properties.clone();
        let since = now.changed_since(&self.found);
        let value = |of: Option<&Definition>| of.map(|definition| definition.value.clone());
        let changes = |name: &&String| {
            value(self.set.get(*name)) != value(self.found.get(name).map(|(definition, _)| definition))
        };
        let both: Vec<&str> = since.iter().filter(changes).map(String::as_str).collect();
        if !both.is_empty() {
            let why = format!(
                "the properties of port {} were changed after its configuration was read: {}; activate it again",
                self.port.name,
                both.join(", ")
            );
            self.turn = None;
            return (Came::Failed(why), String::new());
        }
        let stamp = self.port.stamp();
        let mut detail = format!("generation {}", stamp.generation);
        if !since.is_empty() {
            self.next.take_over(&now, &since);
            self.report.after = self.next.in_force();
            self.report.before = now.in_force();
            let names: Vec<&str> = since.iter().map(String::as_str).collect();
            detail.push_str(&format!("; kept as they were set since: {}", names.join(", ")));
        }
        (Came::Stamp(stamp), detail)
    }

    fn reinit(&mut self) -> (Came, String) {
        // The driver may have been replaced since the set was judged.
        match self.module().and_then(|module| self.judge(&module)) {
            Ok(values) => self.values = values,
            Err(why) => return (Came::Failed(why), String::new()),
        }
        if !self.opts.accept_loss {
            return self.attach();
        }
        let accepting = match self.port.begin_accepting(self.opts.force) {
            Ok(accepting) => accepting,
            Err(why) => return (Came::Busy(why), String::new()),
        };
        let (came, detail) = self.attach();
        let accepted =
            if came == Came::Ok { self.port.accept_loss(&self.opts.by.who) } else { String::new() };
        drop(accepting);
        (came, detail + &accepted)
    }

    fn attach(&mut self) -> (Came, String) {
        match (self.port.waiting_module(), is_down(&self.values, self.port.shell)) {
            (None, false) => self.anew(),
            (None, true) => self.take_down(),
            (Some(module), false) => {
                let (values, next) = (self.values.clone(), self.next.clone());
                let force = self.exchanges_contents();
                match self.engine.bring_up(self.port, module, values, next, force, self.receipt) {
                    Ok(()) => (Came::Ok, "the port is up".to_owned()),
                    Err(came) => (came, String::new()),
                }
            }
            (Some(_), true) => {
                self.port.stay_down(&self.values, self.next.clone());
                (Came::Ok, "the port stays down".to_owned())
            }
        }
    }

    /// The driver lets go, and nobody comes after it.
    fn take_down(&mut self) -> (Came, String) {
        if let Err(why) = self.port.begin_going_down(self.engine, self.opts.force) {
            return (Came::Busy(why), String::new());
        }
        let (came, detail) = match self.serving() {
            Ok(old) => self.exchange(old, None),
            Err(why) => (Came::Failed(why), String::new()),
        };
        self.port.reopen();
        if came == Came::Ok {
            self.port.close_all_but(&[]);
            return (came, format!("the port is down; {detail}"));
        }
        (came, detail)
    }

    fn anew(&mut self) -> (Came, String) {
        self.port.look_before_opening(self.opts.force && !self.opts.goes_back);
        let prepared = self.serving().map_err(Came::Failed).and_then(|old| {
            let limit = self.opts.drain_timeout.unwrap_or_else(|| self.port.limits.drain_timeout());
            let made = prepare(self.port, Some(&old), old.module.clone(), self.values.clone(), limit);
            match made {
                Ok(new) => Ok((old, new)),
                Err(not) if not.busy => Err(Came::Busy(not.why)),
                Err(not) => Err(Came::Failed(not.why)),
            }
        });
        let (old, new) = match prepared {
            Ok(both) => both,
            Err(came) => return (came, String::new()),
        };
        if let Err(why) = self.port.may_go_on(&new, self.exchanges_contents()) {
            discard(new);
            return (Came::Failed(why), String::new());
        }
        if let Err(why) = self.port.begin_exchange(&new, self.exchanges_contents()) {
            discard(new);
            return (Came::Busy(why), String::new());
        }
        let came = self.exchange(old, Some(new));
        self.port.reopen();
        came
    }

    fn exchanges_contents(&self) -> bool {
        self.opts.force || self.opts.goes_back
    }

    /// The pause.
    fn exchange(&mut self, old: Arc<Instance>, new: Option<Arc<Instance>>) -> (Came, String) {
        let if_busy = if self.opts.idle_only { IfBusy::Fail } else { IfBusy::Wait };
        let deadline = self.opts.drain_timeout.unwrap_or_else(|| self.port.limits.drain_timeout());
        let deadline_ns = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX / 2);
        let has_new = new.is_some();
        let plan = Plan { mode: Mode::Drain, if_busy, deadline_ns, has_old: true, has_new };
        let mut update = Update::prepared(plan, now_ns());
        if self.opts.abandon {
            update.without_consent();
        }
        let handling: Handling = (Mode::Drain, None);
        let (before, found) = (old.clone(), lock(&self.port.inner).properties.clone());
        let next = Some(self.next.clone());
        let done = run_with(self.port, Some(old), new, handling, update, deadline, next);
        self.receipt.mode = Some(Mode::Drain);
        match done.job.trouble() {
            Some(why) => go_back(self.port, done, before, Some(found), deadline, why, self.receipt),
            None => {
                drop(before);
                conclude(self.port, done, self.receipt);
            }
        }
        let why = self.receipt.reason.clone();
        let came = match self.receipt.outcome {
            Outcome::Done => Came::Ok,
            Outcome::Busy => Came::Busy(why),
            Outcome::Stranded => Came::Stranded(why),
            Outcome::Refused | Outcome::RolledBack | Outcome::Tried | Outcome::Interrupted => {
                Came::Failed(why)
            }
        };
        let smaller = self.receipt.checks.iter().map(|row| format!("; {}", row.detail)).collect::<String>();
        (came, format!("{} requests were held{smaller}", self.receipt.held))
    }
}

/// Whether I/O flows cannot be told, and a driver that is stuck in a request is not idle.
fn silent(port: &Port) -> (Came, String) {
    let why = format!("port {} is busy: a queue does not answer: a driver may be stuck in it", port.name);
    (Came::Busy(why), String::new())
}

fn names(what: &str, definitions: &Definitions) -> String {
    let names: Vec<&str> = definitions.keys().map(String::as_str).collect();
    if names.is_empty() { format!("none {what}") } else { format!("{what}: {}", names.join(", ")) }
}

impl Port {
    /// What proves that it was initialised anew.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { generation: self.generation(), epoch_unix_ms: self.epoch_unix_ms.load(Ordering::Acquire) }
    }

    /// Requests that ever ended, and those that the driver has or the shell holds now; none where a queue
    /// does not answer.
    fn flow(&self) -> Option<(u64, u32)> {
        let id = LaneId(self.id.0);
        let mut all = (0, 0);
        for remote in &self.remotes {
            let read = |lane: &crate::lane::Lane| {
                (lane.counters.total().requests, lane.slots.issued() + lane.slots.held())
            };
            let (ended, inside) = remote.look(ANSWER, move |rt| rt.inspect_lane(id, read)).flatten()?;
            all = (all.0 + ended, all.1 + inside);
        }
        Some(all)
    }
}

impl PortInfo {
    /// What proves that it was initialised anew.
    pub fn stamp(&self) -> Stamp {
        Stamp { generation: self.generation, epoch_unix_ms: self.epoch_unix_ms }
    }
}
