//! The shell's functions, as drivers call them.
//!
//! Every pointer that comes in is the driver's word. What the shell itself handed out (`Port`,
//! `Queue` and their `cx`) is trusted: a driver runs in this process and could do worse. Numbers,
//! sizes and ranges are checked.

#![allow(unsafe_code)] // the C side of the ABI

use crate::change::pause_calls;
use crate::clock::now_ns;
use crate::driver::instance::{Instance, Stage};
use crate::handle::OpenSpec;
use crate::lane::{Lane, shell_calls_many};
use crate::port::Device;
use std::ptr;
use std::sync::atomic::Ordering;
use steadfast_abi as abi;
use steadfast_abi::{level, value_kind};
use steadfast_shell::params::{Value, log_mask};
use steadfast_shell::receipt::Reduced;
use steadfast_shell::sync::lock;

/// Most schemas that a driver leaves its state in, and longest name of one.
const MAX_SCHEMA: usize = 256;
/// Most features that a driver says it leaves out, and longest text about one.
const MAX_REDUCED: usize = 64;
const MAX_REDUCED_TEXT: usize = 256;

/// The table.
pub(crate) static SHELL: abi::ShellOps = abi::ShellOps {
    size: size_of::<abi::ShellOps>() as u32,
    abi_major: abi::ABI_MAJOR,
    abi_minor: abi::ABI_MINOR,
    issue: Some(issue),
    cancel: Some(cancel),
    complete: Some(complete),
    timer: Some(timer),
    set_state: Some(set_state),
    get_state: Some(get_state),
    announce: Some(announce),
    withdraw: Some(withdraw),
    open: Some(open),
    close: Some(close),
    handle_info: Some(handle_info),
    region: Some(region),
    property: Some(property),
    log: Some(log),
    now: Some(now),
    give_back: Some(give_back),
    reduce: Some(reduce),
    complete_serial: Some(shell_calls_many::complete_serial),
    complete_many: Some(shell_calls_many::complete_many),
    issue_many: Some(shell_calls_many::issue_many),
    map_data: Some(shell_calls_many::map_data),
    table: Some(shell_calls_many::table),
    dma: Some(shell_calls_many::dma),
};

/// Copies a structure that begins with its size: what the caller knows, zero for the rest.
///
/// # Safety
/// `from` is null or points to a `u32` size and that many bytes in all.
unsafe fn sized<T: Copy>(from: *const T) -> Option<T> {
    if from.is_null() {
        return None;
    }
    // SAFETY: every structure of the ABI begins with its size.
    let size = unsafe { from.cast::<u32>().read() } as usize;
    if size >= size_of::<T>() {
        // SAFETY: as many bytes are readable there, and integers and pointers have no invalid values.
        return Some(unsafe { from.read_unaligned() });
    }
    if size < 4 {
        return None;
    }
    // SAFETY: structures of the ABI are integers and pointers: all-zero is valid.
    let mut copy: T = unsafe { std::mem::zeroed() };
    // SAFETY: `size` bytes are readable at `from`; no more than the destination has are copied.
    unsafe {
        ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut copy).cast(), size.min(size_of::<T>()));
    }
    Some(copy)
}

/// Writes a structure that begins with its size into a place that says how much it can hold.
///
/// # Safety
/// `to` is null or points to a `u32` size and that many writable bytes in all.
unsafe fn fill<T: Copy>(to: *mut T, value: &T) -> i32 {
    if to.is_null() {
        return -libc::EINVAL;
    }
    // SAFETY: as promised, the place begins with its size.
    let size = unsafe { to.cast::<u32>().read() };
    if size < 4 {
        return -libc::EINVAL;
    }
    let n = (size as usize).min(size_of::<T>());
    // SAFETY: `n` bytes are writable at `to`; the size field is put back to what the caller said.
    unsafe {
        ptr::copy_nonoverlapping((&raw const *value).cast::<u8>(), to.cast::<u8>(), n);
        to.cast::<u32>().write(size);
    }
    0
}

/// # Safety
/// `port` came from the shell and its driver has not been released.
unsafe fn instance<'a>(port: *mut abi::Port) -> Option<&'a Instance> {
    if port.is_null() {
        return None;
    }
    // SAFETY: `cx` of a port is its instance, alive until after `release`.
    unsafe { (*port).cx.cast::<Instance>().as_ref() }
}

/// The same, but none for a driver that was left to itself: what it says or wants when it comes back is nobody's.
///
/// # Safety
/// As for `instance`.
unsafe fn present<'a>(port: *mut abi::Port) -> Option<&'a Instance> {
    // SAFETY: the caller's promise, passed on.
    unsafe { instance(port) }.filter(|instance| !instance.is_abandoned())
}

/// # Safety
/// As for [`abi::Str::bytes`]; the text is the driver's, and is used during the driver's call only.
unsafe fn text<'a>(s: abi::Str) -> Result<&'a str, i32> {
    // SAFETY: the caller's promise, passed on.
    let bytes = unsafe { s.bytes() };
    std::str::from_utf8(bytes).map_err(|_| -libc::EINVAL)
}

/// # Safety
/// `queue` came from the shell and is bound to a lane of this thread.
pub(super) unsafe fn lane(queue: *mut abi::Queue) -> *mut Lane {
    if queue.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: as promised.
    unsafe { (*queue).cx.cast() }
}

pub(super) unsafe extern "C" fn issue(queue: *mut abi::Queue, op: *const abi::Op) -> i32 {
    // SAFETY: both come from a driver that the shell has entered on this thread; see `sized`.
    unsafe {
        let lane = lane(queue);
        let Some(op) = sized(op) else { return -libc::EINVAL };
        if lane.is_null() { pause_calls::issue(queue, op) } else { Lane::issue(lane, &op) }
    }
}

unsafe extern "C" fn cancel(queue: *mut abi::Queue, id: u32) -> i32 {
    // SAFETY: as for `issue`.
    unsafe {
        let lane = lane(queue);
        if lane.is_null() { pause_calls::cancel(queue, id) } else { Lane::cancel(lane, id) }
    }
}

pub(super) unsafe extern "C" fn complete(queue: *mut abi::Queue, tag: u32, result: i32) -> i32 {
    // SAFETY: as for `issue`.
    unsafe {
        let lane = lane(queue);
        if lane.is_null() {
            pause_calls::complete(queue, tag, result)
        } else {
            Lane::complete(lane, tag, result)
        }
    }
}

unsafe extern "C" fn timer(queue: *mut abi::Queue, id: u32, ns: u64) -> i32 {
    // SAFETY: as for `issue`.
    unsafe {
        let lane = lane(queue);
        if lane.is_null() { pause_calls::timer(queue, id, ns) } else { Lane::timer(lane, id, ns) }
    }
}

unsafe extern "C" fn give_back(queue: *mut abi::Queue, tag: u32) -> i32 {
    // SAFETY: as for `issue`.
    unsafe {
        let lane = lane(queue);
        if lane.is_null() { pause_calls::give_back(queue, tag) } else { Lane::give_back(lane, tag) }
    }
}

unsafe extern "C" fn reduce(port: *mut abi::Port, feature: abi::Str, why: abi::Str) -> i32 {
    // SAFETY: the driver passes its own port and strings that it owns.
    let (instance, feature, why) = unsafe {
        let Some(instance) = present(port) else { return -libc::ESHUTDOWN };
        let (Ok(feature), Ok(why)) = (text(feature), text(why)) else { return -libc::EINVAL };
        (instance, feature, why)
    };
    let stage = instance.stage();
    if stage != Stage::Prepare as u8 && stage != Stage::Connect as u8 {
        return -libc::EPERM;
    }
    if feature.is_empty() || feature.len() > MAX_REDUCED_TEXT || why.len() > MAX_REDUCED_TEXT {
        return -libc::EINVAL;
    }
    let mut reduced = lock(&instance.reduced);
    reduced.retain(|known| known.feature != feature);
    if reduced.len() >= MAX_REDUCED {
        return -libc::ENOSPC;
    }
    reduced.push(Reduced { feature: feature.to_owned(), why: why.to_owned() });
    0
}

unsafe extern "C" fn set_state(port: *mut abi::Port, schema: abi::Str, bytes: abi::Str) -> i32 {
    // SAFETY: the driver passes its own port and strings that it owns.
    let (instance, schema, bytes) = unsafe {
        let Some(instance) = present(port) else { return -libc::ESHUTDOWN };
        let Ok(schema) = text(schema) else { return -libc::EINVAL };
        (instance, schema, bytes.bytes())
    };
    if instance.stage() != Stage::Disconnect as u8 {
        return -libc::EPERM;
    }
    if bytes.len() > abi::MAX_STATE {
        return -libc::EMSGSIZE;
    }
    let mut inner = lock(&instance.port.inner);
    // A driver is left to itself with the port locked.
    if instance.is_abandoned() {
        return -libc::ESHUTDOWN;
    }
    let put = schema.len() <= MAX_SCHEMA && inner.states.put(schema, bytes);
    if put { 0 } else { -libc::ENOSPC }
}

unsafe extern "C" fn get_state(port: *mut abi::Port, schema: abi::Str, bytes: *mut abi::Str) -> i32 {
    // SAFETY: the driver passes its own port and a string that it owns.
    let (instance, schema) = unsafe {
        let Some(instance) = present(port) else { return -libc::ESHUTDOWN };
        let Ok(schema) = text(schema) else { return -libc::EINVAL };
        (instance, schema)
    };
    if bytes.is_null() {
        return -libc::EINVAL;
    }
    if instance.stage() != Stage::Connect as u8 {
        return -libc::EPERM;
    }
    let inner = lock(&instance.port.inner);
    if instance.is_abandoned() {
        return -libc::ESHUTDOWN;
    }
    let Some((_, state)) = inner.states.list().iter().find(|(known, _)| known == schema) else {
        return -libc::ENOENT;
    };
    // The heap block of the state stays where it is until the next `disconnect`.
    // SAFETY: `bytes` is the driver's place for the answer.
    unsafe { bytes.write(abi::Str { ptr: state.as_ptr(), len: state.len() }) };
    0
}

/// The driver that connects announces for later, the one that serves for now; nobody else may.
fn may_announce(instance: &Instance) -> bool {
    let serves = || {
        let inner = lock(&instance.port.inner);
        inner.serving.as_ref().is_some_and(|serving| ptr::eq(&raw const **serving, instance))
    };
    instance.stage() == Stage::Connect as u8 || instance.stage() == Stage::Idle as u8 && serves()
}

unsafe extern "C" fn announce(port: *mut abi::Port, device: *const abi::BlockDevice) -> i32 {
    // SAFETY: the driver passes its own port and a structure that begins with its size.
    let (instance, d, wwid) = unsafe {
        let Some(instance) = present(port) else { return -libc::ESHUTDOWN };
        let Some(device) = sized(device) else { return -libc::EINVAL };
        let Ok(wwid) = text(device.wwid) else { return -libc::EINVAL };
        (instance, device, wwid)
    };
    let device = Device {
        number: d.number,
        size: d.size,
        block_size: d.block_size,
        preferred_block_size: d.preferred_block_size,
        max_transfer: d.max_transfer,
        features: d.features,
        wwid: wwid.to_owned(),
    };
    if !may_announce(instance) {
        return -libc::EPERM;
    }
    if let Err((errno, why)) = instance.port.check_announcement(&device) {
        instance.note_error(&why);
        return -errno;
    }
    let mut inner = lock(&instance.port.inner);
    if instance.is_abandoned() {
        return -libc::ESHUTDOWN;
    }
    let connecting = instance.stage() == Stage::Connect as u8;
    let list = if connecting { &mut inner.announced } else { &mut inner.devices };
    list.retain(|known| known.number != device.number);
    list.push(device);
    list.sort_by_key(|d| d.number);
    drop(inner);
    0
}

unsafe extern "C" fn withdraw(port: *mut abi::Port, number: u32) -> i32 {
    // SAFETY: the driver passes its own port.
    let Some(instance) = (unsafe { present(port) }) else { return -libc::ESHUTDOWN };
    if !may_announce(instance) {
        return -libc::EPERM;
    }
    let mut inner = lock(&instance.port.inner);
    if instance.is_abandoned() {
        return -libc::ESHUTDOWN;
    }
    let connecting = instance.stage() == Stage::Connect as u8;
    let list = if connecting { &mut inner.announced } else { &mut inner.devices };
    let before = list.len();
    list.retain(|known| known.number != number);
    let withdrawn = list.len() < before;
    drop(inner);
    if withdrawn { 0 } else { -libc::ENOENT }
}

unsafe extern "C" fn open(port: *mut abi::Port, open: *const abi::Open) -> i32 {
    // SAFETY: the driver passes its own port and a structure that begins with its size.
    let (instance, key, spec) = unsafe {
        let Some(instance) = present(port) else { return -libc::ESHUTDOWN };
        let Some(open) = sized(open) else { return -libc::EINVAL };
        let (Ok(key), Ok(target)) = (text(open.key), text(open.target)) else { return -libc::EINVAL };
        (instance, key, OpenSpec { kind: open.kind, flags: open.flags, target: target.to_owned() })
    };
    let may_open = instance.stage() == Stage::Prepare as u8;
    match instance.port.open(key, &spec, may_open) {
        Ok((number, opened)) => {
            if opened {
                lock(&instance.made).handles.push(number);
                if instance.is_abandoned() {
                    return nobodys(instance);
                }
            }
            let mut handles = lock(&instance.handles);
            if !handles.contains(&number) {
                handles.push(number);
            }
            drop(handles);
            instance.own_handle(number, true);
            number as i32
        }
        Err((errno, why)) => {
            instance.note_error(&why);
            -errno
        }
    }
}

/// What a driver got after it was left to itself goes at once: it does not learn of it.
#[cold]
fn nobodys(instance: &Instance) -> i32 {
    instance.port.take_back(&std::mem::take(&mut *lock(&instance.made)));
    -libc::ESHUTDOWN
}

unsafe extern "C" fn close(port: *mut abi::Port, handle: u32) -> i32 {
    // SAFETY: the driver passes its own port.
    let Some(instance) = (unsafe { present(port) }) else { return -libc::ESHUTDOWN };
    let mut handles = lock(&instance.handles);
    let before = handles.len();
    // It is closed when the transaction ends and nobody else has it.
    handles.retain(|known| *known != handle);
    instance.own_handle(handle, false);
    if handles.len() < before { 0 } else { -libc::EBADF }
}

unsafe extern "C" fn handle_info(port: *mut abi::Port, handle: u32, info: *mut abi::HandleInfo) -> i32 {
    // SAFETY: the driver passes its own port.
    let Some(instance) = (unsafe { present(port) }) else { return -libc::ESHUTDOWN };
    let inner = lock(&instance.port.inner);
    let Some(Some(known)) = inner.handles.get(handle as usize) else { return -libc::EBADF };
    let found = known.device.as_ref().map_or(known.info, |device| device.info());
    // SAFETY: `info` is a place that says its size.
    unsafe { fill(info, &found) }
}

unsafe extern "C" fn region(
    port: *mut abi::Port,
    name: abi::Str,
    size: u64,
    region: *mut abi::Region,
) -> i32 {
    // SAFETY: the driver passes its own port and a string that it owns.
    let (instance, name) = unsafe {
        let Some(instance) = present(port) else { return -libc::ESHUTDOWN };
        let Ok(name) = text(name) else { return -libc::EINVAL };
        (instance, name)
    };
    let may_make = instance.stage() == Stage::Prepare as u8;
    match instance.port.region(name, size, may_make) {
        Ok((number, base, size, created)) => {
            lock(&instance.regions).insert(number);
            if created {
                lock(&instance.made).regions.push(number);
                if instance.is_abandoned() {
                    return nobodys(instance);
                }
            }
            let found = abi::Region {
                struct_size: 0,
                number,
                data: ptr::with_exposed_provenance_mut(base),
                size,
                created: u32::from(created),
                reserved: 0,
            };
            // SAFETY: `region` is a place that says its size.
            let filled = unsafe { fill(region, &found) };
            if filled < 0 { filled } else { number as i32 }
        }
        Err(errno) => -errno,
    }
}

unsafe extern "C" fn property(port: *mut abi::Port, name: abi::Str, value: *mut abi::Value) -> i32 {
    // SAFETY: the driver passes its own port and a string that it owns.
    let (instance, name) = unsafe {
        let Some(instance) = instance(port) else { return -libc::EINVAL };
        let Ok(name) = text(name) else { return -libc::EINVAL };
        (instance, name)
    };
    let known = || instance.module.manifest().params.iter().any(|p| p.name == name);
    let answer = instance.with_param(name, |value| match value {
        None => known().then(|| describe(None)),
        value => Some(describe(value)),
    });
    let Some(answer) = answer else { return -libc::ENOENT };
    // SAFETY: `value` is a place that says its size; texts live until the parameter is set
    // anew, which is not while the driver is in an entry point.
    unsafe { fill(value, &answer) }
}

/// A value as drivers see it; its text is that of `value`.
fn describe(value: Option<&Value>) -> abi::Value {
    let none = abi::Value { struct_size: 0, kind: value_kind::NONE, number: 0, text: abi::Str::EMPTY };
    let number = |kind, number| abi::Value { kind, number, ..none };
    match value {
        None => none,
        Some(Value::Bool(b)) => number(value_kind::BOOL, u64::from(*b)),
        Some(Value::U64(n)) => number(value_kind::UNSIGNED, *n),
        Some(Value::I64(n)) => number(value_kind::SIGNED, n.cast_unsigned()),
        Some(Value::Str(s)) => abi::Value { kind: value_kind::STRING, text: abi::Str::new(s), ..none },
        Some(Value::Enum { index, text }) => {
            abi::Value { text: abi::Str::new(text), ..number(value_kind::ENUM, u64::from(*index)) }
        }
    }
}

/// The target of log lines that are a driver's words. It begins as all of this crate's do.
pub const DRIVER_LINES: &str = "steadfast_runtime::driver";

unsafe extern "C" fn log(port: *mut abi::Port, severity: u32, message: abi::Str) {
    // SAFETY: the driver passes its own port, or null from its panic hook, and a string it owns.
    let (instance, message) = unsafe { (instance(port), String::from_utf8_lossy(message.bytes())) };
    let name = instance.map_or("-", |i| i.port.name.as_str());
    let driver = instance.map_or("-", |i| i.module.manifest().name.as_str());
    let wanted = instance.is_none_or(|i| i.port.limits.logs(bit(severity)));
    match severity {
        level::ERROR => {
            if let Some(instance) = instance {
                instance.note_error(&message);
            }
            if !wanted {
                return;
            }
            tracing::error!(target: DRIVER_LINES, port = name, driver, "{message}");
        }
        _ if !wanted => {}
        level::WARN => tracing::warn!(target: DRIVER_LINES, port = name, driver, "{message}"),
        level::INFO => tracing::info!(target: DRIVER_LINES, port = name, driver, "{message}"),
        _ => tracing::debug!(target: DRIVER_LINES, port = name, driver, "{message}"),
    }
}

/// The bit of `log_mask` for what a driver says.
fn bit(severity: u32) -> u32 {
    match severity {
        level::ERROR => log_mask::DRIVER_ERROR,
        level::WARN => log_mask::DRIVER_WARN,
        level::INFO => log_mask::DRIVER_INFO,
        level::DEBUG => log_mask::DRIVER_DEBUG,
        _ => log_mask::DRIVER_TRACE,
    }
}

unsafe extern "C" fn now() -> u64 {
    now_ns()
}

/// Records that a driver broke the rules.
pub(crate) fn fault(instance: &Instance, what: &str) {
    let before = instance.faults.fetch_add(1, Ordering::Relaxed);
    if before < 16 && instance.port.limits.logs(log_mask::FAULT) {
        let driver = instance.module.release();
        tracing::error!(
            port = instance.port.name,
            driver = driver.driver,
            version = driver.version,
            "{what}"
        );
    }
}
