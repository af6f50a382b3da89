//! What a helper does, from its first instruction to its last.
//!
//! It is a process that shares the memory of the daemon, and even the thread-local data of the thread that made
//! it. So here is no allocation, no lock, no panic, no logging, and no function of the C library that sets
//! `errno`: arithmetic wraps, system calls are made by hand, and the clock is read, which cannot fail.

#![allow(unsafe_code)] // system calls; the records and the desk are kept by those who made the helper

use super::call::{Call, Stage, Task};
use super::crew::Crew;
use super::desk::{Desk, Seat};
use super::raw::{self, syscall};
use crate::clock::now_ns;
use crate::ring::idle::{Idle, Watcher};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};
use steadfast_abi::{Extent, extent, op};

/// How often it looks whether it is to end, while it waits for calls that were given up.
const LOOK_NS: u64 = 100_000_000;
const NAME: &[u8] = b"steadfast-io\0";

/// How a helper begins, and what becomes known of it.
#[derive(Debug)]
pub(super) struct Start {
    /// Where it gets its file from.
    pub(super) socket: i32,
    pub(super) parent: i32,
    /// Set by the helper: the desk that it serves, which it has a count of.
    pub(super) desk: AtomicPtr<Desk>,
    /// Its seat there; negative: it has none.
    pub(super) seat: AtomicI32,
    /// 1: it has its file; 2: it could not get one. Somebody waits for that.
    pub(super) state: AtomicU32,
}

/// What comes with the files: the desk, and which of its seats.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Order {
    pub(super) desk: *const Desk,
    pub(super) seat: usize,
}

/// A message with a file.
#[repr(C, align(8))]
struct Control {
    head: libc::cmsghdr,
    file: i32,
}

/// The helper.
pub(super) extern "C" fn main(start: *mut libc::c_void) -> libc::c_int {
    // SAFETY: who makes a helper keeps this until the helper has ended.
    let start = unsafe { &*start.cast::<Start>() };
    let begun = begin(start);
    start.state.store(if begun.is_some() { 1 } else { 2 }, Ordering::Release);
    raw::wake(&start.state, 1);
    let Some((file, seat, pid)) = begun else { return 1 };
    // SAFETY: set by `begin`; the helper has a count of it.
    let desk = unsafe { &*start.desk.load(Ordering::Acquire) };
    // The bells are open under the same numbers in all helpers.
    serve(desk, (seat, pid), [file, desk.home.bell.eventfd().as_raw_fd()]);
    0
}

/// Ends with the daemon, leaves the standard streams to it, gets its file and takes its seat: the file, the seat, and
/// the process that the helper is.
fn begin(start: &Start) -> Option<(i32, usize, i32)> {
    // SAFETY: plain calls; the name lives for ever, and the table of files is the helper's own.
    let (orphan, pid) = unsafe {
        syscall(libc::SYS_prctl, [libc::PR_SET_NAME as usize, NAME.as_ptr() as usize, 0, 0, 0, 0]);
        syscall(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize, 0, 0, 0, 0]);
        syscall(libc::SYS_close_range, [0, 2, 0, 0, 0, 0]);
        let parent = syscall(libc::SYS_getppid, [0; 6]);
        (parent != i64::from(start.parent), syscall(libc::SYS_getpid, [0; 6]) as i32)
    };
    if orphan {
        return None;
    }
    let (order, file) = receive(start.socket)?;
    // Whether there was a file or not: with the message, the count of the desk and the seat are this one's.
    start.seat.store(order.seat as i32, Ordering::Release);
    start.desk.store(order.desk.cast_mut(), Ordering::Release);
    // SAFETY: as above.
    let seat = unsafe { &*order.desk }.seats.get(order.seat)?;
    let file = file?;
    seat.take(pid).then_some((file, order.seat, pid))
}

/// The next message, and the file that came with it.
fn receive(socket: i32) -> Option<(Order, Option<i32>)> {
    let mut order = Order { desk: ptr::null(), seat: 0 };
    let head = libc::cmsghdr { cmsg_len: 0, cmsg_level: 0, cmsg_type: 0 };
    let mut control = Control { head, file: -1 };
    let mut part = libc::iovec { iov_base: (&raw mut order).cast(), iov_len: size_of::<Order>() };
    // SAFETY: a `msghdr` is integers and pointers, for which zeroes are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    let flags = (libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC) as usize;
    // SAFETY: everything that the message names lives during the call.
    let got =
        unsafe { syscall(libc::SYS_recvmsg, [socket as usize, &raw mut message as usize, flags, 0, 0, 0]) };
    let whole = got == size_of::<Order>() as i64 && !order.desk.is_null();
    let file = (control.head.cmsg_type == libc::SCM_RIGHTS && control.file >= 0).then_some(control.file);
    whole.then_some((order, file))
}

/// Does what is asked, until there has been nothing for a while, or it is over.
fn serve(desk: &Desk, (number, pid): (usize, i32), [file, bell]: [i32; 2]) {
    let (crew, Some(seat)) = (desk.crew_of(number), desk.seats.get(number)) else { return };
    // As a queue does: while work comes soon after work it is watched for, because to be woken costs more.
    let (mut watcher, mut slept) = (Watcher::default(), false);
    loop {
        let over = desk.over.load(Ordering::SeqCst);
        if let Some(call) = crew.take() {
            do_one(desk, seat, call, file, bell);
            if std::mem::replace(&mut slept, false) {
                watcher.request();
                watcher.learn();
            }
            continue;
        }
        if over {
            return;
        }
        let begun = now_ns();
        match watcher.next() {
            Idle::Watch { until_ns, .. } => {
                if watch(desk, crew, &mut watcher, until_ns) {
                    continue;
                }
            }
            Idle::Sleep => slept = true,
        }
        if !crew.sleep(number, desk.idle_ns.load(Ordering::Relaxed)) && desk.leave(number, pid) {
            return;
        }
        if slept {
            watcher.slept(now_ns().wrapping_sub(begun));
        }
    }
}

/// Stays awake for a while, and lets others go first; true: there is something to do.
fn watch(desk: &Desk, crew: &Crew, watcher: &mut Watcher, until_ns: u64) -> bool {
    let begun = now_ns();
    let mut looked = begun;
    loop {
        if crew.has_any() || desk.over.load(Ordering::Relaxed) {
            return true;
        }
        // SAFETY: no argument.
        unsafe { syscall(libc::SYS_sched_yield, [0; 6]) };
        let now = now_ns();
        let crowded = watcher.yielded(now.wrapping_sub(looked));
        looked = now;
        if crowded || now.wrapping_sub(begun) >= until_ns {
            watcher.in_vain();
            return false;
        }
    }
}

/// Carries one call out and brings it back.
fn do_one(desk: &Desk, seat: &Seat, call: *mut Call, file: i32, bell: i32) {
    // SAFETY: taken from the crew, and so this helper's until it is brought back.
    let record = unsafe { &*call };
    seat.current.store(call, Ordering::Release);
    let mut over = false;
    while !desk.turn.wait(LOOK_NS) {
        over = desk.over.load(Ordering::SeqCst) || record.is(Stage::CalledOff);
        if over {
            break;
        }
    }
    if record.step(Stage::Waiting, Stage::Begun) {
        // SAFETY: as above; whoever filled it does not touch it now.
        let task = unsafe { record.read() };
        let result = if over {
            -i64::from(libc::ECANCELED)
        } else {
            seat.code.store(u32::from(task.code), Ordering::Relaxed);
            let now = now_ns();
            record.begun_ns.store(now, Ordering::Relaxed);
            seat.begun_ns.store(now, Ordering::Release);
            let result = carry_out(task, file);
            seat.begun_ns.store(0, Ordering::Release);
            result
        };
        if record.end(result) {
            desk.turn.one_less();
        }
    }
    seat.current.store(ptr::null_mut(), Ordering::Release);
    // SAFETY: still this helper's, and not after this.
    if unsafe { desk.home.bring(call) } {
        ring(bell);
    }
}

/// Rings a queue's bell.
pub(super) fn ring(bell: i32) {
    let one = 1_u64;
    // SAFETY: eight bytes that live during the call.
    unsafe { syscall(libc::SYS_write, [bell as usize, &raw const one as usize, size_of::<u64>(), 0, 0, 0]) };
}

fn carry_out(task: &Task, file: i32) -> i64 {
    let Ok(offset) = i64::try_from(task.offset) else { return -i64::from(libc::EINVAL) };
    let (file, offset) = (file as usize, offset as usize);
    let (parts, count) = (task.parts.as_ptr() as usize, task.count);
    let (number, args) = match task.code {
        op::READ => (libc::SYS_preadv2, [file, parts, count, offset, 0, 0]),
        op::WRITE => (libc::SYS_pwritev2, [file, parts, count, offset, 0, task.flags as usize]),
        op::FSYNC => (libc::SYS_fsync, [file, 0, 0, 0, 0, 0]),
        op::FDATASYNC => (libc::SYS_fdatasync, [file, 0, 0, 0, 0, 0]),
        op::FALLOCATE => {
            (libc::SYS_fallocate, [file, task.flags as usize, offset, task.length as usize, 0, 0])
        }
        op::EXTENTS => return extents(task, file),
        _ => return -i64::from(libc::EINVAL),
    };
    loop {
        // SAFETY: what the vectors name stays until the call is back.
        let result = unsafe { syscall(number, args) };
        if result != -i64::from(libc::EINTR) {
            return result;
        }
    }
}

/// Which ranges hold data: `SEEK_DATA` and `SEEK_HOLE`. What cannot be told is data, which is always true.
/// The number of extents, or a negative errno.
fn extents(task: &Task, file: usize) -> i64 {
    let part = task.parts[0];
    let most = part.iov_len / size_of::<Extent>();
    let end = task.offset.wrapping_add(task.length);
    if most == 0 || task.length == 0 || end < task.offset || task.count != 1 {
        return -i64::from(libc::EINVAL);
    }
    let to: *mut Extent = part.iov_base.cast();
    let (mut at, mut found) = (task.offset, 0_usize);
    while at < end && found < most {
        let (next, flags) = if task.regular { next_extent(file, at, end) } else { (end, 0) };
        // No progress: the file system cannot say.
        let next = if next == at { end } else { next };
        let extent = Extent { length: next.wrapping_sub(at), flags };
        // SAFETY: below `most`, and so within the part; unaligned because nobody promised more.
        unsafe { to.wrapping_add(found).write_unaligned(extent) };
        found = found.wrapping_add(1);
        at = next;
    }
    found as i64
}

fn next_extent(file: usize, at: u64, end: u64) -> (u64, u64) {
    let data = match seek(file, at, libc::SEEK_DATA) {
        Some(data) => data.max(at).min(end),
        None => at,
    };
    if data > at {
        return (data, extent::HOLE | extent::ZERO);
    }
    (seek(file, at, libc::SEEK_HOLE).unwrap_or(end).max(at).min(end), 0)
}

/// The end of everything where there is nothing of that kind up to the end of the file; `None`: not known.
fn seek(file: usize, at: u64, whence: i32) -> Option<u64> {
    // SAFETY: a plain call; the position is shared, and unused.
    let found = unsafe { syscall(libc::SYS_lseek, [file, at as usize, whence as usize, 0, 0, 0]) };
    if found >= 0 {
        return Some(found as u64);
    }
    (found == -i64::from(libc::ENXIO)).then_some(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn ask(file: &impl AsRawFd, length: u64) -> Vec<Extent> {
        let mut room = [Extent { length: 0, flags: 0 }; 8];
        let call = Call::new();
        // SAFETY: this test's own record.
        let task = unsafe { &mut *call.task() };
        task.regular = true;
        task.length = length;
        task.count = 1;
        task.parts[0] = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: size_of_val(&room) };
        let count = extents(task, file.as_raw_fd() as usize);
        room[..usize::try_from(count).expect("extents")].to_vec()
    }

    #[test]
    fn what_cannot_be_told_is_data() {
        let pipe = std::io::pipe().expect("pipe");
        assert_eq!(ask(&pipe.0, 4096), [Extent { length: 4096, flags: 0 }], "a pipe cannot seek");
    }

    #[test]
    fn behind_the_end_of_a_file_is_a_hole() {
        let file = tempfile::tempfile().expect("file");
        file.write_at(&[1; 4096], 0).expect("written");
        let hole = Extent { length: 4096, flags: extent::HOLE | extent::ZERO };
        assert_eq!(ask(&file, 8192), [Extent { length: 4096, flags: 0 }, hole]);
    }
}
