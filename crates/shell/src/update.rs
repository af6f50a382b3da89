//! The update transaction: which step follows which, and what a failure leads to.
//!
//! [`Update`] is told how the last action went and says what to do next. It does nothing itself:
//! the runtime carries actions out, a simulator pretends to.
//!
//! ```text
//! Stage -> Check -> Load -> Prepare -> StartUpdate -> Settle -> Disconnect -> Transfer -> Connect -> Finish -> UnloadOld
//!   |        |        |        |           |            |           |            |           |
//! refused  refused  refused UnloadNew    Cancel       Cancel    Reconnect    Reconnect   DisconnectNew
//!                              |           |            |           |            |           |
//!                           refused      busy     busy/deadline     +------------+---> Reconnect -> Cancel -> UnloadNew
//!                                                                                          |
//!                                                                                      stranded
//! ```
//! From `StartUpdate` to `Finish` or `Cancel` the port's requests are held. Whatever goes wrong, the
//! last word is `Done` with an [`Outcome`], and unless that is `Stranded` exactly one driver serves.
//!
//! A driver that does not return from a call is *lost* ([`Input::Lost`]): the call is left to itself and nobody
//! enters the driver again. A new driver that is lost leaves the port to the old one, without `DisconnectNew`. An
//! old driver that is lost leaves it to the new one only where the update may do without its consent
//! ([`Update::without_consent`]); then it is not come back to.

use crate::receipt::{Mode, Outcome, Phase, PhaseTime};

/// Time that the calls between two drivers have in any case, nanoseconds.
const LEAST_CALLS_NS: u64 = 1_000_000_000;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Copy the module into the store.
    Stage,
    /// Run the checks.
    Check,
    /// Map the module and probe.
    Load,
    /// Let the new driver get ready while the old one serves.
    Prepare,
    /// Close the gate on every queue.
    StartUpdate,
    /// Report what is in flight, again and again, until told otherwise.
    Settle,
    /// Old driver: `queue_stop`, `disconnect`.
    Disconnect,
    /// Find the state that the new driver reads.
    Transfer,
    /// New driver: `connect`, `queue_start`, `adopt`.
    Connect,
    /// Exchange the entry points and release held requests to the new driver.
    Finish,
    /// New driver: undo what `Connect` got done.
    DisconnectNew,
    /// Old driver: `reconnect`, `queue_start`.
    Reconnect,
    /// Release held requests to the old driver.
    Cancel,
    /// Unmap the old module.
    UnloadOld,
    /// Unmap the new module.
    UnloadNew,
    /// Nothing: it is over.
    Done(Outcome),
}

/// How the last action went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Done.
    Ok,
    /// Not done, and why.
    Failed(String),
    /// Not to be done now, and why: `Prepare` found out who uses the port.
    Busy(String),
    /// Answer to `Settle`: requests and operations that the old driver must finish first. With mode
    /// `adopt` there are none by definition.
    InFlight(u32),
    /// Answer to `Settle`: no request is in flight, only operations of none, which were asked to end.
    /// They are waited for in any case: a port is not busy because its driver keeps a timer.
    Ending(u32),
    /// The port or the daemon is going away, or an operator changed his mind.
    Abandon(String),
    /// The driver does not return from the call, which is left to itself; and why now.
    Lost(String),
}

/// One of the two drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that serves before.
    Old,
    /// The one that is to.
    New,
}

/// What is done when the port has requests in flight that must be drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IfBusy {
    /// Wait for them, under the deadline.
    #[default]
    Wait,
    /// Answer *busy* and leave everything as it was.
    Fail,
}

/// What an update is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// Adopt, split or drain.
    pub mode: Mode,
    /// Wait or fail.
    pub if_busy: IfBusy,
    /// Longest time between the begin of `StartUpdate` and the end of `Connect`, nanoseconds (calls into
    /// drivers have a second at least); where there is no old driver nothing could be done about a late one.
    pub deadline_ns: u64,
    /// There is an old driver; false for the first attach.
    pub has_old: bool,
    /// There is a new driver; false when the port is taken away.
    pub has_new: bool,
}

/// One update.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Update {
    plan: Plan,
    action: Action,
    since_ns: u64,
    held_since_ns: u64,
    outcome: Outcome,
    reason: String,
    phases: Vec<PhaseTime>,
    /// The old driver is put away even if it does not let go.
    without_consent: bool,
    /// Why it was put away so.
    put_away: Option<String>,
    /// Nobody enters it any more.
    old_lost: bool,
}

impl Update {
    /// An update whose next action is `Stage`.
    pub fn new(plan: Plan, now_ns: u64) -> Update {
        Update::begin(plan, Action::Stage, now_ns)
    }

    /// An update of a module that was staged, checked, loaded and prepared already.
    pub fn prepared(plan: Plan, now_ns: u64) -> Update {
        Update::begin(plan, Action::StartUpdate, now_ns)
    }

    fn begin(plan: Plan, action: Action, now_ns: u64) -> Update {
        Update {
            plan,
            action,
            since_ns: now_ns,
            held_since_ns: now_ns,
            outcome: Outcome::Refused,
            reason: String::new(),
            phases: Vec::with_capacity(16),
            without_consent: false,
            put_away: None,
            old_lost: false,
        }
    }

    /// The old driver is put away even if it fails to let go, does not return from that, or does not finish what it
    /// has by the deadline: then its state is lost, and what it has not answered must be failed.
    pub fn without_consent(&mut self) {
        self.without_consent = true;
    }

    /// Whether that is so.
    pub fn does_without_consent(&self) -> bool {
        self.without_consent
    }

    /// Why the old driver was put away without its consent; none where it was not.
    pub fn put_away(&self) -> Option<&str> {
        self.put_away.as_deref()
    }

    /// Which driver is in a call now.
    pub fn inside(&self) -> Option<Side> {
        match self.action {
            Action::Disconnect if self.plan.has_old => Some(Side::Old),
            Action::Reconnect => Some(Side::Old),
            Action::Connect | Action::DisconnectNew if self.plan.has_new => Some(Side::New),
            _ => None,
        }
    }

    /// By when the driver that is in a call must have returned, or is lost, on the clock of `now_ns`; none where
    /// nothing could be done about it: an old driver is waited for, unless it can be done without.
    pub fn lost_ns(&self) -> Option<u64> {
        match (self.action, self.inside()?) {
            (Action::Connect, _) => Some(self.latest_ns()),
            // By then the deadline may have passed: undoing has a time of its own.
            (Action::DisconnectNew, _) => Some(self.since_ns.saturating_add(LEAST_CALLS_NS)),
            (Action::Disconnect, _) if self.without_consent => Some(self.latest_ns()),
            _ => None,
        }
    }

    /// What is outstanding at the deadline is not waited for any longer, and must be failed.
    pub fn waits_no_longer(&self, now_ns: u64) -> bool {
        self.without_consent && self.action == Action::Settle && now_ns >= self.deadline_ns()
    }

    /// The action that is under way.
    pub fn action(&self) -> Action {
        self.action
    }

    /// Starts the phase under way anew: the message that started it has only now arrived, and its way
    /// was not part of the phase. The deadline counts from here as well, until the phase ends.
    pub fn restart_clock(&mut self, now_ns: u64) {
        self.since_ns = now_ns;
        self.held_since_ns = now_ns;
    }

    /// Sets the mode, once `Check` has found what both drivers can do.
    pub fn set_mode(&mut self, mode: Mode) {
        self.plan.mode = mode;
    }

    /// Why it was refused or went back; empty otherwise.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Phases gone through so far, with their times.
    pub fn phases(&self) -> &[PhaseTime] {
        &self.phases
    }

    /// When the wait for requests in flight ends, on the clock of `now_ns`.
    pub fn deadline_ns(&self) -> u64 {
        self.held_since_ns.saturating_add(self.plan.deadline_ns)
    }

    /// Takes the result of the action under way, says what is next.
    ///
    /// `now_ns` is a monotonic clock. After `Done` it stays `Done`.
    pub fn step(&mut self, input: Input, now_ns: u64) -> Action {
        let next = self.next(input, now_ns);
        if next != self.action {
            self.clock(now_ns);
            self.action = next;
        }
        if next == Action::StartUpdate {
            self.held_since_ns = now_ns;
        }
        next
    }

    fn next(&mut self, input: Input, now_ns: u64) -> Action {
        use Action::*;
        match (self.action, input) {
            (Done(outcome), _) => Done(outcome),
            (action, Input::Lost(why)) => self.lost(action, why, now_ns),
            (Disconnect, Input::Failed(why)) if self.without_consent => self.forsake(why, now_ns),
            (Settle, Input::InFlight(0)) => self.after_settle(),
            (Settle, Input::InFlight(n)) => self.wait(n, now_ns),
            (Settle, Input::Ending(n)) if n > 0 => self.wait_longer(n, now_ns),
            (action @ (StartUpdate | Disconnect), Input::Ok) if self.late(now_ns) && self.without_consent => {
                // What the old driver took is not the new one's time.
                self.held_since_ns = now_ns;
                self.succeeded(action)
            }
            (action @ (StartUpdate | Disconnect | Connect), Input::Ok) if self.late(now_ns) => {
                self.failed(action, self.too_late(action))
            }
            (action, Input::Ok) | (action @ Settle, Input::Ending(_)) => self.succeeded(action),
            // What is in flight says nothing of any other action: whoever says so has lost its place.
            (action, Input::InFlight(_) | Input::Ending(_)) => {
                self.failed(action, format!("requests in flight were told of during {}", name(action)))
            }
            (action @ (Check | Prepare), Input::Busy(why)) => {
                self.outcome = Outcome::Busy;
                self.failed(action, why)
            }
            (action, Input::Failed(why) | Input::Abandon(why) | Input::Busy(why)) => self.failed(action, why),
        }
    }

    fn succeeded(&mut self, action: Action) -> Action {
        use Action::*;
        match action {
            Stage => Check,
            Check => Load,
            Load => Prepare,
            Prepare => StartUpdate,
            StartUpdate => Settle,
            Settle => self.after_settle(),
            Disconnect => Transfer,
            Transfer => Connect,
            Connect => Finish,
            Finish => {
                self.outcome = Outcome::Done;
                if self.plan.has_old { UnloadOld } else { Done(Outcome::Done) }
            }
            DisconnectNew => self.back(),
            Reconnect => Cancel,
            Cancel => UnloadNew,
            UnloadOld | UnloadNew => Done(self.outcome),
            Done(outcome) => Done(outcome),
        }
    }

    fn failed(&mut self, action: Action, why: String) -> Action {
        use Action::*;
        self.add_reason(action, why);
        match action {
            Check if self.outcome == Outcome::Busy => Done(Outcome::Busy),
            Stage | Check | Load => Done(Outcome::Refused),
            Prepare => UnloadNew,
            StartUpdate | Settle => {
                self.outcome = if self.plan.has_old { Outcome::RolledBack } else { Outcome::Stranded };
                Cancel
            }
            Disconnect | Transfer => {
                self.outcome = Outcome::RolledBack;
                self.back()
            }
            Connect => {
                self.outcome = Outcome::RolledBack;
                DisconnectNew
            }
            // What has gone wrong here cannot be undone; what follows is the same.
            DisconnectNew => self.back(),
            Finish | Cancel | UnloadOld | UnloadNew => self.succeeded(action),
            Reconnect => {
                self.outcome = Outcome::Stranded;
                UnloadNew
            }
            Done(outcome) => Done(outcome),
        }
    }

    /// The driver does not return from the call that is under way.
    fn lost(&mut self, action: Action, why: String, now_ns: u64) -> Action {
        use Action::*;
        match (action, self.inside()) {
            (Disconnect, Some(Side::Old)) if self.without_consent => {
                self.old_lost = true;
                self.forsake(why, now_ns)
            }
            (Disconnect, Some(Side::Old)) => {
                self.old_lost = true;
                self.add_reason(Disconnect, why);
                self.back()
            }
            (Reconnect, _) => {
                self.old_lost = true;
                self.failed(Reconnect, why)
            }
            (Connect | DisconnectNew, Some(Side::New)) => {
                self.outcome = Outcome::RolledBack;
                self.add_reason(action, why);
                self.back()
            }
            // Nobody is in a call.
            _ => action,
        }
    }

    /// The old driver did not let go, and is done without.
    fn forsake(&mut self, why: String, now_ns: u64) -> Action {
        self.put_away = Some(why);
        // What it took is not the new driver's time.
        self.held_since_ns = now_ns;
        Action::Transfer
    }

    fn add_reason(&mut self, action: Action, why: String) {
        if self.reason.is_empty() {
            self.reason = why;
        } else {
            self.reason = format!("{}; then {}: {why}", self.reason, name(action));
        }
    }

    fn back(&mut self) -> Action {
        if self.plan.has_old && !self.old_lost {
            return Action::Reconnect;
        }
        self.outcome = Outcome::Stranded;
        Action::UnloadNew
    }

    fn after_settle(&self) -> Action {
        if self.plan.has_old { Action::Disconnect } else { Action::Transfer }
    }

    fn wait(&mut self, in_flight: u32, now_ns: u64) -> Action {
        if self.plan.if_busy == IfBusy::Fail {
            self.outcome = Outcome::Busy;
            self.reason = format!("busy: {in_flight} in flight");
            return Action::Cancel;
        }
        self.wait_longer(in_flight, now_ns)
    }

    fn wait_longer(&mut self, in_flight: u32, now_ns: u64) -> Action {
        if now_ns >= self.deadline_ns() && !self.without_consent {
            self.outcome = Outcome::RolledBack;
            let seconds = self.plan.deadline_ns as f64 / 1e9;
            self.reason = format!("deadline of {seconds} s passed with {in_flight} still in flight");
            return Action::Cancel;
        }
        Action::Settle
    }

    /// How long the port may be held, nanoseconds.
    pub fn allowed_ns(&self) -> u64 {
        self.plan.deadline_ns
    }

    /// When the new driver must be connected at the latest, on the clock of `now_ns`: by the deadline, but
    /// a deadline that only says not to wait for requests does not keep drivers from their work.
    pub fn latest_ns(&self) -> u64 {
        self.held_since_ns.saturating_add(self.plan.deadline_ns.max(LEAST_CALLS_NS))
    }

    /// The old driver would have to have the port back by now.
    fn late(&self, now_ns: u64) -> bool {
        self.plan.has_old && self.plan.has_new && now_ns > self.latest_ns()
    }

    /// The phase was done, but only after the port had been held for longer than allowed.
    fn too_late(&self, action: Action) -> String {
        let seconds = self.plan.deadline_ns.max(LEAST_CALLS_NS) as f64 / 1e9;
        let call = if action == Action::StartUpdate { "hand_back" } else { name(action) };
        format!("{call} returned after the deadline of {seconds} s")
    }

    fn clock(&mut self, now_ns: u64) {
        let ns = now_ns.saturating_sub(self.since_ns);
        self.since_ns = now_ns;
        let Some(phase) = phase(self.action) else { return };
        match self.phases.iter_mut().find(|p| p.phase == phase) {
            Some(known) => known.ns += ns,
            None => self.phases.push(PhaseTime { phase, ns }),
        }
    }
}

fn phase(action: Action) -> Option<Phase> {
    Some(match action {
        Action::Stage => Phase::Stage,
        Action::Check => Phase::Check,
        Action::Load => Phase::Load,
        Action::Prepare => Phase::Prepare,
        Action::StartUpdate => Phase::StartUpdate,
        Action::Settle => Phase::Pending,
        Action::Disconnect => Phase::Disconnect,
        Action::Transfer => Phase::Transfer,
        Action::Connect => Phase::Connect,
        Action::Finish => Phase::FinishUpdate,
        Action::DisconnectNew | Action::Reconnect | Action::Cancel => Phase::CancelUpdate,
        Action::UnloadOld | Action::UnloadNew => Phase::Unload,
        Action::Done(_) => return None,
    })
}

fn name(action: Action) -> &'static str {
    match action {
        Action::DisconnectNew => "disconnect of the new driver",
        Action::Reconnect => "reconnect of the old driver",
        other => phase(other).map_or("end", Phase::name),
    }
}

#[cfg(test)]
mod tests;
