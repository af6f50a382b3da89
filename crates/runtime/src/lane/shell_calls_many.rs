//! The shell's functions that ABI 1.2 added: completions by serial, batches, data by segment, and what is reserved.

#![allow(unsafe_code)] // the C side of the ABI

use crate::ids::Tag;
use crate::lane::Lane;
use crate::lane::shell_calls::{complete, issue, lane};
use steadfast_abi as abi;
use steadfast_shell::slots::Owner;

/// Serial of what lies in slot `tag` now; none where there is no such slot.
///
/// # Safety
/// `queue` came from the shell, which has entered its driver on this thread.
unsafe fn serial_of(queue: *mut abi::Queue, tag: u32) -> Option<u32> {
    if queue.is_null() {
        return None;
    }
    // SAFETY: the queue is the shell's, whose slots are mapped as long as it is; the header of a slot is written
    // by this thread only, or not at all while the driver is in a call on another.
    unsafe {
        let queue = &*queue;
        let slot = queue.slots.add(tag as usize * queue.slot_stride as usize).cast::<abi::Request>();
        (tag < queue.slot_count).then(|| (*slot).serial)
    }
}

pub(super) unsafe extern "C" fn complete_serial(
    queue: *mut abi::Queue,
    tag: u32,
    serial: u32,
    result: i32,
) -> i32 {
    // SAFETY: the queue comes from a driver that the shell has entered on this thread.
    unsafe {
        match serial_of(queue, tag) {
            None => -libc::EINVAL,
            Some(now) if now == serial => complete(queue, tag, result),
            Some(now) => {
                let lane = lane(queue);
                if !lane.is_null() {
                    Lane::blame_for_serial(lane, tag, serial, now);
                }
                -libc::ESTALE
            }
        }
    }
}

pub(super) unsafe extern "C" fn complete_many(
    queue: *mut abi::Queue,
    completions: *const abi::Completion,
    count: u32,
) -> i32 {
    if completions.is_null() || count > i32::MAX as u32 {
        return -libc::EINVAL;
    }
    let mut done = 0;
    for i in 0..count as usize {
        // SAFETY: `count` completions are readable there; the rest as for `complete_serial`.
        let result = unsafe {
            let one = completions.add(i).read();
            complete_serial(queue, one.tag, one.serial, one.result)
        };
        done += i32::from(result == 0);
    }
    done
}

pub(super) unsafe extern "C" fn issue_many(
    queue: *mut abi::Queue,
    ops: *const abi::Op,
    count: u32,
    ids: *mut i32,
) -> i32 {
    if ops.is_null() || ids.is_null() || count > i32::MAX as u32 {
        return -libc::EINVAL;
    }
    // SAFETY: a structure of the ABI begins with its size, and all of them have that of the first; there is room for
    // `count` numbers at `ids`; the rest as for `issue`.
    unsafe {
        let stride = (*ops).size as usize;
        if !stride.is_multiple_of(align_of::<abi::Op>()) || stride < 8 {
            return -libc::EINVAL;
        }
        for i in 0..count {
            let id = issue(queue, ops.byte_add(i as usize * stride));
            ids.add(i as usize).write(id);
            if id < 0 {
                return i as i32;
            }
        }
    }
    count as i32
}

pub(super) unsafe extern "C" fn map_data(queue: *mut abi::Queue, tag: u32, data: *mut *mut u8) -> i32 {
    // SAFETY: the queue comes from a driver that the shell has entered on this thread, and `data` is its place for
    // the answer.
    unsafe {
        if queue.is_null() || data.is_null() {
            return -libc::EINVAL;
        }
        let lane = lane(queue);
        if lane.is_null() {
            // Within a call on another thread: the request may be anybody's by now.
            return -libc::EPERM;
        }
        let owner = (*lane).slots.owner(Tag(tag));
        if !matches!(owner, Owner::Issued | Owner::Aborting | Owner::GivenUp) {
            return -libc::EINVAL;
        }
        data.write((*lane).data(Tag(tag)));
    }
    0
}

pub(super) unsafe extern "C" fn table(
    _port: *mut abi::Port,
    _name: abi::Str,
    _schema: abi::Str,
    _size: u64,
    _region: *mut abi::Region,
) -> i32 {
    -libc::EOPNOTSUPP
}

pub(super) unsafe extern "C" fn dma(
    _queue: *mut abi::Queue,
    _seg: *const abi::Seg,
    dma: *mut abi::Dma,
) -> i32 {
    if dma.is_null() { -libc::EINVAL } else { -libc::EOPNOTSUPP }
}
