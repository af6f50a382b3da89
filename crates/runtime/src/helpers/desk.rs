//! The helpers of one open file.

#![allow(unsafe_code)] // records that two processes pass to each other

use super::call::{Call, Home, Stage};
use super::crew::Crew;
use super::foreman::Foreman;
use super::raw;
use crate::clock::now_ns;
use crate::helpers::close::PortFile;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use steadfast_abi::op;

/// Buffered writes of one file wait for each other in the kernel, and so there is one helper for them.
const WRITERS: usize = 1;
/// Helpers for everything else: so many of a disk's answers can be waited for.
const OTHERS: usize = 8;
const SEATS: usize = WRITERS + OTHERS;
/// A helper that had nothing to do for so long goes.
const IDLE_NS: u64 = 20_000_000_000;
/// How long helpers that do nothing may take to go when their file is closed.
const FAREWELL: Duration = Duration::from_nanos(FAREWELL_NS);
const FAREWELL_NS: u64 = 1_000_000_000;

/// The kinds of helpers of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Writer = 0,
    Other = 1,
}

/// A seat that nobody has.
const FREE: i32 = 0;
/// A seat whose helper has been asked for.
const ASKED: i32 = -1;

/// Where one helper says what it does. Each kind has seats of its own.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// The process that has it, or [`FREE`], or [`ASKED`]. Every change is one step, so that whoever is killed
    /// leaves something true.
    holder: AtomicI32,
    pub(super) current: AtomicPtr<Call>,
    /// Since when it is in the kernel; 0: it is not.
    pub(super) begun_ns: AtomicU64,
    pub(super) code: AtomicU32,
}

/// The helpers of one file for one queue. Calls are left by that queue's thread alone.
pub(crate) struct Desk {
    /// Kept open by those who give work to the desk.
    pub(super) file: Weak<PortFile>,
    pub(super) home: Arc<Home>,
    pub(super) crews: [Crew; 2],
    pub(super) seats: [Seat; SEATS],
    pub(crate) turn: Arc<GivenUp>,
    pub(super) over: AtomicBool,
    /// Of which kinds calls wait with the queue for want of room here. Its thread alone looks at it.
    pub(super) lines: [AtomicBool; 2],
    /// Helpers that have not been seen to have ended: they may have the file open. The foreman counts.
    pub(super) alive: AtomicU32,
    /// A helper that had nothing to do for so long goes.
    pub(super) idle_ns: AtomicU64,
    /// The port and the file, for people.
    pub(super) label: String,
    /// The log says that a call hangs.
    pub(super) told: AtomicBool,
    foreman: Arc<Foreman>,
}

impl Kind {
    fn seats(self) -> std::ops::Range<usize> {
        match self {
            Kind::Writer => 0..WRITERS,
            Kind::Other => WRITERS..SEATS,
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("file", &self.file).field("crews", &self.crews).finish_non_exhaustive()
    }
}

/// Calls on one file that were given up and have not ended. Whoever asked for one may ask for something else
/// on the same blocks, which must not be overtaken by what comes late: so nothing is begun on the file while
/// there is one.
#[derive(Debug, Default)]
pub(crate) struct GivenUp(AtomicU32);

impl GivenUp {
    pub(crate) fn one_more(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn one_less(&self) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.wake_all();
        }
    }

    pub(super) fn wake_all(&self) {
        raw::wake(&self.0, u32::MAX >> 1);
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits a while for there to be none; true when there is none.
    pub(super) fn wait(&self, timeout_ns: u64) -> bool {
        let count = self.count();
        count == 0 || (raw::wait(&self.0, count, timeout_ns) && self.count() == 0)
    }
}

impl Desk {
    /// Leaves a call; false: there is no room now.
    pub(crate) fn push(&self, kind: Kind, call: *mut Call) -> bool {
        self.crews[kind as usize].push(call)
    }

    /// Whether calls of this kind wait with the queue, which are before any other.
    pub(super) fn has_line(&self, kind: Kind) -> bool {
        self.lines[kind as usize].load(Ordering::Relaxed)
    }

    /// Sees to it that somebody does what was left. False: it has to be seen to again.
    pub(crate) fn rouse(self: &Arc<Desk>) -> bool {
        let mut settled = true;
        for kind in [Kind::Writer, Kind::Other] {
            let crew = &self.crews[kind as usize];
            if crew.rouse() {
                self.ask_for(kind);
            }
            settled &= !crew.has_any();
        }
        settled
    }

    /// Asks for one more helper, where there is a seat for it.
    fn ask_for(self: &Arc<Desk>, kind: Kind) {
        let Some(number) = kind.seats().find(|number| self.seats[*number].step(FREE, ASKED)) else { return };
        if !self.foreman.ask(self, number) {
            self.seats[number].step(ASKED, FREE);
        }
    }

    /// Whoever asked for a call has had an answer, although it has not ended; false: it is not in the kernel.
    pub(crate) fn give_up(&self, call: &Call) -> bool {
        self.turn.one_more();
        let held = call.step(Stage::Begun, Stage::GivenUp);
        if !held {
            self.turn.one_less();
        }
        held || call.is(Stage::GivenUp)
    }

    /// What has been in the kernel longest, and for too long.
    pub(super) fn hangs(&self) -> Option<InKernel> {
        let calls = self.seats.iter().filter_map(Seat::in_kernel);
        calls.filter(|call| call.ns >= HANGS_NS).max_by_key(|call| call.ns)
    }

    /// Who sits there does work of this kind.
    pub(super) fn crew_of(&self, number: usize) -> &Crew {
        &self.crews[usize::from(number >= WRITERS)]
    }

    /// Nothing has been left for the helper in that seat: it leaves, unless something has by now. False: it stays.
    pub(super) fn leave(&self, number: usize, pid: i32) -> bool {
        let Some(seat) = self.seats.get(number) else { return true };
        seat.step(pid, FREE);
        // Whoever left a call before that step found the seat taken, and after it asks for another helper.
        !(self.crew_of(number).has_any() && seat.step(FREE, pid))
    }

    /// The process has ended, or never had its file; its seat is free again. The call that it had.
    pub(super) fn clear(&self, number: usize, pid: i32, had_file: bool) -> *mut Call {
        let seat = &self.seats[number];
        if seat.holder.load(Ordering::SeqCst) != pid {
            if !had_file {
                seat.step(ASKED, FREE);
            }
            return std::ptr::null_mut();
        }
        let call = seat.current.swap(std::ptr::null_mut(), Ordering::AcqRel);
        seat.begun_ns.store(0, Ordering::Release);
        self.crew_of(number).wakes(number);
        seat.step(pid, FREE);
        call
    }

    /// The processes that have a seat.
    #[cfg(test)]
    pub(super) fn holders(&self) -> Vec<i32> {
        self.seats.iter().map(|seat| seat.holder.load(Ordering::SeqCst)).filter(|pid| *pid > 0).collect()
    }

    /// A call will not be carried out any more, because its helper has gone.
    pub(super) fn lose(&self, call: *mut Call) {
        // SAFETY: what a helper had that has gone is the caller's.
        unsafe {
            if (*call).end(-i64::from(libc::EIO)) {
                self.turn.one_less();
            }
            if self.home.bring(call) {
                self.home.bell.ring();
            }
        }
    }
}

/// A call that has been in the kernel for so long hangs, or its file is very slow.
pub(crate) const HANGS_NS: u64 = 5_000_000_000;

/// What is in the kernel on a file, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InKernel {
    pub(crate) code: u16,
    pub(crate) ns: u64,
}

impl InKernel {
    /// The operation, for people.
    pub(crate) fn name(self) -> &'static str {
        match self.code {
            op::READ => "a read",
            op::WRITE => "a write",
            op::FSYNC | op::FDATASYNC => "a flush",
            op::FALLOCATE => "a trim or write-zeroes",
            op::EXTENTS => "a question for block status",
            _ => "a call",
        }
    }
}

/// The helpers of one open file, on every queue of its port. They come with the first call.
#[derive(Debug)]
pub(crate) struct Desks {
    pub(crate) file: Arc<PortFile>,
    /// Where it ends for operations, see [`Sight::end`](crate::handle::name_check::Sight::end).
    pub(crate) end: Arc<AtomicU64>,
    pub(crate) regular: bool,
    /// It goes past the page cache.
    pub(crate) direct: bool,
    /// The kernel can try reads and writes of it without sleeping; it is asked first.
    pub(crate) tries: AtomicBool,
    pub(crate) given_up: Arc<GivenUp>,
    label: String,
    places: Vec<OnceLock<Arc<Desk>>>,
}

impl Desks {
    /// `label`: the port and the file, for people.
    pub(crate) fn new(
        file: Arc<PortFile>,
        end: Arc<AtomicU64>,
        regular: bool,
        (direct, tries): (bool, bool),
        label: String,
        queues: usize,
    ) -> Desks {
        let places = (0..queues).map(|_| OnceLock::new()).collect();
        let tries = AtomicBool::new(tries);
        Desks { file, end, regular, direct, tries, given_up: Arc::default(), label, places }
    }

    /// The desk of one of the port's queues.
    pub(crate) fn of(&self, index: usize, home: &Arc<Home>, foreman: &Arc<Foreman>) -> Option<&Arc<Desk>> {
        let make = || {
            Arc::new(Desk {
                file: Arc::downgrade(&self.file),
                home: home.clone(),
                crews: [Crew::new(), Crew::new()],
                seats: Default::default(),
                turn: self.given_up.clone(),
                over: AtomicBool::new(false),
                lines: Default::default(),
                alive: AtomicU32::new(0),
                idle_ns: AtomicU64::new(IDLE_NS),
                label: self.label.clone(),
                told: AtomicBool::new(false),
                foreman: foreman.clone(),
            })
        };
        self.places.get(index).map(|place| place.get_or_init(make))
    }

    fn made(&self) -> impl Iterator<Item = &Arc<Desk>> {
        self.places.iter().filter_map(OnceLock::get)
    }

    /// What has been in the kernel longest.
    pub(crate) fn longest(&self) -> Option<InKernel> {
        self.made()
            .flat_map(|desk| desk.seats.iter().filter_map(Seat::in_kernel))
            .max_by_key(|known| known.ns)
    }

    /// Lets the helpers go, because the file is to be closed: they have it open as well. One that hangs keeps
    /// it until it returns; false: there is one.
    pub(crate) fn close(&self) -> bool {
        for desk in self.made() {
            desk.over.store(true, Ordering::SeqCst);
            desk.crews.iter().for_each(Crew::wake_all);
            desk.turn.wake_all();
        }
        let until = Instant::now() + FAREWELL;
        loop {
            let (mut left, mut hang) = (0, 0);
            for desk in self.made() {
                let seats = desk.seats.iter();
                // One that has left its seat has the file open for a moment more.
                let taken = seats.clone().filter(|seat| seat.is_taken()).count();
                left += taken.max(desk.alive.load(Ordering::Acquire) as usize);
                hang +=
                    seats.filter(|seat| seat.in_kernel().is_some_and(|call| call.ns > FAREWELL_NS)).count();
            }
            if left == 0 {
                return true;
            }
            if left <= hang || Instant::now() >= until {
                return false;
            }
            if let Some(desk) = self.made().next() {
                desk.foreman.reap_now();
                desk.foreman.forget_buried();
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Seat {
    /// What its helper is in the kernel for.
    pub(super) fn in_kernel(&self) -> Option<InKernel> {
        let begun = self.begun_ns.load(Ordering::Acquire);
        let code = self.code.load(Ordering::Relaxed) as u16;
        (begun > 0).then(|| InKernel { code, ns: now_ns().saturating_sub(begun) })
    }

    fn is_taken(&self) -> bool {
        self.holder.load(Ordering::Acquire) != FREE
    }

    /// From one holder to the next; false where it was another.
    fn step(&self, from: i32, to: i32) -> bool {
        self.holder.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// A helper takes the seat that it was asked for; false: it is not its own.
    pub(super) fn take(&self, pid: i32) -> bool {
        self.step(ASKED, pid)
    }
}

impl Drop for Desks {
    fn drop(&mut self) {
        for desk in self.made() {
            desk.over.store(true, Ordering::SeqCst);
            desk.crews.iter().for_each(Crew::wake_all);
        }
    }
}
