//! The thread that makes helpers, and notices when they have ended.
//!
//! It has a table of open files of its own, taken before any device was opened, with little in it: a helper
//! begins with a copy of it, and so never has a file open that belongs to somebody else. (To close such a copy
//! would not do: on some file systems that alone is a call to their server.) A helper is sent its file over a
//! socket. It ends with this thread, and so with the daemon.

#![allow(unsafe_code)] // system calls

use super::attempts::Attempts;
use super::body::{self, Order, Start};
use super::desk::Desk;
use super::raw;
use crate::error::{EngineError, ErrorKind};
use crate::ring::bell::Bell;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use std::{io, ptr};
use steadfast_shell::sync::lock;

/// How often it looks at its helpers.
const LOOK: Duration = Duration::from_secs(1);
/// How long it waits for helpers that are about to end.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_micros(100);
/// Bytes of a helper's stack; a page below it is out of reach.
const STACK: usize = 128 * 1024;
const GUARD: usize = 4096;

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Foreman {
    socket: OwnedFd,
    kick: OwnedFd,
    stopping: AtomicBool,
    /// Desks of helpers that have ended. The thread lets nothing go that may own a file: numbers of files mean
    /// others there.
    buried: Mutex<Vec<Arc<Desk>>>,
}

impl Foreman {
    /// Starts the thread. `bells`: the bells that helpers ring.
    ///
    /// # Errors
    /// `Unsupported`, with what the system said.
    pub(crate) fn start(bells: &[Arc<Bell>]) -> Result<Arc<Foreman>, EngineError> {
        let failed = |e: io::Error| EngineError::new(ErrorKind::Unsupported, format!("helpers: {e}"));
        let (socket, theirs) = pair().map_err(failed)?;
        let kick = bell().map_err(failed)?;
        let mut keep: Vec<i32> = bells.iter().map(|bell| bell.eventfd().as_raw_fd()).collect();
        keep.extend([theirs.as_raw_fd(), kick.as_raw_fd()]);
        keep.sort_unstable();
        let foreman =
            Arc::new(Foreman { socket, kick, stopping: AtomicBool::new(false), buried: Mutex::default() });
        let (tx, rx) = mpsc::sync_channel(1);
        let (own, socket) = (foreman.clone(), theirs.as_raw_fd());
        let body = move || {
            let begun = take_own_files(&keep);
            let good = begun.is_ok();
            let _ = tx.send(begun);
            if good {
                let (helpers, attempts) = (Vec::new(), Attempts::default());
                Thread { foreman: own, socket, helpers, attempts, looked: Instant::now() }.run();
            }
        };
        std::thread::Builder::new().name("helpers".into()).spawn(body).map_err(failed)?;
        let died = |_| io::Error::other("their thread ended at its start");
        rx.recv().map_err(died).and_then(|begun| begun).map_err(failed)?;
        // The thread has one of its own by now.
        drop(theirs);
        Ok(foreman)
    }

    /// Asks for a helper for a seat of a desk; false: it cannot be asked now.
    pub(super) fn ask(&self, desk: &Arc<Desk>, seat: usize) -> bool {
        self.forget_buried();
        let Some(file) = desk.file.upgrade() else { return false };
        let held = Arc::into_raw(desk.clone());
        let order = Order { desk: held, seat };
        let sent = send(&self.socket, &order, file.as_raw_fd());
        if !sent {
            // SAFETY: made above, and nobody has got it.
            drop(unsafe { Arc::from_raw(held) });
        }
        sent
    }

    pub(super) fn forget_buried(&self) {
        lock(&self.buried).clear();
    }

    /// Has it look for helpers that are about to end.
    pub(super) fn reap_now(&self) {
        body::ring(self.kick.as_raw_fd());
    }

    /// Ends the thread, and with it every helper that does not hang.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.reap_now();
    }
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: a place for two numbers.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((owned(ends[0])?, owned(ends[1])?))
}

fn bell() -> io::Result<OwnedFd> {
    // SAFETY: a plain call.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

/// Takes a table of files of this thread's own, with `keep` (ascending), the standard streams, and nothing
/// else; and no signals, which are for other threads.
fn take_own_files(keep: &[i32]) -> io::Result<()> {
    // SAFETY: all-zero is a valid set; the calls fill and use it.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, ptr::null_mut());
    }
    let close = |first: i32, last: u32, flags: libc::c_uint| {
        let (first, last) = (first as usize, last as usize);
        // SAFETY: with the flag the table becomes this thread's own; it closes only there.
        match unsafe { raw::syscall(libc::SYS_close_range, [first, last, flags as usize, 0, 0, 0]) } {
            0 => Ok(()),
            e => Err(io::Error::from_raw_os_error(e.unsigned_abs() as i32)),
        }
    };
    let highest = keep.last().copied().unwrap_or(2);
    close(highest + 1, u32::MAX, libc::CLOSE_RANGE_UNSHARE)?;
    let mut next = 3;
    for fd in keep {
        if *fd > next {
            close(next, *fd as u32 - 1, 0)?;
        }
        next = fd + 1;
    }
    Ok(())
}

fn send(socket: &OwnedFd, order: &Order, file: i32) -> bool {
    let mut part =
        libc::iovec { iov_base: ptr::from_ref(order).cast_mut().cast(), iov_len: size_of::<Order>() };
    let mut control = [0_u64; 4];
    // SAFETY: a `msghdr` is integers and pointers, for which zeroes are valid; the room for the control message
    // is as large as it needs; everything lives during the call.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<i32>() as u32) as _;
        let head = libc::CMSG_FIRSTHDR(&message);
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_RIGHTS;
        (*head).cmsg_len = libc::CMSG_LEN(size_of::<i32>() as u32) as _;
        libc::CMSG_DATA(head).cast::<i32>().write_unaligned(file);
        libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) >= 0
    }
}

/// A helper, as long as it has not been seen to have ended.
struct Helper {
    pid: i32,
    /// Its desk knows of it.
    counted: bool,
    start: Box<Start>,
    stack: Stack,
}

struct Thread {
    foreman: Arc<Foreman>,
    socket: i32,
    helpers: Vec<Helper>,
    attempts: Attempts,
    looked: Instant,
}

impl Thread {
    fn run(mut self) {
        while !self.foreman.stopping.load(Ordering::SeqCst) {
            let [wanted, kicked] = self.wait();
            if wanted {
                self.try_one();
            }
            if kicked {
                self.expect_ends();
            }
            if self.looked.elapsed() >= LOOK {
                self.looked = Instant::now();
                self.reap();
                self.helpers.iter().for_each(Helper::tell);
            }
        }
        for helper in &self.helpers {
            // SAFETY: a child of this process that has not been reaped.
            unsafe { libc::kill(helper.pid, libc::SIGKILL) };
        }
        let until = Instant::now() + PATIENCE;
        while !self.helpers.is_empty() && Instant::now() < until {
            self.reap();
            std::thread::sleep(PAUSE);
        }
        // What hangs keeps what it uses.
        self.helpers.drain(..).for_each(std::mem::forget);
        std::mem::forget(self.foreman);
    }

    /// Makes the helper that is wanted. That it can't be done is said once, and not for each attempt.
    fn try_one(&mut self) {
        let made = self.make_one();
        match self.attempts.note(made, Instant::now()) {
            Some(Err(e)) => {
                tracing::error!("no helper for calls on files can be made (they wait for it): {e}")
            }
            Some(Ok(())) => tracing::info!("helpers for calls on files can be made again"),
            None => {}
        }
    }

    /// Waits for something to do: a helper is wanted, and may be made by now; somebody waits for helpers to end.
    fn wait(&self) -> [bool; 2] {
        let kick = self.foreman.kick.as_raw_fd();
        let on = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let pause = self.attempts.pause(Instant::now());
        // A number below zero is passed over.
        let mut both = [on(if pause.is_some() { -1 } else { self.socket }), on(kick)];
        let timeout = pause.unwrap_or(LOOK).as_millis() as i32 + 1;
        // SAFETY: two entries; and eight bytes for what the bell says.
        unsafe {
            libc::poll(both.as_mut_ptr(), 2, timeout);
            if both[1].revents != 0 {
                let mut count = 0_u64;
                libc::read(kick, (&raw mut count).cast(), size_of::<u64>());
            }
        }
        both.map(|one| one.revents & libc::POLLIN != 0)
    }

    /// Makes a helper, and waits until it has its file.
    fn make_one(&mut self) -> io::Result<()> {
        let stack = Stack::new()?;
        let start = Box::new(Start {
            socket: self.socket,
            parent: std::process::id() as i32,
            desk: AtomicPtr::default(),
            seat: AtomicI32::new(-1),
            state: AtomicU32::new(0),
        });
        let arg = ptr::from_ref(&*start).cast_mut().cast();
        // SAFETY: the stack and what it is given stay until the helper has been reaped; it shares the memory
        // and keeps to what `body` says. No signal is sent when it ends.
        let pid = unsafe { libc::clone(body::main, stack.top(), libc::CLONE_VM, arg) };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut helper = Helper { pid, counted: false, start, stack };
        let until = Instant::now() + LOOK;
        while helper.start.state.load(Ordering::Acquire) == 0 && Instant::now() < until {
            raw::wait(&helper.start.state, 0, PATIENCE.as_nanos() as u64);
        }
        if let Some(desk) = helper.desk() {
            desk.alive.fetch_add(1, Ordering::SeqCst);
            helper.counted = true;
        }
        self.helpers.push(helper);
        Ok(())
    }

    /// Forgets helpers that have ended.
    fn reap(&mut self) {
        let foreman = &self.foreman;
        self.helpers.extract_if(.., |helper| helper.has_ended()).for_each(|helper| helper.bury(foreman));
    }

    /// Files are being closed: their helpers end, unless they hang.
    fn expect_ends(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            self.reap();
            let ends = |helper: &Helper| {
                helper.place().is_some_and(|(desk, seat)| {
                    desk.over.load(Ordering::SeqCst) && desk.seats[seat].begun_ns.load(Ordering::Acquire) == 0
                })
            };
            if !self.helpers.iter().any(ends) || Instant::now() >= until {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Helper {
    fn desk(&self) -> Option<&Desk> {
        // SAFETY: a helper has a count of its desk until it is buried.
        unsafe { self.start.desk.load(Ordering::Acquire).as_ref() }
    }

    fn place(&self) -> Option<(&Desk, usize)> {
        Some((self.desk()?, usize::try_from(self.start.seat.load(Ordering::Acquire)).ok()?))
    }

    /// Says in the log that a call on its file hangs, and that none does any more.
    fn tell(&self) {
        let Some(desk) = self.desk() else { return };
        match (desk.hangs(), desk.told.load(Ordering::Relaxed)) {
            (Some(call), false) => {
                let (label, name, seconds) = (&desk.label, call.name(), call.ns / 1_000_000_000);
                tracing::warn!(
                    "{label}: {name} has been in the kernel for {seconds} s: it hangs, or is very slow"
                );
                desk.told.store(true, Ordering::Relaxed);
            }
            (None, true) => {
                tracing::info!("{}: what hung has ended", desk.label);
                desk.told.store(false, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn has_ended(&self) -> bool {
        // SAFETY: a child of this process; no place for its status.
        unsafe { libc::waitpid(self.pid, ptr::null_mut(), libc::WNOHANG | libc::__WALL) == self.pid }
    }

    /// It has ended. A call that it had, because somebody killed it, has failed.
    fn bury(self, foreman: &Foreman) {
        if let Some((desk, seat)) = self.place() {
            let call = desk.clear(seat, self.pid, self.start.state.load(Ordering::Acquire) == 1);
            if !call.is_null() {
                tracing::error!(
                    "a helper (process {}) was ended by somebody else; its call has failed",
                    self.pid
                );
                desk.lose(call);
            }
            // It may have ended on its way to the bell.
            desk.home.bell.ring();
            if self.counted {
                desk.alive.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let desk = self.start.desk.swap(ptr::null_mut(), Ordering::AcqRel);
        if !desk.is_null() {
            // SAFETY: the helper's count, which it has no use for any more.
            lock(&foreman.buried).push(unsafe { Arc::from_raw(desk) });
        }
        drop(self.stack);
    }
}

/// A helper's stack.
struct Stack(*mut libc::c_void);

impl Stack {
    fn new() -> io::Result<Stack> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        let (prot, size) = (libc::PROT_READ | libc::PROT_WRITE, STACK + GUARD);
        // SAFETY: a new mapping at an address of the kernel's choice, and its first page.
        unsafe {
            let base = libc::mmap(ptr::null_mut(), size, prot, flags, -1, 0);
            if base == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let stack = Stack(base);
            if libc::mprotect(base, GUARD, libc::PROT_NONE) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(stack)
        }
    }

    fn top(&self) -> *mut libc::c_void {
        self.0.wrapping_byte_add(STACK + GUARD)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped; the helper has ended.
        unsafe { libc::munmap(self.0, STACK + GUARD) };
    }
}
