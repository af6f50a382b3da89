//! Calls that wait with the queue, because their desk has no room: a line for each desk and kind.
//!
//! A desk whose file hangs fills up, and its line grows by what its port still asks for. Nobody else looks at it: whether
//! a call has to stand in line is said by its desk, and what is called off leaves its line at once.

use super::call::Call;
use super::desk::{Desk, Kind};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[derive(Debug)]
struct Line {
    desk: Arc<Desk>,
    kind: Kind,
    calls: VecDeque<*mut Call>,
}

/// One queue's lines, none of them empty.
#[derive(Debug, Default)]
pub(crate) struct Backlog(Vec<Line>);

impl Backlog {
    /// Leaves a call at its desk, or behind those that wait for room there.
    #[inline]
    pub(crate) fn leave(&mut self, desk: &Arc<Desk>, kind: Kind, call: *mut Call) {
        if desk.has_line(kind) || !desk.push(kind, call) {
            self.stand_in_line(desk, kind, call);
        }
    }

    fn stand_in_line(&mut self, desk: &Arc<Desk>, kind: Kind, call: *mut Call) {
        if let Some(line) = self.0.iter_mut().find(|line| line.is_of(desk, kind)) {
            return line.calls.push_back(call);
        }
        desk.lines[kind as usize].store(true, Ordering::Relaxed);
        self.0.push(Line { desk: desk.clone(), kind, calls: VecDeque::from([call]) });
    }

    /// Takes a call out of its line; false: it is not in one, but at its desk.
    pub(crate) fn take_out(&mut self, desk: &Arc<Desk>, kind: Kind, call: *mut Call) -> bool {
        if !desk.has_line(kind) {
            return false;
        }
        let Some(line) = self.0.iter_mut().find(|line| line.is_of(desk, kind)) else { return false };
        // Those that wait longest are called off first.
        let Some(place) = line.calls.iter().position(|waits| *waits == call) else { return false };
        line.calls.remove(place);
        if line.calls.is_empty() {
            self.close_empty();
        }
        true
    }

    /// Leaves at each desk as many as have room there by now; the desks, which are to be roused.
    pub(crate) fn move_up(&mut self) -> Vec<Arc<Desk>> {
        for line in &mut self.0 {
            while let Some(first) = line.calls.front()
                && line.desk.push(line.kind, *first)
            {
                line.calls.pop_front();
            }
        }
        let desks = self.0.iter().map(|line| line.desk.clone()).collect();
        self.close_empty();
        desks
    }

    fn close_empty(&mut self) {
        self.0.retain(|line| {
            if line.calls.is_empty() {
                line.desk.lines[line.kind as usize].store(false, Ordering::Relaxed);
            }
            !line.calls.is_empty()
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all of them out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = *mut Call> + use<> {
        let lines = std::mem::take(&mut self.0);
        lines.into_iter().flat_map(|line| line.calls)
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|line| line.calls.len()).sum()
    }
}

impl Line {
    fn is_of(&self, desk: &Arc<Desk>, kind: Kind) -> bool {
        self.kind == kind && Arc::ptr_eq(&self.desk, desk)
    }
}
