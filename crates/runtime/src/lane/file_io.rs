//! Operations on files: what may sleep goes to helpers, what does not is done here and now.
//!
//! *Reads through the page cache* are tried with `RWF_NOWAIT`, which never sleeps: what is in the cache is
//! there at once. What is not is read by a helper.
//!
//! *Writes through the page cache* may sleep on most file systems, and the calls that would not say so
//! (`RWF_NOWAIT`) wait for a file system that is frozen all the same. A helper does them; where the ring can try
//! them without sleeping (XFS, btrfs), it is asked first.
//!
//! *Direct reads and writes* are tried on the ring, with `RWF_NOWAIT` too, and go to a helper where the kernel
//! says that they would sleep. Without the flag the ring would hand them to workers of its own, which all ports
//! of a queue share, and which nothing ends.
//!
//! *Everything else* (flushes, zeroing, block status) is a helper's.
//!
//! Either way the operation is the shell's: its completion goes to whichever driver serves the port.

#![allow(unsafe_code)] // records that helpers have; preadv2 into memory that the shell owns

use crate::helpers::{Backlog, Call, Desk, Desks, Foreman, HANGS_NS, Home, Kind, Stage, raw};
use crate::lane::core::Core;
use crate::ring::bell::Bell;
use crate::ring::{kind, user_data};
use io_uring::{opcode, types};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use steadfast_abi::{Op, op, op_flag};

/// An operation that is with a helper, or on its way there.
#[derive(Debug)]
struct Out {
    call: *mut Call,
    desk: Arc<Desk>,
    kind: Kind,
    /// The ring tries it first.
    trying: bool,
    /// Its request was answered without it.
    given_up: bool,
}

/// One queue's operations on files.
#[derive(Debug)]
pub(crate) struct FileIo {
    home: Arc<Home>,
    foreman: Arc<Foreman>,
    /// By the operation's number.
    out: Vec<Option<Out>>,
    free: Vec<*mut Call>,
    /// Calls that wait for room at their desk.
    backlog: Backlog,
    /// Desks that were left something in this turn.
    touched: Vec<Arc<Desk>>,
    /// Desks at which more waits than their helpers have begun.
    uneasy: Vec<Arc<Desk>>,
    done: Vec<(u32, i64)>,
}

impl FileIo {
    pub(crate) fn new(bell: Arc<Bell>, foreman: Arc<Foreman>) -> FileIo {
        FileIo {
            home: Arc::new(Home::new(bell)),
            foreman,
            out: Vec::new(),
            free: Vec::new(),
            backlog: Backlog::default(),
            touched: Vec::new(),
            uneasy: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Reads into `parts` if that can be done at once; false: it cannot.
    ///
    /// # Safety
    /// `parts` point to writable memory.
    unsafe fn read_now(&mut self, id: u32, offset: u64, parts: &[libc::iovec], desks: &Desks) -> bool {
        let Ok(offset) = i64::try_from(offset) else { return false };
        let (file, vectors) = (desks.file.as_raw_fd() as usize, parts.as_ptr() as usize);
        // Not by the C library, whose call can be cancelled, which costs more than the rest of it. The upper half of
        // the offset is for machines of 32 bits.
        let args = [file, vectors, parts.len(), offset as usize, 0, libc::RWF_NOWAIT as usize];
        // SAFETY: the caller's promise; an open descriptor.
        let n = unsafe { raw::syscall(libc::SYS_preadv2, args) };
        let whole: usize = parts.iter().map(|p| p.iov_len).sum();
        // Less than the whole: the rest is not in the cache, or the file ends. A helper can tell.
        if n != whole as i64 {
            return false;
        }
        self.done.push((id, n));
        true
    }

    /// A record, filled.
    fn record(&mut self, id: u32, op: &Op, parts: &[libc::iovec], desks: &Desks) -> Result<*mut Call, i32> {
        let flags = match op.code {
            op::FALLOCATE => i32::try_from(op.arg).map_err(|_| libc::EINVAL)?,
            op::WRITE if op.flags & op_flag::FUA != 0 => libc::RWF_DSYNC,
            _ => 0,
        };
        let call = self.free.pop().unwrap_or_else(|| Box::into_raw(Call::new()));
        // SAFETY: a record that nobody else has.
        let task = unsafe { &mut *(*call).task() };
        (task.id, task.code, task.flags, task.offset, task.length) =
            (id, op.code, flags, op.offset, op.length);
        (task.regular, task.count) = (desks.regular, parts.len());
        task.parts[..parts.len()].copy_from_slice(parts);
        Ok(call)
    }

    fn keep(&mut self, id: u32, out: Out) {
        let place = id as usize;
        if place >= self.out.len() {
            self.out.resize_with(place + 1, || None);
        }
        self.out[place] = Some(out);
    }

    /// Leaves a call at its desk.
    fn hand_over(&mut self, desk: &Arc<Desk>, kind: Kind, call: *mut Call) {
        self.backlog.leave(desk, kind, call);
        if !self.touched.last().is_some_and(|last| Arc::ptr_eq(last, desk)) {
            self.touched.push(desk.clone());
        }
    }

    /// The ring has tried operation `id`; true: it would have slept, and a helper has it now.
    #[inline]
    pub(crate) fn tried(&mut self, id: u32, result: i32) -> bool {
        match self.out.get_mut(id as usize) {
            Some(Some(out)) if out.trying => self.has_tried(id, result),
            _ => false,
        }
    }

    fn has_tried(&mut self, id: u32, result: i32) -> bool {
        let Some(out) = self.out[id as usize].as_mut() else { return false };
        let asleep = result == -libc::EAGAIN || result == -libc::EOPNOTSUPP;
        if out.given_up {
            out.desk.turn.one_less();
        } else if asleep {
            out.trying = false;
            let (desk, kind, call) = (out.desk.clone(), out.kind, out.call);
            self.hand_over(&desk, kind, call);
            return true;
        }
        self.free.push(out.call);
        self.out[id as usize] = None;
        false
    }

    /// Takes the completions that are there: operation and result.
    pub(crate) fn completed(&mut self, into: &mut Vec<(u32, i64)>) {
        into.append(&mut self.done);
        let home = self.home.clone();
        home.take(|call| {
            // SAFETY: it is back, and so this thread's.
            let (id, called_off, result) =
                unsafe { ((*call).read().id, (*call).is(Stage::CalledOff), (*call).result()) };
            self.free.push(call);
            // What was called off has completed before.
            if !called_off && self.out.get_mut(id as usize).and_then(Option::take).is_some() {
                into.push((id, result));
            }
        });
    }

    /// The queue's thread is about to sleep; false: it has something to do first.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.done.is_empty() && self.home.fall_asleep()
    }

    /// It is awake.
    pub(crate) fn wake_up(&self) {
        self.home.wake_up();
    }

    /// Whether there are completions that the kernel does not announce, or has not yet.
    #[inline]
    pub(crate) fn has_completed(&self) -> bool {
        !self.done.is_empty() || self.home.has_any()
    }

    /// Calls off an operation that no helper has begun; it completes with `ECANCELED`. The record of one that its desk
    /// has stays there until a helper comes by: no more of them than there is room.
    pub(crate) fn call_off(&mut self, id: u32) {
        let Some(Some(out)) = self.out.get(id as usize) else { return };
        // SAFETY: records are not freed while this thread runs.
        if !out.trying && unsafe { (*out.call).step(Stage::Waiting, Stage::CalledOff) } {
            if self.backlog.take_out(&out.desk, out.kind, out.call) {
                self.free.push(out.call);
            }
            self.out[id as usize] = None;
            self.done.push((id, -i64::from(libc::ECANCELED)));
        }
    }

    /// Whether an operation is in the kernel, where nothing can end it.
    pub(crate) fn is_in_kernel(&self, id: u32) -> bool {
        let Some(Some(out)) = self.out.get(id as usize) else { return false };
        // SAFETY: records are not freed while this thread runs.
        let call = unsafe { &*out.call };
        out.trying || call.is(Stage::Begun) || call.is(Stage::GivenUp)
    }

    /// Whether it has been there for so long that it hangs.
    pub(crate) fn hangs(&self, id: u32, now_ns: u64) -> bool {
        let Some(Some(out)) = self.out.get(id as usize) else { return false };
        // SAFETY: as above.
        let since = unsafe { (*out.call).begun_ns.load(Ordering::Relaxed) };
        self.is_in_kernel(id) && now_ns.saturating_sub(since) >= HANGS_NS
    }

    /// The request of an operation that is in the kernel is answered without it: nothing else is begun on its
    /// file before it has ended. False: it is not in the kernel.
    pub(crate) fn give_up(&mut self, id: u32) -> bool {
        let Some(Some(out)) = self.out.get_mut(id as usize) else { return false };
        if out.given_up {
            return true;
        }
        if out.trying {
            out.desk.turn.one_more();
            out.given_up = true;
        } else {
            // SAFETY: as above.
            out.given_up = out.desk.give_up(unsafe { &*out.call });
        }
        out.given_up
    }

    /// The end of a turn: what was left at desks is begun.
    pub(crate) fn submit(&mut self) {
        if self.touched.is_empty() {
            return;
        }
        while let Some(desk) = self.touched.pop() {
            if !desk.rouse() && !self.uneasy.iter().any(|known| Arc::ptr_eq(known, &desk)) {
                self.uneasy.push(desk);
            }
        }
    }

    /// Sees to what still waits at desks; true: this is to be called again after a while.
    pub(crate) fn look_after(&mut self) -> bool {
        self.touched.append(&mut self.backlog.move_up());
        self.touched.append(&mut self.uneasy);
        self.submit();
        self.needs_looking_after()
    }

    /// Something waits at a desk for a helper to come free, or to be made.
    pub(crate) fn needs_looking_after(&self) -> bool {
        !self.uneasy.is_empty() || !self.backlog.is_empty()
    }
}

impl Drop for FileIo {
    fn drop(&mut self) {
        // A helper may have the others, for as long as it hangs.
        for call in self.free.drain(..).chain(self.backlog.drain()) {
            // SAFETY: made by `Box::into_raw`, and in no list but these.
            drop(unsafe { Box::from_raw(call) });
        }
    }
}

impl Core {
    /// Begins an operation on the file of `desks`, for queue `index` of its port, number `fixed` in the ring's
    /// table of files.
    ///
    /// # Safety
    /// What `parts` point to stays, readable or writable as the operation needs it, until `id` has completed.
    pub(crate) unsafe fn on_file(
        &mut self,
        id: u32,
        op: &Op,
        parts: &[libc::iovec],
        (desks, index): (&Desks, usize),
        fixed: u32,
    ) -> Result<(), i32> {
        let moves = matches!(op.code, op::READ | op::WRITE);
        if moves && parts.is_empty() || op.code == op::EXTENTS && parts.len() != 1 {
            return Err(libc::EINVAL);
        }
        let end = desks.end.load(Ordering::Relaxed);
        if end != u64::MAX && lies_beyond(end, op, parts) {
            return Err(libc::EIO);
        }
        let passes = desks.given_up.count() == 0;
        // SAFETY: the caller's promise.
        if passes && op.code == op::READ && !desks.direct && unsafe { self.read_now(id, op, parts, desks) } {
            return Ok(());
        }
        let fileio = &mut self.fileio;
        let desk = desks.of(index, &fileio.home, &fileio.foreman).ok_or(libc::EBADF)?;
        let call = fileio.record(id, op, parts, desks)?;
        let kind = if op.code == op::WRITE && !desks.direct { Kind::Writer } else { Kind::Other };
        let tries = desks.tries.load(Ordering::Relaxed) && (desks.direct || op.code == op::WRITE);
        let trying = passes && moves && tries;
        fileio.keep(id, Out { call, desk: desk.clone(), kind, trying, given_up: false });
        // SAFETY: filled, and nobody else has it yet.
        unsafe { (*call).begun_ns.store(self.now_ns, Ordering::Relaxed) };
        if trying {
            // SAFETY: the record and what its vectors point to stay until the operation has completed.
            unsafe { self.try_on_ring(id, call, types::Fixed(fixed)) };
        } else {
            fileio.hand_over(desk, kind, call);
        }
        Ok(())
    }

    /// # Safety
    /// As for `on_file`.
    unsafe fn read_now(&mut self, id: u32, op: &Op, parts: &[libc::iovec], desks: &Desks) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.fileio.read_now(id, op.offset, parts, desks) }
    }

    /// # Safety
    /// As for `on_file`; the record is this queue's until the operation has completed.
    unsafe fn try_on_ring(&mut self, id: u32, call: *mut Call, file: types::Fixed) {
        // SAFETY: the record is filled, and nobody else has it.
        let task = unsafe { (*call).read() };
        let flags = task.flags | libc::RWF_NOWAIT;
        let (one, vectors, count) = (task.parts[0], task.parts.as_ptr(), task.count as u32);
        let length = u32::try_from(one.iov_len);
        let entry = match (task.code, length, count) {
            (op::READ, Ok(length), 1) => opcode::Read::new(file, one.iov_base.cast(), length)
                .offset(task.offset)
                .rw_flags(flags)
                .build(),
            (op::WRITE, Ok(length), 1) => opcode::Write::new(file, one.iov_base.cast(), length)
                .offset(task.offset)
                .rw_flags(flags)
                .build(),
            (op::READ, ..) => {
                opcode::Readv::new(file, vectors, count).offset(task.offset).rw_flags(flags).build()
            }
            _ => opcode::Writev::new(file, vectors, count).offset(task.offset).rw_flags(flags).build(),
        };
        // SAFETY: the caller's promise.
        unsafe { self.push(&entry.user_data(user_data(kind::OP, u64::from(id)))) };
    }
}

/// Whether an operation is on something behind `end`, where the file has lost what it was.
#[cold]
fn lies_beyond(end: u64, op: &Op, parts: &[libc::iovec]) -> bool {
    let bytes = match op.code {
        op::READ | op::WRITE => parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.iov_len as u64)),
        op::FALLOCATE => op.length,
        _ => return false,
    };
    op.offset.checked_add(bytes).is_none_or(|last| last > end)
}
