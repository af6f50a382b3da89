//! Panics stop at the entry point, and leave nothing behind that keeps the module in memory.
//!
//! The standard panic hook asks for the thread's name and may print a backtrace; both register
//! destructors with the thread, and a module whose code is some thread's destructor can't be
//! unmapped. The hook here writes the message into a plain thread-local buffer (no destructor), and
//! the entry point that caught the panic sends it to the port's log.

use crate::log::{Level, Line, write};
use std::any::Any;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::sync::Once;
use steadfast_abi as abi;

thread_local! {
    static LAST: RefCell<Line> = const { RefCell::new(Line::new()) };
}

/// Puts the module's panic hook in place, once per loaded module.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| set_hook(Box::new(hook)));
}

fn hook(info: &PanicHookInfo<'_>) {
    LAST.with(|last| {
        if let Ok(mut line) = last.try_borrow_mut() {
            line.clear();
            let text = message(info.payload());
            let _ = match info.location() {
                Some(at) => write!(line, "panic at {}:{}: {text}", at.file(), at.line()),
                None => write!(line, "panic: {text}"),
            };
        }
    });
}

fn message(payload: &dyn Any) -> &str {
    match (payload.downcast_ref::<&'static str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}

/// Runs `body`; a panic in it is logged for `port` and becomes `None`.
///
/// # Safety
/// `port` is null or a live port.
#[inline(always)]
pub(crate) unsafe fn guard<R>(port: *mut abi::Port, entry: &str, body: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // SAFETY: the caller promises that `port` is null or live.
            unsafe { report(port, entry) };
            // A payload whose own drop panics must not bring the shell down.
            if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
                std::mem::forget(second);
            }
            None
        }
    }
}

/// # Safety
/// `port` is null or a live port.
#[cold]
unsafe fn report(port: *mut abi::Port, entry: &str) {
    LAST.with(|last| {
        if let Ok(line) = last.try_borrow() {
            // SAFETY: the caller promises that `port` is null or live.
            unsafe { write(port, Level::Error, format_args!("{entry}: {}", line.as_str())) };
        }
    });
}
