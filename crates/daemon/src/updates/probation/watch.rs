use super::lock;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use steadfast_api::{ProbationReport, Release, Unload};
use steadfast_loader::LoadedModule;

/// A driver on probation, as others see it.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The receipt of the update.
    pub(crate) receipt: u64,
    pub(crate) port: String,
    /// Who is watched.
    pub(crate) driver: Release,
    /// Who is put back.
    pub(crate) before: Release,
    /// Parameters as they were, where the update changed them.
    pub(crate) undo: Vec<(String, Option<String>)>,
    /// How long the update was to wait for requests in flight; the way back waits no longer.
    pub(crate) deadline: Option<Duration>,
    /// Who is put back, as long as that may be.
    mapped: Mutex<Option<Arc<LoadedModule>>>,
    /// What the configuration is to name once it is passed, as it was asked for.
    pub(crate) save: Option<crate::serving::Keep>,
    began: Instant,
    length: Duration,
    interval: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    order: Order,
    report: ProbationReport,
    over: bool,
}

/// What the watching thread is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Go on.
    Watch,
    /// Somebody changes the driver.
    End(String),
    /// The daemon stops.
    Stop,
    /// It puts the driver before back; nothing else can be ordered any more.
    GoingBack,
}

/// What a watch is made of.
pub(crate) struct Begin {
    pub(crate) receipt: u64,
    pub(crate) port: String,
    pub(crate) driver: Release,
    pub(crate) before: Release,
    pub(crate) undo: Vec<(String, Option<String>)>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) length_ns: u64,
    pub(crate) interval_ns: u64,
    pub(crate) report: ProbationReport,
    pub(crate) mapped: Option<Arc<LoadedModule>>,
    pub(crate) save: Option<crate::serving::Keep>,
}

impl Watch {
    pub(crate) fn new(begin: Begin) -> Watch {
        Watch {
            receipt: begin.receipt,
            port: begin.port,
            driver: begin.driver,
            before: begin.before,
            undo: begin.undo,
            deadline: begin.deadline,
            mapped: Mutex::new(begin.mapped),
            save: begin.save,
            began: Instant::now(),
            length: Duration::from_nanos(begin.length_ns),
            interval: Duration::from_nanos(begin.interval_ns),
            state: Mutex::new(State { order: Order::Watch, report: begin.report, over: false }),
            changed: Condvar::new(),
        }
    }

    /// Who is put back, in memory.
    pub(crate) fn mapped(&self) -> Option<Arc<LoadedModule>> {
        lock(&self.mapped).clone()
    }

    /// It is not put back any more: lets it go. What became of it; none where it was let go before.
    pub(crate) fn let_go(&self) -> Option<Unload> {
        let module = lock(&self.mapped).take()?;
        Some(Arc::into_inner(module).map_or(Unload::InUse, LoadedModule::unload))
    }

    /// Gives an order. The first one counts; says whether this was it.
    pub(crate) fn order(&self, order: Order) -> bool {
        let mut state = lock(&self.state);
        let first = state.order == Order::Watch && !state.over;
        if first {
            state.order = order;
            self.changed.notify_all();
        }
        first
    }

    /// Waits for an order, at most until it is time to look again.
    pub(super) fn wait_order(&self) -> Order {
        let state = lock(&self.state);
        let waiting = |state: &mut State| state.order == Order::Watch;
        let (state, _) = self
            .changed
            .wait_timeout_while(state, self.interval, waiting)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        state.order.clone()
    }

    /// Waits until it is over, or for too long; says whether it is.
    pub(crate) fn wait_over(&self, longest: Duration) -> bool {
        let state = lock(&self.state);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, longest, |state| !state.over)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        state.over
    }

    pub(super) fn over(&self) {
        lock(&self.state).over = true;
        self.changed.notify_all();
    }

    /// Time that is left.
    pub(crate) fn left(&self) -> Duration {
        self.length.saturating_sub(self.began.elapsed())
    }

    /// What has been seen so far.
    pub(crate) fn report(&self) -> ProbationReport {
        lock(&self.state).report.clone()
    }

    pub(super) fn set_report(&self, report: ProbationReport) {
        lock(&self.state).report = report;
    }

    /// As the control API shows it.
    pub(crate) fn shown(&self) -> steadfast_api::Probation {
        steadfast_api::Probation {
            receipt: self.receipt,
            driver: self.driver.clone(),
            before: self.before.clone(),
            left_ms: self.left().as_millis() as u64,
            report: self.report(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        let release = |v: &str| Release { driver: "file".into(), version: v.into(), hash: v.into() };
        Watch::new(Begin {
            receipt: 1,
            port: "vol0".into(),
            driver: release("1.1.0"),
            before: release("1.0.0"),
            undo: Vec::new(),
            deadline: None,
            length_ns: 3_600_000_000_000,
            interval_ns: 1_000_000,
            report: ProbationReport::default(),
            mapped: None,
            save: None,
        })
    }

    #[test]
    fn the_first_order_counts() {
        let watch = watch();
        assert_eq!(watch.wait_order(), Order::Watch, "it is time to look");
        assert!(watch.order(Order::GoingBack));
        assert!(!watch.order(Order::End("somebody".into())), "it goes back already");
        assert_eq!(watch.wait_order(), Order::GoingBack);
    }

    #[test]
    fn who_waits_for_the_end_is_woken() {
        let watch = watch();
        assert!(!watch.wait_over(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| watch.wait_over(Duration::from_secs(60)));
            watch.over();
            assert!(waiter.join().expect("no panic"));
        });
        assert!(!watch.order(Order::Stop), "there is nobody to be ordered any more");
        assert!(watch.left() > Duration::from_secs(3000));
    }
}
