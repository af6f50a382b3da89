//! System calls without the C library, for code that may not touch what belongs to a thread: not even `errno`.

#![allow(unsafe_code)] // system calls

use std::sync::atomic::AtomicU32;

/// A system call: its result, or a negative errno.
///
/// # Safety
/// What the call itself asks of its arguments.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> i64 {
    let result: i64;
    // SAFETY: the kernel's convention; it changes rax, rcx and r11, and memory as the caller has promised.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// A system call: its result, or a negative errno.
///
/// # Safety
/// What the call itself asks of its arguments.
#[cfg(target_arch = "aarch64")]
#[inline]
pub(crate) unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> i64 {
    let result: i64;
    // SAFETY: the kernel's convention; it changes x0, and memory as the caller has promised.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] => result,
            in("x1") args[1], in("x2") args[2], in("x3") args[3], in("x4") args[4], in("x5") args[5],
            options(nostack),
        );
    }
    result
}

/// Sleeps until somebody wakes `word`, while it is `value`; at most `timeout_ns`. False: the time is over.
pub(super) fn wait(word: &AtomicU32, value: u32, timeout_ns: u64) -> bool {
    let time = libc::timespec {
        tv_sec: (timeout_ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (timeout_ns % 1_000_000_000) as libc::c_long,
    };
    let how = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    let args = [word.as_ptr() as usize, how, value as usize, &raw const time as usize, 0, 0];
    // SAFETY: a word and a time that live during the call.
    unsafe { syscall(libc::SYS_futex, args) != -i64::from(libc::ETIMEDOUT) }
}

/// Wakes up to `count` of those that wait at `word`.
pub(super) fn wake(word: &AtomicU32, count: u32) {
    let how = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the kernel uses the address as a name.
    unsafe { syscall(libc::SYS_futex, [word.as_ptr() as usize, how, count as usize, 0, 0, 0]) };
}
