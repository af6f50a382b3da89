//! Devices that are defined and could not come up: they are *absent*, with the reason, and tried again as their
//! configuration says. The others serve meanwhile.

use super::Defined;
use crate::app::App;
use crate::config::DeviceConfig;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use steadfast_api::{
    Absent, Cause, Device, Outcome, Port, PortState, Problem, ProblemKind, Requester, Trouble, TroubleCode,
};
use steadfast_shell::receipt::Kind;
use steadfast_shell::sync::lock;

/// What is absent, and when each is tried again.
#[derive(Debug, Default)]
pub(crate) struct Absentees {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    missing: BTreeMap<String, Missing>,
    stopping: bool,
}

/// One that is absent.
#[derive(Clone, Debug)]
struct Missing {
    reason: String,
    since_unix_ms: u64,
    tries: u64,
    every: Option<Duration>,
    due: Option<Due>,
}

/// When one is tried again, by the clock that waits and by the one on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due(Instant, u64);

impl Due {
    fn after(time: Duration) -> Due {
        Due(Instant::now() + time, now_unix_ms() + time.as_millis() as u64)
    }
}

impl Absentees {
    /// A device could not come up. Whether that is news: it was not known, or the reason is another.
    pub(super) fn note(&self, config: &DeviceConfig, reason: &str) -> bool {
        let every = config.retry_every();
        let due = every.map(Due::after);
        let mut state = lock(&self.state);
        let known = state.missing.get(&config.name).cloned();
        let missing = Missing {
            reason: reason.to_owned(),
            since_unix_ms: known.as_ref().map_or_else(now_unix_ms, |known| known.since_unix_ms),
            tries: known.as_ref().map_or(0, |known| known.tries) + 1,
            every,
            due,
        };
        state.missing.insert(config.name.clone(), missing);
        self.changed.notify_all();
        known.is_none_or(|known| known.reason != reason)
    }

    /// A device has come, or is not wanted any more. What may lie over it is tried at once.
    pub(super) fn forget(&self, name: &str) {
        let mut state = lock(&self.state);
        if state.missing.remove(name).is_some() {
            let now = Due::after(Duration::ZERO);
            state.missing.values_mut().for_each(|other| other.due = other.due.map(|_| now));
            self.changed.notify_all();
        }
    }

    /// Why a device is absent; none where it is not.
    pub(crate) fn of(&self, name: &str) -> Option<Absent> {
        lock(&self.state).missing.get(name).map(shown)
    }

    fn all(&self) -> Vec<(String, Absent)> {
        let state = lock(&self.state);
        state.missing.iter().map(|(name, missing)| (name.clone(), shown(missing))).collect()
    }

    /// No more is tried.
    pub(crate) fn stop(&self) {
        lock(&self.state).stopping = true;
        self.changed.notify_all();
    }

    /// Waits until one is to be tried again; none when the daemon stops.
    fn next_due(&self) -> Option<String> {
        let mut state = lock(&self.state);
        loop {
            if state.stopping {
                return None;
            }
            let now = Instant::now();
            let next = state.missing.iter().filter_map(|(name, m)| Some((m.due?, name.clone()))).min();
            let wait = match next {
                Some((Due(due, _), name)) if due <= now => {
                    // One at a time: it is due again when it is known how this went.
                    if let Some(missing) = state.missing.get_mut(&name) {
                        missing.due = missing.every.map(Due::after);
                    }
                    return Some(name);
                }
                Some((Due(due, _), _)) => due - now,
                None => Duration::from_secs(3600),
            };
            let waited = self.changed.wait_timeout(state, wait);
            state = waited.map_or_else(|e| PoisonError::into_inner(e).0, |(state, _)| state);
        }
    }
}

fn shown(missing: &Missing) -> Absent {
    Absent {
        reason: missing.reason.clone(),
        since_unix_ms: missing.since_unix_ms,
        tries: missing.tries,
        next_try_unix_ms: missing.due.map(|due| due.1),
    }
}

pub(super) fn now_unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl App {
    /// Starts to try again what is absent, until the daemon stops.
    pub(crate) fn retry_absent(self: &Arc<App>) {
        let app = Arc::clone(self);
        let body = move || {
            while let Some(name) = app.topology.absent.next_due() {
                app.counting(|| app.try_again(&name));
            }
        };
        if let Err(e) = std::thread::Builder::new().name("absent".to_owned()).spawn(body) {
            tracing::error!("thread: {e}: absent devices are not tried again by themselves");
        }
    }

    fn try_again(&self, name: &str) {
        let wanted = self.topology.defined(name).filter(|defined| !defined.removed);
        let Some(Defined { config, .. }) = wanted.filter(|_| self.engine.port(name).is_none()) else {
            return self.topology.absent.forget(name);
        };
        let attached = self.attach_defined(&config);
        if self.topology.defined(name).is_none_or(|defined| defined.removed) {
            // Somebody gave it up meanwhile, so that nobody else takes away what has come.
            if attached.is_ok()
                && let Err(e) = self.engine.detach(name, true)
            {
                tracing::error!("port {name} was given up and stays: {e}");
            }
            return self.topology.absent.forget(name);
        }
        match attached {
            Ok(release) => {
                let by = Requester { cause: Cause::Operator, who: String::new() };
                let source = format!("tried again, {}", config.place);
                let mut receipt = self.engine.begin_receipt(name, Kind::Attach, &by, &source);
                receipt.to = Some(release);
                receipt.outcome = Outcome::Done;
                receipt.generation_after = self.engine.generation_of(name);
                self.topology.absent.forget(name);
                if let Some(sample) = self.sample(name) {
                    self.baselines.restart(name, sample);
                }
                self.number_ports();
                self.keep_topology(&receipt);
            }
            Err(why) => {
                if self.topology.absent.note(&config, &why) {
                    tracing::warn!("{}: device {name} is absent: {why}", config.place);
                }
            }
        }
    }

    /// What is absent, as devices.
    pub(crate) fn absent_devices(&self) -> Vec<Device> {
        self.topology.absent.all().into_iter().map(|(name, absent)| device(name, absent)).collect()
    }

    /// A device that is absent; none where it is not.
    pub(crate) fn absent_device(&self, name: &str) -> Option<Device> {
        self.topology.absent.of(name).map(|absent| device(name.to_owned(), absent))
    }

    /// What is absent, as ports.
    pub(super) fn absent_ports(&self) -> Vec<Port> {
        let port = |(name, absent): (String, Absent)| {
            let defined = self.topology.defined(&name);
            let config = defined.as_ref().map(|defined| &defined.config);
            let adapter = config.and_then(|config| config.adapter.as_ref());
            Port {
                adapter: adapter.map_or_else(|| name.clone(), |adapter| adapter.name.clone()),
                number: adapter.map_or(0, |adapter| adapter.number),
                state: PortState::Absent,
                defined: config.map(|config| config.place.to_string()).unwrap_or_default(),
                kept: defined.is_some_and(|d| d.by != super::By::Temporary),
                absent: Some(absent),
                name,
                ..Port::default()
            }
        };
        self.topology.absent.all().into_iter().map(port).collect()
    }

    /// What is absent, as what is wrong.
    pub(crate) fn absent_troubles(&self) -> Vec<Trouble> {
        let trouble = |(port, absent): (String, Absent)| Trouble {
            target: self.topology.config_of(&port).and_then(|config| config.target).unwrap_or_default(),
            port,
            code: TroubleCode::Absent,
            detail: absent.reason,
            since_unix_ms: absent.since_unix_ms,
        };
        self.topology.absent.all().into_iter().map(trouble).collect()
    }

    /// The answer to whoever asks something of a device or port that is absent.
    pub(crate) fn is_absent(&self, name: &str) -> Option<Problem> {
        let absent = self.topology.absent.of(name)?;
        let text = format!("device `{name}` is absent: {}", absent.reason);
        let again = match absent.next_try_unix_ms {
            Some(_) => "it is tried again by itself",
            None => "it is not tried again by itself",
        };
        Some(Problem::new(ProblemKind::NotFound, text).hint(format!(
            "{again}; `steadfast rescan {name}` tries at once, `steadfast device remove {name}` gives it up"
        )))
    }
}

fn device(name: String, absent: Absent) -> Device {
    Device { port: name.clone(), name, state: PortState::Absent, absent: Some(absent), ..Device::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_device;

    #[test]
    fn what_is_absent_is_known_with_its_reason_and_tried_when_it_is_due() {
        let absent = Absentees::default();
        let often = parse_device("a=file:x,retry=1s").expect("valid");
        let never = parse_device("b=file:y,retry=never").expect("valid");
        assert!(absent.note(&often, "no such file"), "news");
        assert!(!absent.note(&often, "no such file"), "known");
        assert!(absent.note(&often, "locked"), "another reason");
        assert!(absent.note(&never, "locked"));
        let shown = absent.of("a").expect("absent");
        assert_eq!((shown.reason.as_str(), shown.tries), ("locked", 3));
        assert!(shown.next_try_unix_ms.is_some());
        assert_eq!(absent.of("b").expect("absent").next_try_unix_ms, None);
        assert_eq!(absent.next_due().as_deref(), Some("a"), "after a second; b never is");
        // Another one that has come may be what this one lies over.
        assert!(absent.note(&parse_device("c=file:z,retry=24h").expect("valid"), "no device a"));
        absent.forget("a");
        assert_eq!(absent.next_due().as_deref(), Some("c"));
        absent.stop();
        assert_eq!(absent.next_due(), None);
    }
}
