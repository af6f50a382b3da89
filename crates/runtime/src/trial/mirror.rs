//! One queue's part in a trial: copies the reads that the device has answered to the candidate's lane
//! and compares what it answers.
//!
//! The live device never waits: a read is copied after its driver has completed it, and only when the
//! candidate has a slot free.

#![allow(unsafe_code)] // reads slots that are nobody else's at the moment

use crate::clock::now_ns;
use crate::driver::instance::Instance;
use crate::ids::{BlockRequest, FrontendId, LaneId, Tag};
use crate::lane::Lane;
use crate::lane::core::Done;
use crate::queue::Reactor;
use crate::queue::frontend::Frontend;
use crate::resources::mapping::{Mapping, pages};
use crate::trial::shared::{ALL, Trial, range};
use std::io;
use std::sync::Arc;
use steadfast_abi::block_op;
use steadfast_shell::shadow::{Difference, Range, Reading, Tally};

/// A read that both answer.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    range: Range,
    /// Not later than the device got the first of the two.
    since_ns: u64,
    live_ns: u64,
    copied_ns: u64,
}

/// What a queue has of a trial.
#[derive(Debug)]
pub(crate) struct Mirror {
    trial: Arc<Trial>,
    /// The lane of the port that is served.
    live: LaneId,
    /// The candidate's.
    shadow: LaneId,
    comparer: FrontendId,
    /// By the candidate's slot.
    pairs: Vec<Pair>,
    /// What the device answered, by the candidate's slot.
    answers: Mapping,
    stride: usize,
    copying: bool,
    /// The candidate is not entered any more: what completes now is what it left behind.
    closed: bool,
    /// The trial has ended although its lane has not gone yet.
    over: bool,
    in_flight: u32,
    /// Grows by the sampling rate with each read; one is copied for each whole.
    chance: u32,
    tally: Tally,
}

impl Mirror {
    /// Memory for `slots` comparisons of at most `size` bytes.
    pub(crate) fn new(
        trial: Arc<Trial>,
        (live, shadow): (LaneId, LaneId),
        slots: u32,
        size: u32,
    ) -> io::Result<Mirror> {
        let stride = pages(size as usize);
        Ok(Mirror {
            trial,
            live,
            shadow,
            comparer: FrontendId(u32::MAX),
            pairs: vec![Pair::default(); slots as usize],
            answers: Mapping::new(c"steadfast-trial", stride * slots as usize)?,
            stride,
            copying: true,
            closed: false,
            over: false,
            in_flight: 0,
            chance: 0,
            tally: Tally::default(),
        })
    }

    fn answer(&self, tag: Tag) -> *mut u8 {
        self.answers.base().wrapping_add(tag.0 as usize * self.stride)
    }

    fn is_chosen(&mut self) -> bool {
        self.chance += self.trial.sample;
        let chosen = self.chance >= ALL;
        self.chance -= if chosen { ALL } else { 0 };
        chosen
    }

    /// What the candidate's answer to the pair in that slot amounts to.
    fn judge(&self, tag: Tag, result: i32, data: *const u8) -> Reading {
        let pair = &self.pairs[tag.0 as usize];
        if self.closed {
            return Reading::Unanswered;
        }
        if result < 0 {
            return Reading::Failed(pair.range, -result);
        }
        if !self.trial.writes.quiet_since(pair.range, pair.since_ns) {
            return Reading::Overlapped;
        }
        let candidate_ns = now_ns().saturating_sub(pair.copied_ns);
        let length = pair.range.length as usize;
        // SAFETY: both hold `length` bytes (it was checked when the read was copied), and nobody writes
        // to them: the one is this queue's own, the other a slot whose request has completed.
        let (ours, theirs) = unsafe {
            let ours = std::slice::from_raw_parts(self.answer(tag).cast_const(), length);
            (ours, std::slice::from_raw_parts(data, length))
        };
        if ours == theirs {
            return Reading::Same { live_ns: pair.live_ns, candidate_ns };
        }
        let known = self.tally.first.is_some();
        Reading::Differs(difference(pair.range, ours, theirs, known))
    }
}

/// Checksums are only worth their time for the first difference, which is the one that is told.
fn difference(range: Range, live: &[u8], candidate: &[u8], known: bool) -> Difference {
    let at = live.iter().zip(candidate).position(|(a, b)| a != b).unwrap_or(0);
    let sum = |bytes: &[u8]| if known { String::new() } else { checksum(bytes) };
    Difference {
        device: range.device,
        offset: range.offset + at as u64,
        read_offset: range.offset,
        read_length: range.length,
        live_sum: sum(live),
        candidate_sum: sum(candidate),
    }
}

fn checksum(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_owned()
}

/// Takes the candidate's answers. Not a client's frontend: nobody waits for what it gets.
struct Comparer;

impl Frontend for Comparer {
    fn ring(&mut self, _: &mut Reactor, _: FrontendId, _: u32, _: i32, _: u32) {}

    fn completed(&mut self, rt: &mut Reactor, _: FrontendId, lane: LaneId, tag: Tag, _: u64, result: i32) {
        rt.compare(lane, tag, result);
    }

    fn slots_available(&mut self, _: &mut Reactor, _: FrontendId) {}

    fn flush(&mut self, _: &mut Reactor, _: FrontendId) {}

    // The trial's own control thread takes it away.
    fn stop(&mut self, _: &mut Reactor, _: FrontendId) {}

    fn lane_gone(&mut self, _: &mut Reactor, _: FrontendId, _: LaneId) {}
}

impl Reactor {
    /// Begins the trial on this queue: the candidate's lane gets its driver, changes of the device are
    /// noted, and its reads are copied from the time on that the trial says. False: there is no such
    /// lane.
    pub(crate) fn begin_trial(&mut self, mut mirror: Mirror, candidate: Arc<Instance>) -> bool {
        let (Some(live), Some(shadow)) = (self.lane_ptr(mirror.live), self.lane_ptr(mirror.shadow)) else {
            return false;
        };
        mirror.comparer = self.add_frontend(Box::new(Comparer));
        // SAFETY: both are this thread's, and nobody is inside a driver.
        unsafe {
            (*live.as_ptr()).watch(&mirror.trial);
            candidate.bind((*shadow.as_ptr()).index, shadow.as_ptr().cast());
            (*shadow.as_ptr()).install(Some(candidate));
            Lane::open(shadow.as_ptr(), true);
        }
        self.mirrors.push(mirror);
        true
    }

    fn mirror_of(&mut self, is: impl Fn(&Mirror) -> bool) -> Option<usize> {
        self.mirrors.iter().position(is)
    }

    /// Copies those of these completed requests that are reads of a device on trial. Called before
    /// their frontends get them.
    #[cold]
    pub(crate) fn copy_reads(&mut self, done: &[Done]) {
        for d in done {
            if d.result < 0 {
                continue;
            }
            if let Some(i) = self.mirror_of(|m| m.copying && m.live == d.lane) {
                self.copy_read(i, d);
            }
        }
    }

    fn copy_read(&mut self, i: usize, done: &Done) {
        let (Some(live), Some(shadow)) = (self.lane_ptr(done.lane), self.lane_ptr(self.mirrors[i].shadow))
        else {
            return;
        };
        // SAFETY: this thread's lanes, nobody is inside a driver; the slot is on its way to its frontend,
        // which has not seen it yet.
        let (request, data) =
            unsafe { ((*live.as_ptr()).request(done.tag), (*live.as_ptr()).data(done.tag)) };
        let mirror = &mut self.mirrors[i];
        let fits = request.length > 0 && request.length <= mirror.stride as u64;
        if request.op != block_op::READ || !fits || !mirror.trial.covers(request.submitted_ns) {
            return;
        }
        let range = range(&request);
        if !mirror.trial.writes.quiet_since(range, request.submitted_ns) {
            return mirror.tally.count(Reading::Overlapped);
        }
        if !mirror.is_chosen() {
            return mirror.tally.count(Reading::Passed);
        }
        // SAFETY: as above.
        let Some(tag) = (unsafe { (*shadow.as_ptr()).slots.reserve() }) else {
            return mirror.tally.count(Reading::Skipped);
        };
        let now = now_ns();
        let live_ns = now.saturating_sub(request.submitted_ns);
        mirror.pairs[tag.0 as usize] =
            Pair { range, since_ns: request.submitted_ns, live_ns, copied_ns: now };
        mirror.in_flight += 1;
        let copy = BlockRequest {
            op: block_op::READ,
            flags: request.flags,
            device: request.device,
            offset: request.offset,
            length: request.length,
        };
        let (to, comparer) = (mirror.answer(tag), mirror.comparer);
        // SAFETY: `length` bytes fit both places; the slot is this function's, see above. No reference
        // into a lane is alive while the candidate is entered.
        unsafe {
            std::ptr::copy_nonoverlapping(data.cast_const(), to, request.length as usize);
            Lane::submit(shadow.as_ptr(), tag, comparer, 0, &copy, now);
        }
    }

    /// The candidate has answered.
    fn compare(&mut self, lane: LaneId, tag: Tag, result: i32) {
        let Some(shadow) = self.lane_ptr(lane) else { return };
        // SAFETY: this thread's lane; the slot is the comparer's.
        let data = unsafe { (*shadow.as_ptr()).data(tag) };
        if let Some(i) = self.mirror_of(|m| m.shadow == lane) {
            let mirror = &mut self.mirrors[i];
            mirror.in_flight -= 1;
            let reading = mirror.judge(tag, result, data);
            mirror.tally.count(reading);
        }
        self.free(lane, tag);
    }

    /// What was counted so far, and how many comparisons are under way.
    pub(crate) fn look_at_trial(&mut self, shadow: LaneId) -> (Tally, u32) {
        let mirror = self.mirror_of(|m| m.shadow == shadow).map(|i| &self.mirrors[i]);
        mirror.map_or_else(Default::default, |m| (m.tally.clone(), m.in_flight))
    }

    /// No more reads are copied.
    pub(crate) fn stop_copying(&mut self, shadow: LaneId) {
        if let Some(i) = self.mirror_of(|m| m.shadow == shadow) {
            self.mirrors[i].copying = false;
        }
    }

    /// The candidate is not entered any more on this queue.
    pub(crate) fn close_trial(&mut self, shadow: LaneId) {
        if let Some(lane) = self.lane_ptr(shadow) {
            // SAFETY: this thread's lane, and nobody is inside its driver.
            unsafe {
                Lane::close(lane.as_ptr(), true);
                (*lane.as_ptr()).seal();
            }
        }
        if let Some(i) = self.mirror_of(|m| m.shadow == shadow) {
            self.mirrors[i].copying = false;
            self.mirrors[i].closed = true;
            let (live, trial) = (self.mirrors[i].live, self.mirrors[i].trial.clone());
            // SAFETY: this thread's lane.
            self.lane_ptr(live).inspect(|l| unsafe { (*l.as_ptr()).unwatch(&trial) });
        }
    }

    /// The candidate has disconnected: its lane goes; `done` is called when it has gone.
    pub(crate) fn remove_shadow(&mut self, shadow: LaneId, done: Box<dyn FnOnce() + Send>) {
        if let Some(lane) = self.lane_ptr(shadow) {
            // SAFETY: this thread's lane; it is closed.
            unsafe {
                (*lane.as_ptr()).unbind();
                (*lane.as_ptr()).install(None);
            }
        }
        self.remove_lane(shadow, done);
    }

    /// The last thing: what this queue has counted in all. The candidate's lane has gone.
    pub(crate) fn end_trial(&mut self, shadow: LaneId) -> Tally {
        let Some(i) = self.mirror_of(|m| m.shadow == shadow) else { return Tally::default() };
        if self.lane_ptr(shadow).is_some() {
            // Its slots still answer to the comparer, whose number must not be another's: both go later.
            self.mirrors[i].over = true;
            return self.mirrors[i].tally.clone();
        }
        let mirror = self.mirrors.swap_remove(i);
        self.remove_frontend(mirror.comparer);
        mirror.tally
    }

    /// The lane of a trial that had ended before has gone at last.
    pub(crate) fn bury_trial(&mut self, shadow: LaneId) {
        if let Some(i) = self.mirror_of(|m| m.shadow == shadow && m.over) {
            let mirror = self.mirrors.swap_remove(i);
            self.remove_frontend(mirror.comparer);
        }
    }
}

/// A lane's part: what it tells the trial of its requests.
impl Lane {
    /// Changes are noted from here on, those under way first.
    fn watch(&mut self, trial: &Arc<Trial>) {
        let tags: Vec<Tag> = self.slots.pending_tags().collect();
        tags.into_iter().for_each(|tag| trial.request_begins(&self.request(tag)));
        self.trial = Some(trial.clone());
    }

    /// Unless it is another trial by now.
    fn unwatch(&mut self, of: &Arc<Trial>) {
        if self.trial.as_ref().is_some_and(|trial| Arc::ptr_eq(trial, of)) {
            self.trial = None;
        }
    }
}
