//! The end of an engine: what is in flight has so long to end, and what nobody could end is not waited for.

use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::ids::LaneId;
use crate::port::Port;
use crate::port::config::ANSWER;
use crate::queue::Reactor;
use crate::queue::remote::Remote;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use steadfast_shell::sync::lock;

/// Why whatever has time ends when the daemon does.
const STOPS: &str = "the daemon stops";
/// How often it is looked for ports that have lost their driver meanwhile.
const LOOK: Duration = Duration::from_millis(50);
/// How often it is said what is waited for.
const SAY: Duration = Duration::from_secs(3);

impl Engine {
    /// Stops everything: frontends finish what is in flight, then ports are detached, then the
    /// queues' threads end. What takes longer than `grace` is left behind; false where that is a queue.
    ///
    /// Requests of a port that no driver serves, or whose driver does not return from a call that was given time, end
    /// at once, with an error: nobody would finish them. What is waited for is in the log every few seconds.
    pub fn stop(&self, grace: Duration) -> bool {
        let until = Instant::now() + grace;
        self.control.directory.ending.store(true, Ordering::Relaxed);
        self.end_trials(STOPS);
        for remote in &self.control.queues.remotes {
            remote.post(Box::new(Reactor::stop_frontends));
        }
        self.wait_for_frontends(until);
        self.take_all_away(until);
        for remote in &self.control.queues.remotes {
            remote.post(Box::new(Reactor::shut_down));
        }
        let all = self.join_queues(until, grace);
        if let Some(foreman) = lock(&self.control.queues.foreman).take() {
            foreman.stop();
        }
        all
    }

    fn wait_for_frontends(&self, until: Instant) {
        let (mut look, mut say) = (Instant::now(), Instant::now() + SAY);
        while Instant::now() < until {
            if Instant::now() >= look {
                self.end_what_nobody_serves();
                look = Instant::now() + LOOK;
            }
            let left = |r: &Arc<Remote>| r.ask(ANSWER, |rt| rt.frontends()).unwrap_or(1);
            if self.control.queues.remotes.iter().map(left).sum::<usize>() == 0 {
                return;
            }
            if Instant::now() >= say {
                self.say_what_is_waited_for(until);
                say = Instant::now() + SAY;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the requests of ports without a driver.
    fn end_what_nobody_serves(&self) {
        for port in self.control.all_ports() {
            self.control.give_up_calls(&port);
            // Who has it will have seen to a driver, or not, when it is looked at again.
            let Ok(_turn) = self.control.turn(&port, "the stop") else { continue };
            let helpless = {
                let inner = lock(&port.inner);
                inner.serving.is_none() && inner.down.is_none()
            };
            if helpless {
                let id = LaneId(port.id.0);
                for remote in &port.remotes {
                    remote.post(Box::new(move |rt| rt.end_stranded(id)));
                }
            }
        }
    }

    fn say_what_is_waited_for(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now()).as_secs();
        for port in self.ports() {
            let count = port.in_flight + port.held + port.waiting;
            if count > 0 {
                let (name, requests) = (&port.name, if count == 1 { "request" } else { "requests" });
                let age = Duration::from_nanos(port.oldest_ns).as_secs();
                tracing::warn!(
                    port = name,
                    "stop: waits for port {name}: {count} {requests}, the oldest for {age} s; cut off in {left} s"
                );
            }
        }
    }

    /// Detaches every port, those that lie over others first.
    fn take_all_away(&self, until: Instant) {
        let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_millis(500));
        let mut ports = self.control.directory.ports_from_above();
        ports.retain(|port| {
            self.control.end_trial(port, STOPS, left());
            self.take_away_in_turn(port, until, left()).is_err()
        });
        // What waited for a port below can go once that has gone.
        for port in ports {
            if let Err(e) = self.take_away_in_turn(&port, until, left()) {
                tracing::error!(port = port.name, "stop: {e}");
            }
        }
    }

    /// An update that is under way ends first, if it does so in time.
    fn take_away_in_turn(
        &self,
        port: &Arc<Port>,
        until: Instant,
        patience: Duration,
    ) -> Result<(), EngineError> {
        loop {
            self.control.give_up_calls(port);
            match self.control.take_away(port, patience, false) {
                Err(e) if e.kind() == ErrorKind::Busy && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => return result,
            }
        }
    }

    /// Waits for the queues' threads; false where one does not end.
    fn join_queues(&self, until: Instant, grace: Duration) -> bool {
        let mut all = true;
        for thread in std::mem::take(&mut *lock(&self.control.queues.threads)) {
            let late = until + Duration::from_secs(1);
            while !thread.is_finished() && Instant::now() < late {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                let _ = thread.join();
            } else {
                let name = thread.thread().name().unwrap_or_default().to_owned();
                tracing::error!("{name} did not stop in {} s", grace.as_secs());
                all = false;
            }
        }
        all
    }
}
